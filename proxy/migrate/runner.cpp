#include "migrate/runner.hpp"

#include "migrate/statement_kind.hpp"
#include "migrate/tokens.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace postern::migrate {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

problem stopped(const script& file) {
    problem found{problem_kind::stopped, "stopped by a signal; the next up goes on from here"};
    found.file = file.file;
    return found;
}

}  // namespace

problem locate(problem found, const script& file, unsigned number) {
    if (!found.file.empty() || found.kind == problem_kind::usage) return found;
    const auto& one = file.statements[number - 1];
    found.file = file.file;
    found.statement = number;
    found.summary = summary(one);
    found.line = one.line;
    if (found.position > 0) {
        found.line += line_at(one.text, offset_of_character(one.text, found.position)) - 1;
    }
    return found;
}

runner::runner(server& on, run_settings settings, speaker say)
    : server_(on)
    , settings_(std::move(settings))
    , say_(std::move(say))
    , monitor_(on.conninfo(), on.backend_pid(), say_) {
    server_.on_tick([this](milliseconds running) {
        if (stop_signals::count() == 1 && !std::exchange(stop_said_, true))
            say_("stopping when this is done; a second signal cancels it");
        monitor_.look(running);
    });
    server_.on_notice([this](const std::string& text) { say_(text); });
    reset_session();
}

runner::~runner() {
    server_.on_tick({});
    server_.on_notice({});
}

answer<void> runner::run_all(const std::vector<std::string>& statements) {
    for (const auto& one : statements) {
        const auto ran = server_.run(one);
        if (ran.has_error()) return ran.error();
    }
    return {};
}

answer<void> runner::transaction(const std::function<answer<void>()>& body) {
    auto done = run_all({"BEGIN"});
    if (done.has_value()) done = body();
    if (done.has_value()) done = run_all({"COMMIT"});
    // Errors of the rollback itself mean that the connection is gone, and with it the transaction.
    if (done.has_error() && !server_.is_lost() && server_.in_transaction()) {
        static_cast<void>(server_.run("ROLLBACK"));
    }
    return done;
}

answer<void> runner::with_retries(work& on, const std::function<answer<void>()>& attempt) {
    const unsigned attempts_max = retries_of(on.file, settings_) + 1;
    for (unsigned number = 1;; ++number) {
        on.result.attempts = std::max(on.result.attempts, number);
        static_cast<void>(monitor_.take_blockers());  // of what was run before
        auto done = attempt();
        if (done.has_value() || !is_transient(done.error().sqlstate)) return done;
        auto found = std::move(done).error();
        const auto blockers = monitor_.take_blockers();
        if (!blockers.empty() && found.detail.empty()) found.detail = "blocked by " + blockers;
        if (number == attempts_max) {
            found.message += fmt::format(" (after {} attempts)", number);
            return found;
        }
        say_(fmt::format(
            "{}: {}{}; attempt {} of {}",
            on.file.file,
            found.message,
            blockers.empty() ? "" : ", blocked by " + blockers,
            number + 1,
            attempts_max));
        if (!stop_signals::wait(backoff(number + 1))) return stopped(on.file);
    }
}

answer<reply> runner::run_statement(work& on, unsigned number) {
    const auto& one = on.file.statements[number - 1];
    const auto since = clock::now();
    auto ran = server_.run(one.text);
    if (ran.has_error()) return locate(std::move(ran).error(), on.file, number);
    if (settings_.verbose && !on.file.header.batch) {
        const auto took = std::chrono::duration_cast<milliseconds>(clock::now() - since);
        say_(fmt::format("{}:{}: {}: {} ms", on.file.file, one.line, summary(one), took.count()));
    }
    return ran;
}

milliseconds runner::spent(const work& on) const {
    return on.before + std::chrono::duration_cast<milliseconds>(clock::now() - on.since);
}

// Not DISCARD ALL, which gives up the lock.
void runner::reset_session() {
    if (server_.is_lost()) return;
    static_cast<void>(run_all(reset_session_sql()));
    // When this process is killed its backend is to notice, and not to hold the lock for as long as
    // a statement takes. Older servers and some systems can't: then it holds it for so long.
    if (server_.major_version() >= 14)
        static_cast<void>(run_all({"SET client_connection_check_interval = '2s'"}));
}

answer<void> runner::whole_transaction(work& on) {
    if (auto set = run_all(limits_sql(on.file, settings_)); set.has_error()) return set;
    for (unsigned number = 1; number <= on.file.statements.size(); ++number) {
        const auto ran = run_statement(on, number);
        if (ran.has_error()) return ran.error();
    }
    return finish(on);
}

answer<void> runner::finish(work& on) {
    if (auto reset = run_all(reset_role_sql()); reset.has_error()) return reset;
    auto ended = on.what;
    ended.row = on.row;
    ended.row.duration_ms = static_cast<std::uint64_t>(spent(on).count());
    on.result.duration_ms = ended.row.duration_ms;
    return run_all(end_of_step_sql(ended, settings_.by));
}

answer<void> runner::run_whole(work& on) {
    on.result.statements = static_cast<unsigned>(on.file.statements.size());
    return with_retries(on, [&] { return transaction([&] { return whole_transaction(on); }); });
}

answer<step_result> runner::run(const step& one) {
    const auto& file = one.file();
    work on{one, file, one.row, {}, clock::now(), {}};
    on.row.statements = static_cast<unsigned>(file.statements.size());
    const bool resumes = one.kind == step_kind::resume || one.kind == step_kind::resume_revert;
    if (resumes) {
        on.before = milliseconds(static_cast<std::int64_t>(one.row.duration_ms));
    } else {
        on.row.statements_done = on.row.running = 0;
        on.row.rows_done = 0;
    }
    const bool whole = file.header.transaction && !resumes;
    auto done = whole ? run_whole(on) : run_each(on);
    reset_session();
    on.result.rows = on.row.rows_done;
    if (done.has_error()) return std::move(done).error();
    return on.result;
}

answer<void> runner::verify(const script& file) {
    auto patient = settings_;  // to read waits in nobody's way
    patient.lock_timeout = milliseconds(0);
    auto done = run_all({"BEGIN"});
    if (done.has_value()) done = run_all(limits_sql(file, patient));
    for (unsigned number = 1; done.has_value() && number <= file.statements.size(); ++number) {
        auto ran = server_.run(file.statements[number - 1].text);
        if (ran.has_value()) continue;
        auto found = locate(std::move(ran).error(), file, number);
        if (found.kind == problem_kind::sql) found.kind = problem_kind::verify;
        done = std::move(found);
    }
    if (!server_.is_lost()) static_cast<void>(server_.run("ROLLBACK"));
    reset_session();
    return done;
}

answer<void> runner::run_each(work& on) {
    for (unsigned number = on.row.statements_done + 1; number <= on.row.statements; ++number) {
        if (stop_signals::count() > 0) return stopped(on.file);
        const auto& text = on.file.statements[number - 1].text;
        if (sets_the_session(text)) {
            on.row.statements_done = number;  // it stands in front of those that follow
            continue;
        }
        ++on.result.statements;
        auto done = on.file.header.batch ? run_batches(on, number) : run_one(on, number);
        if (done.has_error()) return done;
    }
    return with_retries(on, [&] { return transaction([&] { return finish(on); }); });
}

answer<void> runner::run_one(work& on, unsigned number) {
    return with_retries(on, [&]() -> answer<void> {
        const auto& text = on.file.statements[number - 1].text;
        if (on.row.running == number || classify(text).kind != outside_kind::none)
            return run_outside(on, number, nullptr);
        return run_inside(on, number, nullptr);
    });
}

answer<void> runner::count_done(work& on, unsigned number) {
    on.row.state = on.what.is_revert() ? row_state::reverting : row_state::dirty;
    on.row.statements_done = number;
    on.row.running = 0;
    on.row.done_sha256 = on.file.sha256_of_first(number);
    on.row.duration_ms = static_cast<std::uint64_t>(spent(on).count());
    return run_all({progress_sql(on.row, settings_.by)});
}

// `rows`: the statement is a batch, whose rows are counted; it is done once it touches none.
answer<void> runner::run_inside(work& on, unsigned number, std::uint64_t* rows) {
    const auto before = on.row;
    auto done = transaction([&]() -> answer<void> {
        if (auto set = run_all(limits_sql(on.file, settings_)); set.has_error()) return set;
        if (auto set = run_all(session_before(on.file, number)); set.has_error()) return set;
        const auto ran = run_statement(on, number);
        if (ran.has_error()) return ran.error();
        if (rows != nullptr) {
            const auto touched = rows_touched(ran.value());
            if (touched.has_error()) return locate(touched.error(), on.file, number);
            *rows = touched.value().value_or(0);
            on.row.rows_done += *rows;
        }
        if (auto reset = run_all(reset_role_sql()); reset.has_error()) return reset;
        return count_done(on, rows != nullptr && *rows > 0 ? number - 1 : number);
    });
    if (done.has_value()) return done;
    on.row = before;
    // "can't run inside a transaction block", "invalid transaction termination": PostgreSQL knows
    // better than its first words what a statement is. Nothing of it has happened.
    const auto& state = done.error().sqlstate;
    if (state != "25001" && state != "2D000") return done;
    return run_outside(on, number, rows);
}

}  // namespace postern::migrate
