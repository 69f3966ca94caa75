#include "world.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::catalog;
using namespace postern::catalog::test;

TEST_CASE("a table is found through the search_path and is what the statement reads") {
    world made;
    made.add_table("issues");
    const auto found = made.resolve(reading({"issues"}));
    CHECK(found.why_not == reason::none);
    CHECK(found.reads == made.ids({"issues"}));
    CHECK(found.writes.empty());
    CHECK_FALSE(found.writes_everything);
    CHECK_FALSE(found.identity_matters);
}

TEST_CASE("reads are sorted and named once") {
    world made;
    made.add_table("a");
    made.add_table("b");
    CHECK(made.resolve(reading({"b", "a", "b"})).reads == made.ids({"a", "b"}));
}

TEST_CASE("a name in several schemas of the path counts for all of them") {
    // PostgreSQL passes over a schema that the role may not use.
    world made;
    const auto first = made.add_table("issues", "app").id;
    const auto second = made.add_table("issues", "public").id;
    CHECK(
        made.resolve(reading({"issues"}), "app", "app, public").reads ==
        std::vector{first, second});
    CHECK(made.resolve(reading({"issues"}), "app", "public").reads == std::vector{second});
}

TEST_CASE("an unknown relation is refused") {
    world made;
    const auto found = made.resolve(reading({"nothing"}));
    CHECK(found.why_not == reason::unknown_relation);
    CHECK(found.why_not_detail == "nothing");
    CHECK_FALSE(found.writes_everything);
}

TEST_CASE("a table outside of the path is unknown unless its schema is named") {
    world made;
    made.add_table("issues", "other");
    CHECK(made.resolve(reading({"issues"})).why_not == reason::unknown_relation);
    auto facts = reading({"issues"});
    facts.relations[0].schema = "other";
    CHECK(made.resolve(facts).reads == made.ids({"issues"}));
}

TEST_CASE("system catalogs are refused, named with their schema or not, known or not") {
    world made;
    CHECK(made.resolve(reading({"pg_class"})).why_not == reason::system_catalog);
    auto facts = reading({"tables"});
    facts.relations[0].schema = "information_schema";
    CHECK(made.resolve(facts).why_not == reason::system_catalog);
}

TEST_CASE("materialized views, foreign tables, sequences and temporary tables are no tables") {
    for (const char kind : {'m', 'f', 'S'}) {
        CAPTURE(kind);
        world made;
        made.add_table("thing", "public", kind);
        CHECK(made.resolve(reading({"thing"})).why_not == reason::not_a_table);
    }
    world made;
    made.add_table("thing").persistence = 't';
    CHECK(made.resolve(reading({"thing"})).why_not == reason::not_a_table);
}

TEST_CASE("an unlogged table is a table") {
    world made;
    made.add_table("thing").persistence = 'u';
    CHECK(made.resolve(reading({"thing"})).why_not == reason::none);
}

TEST_CASE("a parent is read with all that inherits from it, however deep") {
    world made;
    made.add_table("events", "public", 'p');
    made.add_child("events", "events_2025").kind = 'p';
    made.add_child("events_2025", "events_2025_01");
    made.add_child("events", "events_2026");
    CHECK(
        made.resolve(reading({"events"})).reads ==
        made.ids({"events", "events_2025", "events_2025_01", "events_2026"}));
    CHECK(made.resolve(reading({"events_2025_01"})).reads == made.ids({"events_2025_01"}));
}

TEST_CASE("a foreign partition makes its parent uncacheable") {
    world made;
    made.add_table("events", "public", 'p');
    made.add_child("events", "far").kind = 'f';
    CHECK(made.resolve(reading({"events"})).why_not == reason::not_a_table);
}

TEST_CASE("a view reads what its definition reads, through other views too") {
    world made;
    made.add_table("issues");
    made.add_table("projects");
    made.add_view("open_issues", "SELECT id FROM public.issues WHERE (status = 'open'::text);");
    made.add_view(
        "board",
        "SELECT o.id FROM (public.open_issues o JOIN public.projects p ON ((p.id = o.id)));");
    const auto found = made.resolve(reading({"board"}));
    CHECK(found.why_not == reason::none);
    CHECK(found.reads == made.ids({"issues", "projects"}));
}

TEST_CASE("a view that can't be followed is refused by name") {
    world made;
    made.add_table("issues");
    made.add_view("recent", "SELECT id FROM public.issues WHERE (at > now());");
    made.add_view("user_code", "SELECT public.f(id) AS f FROM public.issues;");
    made.add_function("public", "f", 'i');
    made.add_view("broken", "SELECT FROM WHERE");
    for (const auto* name : {"recent", "user_code", "broken"}) {
        CAPTURE(name);
        const auto found = made.resolve(reading({name}));
        CHECK(found.why_not == reason::view_not_understood);
        CHECK(found.why_not_detail.find(name) != std::string::npos);
    }
}

TEST_CASE("a view that does not parse, or that changes the session, is as bad as its text") {
    world made;
    made.add_view("broken", "SELECT FROM WHERE");
    made.add_view("locks", "SELECT pg_advisory_lock(1) AS held;");
    const auto broken = made.resolve(reading({"broken"}));
    CHECK(broken.writes_everything);
    CHECK(broken.pin == sql::pin_cause::unknown_effect);
    CHECK(made.resolve(reading({"locks"})).pin == sql::pin_cause::advisory_lock);
}

TEST_CASE("a view's names do not follow the reader's search_path") {
    world made;
    made.add_table("issues");
    made.add_view("v", "SELECT id FROM issues;");
    CHECK(made.resolve(reading({"v"})).why_not == reason::view_not_understood);
}

TEST_CASE("views that refer to each other end") {
    world made;
    made.add_view("a", "SELECT 1 FROM public.b;");
    made.add_view("b", "SELECT 1 FROM public.a;");
    CHECK(made.resolve(reading({"a"})).reads.empty());
}

TEST_CASE("views nested beyond reason are refused and count as writing everything") {
    world made;
    made.add_table("t0");
    for (int depth = 1; depth <= 40; ++depth) {
        made.add_view(
            "t" + std::to_string(depth),
            "SELECT 1 FROM public.t" + std::to_string(depth - 1) + ";");
    }
    CHECK(made.resolve(reading({"t30"})).why_not == reason::none);
    const auto found = made.resolve(reading({"t40"}));
    CHECK(found.why_not == reason::view_not_understood);
    CHECK(found.writes_everything);
}

TEST_CASE("what the text says against caching comes first, and the rest is gathered all the same") {
    world made;
    made.add_table("issues");
    auto facts = reading({"issues", "nothing"});
    facts.why_not = reason::locking_clause;
    facts.why_not_detail = "FOR UPDATE";
    const auto found = made.resolve(facts);
    CHECK(found.why_not == reason::locking_clause);
    CHECK(found.why_not_detail == "FOR UPDATE");
    CHECK(found.reads == made.ids({"issues"}));
}

TEST_CASE("operators are PostgreSQL's own or refused") {
    world made;
    made.data.operators = {{"public", "%%"}, {"hidden", "~~~"}};
    const auto with = [&](std::string schema, std::string name) {
        auto facts = reading({});
        facts.operators.push_back({std::move(schema), std::move(name)});
        return made.resolve(facts);
    };
    CHECK(with("", "=").why_not == reason::none);
    CHECK(with("", "%%").why_not == reason::unknown_operator);
    CHECK(with("pg_catalog", "%%").why_not == reason::none);
    CHECK(with("", "~~~").why_not == reason::none);
    CHECK(with("hidden", "~~~").why_not == reason::unknown_operator);
    CHECK_FALSE(with("", "%%").writes_everything);
    made.data.volatile_operators = {{"public", "%%"}};
    CHECK(with("", "%%").writes_everything);
}

TEST_CASE("types are PostgreSQL's own, enums and plain domains, or refused") {
    world made;
    made.data.types = {{"public", "mood"}};
    const auto with = [&](std::string schema, std::string name, std::string path) {
        auto facts = reading({});
        facts.types.push_back({std::move(schema), std::move(name)});
        return made.resolve(facts, "app", path).why_not;
    };
    CHECK(with("", "int4", "public") == reason::none);
    CHECK(with("pg_catalog", "int4", "public") == reason::none);
    CHECK(with("", "mood", "public") == reason::none);
    CHECK(with("public", "mood", "other") == reason::none);
    CHECK(with("", "mood", "other") == reason::unknown_type);
    CHECK(with("", "citext", "public") == reason::unknown_type);
    CHECK(with("public", "int4", "public") == reason::unknown_type);
    CHECK(with("", "regclass", "public") == reason::system_catalog);
    // With pg_catalog behind, public.int4 could be meant.
    CHECK(with("", "int4", "public, pg_catalog") == reason::unknown_type);
}

TEST_CASE("settings of the identity may be read, others may not") {
    world made;
    auto facts = reading({});
    facts.current_settings = {"App.User_Id"};
    const auto known = made.resolve(facts);
    CHECK(known.why_not == reason::none);
    CHECK(known.identity_matters);
    facts.current_settings = {"app.other"};
    CHECK(made.resolve(facts).why_not == reason::session_dependent);
}

TEST_CASE("find gives the first relation of the path, or the one that is named in full") {
    world made;
    const auto first = made.add_table("issues", "app").id;
    const auto second = made.add_table("issues", "public").id;
    const snapshot taken(made.data, 7);
    CHECK(taken.generation() == 7);
    const resolve_context context{"app, public", "app"};
    CHECK(taken.find("issues", context)->id == first);
    CHECK(taken.find("public.issues", context)->id == second);
    CHECK(taken.find("nothing", context) == nullptr);
    CHECK(taken.find(first)->schema == "app");
}
