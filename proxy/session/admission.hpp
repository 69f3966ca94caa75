// Which databases are paused and which are disabled: what PAUSE, KILL, RESUME, DISABLE and ENABLE
// have left. As in PgBouncer, PAUSE of all and PAUSE of one are apart: each has a RESUME of its
// own.

#pragma once

#include "coherence/version_table.hpp"

#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace postern::session {

/// A database's name, or nothing: all of them.
using database_scope = std::optional<std::string>;

/// Thread-safe. Says who is paused; that pools follow is shared_state's part.
class admission {
public:
    /// `versions` outlives it.
    explicit admission(coherence::version_table& versions)
        : versions_{versions} {}

    /// While anything is paused no answer comes from the cache, and with the last RESUME every
    /// entry is void: a pause is there for changes that nobody of us sees. Idempotent.
    void pause(const database_scope& which);
    /// False: it is not paused.
    bool resume(const database_scope& which);

    /// Whether exactly this was paused: all, or this one by its name.
    bool is_switched(const database_scope& which) const;
    /// Whether this database is paused, by its own name or with all.
    bool is_paused(const std::string& database) const;

    /// Whether anything is paused or disabled at all.
    bool restricts() const;
    /// How many fences stand for what is paused, and not for a write: none or one.
    std::size_t fences() const;

    void disable(const std::string& database, bool disabled);
    bool is_disabled(const std::string& database) const;

private:
    bool anything_is_paused() const { return all_ || !paused_.empty(); }

    coherence::version_table& versions_;
    mutable std::mutex mutex_;  // guards what follows
    bool all_ = false;
    std::set<std::string> paused_;
    std::set<std::string> disabled_;
    coherence::fence fence_;  // stands while anything is paused
};

}  // namespace postern::session
