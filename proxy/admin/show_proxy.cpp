// SHOW as PgBouncer has it: pools, databases, users and the process as a whole.

#include "admin/show.hpp"
#include "admin/table.hpp"

#include <algorithm>
#include <cstdint>

namespace postern::admin {

namespace {

std::string name(pool::pool_mode mode) {
    switch (mode) {
    case pool::pool_mode::session: return "session";
    case pool::pool_mode::statement: return "statement";
    case pool::pool_mode::transaction: break;
    }
    return "transaction";
}

}  // namespace

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
             one.pool.min_size,
             one.pool.reserve_size,
             name(one.pool.mode),
             one.servers_max,
             connections,
             source.is_paused(one.name) ? 1 : 0,
             source.is_disabled(one.name) ? 1 : 0});
    }
    return rows.take();
}

session::console_reply show_users(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"name", "pool_mode", "auth"});
    const auto settings = source.settings();
    std::vector<const session::user*> users;
    for (const auto& [unused, entry] : settings->users)
        users.push_back(&entry);
    std::ranges::sort(users, {}, &session::user::name);
    for (const auto* user : users) {
        const bool trusted = user->method == session::auth_method::trust;
        const auto mode = user->pool.mode ? cell{name(*user->pool.mode)} : cell{std::nullopt};
        rows.row({user->name, mode, trusted ? "trust" : "scram"});
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
    const auto clients = source.clients();
    const auto login = std::ranges::count(clients, "login", &peer::state);
    rows.row({"used_clients", static_cast<std::ptrdiff_t>(clients.size()) - login});
    rows.row({"login_clients", login});
    rows.row({"free_servers", idle});
    rows.row({"used_servers", used});
    for (const char* one : {"dns_names", "dns_zones", "dns_queries", "dns_pending"}) {
        rows.row({one, 0});
    }
    return rows.take();
}

session::console_reply show_mem(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"name"})
        .columns(column_type::int4, {"size", "used", "free", "memtotal"});
    // The columns' type is PgBouncer's; what does not fit is shown as the most that does.
    const auto fitting = [](std::uint64_t value) {
        return std::min<std::uint64_t>(value, INT32_MAX);
    };
    for (const auto& one : source.memory())
        rows.row({one.name, fitting(one.size), fitting(one.used), 0, fitting(one.total)});
    return rows.take();
}

session::console_reply show_state(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"key", "value"});
    const bool paused = source.is_paused(std::nullopt);
    rows.row({"active", paused ? "no" : "yes"});
    rows.row({"paused", paused ? "yes" : "no"});
    rows.row({"suspended", "no"});
    return rows.take();
}

session::console_reply show_dns_hosts(const console_source&) {
    table rows;
    rows.columns(column_type::text, {"hostname"})
        .columns(column_type::int8, {"ttl"})
        .columns(column_type::text, {"addrs"});
    return rows.take();
}

session::console_reply show_dns_zones(const console_source&) {
    table rows;
    rows.columns(column_type::text, {"zonename"})
        .columns(column_type::int8, {"serial"})
        .columns(column_type::int4, {"count"});
    return rows.take();
}

session::console_reply show_peers(const console_source&) {
    table rows;
    rows.columns(column_type::int4, {"peer_id"})
        .columns(column_type::text, {"host"})
        .columns(column_type::int4, {"port", "pool_size"});
    return rows.take();
}

session::console_reply show_peer_pools(const console_source&) {
    table rows;
    rows.columns(
        column_type::int4,
        {"peer_id",
         "cl_active_cancel_req",
         "cl_waiting_cancel_req",
         "sv_active_cancel",
         "sv_login"});
    return rows.take();
}

session::console_reply show_version(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"version"});
    rows.row({"Postern " + source.version()});
    return rows.take();
}

}  // namespace postern::admin
