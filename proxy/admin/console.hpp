// The admin console's commands. Each SHOW that PgBouncer has begins with the columns of PgBouncer
// 1.18 in its order and types, so that what reads them there reads them here; columns of our own
// stand behind. Commands do what they do there, SUSPEND apart.
// https://www.pgbouncer.org/usage.html#admin-console

#pragma once

#include "admin/source.hpp"
#include "session/console_reply.hpp"

#include <functional>
#include <optional>

namespace postern::admin {

/// What came of a command: its reply, or, while it waits for something, how it goes on.
struct console_outcome {
    session::console_reply reply;
    /// Empty: `reply` is the answer. Else it waits: asked from time to time, as run_console() is
    /// called, until there is an answer. It uses the source that it was given.
    std::function<std::optional<session::console_reply>()> progress = {};
    /// Undoes what was begun, once the client has cancelled the command; empty: nothing to undo.
    std::function<void()> undo = {};
};

/// Runs one command. Does no I/O but what `source` does, and waits for nothing. What drivers send
/// on their own (SET, BEGIN, COMMIT …) is answered as if it had been done; a SET of what
/// postern.yaml decides is refused.
console_outcome run_console(const session::console_request& request, console_source& source);

}  // namespace postern::admin
