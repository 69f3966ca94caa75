#include "cli/running_proxy.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "cli/configuration_parts.hpp"
#include "session/session.hpp"

#include <fmt/format.h>

#include <atomic>
#include <charconv>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

namespace postern::cli {

namespace {

admin::wall_time ago(std::int64_t nanoseconds) {
    return std::chrono::system_clock::now() -
           std::chrono::duration_cast<std::chrono::system_clock::duration>(
               std::chrono::nanoseconds{nanoseconds});
}

/// "127.0.0.1:5432" or "[::1]:5432" taken apart; a Unix socket has no port.
std::pair<std::string, std::uint16_t> split_address(const std::string& address) {
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) return {address, 0};
    return {
        address.substr(0, colon),
        static_cast<std::uint16_t>(std::stoul(address.substr(colon + 1)))};
}

}  // namespace

running_proxy::running_proxy(session::proxy_server& proxy, std::string configuration_path)
    : proxy_{proxy}
    , configuration_path_{std::move(configuration_path)}
    , started_at_{now()}
    , period_began_at_{started_at_} {
    remember_places(*settings());
}

std::vector<admin::database_stats> running_proxy::stats() const {
    std::mutex mutex;
    std::map<std::string, session::traffic> sums;
    // Databases that nobody has used yet have a row too.
    for (const auto& one : settings()->databases)
        sums[one.name];
    proxy_.on_every_worker([&](session::worker& home) {
        const std::scoped_lock lock{mutex};
        for (const auto& [name, one] : home.traffics)
            sums[name] += one;
    });
    sums.erase("");
    std::vector<admin::database_stats> rows;
    const auto us = [](std::int64_t ns) {
        return static_cast<std::uint64_t>(ns / 1000);
    };
    for (const auto& [name, one] : sums) {
        rows.push_back(
            {name,
             one.transactions,
             one.queries,
             one.received,
             one.sent,
             us(one.server_time_ns),
             us(one.query_time_ns),
             us(one.wait_time_ns),
             one.hits});
    }
    return rows;
}

namespace {

/// What `now` has gained since `before`; databases that were not there then began with nothing.
std::vector<admin::database_stats> gains(
    std::vector<admin::database_stats> now,
    const std::vector<admin::database_stats>& before) {
    for (auto& one : now) {
        for (const auto& old : before) {
            if (old.database != one.database) continue;
            one.transactions -= old.transactions;
            one.queries -= old.queries;
            one.received -= old.received;
            one.sent -= old.sent;
            one.transaction_time_us -= old.transaction_time_us;
            one.query_time_us -= old.query_time_us;
            one.wait_time_us -= old.wait_time_us;
            one.hits -= old.hits;
        }
    }
    return now;
}

std::chrono::microseconds microseconds_since(monotonic_ns then) {
    return std::chrono::microseconds{(now() - then) / 1000};
}

}  // namespace

void running_proxy::begin_stats_period() {
    auto totals = stats();
    const std::scoped_lock lock{mutex_};
    last_period_ = admin::stats_period{
        gains(totals, period_began_with_),
        microseconds_since(period_began_at_)};
    period_began_with_ = std::move(totals);
    period_began_at_ = now();
}

admin::stats_period running_proxy::last_period() const {
    {
        const std::scoped_lock lock{mutex_};
        if (last_period_) return *last_period_;
    }
    return {stats(), microseconds_since(started_at_)};
}

std::vector<session::client_row> running_proxy::client_rows() const {
    std::mutex mutex;
    std::vector<session::client_row> rows;
    proxy_.on_every_worker([&](session::worker& home) {
        auto own = home.clients();
        const std::scoped_lock lock{mutex};
        for (auto& one : own)
            rows.push_back(std::move(one));
    });
    return rows;
}

std::vector<admin::pool_numbers> running_proxy::pools() const {
    std::map<std::pair<std::string, std::string>, std::uint32_t> clients;
    for (const auto& one : client_rows())
        ++clients[{one.database, one.user}];
    std::vector<admin::pool_numbers> rows;
    for (const auto& one : proxy_.shared().pools()) {
        const auto numbers = one->statistics();
        admin::pool_numbers row;
        row.database = one->database();
        row.user = one->user();
        row.clients_waiting = static_cast<std::uint32_t>(numbers.waiting);
        const auto connected = clients[{row.database, row.user}];
        row.clients_active = connected > row.clients_waiting ? connected - row.clients_waiting : 0;
        row.servers_active = static_cast<std::uint32_t>(numbers.lent);
        row.servers_idle = static_cast<std::uint32_t>(numbers.idle);
        row.servers_login = static_cast<std::uint32_t>(numbers.connecting);
        row.size = one->how().limits.size;
        row.mode = one->how().limits.mode;
        row.longest_wait = std::chrono::microseconds{numbers.longest_wait_ns / 1000};
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<admin::peer> running_proxy::clients() const {
    std::vector<admin::peer> rows;
    for (const auto& one : client_rows()) {
        admin::peer row;
        row.user = one.user;
        row.database = one.database.empty() ? admin::console_database : one.database;
        row.state = one.state;
        std::tie(row.address, row.port) = split_address(one.address);
        row.connected_at = ago(one.connected_ns);
        if (one.request_ns != 0) row.request_at = ago(one.request_ns);
        row.id = fmt::format("c{}", one.id);
        std::tie(row.local_address, row.local_port) = split_address(one.local_address);
        row.remote_pid = one.remote_pid;
        if (one.server) row.link = fmt::format("s{}", one.server->pid);
        row.fd = one.fd;
        row.unread = one.unread;
        row.unsent = one.unsent;
        row.application_name = one.application_name;
        row.pin = one.pin;
        row.tls = one.tls;
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<admin::peer> running_proxy::servers() const {
    std::vector<admin::peer> rows;
    const auto add = [&](const pool::pool& from,
                         const pool::server_row& one,
                         const char* state) -> admin::peer& {
        auto& row = rows.emplace_back();
        row.user = from.user();
        row.database = from.database();
        row.state = state;
        row.address = from.how().where.host;
        row.port = from.how().where.port;
        std::tie(row.local_address, row.local_port) = split_address(one.local_address);
        row.connected_at = ago(one.age_ns);
        row.id = fmt::format("s{}", one.pid);
        row.remote_pid = one.pid;
        row.tls = one.tls;
        row.close_needed = one.outdated;
        row.fd = one.fd;
        row.unread = one.unread;
        row.unsent = one.unsent;
        return row;
    };
    std::mutex mutex;
    const auto pools = proxy_.shared().pools();
    proxy_.on_every_worker([&](session::worker& home) {
        for (const auto& one : pools) {
            const auto idle = one->idle_servers(home.number);
            const std::scoped_lock lock{mutex};
            for (const auto& server : idle)
                add(*one, server, "idle");
        }
    });
    for (const auto& client : client_rows()) {
        if (!client.server) continue;
        for (const auto& one : pools) {
            if (one->database() != client.database || one->user() != client.user) continue;
            auto& row = add(*one, *client.server, "active");
            row.link = fmt::format("c{}", client.id);
            row.application_name = client.application_name;
            if (client.request_ns != 0) row.request_at = ago(client.request_ns);
        }
    }
    return rows;
}

std::vector<admin::listening> running_proxy::listeners() const {
    std::vector<admin::listening> rows;
    for (const auto& one : proxy_.sockets()) {
        const auto where = one.actual();
        const bool local = where.address.starts_with('/');
        rows.push_back({one.fd(), local ? "unix" : where.address, where.port});
    }
    return rows;
}

std::vector<admin::memory_use> running_proxy::memory() const {
    const auto near = proxy_.shared().near.statistics();
    const std::uint64_t clients = proxy_.shared().clients.load();
    std::uint64_t servers = 0;
    const auto pools = proxy_.shared().pools();
    for (const auto& one : pools)
        servers += one->servers();
    const auto alike = [](const char* name, std::uint64_t size, std::uint64_t count) {
        return admin::memory_use{name, size, count, size * count};
    };
    return {
        alike("client_cache", sizeof(session::session), clients),
        alike("server_cache", sizeof(pool::server), servers),
        alike("pool_cache", sizeof(pool::pool), pools.size()),
        {"near_cache", 0, near.entries, near.bytes}};
}

admin::cache_numbers running_proxy::cache() const {
    const auto near = proxy_.shared().near.statistics();
    admin::cache_numbers out;
    out.enabled = settings()->cache_enabled;
    out.near_entries = near.entries;
    out.near_bytes = near.bytes;
    out.near_bytes_max = near.bytes_max;
    out.near_evictions = near.evictions;
    out.fences_standing = proxy_.shared().versions.fences_standing();
    if (proxy_.shared().redis) {
        std::atomic<bool> connected{true};
        proxy_.on_every_worker([&](session::worker& home) {
            if (home.redis == nullptr || !home.redis->connected()) connected = false;
        });
        out.redis_connected = connected.load();
    }
    return out;
}

std::vector<admin::recent_statement> running_proxy::recent_statements() const {
    std::vector<admin::recent_statement> rows;
    const auto at = now();
    for (const auto& home : proxy_.shared().workers) {
        for (auto& one : home->plans.why()) {
            admin::recent_statement row;
            row.database = std::move(one.database);
            row.role = std::move(one.role);
            row.text = std::move(one.text);
            row.fingerprint = one.fingerprint;
            row.count = one.count;
            row.why = one.last;
            row.detail = std::move(one.detail);
            row.last_seen = ago(at - one.last_seen);
            rows.push_back(std::move(row));
        }
    }
    return rows;
}

std::vector<admin::shadowed_shape> running_proxy::shadowed() const {
    std::vector<admin::shadowed_shape> rows;
    const auto at = now();
    for (auto& one : proxy_.shared().sampled_shapes()) {
        const auto seen = ago(at - one.last_seen);
        rows.push_back({std::move(one), seen});
    }
    return rows;
}

session::settings_ptr running_proxy::settings() const {
    return proxy_.shared().settings();
}

std::string running_proxy::version() const {
    return version_number();
}

std::chrono::seconds running_proxy::uptime() const {
    return std::chrono::seconds{(now() - started_at_) / 1'000'000'000};
}

outcome<void> running_proxy::reload() {
    auto fresh = load_configuration(configuration_path_);
    outcome<void> done = boost::system::in_place_value;
    if (!fresh) {
        done = fresh.error();
    } else {
        done = fits_what_stands(fresh->session);
    }
    if (!done) {
        log::error("reload refused, the old configuration stays: {}", done.error().message);
        return done;
    }
    remember_places(fresh->session);
    proxy_.reload(std::make_shared<const session::settings>(std::move(fresh->session)));
    log::info("reloaded {}", configuration_path_);
    return boost::system::in_place_value;
}

void running_proxy::remember_places(const session::settings& of) {
    const std::scoped_lock lock{mutex_};
    for (const auto& one : of.databases)
        places_.emplace(one.name, one.server);
}

/// Sockets, and what is connected to a database, stay what they are: a configuration that is sound
/// by itself may not be sound with them.
outcome<void> running_proxy::fits_what_stands(const session::settings& fresh) const {
    const std::scoped_lock lock{mutex_};
    for (const auto& one : fresh.databases) {
        const auto known = places_.find(one.name);
        if (known == places_.end()) continue;
        const auto& was = known->second;
        if (std::tie(was.host, was.port, was.database) ==
            std::tie(one.server.host, one.server.port, one.server.database))
            continue;
        return failure{fmt::format(
            "{}: databases.{} is at another host, port or dbname than when it was first loaded "
            "({}:{}/{}); that takes a restart, or serve --takeover",
            configuration_path_,
            one.name,
            was.host,
            was.port,
            was.database)};
    }
    if (fresh.access) return boost::system::in_place_value;
    for (const auto& socket : proxy_.listening()) {
        if (is_local(socket)) continue;
        for (const auto& [name, user] : fresh.users) {
            if (user.method != session::auth_method::trust) continue;
            return failure{fmt::format(
                "{}: users has auth: trust for \"{}\", and {} is still listened on, which is "
                "neither a loopback address nor a Unix socket",
                configuration_path_,
                name,
                socket.address)};
        }
    }
    return boost::system::in_place_value;
}

void running_proxy::flush() {
    proxy_.flush();
    log::info("the cache was flushed");
}

namespace {

std::string named(const session::database_scope& which) {
    return which ? fmt::format("database {}", *which) : "all databases";
}

}  // namespace

bool running_proxy::is_paused(const session::database_scope& which) const {
    return proxy_.shared().admits.is_switched(which);
}

bool running_proxy::is_disabled(const std::string& database) const {
    return proxy_.shared().admits.is_disabled(database);
}

void running_proxy::pause(const session::database_scope& which) {
    proxy_.shared().pause(which);
    log::info("{}: paused", named(which));
}

bool running_proxy::resume(const session::database_scope& which) {
    if (!proxy_.shared().resume(which)) return false;
    log::info("{}: resumed", named(which));
    return true;
}

bool running_proxy::is_drained(const session::database_scope& which) {
    return proxy_.shared().is_drained(which);
}

void running_proxy::reconnect(const session::database_scope& which) {
    proxy_.shared().reconnect(which);
    log::info("{}: reconnecting", named(which));
}

std::size_t running_proxy::outdated(const session::database_scope& which) const {
    return proxy_.shared().outdated(which);
}

void running_proxy::kill(const std::string& database) {
    proxy_.on_every_worker([&](session::worker& home) { home.kill_sessions(database); });
    log::info("database {}: its clients were ended", database);
}

bool running_proxy::kill_client(const std::string& id) {
    const auto digits = std::string_view{id}.substr(id.starts_with('c') ? 1 : 0);
    std::uint64_t number = 0;
    const auto* const end = digits.data() + digits.size();
    if (const auto read = std::from_chars(digits.data(), end, number);
        read.ec != std::errc{} || read.ptr != end)
        return false;
    std::atomic<bool> found{false};
    proxy_.on_every_worker([&](session::worker& home) {
        if (home.kill_session(number)) found = true;
    });
    return found;
}

void running_proxy::disable(const std::string& database, bool disabled) {
    proxy_.shared().admits.disable(database, disabled);
    log::info("database {}: {}", database, disabled ? "disabled" : "enabled");
}

void running_proxy::shut_down(admin::shutdown_mode how) {
    on_shut_down(how);
}

}  // namespace postern::cli
