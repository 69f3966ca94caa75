// `postern migrate repair`: what only a person can know is written into the history.

#include "migrate/session.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::migrate {

namespace {

const script* file_of(const folder& files, const history_row& row) {
    const auto* const found = files.find(row.version);
    if (found == nullptr) return nullptr;
    return row.state == row_state::reverting && found->down ? &*found->down : &found->up;
}

answer<void> change(
    session& on,
    const request& asked,
    const history_row& row,
    const std::vector<std::string>& sql,
    report& into) {
    step_report made;
    made.kind = "repair";
    made.version = row.version;
    made.name = row.name;
    if (const auto* const file = file_of(on.files, row)) made.file = file->file;
    made.sql = sql;
    for (std::size_t i = 0; !asked.dry_run && i < sql.size(); ++i) {
        const auto ran = on.database.run(sql[i]);
        if (ran.has_error()) return ran.error();
    }
    made.done = !asked.dry_run;
    into.steps.push_back(std::move(made));
    return {};
}

answer<void> accept_file(session& on, const request& asked, history_row row, report& into) {
    const auto* const found = on.files.find(row.version);
    row.sha256 = found->up.sha256;
    row.name = found->name;
    return change(
        on,
        asked,
        row,
        {fmt::format(
            "UPDATE postern_migration.history SET sha256 = '{}' WHERE version = '{}'",
            row.sha256,
            row.version)},
        into);
}

// All `done` statements, none, or some of them.
answer<void> set_done(session& on, const request& asked, history_row row, report& into) {
    const auto* const file = file_of(on.files, row);
    if (file == nullptr)
        return problem{problem_kind::missing, "there is no file of version " + row.version};
    if (row.state != row_state::dirty && row.state != row_state::reverting) {
        return problem{
            problem_kind::usage,
            fmt::format(
                "version {} is {}: --done is for what is half done",
                row.version,
                to_string(row.state))};
    }
    const auto all = static_cast<unsigned>(file->statements.size());
    const auto done = *asked.done;
    if (done > all) {
        return problem{
            problem_kind::usage,
            fmt::format("the file has {} statements, not {}", all, done),
            file->file};
    }
    const bool undoes = row.state == row_state::reverting;
    if (done == (undoes ? all : 0)) {
        std::vector<std::string> sql{delete_sql(row)};
        if (undoes) sql.push_back(make_repeatables_stale_sql());
        return change(on, asked, row, sql, into);
    }
    row.statements = static_cast<unsigned>(on.files.find(row.version)->up.statements.size());
    row.sha256 = on.files.find(row.version)->up.sha256;
    if (done == (undoes ? 0 : all))
        return change(on, asked, row, {applied_sql(row, asked.settings.by)}, into);
    row.statements = all;
    row.statements_done = done;
    row.running = 0;
    row.done_sha256 = file->sha256_of_first(done);
    return change(on, asked, row, {progress_sql(row, asked.settings.by)}, into);
}

answer<void> repair_one(session& on, const request& asked, report& into) {
    const auto row = std::find_if(on.rows.begin(), on.rows.end(), [&](const history_row& one) {
        return one.kind != row_kind::repeatable && version_equal(one.version, asked.version);
    });
    if (row == on.rows.end()) {
        return problem{
            problem_kind::usage,
            fmt::format("the database knows of no version {}", asked.version)};
    }
    if (asked.forget) return change(on, asked, *row, {delete_sql(*row)}, into);
    if (asked.done) return set_done(on, asked, *row, into);
    const auto* const file = on.files.find(row->version);
    if (file == nullptr)
        return problem{problem_kind::missing, "there is no file of version " + row->version};
    if (file->up.sha256 == row->sha256 || row->state != row_state::applied) return {};
    return accept_file(on, asked, *row, into);
}

// What repair without a version can't decide.
answer<void> remaining(const session& on) {
    for (const auto& row : on.rows) {
        if (row.kind == row_kind::repeatable) continue;
        problem left{problem_kind::dirty, ""};
        if (row.state == row_state::dirty || row.state == row_state::reverting) {
            left.message = fmt::format(
                "version {} is {}: {} of {} statements are done",
                row.version,
                to_string(row.state),
                row.statements_done,
                row.statements);
            left.hint = "up goes on from there; or say how far it is: repair " + row.version +
                        " --done N";
            return left;
        }
        if (on.files.find(row.version) == nullptr) {
            left.kind = problem_kind::missing;
            left.message = fmt::format(
                "version {} is applied, but there is no file for it",
                row.version);
            left.hint = "bring the file back, or: repair " + row.version + " --forget";
            return left;
        }
    }
    return {};
}

}  // namespace

answer<void> repair(session& on, const request& asked, report& into) {
    if (!asked.version.empty()) return repair_one(on, asked, into);
    for (const auto& row : on.rows) {
        if (row.kind == row_kind::repeatable || row.state != row_state::applied) continue;
        const auto* const file = on.files.find(row.version);
        if (file == nullptr || file->up.sha256 == row.sha256) continue;
        if (auto done = accept_file(on, asked, row, into); done.has_error()) return done;
    }
    return remaining(on);
}

}  // namespace postern::migrate
