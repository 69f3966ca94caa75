#include "cache/rule_match.hpp"

#include <algorithm>

namespace postern::cache {

namespace {

template <class Values, class Value>
bool empty_or_contains(const Values& values, const Value& wanted) noexcept {
    return values.empty() || std::find(values.begin(), values.end(), wanted) != values.end();
}

bool covers(const std::vector<std::string>& patterns, std::span<const table_name> reads) noexcept {
    if (patterns.empty()) return true;
    const auto is_named = [&](const table_name& table) {
        return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
            return names(pattern, table);
        });
    };
    return !reads.empty() && std::all_of(reads.begin(), reads.end(), is_named);
}

reason said_by(const rule& one) noexcept {
    if (one.mode == rule_mode::disabled) return reason::rule_disabled;
    if (one.bypass) return reason::rule_bypass;
    return one.mode == rule_mode::observe ? reason::rule_observe : reason::none;
}

}  // namespace

bool names(std::string_view pattern, const table_name& table) noexcept {
    const auto dot = pattern.find('.');
    if (dot == std::string_view::npos) return table.schema == "public" && table.name == pattern;
    const auto name = pattern.substr(dot + 1);
    return table.schema == pattern.substr(0, dot) && (name == "*" || table.name == name);
}

bool matches(const rule& one, const rule_question& asked) noexcept {
    return empty_or_contains(one.databases, asked.database) &&
           empty_or_contains(one.roles, asked.role) &&
           empty_or_contains(one.statements, asked.fingerprint) && covers(one.tables, asked.reads);
}

verdict first_match(const rule_set& set, const rule_question& asked) noexcept {
    const auto found = std::find_if(set.rules.begin(), set.rules.end(), [&](const rule& one) {
        return matches(one, asked);
    });
    if (found == set.rules.end()) return {};
    return {said_by(*found), static_cast<std::uint32_t>(found - set.rules.begin())};
}

}  // namespace postern::cache
