#include "migrate/plan.hpp"

#include "migrate/statement_kind.hpp"

#include <fmt/format.h>
#include <pg_query.h>

#include <algorithm>
#include <cstdlib>

namespace postern::migrate {

namespace {

using rows_view = std::vector<history_row>;

const history_row* find_row(const rows_view& rows, const migration& one) {
    for (const auto& row : rows) {
        if (row.kind == row_kind::repeatable) continue;
        if (version_equal(row.version, one.version)) return &row;
    }
    return nullptr;
}

const history_row* find_row(const rows_view& rows, const repeatable& one) {
    for (const auto& row : rows)
        if (row.kind == row_kind::repeatable && row.name == one.name) return &row;
    return nullptr;
}

// Of the versioned ones; the newest first.
std::vector<const history_row*> versioned_rows(const rows_view& rows) {
    std::vector<const history_row*> found;
    for (const auto& row : rows)
        if (row.kind != row_kind::repeatable) found.push_back(&row);
    std::sort(found.begin(), found.end(), [](const auto* a, const auto* b) {
        return version_less(b->version, a->version);
    });
    return found;
}

problem drifted(const migration& one, const history_row& row) {
    problem found{
        problem_kind::drift,
        fmt::format("version {} is not what was applied", one.version),
        one.up.file};
    found.detail = fmt::format("applied: sha256 {}; file: sha256 {}", row.sha256, one.up.sha256);
    found.hint =
        "bring the old file back and write a new migration, or accept the file as it is "
        "now with `postern migrate repair`";
    return found;
}

problem missing(const history_row& row) {
    problem found{
        problem_kind::missing,
        fmt::format(
            "version {} ({}) is applied, but there is no file for it",
            row.version,
            row.name)};
    found.hint = "bring the file back, or have it forgotten with `postern migrate repair " +
                 row.version + " --forget`";
    return found;
}

// What must hold whatever is asked for.
std::optional<problem> check_applied(const folder& files, const rows_view& rows) {
    for (const auto* row : versioned_rows(rows)) {
        const auto* const file = files.find(row->version);
        if (file == nullptr) return missing(*row);
        if (row->state == row_state::dirty) continue;  // judged by the statements done
        if (file->up.sha256 != row->sha256) return drifted(*file, *row);
    }
    return std::nullopt;
}

// The statements already done must be those that the file still begins with.
std::optional<problem> check_done(const script& file, const history_row& row) {
    if (row.statements_done == 0 || file.sha256_of_first(row.statements_done) == row.done_sha256)
        return std::nullopt;
    problem found{
        problem_kind::drift,
        fmt::format(
            "the first {} statements are done already, and are not those that the file has now",
            row.statements_done),
        file.file};
    found.hint =
        "only what follows them may be changed; or say how far it is with `postern "
        "migrate repair " +
        row.version + " --done N`";
    return found;
}

std::optional<problem> check_parsed(const script& file, int server_major) {
    if (!file.unparsed || server_major > std::atoi(PG_MAJORVERSION)) return std::nullopt;
    return file.unparsed;
}

std::optional<problem> check_running(const script& file, const history_row& row) {
    if (row.running == 0 || row.running > file.statements.size()) return std::nullopt;
    const auto& one = file.statements[row.running - 1];
    if (classify(one.text).kind != outside_kind::unknown &&
        classify(one.text).kind != outside_kind::none)
        return std::nullopt;
    if (file.header.batch) return std::nullopt;
    problem found{
        problem_kind::dirty,
        fmt::format("an interruption left it unknown whether this has been done: {}", summary(one)),
        file.file,
        one.line,
        row.running};
    found.hint = fmt::format(
        "look, then say `postern migrate repair {} --done {}` if it has, --done {} if not",
        row.version,
        row.running,
        row.running - 1);
    return found;
}

std::optional<problem> check_step(const step& one, const plan_options& options) {
    if (auto found = check_parsed(one.file(), options.server_major)) return found;
    if (one.kind != step_kind::resume && one.kind != step_kind::resume_revert) return std::nullopt;
    if (auto found = check_done(one.file(), one.row)) return found;
    return check_running(one.file(), one.row);
}

std::optional<problem> check_steps(const steps& all, const plan_options& options) {
    for (const auto& one : all)
        if (auto found = check_step(one, options)) return found;
    return std::nullopt;
}

std::optional<problem> check_requires(
    const script& file,
    const rows_view& rows,
    const steps& before,
    const folder& files) {
    for (const auto& version : file.header.requires_versions) {
        const auto applied = [&](const history_row& row) {
            return row.kind != row_kind::repeatable && row.state == row_state::applied &&
                   version_equal(row.version, version);
        };
        const auto planned = [&](const step& one) {
            return one.versioned != nullptr && !one.is_revert() &&
                   version_equal(one.versioned->version, version);
        };
        if (std::any_of(rows.begin(), rows.end(), applied)) continue;
        if (std::any_of(before.begin(), before.end(), planned)) continue;
        return problem{
            problem_kind::unmet,
            fmt::format(
                "requires {}, which {}",
                version,
                files.find(version) == nullptr ? "has no file" : "is not applied before it"),
            file.file};
    }
    return std::nullopt;
}

answer<step> revert_step(
    const migration& one,
    const history_row& row,
    const plan_options& options) {
    problem no_way{problem_kind::irreversible, "", one.up.file};
    if (row.kind == row_kind::baseline) {
        no_way.message = fmt::format(
            "{} was there before this tool: it is not undone",
            row.version);
        return no_way;
    }
    if (row.state == row_state::dirty) {
        no_way.kind = problem_kind::dirty;
        no_way.message = fmt::format(
            "{} of {} statements are done: finish it with up before it is undone",
            row.statements_done,
            row.statements);
        return no_way;
    }
    const auto declared = one.up.header.reversible;
    if (!one.down || declared == reversal::no) {
        no_way.message = one.down ? "says that there is no way back (reversible=no)"
                                  : "has no down file beside it: there is no way back";
        return no_way;
    }
    const bool loses = declared == reversal::data_loss ||
                       one.down->header.reversible == reversal::data_loss;
    if (loses && !options.allow_data_loss) {
        no_way.message = "undoing it loses data (reversible=data-loss)";
        no_way.hint = "--allow-data-loss does it all the same";
        return no_way;
    }
    step made{step_kind::revert, &one, nullptr, row};
    if (row.state == row_state::reverting) made.kind = step_kind::resume_revert;
    return made;
}

step repeat_step(const repeatable& one) {
    return {step_kind::apply_repeatable, nullptr, &one, row_of(one)};
}

bool is_due(const repeatable& one, const rows_view& rows) {
    const auto* const row = find_row(rows, one);
    return row == nullptr || row->sha256 != one.body.sha256 || row->state != row_state::applied;
}

// Repeatable files describe the newest version: while any is pending they wait.
answer<void> add_repeatables(
    const folder& files,
    const rows_view& rows,
    bool all_of_them,
    steps& into) {
    for (const auto& one : files.repeatables) {
        if (!all_of_them && !is_due(one, rows)) continue;
        if (auto unmet = check_requires(one.body, rows, into, files)) return *std::move(unmet);
        into.push_back(repeat_step(one));
    }
    return {};
}

// What `up` does about one version.
answer<void> add_version(
    const folder& files,
    const migration& one,
    const rows_view& rows,
    const plan_options& options,
    steps& into) {
    const auto* const row = find_row(rows, one);
    if (row != nullptr && row->state == row_state::applied) return {};
    if (row != nullptr && row->state == row_state::reverting) {
        auto undo = revert_step(one, *row, options);
        if (undo.has_error()) return undo.error();
        into.push_back(std::move(undo).value());
    }
    if (auto unmet = check_requires(one.up, rows, into, files)) return *std::move(unmet);
    into.push_back({step_kind::apply, &one, nullptr, row_of(one)});
    if (row == nullptr || row->state != row_state::dirty) return {};
    auto& resumed = into.back();
    resumed.kind = step_kind::resume;
    resumed.row = *row;
    resumed.row.name = one.name;
    resumed.row.sha256 = one.up.sha256;
    resumed.row.statements = static_cast<unsigned>(one.up.statements.size());
    return {};
}

problem unknown_version(const std::string& version) {
    return {problem_kind::usage, fmt::format("there is no file of version {}", version)};
}

std::optional<problem> check_order(const migration& one, const rows_view& rows) {
    const auto applied = versioned_rows(rows);
    if (find_row(rows, one) != nullptr || applied.empty()) return std::nullopt;
    if (!version_less(one.version, applied.front()->version)) return std::nullopt;
    problem found{
        problem_kind::out_of_order,
        fmt::format(
            "version {} is not applied, but {} is already",
            one.version,
            applied.front()->version),
        one.up.file};
    found.hint = "give it a number above, or apply it all the same with --out-of-order";
    return found;
}

answer<steps> add_reverts(
    const folder& files,
    const rows_view& rows,
    const std::string& above,
    const plan_options& options) {
    steps made;
    for (const auto* row : versioned_rows(rows)) {
        if (!version_less(above, row->version)) continue;
        const auto* const one = files.find(row->version);
        if (one == nullptr) return missing(*row);
        auto undo = revert_step(*one, *row, options);
        if (undo.has_error()) return undo.error();
        made.push_back(std::move(undo).value());
    }
    return made;
}

}  // namespace

const char* to_string(step_kind kind) noexcept {
    switch (kind) {
    case step_kind::apply: return "apply";
    case step_kind::resume: return "resume";
    case step_kind::revert: return "revert";
    case step_kind::resume_revert: return "resume_revert";
    case step_kind::apply_repeatable: return "apply_repeatable";
    }
    return "";
}

const script& step::file() const noexcept {
    if (repeated != nullptr) return repeated->body;
    return is_revert() ? *versioned->down : versioned->up;
}

const script* step::verify() const noexcept {
    if (is_revert()) return nullptr;
    const auto& found = repeated != nullptr ? repeated->verify : versioned->verify;
    return found ? &*found : nullptr;
}

answer<steps> plan_up(const folder& files, const rows_view& rows, const plan_options& options) {
    if (auto found = check_applied(files, rows)) return *std::move(found);
    if (!options.to.empty() && files.find(options.to) == nullptr)
        return unknown_version(options.to);
    steps made;
    bool complete = true;
    for (const auto& one : files.versioned) {
        if (!options.to.empty() && version_less(options.to, one.version)) {
            const auto* const row = find_row(rows, one);
            complete = complete && row != nullptr && row->state == row_state::applied;
            continue;
        }
        if (!options.out_of_order) {
            if (auto found = check_order(one, rows)) return *std::move(found);
        }
        const auto added = add_version(files, one, rows, options, made);
        if (added.has_error()) return added.error();
    }
    const bool undoes = std::any_of(made.begin(), made.end(), [](const step& one) {
        return one.is_revert();
    });
    if (complete) {
        const auto added = add_repeatables(files, rows, undoes, made);
        if (added.has_error()) return added.error();
    }
    if (auto found = check_steps(made, options)) return *std::move(found);
    return made;
}

answer<steps> plan_down(const folder& files, const rows_view& rows, const plan_options& options) {
    if (auto found = check_applied(files, rows)) return *std::move(found);
    if (!version_equal(options.to, "0") && files.find(options.to) == nullptr)
        return unknown_version(options.to);
    auto made = add_reverts(files, rows, options.to, options);
    if (made.has_error()) return made;
    if (auto found = check_steps(made.value(), options)) return *std::move(found);
    return made;
}

answer<steps> plan_redo(const folder& files, const rows_view& rows, const plan_options& options) {
    if (auto found = check_applied(files, rows)) return *std::move(found);
    const auto applied = versioned_rows(rows);
    if (applied.empty()) return problem{problem_kind::usage, "nothing is applied: nothing to redo"};
    const auto& newest = *files.find(applied.front()->version);
    auto undo = revert_step(newest, *applied.front(), options);
    if (undo.has_error()) return undo.error();
    steps made{std::move(undo).value()};
    if (auto unmet = check_requires(newest.up, rows, made, files)) return *std::move(unmet);
    made.push_back({step_kind::apply, &newest, nullptr, row_of(newest)});
    const auto added = add_repeatables(files, rows, true, made);
    if (added.has_error()) return added.error();
    if (auto found = check_steps(made, options)) return *std::move(found);
    return made;
}

answer<std::vector<history_row>> plan_baseline(
    const folder& files,
    const rows_view& rows,
    const std::string& to) {
    if (files.find(to) == nullptr) return unknown_version(to);
    std::vector<history_row> made;
    for (const auto& one : files.versioned) {
        if (version_less(to, one.version)) break;
        const auto* const row = find_row(rows, one);
        if (row != nullptr && row->kind == row_kind::baseline) continue;
        if (row != nullptr) {
            return problem{
                problem_kind::usage,
                fmt::format(
                    "version {} is {} already: a baseline is for a database that this tool has "
                    "not touched",
                    one.version,
                    to_string(row->state)),
                one.up.file};
        }
        made.push_back(row_of(one));
        made.back().kind = row_kind::baseline;
    }
    return made;
}

}  // namespace postern::migrate
