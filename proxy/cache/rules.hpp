// What a DBA allows to be cached: config/rules.yaml, already read and checked.

#pragma once

#include "base/reason.hpp"
#include "catalog/footprint.hpp"
#include "catalog/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace postern::cache {

enum class rule_mode : std::uint8_t { disabled, observe, enabled };

/// One rule. A statement matches when all the conditions that the rule states hold.
struct rule {
    std::string name;
    // Conditions; an empty one always holds.
    std::vector<std::string> tables;  ///< every table read directly or indirectly is one of these;
                                      ///< "schema.table", "table" (schema public), or "schema.*"
    std::vector<std::uint64_t> statements;        ///< fingerprints of the patterns written as SQL
    std::vector<std::string> statement_patterns;  ///< as the DBA wrote them, for SHOW RULES
    std::vector<std::string> databases;
    std::vector<std::string> roles;
    // What then.
    rule_mode mode = rule_mode::enabled;
    bool bypass = false;  ///< never cache what matches
    std::chrono::milliseconds ttl{60'000};
    std::size_t answer_bytes_max = std::size_t{1} << 20;
    std::string where;  ///< file:line of the rule, for messages
};

/// Immutable; shared by all threads and swapped on reload.
struct rule_set {
    std::vector<rule> rules;  ///< the first that matches decides
    std::vector<catalog::vouched_function> functions;
};

struct verdict {
    reason why_not =
        reason::no_rule;  ///< none: cache it; rule_observe: run everything, never serve
    std::optional<std::uint32_t> rule;  ///< index into the set
};

/// Which rule decides on a statement with this footprint. Pure.
verdict decide(
    const rule_set& set,
    const catalog::footprint& footprint,
    const catalog::snapshot& catalog,
    std::uint64_t fingerprint,
    std::string_view database,
    std::string_view role);

}  // namespace postern::cache
