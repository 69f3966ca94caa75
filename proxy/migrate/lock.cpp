#include "migrate/lock.hpp"

#include "migrate/history.hpp"
#include "migrate/script.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace postern::migrate {

namespace {

using clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds ask_again{250};

// 64 bits of a hash: it must not meet the keys of the application.
std::int64_t lock_key() {
    const auto digest = sha256_hex(std::string("postern migrate ") + history_schema);
    return static_cast<std::int64_t>(std::stoull(digest.substr(0, 16), nullptr, 16));
}

// As pg_locks shows a lock with a key of 64 bits.
std::string where_it_is_ours() {
    const auto key = static_cast<std::uint64_t>(lock_key());
    return fmt::format(
        "l.locktype = 'advisory' AND l.granted AND l.classid = {} AND l.objid = {} AND "
        "l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = "
        "current_database())",
        key >> 32U,
        key & 0xFFFFFFFFU);
}

std::string holder_sql() {
    return "SELECT format('pid %s (%s as %s from %s, since %s)%s', l.pid, "
           "coalesce(nullif(a.application_name, ''), 'a client'), coalesce(a.usename, '?'), "
           "coalesce(a.client_addr::text, 'this machine'), "
           "to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS'), "
           "CASE WHEN a.query <> '' THEN ', ' || a.state || ': ' || "
           "left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80) ELSE '' END) "
           "FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE " +
           where_it_is_ours() + " LIMIT 1";
}

}  // namespace

// Not pg_advisory_lock(): waiting in it would hold a snapshot, and the CREATE INDEX CONCURRENTLY of
// the migration that is waited for would wait for that snapshot in turn.
answer<void> take_lock(
    server& on,
    std::chrono::milliseconds limit,
    const std::function<void(const std::string&)>& say) {
    const auto deadline = clock::now() + limit;
    bool said = false;
    for (;;) {
        const auto taken = on.value(fmt::format("SELECT pg_try_advisory_lock({})", lock_key()));
        if (taken.has_error()) return taken.error();
        if (taken.value() == "t") return {};
        const auto holder = on.value(holder_sql());
        if (holder.has_error()) return holder.error();
        if (clock::now() >= deadline) {
            problem found{
                problem_kind::locked,
                fmt::format("another migration is running: {}", holder.value())};
            found.hint = "wait for it (--lock-wait), or end it with pg_terminate_backend";
            return found;
        }
        if (!said && !holder.value().empty()) {
            say(fmt::format("waiting for another migration: {}", holder.value()));
            said = true;
        }
        if (!stop_signals::wait(ask_again))
            return problem{problem_kind::stopped, "stopped while waiting for another migration"};
    }
}

answer<bool> holds_lock(server& on) {
    const auto held = on.value(
        "SELECT count(*) FROM pg_locks l WHERE l.pid = pg_backend_pid() AND " + where_it_is_ours());
    if (held.has_error()) return held.error();
    return held.value() != "0";
}

}  // namespace postern::migrate
