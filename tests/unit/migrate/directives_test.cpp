// The directives in a file's leading comments are taken exactly, and a slip is named with its line.

#include "migrate/directives.hpp"

#include <doctest/doctest.h>

#include <string>

namespace postern::migrate {
namespace {

using std::chrono::milliseconds;

directives parse(const std::string& text) {
    auto read = parse_directives("f.sql", text);
    REQUIRE_MESSAGE(read.has_value(), (read.has_error() ? read.error().to_text() : ""));
    return read.value();
}

TEST_SUITE("migrate/directives") {
    TEST_CASE("a file without any has the defaults") {
        const auto read = parse("create table t();");
        CHECK(read.transaction);
        CHECK_FALSE(read.batch);
        CHECK_FALSE(read.lock_timeout.has_value());
        CHECK_FALSE(read.retry.has_value());
        CHECK(read.reversible == reversal::yes);
    }

    TEST_CASE("several stand on a line, on several lines, among other comments") {
        const auto read = parse(
            "-- What this does.\n"
            "\n"
            "-- postern: transaction=off lock_timeout=1s  statement_timeout=5min\r\n"
            "--postern: retry=20 requires=0010,0020 reversible=data-loss pause=50\n"
            "-- postern: batch=on progress=SELECT count(*) FROM t WHERE a = 'x=1'\n"
            "update t set a = 1;\n");
        CHECK_FALSE(read.transaction);
        CHECK(read.batch);
        CHECK(read.lock_timeout == milliseconds(1000));
        CHECK(read.statement_timeout == milliseconds(300'000));
        CHECK(read.retry == 20U);
        CHECK(read.pause == milliseconds(50));
        CHECK(read.requires_versions == std::vector<std::string>{"0010", "0020"});
        CHECK(read.reversible == reversal::data_loss);
        CHECK(read.progress == "SELECT count(*) FROM t WHERE a = 'x=1'");
    }

    TEST_CASE("behind the first statement a comment is only a comment") {
        CHECK(parse("select 1;\n-- postern: transaction=off\n").transaction);
    }

    TEST_CASE("a slip names its line and what was expected") {
        const struct {
            const char* text;
            unsigned line;
            const char* expected;
        } cases[] = {
            {"-- postern: transactions=off", 1, "transaction, batch, lock_timeout"},
            {"-- a\n-- postern: transaction=maybe", 2, "on or off"},
            {"-- postern: lock_timeout=1 s", 1, "transaction, batch"},
            {"-- postern: lock_timeout=fast", 1, "a duration"},
            {"-- postern: statement_timeout=-1s", 1, "a duration"},
            {"-- postern: retry=many", 1, "a number"},
            {"-- postern: requires=latest", 1, "versions"},
            {"-- postern: reversible=perhaps", 1, "yes, data-loss or no"},
            {"-- postern: batch=on", 1, "transaction=off"},
        };
        for (const auto& c : cases) {
            CAPTURE(c.text);
            const auto read = parse_directives("f.sql", c.text);
            REQUIRE(read.has_error());
            CHECK(read.error().line == c.line);
            CHECK(read.error().message.find(c.expected) != std::string::npos);
        }
    }

    TEST_CASE("durations are PostgreSQL's") {
        CHECK(parse_duration("250") == milliseconds(250));
        CHECK(parse_duration("2h") == milliseconds(7'200'000));
        CHECK(parse_duration("0") == milliseconds(0));
        for (const char* text :
             {"", "s", "1.5s", "1 s", "1d", "99999999999999999999", "2147483648"})
            CHECK_FALSE(parse_duration(text).has_value());
    }
}

}  // namespace
}  // namespace postern::migrate
