// What a subcommand works with: the files, the connection, and what the database remembers.

#pragma once

#include "migrate/command.hpp"
#include "migrate/folder.hpp"
#include "migrate/history.hpp"
#include "migrate/server.hpp"

#include <string>
#include <vector>

namespace postern::migrate {

struct session {
    folder files;
    server database;
    std::vector<history_row> rows;
};

/// Reads the files, connects, and reads the history without changing anything. Fails with
/// problem_kind::connection too when the connection goes through a pooler.
answer<session> open_session(const request& asked);

/// Takes the lock, makes the history's table where there is none, and reads it again.
answer<void> lock_session(session& on, const request& asked, const runner::speaker& say);

/// `postern migrate repair`: makes the history agree with what a person has found out. Each row
/// changed or dropped is a step of the report. REQUIRES: the lock, unless it is a dry run.
answer<void> repair(session& on, const request& asked, report& into);

}  // namespace postern::migrate
