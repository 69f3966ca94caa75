// Logging in to PostgreSQL: connect, startup, authentication, what the server reports.
// https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.3

#pragma once

#include "pool/server.hpp"
#include "pool/settings.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace postern::pool {

/// Why there is no server: what a client is told. `code` is a SQLSTATE.
struct connect_failure {
    std::string code = "08006";
    std::string message;
    /// PostgreSQL itself refused (wrong password, no such database): trying again won't help.
    bool refused_by_server = false;
};

/// What a fresh session of this database and user has by default, as the server itself says.
struct server_defaults {
    std::string search_path;
    std::string default_transaction_isolation;
    std::string started_at;  ///< pg_postmaster_start_time()
    std::string output;      ///< the settings that shape answers, one after the other
    friend bool operator==(const server_defaults&, const server_defaults&) = default;
};

struct connect_request {
    upstream where;
    credentials who;
    settings limits;
    /// Startup parameters beside user and database.
    std::vector<std::pair<std::string, std::string>> parameters = {};
    /// Whether the server is asked for its defaults, which a replication connection may not be.
    bool asks_defaults = true;
};

/// Exactly one of `made` and `failure` is set.
struct connect_outcome {
    server_ptr made;
    server_defaults defaults;
    std::optional<connect_failure> failure;
};

/// Connects on `where`'s thread and calls `done` there, once, never from within this call, unless
/// the returned handle is destroyed first.
class connector;
std::shared_ptr<connector> connect(
    poller& where,
    connect_request request,
    std::function<void(connect_outcome)> done);

/// Sends a CancelRequest for `pid` and `secret` to `where` on a connection of its own, and calls
/// `done` when PostgreSQL has closed it (the signal has been sent by then) or it failed.
void send_cancel(
    poller& events,
    const upstream& where,
    std::int32_t pid,
    const std::string& secret,
    std::function<void()> done);

}  // namespace postern::pool
