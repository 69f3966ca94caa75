// What the configuration says about servers and their pools.

#pragma once

#include "auth/scram.hpp"
#include "auth/tls.hpp"
#include "wire/frontend.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace postern::pool {

/// libpq's sslmode, but for allow.
enum class tls_mode : std::uint8_t { disable, prefer, require, verify_ca, verify_full };

/// libpq's channel_binding: whether a login is tied to the TLS that it goes through.
enum class channel_binding : std::uint8_t {
    disable,
    prefer,   ///< where the server offers it
    require,  ///< a server that logs us in without it is not believed
};

/// TLS towards a database's servers. Over Unix sockets there is none, as with libpq.
struct upstream_tls {
    tls_mode mode = tls_mode::disable;
    auth::tls_context::client_files files;  ///< for those connections that libpq makes
    auth::tls_context_ptr context;          ///< null when `mode` is disable
    channel_binding binding = channel_binding::prefer;
};

/// How long a server is lent: for one transaction, until the client leaves, or for one statement
/// (transaction blocks are refused then).
enum class pool_mode : std::uint8_t { transaction, session, statement };

/// Where a database's servers are.
struct upstream {
    std::string host =
        "127.0.0.1";  ///< a name, an address, or a folder beginning with '/' for a Unix socket
    std::uint16_t port = 5432;
    std::string database;  ///< the name at PostgreSQL
    upstream_tls tls = {};
    std::uint32_t protocol = wire::protocol_3_0;  ///< asked for; an older server may say less
};

/// How to log in there as one user.
struct credentials {
    std::string user;
    std::string password;            ///< empty: `keys`, or trust or peer
    auth::scram_keys_ptr keys = {};  ///< that a client of the pool has proven; null: none
};

struct settings {
    std::uint32_t size = 20;     ///< servers of one pool (database and user) in the whole process
    std::uint32_t min_size = 0;  ///< kept connected once the pool has been used
    std::uint32_t reserve_size = 0;  ///< servers beyond `size`, for who has waited reserve_timeout
    std::chrono::milliseconds reserve_timeout{5000};
    pool_mode mode = pool_mode::transaction;
    std::chrono::milliseconds connect_timeout{5000};
    std::chrono::milliseconds wait_timeout{30000};   ///< a client's wait for a server
    std::chrono::milliseconds idle_timeout{600000};  ///< an idle server is closed after this
    std::chrono::milliseconds lifetime{3600000};     ///< a server older than this is not lent again
    std::uint32_t prepared_statements_max = 200;     ///< kept on one server, least recently used go
};

/// What one user's pools are given instead of what their database says.
struct overrides {
    std::optional<std::uint32_t> size;
    std::optional<std::uint32_t> min_size;
    std::optional<std::uint32_t> reserve_size;
    std::optional<std::chrono::milliseconds> reserve_timeout;
    std::optional<std::chrono::milliseconds> wait_timeout;
    std::optional<pool_mode> mode;
};

/// `base` with what `own` says in its place.
settings with(settings base, const overrides& own);

}  // namespace postern::pool
