// The matching of rules, on names alone: decide() of rules.hpp without the catalog.

#pragma once

#include "cache/rules.hpp"

#include <span>
#include <string_view>

namespace postern::cache {

/// A base table as a rule names it.
struct table_name {
    std::string_view schema;
    std::string_view name;
};

/// What a rule's conditions are held against. Views into the caller's strings.
struct rule_question {
    std::span<const table_name> reads{};
    std::uint64_t fingerprint = 0;
    std::string_view database{};
    std::string_view role{};
};

/// Whether `pattern` ("schema.table", "table" of schema public, or "schema.*") names `table`.
/// The name begins after the first dot.
bool names(std::string_view pattern, const table_name& table) noexcept;

/// Whether all the conditions that `one` states hold. A rule that names tables never matches a
/// statement that reads none.
bool matches(const rule& one, const rule_question& asked) noexcept;

/// The first rule that matches, and what it says.
verdict first_match(const rule_set& set, const rule_question& asked) noexcept;

}  // namespace postern::cache
