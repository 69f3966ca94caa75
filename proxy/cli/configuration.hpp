// config/postern.yaml and config/rules.yaml: read, checked against what is possible, turned into
// the rooms' own settings. Every refusal names file, line and column and says what was expected.

#pragma once

#include "base/log.hpp"
#include "base/result.hpp"
#include "cache/redis_store.hpp"
#include "catalog/watcher.hpp"
#include "session/settings.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace postern::cli {

struct admin_settings {
    std::string http_address = "127.0.0.1";
    /// Of /metrics, /healthz and /readyz; absent: no HTTP; 0: any free one.
    std::optional<std::uint16_t> http_port;
};

struct configuration {
    std::string path;        ///< of postern.yaml
    std::string rules_path;  ///< as it was resolved
    session::settings session;
    std::optional<cache::redis_settings> redis;
    admin_settings admin;
    std::chrono::milliseconds catalog_poll_interval{2000};
    log::level log_level = log::level::info;
    bool log_json = false;
    std::string runtime_dir;  ///< where a successor finds this process; empty: nowhere
};

/// Reads both files. A failure's message is what the user sees, for example
/// `config/postern.yaml:12:9: pool.size must be a whole number from 1 to 10000, not "many"`.
outcome<configuration> load_configuration(const std::string& path);

}  // namespace postern::cli
