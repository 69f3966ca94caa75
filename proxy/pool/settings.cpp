#include "pool/settings.hpp"

namespace postern::pool {

settings with(settings base, const overrides& own) {
    base.size = own.size.value_or(base.size);
    base.min_size = own.min_size.value_or(base.min_size);
    base.reserve_size = own.reserve_size.value_or(base.reserve_size);
    base.reserve_timeout = own.reserve_timeout.value_or(base.reserve_timeout);
    base.wait_timeout = own.wait_timeout.value_or(base.wait_timeout);
    base.mode = own.mode.value_or(base.mode);
    return base;
}

}  // namespace postern::pool
