// `postern explain` against a made-up catalog: what it says of a statement is what a session's plan
// says, in words and as JSON.

#include "cli/explanation.hpp"

#include "catalog/world.hpp"
#include "cli/json.hpp"
#include "cli/units.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::cli;
using namespace std::chrono_literals;

namespace {

session::settings some_settings() {
    session::settings settings;
    session::database database;
    database.name = "tracker";
    database.number = 1;
    settings.databases.push_back(database);
    cache::rule bypassed;
    bypassed.name = "no sessions";
    bypassed.tables = {"sessions"};
    bypassed.bypass = true;
    cache::rule rest;
    rest.name = "rest";
    rest.tables = {"public.issues", "public.projects"};
    rest.ttl = 90s;
    rest.where = "rules.yaml:9";
    settings.rules.rules = {bypassed, rest};
    return settings;
}

explanation explain_here(
    std::string_view statement,
    const session::settings& settings = some_settings()) {
    catalog::test::world world;
    for (const char* name : {"issues", "projects", "sessions", "users"})
        world.add_table(name);
    world.protect("projects", "(owner_id = 1)");
    return explain_statement(
        statement,
        catalog::snapshot{world.data, 1},
        std::make_shared<const session::settings>(settings),
        settings.databases.front(),
        {"\"$user\", public", "app"});
}

}  // namespace

TEST_CASE("a cacheable statement names its rule, its tables and its key") {
    const auto found = explain_here("SELECT title FROM issues WHERE id = 7");
    CHECK(found.why == reason::none);
    CHECK(found.reads == std::vector<std::string>{"public.issues"});
    CHECK(found.writes.empty());
    CHECK_FALSE(found.identity_matters);
    REQUIRE(found.rule.has_value());
    CHECK(found.rule->number == 2);
    CHECK(found.rule->name == "rest");
    CHECK(found.fingerprint != 0);
    CHECK(found.fingerprint == explain_here("SELECT title FROM issues WHERE id = $1").fingerprint);
}

TEST_CASE("row-level security makes the identity part of the key") {
    CHECK(explain_here("SELECT * FROM projects").identity_matters);
}

TEST_CASE("what is not cacheable has its reason, and the rule where a rule decided") {
    const auto bypassed = explain_here("SELECT * FROM sessions");
    CHECK(bypassed.why == reason::rule_bypass);
    REQUIRE(bypassed.rule.has_value());
    CHECK(bypassed.rule->name == "no sessions");
    const auto unmatched = explain_here("SELECT * FROM users");
    CHECK(unmatched.why == reason::no_rule);
    CHECK_FALSE(unmatched.rule.has_value());
    const auto written = explain_here("UPDATE issues SET title = 'x'");
    CHECK(written.why == reason::not_a_select);
    CHECK(written.writes == std::vector<std::string>{"public.issues"});
    CHECK(explain_here("SELECT 1; SELECT 2").why == reason::several_statements);
    CHECK(explain_here("SELEKT").why == reason::not_understood);
    CHECK(explain_here("SELECT * FROM nowhere").why == reason::unknown_relation);
    CHECK(explain_here("/* postern:bypass */ SELECT * FROM issues").why == reason::hint_bypass);
}

TEST_CASE("a cache that is off caches nothing") {
    auto settings = some_settings();
    settings.cache_enabled = false;
    CHECK(explain_here("SELECT * FROM issues", settings).why == reason::cache_off);
    CHECK(explain_here("SELECT * FROM users", settings).why == reason::no_rule);
}

TEST_CASE("an explanation reads as text and as one JSON object") {
    auto found = explain_here("SELECT title FROM issues");
    found.fingerprint = 0xabc;
    CHECK(
        found.to_text() ==
        "cacheable    yes\n"
        "reason       none\n"
        "             Nothing speaks against caching.\n"
        "database     tracker\n"
        "role         app\n"
        "search_path  \"$user\", public\n"
        "reads        public.issues\n"
        "writes       nothing\n"
        "identity     not part of the key: no row-level security applies\n"
        "rule         #2 rest (rules.yaml:9)\n"
        "ttl          90s\n"
        "max_size     1MiB\n"
        "fingerprint  0000000000000abc\n");
    CHECK(
        found.to_json() ==
        R"({"cacheable": true, "reason": "none", "sentence": "Nothing speaks against caching.", )"
        R"("detail": "", "database": "tracker", "role": "app", "search_path": "\"$user\", public", )"
        R"("statements": 1, "reads": ["public.issues"], "writes": [], "writes_everything": false, )"
        R"("identity_matters": false, "pin": "", "rule": {"number": 2, "name": "rest", )"
        R"("where": "rules.yaml:9", "ttl_ms": 90000, "max_size_bytes": 1048576}, )"
        R"("fingerprint": "0000000000000abc"})"
        "\n");
}

TEST_CASE("JSON text is escaped") {
    CHECK(json_quote("a\"b\\c\n\t\r\x01ä") == "\"a\\\"b\\\\c\\n\\t\\r\\u0001ä\"");
}

TEST_CASE("durations and sizes are written and read back") {
    CHECK(format_duration(90s) == "90s");
    CHECK(format_duration(2h) == "2h");
    CHECK(format_duration(0ms) == "0ms");
    CHECK(parse_duration("10min") == std::chrono::milliseconds{600'000});
    CHECK_FALSE(parse_duration("10").has_value());
    CHECK_FALSE(parse_duration("-1s").has_value());
    CHECK_FALSE(parse_duration("1 s").has_value());
    CHECK_FALSE(parse_duration("9223372036854775807d").has_value());
    CHECK(parse_size("3KiB") == 3072);
    CHECK_FALSE(parse_size("3KB").has_value());
    CHECK(format_size(3072) == "3KiB");
}

TEST_CASE("a slip is recognised, another word is not") {
    const std::vector<std::string_view> known{"size", "mode", "lifetime"};
    CHECK(nearest("siez", known) == "size");
    CHECK(nearest("lifetme", known) == "lifetime");
    CHECK_FALSE(nearest("colour", known).has_value());
}
