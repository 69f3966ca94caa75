// How far a long step is, in words. No I/O, no clock.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace postern::migrate {

/// "45 s", "12 min", "3 h 20 min".
std::string duration_text(std::chrono::milliseconds time);

/// "12.3 % done, about 45 s left": the rest takes as long for each unit as what is done did. Empty
/// without a total.
std::string share_text(std::uint64_t done, std::uint64_t total, std::chrono::milliseconds spent);

/// "12000 rows done, 4000 a second, 8000 left: about 2 s". `done` are this run's rows in `spent`;
/// `before` those of earlier runs.
std::string batch_text(
    std::uint64_t before,
    std::uint64_t done,
    std::optional<std::uint64_t> left,
    std::chrono::milliseconds spent);

}  // namespace postern::migrate
