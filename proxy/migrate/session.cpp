#include "migrate/session.hpp"

#include "migrate/lock.hpp"
#include "migrate/read_folder.hpp"

#include <fmt/format.h>

#include <utility>

namespace postern::migrate {

namespace {

answer<std::vector<history_row>> read_history(server& on) {
    const auto known = on.value("SELECT to_regclass('postern_migration.history') IS NOT NULL");
    if (known.has_error()) return known.error();
    std::vector<history_row> rows;
    if (known.value() != "t") return rows;
    const auto read = on.run(select_history_sql());
    if (read.has_error()) return read.error();
    for (const auto& fields : read.value().rows) {
        auto row = parse_history_row(fields);
        if (!row) {
            return problem{
                problem_kind::usage,
                fmt::format(
                    "postern_migration.history has a row that this version of the tool does not "
                    "understand (version {}): a newer one wrote it",
                    fields.front())};
        }
        rows.push_back(*std::move(row));
    }
    return rows;
}

// A pooler has process ids of its own, and may lend another backend to each transaction.
answer<void> check_direct(server& on) {
    const auto pid = on.value("SELECT pg_backend_pid()");
    if (pid.has_error()) return pid.error();
    if (pid.value() == fmt::to_string(on.backend_pid())) return {};
    problem found{
        problem_kind::connection,
        "this connection goes through a pooler: the lock and the settings of a migration need "
        "one of their own"};
    found.hint = "give the address of PostgreSQL itself";
    return found;
}

}  // namespace

answer<session> open_session(const request& asked) {
    auto files = read_folder(asked.migrations, asked.policies);
    if (files.has_error()) return files.error();
    auto connected = server::connect(asked.conninfo);
    if (connected.has_error()) return connected.error();
    session opened{std::move(files).value(), std::move(connected).value(), {}};
    if (auto direct = check_direct(opened.database); direct.has_error()) return direct.error();
    auto rows = read_history(opened.database);
    if (rows.has_error()) return rows.error();
    opened.rows = std::move(rows).value();
    return opened;
}

answer<void> lock_session(session& on, const request& asked, const runner::speaker& say) {
    if (auto locked = take_lock(on.database, asked.lock_wait, say); locked.has_error())
        return locked;
    const auto known = on.database.value("SELECT to_regclass('postern_migration.history')");
    if (known.has_error()) return known.error();
    if (known.value().empty()) {
        const auto made = on.database.run(create_history_sql());
        if (made.has_error()) return made.error();
    }
    auto rows = read_history(on.database);
    if (rows.has_error()) return rows.error();
    on.rows = std::move(rows).value();
    return {};
}

}  // namespace postern::migrate
