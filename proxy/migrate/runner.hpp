// Runs the steps of a plan, so that whatever happens in between the history tells how far it is.
//
//   transaction=on    BEGIN, the whole file, its row of the history, COMMIT.
//   transaction=off   each statement in a transaction of its own together with the row, which
//                     counts the statements done. Where PostgreSQL refuses the transaction the row
//                     first says that the statement is under way, then it runs, then it is counted:
//                     what an interruption in between leaves open, outside.hpp finds out.
//   batch=on          the same, each statement again and again until it touches no row.

#pragma once

#include "migrate/monitor.hpp"
#include "migrate/plan.hpp"
#include "migrate/problem.hpp"
#include "migrate/server.hpp"
#include "migrate/settings.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace postern::migrate {

struct step_result {
    std::uint64_t duration_ms = 0;  ///< all runs of the file together
    unsigned statements = 0;        ///< run now
    unsigned attempts = 1;          ///< of the statement or transaction that took the most
    std::uint64_t rows = 0;         ///< by batches, all runs together
};

/// Not thread-safe. REQUIRES: the connection holds the lock, and outlives the runner.
class runner {
public:
    /// Told what is going on: progress, retries, notices. One line each.
    using speaker = std::function<void(const std::string&)>;

    runner(server& on, run_settings settings, speaker say);
    ~runner();
    runner(const runner&) = delete;
    runner& operator=(const runner&) = delete;

    /// Runs one step to its end. A signal stops it between two statements or batches, with
    /// problem_kind::stopped. After a failure the session is as it was, and the history says how
    /// far the step came.
    answer<step_result> run(const step& one);

    /// Runs a verify file in a transaction that is rolled back. Fails with problem_kind::verify.
    answer<void> verify(const script& file);

private:
    /// What is being run, and its row as the database has it.
    struct work {
        const step& what;
        const script& file;
        history_row row;
        step_result result;
        std::chrono::steady_clock::time_point since;
        std::chrono::milliseconds before;  ///< that earlier runs took
    };

    /// How far the batches of one statement are, in this run.
    struct batch_progress {
        std::chrono::steady_clock::time_point since;
        std::uint64_t rows = 0;
        std::optional<std::uint64_t> left = {};  ///< as of when it was asked for
        std::uint64_t rows_when_asked = 0;
        std::chrono::steady_clock::time_point asked = {};
        std::chrono::steady_clock::duration asking = {};  ///< what the last asking took
    };

    // Whole files
    answer<void> run_whole(work& on);
    answer<void> whole_transaction(work& on);
    answer<void> finish(work& on);

    // Statement by statement
    answer<void> run_each(work& on);
    answer<void> run_one(work& on, unsigned number);
    answer<void> run_inside(work& on, unsigned number, std::uint64_t* rows);
    answer<void> run_batches(work& on, unsigned number);
    answer<void> one_batch(work& on, unsigned number, std::uint64_t& rows);
    void ask_for_the_rest(const script& file, batch_progress& of);
    void say_batch(work& on, batch_progress& of);

    // Outside of any transaction
    answer<void> run_outside(work& on, unsigned number, std::uint64_t* rows);
    answer<bool> prepare_outside(work& on, unsigned number);
    answer<void> check_outside(work& on, unsigned number);
    answer<void> do_outside(work& on, unsigned number, std::uint64_t* rows);

    // All of them
    answer<void> with_retries(work& on, const std::function<answer<void>()>& attempt);
    answer<void> transaction(const std::function<answer<void>()>& body);
    answer<void> run_all(const std::vector<std::string>& statements);
    answer<reply> run_statement(work& on, unsigned number);
    answer<void> count_done(work& on, unsigned number);
    std::chrono::milliseconds spent(const work& on) const;
    void reset_session();

    server& server_;
    run_settings settings_;
    speaker say_;
    monitor monitor_;
    bool stop_said_ = false;
};

/// Names the place: file, line, and the statement's number and first words.
problem locate(problem found, const script& file, unsigned number);

/// How many rows a batch touched: the number that a query's one row and column yields, or the
/// count of the command's tag. Nothing for a command without a count.
answer<std::optional<std::uint64_t>> rows_touched(const reply& answered);

}  // namespace postern::migrate
