// What a file's leading comment lines tell the tool: `-- postern: transaction=off lock_timeout=2s`.

#pragma once

#include "migrate/problem.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::migrate {

enum class reversal : std::uint8_t {
    yes,        ///< the down file restores everything
    data_loss,  ///< the down file drops what only the new form could hold
    no          ///< there is no way back
};

struct directives {
    bool transaction = true;  ///< the whole file in one transaction, with its row of the history
    bool batch = false;       ///< repeat each statement until it touches no row; only without that
    std::optional<std::chrono::milliseconds> lock_timeout = {};       ///< 0: no limit
    std::optional<std::chrono::milliseconds> statement_timeout = {};  ///< 0: no limit
    std::optional<unsigned> retry = {};  ///< attempts after the first, on lock trouble
    std::chrono::milliseconds pause{0};  ///< between two batches
    std::vector<std::string> requires_versions = {};
    reversal reversible = reversal::yes;
    std::string progress = {};  ///< a SELECT that yields how many rows are left to do
};

/// Reads the directives of a file. Fails with problem_kind::file, naming the line, on an unknown
/// directive or a value out of range.
answer<directives> parse_directives(std::string_view file, std::string_view text);

/// "250ms", "1s", "5min", "1h"; a bare number is in milliseconds, as in PostgreSQL. Nothing when it
/// is none of these or more than PostgreSQL takes (about 24 days).
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace postern::migrate
