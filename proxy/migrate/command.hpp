// The subcommands of `postern migrate`: from what was asked for to what was done. Printing is the
// command line's.

#pragma once

#include "migrate/plan.hpp"
#include "migrate/problem.hpp"
#include "migrate/runner.hpp"
#include "migrate/settings.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace postern::migrate {

enum class verb : std::uint8_t { plan, status, up, down, verify, redo, baseline, repair };

const char* to_string(verb what) noexcept;

struct request {
    verb what = verb::status;
    std::string conninfo;  ///< libpq's form or a URI, of a direct connection
    std::string migrations = "migrations";
    std::string policies = "policies";
    std::string version = {};           ///< --to, or what baseline and repair are about
    std::optional<unsigned> done = {};  ///< repair: so many statements are done
    bool forget = false;                ///< repair: drop the version's row
    bool dry_run = false;               ///< say what would be run, change nothing
    bool out_of_order = false;
    bool allow_data_loss = false;
    std::chrono::milliseconds lock_wait{30'000};  ///< for another migration to end
    run_settings settings;
};

/// One file that was run, verified or would be.
struct step_report {
    std::string kind;  ///< apply, resume, revert, …, verify, baseline, repair
    std::string version;
    std::string name;
    std::string file;
    bool transaction = true;                 ///< whether the file is run as one
    std::vector<statement> statements = {};  ///< of plan
    std::vector<std::string> sql = {};       ///< of --dry-run
    bool done = false;
    step_result result = {};
    std::optional<problem> error = {};  ///< of verify
};

/// What came of it. `error` is the first problem; the steps before it are done and stay so.
struct report {
    verb what = verb::status;
    std::string database;
    std::vector<std::string> warnings;
    std::vector<step_report> steps;
    std::vector<status_entry> entries;  ///< of status
    /// Something is pending, drifted, dirty or missing, and was not dealt with.
    bool attention = false;
    std::optional<problem> error;
};

struct listener {
    runner::speaker say;  ///< progress, retries, notices
    std::function<void(const step_report&)> begin;
    std::function<void(const step_report&)> end;
};

/// Does what was asked for. SIGINT and SIGTERM stop it at the next boundary.
report execute(const request& asked, const listener& told);

}  // namespace postern::migrate
