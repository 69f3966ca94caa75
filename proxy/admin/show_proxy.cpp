// SHOW as PgBouncer has it: what clients and servers do.

#include "admin/show.hpp"
#include "admin/table.hpp"

#include <algorithm>
#include <ctime>

namespace postern::admin {

namespace {

std::uint64_t per(std::uint64_t total, std::uint64_t count) {
    return count == 0 ? 0 : total / count;
}

std::string name(pool::pool_mode mode) {
    return mode == pool::pool_mode::session ? "session" : "transaction";
}

/// As PgBouncer writes points in time.
std::string format_time(wall_time at) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(at);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec);
}

table peer_table() {
    table rows;
    rows.columns(column_type::text, {"type", "user", "database", "state", "addr"})
        .columns(column_type::int4, {"port"})
        .columns(column_type::text, {"local_addr"})
        .columns(column_type::int4, {"local_port"})
        .columns(column_type::text, {"connect_time", "request_time"})
        .columns(column_type::int4, {"wait", "wait_us", "close_needed"})
        .columns(column_type::text, {"ptr", "link"})
        .columns(column_type::int4, {"remote_pid"})
        .columns(column_type::text, {"tls", "application_name"});
    return rows;
}

std::vector<cell> peer_cells(const peer& one, const char* type) {
    const auto wait = one.wait.count();
    return {
        type,
        one.user,
        one.database,
        one.state,
        one.address,
        one.port,
        one.local_address,
        one.local_port,
        format_time(one.connected_at),
        one.request_at ? cell{format_time(*one.request_at)} : cell{std::nullopt},
        wait / 1'000'000,
        wait % 1'000'000,
        0,
        one.id,
        one.link,
        one.remote_pid,
        one.tls,
        one.application_name};
}

}  // namespace

session::console_reply show_stats(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"database"})
        .columns(
            column_type::numeric,
            {"total_xact_count",
             "total_query_count",
             "total_received",
             "total_sent",
             "total_xact_time",
             "total_query_time",
             "total_wait_time",
             "avg_xact_count",
             "avg_query_count",
             "avg_recv",
             "avg_sent",
             "avg_xact_time",
             "avg_query_time",
             "avg_wait_time",
             "total_cache_hits"});
    // Averages are over the whole time since the start; PgBouncer's over its last period.
    const auto seconds = static_cast<std::uint64_t>(source.uptime().count());
    for (const auto& one : source.stats()) {
        rows.row(
            {one.database,
             one.transactions,
             one.queries,
             one.received,
             one.sent,
             one.transaction_time_us,
             one.query_time_us,
             one.wait_time_us,
             per(one.transactions, seconds),
             per(one.queries, seconds),
             per(one.received, seconds),
             per(one.sent, seconds),
             per(one.transaction_time_us, one.transactions),
             per(one.query_time_us, one.queries),
             per(one.wait_time_us, seconds),
             one.hits});
    }
    return rows.take();
}

session::console_reply show_pools(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"database", "user"})
        .columns(
            column_type::int4,
            {"cl_active",
             "cl_waiting",
             "cl_active_cancel_req",
             "cl_waiting_cancel_req",
             "sv_active",
             "sv_active_cancel",
             "sv_being_canceled",
             "sv_idle",
             "sv_used",
             "sv_tested",
             "sv_login",
             "maxwait",
             "maxwait_us"})
        .columns(column_type::text, {"pool_mode"})
        .columns(column_type::int4, {"pool_size"});
    for (const auto& one : source.pools()) {
        const auto wait = one.longest_wait.count();
        rows.row(
            {one.database,
             one.user,
             one.clients_active,
             one.clients_waiting,
             0,
             0,
             one.servers_active,
             0,
             0,
             one.servers_idle,
             0,
             0,
             one.servers_login,
             wait / 1'000'000,
             wait % 1'000'000,
             name(one.mode),
             one.size});
    }
    return rows.take();
}

session::console_reply show_clients(const console_source& source) {
    auto rows = peer_table();
    rows.columns(column_type::text, {"pin"});
    for (const auto& one : source.clients()) {
        auto cells = peer_cells(one, "C");
        cells.emplace_back(one.pin.empty() ? cell{std::nullopt} : cell{one.pin});
        rows.row(std::move(cells));
    }
    return rows.take();
}

session::console_reply show_servers(const console_source& source) {
    auto rows = peer_table();
    for (const auto& one : source.servers())
        rows.row(peer_cells(one, "S"));
    return rows.take();
}

session::console_reply show_databases(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"name", "host"})
        .columns(column_type::int4, {"port"})
        .columns(column_type::text, {"database", "force_user"})
        .columns(column_type::int4, {"pool_size", "min_pool_size", "reserve_pool"})
        .columns(column_type::text, {"pool_mode"})
        .columns(
            column_type::int4,
            {"max_connections", "current_connections", "paused", "disabled"});
    const auto settings = source.settings();
    const auto pools = source.pools();
    for (const auto& one : settings->databases) {
        std::uint32_t connections = 0;
        for (const auto& pool : pools) {
            if (pool.database != one.name) continue;
            connections += pool.servers_active + pool.servers_idle + pool.servers_login;
        }
        rows.row(
            {one.name,
             one.server.host,
             one.server.port,
             one.server.database,
             std::nullopt,
             one.pool.size,
             0,
             0,
             name(one.pool.mode),
             0,
             connections,
             0,
             0});
    }
    return rows.take();
}

session::console_reply show_users(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"name", "pool_mode", "auth"});
    const auto settings = source.settings();
    std::vector<std::pair<std::string, session::auth_method>> users;
    for (const auto& [user, entry] : settings->users)
        users.emplace_back(user, entry.method);
    std::ranges::sort(users);
    for (const auto& [user, method] : users) {
        const bool trusted = method == session::auth_method::trust;
        rows.row({user, std::nullopt, trusted ? "trust" : "scram"});
    }
    return rows.take();
}

session::console_reply show_lists(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"list"}).columns(column_type::int4, {"items"});
    const auto settings = source.settings();
    const auto pools = source.pools();
    std::uint32_t idle = 0;
    std::uint32_t used = 0;
    for (const auto& one : pools) {
        idle += one.servers_idle;
        used += one.servers_active;
    }
    rows.row({"databases", settings->databases.size()});
    rows.row({"users", settings->users.size()});
    rows.row({"pools", pools.size()});
    rows.row({"free_clients", 0});
    rows.row({"used_clients", source.clients().size()});
    rows.row({"login_clients", 0});
    rows.row({"free_servers", idle});
    rows.row({"used_servers", used});
    for (const char* one : {"dns_names", "dns_zones", "dns_queries", "dns_pending"}) {
        rows.row({one, 0});
    }
    return rows.take();
}

session::console_reply show_version(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"version"});
    rows.row({"Postern " + source.version()});
    return rows.take();
}

}  // namespace postern::admin
