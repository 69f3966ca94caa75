// `postern migrate`: its options, and how its reports are printed.

#pragma once

#include "migrate/command.hpp"

#include <string>

namespace CLI {
class App;
}

namespace postern::cli {

/// Adds the subcommand with all of its own. When it was called, `status` is the process's exit
/// status once parsing is done: 0 it went well, 1 it did not and standard error says why, 2 with
/// --exit-code something is pending or not as it should be, 3 a signal stopped it and the next run
/// goes on from there. `status` must outlive `app`.
void add_migrate(CLI::App& app, int& status);

/// Lines for a person; the error is not among them.
std::string migrate_text(const migrate::report& made);

/// One JSON object, the error among it.
std::string migrate_json(const migrate::report& made);

}  // namespace postern::cli
