// What is to be done, from the files there are and what the database remembers. No I/O: the same
// functions stand behind plan, status, up, down, redo, baseline and every --dry-run.

#pragma once

#include "migrate/folder.hpp"
#include "migrate/history.hpp"
#include "migrate/problem.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace postern::migrate {

enum class step_kind : std::uint8_t {
    apply,            ///< a versioned file, from its beginning
    resume,           ///< a file that was left dirty, from where it stopped
    revert,           ///< a down file, from its beginning
    resume_revert,    ///< a down file, from where it stopped
    apply_repeatable  ///< a repeatable file that is new, changed or stale
};

const char* to_string(step_kind kind) noexcept;

/// One file to run. The pointers are into the folder that the plan was made from, and valid as long
/// as that is neither changed nor moved.
struct step {
    step_kind kind = step_kind::apply;
    const migration* versioned = nullptr;  ///< null for a repeatable file
    const repeatable* repeated = nullptr;  ///< null for a versioned file
    history_row row;                       ///< as it stands before the step, or would be made

    /// The file that the step runs.
    const script& file() const noexcept;
    /// What shows that the step has worked; null when there is none, or something is undone.
    const script* verify() const noexcept;
    bool is_revert() const noexcept {
        return kind == step_kind::revert || kind == step_kind::resume_revert;
    }
};

using steps = std::vector<step>;

struct plan_options {
    std::string to = {};           ///< empty: as far as there are files
    bool out_of_order = false;     ///< apply versions below the newest applied one too
    bool allow_data_loss = false;  ///< run down files that say so
    /// Of the server; 0: not known. The grammar's word is final up to its own version.
    int server_major = 0;
};

/// Fails when anything applied has changed or has no file, on a version out of order, an unmet
/// `requires`, a file that the server can't understand, an unknown `to`.
answer<steps> plan_up(
    const folder& files,
    const std::vector<history_row>& rows,
    const plan_options& options);

/// Everything applied above `options.to`, newest first ("0": everything). Fails as plan_up() does,
/// and where there is no way back.
answer<steps> plan_down(
    const folder& files,
    const std::vector<history_row>& rows,
    const plan_options& options);

/// The newest applied version undone and done again, then repeatable files.
answer<steps> plan_redo(
    const folder& files,
    const std::vector<history_row>& rows,
    const plan_options& options);

/// The rows that say that everything up to `to` is in place already.
answer<std::vector<history_row>> plan_baseline(
    const folder& files,
    const std::vector<history_row>& rows,
    const std::string& to);

/// `postern migrate status`, one a file or row.
struct status_entry {
    std::string version;
    std::string name;
    row_kind kind = row_kind::versioned;
    std::string state;  ///< applied pending dirty reverting stale changed drifted missing …
    std::string file;   ///< empty when missing
    std::string sha256_file;
    std::optional<history_row> row;
    /// Whether `up` would have something to do, or could do nothing for it.
    bool needs_attention = false;
};

/// Versioned ones ascending, then repeatable ones.
std::vector<status_entry> make_status(const folder& files, const std::vector<history_row>& rows);

}  // namespace postern::migrate
