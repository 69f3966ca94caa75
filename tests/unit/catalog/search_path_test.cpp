#include "catalog/search_path.hpp"

#include <doctest/doctest.h>

using namespace postern::catalog;
using names = std::vector<std::string>;

TEST_CASE("pg_catalog stands first unless the path names it") {
    CHECK(parse_search_path("public, app", "u").schemas == names{"pg_catalog", "public", "app"});
    const auto named = parse_search_path("public, pg_catalog", "u");
    CHECK(named.schemas == names{"public", "pg_catalog"});
    CHECK_FALSE(named.catalog_first);
}

TEST_CASE("$user is the current role, quoted or not") {
    CHECK(
        parse_search_path("\"$user\", public", "ann").schemas ==
        names{"pg_catalog", "ann", "public"});
    CHECK(parse_search_path("$user", "ann").schemas == names{"pg_catalog", "ann"});
}

TEST_CASE("unquoted names are folded to lower case, quoted ones are kept") {
    CHECK(
        parse_search_path("Public , \"My \"\"Own\"\", x\"", "u").schemas ==
        names{"pg_catalog", "public", "My \"Own\", x"});
}

TEST_CASE("the empty path, and one of an empty name, show pg_catalog alone") {
    CHECK(parse_search_path("", "u").schemas == names{"pg_catalog"});
    CHECK(parse_search_path("\"\"", "u").schemas == names{"pg_catalog"});
}

TEST_CASE("text that is no list of names shows pg_catalog alone") {
    for (const auto* text : {"public,", ", public", "\"public", "public app", "public,,app"}) {
        CAPTURE(text);
        CHECK(parse_search_path(text, "u").schemas == names{"pg_catalog"});
    }
}

TEST_CASE("pg_temp is left out") {
    CHECK(parse_search_path("pg_temp, public", "u").schemas == names{"pg_catalog", "public"});
}
