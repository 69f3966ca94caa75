// A user's own pool settings come before his database's, each for itself.

#include "pool/settings.hpp"

#include <doctest/doctest.h>

using namespace postern::pool;
using namespace std::chrono_literals;

TEST_CASE("what a user's pool says replaces what the database says, and nothing else") {
    settings base;
    base.size = 7;
    base.reserve_size = 3;
    overrides own;
    own.mode = pool_mode::session;
    own.reserve_size = 0;
    own.wait_timeout = 2s;
    const auto both = with(base, own);
    CHECK(both.size == 7);
    CHECK(both.reserve_size == 0);
    CHECK(both.mode == pool_mode::session);
    CHECK(both.wait_timeout == 2s);
    CHECK(both.lifetime == base.lifetime);
}
