#include "cli/running_proxy.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "cli/commands.hpp"

#include <fmt/format.h>

#include <map>
#include <mutex>
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
    , started_at_{now()} {}

/// Counters are the process's; with one database they are that database's as well.
std::vector<admin::database_stats> running_proxy::stats() const {
    using metrics::counter;
    using metrics::histogram;
    const auto all = metrics::collect();
    const auto sum_us = [&](histogram which) {
        return all.histograms[static_cast<std::size_t>(which)].sum_ns / 1000;
    };
    admin::database_stats total;
    const auto configuration = settings();
    total.database = configuration->databases.empty() ? "" : configuration->databases.front().name;
    total.transactions = all[counter::transactions];
    total.queries = all[counter::statements];
    total.received = all[counter::bytes_from_clients];
    total.sent = all[counter::bytes_to_clients];
    total.query_time_us = sum_us(histogram::latency_server) + sum_us(histogram::latency_near) +
                          sum_us(histogram::latency_redis);
    total.transaction_time_us = sum_us(histogram::latency_server);
    total.wait_time_us = sum_us(histogram::pool_wait);
    total.hits = all[counter::hits_near] + all[counter::hits_redis];
    return {total};
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
        row.database = one.database.empty() ? "postern" : one.database;
        row.state = one.state;
        std::tie(row.address, row.port) = split_address(one.address);
        row.connected_at = ago(one.connected_ns);
        if (one.request_ns != 0) row.request_at = ago(one.request_ns);
        row.id = fmt::format("c{}", one.id);
        if (one.server_pid != 0) row.link = fmt::format("s{}", one.server_pid);
        row.application_name = one.application_name;
        row.pin = one.pin;
        row.tls = one.tls;
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<admin::peer> running_proxy::servers() const {
    std::vector<admin::peer> rows;
    const auto describe = [](const pool::pool& from,
                             const std::string& state,
                             std::int32_t pid,
                             std::int64_t age_ns) {
        admin::peer row;
        row.user = from.user();
        row.database = from.database();
        row.state = state;
        row.address = from.how().where.host;
        row.port = from.how().where.port;
        row.connected_at = ago(age_ns);
        row.id = fmt::format("s{}", pid);
        row.remote_pid = pid;
        return row;
    };
    for (const auto& one : proxy_.shared().pools()) {
        std::mutex mutex;
        proxy_.on_every_worker([&](session::worker& home) {
            const auto idle = one->idle_servers(home.number);
            const std::scoped_lock lock{mutex};
            for (const auto& server : idle)
                rows.push_back(describe(*one, "idle", server.pid, server.age_ns));
        });
    }
    for (const auto& client : client_rows()) {
        if (client.server_pid == 0) continue;
        for (const auto& one : proxy_.shared().pools()) {
            if (one->database() != client.database || one->user() != client.user) continue;
            auto row = describe(*one, "active", client.server_pid, 0);
            row.link = fmt::format("c{}", client.id);
            rows.push_back(std::move(row));
        }
    }
    return rows;
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
    if (!fresh) {
        log::error("reload refused, the old configuration stays: {}", fresh.error().message);
        return fresh.error();
    }
    proxy_.reload(std::make_shared<const session::settings>(std::move(fresh->session)));
    log::info("reloaded {}", configuration_path_);
    return boost::system::in_place_value;
}

void running_proxy::flush() {
    proxy_.flush();
    log::info("the cache was flushed");
}

}  // namespace postern::cli
