// The options startup parameter is read as PostgreSQL reads its command line.

#include "session/startup_options.hpp"

#include <doctest/doctest.h>

namespace postern::session {
namespace {

using pairs = std::vector<std::pair<std::string, std::string>>;

TEST_SUITE("session/startup_options") {
    TEST_CASE("every form of a setting is read") {
        const struct {
            const char* options;
            pairs expected;
        } cases[] = {
            {"", {}},
            {"  ", {}},
            {"-c a=b", {{"a", "b"}}},
            {"-ca=b", {{"a", "b"}}},
            {"--Search-Path=x", {{"Search_Path", "x"}}},
            {"-c a=b\\ c -c d=", {{"a", "b c"}, {"d", ""}}},
            {"-c a=b=c", {{"a", "b=c"}}},
            {"-c A.B=1", {{"A.B", "1"}}},
        };
        for (const auto& one : cases) {
            CAPTURE(one.options);
            const auto parsed = parse_options(one.options);
            REQUIRE(parsed.has_value());
            CHECK(*parsed == one.expected);
        }
    }

    TEST_CASE("what is not a setting is refused") {
        for (const auto* options :
             {"-c", "-c=", "-c =x", "-c x", "-W 5", "stray", "--=x", "-B 10"}) {
            CAPTURE(options);
            CHECK_FALSE(parse_options(options).has_value());
        }
    }
}

}  // namespace
}  // namespace postern::session
