// Monotonic time for the rooms that do I/O. Rooms without I/O are handed a monotonic_ns.

#pragma once

#include <cstdint>

namespace postern {

/// Nanoseconds on the monotonic clock; only differences mean anything.
using monotonic_ns = std::int64_t;

/// Now, on CLOCK_MONOTONIC.
monotonic_ns now() noexcept;

}  // namespace postern
