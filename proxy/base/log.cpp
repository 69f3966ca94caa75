#include "base/log.hpp"

#include <atomic>
#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace postern::log {

namespace {

std::atomic<level> threshold_now{level::info};
std::atomic<bool> json_now{false};

spdlog::logger& logger() {
    static const auto instance = [] {
        auto made = std::make_shared<spdlog::logger>(
            "postern",
            std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_level(spdlog::level::trace);
        made->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
        made->flush_on(spdlog::level::info);
        return made;
    }();
    return *instance;
}

spdlog::level::level_enum to_spdlog(level value) {
    switch (value) {
    case level::debug: return spdlog::level::debug;
    case level::info: return spdlog::level::info;
    case level::warning: return spdlog::level::warn;
    case level::error: return spdlog::level::err;
    case level::off: break;
    }
    return spdlog::level::off;
}

/// JSON string escapes for what a log line can hold.
std::string escaped(std::string_view line) {
    std::string out;
    for (const char c : line) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    return out;
}

}  // namespace

void configure(level threshold, bool json) {
    threshold_now = threshold;
    json_now = json;
    if (json) {
        logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":"%v"})");
    }
}

bool enabled(level line_level) noexcept {
    return line_level >= threshold_now.load(std::memory_order_relaxed);
}

void write(level line_level, std::string_view line) {
    if (json_now.load(std::memory_order_relaxed)) {
        logger().log(to_spdlog(line_level), "{}", escaped(line));
    } else {
        logger().log(to_spdlog(line_level), "{}", line);
    }
}

}  // namespace postern::log
