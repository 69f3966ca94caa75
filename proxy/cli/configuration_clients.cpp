// listen, admin, users, identity: who connects, where, and as whom.

#include "auth/scram.hpp"
#include "base/timestamp.hpp"
#include "cli/configuration_parts.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <sys/un.h>

namespace postern::cli {

namespace {

/// Longest folder whose socket's whole name still fits in sockaddr_un.
constexpr std::size_t folder_size_max = sizeof(sockaddr_un{}.sun_path) - sizeof("/.s.PGSQL.65535");

bool is_address(const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    return ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
           ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

bool is_listenable(section& from, const std::string& address) {
    if (address.starts_with('/')) {
        if (address.size() <= folder_size_max) return true;
        from.refuse(
            "address",
            fmt::format("is too long for a Unix socket: at most {} characters", folder_size_max));
        return false;
    }
    if (is_address(address)) return true;
    from.refuse(
        "address",
        fmt::format(
            "must be an IP address (0.0.0.0 for all) or a folder that begins with '/', not \"{}\"",
            address));
    return false;
}

void read_validity(section& from, session::user& into) {
    std::string until;
    from.text("valid_until", until);
    if (until.empty()) return;
    into.valid_until = parse_timestamp(until);
    if (!into.valid_until) {
        from.refuse(
            "valid_until",
            fmt::format(
                "must be a point in time such as 2030-01-31 12:00:00+00, not \"{}\"",
                until));
    } else if (into.method == session::auth_method::trust) {
        from.refuse("valid_until", "is about the password, and auth: trust asks for none");
    }
}

void read_credentials(section& from, session::user& into) {
    const auto password = read_secret(from, "password");
    const auto upstream = read_secret(from, "upstream_password");
    std::string verifier;
    from.text("verifier", verifier);

    const bool has_password = from.has("password") || from.has("password_env") ||
                              from.has("password_file");
    if (into.method == session::auth_method::trust) {
        if (has_password || from.has("verifier")) {
            from.refuse("auth", "is trust, which asks for no password; take the password out");
        }
    } else if (from.has("verifier")) {
        if (has_password) from.refuse("verifier", "stands beside a password: keep one");
        if (auth::scram_verifier::parse(verifier).has_error()) {
            from.refuse("verifier", "must be a SCRAM-SHA-256$… verifier, as pg_authid holds it");
        }
        into.verifier = verifier;
    } else if (password) {
        constexpr std::size_t salt_size = 16;  // as PostgreSQL's own
        into.verifier =
            auth::scram_verifier::derive(*password, auth::random_bytes(salt_size)).to_string();
    } else if (!has_password && from.present()) {
        from.refuse_whole("needs one of password_env, password_file, password, verifier");
    }
    read_validity(from, into);
    into.upstream_password = upstream ? *upstream : password.value_or("");
}

/// What the user's own section says; the rest is his database's.
void read_overrides(section& from, session::timeout_overrides& into) {
    session::client_timeouts own;
    read_timeouts(from, own);
    const auto keep = [&](std::string_view key, auto& where, std::chrono::milliseconds value) {
        if (from.has(key)) where = value;
    };
    keep("query_timeout", into.query, own.query);
    keep("client_idle_timeout", into.client_idle, own.client_idle);
    keep("idle_transaction_timeout", into.idle_transaction, own.idle_transaction);
    keep("transaction_timeout", into.transaction, own.transaction);
}

/// A custom variable of PostgreSQL: words with dots between them, here in lower case.
bool is_variable(std::string_view text) {
    const auto is_first = [](char c) {
        return (c >= 'a' && c <= 'z') || c == '_';
    };
    bool dotted = false;
    bool at_start = true;
    for (const char c : text) {
        if (c == '.') {
            if (at_start) return false;
            dotted = at_start = true;
        } else if (is_first(c) || (!at_start && c >= '0' && c <= '9')) {
            at_start = false;
        } else {
            return false;
        }
    }
    return dotted && !at_start;
}

void read_variables(section& identity, std::vector<std::string>& into) {
    std::vector<std::string> named;
    identity.texts("variables", named);
    for (std::size_t i = 0; i < named.size(); ++i) {
        const auto& name = named[i];
        if (!is_variable(name)) {
            identity.refuse_item(
                "variables",
                i,
                fmt::format(
                    "must be a lower-case name with a dot, such as app.user_id, not \"{}\"",
                    name));
        } else if (name.starts_with("postern.")) {
            identity.refuse_item("variables", i, "begins with postern., which is Postern's own");
        } else if (std::ranges::find(into, name) != into.end()) {
            identity.refuse_item("variables", i, fmt::format("names \"{}\" a second time", name));
        } else {
            into.push_back(name);
        }
    }
}

}  // namespace

bool is_local(const session::listener& where) noexcept {
    return where.address.starts_with('/') || where.address.starts_with("127.") ||
           where.address == "::1";
}

void read_protocol(section& from, std::string_view key, std::uint32_t& into) {
    from.choice<std::uint32_t>(
        key,
        into,
        {{"3.0", wire::protocol_3_0},
         {"3.2", wire::protocol_3_2},
         {"latest", wire::protocol_latest}});
}

void read_listeners(section& top, session::settings& into) {
    read_protocol(top, "client_protocol", into.client_protocol);
    top.each_item("listen", [&](section& from) {
        session::listener one;
        from.text("address", one.address);
        from.number("port", one.port, 0, 65535);
        if (!from.has("address")) {
            if (from.present()) from.refuse_whole("needs an address");
            return;
        }
        if (!is_listenable(from, one.address)) return;
        for (const auto& other : into.listeners) {
            if (other.address != one.address || other.port != one.port || one.port == 0) continue;
            from.refuse_whole(fmt::format("is {} port {} a second time", one.address, one.port));
        }
        into.listeners.push_back(std::move(one));
    });
    if (!top.has("listen")) {
        top.refuse("listen", "is missing: where clients connect");
    } else if (into.listeners.empty() && top.found().problems.empty()) {
        top.refuse("listen", "is empty: where clients connect");
    }
}

void read_admin(section& top, configuration& into) {
    auto admin = top.child("admin");
    admin.texts("users", into.session.admin_users);
    admin.texts("stats_users", into.session.stats_users);
    auto http = admin.child("http");
    http.text("address", into.admin.http_address);
    if (http.has("address") && !is_address(into.admin.http_address)) {
        http.refuse(
            "address",
            fmt::format("must be an IP address, not \"{}\"", into.admin.http_address));
    }
    std::uint16_t port = 0;
    http.number("port", port, 0, 65535);
    if (http.has("port")) {
        into.admin.http_port = port;
    } else if (http.present()) {
        http.refuse_whole("needs a port");
    }
}

void read_users(section& top, session::settings& into) {
    top.each("users", [&](const std::string& name, section& from) {
        session::user one;
        one.name = name;
        from.choice<session::auth_method>(
            "auth",
            one.method,
            {{"scram", session::auth_method::scram}, {"trust", session::auth_method::trust}});
        if (!from.present()) {
            from.refuse_whole("needs one of password_env, password_file, password, verifier");
        }
        read_credentials(from, one);
        from.flag("replication", one.may_replicate);
        auto limits = from.child("limits");
        read_overrides(limits, one.timeouts);
        limits.number("clients", one.clients_max, 1, 1'000'000);
        limits.number("servers", one.servers_max, 1, 100'000);
        auto pool = from.child("pool");
        read_overrides(pool, one.pool);
        into.users.emplace(name, std::move(one));
    });
    top.text("auth_query", into.auth_query);
    if (into.users.empty() && !top.has("users") && into.auth_query.empty()) {
        top.refuse("users", "is missing, and auth_query too: nobody could log in");
    }
}

void read_identity(section& top, session::settings& into) {
    auto from = top.child("identity");
    auto& identity = into.identity;
    read_variables(from, identity.variables);
    auto trust = from.child("trust");
    trust.flag("client_set", identity.trust_client_set);
    trust.flag("startup_parameters", identity.trust_startup_parameters);
    from.each("by_login", [&](const std::string& login, section& values) {
        auto all = values.pairs();
        for (const auto& [variable, value] : all) {
            if (std::ranges::find(identity.variables, variable) != identity.variables.end())
                continue;
            values.refuse(variable, "is not one of identity.variables");
        }
        identity.by_login.emplace(login, std::move(all));
    });
    top.choice<session::rls_mode>(
        "rls",
        into.rls,
        {{"optional", session::rls_mode::optional}, {"required", session::rls_mode::required}});
}

}  // namespace postern::cli
