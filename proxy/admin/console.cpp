#include "admin/console.hpp"

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
};

console_reply show_help(const console_source& source);

constexpr std::array<show_command, 13> shows{{
    {"STATS", show_stats, "totals and averages of each database"},
    {"POOLS", show_pools, "clients and servers of each pool"},
    {"CLIENTS", show_clients, "every client, and why it keeps its server if it does"},
    {"SERVERS", show_servers, "every connection to PostgreSQL"},
    {"DATABASES", show_databases, "what clients may connect to"},
    {"USERS", show_users, "who may log in"},
    {"LISTS", show_lists, "how many there are of what"},
    {"CONFIG", show_config, "values in force, and their defaults"},
    {"CACHE", show_cache, "what the cache holds and has done"},
    {"CACHE WHY",
     show_cache_why,
     "recent statements and why they were, or were not, served from it"},
    {"RULES", show_rules, "what may be cached, in the order in which it is tried"},
    {"VERSION", show_version, "Postern's version"},
    {"HELP", show_help, "this"},
}};

console_reply show_help(const console_source&) {
    table rows;
    rows.columns(column_type::text, {"command", "meaning"});
    for (const auto& one : shows) {
        rows.row({fmt::format("SHOW {}", one.what), std::string{one.meaning}});
    }
    rows.row({"RELOAD", "reads postern.yaml and rules.yaml again; a mistake leaves all as it was"});
    rows.row({"FLUSH", "drops everything that is cached"});
    return rows.take();
}

console_reply done(std::string tag) {
    console_reply reply;
    reply.command_tag = std::move(tag);
    return reply;
}

console_reply refused(std::string message, std::string sqlstate) {
    console_reply reply;
    reply.error = std::move(message);
    reply.sqlstate = std::move(sqlstate);
    return reply;
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

/// The command's words in upper case with one space between; a closing semicolon is no part of it.
std::string normalize(std::string_view command) {
    command = skip_blank(command);
    std::string words;
    for (const char c : command) {
        const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
        if (!blank) {
            words += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        } else if (!words.empty() && words.back() != ' ') {
            words += ' ';
        }
    }
    while (!words.empty() && (words.back() == ' ' || words.back() == ';'))
        words.pop_back();
    return words;
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

}  // namespace

console_reply run_console(std::string_view command, console_source& source) {
    const auto words = normalize(command);
    if (words.empty()) return {};
    const std::string_view all = words;
    const auto first = all.substr(0, all.find(' '));
    if (first == "SHOW") {
        const auto what = all == first ? "HELP" : all.substr(first.size() + 1);
        const auto found = std::ranges::find(shows, what, &show_command::what);
        return found == shows.end() ? unknown(command) : found->run(source);
    }
    if (all == "RELOAD") {
        const auto outcome = source.reload();
        // F0000: config_file_error
        return outcome.has_error() ? refused(outcome.error().message, "F0000") : done("RELOAD");
    }
    if (all == "FLUSH" || all == "FLUSH CACHE") {
        source.flush();
        return done("FLUSH");
    }
    if (is_drivers_own(first)) return done(std::string{first});
    return unknown(command);
}

}  // namespace postern::admin
