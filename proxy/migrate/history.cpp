#include "migrate/history.hpp"

#include "migrate/tokens.hpp"

#include <fmt/format.h>

#include <charconv>

namespace postern::migrate {

namespace {

template <class Number>
bool parse_to(const std::string& text, Number& into) {
    if (text.empty()) return true;  // null
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, into);
    return error == std::errc{} && rest == end;
}

template <class Enum>
bool parse_word(const std::string& text, std::initializer_list<Enum> all, Enum& into) {
    for (const auto one : all) {
        if (text != to_string(one)) continue;
        into = one;
        return true;
    }
    return false;
}

std::string text_or_null(const std::string& text) {
    return text.empty() ? "NULL" : quote_literal(text);
}

std::string number_or_null(std::uint64_t number) {
    return number == 0 ? "NULL" : fmt::to_string(number);
}

}  // namespace

const char* to_string(row_kind kind) noexcept {
    switch (kind) {
    case row_kind::versioned: return "versioned";
    case row_kind::repeatable: return "repeatable";
    case row_kind::baseline: return "baseline";
    }
    return "";
}

const char* to_string(row_state state) noexcept {
    switch (state) {
    case row_state::applied: return "applied";
    case row_state::dirty: return "dirty";
    case row_state::reverting: return "reverting";
    case row_state::stale: return "stale";
    }
    return "";
}

std::string create_history_sql() {
    return "CREATE SCHEMA IF NOT EXISTS postern_migration;\n"
           "CREATE TABLE IF NOT EXISTS postern_migration.history (\n"
           "    version text NOT NULL,\n"
           "    name text NOT NULL,\n"
           "    kind text NOT NULL CHECK (kind IN ('versioned', 'repeatable', 'baseline')),\n"
           "    state text NOT NULL CHECK (state IN ('applied', 'dirty', 'reverting', 'stale')),\n"
           "    sha256 text NOT NULL,\n"
           "    done_sha256 text,\n"
           "    statements integer NOT NULL,\n"
           "    statements_done integer NOT NULL,\n"
           "    running integer,\n"
           "    rows_done bigint NOT NULL DEFAULT 0,\n"
           "    applied_by text NOT NULL DEFAULT session_user,\n"
           "    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
           "    duration_ms bigint NOT NULL,\n"
           "    tool_version text NOT NULL,\n"
           "    git_sha text,\n"
           "    PRIMARY KEY (version)\n"
           ");\n";
}

std::string select_history_sql() {
    return "SELECT version, name, kind, state, sha256, done_sha256, statements, statements_done, "
           "running, rows_done, applied_by, "
           "to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
           "duration_ms FROM postern_migration.history";
}

std::optional<history_row> parse_history_row(const std::vector<std::string>& fields) {
    if (fields.size() != 13) return std::nullopt;
    history_row row;
    row.version = fields[0];
    row.name = fields[1];
    row.sha256 = fields[4];
    row.done_sha256 = fields[5];
    row.applied_by = fields[10];
    row.applied_at = fields[11];
    using enum row_kind;
    using enum row_state;
    const bool understood =
        parse_word(fields[2], {versioned, row_kind::repeatable, baseline}, row.kind) &&
        parse_word(fields[3], {applied, dirty, reverting, stale}, row.state) &&
        parse_to(fields[6], row.statements) && parse_to(fields[7], row.statements_done) &&
        parse_to(fields[8], row.running) && parse_to(fields[9], row.rows_done) &&
        parse_to(fields[12], row.duration_ms);
    if (!understood) return std::nullopt;
    return row;
}

std::string progress_sql(const history_row& row, const writer& by) {
    return fmt::format(
        "INSERT INTO postern_migration.history AS h (version, name, kind, state, sha256, "
        "done_sha256, statements, statements_done, running, rows_done, duration_ms, tool_version, "
        "git_sha) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}) "
        "ON CONFLICT (version) DO UPDATE SET name = excluded.name, kind = excluded.kind, "
        "state = excluded.state, sha256 = excluded.sha256, done_sha256 = excluded.done_sha256, "
        "statements = excluded.statements, statements_done = excluded.statements_done, "
        "running = excluded.running, rows_done = excluded.rows_done, applied_by = session_user, "
        "applied_at = clock_timestamp(), duration_ms = excluded.duration_ms, "
        "tool_version = excluded.tool_version, git_sha = excluded.git_sha",
        quote_literal(row.version),
        quote_literal(row.name),
        quote_literal(to_string(row.kind)),
        quote_literal(to_string(row.state)),
        quote_literal(row.sha256),
        text_or_null(row.done_sha256),
        row.statements,
        row.statements_done,
        number_or_null(row.running),
        row.rows_done,
        row.duration_ms,
        quote_literal(by.tool_version),
        text_or_null(by.git_sha));
}

std::string applied_sql(const history_row& row, const writer& by) {
    auto applied = row;
    applied.state = row_state::applied;
    applied.statements_done = row.statements;
    applied.running = 0;
    applied.done_sha256.clear();
    return progress_sql(applied, by);
}

std::string delete_sql(const history_row& row) {
    return fmt::format(
        "DELETE FROM postern_migration.history WHERE version = {}",
        quote_literal(row.version));
}

std::string make_repeatables_stale_sql() {
    return "UPDATE postern_migration.history SET state = 'stale' WHERE kind = 'repeatable'";
}

history_row row_of(const migration& one) {
    history_row row;
    row.version = one.version;
    row.name = one.name;
    row.sha256 = one.up.sha256;
    row.statements = static_cast<unsigned>(one.up.statements.size());
    return row;
}

history_row row_of(const repeatable& one) {
    history_row row;
    row.version = one.name + ".sql";  // never mistaken for a number
    row.name = one.name;
    row.kind = row_kind::repeatable;
    row.sha256 = one.body.sha256;
    row.statements = static_cast<unsigned>(one.body.statements.size());
    return row;
}

}  // namespace postern::migrate
