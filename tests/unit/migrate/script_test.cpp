// A file is cut into the statements that PostgreSQL would see, each with its line, and what no
// server could run is refused before anything runs.

#include "migrate/script.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace postern::migrate {
namespace {

script parse(const std::string& text) {
    auto read = parse_script("1_a.up.sql", text);
    REQUIRE_MESSAGE(read.has_value(), (read.has_error() ? read.error().to_text() : ""));
    return std::move(read).value();
}

problem refusal(const std::string& text) {
    const auto read = parse_script("1_a.up.sql", text);
    REQUIRE(read.has_error());
    return read.error();
}

std::vector<std::string> texts(const std::string& text) {
    std::vector<std::string> found;
    for (const auto& one : parse(text).statements)
        found.push_back(one.text);
    return found;
}

using strings = std::vector<std::string>;

TEST_SUITE("migrate/script") {
    TEST_CASE("semicolons in quotes, comments and bodies end no statement") {
        CHECK(
            texts("select ';'; select \";\" from a;;") ==
            strings{"select ';'", "select \";\" from a"});
        CHECK(texts("select E'a\\';b'; select 1") == strings{"select E'a\\';b'", "select 1"});
        CHECK(
            texts("do $x$ begin; $$;$$ $x$; select $$;$$") ==
            strings{"do $x$ begin; $$;$$ $x$", "select $$;$$"});
        CHECK(
            texts("/* a; /* b; */ c; */ select 1 -- ;\n; select 2") ==
            strings{"select 1 -- ;", "select 2"});
        CHECK(
            texts("create rule r as on insert to t do also (select 1; select 2); select 3")
                .size() == 2);
    }

    TEST_CASE("a body of BEGIN ATOMIC is one statement, by the grammar and without it") {
        const std::string body =
            "create function f() returns int begin atomic select 1; "
            "select case when true then 2 end; end";
        CHECK(texts(body + "; select 3") == strings{body, "select 3"});
        // What PostgreSQL 15's grammar does not know is cut by tokens, for a newer server to judge.
        const auto newer = parse(body + "; select from nowhere where; select ';'");
        REQUIRE(newer.unparsed.has_value());
        REQUIRE(newer.statements.size() == 3);
        CHECK(newer.statements[0].text == body);
        CHECK(newer.statements[2].text == "select ';'");
    }

    TEST_CASE("a comment ends where PostgreSQL ends it: at a carriage return, too") {
        // Of a newer server's grammar, so that it is cut by the lexical rules.
        CHECK(texts("frob 1 -- a\rfrob;frob 2") == strings{"frob 1 -- a\rfrob", "frob 2"});
        CHECK(texts("select 1 -- a\r;select 2") == strings{"select 1 -- a", "select 2"});
    }

    TEST_CASE("nothing but comments is no statement") {
        CHECK(texts("").empty());
        CHECK(texts("-- only\n /* this */ ;; \n").empty());
    }

    TEST_CASE("a statement's line is that of its first word") {
        const auto read = parse(
            "-- head\n\nselect 1;\n\n-- about 2\nselect\n 2;\nselect 'é'; select 4");
        REQUIRE(read.statements.size() == 4);
        CHECK(read.statements[0].line == 3);
        CHECK(read.statements[1].line == 6);
        CHECK(read.statements[2].line == 8);
        CHECK(read.statements[3].line == 8);
    }

    TEST_CASE("a syntax error names its line, behind characters of several bytes too") {
        const auto read = parse("select 'éééééééééééé';\nselect 1;\nselect a b c;\nselect 2");
        REQUIRE(read.unparsed.has_value());
        CHECK(read.unparsed->line == 3);
        CHECK(read.unparsed->file == "1_a.up.sql");
    }

    TEST_CASE("psql's commands are refused by name, a backslash in a string is not") {
        const auto found = refusal("select 1;\n\\copy t from 'x'\n");
        CHECK(found.line == 2);
        CHECK(found.message.starts_with("\\copy is a command of psql"));
        CHECK(texts("select '\\i', E'\\\\', $$\\d$$ -- \\q").size() == 1);
    }

    TEST_CASE("brackets around everything are left out, other transaction control is refused") {
        CHECK(texts("BEGIN; create table t(); COMMIT;") == strings{"create table t()"});
        CHECK(texts("start transaction; select 1; end work") == strings{"select 1"});
        CHECK(refusal("begin; select 1; commit; select 2").line == 1);
        CHECK(refusal("select 1;\nrollback;").line == 2);
        CHECK(refusal("-- postern: transaction=off\nbegin; select 1; commit").statement == 1);
        CHECK(refusal("savepoint a").message.starts_with("SAVEPOINT is not for a migration"));
        CHECK(
            texts("create function f() returns void language plpgsql as $$ begin end $$").size() ==
            1);
    }

    TEST_CASE("what can't be run is refused with the line") {
        CHECK(refusal("select 1;\n\ncopy t from stdin").line == 3);
        CHECK(
            refusal("create index concurrently i on t (a)").message.find("transaction=off") !=
            std::string::npos);
        CHECK(refusal("vacuum t").line == 1);
        CHECK(refusal("discard all").line == 1);
        CHECK(refusal("-- postern: transaction=off\ncreate index concurrently on t (a)").line == 2);
        CHECK(
            refusal(std::string("select 1\0;", 10)).message.find("zero byte") != std::string::npos);
    }

    TEST_CASE("a checksum is over every byte, that of the first statements over their texts") {
        const auto one = parse("select 1; select 2");
        const auto two = parse("select 1;\n-- changed\nselect 3");
        CHECK(
            sha256_hex("abc") ==
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        CHECK(one.sha256 != two.sha256);
        CHECK(one.sha256_of_first(1) == two.sha256_of_first(1));
        CHECK(one.sha256_of_first(2) != two.sha256_of_first(2));
    }

    TEST_CASE("a summary is one short line") {
        CHECK(summary({"select\n  1 -- why\n , 2", 1}) == "select 1 , 2");
        CHECK(summary({"select '" + std::string(100, 'x') + "'", 1}) == "select …");
    }
}

}  // namespace
}  // namespace postern::migrate
