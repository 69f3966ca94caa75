#include "world.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::catalog;
using namespace postern::catalog::test;

TEST_CASE("PostgreSQL's own functions are judged by what they depend on") {
    world made;
    CHECK(made.resolve(calling("lower")).why_not == reason::none);
    CHECK(made.resolve(calling("to_char")).why_not == reason::none);
    CHECK(made.resolve(calling("lower", "pg_catalog")).why_not == reason::none);
    CHECK(made.resolve(calling("pg_backend_pid")).why_not == reason::session_dependent);
}

TEST_CASE("a VOLATILE function that writes no row neither pins nor writes") {
    world made;
    for (const auto* name : {"random", "nextval"}) {
        CAPTURE(name);
        const auto found = made.resolve(calling(name));
        CHECK(found.why_not == reason::volatile_function);
        CHECK(found.why_not_detail == name);
        CHECK_FALSE(found.writes_everything);
        CHECK(found.pin == sql::pin_cause::none);
    }
}

TEST_CASE("what depends on time and session alone may be run twice, what is VOLATILE may not") {
    world made;
    made.add_function("public", "pure", 's');
    for (const auto* name : {"lower", "pg_backend_pid", "pure"}) {
        CAPTURE(name);
        CHECK(made.resolve(calling(name)).repeatable);
    }
    for (const auto* name : {"random", "query_to_xml", "pg_advisory_lock", "unknown"}) {
        CAPTURE(name);
        CHECK_FALSE(made.resolve(calling(name)).repeatable);
    }
    // The first refusal is the one that is reported; those behind it count as well.
    auto facts = calling("random");
    facts.why_not = reason::time_dependent;
    CHECK(made.resolve(facts).why_not == reason::time_dependent);
    CHECK_FALSE(made.resolve(facts).repeatable);
}

TEST_CASE("a VOLATILE function of PostgreSQL that could run SQL writes everything") {
    world made;
    const auto found = made.resolve(calling("query_to_xml"));
    CHECK(found.why_not == reason::volatile_function);
    CHECK(found.writes_everything);
    CHECK(found.pin == sql::pin_cause::none);
}

TEST_CASE("session locks and unseen settings pin") {
    world made;
    CHECK(made.resolve(calling("pg_advisory_lock")).pin == sql::pin_cause::advisory_lock);
    CHECK(made.resolve(calling("set_config")).pin == sql::pin_cause::unknown_setting);
}

TEST_CASE("the worst overload of a name counts") {
    world made;
    made.add_function("pg_catalog", "mixed", 'i');
    made.add_function("pg_catalog", "mixed", 'v');
    made.add_function("pg_catalog", "mixed", 's');
    CHECK(made.resolve(calling("mixed")).why_not == reason::volatile_function);
    made.add_function("pg_catalog", "timezone", 's');
    CHECK(made.resolve(calling("timezone")).why_not == reason::none);
}

TEST_CASE("a user's function is refused; a VOLATILE one writes everything and pins") {
    world made;
    made.add_function("public", "pure", 'i');
    made.add_function("public", "wild", 'v');
    const auto pure = made.resolve(calling("pure"));
    CHECK(pure.why_not == reason::user_function);
    CHECK_FALSE(pure.writes_everything);
    CHECK(pure.pin == sql::pin_cause::none);
    const auto wild = made.resolve(calling("wild"));
    CHECK(wild.why_not == reason::user_function);
    CHECK(wild.writes_everything);
    CHECK(wild.pin == sql::pin_cause::unknown_effect);
    CHECK(wild.pin_detail == "public.wild");
}

TEST_CASE("a user's function beside one of PostgreSQL's of the same name is suspected") {
    world made;
    made.add_function("public", "lower", 'v');
    CHECK(made.resolve(calling("lower")).writes_everything);
    CHECK(made.resolve(calling("lower", "pg_catalog")).why_not == reason::none);
    CHECK(made.resolve(calling("lower"), "app", "other").why_not == reason::none);
}

TEST_CASE("a function that the catalog does not know could do anything") {
    world made;
    const auto found = made.resolve(calling("nothing"));
    CHECK(found.why_not == reason::unknown_function);
    CHECK(found.writes_everything);
    CHECK(found.pin == sql::pin_cause::unknown_effect);
}

TEST_CASE("a function vouched for as cacheable adds what it reads, and the identity") {
    world made;
    made.add_table("members");
    made.add_child("members", "members_old");
    made.add_function("public", "my_projects", 'v');
    made.data.vouched = {{"public", "my_projects", {"public.members"}, {}, true}};
    const auto found = made.resolve(calling("my_projects"));
    CHECK(found.why_not == reason::none);
    CHECK(found.reads == made.ids({"members", "members_old"}));
    CHECK(found.identity_matters);
    CHECK_FALSE(found.writes_everything);
    CHECK(found.pin == sql::pin_cause::none);
}

TEST_CASE("a function vouched for as a writer writes that, with cascades, and no more") {
    world made;
    made.add_table("audit");
    made.add_table("detail");
    made.add_key("audit", "detail", true, false);
    made.add_function("public", "note", 'v');
    made.data.vouched = {{"public", "note", {}, {"public.audit"}, false}};
    const auto found = made.resolve(calling("note"));
    CHECK(found.why_not == reason::user_function);
    CHECK(found.writes == made.ids({"audit", "detail"}));
    CHECK_FALSE(found.writes_everything);
    CHECK(found.pin == sql::pin_cause::none);
}

TEST_CASE("vouching for tables that are not there is not believed") {
    world made;
    made.add_function("public", "f", 'v');
    made.data.vouched = {{"public", "f", {"public.gone"}, {}, true}};
    CHECK(made.resolve(calling("f")).why_not == reason::unknown_relation);
    made.data.vouched = {{"public", "f", {}, {"public.gone"}, true}};
    CHECK(made.resolve(calling("f")).writes_everything);
}

TEST_CASE("vouching counts for the schema that it names") {
    world made;
    made.add_function("other", "f", 'v');
    made.data.vouched = {{"public", "f", {}, {}, true}};
    CHECK(made.resolve(calling("f", "other")).why_not == reason::user_function);
}

TEST_CASE("a function of the row type is called where an attribute has its name") {
    world made;
    made.add_table("issues");
    const auto label = made.add_function("public", "label", 's');
    made.table("issues").row_functions = {label};
    auto facts = reading({"issues"});
    CHECK(made.resolve(facts).why_not == reason::none);
    facts.attributes = {"id", "label"};
    CHECK(made.resolve(facts).why_not == reason::user_function);
    CHECK_FALSE(made.resolve(facts).writes_everything);
    made.data.functions.back().volatility = 'v';
    CHECK(made.resolve(facts).writes_everything);
    CHECK(made.resolve(facts).pin == sql::pin_cause::unknown_effect);
    made.data.vouched = {{"public", "label", {}, {}, true}};
    CHECK(made.resolve(facts).why_not == reason::none);
}

TEST_CASE("a table read twice is looked at with the attributes of both") {
    world made;
    made.add_table("issues");
    made.table("issues").row_functions = {made.add_function("public", "label", 's')};
    made.add_view("v", "SELECT id FROM public.issues;");
    auto facts = reading({"v", "issues"});
    facts.attributes = {"label"};
    CHECK(made.resolve(facts, "owner").why_not == reason::user_function);
}

TEST_CASE("a view's definition is looked at with its own attributes") {
    world made;
    made.add_table("issues");
    made.table("issues").row_functions = {made.add_function("public", "label", 's')};
    made.add_view("plain", "SELECT i.id FROM public.issues i;");
    made.add_view("labelled", "SELECT i.label FROM public.issues i;");
    auto facts = reading({"plain"});
    facts.attributes = {"label"};
    CHECK(made.resolve(facts).why_not == reason::none);
    CHECK(made.resolve(reading({"labelled"})).why_not == reason::view_not_understood);
}
