#include "world.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace postern::catalog;
using namespace postern::catalog::test;

namespace {

constexpr auto membership =
    "(project_id IN ( SELECT m.project_id FROM public.project_members m WHERE (m.user_id = "
    "(NULLIF(current_setting('app.user_id'::text, true), ''::text))::integer)))";

world tracker() {
    world made;
    made.add_table("issues");
    made.add_table("project_members");
    made.protect("issues", membership);
    return made;
}

}  // namespace

TEST_CASE("a policy adds the identity and what it reads") {
    auto made = tracker();
    const auto found = made.resolve(reading({"issues"}));
    CHECK_MESSAGE(found.why_not == reason::none, found.why_not_detail);
    CHECK(found.identity_matters);
    CHECK(found.reads == made.ids({"issues", "project_members"}));
}

TEST_CASE("policies of what a policy reads apply too, and a circle of policies ends") {
    auto made = tracker();
    made.add_table("users");
    made.protect("project_members", "(user_id IN ( SELECT u.id FROM public.users u))");
    made.protect("users", "(id IN ( SELECT i.id FROM public.issues i))");
    CHECK(
        made.resolve(reading({"issues"})).reads ==
        made.ids({"issues", "project_members", "users"}));
}

TEST_CASE("superusers, BYPASSRLS roles and the owner without FORCE see through") {
    auto made = tracker();
    made.add_role("backup").bypass_rls = true;
    for (const auto* role : {"postgres", "backup", "owner"}) {
        CAPTURE(role);
        const auto found = made.resolve(reading({"issues"}), role);
        CHECK_FALSE(found.identity_matters);
        CHECK(found.reads == made.ids({"issues"}));
    }
    made.table("issues").rls_forced = true;
    CHECK(made.resolve(reading({"issues"}), "owner").identity_matters);
    CHECK_FALSE(made.resolve(reading({"issues"}), "postgres").identity_matters);
}

TEST_CASE("a member of the owner may not inherit its exemption") {
    auto made = tracker();
    made.role_named("app").member_of = {made.id_of_role("owner")};
    CHECK(made.resolve(reading({"issues"})).identity_matters);
}

TEST_CASE("policies without row level security enabled are asleep") {
    auto made = tracker();
    made.table("issues").rls_enabled = false;
    CHECK_FALSE(made.resolve(reading({"issues"})).identity_matters);
}

TEST_CASE("only policies for SELECT and for the role at hand count") {
    world made;
    made.add_table("issues");
    made.add_table("a");
    made.add_table("b");
    made.add_table("c");
    made.add_role("staff");
    made.protect("issues", "(EXISTS ( SELECT FROM public.a))", 'r');
    made.protect("issues", "(EXISTS ( SELECT FROM public.b))", 'w');
    made.protect("issues", "(EXISTS ( SELECT FROM public.c))", '*', "staff");
    CHECK(made.resolve(reading({"issues"})).reads == made.ids({"issues", "a"}));
    CHECK(made.resolve(reading({"issues"}), "staff").reads == made.ids({"issues", "a", "c"}));
    made.role_named("app").member_of = {made.id_of_role("staff")};
    CHECK(made.resolve(reading({"issues"})).reads == made.ids({"issues", "a", "c"}));
}

TEST_CASE("an unknown role is subject to every policy") {
    auto made = tracker();
    made.add_role("staff");
    made.data.policies.back().roles = {made.id_of_role("staff")};
    const auto found = made.resolve(reading({"issues"}), "stranger");
    CHECK(found.identity_matters);
    CHECK(found.reads == made.ids({"issues", "project_members"}));
}

TEST_CASE("row level security without a policy still sets identities apart") {
    world made;
    made.add_table("issues").rls_enabled = true;
    const auto found = made.resolve(reading({"issues"}));
    CHECK(found.why_not == reason::none);
    CHECK(found.identity_matters);
}

TEST_CASE("a policy that depends on more than the identity is refused by name") {
    for (const auto* expression :
         {"(until > now())",
          "(tenant = current_setting('app.tenant'::text))",
          "(owner = SESSION_USER)",
          "public.may_see(id)",
          "(pg_backend_pid() = 1)",
          "(random() > 0.5)",
          "(id IN ( SELECT f.id FROM public.far f))",
          "(id IN ( SELECT p.oid FROM pg_class p))",
          "((("}) {
        CAPTURE(expression);
        world made;
        made.add_table("issues");
        made.add_table("far", "public", 'f');
        made.add_function("public", "may_see", 's');
        made.protect("issues", expression);
        const auto found = made.resolve(reading({"issues"}));
        CHECK(found.why_not == reason::policy_not_understood);
        CHECK(found.why_not_detail.find("members on public.issues") != std::string::npos);
    }
}

TEST_CASE("a policy on the current user is understood: the role is part of every key") {
    world made;
    made.add_table("issues");
    made.protect("issues", "(owner = (CURRENT_USER)::text)");
    const auto found = made.resolve(reading({"issues"}));
    CHECK_MESSAGE(found.why_not == reason::none, found.why_not_detail);
}

TEST_CASE("a policy's function can be vouched for") {
    world made;
    made.add_table("issues");
    made.add_table("project_members");
    made.add_function("postern", "project_ids", 's');
    made.protect(
        "issues",
        "(project_id = ANY (( SELECT postern.project_ids() AS project_ids)::bigint[]))");
    CHECK(made.resolve(reading({"issues"})).why_not == reason::policy_not_understood);
    made.data.vouched = {{"postern", "project_ids", {"public.project_members"}, {}, true}};
    const auto found = made.resolve(reading({"issues"}));
    CHECK_MESSAGE(found.why_not == reason::none, found.why_not_detail);
    CHECK(found.reads == made.ids({"issues", "project_members"}));
}

TEST_CASE("a view reads as its owner, a security_invoker view as its reader") {
    auto made = tracker();
    made.add_view("as_owner", "SELECT id FROM public.issues;");
    made.add_view("as_reader", "SELECT id FROM public.issues;").security_invoker = true;
    CHECK_FALSE(made.resolve(reading({"as_owner"})).identity_matters);
    CHECK(made.resolve(reading({"as_owner"})).reads == made.ids({"issues"}));
    CHECK(made.resolve(reading({"as_reader"})).identity_matters);
    CHECK(made.resolve(reading({"as_reader"})).reads == made.ids({"issues", "project_members"}));
    // Read both ways in one statement, both ways count.
    CHECK(made.resolve(reading({"as_owner", "as_reader"})).identity_matters);
}

TEST_CASE("inside a view, a security_invoker view reads as the outer view's owner") {
    auto made = tracker();
    made.add_view("inner_view", "SELECT id FROM public.issues;").security_invoker = true;
    made.add_view("outer_view", "SELECT id FROM public.inner_view;");
    CHECK_FALSE(made.resolve(reading({"outer_view"})).identity_matters);
    made.table("outer_view").owner = made.id_of_role("app");
    CHECK(made.resolve(reading({"outer_view"}), "postgres").identity_matters);
}

TEST_CASE("a view of an owner that nobody knows reads as one subject to every policy") {
    auto made = tracker();
    made.add_view("v", "SELECT id FROM public.issues;").owner = 4242;
    CHECK(made.resolve(reading({"v"})).identity_matters);
}

TEST_CASE("a parent's policies protect its partitions' rows, not the partitions' own") {
    auto made = tracker();
    made.add_child("issues", "issues_old");
    made.protect("issues_old", "(until > now())");
    const auto found = made.resolve(reading({"issues"}));
    CHECK(found.why_not == reason::none);
    CHECK(found.reads == made.ids({"issues", "issues_old", "project_members"}));
    CHECK(made.resolve(reading({"issues_old"})).why_not == reason::policy_not_understood);
}
