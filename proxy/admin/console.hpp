// The admin console's commands. SHOW STATS, POOLS, CLIENTS, SERVERS, DATABASES, USERS, LISTS,
// CONFIG and VERSION begin with the columns of PgBouncer 1.18 in its order and types, so that what
// reads them there reads them here; columns of our own stand behind.
// https://www.pgbouncer.org/usage.html#show-commands

#pragma once

#include "admin/source.hpp"
#include "session/console_reply.hpp"

#include <string_view>

namespace postern::admin {

/// Runs one command: SHOW …, RELOAD, FLUSH. Does no I/O but what `source` does. What drivers send
/// on their own (SET, BEGIN, COMMIT …) is answered as if it had been done.
session::console_reply run_console(std::string_view command, console_source& source);

}  // namespace postern::admin
