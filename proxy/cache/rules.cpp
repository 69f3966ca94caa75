#include "cache/rules.hpp"

#include "cache/rule_match.hpp"

namespace postern::cache {

verdict decide(
    const rule_set& set,
    const catalog::footprint& footprint,
    const catalog::snapshot& catalog,
    std::uint64_t fingerprint,
    std::string_view database,
    std::string_view role) {
    // What is not proven cacheable is so under no rule.
    if (footprint.why_not != reason::none) return {footprint.why_not, std::nullopt};

    std::vector<table_name> reads;
    reads.reserve(footprint.reads.size());
    for (const catalog::oid id : footprint.reads) {
        const catalog::relation* table = catalog.find(id);
        // Resolved under another snapshot than this one: no rule can speak for it.
        if (table == nullptr) return {reason::unknown_relation, std::nullopt};
        reads.push_back({table->schema, table->name});
    }
    return first_match(set, {reads, fingerprint, database, role});
}

}  // namespace postern::cache
