// A proxy that does not run: every snapshot is what the test put there.

#pragma once

#include "admin/source.hpp"

#include <memory>
#include <optional>
#include <set>
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
    std::vector<postern::admin::shadowed_shape> shadow_rows;
    postern::session::settings values;
    std::optional<std::string> reload_failure;
    int reloads = 0;
    int flushes = 0;
    std::set<std::string> paused;  ///< "" for all
    std::set<std::string> disabled;
    std::set<std::string> clients_killed;
    std::string killed;
    bool drained = true;
    std::size_t outdated_servers = 0;
    int reconnects = 0;
    std::optional<postern::admin::shutdown_mode> shut_down_how;

    std::vector<postern::admin::database_stats> stats() const override { return stats_rows; }
    postern::admin::stats_period last_period() const override { return {stats_rows, uptime()}; }
    std::vector<postern::admin::pool_numbers> pools() const override { return pool_rows; }
    std::vector<postern::admin::peer> clients() const override { return client_rows; }
    std::vector<postern::admin::peer> servers() const override { return server_rows; }
    std::vector<postern::admin::listening> listeners() const override {
        return {{5, "127.0.0.1", 6432}};
    }
    std::vector<postern::admin::memory_use> memory() const override {
        return {{"near_cache", 0, 3, std::uint64_t{1} << 40}};
    }
    postern::admin::cache_numbers cache() const override { return cache_values; }
    std::vector<postern::admin::recent_statement> recent_statements() const override {
        return recent_rows;
    }
    std::vector<postern::admin::shadowed_shape> shadowed() const override { return shadow_rows; }
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

    using scope = postern::session::database_scope;
    bool is_paused(const scope& which) const override {
        return paused.contains(which.value_or(""));
    }
    bool is_disabled(const std::string& database) const override {
        return disabled.contains(database);
    }
    void pause(const scope& which) override { paused.insert(which.value_or("")); }
    bool resume(const scope& which) override { return paused.erase(which.value_or("")) != 0; }
    bool is_drained(const scope&) override { return drained; }
    void reconnect(const scope&) override { ++reconnects; }
    std::size_t outdated(const scope&) const override { return outdated_servers; }
    void kill(const std::string& database) override { killed = database; }
    bool kill_client(const std::string& id) override {
        clients_killed.insert(id);
        return id != "c404";
    }
    void disable(const std::string& database, bool yes) override {
        if (yes) {
            disabled.insert(database);
        } else {
            disabled.erase(database);
        }
    }
    void shut_down(postern::admin::shutdown_mode how) override { shut_down_how = how; }
};
