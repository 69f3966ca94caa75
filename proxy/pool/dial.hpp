// A stream connection to a PostgreSQL server, TCP or Unix socket, with a time limit. Internal to
// pool.

#pragma once

#include "pool/poller.hpp"
#include "pool/settings.hpp"

#include <functional>
#include <memory>
#include <string>

namespace postern::pool {

/// Connects to `where` and hands over the connected descriptor (owned by the callee), or -1 and
/// why. Never calls `done` from within this call, nor once `alive` has expired.
void dial(
    poller& on,
    const upstream& where,
    std::chrono::milliseconds timeout,
    std::function<void(int fd, std::string error)> done,
    std::weak_ptr<void> alive);

/// "127.0.0.1:5432" or "/run/postgresql/.s.PGSQL.5432", for messages.
std::string address_of(const upstream& where);

}  // namespace postern::pool
