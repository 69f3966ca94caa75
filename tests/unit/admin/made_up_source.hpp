// A proxy that does not run: every snapshot is what the test put there.

#pragma once

#include "admin/source.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

class made_up_source : public postern::admin::console_source {
public:
    std::vector<postern::admin::database_stats> stats_rows;
    std::vector<postern::admin::pool_numbers> pool_rows;
    std::vector<postern::admin::peer> client_rows;
    std::vector<postern::admin::peer> server_rows;
    postern::admin::cache_numbers cache_values;
    std::vector<postern::admin::recent_statement> recent_rows;
    postern::session::settings values;
    std::optional<std::string> reload_failure;
    int reloads = 0;
    int flushes = 0;

    std::vector<postern::admin::database_stats> stats() const override { return stats_rows; }
    std::vector<postern::admin::pool_numbers> pools() const override { return pool_rows; }
    std::vector<postern::admin::peer> clients() const override { return client_rows; }
    std::vector<postern::admin::peer> servers() const override { return server_rows; }
    postern::admin::cache_numbers cache() const override { return cache_values; }
    std::vector<postern::admin::recent_statement> recent_statements() const override {
        return recent_rows;
    }
    postern::session::settings_ptr settings() const override {
        return std::make_shared<const postern::session::settings>(values);
    }
    std::string version() const override { return "1.2.3"; }
    std::chrono::seconds uptime() const override { return std::chrono::seconds{100}; }
    postern::outcome<void> reload() override {
        ++reloads;
        if (reload_failure) return postern::failure{*reload_failure};
        return {};
    }
    void flush() override { ++flushes; }
};
