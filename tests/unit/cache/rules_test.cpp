// decide() against a catalog: object ids become the names that rules use.

#include "cache/rules.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::cache;

namespace {

constexpr catalog::oid issues = 16384;
constexpr catalog::oid audit_log = 16385;

catalog::snapshot tracker() {
    catalog::snapshot_data data;
    catalog::relation table;
    table.id = issues;
    table.schema = "public";
    table.name = "issues";
    data.relations.push_back(table);
    table.id = audit_log;
    table.schema = "audit";
    table.name = "log";
    data.relations.push_back(table);
    return catalog::snapshot{std::move(data), 1};
}

catalog::footprint reading(std::vector<catalog::oid> tables) {
    catalog::footprint made;
    made.reads = std::move(tables);
    return made;
}

rule_set for_tables(std::vector<std::string> tables) {
    rule one;
    one.tables = std::move(tables);
    return {.rules = {one}, .functions = {}};
}

}  // namespace

TEST_CASE("a rule covers the tables that the footprint reads, by their names in the catalog") {
    const auto catalog = tracker();
    const auto said = decide(for_tables({"issues"}), reading({issues}), catalog, 1, "db", "app");
    CHECK(said.why_not == reason::none);
    CHECK(said.rule == 0U);

    const auto both = reading({issues, audit_log});
    CHECK(decide(for_tables({"issues"}), both, catalog, 1, "db", "app").why_not == reason::no_rule);
    CHECK(
        decide(for_tables({"issues", "audit.*"}), both, catalog, 1, "db", "app").why_not ==
        reason::none);
}

TEST_CASE("what is not proven cacheable keeps its own reason under any rule") {
    const auto catalog = tracker();
    auto footprint = reading({issues});
    footprint.why_not = reason::volatile_function;
    const auto said = decide(for_tables({}), footprint, catalog, 1, "db", "app");
    CHECK(said.why_not == reason::volatile_function);
    CHECK_FALSE(said.rule.has_value());
}

TEST_CASE("a table that the catalog does not know is under no rule, not even one for everything") {
    const auto catalog = tracker();
    const auto said = decide(for_tables({}), reading({99}), catalog, 1, "db", "app");
    CHECK(said.why_not == reason::unknown_relation);
    CHECK_FALSE(said.rule.has_value());
}
