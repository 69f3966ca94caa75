// What the configuration says about clients: where they connect, who they are, what they get.

#pragma once

#include "auth/access.hpp"
#include "cache/rules.hpp"
#include "catalog/sampler.hpp"
#include "identity/settings.hpp"
#include "pool/settings.hpp"
#include "wire/frontend.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace postern::session {

struct listener {
    std::string address =
        "127.0.0.1";            ///< an address, or a folder beginning with '/' for a Unix socket
    std::uint16_t port = 6432;  ///< 0: any free one, printed when listening
};

enum class auth_method : std::uint8_t {
    scram,  ///< SCRAM-SHA-256
    trust,  ///< no password; refused by the configuration for anything but loopback and Unix
            ///< sockets
};

/// How long clients may take; 0: as long as they like. The resolution is that of sweep_interval().
struct client_timeouts {
    std::chrono::milliseconds query{0};             ///< one request runs at PostgreSQL
    std::chrono::milliseconds client_idle{0};       ///< nothing is asked, outside a transaction
    std::chrono::milliseconds idle_transaction{0};  ///< nothing is asked, inside one
    std::chrono::milliseconds transaction{0};       ///< from its first statement to its end
};

/// What one user is given instead of what his database says.
struct timeout_overrides {
    std::optional<std::chrono::milliseconds> query;
    std::optional<std::chrono::milliseconds> client_idle;
    std::optional<std::chrono::milliseconds> idle_transaction;
    std::optional<std::chrono::milliseconds> transaction;
};

/// Someone who may log in.
struct user {
    std::string name;
    auth_method method = auth_method::scram;
    std::string verifier;  ///< SCRAM-SHA-256$…; derived at start when a password was configured
    std::string upstream_password;  ///< how the pool logs in at PostgreSQL as this user; empty: by
                                    ///< what the client has proven, or trust
    timeout_overrides timeouts = {};
    pool::overrides pool = {};
    bool may_replicate = false;     ///< open replication connections
    std::uint32_t clients_max = 0;  ///< of this user, at all databases; 0: as many as there may be
    std::uint32_t servers_max = 0;  ///< likewise, of his pools together
    std::optional<std::chrono::sys_seconds> valid_until =
        {};  ///< of the password; absent: for ever
};

/// Shadow mode of a database, see catalog/sampler.hpp.
struct shadow_mode {
    pool::credentials login;        ///< of Postern's own that runs reads a second time
    catalog::sampler_settings how;  ///< but for the conninfo
};

/// One name that clients may connect to.
struct database {
    std::string name;  ///< what clients ask for
    pool::upstream server;
    pool::settings pool;
    /// Role and password of Postern's own connections (catalog, auth_query).
    pool::credentials service;
    std::optional<shadow_mode> shadow = {};  ///< absent: off
    std::uint32_t number = 0;                ///< unique in the process; part of tags and keys
    client_timeouts timeouts = {};
    std::uint32_t clients_max = 0;  ///< of all its users; 0: as many as there may be
    std::uint32_t servers_max = 0;  ///< likewise, of its pools together
};

enum class rls_mode : std::uint8_t { optional, required };

/// One immutable version of everything that a reload may change; swapped as a whole.
struct settings {
    std::vector<listener> listeners;
    /// Null: clients that ask for TLS are told that there is none.
    auth::tls_context_ptr tls;
    bool tls_required = false;  ///< of clients that come over TCP
    bool tls_asks_for_certificates = false;
    /// Who may come from where; the first that is meant for a client says what he has to show, in
    /// place of the user's own method. Absent: the user's own method decides, from everywhere.
    std::optional<std::vector<auth::access_rule>> access;
    /// The newest version of the protocol that clients are given.
    std::uint32_t client_protocol = wire::protocol_latest;
    std::vector<database> databases;
    /// "*" in `databases`' name position is not supported: every database is listed.
    std::unordered_map<std::string, user> users;
    /// SELECT … that takes $1 = user name and yields name, verifier; empty: only `users` may log
    /// in.
    std::string auth_query;
    auth_method auth_query_method = auth_method::scram;
    std::vector<std::string> admin_users;  ///< who may use the console databases
    std::vector<std::string> stats_users;  ///< who may do so to look, but not to act
    identity::settings identity;
    rls_mode rls = rls_mode::optional;

    bool cache_enabled = true;
    cache::rule_set rules;
    std::size_t near_bytes_max = std::size_t{256} << 20;

    std::uint32_t clients_max = 10000;
    client_timeouts timeouts;  ///< of databases that say nothing else
    std::chrono::milliseconds login_timeout{30000};
    std::chrono::milliseconds stop_delay{0};  ///< between /readyz failing and the listeners closing
    std::chrono::milliseconds drain_timeout{30000};
    std::chrono::milliseconds takeover_timeout{30000};       ///< for the catalog, see --takeover
    std::size_t statement_bytes_max = std::size_t{1} << 30;  ///< of one client message kept whole
    unsigned threads = 0;                                    ///< 0: one for every two cores
};

using settings_ptr = std::shared_ptr<const settings>;

}  // namespace postern::session
