// Time as a test wants it, for the rooms that are handed a monotonic_ns.

#pragma once

#include "base/clock.hpp"

#include <chrono>

namespace postern {

class manual_clock {
public:
    monotonic_ns now() const noexcept { return now_; }
    monotonic_ns in(std::chrono::nanoseconds later) const noexcept { return now_ + later.count(); }
    void pass(std::chrono::nanoseconds time) noexcept { now_ += time.count(); }

private:
    monotonic_ns now_ = 1'000'000'000;
};

}  // namespace postern
