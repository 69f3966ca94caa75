// A statement's facts resolved against the catalog: which tables it reads and writes, whether
// row-level security applies, whether its answer may be cached at all. DESIGN §5.

#pragma once

#include "base/reason.hpp"
#include "sql/facts.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace postern::catalog {

/// PostgreSQL's object id.
using oid = std::uint32_t;

/// What names and policies are resolved under.
struct resolve_context {
    std::string search_path;  ///< as current_setting('search_path') reads
    std::string role;         ///< current_user
    friend bool operator==(const resolve_context&, const resolve_context&) = default;
};

struct footprint {
    /// reason::none: proven cacheable as far as text and catalog go (rules and state come later).
    reason why_not = reason::none;
    std::string why_not_detail;

    /// statement_facts::repeatable, as the catalog has it too: of the functions that are called, of
    /// views and policies.
    bool repeatable = false;

    /// Base tables that can be read: through views, partitions, inheritance children, and the
    /// policies that apply to them, with what those read. Sorted, unique.
    std::vector<oid> reads;
    /// Base tables that can be written, with cascades, partitions and inheritance. Sorted, unique.
    std::vector<oid> writes;
    bool writes_everything = false;
    bool changes_catalog = false;
    /// Row-level security applies, for this role, to one of `reads`: the identity is part of the
    /// key.
    bool identity_matters = false;
    /// Calls something whose effect on the session nobody vouched for.
    sql::pin_cause pin = sql::pin_cause::none;
    std::string pin_detail;
};

}  // namespace postern::catalog
