#include "base/clock.hpp"

#include <ctime>

namespace postern {

monotonic_ns now() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

}  // namespace postern
