// What the database remembers of its migrations: the rows of postern_migration.history, and the SQL
// that reads and changes them. No I/O.
//
// A row's life:
//
//   (none) ──up──▶ applied ──down──▶ (none)            one transaction with the file itself
//   (none) ─▶ dirty ─▶ … ─▶ applied                    transaction=off: updated with each statement
//   applied ─▶ reverting ─▶ … ─▶ (none)                the same for a down file
//   (none) ─▶ applied, kind baseline                   taken as it was found
//   (none) ─▶ applied ─▶ stale ─▶ applied              repeatable; stale once anything was undone
//
// The statement that is under way outside of a transaction is noted before it begins
// (`running`), because nothing can be noted with it.

#pragma once

#include "migrate/folder.hpp"
#include "migrate/script.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace postern::migrate {

/// The schema and the table, as SQL names them.
inline constexpr const char* history_schema = "postern_migration";
inline constexpr const char* history_table = "postern_migration.history";

enum class row_kind : std::uint8_t { versioned, repeatable, baseline };
enum class row_state : std::uint8_t { applied, dirty, reverting, stale };

const char* to_string(row_kind kind) noexcept;
const char* to_string(row_state state) noexcept;

struct history_row {
    std::string version;  ///< as the file name has it; a repeatable file's whole name
    std::string name;
    row_kind kind = row_kind::versioned;
    row_state state = row_state::applied;
    std::string sha256;       ///< of the up file, or of the repeatable file
    std::string done_sha256;  ///< of the statements done, while dirty or reverting
    unsigned statements = 0;
    unsigned statements_done = 0;
    unsigned running = 0;         ///< the statement under way outside of a transaction; 0: none
    std::uint64_t rows_done = 0;  ///< by batches
    std::string applied_by;
    std::string applied_at;
    std::uint64_t duration_ms = 0;
};

/// Who and what is written into each row.
struct writer {
    std::string tool_version;
    std::string git_sha;  ///< empty: unknown
};

/// Makes schema and table where they are missing; several statements.
std::string create_history_sql();

/// One row a migration, in no order; columns as parse_history_row() takes them.
std::string select_history_sql();

/// One field a column of select_history_sql(). Nothing for words that this version doesn't know.
std::optional<history_row> parse_history_row(const std::vector<std::string>& fields);

/// A row as of a file that is applied; replaces a row of that version.
std::string applied_sql(const history_row& row, const writer& by);

/// While a file is run statement by statement: inserts or updates the row.
std::string progress_sql(const history_row& row, const writer& by);

std::string delete_sql(const history_row& row);

/// After something was undone, every repeatable file is to be applied again.
std::string make_repeatables_stale_sql();

/// A row for this file, as if it were applied now.
history_row row_of(const migration& one);
history_row row_of(const repeatable& one);

}  // namespace postern::migrate
