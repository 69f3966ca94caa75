// The running process as its console and its metrics see it: snapshots of a proxy_server, and the
// two commands that change it.

#pragma once

#include "admin/source.hpp"
#include "cli/configuration.hpp"
#include "session/proxy_server.hpp"

namespace postern::cli {

/// Every member may be called from any thread but the workers' own, since it waits for them.
class running_proxy final : public admin::console_source {
public:
    running_proxy(session::proxy_server& proxy, std::string configuration_path);

    std::vector<admin::database_stats> stats() const override;
    std::vector<admin::pool_numbers> pools() const override;
    std::vector<admin::peer> clients() const override;
    std::vector<admin::peer> servers() const override;
    admin::cache_numbers cache() const override;
    std::vector<admin::recent_statement> recent_statements() const override;
    session::settings_ptr settings() const override;
    std::string version() const override;
    std::chrono::seconds uptime() const override;
    outcome<void> reload() override;
    void flush() override;

private:
    std::vector<session::client_row> client_rows() const;

    session::proxy_server& proxy_;
    const std::string configuration_path_;
    const monotonic_ns started_at_;
};

}  // namespace postern::cli
