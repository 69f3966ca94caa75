// Pools that share an allowance have no more servers together than it allows.

#include "pool/allowance.hpp"

#include "pool/pool.hpp"

#include <doctest/doctest.h>

using namespace postern::pool;

TEST_CASE("an allowance gives as many places as it has, and again what came back") {
    allowance two{2};
    CHECK(two.take());
    CHECK(two.take());
    CHECK_FALSE(two.take());
    two.give_back();
    CHECK(two.take());
    CHECK_FALSE(two.take());
}

TEST_CASE("a place is wanted from when one was asked for until one has come back") {
    allowance one{1};
    CHECK(one.take());
    CHECK_FALSE(one.wanted());
    one.make_room(nullptr);
    CHECK(one.wanted());
    one.give_back();
    CHECK_FALSE(one.wanted());
}
