#include "base/hash.hpp"

#include <xxhash.h>

namespace postern {

hash128 hash_bytes(std::string_view bytes) noexcept {
    const XXH128_hash_t value = XXH3_128bits(bytes.data(), bytes.size());
    return {value.low64, value.high64};
}

}  // namespace postern
