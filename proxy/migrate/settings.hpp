// How files are run: limits, the SQL that sets a transaction up, and the SQL of a whole step as
// --dry-run prints it. No I/O.

#pragma once

#include "migrate/history.hpp"
#include "migrate/plan.hpp"
#include "migrate/script.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace postern::migrate {

/// What holds for files that don't say otherwise.
struct run_settings {
    /// A statement that waits for a lock makes everything that comes after it wait as well: so it
    /// gives up soon, lets the others through, and tries again. 0: no limit.
    std::chrono::milliseconds lock_timeout{1000};
    std::chrono::milliseconds statement_timeout{0};  ///< 0: no limit
    unsigned retry = 10;                             ///< attempts after the first
    bool verify = true;                              ///< run the verify file after each step
    bool verbose = false;                            ///< tell each statement and its time
    writer by;
};

unsigned retries_of(const script& file, const run_settings& settings);

/// SET LOCAL … for a transaction that runs `file`.
std::vector<std::string> limits_sql(const script& file, const run_settings& settings);

/// The same for a statement outside of any transaction. What works CONCURRENTLY waits for others
/// without standing in their way: it has no lock_timeout but the file's own.
std::vector<std::string> outside_limits_sql(
    const script& file,
    const statement& one,
    const run_settings& settings);

/// Gives back what a file may have set: role, search_path, everything else.
std::vector<std::string> reset_session_sql();

/// Before the history is written to in a transaction of a file's: it may have changed the role.
std::vector<std::string> reset_role_sql();

/// The SETs of the file in front of statement `number` (from 1).
std::vector<std::string> session_before(const script& file, unsigned number);

/// What changes the history once a step's file has run to its end.
std::vector<std::string> end_of_step_sql(const step& one, const writer& by);

/// Whether waiting and trying again may help: lock not available, deadlock, serialization failure.
bool is_transient(std::string_view sqlstate) noexcept;

/// Before attempt `attempt` (from 2): doubles from 100 ms up to 5 s.
std::chrono::milliseconds backoff(unsigned attempt) noexcept;

/// Everything that the step would send, in order, as a script with comments.
std::vector<std::string> step_sql(const step& one, const run_settings& settings);

}  // namespace postern::migrate
