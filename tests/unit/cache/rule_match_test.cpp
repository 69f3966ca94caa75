// Which rule decides: conditions, their order, and what each mode says.

#include "cache/rule_match.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace postern;
using namespace postern::cache;

namespace {

constexpr std::array issues{table_name{"public", "issues"}};
constexpr std::array issues_and_audit{table_name{"public", "issues"}, table_name{"audit", "log"}};

rule named(std::string name) {
    rule made;
    made.name = std::move(name);
    return made;
}

}  // namespace

TEST_CASE("a table is named with its schema, without it in public, or by its schema's star") {
    CHECK(names("public.issues", issues[0]));
    CHECK(names("issues", issues[0]));
    CHECK(names("public.*", issues[0]));
    CHECK_FALSE(names("audit.issues", issues[0]));
    CHECK_FALSE(names("issue", issues[0]));
    CHECK_FALSE(names("log", issues_and_audit[1]));  // without a schema means public
    CHECK(names("audit.*", issues_and_audit[1]));
    CHECK_FALSE(names("", issues[0]));
    CHECK_FALSE(names("*", issues[0]));
}

TEST_CASE("a name holds whatever follows the first dot") {
    CHECK(names("public.a.b", table_name{"public", "a.b"}));
}

TEST_CASE("without rules nothing is cached") {
    const auto said = first_match({}, {.reads = issues});
    CHECK(said.why_not == reason::no_rule);
    CHECK_FALSE(said.rule.has_value());
}

TEST_CASE("a rule without conditions matches everything") {
    const rule_set set{.rules = {named("all")}, .functions = {}};
    for (const auto& asked :
         {rule_question{.reads = issues}, rule_question{}, rule_question{.fingerprint = 9}}) {
        const auto said = first_match(set, asked);
        CHECK(said.why_not == reason::none);
        CHECK(said.rule == 0U);
    }
}

TEST_CASE("every table that is read must be covered by the rule") {
    auto one = named("issues");
    one.tables = {"issues"};
    CHECK(matches(one, {.reads = issues}));
    CHECK_FALSE(matches(one, {.reads = issues_and_audit}));
    one.tables = {"issues", "audit.*"};
    CHECK(matches(one, {.reads = issues_and_audit}));
}

TEST_CASE("a statement that reads no table only matches a rule that names none") {
    auto one = named("issues");
    CHECK(matches(one, {}));
    one.tables = {"public.*"};
    CHECK_FALSE(matches(one, {}));
}

TEST_CASE("statement, database and role each have to be one of those stated") {
    auto one = named("narrow");
    one.statements = {11, 12};
    one.databases = {"tracker"};
    one.roles = {"app", "report"};
    const rule_question fits{issues, 12, "tracker", "report"};
    CHECK(matches(one, fits));
    auto asked = fits;
    asked.fingerprint = 13;
    CHECK_FALSE(matches(one, asked));
    asked = fits;
    asked.database = "other";
    CHECK_FALSE(matches(one, asked));
    asked = fits;
    asked.role = "root";
    CHECK_FALSE(matches(one, asked));
}

TEST_CASE("the first rule that matches decides, even where a later one says otherwise") {
    auto narrow = named("bypass issues");
    narrow.tables = {"issues"};
    narrow.bypass = true;
    const rule_set set{.rules = {narrow, named("all")}, .functions = {}};

    const auto of_issues = first_match(set, {.reads = issues});
    CHECK(of_issues.why_not == reason::rule_bypass);
    CHECK(of_issues.rule == 0U);
    const auto of_both = first_match(set, {.reads = issues_and_audit});
    CHECK(of_both.why_not == reason::none);
    CHECK(of_both.rule == 1U);
}

TEST_CASE("each mode says its own reason") {
    auto one = named("mode");
    const auto said = [&] {
        return first_match({.rules = {one}, .functions = {}}, {}).why_not;
    };
    one.mode = rule_mode::enabled;
    CHECK(said() == reason::none);
    one.mode = rule_mode::observe;
    CHECK(said() == reason::rule_observe);
    one.bypass = true;
    CHECK(said() == reason::rule_bypass);
    one.mode = rule_mode::disabled;
    CHECK(said() == reason::rule_disabled);
}
