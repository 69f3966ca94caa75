#include "session/shared.hpp"

#include <doctest/doctest.h>

#include <set>

using postern::session::cancel_registry;

TEST_CASE("processes that follow each other make different cancel keys, all of them positive") {
    std::set<std::int32_t> made;
    for (std::int32_t generation = 0; generation < cancel_registry::generations; ++generation) {
        cancel_registry keys;
        keys.set_generation(generation);
        for (int i = 0; i < 100; ++i) {
            const auto key = keys.add({"secret", 0, 1});
            CHECK(key > 0);
            CHECK(keys.makes(key));
            CHECK(made.insert(key).second);
        }
    }
}

TEST_CASE("a cancel key is found by its number and secret together, until it is removed") {
    cancel_registry keys;
    const auto one = keys.add({"first", 1, 11});
    const auto other = keys.add({"second", 2, 22});
    REQUIRE(keys.find(one, "first").has_value());
    CHECK(keys.find(one, "first")->session == 11);
    CHECK_FALSE(keys.find(one, "second").has_value());
    CHECK_FALSE(keys.find(one + 1, "first").has_value());
    keys.remove(one);
    CHECK_FALSE(keys.find(one, "first").has_value());
    CHECK(keys.find(other, "second")->thread == 2);
}
