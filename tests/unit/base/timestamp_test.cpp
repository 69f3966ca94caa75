// Points in time as PostgreSQL writes them.

#include "base/timestamp.hpp"

#include <doctest/doctest.h>

using namespace postern;
using namespace std::chrono;
using namespace std::chrono_literals;

TEST_CASE("a timestamp is read with its zone, and as UTC without one") {
    const sys_seconds day = sys_days{2030y / January / 31};
    CHECK(parse_timestamp("2030-01-31") == day);
    CHECK(parse_timestamp("2030-01-31 12:30") == day + 12h + 30min);
    CHECK(parse_timestamp("2030-01-31 12:30:05.25+00") == day + 12h + 30min + 5s);
    CHECK(parse_timestamp("2030-01-31T12:00:00Z") == day + 12h);
    CHECK(parse_timestamp("2030-01-31 00:00:00+05:30") == day - 5h - 30min);
    CHECK(parse_timestamp("2030-01-31 00:00:00-08") == day + 8h);
}

TEST_CASE("what never comes and what has always been are the ends of time") {
    CHECK(parse_timestamp("infinity") == sys_seconds::max());
    CHECK(parse_timestamp("-infinity") == sys_seconds::min());
    CHECK(parse_timestamp("0044-03-15 12:00:00+00 BC") == sys_seconds::min());
}

TEST_CASE("infinity never passes, and what has been has passed") {
    CHECK_FALSE(has_passed(sys_seconds::max()));
    CHECK(has_passed(sys_seconds::min()));
    CHECK(has_passed(sys_days{2020y / January / 1}));
}

TEST_CASE("what is no timestamp is not guessed at") {
    for (const char* text :
         {"",
          "tomorrow",
          "2030",
          "2030-13-01",
          "2030-02-30",
          "2030-01-31 25:00",
          "2030-01-31 12",
          "2030-01-31 12:00 Europe/Berlin",
          "31.01.2030",
          "2030-01-31 12:00:00+00 or so"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_timestamp(text));
    }
}
