// Statements that PostgreSQL refuses inside a transaction block. Nothing can be committed together
// with them, so the history notes them before they begin; what an interruption leaves open is found
// out from the database itself.

#include "migrate/runner.hpp"
#include "migrate/statement_kind.hpp"
#include "migrate/tokens.hpp"

#include <fmt/format.h>

namespace postern::migrate {

namespace {

// An index by its table and name: "valid", "invalid", or nothing.
std::string index_state_sql(const outside_statement& what) {
    return fmt::format(
        "SELECT CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass({}) AND "
        "c.relname = (parse_ident({}))[1]",
        quote_literal(what.table),
        quote_literal(what.index));
}

std::string drop_index_sql(const outside_statement& what) {
    return fmt::format(
        "SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', i.indexrelid::regclass) FROM "
        "pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass({}) AND "
        "c.relname = (parse_ident({}))[1]",
        quote_literal(what.table),
        quote_literal(what.index));
}

// What REINDEX CONCURRENTLY leaves when it is interrupted: copies of indexes, invalid.
std::string leftovers_sql(const outside_statement& what) {
    const auto table = what.index.empty()
                           ? fmt::format("to_regclass({})", quote_literal(what.table))
                           : fmt::format(
                                 "(SELECT indrelid FROM pg_index WHERE indexrelid = "
                                 "to_regclass({}))",
                                 quote_literal(what.index));
    return fmt::format(
        "SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', i.indexrelid::regclass) FROM "
        "pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {} AND NOT "
        "i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'",
        table);
}

// 't' while a detaching stands unfinished, 'f' while attached, nothing once detached.
std::string detaching_sql(const outside_statement& what) {
    return fmt::format(
        "SELECT inhdetachpending FROM pg_inherits WHERE inhparent = to_regclass({}) AND inhrelid "
        "= to_regclass({})",
        quote_literal(what.table),
        quote_literal(what.partition));
}

std::string finalize_sql(const outside_statement& what) {
    return fmt::format("ALTER TABLE {} DETACH PARTITION {} FINALIZE", what.table, what.partition);
}

problem not_valid(const outside_statement& what) {
    return {
        problem_kind::sql,
        fmt::format("the index {} is not valid although it was built", what.index)};
}

}  // namespace

// Whether the statement is still to be run. What stands half done of it is cleared away.
answer<bool> runner::prepare_outside(work& on, unsigned number) {
    const auto what = classify(on.file.statements[number - 1].text);
    const bool resumes = on.row.running == number;
    if (what.kind == outside_kind::create_index) {
        const auto state = server_.value(index_state_sql(what));
        if (state.has_error()) return state.error();
        if (state.value() == "valid") return !resumes;
        if (state.value().empty()) return true;
        say_(fmt::format("the index {} is left over, invalid: it is dropped", what.index));
        const auto drop = server_.value(drop_index_sql(what));
        if (drop.has_error()) return drop.error();
        if (auto dropped = run_all({drop.value()}); dropped.has_error()) return dropped.error();
    } else if (what.kind == outside_kind::drop_index && resumes) {
        const auto gone = server_.value(
            fmt::format("SELECT to_regclass({}) IS NULL", quote_literal(what.index)));
        if (gone.has_error()) return gone.error();
        return gone.value() != "t";
    } else if (what.kind == outside_kind::reindex && !(what.index + what.table).empty()) {
        const auto found = server_.run(leftovers_sql(what));
        if (found.has_error()) return found.error();
        for (const auto& row : found.value().rows)
            if (auto dropped = run_all(row); dropped.has_error()) return dropped.error();
    } else if (what.kind == outside_kind::detach_partition) {
        const auto state = server_.value(detaching_sql(what));
        if (state.has_error()) return state.error();
        if (state.value() == "f" || (state.value().empty() && !resumes)) return true;
        if (state.value().empty()) return false;
        if (auto ended = run_all({finalize_sql(what)}); ended.has_error()) return ended.error();
        return false;
    }
    return true;
}

answer<void> runner::check_outside(work& on, unsigned number) {
    const auto what = classify(on.file.statements[number - 1].text);
    if (what.kind != outside_kind::create_index) return {};
    const auto state = server_.value(index_state_sql(what));
    if (state.has_error()) return state.error();
    if (state.value() == "invalid") return locate(not_valid(what), on.file, number);
    return {};
}

answer<void> runner::do_outside(work& on, unsigned number, std::uint64_t* rows) {
    // As long as it may or may not have run, the row says so.
    on.row.state = on.what.is_revert() ? row_state::reverting : row_state::dirty;
    on.row.running = number;
    on.row.done_sha256 = on.file.sha256_of_first(on.row.statements_done);
    reset_session();
    if (auto noted = run_all({progress_sql(on.row, settings_.by)}); noted.has_error()) return noted;
    auto done = run_all(outside_limits_sql(on.file, on.file.statements[number - 1], settings_));
    if (done.has_value()) done = run_all(session_before(on.file, number));
    if (done.has_error()) return done;
    const auto ran = run_statement(on, number);
    if (ran.has_error()) return ran.error();
    if (rows == nullptr) return check_outside(on, number);
    const auto touched = rows_touched(ran.value());
    if (touched.has_error()) return locate(touched.error(), on.file, number);
    *rows = touched.value().value_or(0);
    on.row.rows_done += *rows;
    return {};
}

answer<void> runner::run_outside(work& on, unsigned number, std::uint64_t* rows) {
    auto set = run_all(outside_limits_sql(on.file, on.file.statements[number - 1], settings_));
    if (set.has_value()) set = run_all(session_before(on.file, number));
    if (set.has_error()) return set;
    const auto needed = prepare_outside(on, number);
    if (needed.has_error()) return locate(needed.error(), on.file, number);
    auto done = needed.value() ? do_outside(on, number, rows) : answer<void>{};
    reset_session();
    if (done.has_value()) {
        return count_done(on, rows != nullptr && *rows > 0 ? number - 1 : number);
    }
    // PostgreSQL has said that it failed: so it is known not to be done.
    if (!server_.is_lost()) {
        on.row.running = 0;
        static_cast<void>(run_all({progress_sql(on.row, settings_.by)}));
    }
    return done;
}

}  // namespace postern::migrate
