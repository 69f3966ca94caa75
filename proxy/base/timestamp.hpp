// Points in time as PostgreSQL writes them with DateStyle ISO.

#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace postern {

/// `2030-01-31`, `2030-01-31 12:00`, `2030-01-31T12:00:00.5+02:30`, `infinity`, `-infinity`; UTC
/// where no zone is named. Fractions of a second are dropped. Absent: it is none of these.
std::optional<std::chrono::sys_seconds> parse_timestamp(std::string_view text);

/// Whether it is over by this machine's clock. In whole seconds: finer ones can't hold infinity.
bool has_passed(std::chrono::sys_seconds at) noexcept;

}  // namespace postern
