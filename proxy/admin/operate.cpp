#include "admin/operate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace postern::admin {

namespace {

using session::console_reply;
using session::database_scope;

constexpr const char* syntax_error = "42601";
constexpr const char* not_now = "55000";  // object_not_in_prerequisite_state
constexpr const char* cancelled = "57014";

/// A name as SQL writes it, without its quotes.
std::string unquoted(std::string_view argument) {
    if (argument.size() < 2 || argument.front() != '"' || argument.back() != '"')
        return std::string{argument};
    std::string out;
    argument = argument.substr(1, argument.size() - 2);
    for (std::size_t i = 0; i < argument.size(); ++i) {
        out += argument[i];
        if (argument[i] == '"') ++i;
    }
    return out;
}

/// The scope that an argument names; else why it can't be.
struct scope_or_reply {
    database_scope which;
    std::optional<console_reply> no;
};

scope_or_reply read_scope(std::string_view argument, const char* verb, console_source& source) {
    if (argument.empty()) return {};
    auto name = unquoted(argument);
    if (name == "postern" || name == "pgbouncer") {
        return {
            {},
            refused(fmt::format("cannot {} the console's database \"{}\"", verb, name), not_now)};
    }
    const auto settings = source.settings();
    const auto& known = settings->databases;
    if (std::ranges::find(known, name, &session::database::name) == known.end())
        return {{}, refused(fmt::format("no such database: {}", name), "3D000")};
    return {std::move(name), std::nullopt};
}

/// The same, where a database has to be named.
scope_or_reply read_database(std::string_view argument, const char* verb, console_source& source) {
    if (argument.empty()) return {{}, refused("a database is required", syntax_error)};
    return read_scope(argument, verb, source);
}

std::string named(const database_scope& which) {
    return which ? fmt::format("database \"{}\"", *which) : "Postern";
}

/// Waits until nothing of `which` is connected any more.
console_outcome until_drained(
    const char* command,
    database_scope which,
    console_source& source,
    std::function<void()> undo) {
    const auto progress = [=, &source]() -> std::optional<console_reply> {
        if (!source.is_paused(which)) {
            return refused(
                fmt::format("{} was resumed before all its servers were gone", named(which)),
                cancelled);
        }
        if (!source.is_drained(which)) return std::nullopt;
        return done(command);
    };
    if (auto at_once = progress()) return {std::move(*at_once)};
    return {{}, progress, std::move(undo)};
}

console_outcome pause(std::string_view argument, console_source& source) {
    auto [which, no] = read_scope(argument, "pause", source);
    if (no) return {std::move(*no)};
    // As in PgBouncer: a second PAUSE of all is a mistake, one of a database is not.
    const bool was_paused = source.is_paused(which);
    if (was_paused && !which) return {refused("already paused", not_now)};
    source.pause(which);
    const auto undo = [which = which, was_paused, &source] {
        if (!was_paused) (void)source.resume(which);
    };
    return until_drained("PAUSE", which, source, undo);
}

console_outcome resume(std::string_view argument, console_source& source) {
    auto [which, no] = read_scope(argument, "resume", source);
    if (no) return {std::move(*no)};
    if (!source.resume(which)) return {refused(named(which) + " is not paused", not_now)};
    return {done("RESUME")};
}

console_outcome kill(std::string_view argument, console_source& source) {
    auto [which, no] = read_database(argument, "kill", source);
    if (no) return {std::move(*no)};
    source.pause(which);
    source.kill(*which);
    return until_drained("KILL", which, source, {});
}

console_outcome kill_client(std::string_view argument, console_source& source) {
    if (argument.empty())
        return {refused("a client is required: its ptr in SHOW CLIENTS", syntax_error)};
    if (!source.kill_client(unquoted(argument)))
        return {refused(fmt::format("no such client: {}", argument), "42704")};
    return {done("KILL_CLIENT")};
}

console_outcome disable(std::string_view argument, console_source& source) {
    auto [which, no] = read_database(argument, "disable", source);
    if (no) return {std::move(*no)};
    source.disable(*which, true);
    return {done("DISABLE")};
}

console_outcome enable(std::string_view argument, console_source& source) {
    auto [which, no] = read_database(argument, "enable", source);
    if (no) return {std::move(*no)};
    source.disable(*which, false);
    return {done("ENABLE")};
}

console_outcome reconnect(std::string_view argument, console_source& source) {
    auto [which, no] = read_scope(argument, "reconnect", source);
    if (no) return {std::move(*no)};
    source.reconnect(which);
    return {done("RECONNECT")};
}

console_outcome wait_close(std::string_view argument, console_source& source) {
    auto [which, no] = read_scope(argument, "wait for", source);
    if (no) return {std::move(*no)};
    const auto progress = [which = which, &source]() -> std::optional<console_reply> {
        if (source.outdated(which) != 0) return std::nullopt;
        return done("WAIT_CLOSE");
    };
    if (auto at_once = progress()) return {std::move(*at_once)};
    return {{}, progress};
}

console_outcome suspend(std::string_view, console_source&) {
    return {refused(
        "SUSPEND is not offered: PAUSE stops statements while PostgreSQL is worked on, and "
        "SHUTDOWN WAIT_FOR_CLIENTS lets another process take over",
        "0A000")};
}

console_outcome shutdown(std::string_view argument, console_source& source) {
    constexpr std::array<std::pair<std::string_view, shutdown_mode>, 3> modes{{
        {"", shutdown_mode::at_once},
        {"WAIT_FOR_SERVERS", shutdown_mode::wait_for_servers},
        {"WAIT_FOR_CLIENTS", shutdown_mode::wait_for_clients},
    }};
    std::string wanted{argument};
    std::ranges::transform(wanted, wanted.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    const auto* const found = std::ranges::find(
        modes,
        std::string_view{wanted},
        &std::pair<std::string_view, shutdown_mode>::first);
    if (found == modes.end()) {
        return {refused(
            fmt::format(
                "SHUTDOWN takes WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS or nothing, not \"{}\"",
                argument),
            syntax_error)};
    }
    source.shut_down(found->second);
    return {done("SHUTDOWN")};
}

console_outcome reload(std::string_view argument, console_source& source) {
    if (!argument.empty()) return {refused("RELOAD takes nothing", syntax_error)};
    const auto outcome = source.reload();
    // F0000: config_file_error
    return {outcome.has_error() ? refused(outcome.error().message, "F0000") : done("RELOAD")};
}

console_outcome flush(std::string_view argument, console_source& source) {
    if (!argument.empty() && argument != "CACHE" && argument != "cache")
        return {refused("FLUSH takes nothing, or CACHE", syntax_error)};
    source.flush();
    return {done("FLUSH")};
}

constexpr std::array<operation, 12> all_operations{{
    {"RELOAD",
     "",
     reload,
     "reads postern.yaml and rules.yaml again; a mistake leaves all as it was"},
    {"FLUSH", "", flush, "drops everything that is cached"},
    {"PAUSE",
     "[database]",
     pause,
     "lets transactions end, closes all servers, and holds statements back until RESUME"},
    {"RESUME", "[database]", resume, "lets them go on; nothing cached before is served again"},
    {"KILL", "database", kill, "ends its clients and servers at once, and pauses it"},
    {"KILL_CLIENT", "ptr", kill_client, "ends one client: its ptr in SHOW CLIENTS"},
    {"DISABLE", "database", disable, "turns new clients away; those that are there stay"},
    {"ENABLE", "database", enable, "lets them in again"},
    {"RECONNECT", "[database]", reconnect, "closes each server once it is free"},
    {"WAIT_CLOSE", "[database]", wait_close, "waits until RECONNECT has closed them all"},
    {"SUSPEND", "", suspend, "not offered"},
    {"SHUTDOWN",
     "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
     shutdown,
     "ends the process: now, after running transactions, or after the last client"},
}};

}  // namespace

std::span<const operation> operations() {
    return all_operations;
}

console_reply done(std::string_view tag) {
    console_reply reply;
    reply.command_tag = tag;
    return reply;
}

console_reply refused(std::string message, std::string sqlstate) {
    console_reply reply;
    reply.error = std::move(message);
    reply.sqlstate = std::move(sqlstate);
    return reply;
}

console_reply needs_admin() {
    return refused("only admin.users may do this; admin.stats_users may SHOW", "42501");
}

}  // namespace postern::admin
