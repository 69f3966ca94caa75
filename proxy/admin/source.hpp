// What the console and the metrics ask of the running proxy: snapshots, and what an operator makes
// it do. The process implements it; tests make one up.

#pragma once

#include "base/reason.hpp"
#include "base/result.hpp"
#include "catalog/sampler.hpp"
#include "session/admission.hpp"
#include "session/settings.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace postern::admin {

/// The database that clients of the console are shown in.
inline constexpr const char* console_database = "postern";

using wall_time = std::chrono::system_clock::time_point;

/// What one database has done since the start. Times are in microseconds.
struct database_stats {
    std::string database;
    std::uint64_t transactions = 0;  ///< that used a server
    std::uint64_t queries = 0;       ///< statements answered, from wherever
    std::uint64_t received = 0;      ///< bytes from clients
    std::uint64_t sent = 0;          ///< bytes to clients
    std::uint64_t transaction_time_us = 0;
    std::uint64_t query_time_us = 0;
    std::uint64_t wait_time_us = 0;  ///< clients' waiting for a server
    std::uint64_t hits = 0;          ///< of `queries`, answered from the cache
};

/// What stats() has gained within the last whole minute or, before there is one, since the start.
struct stats_period {
    std::vector<database_stats> gains;
    std::chrono::microseconds length{0};
};

/// One pool: a database and a user.
struct pool_numbers {
    std::string database;
    std::string user;
    std::uint32_t clients_active = 0;   ///< lent a server, or idle
    std::uint32_t clients_waiting = 0;  ///< for a server
    std::uint32_t servers_active = 0;   ///< lent
    std::uint32_t servers_idle = 0;
    std::uint32_t servers_login = 0;  ///< being connected
    std::uint32_t size = 0;
    std::chrono::microseconds longest_wait{0};
    pool::pool_mode mode = pool::pool_mode::transaction;
};

/// A client or a server.
struct peer {
    std::string user;
    std::string database;
    std::string state;  ///< active, waiting, idle, idle in transaction, login …
    std::string address;
    std::uint16_t port = 0;
    std::string local_address;
    std::uint16_t local_port = 0;
    wall_time connected_at;
    std::optional<wall_time> request_at;
    std::chrono::microseconds wait{0};
    std::string id;    ///< what `link` of the other side names
    std::string link;  ///< the server lent to a client, the client that a server is lent to
    std::int32_t remote_pid = 0;
    std::string application_name;
    std::string pin;            ///< of a client: why it keeps its server; empty: it does not
    std::string tls = {};       ///< version and cipher; empty: none
    bool close_needed = false;  ///< of a server: as soon as it is free
    int fd = -1;
    std::size_t unread = 0;  ///< bytes received and not looked at yet
    std::size_t unsent = 0;  ///< bytes that the socket has not taken yet
};

/// What the process accepts clients on.
struct listening {
    int fd = -1;
    std::string address;  ///< "unix" for a Unix socket
    std::uint16_t port = 0;
};

/// One kind of thing in memory.
struct memory_use {
    const char* name = "";
    std::uint64_t size = 0;   ///< of one, bytes; 0: they differ
    std::uint64_t used = 0;   ///< how many there are
    std::uint64_t total = 0;  ///< bytes that all of them take
};

struct cache_numbers {
    bool enabled = true;
    std::uint64_t near_entries = 0;
    std::uint64_t near_bytes = 0;
    std::uint64_t near_bytes_max = 0;
    std::uint64_t near_evictions = 0;
    std::uint64_t fences_standing = 0;
    std::optional<bool> redis_connected;  ///< absent: no Redis is configured
};

/// A statement's shape with the fate that it last had. One row a shape and reason.
struct recent_statement {
    std::string database;
    std::string role;
    std::string text;
    std::uint64_t fingerprint = 0;
    std::uint64_t count = 0;
    reason why = reason::none;
    std::string detail;
    wall_time last_seen;
};

/// The reads of one shape and role that shadow mode has sampled.
struct shadowed_shape {
    catalog::sampled_shape what;
    wall_time last_seen;
};

/// How SHUTDOWN ends the process.
enum class shutdown_mode : std::uint8_t {
    at_once,           ///< as SIGINT: transactions are rolled back
    wait_for_servers,  ///< as SIGTERM: transactions may end within limits.drain_timeout
    wait_for_clients,  ///< nobody new is let in; until the last client has left by itself
};

/// Thread safety: every member may be called from any thread, and none blocks for long.
class console_source {
public:
    virtual ~console_source() = default;

    virtual std::vector<database_stats> stats() const = 0;
    virtual stats_period last_period() const = 0;
    virtual std::vector<pool_numbers> pools() const = 0;
    virtual std::vector<peer> clients() const = 0;
    virtual std::vector<peer> servers() const = 0;
    virtual std::vector<listening> listeners() const = 0;
    virtual std::vector<memory_use> memory() const = 0;
    virtual cache_numbers cache() const = 0;
    virtual std::vector<recent_statement> recent_statements() const = 0;
    virtual std::vector<shadowed_shape> shadowed() const = 0;
    virtual session::settings_ptr settings() const = 0;  ///< those in force; never null
    virtual std::string version() const = 0;             ///< for example 0.1.0
    virtual std::chrono::seconds uptime() const = 0;

    /// Reads the configuration again. On failure the old one stays in force.
    virtual outcome<void> reload() = 0;
    /// Drops every entry of the cache.
    virtual void flush() = 0;

    // Scopes and names are of databases in settings(): REQUIRES of all that follow.

    /// Whether exactly this was paused: a database by its own name, or all.
    virtual bool is_paused(const session::database_scope& which) const = 0;
    virtual bool is_disabled(const std::string& database) const = 0;
    /// No server is lent any more until resume(); see session::shared_state, as for the next three.
    virtual void pause(const session::database_scope& which) = 0;
    virtual bool resume(const session::database_scope& which) = 0;
    virtual bool is_drained(const session::database_scope& which) = 0;
    virtual void reconnect(const session::database_scope& which) = 0;
    /// Servers that reconnect() has made unwanted and that are still there.
    virtual std::size_t outdated(const session::database_scope& which) const = 0;
    /// Ends every client of it now.
    virtual void kill(const std::string& database) = 0;
    /// `id` as in clients(), or its number alone. False: there is no such client.
    virtual bool kill_client(const std::string& id) = 0;
    /// New clients are turned away, or let in again.
    virtual void disable(const std::string& database, bool disabled) = 0;
    /// Returns at once; the process ends later.
    virtual void shut_down(shutdown_mode how) = 0;
};

}  // namespace postern::admin
