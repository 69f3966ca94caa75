#include "world.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::catalog;
using namespace postern::catalog::test;
using sql::access;

TEST_CASE("a write touches its table and no other") {
    world made;
    made.add_table("issues");
    made.add_table("comments");
    for (const auto how : {access::insert, access::update, access::delete_, access::truncate}) {
        const auto found = made.resolve(writing("issues", how));
        CHECK(found.writes == made.ids({"issues"}));
        CHECK_FALSE(found.writes_everything);
        CHECK(found.why_not == reason::not_a_select);
    }
}

TEST_CASE("locking a table writes nothing") {
    world made;
    made.add_table("issues");
    CHECK(made.resolve(writing("issues", access::lock)).writes.empty());
}

TEST_CASE("a write on an unknown relation, or on a system catalog, writes everything") {
    world made;
    CHECK(made.resolve(writing("nothing", access::insert)).writes_everything);
    const auto system = made.resolve(writing("pg_class", access::update));
    CHECK(system.writes_everything);
    CHECK(system.changes_catalog);
}

TEST_CASE("a foreign table written writes everything: it may be a table of this very database") {
    world made;
    made.add_table("far", "public", 'f');
    CHECK(made.resolve(writing("far", access::insert)).writes_everything);
}

TEST_CASE("a table with rewrite rules is read plainly, and written everywhere") {
    world made;
    made.add_table("issues").has_user_rules = true;
    CHECK(made.resolve(reading({"issues"})).why_not == reason::none);
    CHECK(made.resolve(writing("issues", access::insert)).writes_everything);
}

TEST_CASE("a write on a parent touches all descendants, one on a leaf the leaf") {
    world made;
    made.add_table("events", "public", 'p');
    made.add_child("events", "y2025").kind = 'p';
    made.add_child("y2025", "jan");
    CHECK(
        made.resolve(writing("events", access::insert)).writes ==
        made.ids({"events", "y2025", "jan"}));
    CHECK(made.resolve(writing("jan", access::insert)).writes == made.ids({"jan"}));
}

TEST_CASE("a delete follows foreign keys that act on delete, three levels deep") {
    world made;
    for (const auto* name : {"projects", "issues", "comments", "attachments", "users"})
        made.add_table(name);
    made.add_key("projects", "issues", true, false);
    made.add_key("issues", "comments", true, false);
    made.add_key("comments", "attachments", true, false);
    made.add_key("projects", "users", false, false);
    CHECK(
        made.resolve(writing("projects", access::delete_)).writes ==
        made.ids({"projects", "issues", "comments", "attachments"}));
    CHECK(
        made.resolve(writing("comments", access::delete_)).writes ==
        made.ids({"comments", "attachments"}));
    CHECK(made.resolve(writing("projects", access::insert)).writes == made.ids({"projects"}));
    CHECK(made.resolve(writing("projects", access::update)).writes == made.ids({"projects"}));
}

TEST_CASE("an update follows foreign keys that act on update") {
    world made;
    for (const auto* name : {"a", "b", "c"})
        made.add_table(name);
    made.add_key("a", "b", false, true);
    made.add_key("b", "c", false, true);
    CHECK(made.resolve(writing("a", access::update)).writes == made.ids({"a", "b", "c"}));
    CHECK(made.resolve(writing("a", access::delete_)).writes == made.ids({"a"}));
}

TEST_CASE("ON DELETE SET NULL updates, and that update goes on") {
    world made;
    for (const auto* name : {"a", "b", "c"})
        made.add_table(name);
    made.add_key("a", "b", true, false);
    made.add_key("b", "c", false, true);
    CHECK(made.resolve(writing("a", access::delete_)).writes == made.ids({"a", "b", "c"}));
}

TEST_CASE("TRUNCATE may cascade along every foreign key") {
    world made;
    for (const auto* name : {"a", "b", "c"})
        made.add_table(name);
    made.add_key("a", "b", false, false);
    made.add_key("b", "c", false, false);
    CHECK(made.resolve(writing("a", access::truncate)).writes == made.ids({"a", "b", "c"}));
    CHECK(made.resolve(writing("a", access::delete_)).writes == made.ids({"a"}));
}

TEST_CASE("foreign keys in a circle end") {
    world made;
    for (const auto* name : {"a", "b"})
        made.add_table(name);
    made.add_key("a", "b", true, false);
    made.add_key("b", "a", true, false);
    CHECK(made.resolve(writing("a", access::delete_)).writes == made.ids({"a", "b"}));
}

TEST_CASE("an update on a partitioned table may move rows, which deletes them where they were") {
    world made;
    made.add_table("events", "public", 'p');
    made.add_table("notes");
    made.add_key("events", "notes", true, false);
    CHECK(made.resolve(writing("events", access::update)).writes == made.ids({"events", "notes"}));
}

TEST_CASE("a trigger writes everything unless it is vouched for or PostgreSQL's own") {
    world made;
    made.add_table("issues");
    made.add_table("audit");
    made.add_trigger("issues", made.add_function("public", "note", 'v'));
    CHECK(made.resolve(writing("issues", access::update)).writes_everything);
    made.data.vouched = {{"public", "note", {}, {"public.audit"}, false}};
    const auto found = made.resolve(writing("issues", access::update));
    CHECK_FALSE(found.writes_everything);
    CHECK(found.writes == made.ids({"issues", "audit"}));
    made.add_trigger("audit", made.add_function("pg_catalog", "tsvector_update_trigger", 'v'));
    CHECK_FALSE(made.resolve(writing("issues", access::update)).writes_everything);
    made.add_trigger("audit", 99999);
    CHECK(made.resolve(writing("issues", access::update)).writes_everything);
}

TEST_CASE("a trigger on what a cascade reaches counts") {
    world made;
    made.add_table("projects");
    made.add_table("issues");
    made.add_key("projects", "issues", true, false);
    made.add_trigger("issues", made.add_function("public", "note", 'v'));
    CHECK(made.resolve(writing("projects", access::delete_)).writes_everything);
    CHECK_FALSE(made.resolve(writing("projects", access::update)).writes_everything);
}

TEST_CASE("a trigger that writes its own table ends") {
    world made;
    made.add_table("issues");
    made.add_trigger("issues", made.add_function("public", "touch", 'v'));
    made.data.vouched = {{"public", "touch", {}, {"public.issues"}, false}};
    const auto found = made.resolve(writing("issues", access::update));
    CHECK(found.writes == made.ids({"issues"}));
    CHECK_FALSE(found.writes_everything);
}

TEST_CASE("a write on a view touches the tables that the view names") {
    world made;
    made.add_table("issues");
    made.add_table("comments");
    made.add_key("issues", "comments", true, false);
    made.add_view("open_issues", "SELECT id FROM public.issues WHERE (status = 'open'::text);");
    made.add_view("mine", "SELECT id FROM public.open_issues;");
    const auto found = made.resolve(writing("mine", access::delete_));
    CHECK(found.writes == made.ids({"issues", "comments"}));
    CHECK_FALSE(found.writes_everything);
}

TEST_CASE("a view with a trigger, with rules or beyond understanding writes everything") {
    world made;
    made.add_table("issues");
    made.add_view("v", "SELECT id FROM public.issues;");
    made.add_view("w", "SELECT id FROM public.issues;").has_user_rules = true;
    made.add_view("x", "SELECT id FROM public.issues WHERE (at > now());");
    made.add_trigger("v", made.add_function("public", "instead", 'v'));
    for (const auto* name : {"v", "w", "x"}) {
        CAPTURE(name);
        CHECK(made.resolve(writing(name, access::insert)).writes_everything);
    }
}

TEST_CASE("what the text says of writes, DDL and pins is carried over") {
    world made;
    sql::statement_facts facts;
    facts.writes_everything = true;
    facts.changes_catalog = true;
    facts.pin = sql::pin_cause::listen;
    facts.pin_detail = "channel";
    const auto found = made.resolve(facts);
    CHECK(found.writes_everything);
    CHECK(found.changes_catalog);
    CHECK(found.pin == sql::pin_cause::listen);
    CHECK(found.pin_detail == "channel");
    CHECK(found.why_not == reason::not_understood);
}
