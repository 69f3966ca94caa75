// Logging: a level, a format string, its arguments. spdlog stays behind this header.

#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace postern::log {

enum class level { debug, info, warning, error, off };

/// Sets what is written and where: lines go to stderr, as text or as one JSON object a line.
/// Call before threads start.
void configure(level threshold, bool json);

/// Whether lines of this level are written. Cheap.
bool enabled(level line_level) noexcept;

/// Writes one line. Thread-safe.
void write(level line_level, std::string_view line);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level::debug))
        write(level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level::info)) write(level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level::warning)) {
        write(level::warning, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level::error))
        write(level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace postern::log
