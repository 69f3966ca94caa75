// What a session has set follows it to another server, and nothing else does.

#include "pool/session_settings.hpp"

#include <doctest/doctest.h>

namespace postern::pool {
namespace {

using action = sql::setting_change::action;

sql::setting_change change(
    action what,
    std::string name,
    std::string value = {},
    bool local = false) {
    sql::setting_change out;
    out.what = what;
    out.name = std::move(name);
    out.value = std::move(value);
    out.local = local;
    return out;
}

TEST_SUITE("pool/session_settings") {
    TEST_CASE("a server that wears what is wanted is left alone") {
        CHECK(change_of_dress({{"work_mem", "4MB"}}, {{"work_mem", "4MB"}}).empty());
        CHECK(
            change_of_dress({}, {{"a.b", "1"}}, {{"a.b", "A.b"}}) ==
            "SELECT pg_catalog.set_config('A.b','1',false);");
    }

    TEST_CASE("what is not wanted any more is reset and what is wanted is set") {
        CHECK(
            change_of_dress({{"work_mem", "4MB"}}, {{"timezone", "UTC"}}) ==
            R"(RESET "work_mem";SELECT pg_catalog.set_config('timezone','UTC',false);)");
    }

    TEST_CASE("a role is left before and taken after everything else") {
        CHECK(
            change_of_dress({{"role", "low"}, {"a.b", "1"}}, {{"role", "other"}}) ==
            R"(RESET "role";RESET "a"."b";SELECT pg_catalog.set_config('role','other',false);)");
    }

    TEST_CASE("a value is quoted so that it can't end its literal") {
        CHECK(quote_literal("it's") == "'it''s'");
        CHECK(quote_literal(R"(a\'b)") == R"(E'a\\''b')");
    }

    TEST_CASE("RESET goes back to the startup parameter") {
        const settings_map startup{{"timezone", "UTC"}};
        auto now = std::make_shared<const settings_map>(startup);
        auto changed = apply(now, change(action::assign, "timezone", "CET"), startup);
        CHECK(changed->at("timezone") == "CET");
        CHECK(apply(changed, change(action::reset, "timezone"), startup)->at("timezone") == "UTC");
        CHECK_FALSE(apply(changed, change(action::reset, "timezone"), {})->contains("timezone"));
    }

    TEST_CASE("RESET ALL keeps role and session authorization, as PostgreSQL does") {
        const auto now = std::make_shared<const settings_map>(
            settings_map{{"role", "low"}, {"session_authorization", "s"}, {"work_mem", "4MB"}});
        const auto after = apply(now, change(action::reset_all, ""), {{"timezone", "UTC"}});
        CHECK(
            *after ==
            settings_map{{"role", "low"}, {"session_authorization", "s"}, {"timezone", "UTC"}});
    }

    TEST_CASE("a change of session authorization takes the role away") {
        const auto now = std::make_shared<const settings_map>(settings_map{{"role", "low"}});
        CHECK_FALSE(
            apply(now, change(action::assign, "session_authorization", "s"), {})->contains("role"));
    }

    TEST_CASE("a LOCAL change is the transaction's own") {
        const auto now = no_settings();
        CHECK(apply(now, change(action::assign, "work_mem", "4MB", true), {}) == now);
    }
}

}  // namespace
}  // namespace postern::pool
