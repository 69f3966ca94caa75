#include "admin/console.hpp"

#include "admin/operate.hpp"
#include "admin/show.hpp"
#include "admin/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace postern::admin {

namespace {

using session::console_reply;

struct show_command {
    std::string_view what;
    console_reply (*run)(const console_source&);
    std::string_view meaning;
    bool for_admins = false;  ///< not for admin.stats_users
};

console_reply show_help(const console_source& source);

constexpr std::array<show_command, 27> shows{{
    {"STATS", show_stats, "totals and averages of each database"},
    {"STATS_TOTALS", show_stats_totals, "the totals alone"},
    {"STATS_AVERAGES", show_stats_averages, "the averages alone"},
    {"TOTALS", show_totals, "the same over all databases, one a row"},
    {"POOLS", show_pools, "clients and servers of each pool"},
    {"CLIENTS", show_clients, "every client, and why it keeps its server if it does"},
    {"SERVERS", show_servers, "every connection to PostgreSQL"},
    {"SOCKETS", show_sockets, "clients and servers, and what is unread and unsent"},
    {"ACTIVE_SOCKETS", show_active_sockets, "those of them that are at work"},
    {"FDS", show_fds, "descriptors in use", true},
    {"DATABASES", show_databases, "what clients may connect to"},
    {"USERS", show_users, "who may log in"},
    {"LISTS", show_lists, "how many there are of what"},
    {"CONFIG", show_config, "values in force, and their defaults"},
    {"MEM", show_mem, "what the larger things in memory take"},
    {"STATE", show_state, "whether all is paused"},
    {"DNS_HOSTS", show_dns_hosts, "empty: names are not kept, each connection looks anew"},
    {"DNS_ZONES", show_dns_zones, "empty, likewise"},
    {"PEERS", show_peers, "empty: processes need not know each other"},
    {"PEER_POOLS", show_peer_pools, "empty, likewise"},
    {"CACHE", show_cache, "what the cache holds and has done"},
    {"CACHE WHY",
     show_cache_why,
     "recent statements and why they were, or were not, served from it"},
    {"RULES", show_rules, "what may be cached, in the order in which it is tried"},
    {"SHADOW",
     show_shadow,
     "reads that will, or will not, answer differently under row-level security"},
    {"VERSION", show_version, "Postern's version"},
    {"HELP", show_help, "this"},
    {"", show_help, ""},  // SHOW alone
}};

console_reply show_help(const console_source&) {
    table rows;
    rows.columns(column_type::text, {"command", "meaning"});
    for (const auto& one : shows) {
        if (!one.what.empty())
            rows.row({fmt::format("SHOW {}", one.what), std::string{one.meaning}});
    }
    for (const auto& one : operations()) {
        const auto form = fmt::format("{}{}{}", one.name, one.form.empty() ? "" : " ", one.form);
        rows.row({form, std::string{one.meaning}});
    }
    return rows.take();
}

/// Takes white space and comments off the front.
std::string_view skip_blank(std::string_view text) {
    while (true) {
        const auto first = text.find_first_not_of(" \t\r\n\f\v");
        if (first == text.npos) return {};
        text.remove_prefix(first);
        std::size_t end = text.npos;
        if (text.starts_with("--")) {
            end = text.find('\n');
        } else if (text.starts_with("/*")) {
            end = text.find("*/", 2);
            if (end != text.npos) ++end;
        } else {
            return text;
        }
        if (end == text.npos) return {};
        text.remove_prefix(end + 1);
    }
}

/// The command's words with one space between; a closing semicolon is no part of it.
std::string normalize(std::string_view command) {
    command = skip_blank(command);
    std::string words;
    for (const char c : command) {
        const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
        if (!blank) {
            words += c;
        } else if (!words.empty() && words.back() != ' ') {
            words += ' ';
        }
    }
    while (!words.empty() && (words.back() == ' ' || words.back() == ';'))
        words.pop_back();
    return words;
}

std::string to_upper(std::string_view text) {
    std::string out{text};
    for (char& c : out)
        c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return out;
}

/// "first rest" taken apart.
std::pair<std::string_view, std::string_view> split_first(std::string_view words) {
    const auto space = words.find(' ');
    if (space == words.npos) return {words, {}};
    return {words.substr(0, space), words.substr(space + 1)};
}

/// What drivers send by themselves and a console has no use for; answered as if it were done.
bool is_drivers_own(std::string_view word) {
    constexpr std::array<std::string_view, 7>
        known{"SET", "RESET", "BEGIN", "COMMIT", "ROLLBACK", "DISCARD", "DEALLOCATE"};
    return std::ranges::find(known, word) != known.end();
}

console_reply unknown(std::string_view command) {
    return refused(
        fmt::format("unknown console command \"{}\"; SHOW HELP lists them", shorten(command, 60)),
        "42601");
}

console_reply show(
    std::string_view what,
    const session::console_request& request,
    const console_source& source) {
    const auto found = std::ranges::find(shows, to_upper(what), &show_command::what);
    if (found == shows.end()) return unknown(request.command);
    if (found->for_admins && !request.may_act) return needs_admin();
    return found->run(source);
}

/// SET of a driver's own is done with; what it would change in PgBouncer is postern.yaml's here.
console_reply set(std::string_view assignment, const console_source& source) {
    const auto end = std::min(assignment.find_first_of(" ="), assignment.size());
    const auto key = assignment.substr(0, end);
    for (const auto& row : show_config(source).rows) {
        if (!row.empty() && row.front() == key) {
            return refused(
                fmt::format("\"{}\" is set in postern.yaml: change it there, then RELOAD", key),
                "55P02");
        }
    }
    return done("SET");
}

}  // namespace

console_outcome run_console(const session::console_request& request, console_source& source) {
    const auto words = normalize(request.command);
    if (words.empty()) return {};
    const auto [name, rest] = split_first(words);
    const auto first = to_upper(name);
    if (first == "SHOW") return {show(rest, request, source)};
    for (const auto& one : operations()) {
        if (one.name != first) continue;
        if (!request.may_act) return {needs_admin()};
        return one.run(rest, source);
    }
    if (first == "SET") return {set(rest, source)};
    if (is_drivers_own(first)) return {done(first)};
    return {unknown(request.command)};
}

}  // namespace postern::admin
