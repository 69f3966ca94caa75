// One migration at a time: a session-level advisory lock, keyed by the history's schema (and by the
// database, as all advisory locks are).

#pragma once

#include "migrate/problem.hpp"
#include "migrate/server.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace postern::migrate {

/// Takes the lock for as long as the connection lives, asking again until `limit` has passed.
/// `say` is told once who is waited for. Fails with problem_kind::locked, naming the holder, or
/// problem_kind::stopped.
///
/// The lock lives on the connection that does the work on purpose: when this process is killed the
/// lock stays until the server has given up the statement that was running.
answer<void> take_lock(
    server& on,
    std::chrono::milliseconds limit,
    const std::function<void(const std::string&)>& say);

/// Whether the lock is still held by this connection: a file may have given it up.
answer<bool> holds_lock(server& on);

}  // namespace postern::migrate
