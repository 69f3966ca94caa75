// Statements that PostgreSQL refuses inside a transaction are known by their first words, with the
// names by which an interruption's leftovers are found again.

#include "migrate/statement_kind.hpp"

#include <doctest/doctest.h>

namespace postern::migrate {
namespace {

TEST_SUITE("migrate/statement_kind") {
    TEST_CASE("what runs outside of a transaction is told from what does not") {
        const struct {
            const char* text;
            outside_kind kind;
        } cases[] = {
            {"create index concurrently i on t (a)", outside_kind::create_index},
            {"CREATE UNIQUE INDEX /* x */ CONCURRENTLY i ON t (a)", outside_kind::create_index},
            {"create index i on t (a)", outside_kind::none},
            {"create index concurrently_ on t (a)", outside_kind::none},
            {"drop index concurrently i", outside_kind::drop_index},
            {"drop index i", outside_kind::none},
            {"reindex index concurrently i", outside_kind::reindex},
            {"reindex (verbose) table concurrently t", outside_kind::reindex},
            {"reindex table t", outside_kind::none},
            {"reindex database d", outside_kind::reindex},
            {"vacuum (analyze) t", outside_kind::repeatable},
            {"alter system set work_mem = '1MB'", outside_kind::repeatable},
            {"cluster", outside_kind::repeatable},
            {"cluster t using i", outside_kind::none},
            {"alter table t detach partition p concurrently", outside_kind::detach_partition},
            {"alter table t detach partition p", outside_kind::none},
            {"alter type e add value 'x'", outside_kind::none},
            {"create database d", outside_kind::unknown},
            {"create table vacuum_log ()", outside_kind::none},
            {"analyze t", outside_kind::none},
        };
        for (const auto& c : cases) {
            CAPTURE(c.text);
            CHECK(classify(c.text).kind == c.kind);
        }
    }

    TEST_CASE("names are kept as they are written") {
        const auto made = classify(
            "create unique index concurrently if not exists \"My Index\" on only s.\"T\" (a)");
        CHECK(made.index == "\"My Index\"");
        CHECK(made.table == "s.\"T\"");
        CHECK(made.if_exists);
        CHECK(classify("create index concurrently on t (a)").index.empty());
        CHECK(classify("drop index concurrently if exists s.i").index == "s.i");
        CHECK(classify("reindex (verbose) table concurrently s.t").table == "s.t");
        const auto detached = classify("alter table s.t detach partition s.p concurrently");
        CHECK(detached.table == "s.t");
        CHECK(detached.partition == "s.p");
    }

    TEST_CASE("what sets the session up is told from what ends with the transaction") {
        CHECK(sets_the_session("set search_path = a"));
        CHECK(sets_the_session("SET ROLE owner"));
        CHECK(sets_the_session("reset all"));
        CHECK_FALSE(sets_the_session("set local search_path = a"));
        CHECK_FALSE(sets_the_session("set constraints all deferred"));
        CHECK_FALSE(sets_the_session("update t set a = 1"));
    }
}

}  // namespace
}  // namespace postern::migrate
