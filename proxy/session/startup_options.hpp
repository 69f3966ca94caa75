// The `options` startup parameter: the backend's command-line switches, as PostgreSQL's
// pg_split_opts and process_postgres_switches read them. No I/O.

#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::session {

/// The settings that `options` makes: `-c name=value`, `-cname=value`, `--name=value`; white space
/// separates, a backslash keeps the next character. Names come back as they are spelled, but for
/// dashes in `--long-names`, which are underscores. Any other switch is refused.
outcome<std::vector<std::pair<std::string, std::string>>> parse_options(std::string_view options);

/// ASCII lower case, as names of settings compare.
std::string to_lower(std::string_view text);

/// With '?' for every byte that is not printable ASCII, as PostgreSQL 15 spells application_name
/// (pg_clean_ascii).
std::string clean_ascii(std::string_view text);

}  // namespace postern::session
