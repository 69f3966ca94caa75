// Durations and sizes as the configuration writes them, and what a mistyped word may have meant.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace postern::cli {

/// "20ms", "5s", "10min", "1h", "1d"; nothing else. Absent too when it would not fit.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept;

/// "512B", "64KiB", "256MiB", "1GiB", "1TiB"; nothing else. Absent too when it would not fit.
std::optional<std::int64_t> parse_size(std::string_view text) noexcept;

/// Written with the largest unit that leaves a whole number; parse_duration() reads it back.
std::string format_duration(std::chrono::milliseconds value);
std::string format_size(std::int64_t bytes);

/// The candidate that `word` is most likely a slip of, or nothing when none is near enough.
std::optional<std::string_view> nearest(
    std::string_view word,
    std::span<const std::string_view> candidates);

}  // namespace postern::cli
