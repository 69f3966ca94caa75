// What a session says to its client and to its server, and in which order.

#include "session/conversation.hpp"

#include <doctest/doctest.h>

namespace postern::session {
namespace {

TEST_SUITE("session/conversation") {
    TEST_CASE("a statement and its answer pass as they are, however they are cut") {
        for (const std::size_t size : {std::size_t{1}, std::size_t{3}, std::size_t{1000}}) {
            CAPTURE(size);
            conversation talk;
            auto client = talk.login();
            auto server = talk.server();
            client.says_in_pieces("Q select 1", size);
            CHECK(server.hears() == "Q select 1");
            server.says_in_pieces("T | D 1 | N 01000 beware | D 2 | C SELECT 2 | Z I", size);
            CHECK(client.hears() == "T | D 1 | N 01000 beware | D 2 | C SELECT 2 | Z I");
            client.says_in_pieces("P =select 2 | B = | D P | E | S", size);
            CHECK(server.hears() == "P =select 2 | B = | D | E | S");
            server.says_in_pieces("1 | 2 | T | D 2 | C SELECT 1 | Z I", size);
            CHECK(client.hears() == "1 | 2 | T | D 2 | C SELECT 1 | Z I");
            CHECK(talk.pool().idle == 1);
        }
    }

    TEST_CASE("a fence stands before the write is sent, and is gone before its end is told") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        coherence::dependencies before;
        REQUIRE(talk.versions().capture({}, before));
        client.says("Q update t set a = 1");
        CHECK(server.hears() == "Q update t set a = 1");
        CHECK(talk.versions().fences_standing() == 1);
        CHECK_FALSE(talk.versions().current(before));
        server.says("C UPDATE 1");
        CHECK(talk.versions().fences_standing() == 1);
        server.says("Z I");
        CHECK(talk.versions().fences_standing() == 0);
        CHECK_FALSE(talk.versions().current(before));
        CHECK(client.hears() == "C UPDATE 1 | Z I");
    }

    TEST_CASE("a write that failed alone lifts its fence and invalidates nothing") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        coherence::dependencies before;
        REQUIRE(talk.versions().capture({}, before));
        client.says("Q update t set a = 1");
        CHECK(talk.versions().fences_standing() == 1);
        server.says("E 22012 division by zero | Z I");
        CHECK(talk.versions().current(before));
        CHECK(client.hears() == "E 22012 division by zero | Z I");
    }

    TEST_CASE("a transaction's fence stands from COMMIT on, not from its first write") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("Q begin");
        CHECK(client.hears() == "C BEGIN | Z T");
        CHECK(server.hears().empty());
        client.says("Q update t set a = 1");
        CHECK(server.hears() == "P postern_1=begin | B =postern_1 | E | Q update t set a = 1");
        server.says("1 | 2 | C BEGIN | C UPDATE 1 | Z T");
        CHECK(client.hears() == "C UPDATE 1 | Z T");
        CHECK(talk.versions().fences_standing() == 0);
        client.says("Q commit");
        CHECK(talk.versions().fences_standing() == 1);
        server.says("C COMMIT | Z I");
        CHECK(talk.versions().fences_standing() == 0);
        CHECK(talk.pool().idle == 1);
    }

    TEST_CASE("the next session's statement waits until the server has changed its settings") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q set work_mem = '9MB'");
        CHECK(server.hears() == "Q set work_mem = '9MB'");
        server.says("C SET | Z I");
        second.says("Q select 2");
        CHECK(server.hears() == "Q RESET \"work_mem\";");
        server.says("C RESET");
        CHECK(server.hears().empty());
        server.says("Z I");
        CHECK(server.hears() == "Q select 2");
        server.says("T | D 2 | C SELECT 1 | Z I");
        CHECK(second.hears() == "T | D 2 | C SELECT 1 | Z I");
        first.says("Q select 1");
        CHECK(server.hears() == "Q SELECT pg_catalog.set_config('work_mem','9MB',false);");
    }

    TEST_CASE("a server that can not change its settings is closed and nothing is run on it") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q set work_mem = '9MB'");
        server.says("C SET | Z I");
        second.says("Q delete from t");
        CHECK(server.hears() == "Q set work_mem = '9MB' | Q RESET \"work_mem\";");
        server.says("E 42501 permission denied | Z I");
        CHECK(server.hears() == "(gone)");
        CHECK(second.hears() == "E 42501 permission denied | (gone)");
    }

    TEST_CASE("a server that says what was not asked is not believed and not lent again") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("P =select 1 | B = | E | S");
        server.says("1 | 3");
        CHECK(client.hears() == "1 | E 08006 server closed the connection unexpectedly | (gone)");
        CHECK(server.hears() == "P =select 1 | B = | E | S | (gone)");
        CHECK(talk.pool().idle == 0);
        CHECK(talk.pool().lent == 0);
    }

    TEST_CASE("an idle server that speaks up is closed, and another takes its place") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        server.says("Z I");
        CHECK(server.hears() == "(gone)");
        client.says("Q select 1");
        auto fresh = talk.server();
        CHECK(fresh.hears() == "Q select 1");
        fresh.says("T | D 1 | C SELECT 1 | Z I");
        CHECK(client.hears() == "T | D 1 | C SELECT 1 | Z I");
    }

    TEST_CASE("a client that goes in the middle of a transaction has it rolled back") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        auto other = talk.login();
        client.says("Q begin; insert into t values (1)");
        CHECK(server.hears() == "Q begin; insert into t values (1)");
        server.says("C BEGIN | C INSERT 0 1 | Z T");
        other.says("Q select 1");
        CHECK(server.hears().empty());
        client.hangs_up();
        CHECK(server.hears() == "Q ROLLBACK");
        server.says("C ROLLBACK | Z I");
        CHECK(server.hears() == "Q select 1");
    }

    TEST_CASE("the query of a client that goes is cancelled, and its server kept until it ends") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        auto other = talk.login();
        client.says("Q select pg_sleep(60)");
        other.says("Q select 1");
        CHECK(server.hears() == "Q select pg_sleep(60)");
        client.says("X");
        client.hangs_up();
        CHECK(talk.cancelled() == std::vector<std::int32_t>{100});
        CHECK(server.hears().empty());
        server.says("E 57014 canceling statement due to user request | Z I");
        CHECK(server.hears() == "Q select 1");
    }

    TEST_CASE("a cancel that comes while settings change cancels the statement behind them") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q set work_mem = '9MB'");
        server.says("C SET | Z I");
        second.says("Q select 2");
        CHECK(server.hears() == "Q set work_mem = '9MB' | Q RESET \"work_mem\";");
        second.cancels();
        CHECK(talk.cancelled().empty());
        server.says("C RESET | Z I");
        CHECK(server.hears().empty());
        CHECK(second.hears() == "E 57014 canceling statement due to user request | Z I");
        second.says("Q select 3");
        CHECK(server.hears() == "Q select 3");
    }

    TEST_CASE("a cancel reaches the server that runs the client's statement, and it is held back") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q select pg_sleep(60)");
        second.says("Q select 2");
        second.cancels();
        CHECK(second.hears() == "E 57014 canceling statement due to user request | Z I");
        CHECK(talk.cancelled().empty());
        first.cancels();
        CHECK(talk.cancelled() == std::vector<std::int32_t>{100});
        server.says("E 57014 canceling statement due to user request | Z I");
        CHECK(first.hears() == "E 57014 canceling statement due to user request | Z I");
        CHECK(talk.pool().idle == 1);
    }

    TEST_CASE("the connection of a cancel request ends when PostgreSQL has been signalled") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("Q select pg_sleep(60)");
        talk.hold_cancels();
        auto canceller = client.cancels();
        CHECK(canceller.hears().empty());
        server.says("E 57014 canceling statement due to user request | Z I");
        CHECK(client.hears() == "E 57014 canceling statement due to user request | Z I");
        CHECK(canceller.hears().empty());
        CHECK(talk.pool().idle == 0);
        talk.let_cancels();
        CHECK(canceller.hears() == "(gone)");
        CHECK(talk.pool().idle == 1);
        CHECK(client.cancels().hears() == "(gone)");
    }

    TEST_CASE("what a Flush has left open is settled with its Sync") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        auto other = talk.login();
        client.says("P =set work_mem = '9MB' | B = | E | H");
        CHECK(server.hears() == "P =set work_mem = '9MB' | B = | E | H");
        server.says("1 | 2 | C SET");
        CHECK(client.hears() == "1 | 2 | C SET");
        other.says("Q select 1");
        client.says("S");
        CHECK(server.hears() == "S");
        server.says("Z I");
        CHECK(client.hears() == "Z I");
        CHECK(server.hears() == "Q RESET \"work_mem\";");
    }

    TEST_CASE("settings and the end of a transaction in one text take effect in their order") {
        for (const std::string text :
             {"begin; set work_mem = '9MB'; rollback", "set work_mem = '9MB'; rollback"}) {
            CAPTURE(text);
            conversation talk;
            auto first = talk.login();
            auto server = talk.server();
            auto second = talk.login();
            first.says("Q " + text);
            server.says(
                text.starts_with("begin") ? "C BEGIN | C SET | C ROLLBACK | Z I"
                                          : "C SET | C ROLLBACK | Z I");
            CHECK(server.hears() == "Q " + text);
            // Nobody wears the setting, and the server does not either.
            second.says("Q set work_mem = '9MB'");
            CHECK(server.hears() == "Q set work_mem = '9MB'");
            server.says("C SET | Z I");
            first.says("Q select 1");
            CHECK(server.hears() == "Q RESET \"work_mem\";");
        }
    }

    TEST_CASE("a setting behind the end of a transaction in one text stays") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q begin; rollback; set work_mem = '9MB'");
        server.says("C BEGIN | C ROLLBACK | C SET | Z I");
        server.hears();
        second.says("Q select 2");
        CHECK(server.hears() == "Q RESET \"work_mem\";");
    }

    TEST_CASE("a COMMIT that something failed behind has committed the settings before it") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q begin");
        first.says("Q set work_mem = '9MB'");
        server.says("1 | 2 | C BEGIN | C SET | Z T");
        first.says("Q commit; select 1/0");
        server.says("C COMMIT | E 22012 division by zero | Z I");
        server.hears();
        second.says("Q select 2");
        CHECK(server.hears() == "Q RESET \"work_mem\";");
    }

    TEST_CASE("each transaction of a batch ends in its own way") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says(
            "P =begin | B = | E | P =set work_mem = '9MB' | B = | E | P =commit | B = | E | P "
            "=begin | "
            "B = | E | P =rollback | B = | E | S");
        server.says(
            "1 | 2 | C BEGIN | 1 | 2 | C SET | 1 | 2 | C COMMIT | 1 | 2 | C BEGIN | 1 | 2 | C "
            "ROLLBACK "
            "| Z I");
        server.hears();
        second.says("Q select 2");
        CHECK(server.hears() == "Q RESET \"work_mem\";");
    }

    TEST_CASE("what a failed request may have left behind keeps its server from others") {
        for (const std::string text :
             {"select pg_advisory_lock(7); select 1/0",
              "prepare p as select 1; select 1/0",
              "create temp table t(a int); commit; select 1/0"}) {
            CAPTURE(text);
            conversation talk;
            auto first = talk.login();
            auto server = talk.server();
            auto second = talk.login();
            first.says("Q " + text);
            server.says("E 22012 division by zero | Z I");
            second.says("Q select 2");
            CHECK(server.hears() == "Q " + text);
            first.hangs_up();
            CHECK(server.hears() == "(gone)");
        }
    }

    TEST_CASE("after a DEALLOCATE ALL that failed later nothing is taken to be prepared") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("P s=select 1 | S");
        server.says("1 | Z I");
        client.says("Q deallocate all; select 1/0");
        server.says("C DEALLOCATE ALL | E 22012 division by zero | Z I");
        server.hears();
        // What DEALLOCATE has dropped no failure brings back: the name is unknown, and what is
        // prepared anew is made anew.
        client.says("B =s | E | S");
        CHECK(server.hears() == "B =s | E | S");
        server.says("E 26000 prepared statement \"s\" does not exist | Z I");
        client.says("P s=select 1 | S");
        CHECK(server.hears() == "P postern_2=select 1 | S");
    }

    TEST_CASE("UNLISTEN that may be rolled back does not free the server") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q listen a");
        server.says("C LISTEN | Z I");
        first.says("Q begin; unlisten a; rollback");
        server.says("C BEGIN | C UNLISTEN | C ROLLBACK | Z I");
        server.hears();
        second.says("Q select 2");
        CHECK(server.hears().empty());
        first.says("Q unlisten a");
        server.says("C UNLISTEN | Z I");
        CHECK(server.hears() == "Q unlisten a | Q select 2");
    }

    TEST_CASE("a statement is prepared anew under other settings that decide what it means") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        second.says("Q set timezone = 'Asia/Tokyo'");
        server.says("C SET | Z I");
        first.says("P s=select timestamptz '2024-01-01' | S");
        server.says("C RESET | Z I");
        server.says("1 | Z I");
        server.hears();
        second.says("P s=select timestamptz '2024-01-01' | S");
        server.says("D x | C SELECT 1 | Z I");
        CHECK(
            server.hears() ==
            "Q SELECT pg_catalog.set_config('timezone','Asia/Tokyo',false); | "
            "P postern_2=select timestamptz '2024-01-01' | S");
    }

    TEST_CASE("a change of settings ends the server's unnamed statement") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("P =select 1 | S");
        server.says("1 | Z I");
        second.says("P s=set application_name = 'b' | B =s | E | S");
        server.says("1 | 2 | C SET | Z I");
        server.hears();
        first.says("B = | E | S");
        CHECK(server.hears() == "Q RESET \"application_name\";");
        server.says("C RESET | Z I");
        CHECK(server.hears() == "P =select 1 | B = | E | S");
    }

    TEST_CASE("a Close at the end of a flushed batch is answered, and one before rows as well") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("P =select 1 | B = | E | C S x | H");
        server.says("1 | 2 | D 1 | C SELECT 1");
        CHECK(client.hears() == "1 | 2 | D 1 | C SELECT 1 | 3");
        client.says("S");
        server.says("Z I");
        CHECK(client.hears() == "Z I");
        client.says("P =select 1 | B = | C S x | E | S");
        server.says("1 | 2 | D 1 | C SELECT 1 | Z I");
        CHECK(client.hears() == "1 | 2 | 3 | D 1 | C SELECT 1 | Z I");
    }

    TEST_CASE("a refusal in an open batch is told once") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("P =select 1 | B = | E | H");
        server.says("1 | 2 | D 1 | C SELECT 1");
        client.hears();
        client.says("P =set postern.cache = 'nonsense' | B = | E | S");
        server.says("E 42601 syntax error | Z I");
        const auto heard = client.hears();
        CHECK(heard.find("22023") != std::string::npos);
        CHECK(heard.find("42601") == std::string::npos);
        CHECK(heard.ends_with("Z I"));
    }

    TEST_CASE("DEALLOCATE in a batch drops what the protocol has prepared") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("P s=select 1 | S");
        server.says("1 | Z I");
        server.hears();
        client.says("P =deallocate s | B = | E | P =select 2 | B = | E | S");
        CHECK(
            server.hears() ==
            "P =deallocate s | C | P s=select 1 | B = | E | P =select 2 | B = | E | S");
        server.says("1 | 3 | 1 | 2 | C DEALLOCATE | 1 | 2 | D 2 | C SELECT 1 | Z I");
        CHECK(client.hears() == "1 | Z I | 1 | 2 | C DEALLOCATE | 1 | 2 | D 2 | C SELECT 1 | Z I");
    }

    TEST_CASE("a postern setting that reached a server holds for the session and leaves with it") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q begin; set postern.cache = bypass; commit");
        server.says("C BEGIN | C SET | C COMMIT | Z I");
        server.hears();
        second.says("Q select 2");
        CHECK(server.hears() == "Q RESET \"postern\".\"cache\";");
    }

    TEST_CASE("a statement prepared by one session serves another that prepares the same") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("P mine=select 1 | S");
        CHECK(server.hears() == "P postern_1=select 1 | S");
        server.says("1 | Z I");
        second.says("P yours=select 1 | B =yours | E | S");
        CHECK(server.hears() == "B =postern_1 | E | S");
        server.says("2 | D 1 | C SELECT 1 | Z I");
        CHECK(second.hears() == "1 | 2 | D 1 | C SELECT 1 | Z I");
    }

    TEST_CASE("while its database is paused a server goes once it is free, and who asks waits") {
        conversation talk;
        auto first = talk.login();
        auto server = talk.server();
        auto second = talk.login();
        first.says("Q select 1");
        server.hears();
        talk.shared().pause({});
        second.says("Q select 2");
        CHECK(second.hears() == "");
        CHECK_FALSE(talk.shared().is_drained({}));
        server.says("T | D 1 | C SELECT 1 | Z I");
        CHECK(first.hears() == "T | D 1 | C SELECT 1 | Z I");
        CHECK(talk.shared().is_drained({}));
        CHECK(second.hears() == "");
        coherence::dependencies captured;
        CHECK_FALSE(talk.versions().capture({}, captured));
        CHECK(talk.shared().resume({}));
        CHECK_FALSE(talk.shared().resume({}));
        CHECK(talk.versions().capture({}, captured));
        CHECK(second.hears() == "");
        auto fresh = talk.server();
        CHECK(fresh.hears() == "Q select 2");
        fresh.says("T | D 2 | C SELECT 1 | Z I");
        CHECK(second.hears() == "T | D 2 | C SELECT 1 | Z I");
    }

    TEST_CASE("a server that a reconnect has made unwanted is counted until it is closed") {
        conversation talk;
        auto client = talk.login();
        auto server = talk.server();
        client.says("Q select 1");
        server.hears();
        talk.shared().reconnect({});
        CHECK(talk.shared().outdated({}) == 1);
        server.says("T | D 1 | C SELECT 1 | Z I");
        client.hears();
        CHECK(talk.shared().outdated({}) == 0);
        CHECK(talk.pool().idle == 0);
    }
}

}  // namespace
}  // namespace postern::session
