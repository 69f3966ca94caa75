// databases, pool, cache: where answers come from, and where they are kept.

#include "cli/configuration_parts.hpp"

#include <fmt/core.h>

#include <map>
#include <mutex>

namespace postern::cli {

namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""h;

constexpr std::chrono::milliseconds days(int count) {
    return count * std::chrono::milliseconds{24h};
}

/// A database's number is part of tags and keys, so it stays the same over reloads for as long as
/// name and place do, and is never given to another.
std::uint32_t number_of(const session::database& one) {
    static std::mutex mutex;
    static std::map<std::string, std::uint32_t> known;
    const auto place = fmt::format(
        "{}\n{}\n{}\n{}",
        one.name,
        one.server.host,
        one.server.port,
        one.server.database);
    const std::scoped_lock lock{mutex};
    const auto next = static_cast<std::uint32_t>(known.size() + 1);
    return known.emplace(place, next).first->second;
}

void read_file_name(section& from, std::string_view key, std::string& into) {
    from.text(key, into);
    if (!into.empty()) into = beside(from.where().file, into);
}

void read_pool(section& from, pool::settings& into) {
    from.number("size", into.size, 1, 10000);
    from.number("min_size", into.min_size, 0, 10000);
    from.number("reserve_size", into.reserve_size, 0, 10000);
    from.duration("reserve_timeout", into.reserve_timeout, 0s, 1h);
    from.choice<pool::pool_mode>(
        "mode",
        into.mode,
        {{"transaction", pool::pool_mode::transaction},
         {"session", pool::pool_mode::session},
         {"statement", pool::pool_mode::statement}});
    if (into.min_size > into.size)
        from.refuse("min_size", fmt::format("is above size, which is {}", into.size));
    from.duration("connect_timeout", into.connect_timeout, 1ms, 1h);
    from.duration("wait_timeout", into.wait_timeout, 1ms, 1h);
    from.duration("idle_timeout", into.idle_timeout, 1s, days(7));
    from.duration("lifetime", into.lifetime, 1s, days(30));
    from.number("prepared_statements", into.prepared_statements_max, 0, 100'000);
}

using pool::tls_mode;

void read_upstream_tls(section& from, pool::upstream_tls& into) {
    from.choice<tls_mode>(
        "mode",
        into.mode,
        {{"disable", tls_mode::disable},
         {"prefer", tls_mode::prefer},
         {"require", tls_mode::require},
         {"verify-ca", tls_mode::verify_ca},
         {"verify-full", tls_mode::verify_full}});
    using pool::channel_binding;
    from.choice<channel_binding>(
        "channel_binding",
        into.binding,
        {{"disable", channel_binding::disable},
         {"prefer", channel_binding::prefer},
         {"require", channel_binding::require}});
    read_file_name(from, "root_ca", into.files.root_ca);
    read_file_name(from, "certificate", into.files.certificate);
    read_file_name(from, "key", into.files.key);
    using verification = auth::tls_context::verification;
    into.files.verify = into.mode == tls_mode::verify_full ? verification::full
                        : into.mode == tls_mode::verify_ca ? verification::ca
                                                           : verification::none;
    if (into.files.verify != verification::none && into.files.root_ca.empty())
        return from.refuse("mode", "verifies the server, which needs root_ca");
    if (into.files.certificate.empty() != into.files.key.empty())
        return from.refuse_whole("needs certificate and key together, or neither");
    if (into.binding == channel_binding::require &&
        (into.mode == tls_mode::disable || into.mode == tls_mode::prefer))
        return from.refuse("channel_binding", "is require, which needs TLS: mode require or above");
    if (into.mode == tls_mode::disable) return;
    auto made = auth::tls_context::towards_servers(into.files);
    if (!made) return from.refuse_whole(made.error().message);
    into.context = std::move(*made);
}

/// Off without this section. `into.service` is known already.
void read_shadow(section& database, session::database& into) {
    auto from = database.child("shadow");
    session::shadow_mode shadow;
    shadow.login = into.service;
    from.text("schema", shadow.how.schema);
    from.fraction("sample", shadow.how.share);
    from.duration("statement_timeout", shadow.how.statement_timeout, 1ms, 1min);
    from.number("rows", shadow.how.rows_max, 1, 1'000'000'000);
    if (from.has("user")) shadow.login = {};
    from.text("user", shadow.login.user);
    const auto password = read_secret(from, "password");
    if (password) shadow.login.password = *password;
    if (!from.present()) return;
    // PostgreSQL's NAMEDATALEN.
    if (shadow.how.schema.size() > 63)
        from.refuse("schema", "must be a name of at most 63 bytes, as PostgreSQL has them");
    if (password && !from.has("user"))
        return from.refuse_whole("has a password, but no user that it is of");
    if (shadow.login.user.empty()) {
        return from.refuse_whole(
            "needs a user, or a service.user of its database, that may SET ROLE to those of the "
            "sessions");
    }
    into.shadow = std::move(shadow);
}

void read_database(section& from, session::database& into) {
    {
        auto tls = from.child("tls");
        read_upstream_tls(tls, into.server.tls);
    }
    from.text("host", into.server.host);
    from.number("port", into.server.port, 1, 65535);
    from.text("dbname", into.server.database);
    read_protocol(from, "protocol", into.server.protocol);
    {
        auto pool = from.child("pool");
        read_pool(pool, into.pool);
    }
    {
        auto limits = from.child("limits");
        read_timeouts(limits, into.timeouts);
        limits.number("clients", into.clients_max, 1, 1'000'000);
        limits.number("servers", into.servers_max, 1, 100'000);
    }
    auto service = from.child("service");
    service.text("user", into.service.user);
    if (const auto password = read_secret(service, "password")) into.service.password = *password;
    if (service.present() && !service.has("user")) service.refuse_whole("needs a user");
    read_shadow(from, into);
    into.number = number_of(into);
}

void read_redis(section& cache, cache::redis_settings& into) {
    auto from = cache.child("redis");
    from.text("host", into.host);
    from.number("port", into.port, 1, 65535);
    from.text("unix_socket", into.unix_socket);
    if (from.has("unix_socket") && (from.has("host") || from.has("port"))) {
        from.refuse("unix_socket", "stands beside host or port: keep one");
    }
    from.text("username", into.username);
    if (const auto password = read_secret(from, "password")) into.password = *password;
    from.number("database", into.database, 0, 1'000'000);
    from.text("key_prefix", into.key_prefix);
    from.duration("timeout", into.timeout, 1ms, 10s);
    from.duration("connect_timeout", into.connect_timeout, 1ms, 1min);
    from.size("compress_above", into.compress_above_bytes, 0, 1 << 30);
    // Redis keeps no string above 512 MiB.
    from.size("value_size", into.value_bytes_max, 1 << 10, 512 << 20);
    from.number("in_flight", into.in_flight_max, 1, 1'000'000);
}

}  // namespace

void read_overrides(section& from, pool::overrides& into) {
    const auto number = [&](std::string_view key, auto& where, std::int64_t min) {
        std::uint32_t value = 0;
        from.number(key, value, min, 10000);
        if (from.has(key)) where = value;
    };
    const auto duration = [&](std::string_view key, auto& where, std::chrono::milliseconds min) {
        std::chrono::milliseconds value{0};
        from.duration(key, value, min, 1h);
        if (from.has(key)) where = value;
    };
    number("size", into.size, 1);
    number("min_size", into.min_size, 0);
    number("reserve_size", into.reserve_size, 0);
    duration("reserve_timeout", into.reserve_timeout, 0ms);
    duration("wait_timeout", into.wait_timeout, 1ms);
    pool::pool_mode mode{};
    from.choice<pool::pool_mode>(
        "mode",
        mode,
        {{"transaction", pool::pool_mode::transaction},
         {"session", pool::pool_mode::session},
         {"statement", pool::pool_mode::statement}});
    if (from.has("mode")) into.mode = mode;
}

void read_pools_and_databases(section& top, session::settings& into) {
    pool::settings shared;
    {
        auto pool = top.child("pool");
        read_pool(pool, shared);
    }
    top.each("databases", [&](const std::string& name, section& from) {
        session::database one;
        one.name = name;
        one.server.database = name;
        one.pool = shared;
        one.timeouts = into.timeouts;
        if (name == "postern" || name == "pgbouncer") {
            from.refuse_whole("has the console's name: choose another");
        }
        read_database(from, one);
        into.databases.push_back(std::move(one));
    });
    if (!top.has("databases")) {
        top.refuse("databases", "is missing: at least one has to be listed");
    }
}

void read_client_tls(section& top, session::settings& into) {
    auto from = top.child("tls");
    from.choice<bool>("mode", into.tls_required, {{"allow", false}, {"require", true}});
    auth::tls_context::server_files files;
    read_file_name(from, "certificate", files.certificate);
    read_file_name(from, "key", files.key);
    read_file_name(from, "client_ca", files.client_ca);
    if (!from.present()) return;
    into.tls_asks_for_certificates = !files.client_ca.empty();
    if (files.certificate.empty() || files.key.empty())
        return from.refuse_whole("needs certificate and key");
    auto made = auth::tls_context::towards_clients(files);
    if (!made) return from.refuse_whole(made.error().message);
    into.tls = std::move(*made);
}

void read_cache(section& top, configuration& into) {
    auto from = top.child("cache");
    from.flag("enabled", into.session.cache_enabled);
    from.size("memory", into.session.near_bytes_max, std::int64_t{1} << 20, std::int64_t{1} << 40);
    bool in_redis = false;
    from.choice<bool>("store", in_redis, {{"memory", false}, {"redis", true}});
    cache::redis_settings redis;
    read_redis(from, redis);
    if (in_redis) into.redis = std::move(redis);
}

}  // namespace postern::cli
