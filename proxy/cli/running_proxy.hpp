// The running process as its console and its metrics see it: snapshots of a proxy_server, and what
// an operator makes it do.

#pragma once

#include "admin/source.hpp"
#include "cli/configuration.hpp"
#include "session/proxy_server.hpp"

#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace postern::cli {

/// Every member may be called from any thread but the workers' own, since it waits for them.
class running_proxy final : public admin::console_source {
public:
    running_proxy(session::proxy_server& proxy, std::string configuration_path);

    /// What SHUTDOWN calls; it must not block. Set before anyone can ask for it.
    std::function<void(admin::shutdown_mode)> on_shut_down;
    /// To be called once a period: averages are over the last whole one.
    static constexpr std::chrono::seconds stats_period{60};
    void begin_stats_period();

    std::vector<admin::database_stats> stats() const override;
    admin::stats_period last_period() const override;
    std::vector<admin::pool_numbers> pools() const override;
    std::vector<admin::peer> clients() const override;
    std::vector<admin::peer> servers() const override;
    std::vector<admin::listening> listeners() const override;
    std::vector<admin::memory_use> memory() const override;
    admin::cache_numbers cache() const override;
    std::vector<admin::recent_statement> recent_statements() const override;
    std::vector<admin::shadowed_shape> shadowed() const override;
    session::settings_ptr settings() const override;
    std::string version() const override;
    std::chrono::seconds uptime() const override;
    outcome<void> reload() override;
    void flush() override;
    bool is_paused(const session::database_scope& which) const override;
    bool is_disabled(const std::string& database) const override;
    void pause(const session::database_scope& which) override;
    bool resume(const session::database_scope& which) override;
    bool is_drained(const session::database_scope& which) override;
    void reconnect(const session::database_scope& which) override;
    std::size_t outdated(const session::database_scope& which) const override;
    void kill(const std::string& database) override;
    bool kill_client(const std::string& id) override;
    void disable(const std::string& database, bool disabled) override;
    void shut_down(admin::shutdown_mode how) override;

private:
    std::vector<session::client_row> client_rows() const;
    void remember_places(const session::settings& of);
    outcome<void> fits_what_stands(const session::settings& fresh) const;

    session::proxy_server& proxy_;
    const std::string configuration_path_;
    const monotonic_ns started_at_;

    mutable std::mutex mutex_;                      // guards what follows
    std::map<std::string, pool::upstream> places_;  // of all databases that there were, by name
    std::vector<admin::database_stats> period_began_with_;
    monotonic_ns period_began_at_;
    std::optional<admin::stats_period> last_period_;
};

}  // namespace postern::cli
