// What a client may take, put together from what the process, its database and its user are given.

#pragma once

#include "session/settings.hpp"

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

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

/// How many clients are logged in, by database and by user. Thread-safe.
class client_counts {
public:
    /// Counts one more, or says why not, in PostgreSQL's words. 0: no limit.
    std::optional<std::string> admit(const database& where, const user& who);
    /// One that was admitted has gone.
    void leave(const std::string& database, const std::string& user);

private:
    std::mutex mutex_;
    std::unordered_map<std::string, std::uint32_t> of_databases_;  // guarded by mutex_
    std::unordered_map<std::string, std::uint32_t> of_users_;      // guarded by mutex_
};

}  // namespace postern::session
