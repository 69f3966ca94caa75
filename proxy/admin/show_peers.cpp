// SHOW as PgBouncer has it: clients, servers and their sockets.

#include "admin/show.hpp"
#include "admin/table.hpp"

#include <ctime>

namespace postern::admin {

namespace {

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
        one.close_needed ? 1 : 0,
        one.id,
        one.link,
        one.remote_pid,
        one.tls,
        one.application_name};
}

/// The buffers' columns behind the peer's.
table socket_table() {
    auto rows = peer_table();
    rows.columns(
        column_type::int4,
        {"recv_pos",
         "pkt_pos",
         "pkt_remain",
         "send_pos",
         "send_remain",
         "pkt_avail",
         "send_avail"});
    return rows;
}

void add_socket(table& rows, peer one, const char* type, const char* prefix) {
    one.state.insert(0, prefix);
    auto cells = peer_cells(one, type);
    // Positions are of buffers that are not kept here: what is unread begins at 0.
    const cell buffers[] = {one.unread, 0, 0, 0, one.unsent, one.unread, one.unsent};
    cells.insert(cells.end(), std::begin(buffers), std::end(buffers));
    rows.row(std::move(cells));
}

session::console_reply show_sockets_where(
    const console_source& source,
    bool (*wanted)(const peer&)) {
    auto rows = socket_table();
    for (const auto& one : source.clients()) {
        if (wanted(one)) add_socket(rows, one, "C", "cl_");
    }
    for (const auto& one : source.servers()) {
        if (wanted(one)) add_socket(rows, one, "S", "sv_");
    }
    return rows.take();
}

/// What PgBouncer would hand to a process that takes over; keys and passwords are never shown.
void add_descriptor(table& rows, int fd, const char* task, const peer& of) {
    rows.row(
        {fd,
         task,
         of.user.empty() ? cell{std::nullopt} : cell{of.user},
         of.database.empty() ? cell{std::nullopt} : cell{of.database},
         of.address,
         of.port,
         0,
         0,
         std::nullopt,
         std::nullopt,
         std::nullopt,
         std::nullopt,
         std::nullopt,
         std::nullopt,
         std::nullopt});
}

}  // namespace

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

session::console_reply show_sockets(const console_source& source) {
    return show_sockets_where(source, [](const peer&) { return true; });
}

session::console_reply show_active_sockets(const console_source& source) {
    return show_sockets_where(source, [](const peer& one) { return one.state == "active"; });
}

session::console_reply show_fds(const console_source& source) {
    table rows;
    rows.columns(column_type::int4, {"fd"})
        .columns(column_type::text, {"task", "user", "database", "addr"})
        .columns(column_type::int4, {"port"})
        .columns(column_type::int8, {"cancel"})
        .columns(column_type::int4, {"link"})
        .columns(
            column_type::text,
            {"client_encoding", "std_strings", "datestyle", "timezone", "password"})
        .columns(column_type::bytea, {"scram_client_key", "scram_server_key"});
    for (const auto& one : source.listeners()) {
        peer where;
        where.address = one.address;
        where.port = one.port;
        add_descriptor(rows, one.fd, "pooler", where);
    }
    for (const auto& one : source.clients())
        add_descriptor(rows, one.fd, "client", one);
    for (const auto& one : source.servers())
        add_descriptor(rows, one.fd, "server", one);
    return rows.take();
}

}  // namespace postern::admin
