#include "catalog/expression.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::catalog;

TEST_CASE("CURRENT_USER is replaced outside of quotes only") {
    CHECK(without_current_user("SELECT CURRENT_USER") == "SELECT ('x'::name)");
    CHECK(
        without_current_user("SELECT (owner = (CURRENT_ROLE)::text)") ==
        "SELECT (owner = (('x'::name))::text)");
    for (const auto* text :
         {"SELECT 'CURRENT_USER'",
          "SELECT \"CURRENT_USER\"",
          "SELECT MY_CURRENT_USER",
          "SELECT E'it\\'s CURRENT_USER'",
          "SELECT 'it''s CURRENT_USER'",
          "SELECT SESSION_USER",
          "SELECT 'CURRENT_USER"}) {
        CAPTURE(text);
        CHECK(without_current_user(text) == text);
    }
}

TEST_CASE("a plain SELECT is understood, with the tables that it names") {
    const auto known = understand("SELECT id FROM public.issues WHERE (status = 'open'::text);");
    REQUIRE_MESSAGE(known.understood, known.why);
    REQUIRE(known.facts.relations.size() == 1);
    CHECK(known.facts.relations[0].schema == "public");
    CHECK(known.facts.relations[0].name == "issues");
}

TEST_CASE("the current user is understood, another user is not") {
    const auto current = understand("SELECT (owner = (CURRENT_USER)::text)");
    CHECK_MESSAGE(current.understood, current.why);
    CHECK_FALSE(understand("SELECT (owner = (SESSION_USER)::text)").understood);
    CHECK_FALSE(understand("SELECT ((owner = CURRENT_USER) OR (owner = SESSION_USER))").understood);
    CHECK_FALSE(understand("SELECT ((owner = CURRENT_USER) AND (day = CURRENT_DATE))").understood);
}

TEST_CASE("what depends on the time, does not parse or writes is not understood") {
    for (const auto* text :
         {"SELECT (until > now())", "SELECT (", "DELETE FROM t", "SELECT 1; SELECT 2", ""}) {
        CAPTURE(text);
        CHECK_FALSE(understand(text).understood);
    }
}
