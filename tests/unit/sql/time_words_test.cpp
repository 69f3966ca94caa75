#include "sql/analyzer.hpp"

#include <doctest/doctest.h>

#include <string>

namespace postern::sql {

TEST_CASE("the four time words depend on the time in any case and inside larger constants") {
    for (const std::string_view value :
         {"now",
          "NOW",
          "Today",
          "tomorrow",
          "yesterday",
          " now ",
          "today 12:00",
          "now+1",
          "12:00 now",
          "{2026-01-01,now}",
          "[today,tomorrow)",
          "(1,now)",
          "now\n"}) {
        CAPTURE(value);
        CHECK(depends_on_time(value));
    }
}

TEST_CASE("a time word counts however long the constant is") {
    CHECK(depends_on_time(std::string(500, ' ') + "now"));
    CHECK(depends_on_time("{" + std::string(300, '1') + ",now}"));
}

TEST_CASE("letters that only contain a time word do not depend on the time") {
    for (const std::string_view value :
         {"",
          "n",
          "no",
          "nowhere",
          "know",
          "todays",
          "yesterdays",
          "2026-01-01",
          "tomorro",
          "snow"}) {
        CAPTURE(value);
        CHECK_FALSE(depends_on_time(value));
    }
}

}  // namespace postern::sql
