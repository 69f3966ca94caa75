// `postern migrate status`: each file and each row of the history, and how they agree.

#include "migrate/plan.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace postern::migrate {

namespace {

std::string state_of(const script& file, const history_row* row, bool below_applied) {
    if (row == nullptr) return below_applied ? "out_of_order" : "pending";
    if (row->state != row_state::applied) return to_string(row->state);
    if (row->sha256 == file.sha256) return "applied";
    return row->kind == row_kind::repeatable ? "changed" : "drifted";
}

status_entry entry_of(
    std::string version,
    std::string name,
    const script& file,
    const history_row* row,
    bool below_applied) {
    status_entry made;
    made.version = std::move(version);
    made.name = std::move(name);
    made.state = state_of(file, row, below_applied);
    made.file = file.file;
    made.sha256_file = file.sha256;
    if (row != nullptr) {
        made.kind = row->kind;
        made.row = *row;
    }
    made.needs_attention = made.state != "applied";
    return made;
}

status_entry entry_without_file(const history_row& row) {
    status_entry made;
    made.version = row.version;
    made.name = row.name;
    made.kind = row.kind;
    made.row = row;
    // What a repeatable file made may be meant to stay when the file goes.
    made.needs_attention = row.kind != row_kind::repeatable;
    made.state = made.needs_attention ? "missing" : "retired";
    return made;
}

bool is_versioned(const history_row& row) {
    return row.kind != row_kind::repeatable;
}

}  // namespace

std::vector<status_entry> make_status(const folder& files, const std::vector<history_row>& rows) {
    std::string newest = "0";
    for (const auto& row : rows)
        if (is_versioned(row) && version_less(newest, row.version)) newest = row.version;

    std::vector<status_entry> versioned;
    std::vector<status_entry> repeated;
    for (const auto& one : files.versioned) {
        const auto row = std::find_if(rows.begin(), rows.end(), [&](const history_row& candidate) {
            return is_versioned(candidate) && version_equal(candidate.version, one.version);
        });
        const auto* const found = row == rows.end() ? nullptr : &*row;
        const bool below = version_less(one.version, newest);
        versioned.push_back(entry_of(one.version, one.name, one.up, found, below));
    }
    for (const auto& one : files.repeatables) {
        const auto row = std::find_if(rows.begin(), rows.end(), [&](const history_row& candidate) {
            return !is_versioned(candidate) && candidate.name == one.name;
        });
        const auto* const found = row == rows.end() ? nullptr : &*row;
        repeated.push_back(entry_of(one.name + ".sql", one.name, one.body, found, false));
        repeated.back().kind = row_kind::repeatable;
    }
    for (const auto& row : rows) {
        if (is_versioned(row) && files.find(row.version) == nullptr)
            versioned.push_back(entry_without_file(row));
        if (!is_versioned(row) && files.find_repeatable(row.name) == nullptr)
            repeated.push_back(entry_without_file(row));
    }
    std::stable_sort(versioned.begin(), versioned.end(), [](const auto& a, const auto& b) {
        return version_less(a.version, b.version);
    });
    versioned.insert(versioned.end(), repeated.begin(), repeated.end());
    return versioned;
}

}  // namespace postern::migrate
