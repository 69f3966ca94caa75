#include "migrate/command.hpp"

#include "migrate/lock.hpp"
#include "migrate/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace postern::migrate {

namespace {

step_report describe(const step& one) {
    step_report made;
    made.kind = to_string(one.kind);
    made.version = one.row.version;
    made.name = one.versioned != nullptr ? one.versioned->name : one.repeated->name;
    made.file = one.file().file;
    made.transaction = one.file().header.transaction;
    return made;
}

answer<steps> make_plan(const session& on, const request& asked) {
    plan_options options;
    options.to = asked.version;
    options.out_of_order = asked.out_of_order;
    options.allow_data_loss = asked.allow_data_loss;
    options.server_major = on.database.major_version();
    if (asked.what == verb::down) return plan_down(on.files, on.rows, options);
    if (asked.what == verb::redo) return plan_redo(on.files, on.rows, options);
    return plan_up(on.files, on.rows, options);
}

answer<void> run_step(
    runner& by,
    session& on,
    const step& one,
    const request& asked,
    step_report& about) {
    const auto held = holds_lock(on.database);
    if (held.has_error()) return held.error();
    if (!held.value()) {
        return problem{
            problem_kind::locked,
            "the lock that keeps a second migration away is gone: the file before this one "
            "has given up all advisory locks"};
    }
    auto ran = by.run(one);
    if (ran.has_error()) return ran.error();
    about.result = ran.value();
    about.done = true;
    if (one.verify() == nullptr || !asked.settings.verify) return {};
    return by.verify(*one.verify());
}

answer<void> run_steps(
    session& on,
    const steps& all,
    const request& asked,
    const listener& told,
    report& into) {
    runner by(on.database, asked.settings, told.say);
    for (const auto& one : all) {
        if (stop_signals::count() > 0) {
            return problem{
                problem_kind::stopped,
                "stopped by a signal; the next up goes on from here",
                one.file().file};
        }
        auto about = describe(one);
        told.begin(about);
        const auto done = run_step(by, on, one, asked, about);
        if (about.done) told.end(about);
        into.steps.push_back(std::move(about));
        if (done.has_error()) return done.error();
    }
    return {};
}

answer<void> do_plan(session& on, const request& asked, report& into) {
    const auto plan = make_plan(on, asked);
    if (plan.has_error()) return plan.error();
    for (const auto& one : plan.value()) {
        auto about = describe(one);
        about.statements = one.file().statements;
        if (asked.dry_run) about.sql = step_sql(one, asked.settings);
        into.steps.push_back(std::move(about));
    }
    into.attention = !into.steps.empty();
    return {};
}

answer<void> do_run(session& on, const request& asked, const listener& told, report& into) {
    if (asked.dry_run) return do_plan(on, asked, into);
    if (auto locked = lock_session(on, asked, told.say); locked.has_error()) return locked;
    const auto plan = make_plan(on, asked);
    if (plan.has_error()) return plan.error();
    return run_steps(on, plan.value(), asked, told, into);
}

answer<void> do_status(session& on, report& into) {
    into.entries = make_status(on.files, on.rows);
    into.attention = std::any_of(into.entries.begin(), into.entries.end(), [](const auto& one) {
        return one.needs_attention;
    });
    return {};
}

void verify_one(
    runner& by,
    const status_entry& entry,
    const script& file,
    const listener& told,
    report& into) {
    step_report about;
    about.kind = "verify";
    about.version = entry.version;
    about.name = entry.name;
    about.file = file.file;
    auto done = by.verify(file);
    if (done.has_error()) about.error = std::move(done).error();
    about.done = !about.error;
    if (about.error && !into.error) into.error = about.error;
    told.end(about);
    into.steps.push_back(std::move(about));
}

answer<void> do_verify(session& on, const request& asked, const listener& told, report& into) {
    runner by(on.database, asked.settings, told.say);
    for (const auto& entry : make_status(on.files, on.rows)) {
        if (!entry.row || entry.file.empty() || entry.row->state != row_state::applied) continue;
        const auto* const versioned = entry.kind == row_kind::repeatable
                                          ? nullptr
                                          : on.files.find(entry.version);
        const auto* const repeated = versioned == nullptr ? on.files.find_repeatable(entry.name)
                                                          : nullptr;
        const auto& file = versioned != nullptr ? versioned->verify : repeated->verify;
        if (file) verify_one(by, entry, *file, told, into);
        if (on.database.is_lost() || stop_signals::count() > 0) break;
    }
    return {};
}

answer<void> do_baseline(session& on, const request& asked, const listener& told, report& into) {
    if (!asked.dry_run) {
        if (auto locked = lock_session(on, asked, told.say); locked.has_error()) return locked;
    }
    const auto rows = plan_baseline(on.files, on.rows, asked.version);
    if (rows.has_error()) return rows.error();
    std::string sql = "BEGIN;\n";
    for (const auto& row : rows.value()) {
        step_report about;
        about.kind = "baseline";
        about.version = row.version;
        about.name = row.name;
        about.file = on.files.find(row.version)->up.file;
        about.sql = {applied_sql(row, asked.settings.by)};
        about.done = !asked.dry_run;
        sql += about.sql.front() + ";\n";
        into.steps.push_back(std::move(about));
    }
    if (asked.dry_run) return {};
    const auto ran = on.database.run(sql + "COMMIT;");
    if (ran.has_error()) return ran.error();
    return {};
}

answer<void> do_repair(session& on, const request& asked, const listener& told, report& into) {
    if (!asked.dry_run) {
        if (auto locked = lock_session(on, asked, told.say); locked.has_error()) return locked;
    }
    return repair(on, asked, into);
}

answer<void> perform(session& on, const request& asked, const listener& told, report& into) {
    switch (asked.what) {
    case verb::plan: return do_plan(on, asked, into);
    case verb::status: return do_status(on, into);
    case verb::verify: return do_verify(on, asked, told, into);
    case verb::baseline: return do_baseline(on, asked, told, into);
    case verb::repair: return do_repair(on, asked, told, into);
    case verb::up:
    case verb::down:
    case verb::redo: return do_run(on, asked, told, into);
    }
    return {};
}

}  // namespace

const char* to_string(verb what) noexcept {
    switch (what) {
    case verb::plan: return "plan";
    case verb::status: return "status";
    case verb::up: return "up";
    case verb::down: return "down";
    case verb::verify: return "verify";
    case verb::redo: return "redo";
    case verb::baseline: return "baseline";
    case verb::repair: return "repair";
    }
    return "";
}

report execute(const request& asked, const listener& told) {
    report made;
    made.what = asked.what;
    auto opened = open_session(asked);
    if (opened.has_error()) {
        made.error = std::move(opened).error();
        return made;
    }
    auto& on = opened.value();
    made.database = on.database.database();
    made.warnings = on.files.warnings;
    const stop_signals signals;
    auto done = perform(on, asked, told, made);
    if (done.has_error() && !made.error) made.error = std::move(done).error();
    return made;
}

}  // namespace postern::migrate
