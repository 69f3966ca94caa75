// Settings as a session means them and as a server wears them: immutable maps, compared by pointer
// first. DESIGN §4.

#pragma once

#include "sql/facts.hpp"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace postern::pool {

/// name (lower case) -> value as set_config() takes it. Only what differs from the server's
/// default.
using settings_map = std::map<std::string, std::string, std::less<>>;
using settings_map_ptr = std::shared_ptr<const settings_map>;

/// The one empty map.
settings_map_ptr no_settings();

/// Whether two maps hold the same settings.
bool same(const settings_map_ptr& left, const settings_map_ptr& right) noexcept;

/// `before` with `change` made to it. `reset_values` is what RESET goes back to: a session's
/// startup parameters, or nothing for a server. A LOCAL change leaves `before` as it is.
settings_map_ptr apply(
    const settings_map_ptr& before,
    const sql::setting_change& change,
    const settings_map& reset_values);

/// The statements that turn a server that wears `worn` into one that wears `wanted`, as one text
/// for a simple Query; empty when there is nothing to do. Values are quoted, names are quoted; a
/// change of session authorisation or role comes first since it decides what else may be set.
/// `spellings`: how names are written that are not to be in lower case. PostgreSQL keeps the
/// spelling of a custom setting that it first hears of.
std::string change_of_dress(
    const settings_map& worn,
    const settings_map& wanted,
    const settings_map& spellings = *no_settings());

/// `'…'` with quotes and backslashes doubled as standard_conforming_strings = on or off both read.
std::string quote_literal(std::string_view text);

}  // namespace postern::pool
