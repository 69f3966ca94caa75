// Keeps a database's snapshot fresh: one thread, one libpq connection, a poll as the safety net.

#pragma once

#include "base/result.hpp"
#include "catalog/snapshot.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace postern::catalog {

struct watcher_settings {
    std::string conninfo;  ///< libpq's form, of the role that reads the catalog
    std::chrono::milliseconds poll_interval{2000};
    std::vector<vouched_function> vouched;
    std::vector<std::string> identity_variables;
};

/// Reads one snapshot now, blocking. For `postern explain` and tests.
outcome<snapshot_data> load(const std::string& conninfo);

/// Thread-safe throughout.
class watcher {
public:
    /// Starts the thread; the first snapshot comes when the database answers.
    /// `on_change` runs on the watcher's thread before a snapshot is put in place whose content
    /// differs from the one before (including a changed system identifier, timeline or start time);
    /// current() is null or an older one then.
    /// `on_published` runs there too, after every load that made current() non-null or newer.
    watcher(
        watcher_settings settings,
        std::function<void()> on_change,
        std::function<void()> on_published = {});
    ~watcher();  ///< stops and joins the thread

    /// The newest snapshot, or null: none yet, the database is away, or a renewal is due because
    /// invalidate() was called and not yet followed by a load. Null means: nothing is cacheable.
    snapshot_ptr current() const;

    /// Moves whenever current() may answer differently; one relaxed atomic load, for callers that
    /// keep their own copy.
    std::uint64_t epoch() const noexcept;

    /// DDL passed by: current() is null until a load that began after this call has ended.
    void invalidate();

    /// Calls `done` (on the watcher's thread) once the backend with `pid` is gone from
    /// pg_stat_activity, or the server has been restarted; a fence of unknown outcome waits for it.
    /// While the database does not answer the wait goes on: the backend may still be committing,
    /// and nothing is cacheable meanwhile. Tries pg_terminate_backend on the way. `done` is also
    /// called on destruction.
    void when_backend_gone(std::int32_t pid, std::function<void()> done);

    /// Closes its connection and opens none until resume(); current() is null meanwhile. Takes a
    /// moment: see is_connected(). Who waits for a backend goes on waiting.
    void pause();
    void resume();
    bool is_paused() const;
    bool is_connected() const noexcept;
    /// Connects anew, as the name of the host may be another server's now.
    void reconnect();

    /// New settings from a reload: takes effect with the next load, which it triggers; until then
    /// current() is null.
    void set_vouched(
        std::vector<vouched_function> vouched,
        std::vector<std::string> identity_variables);

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace postern::catalog
