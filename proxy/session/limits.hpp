// What a client may take, put together from what the process, its database and its user are given.

#pragma once

#include "session/settings.hpp"

#include <chrono>
#include <string>

namespace postern::session {

/// The time-outs of `user`'s clients at `database`; where neither is listed, those of all.
client_timeouts timeouts_of(
    const settings& configuration,
    const std::string& database,
    const std::string& user);

/// How often each thread looks for what has taken too long: a tenth of the shortest time that is
/// configured, 10 ms to 1 s. What is overdue is found at most that much late.
std::chrono::milliseconds sweep_interval(const settings& configuration);

/// Whether any client's time is limited at all.
bool limits_time(const settings& configuration);

}  // namespace postern::session
