// Which reads shadow mode takes, and that it waits for nobody: without a database, for what needs
// one is in tests/integration/test_shadow.py.

#include "catalog/sampler.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace postern;
using namespace postern::catalog;

namespace {

std::uint64_t drawn_of(std::uint64_t count, double share) {
    std::uint64_t drawn = 0;
    for (std::uint64_t i = 0; i < count; ++i)
        drawn += is_drawn(i, share) ? 1U : 0U;
    return drawn;
}

/// Nobody listens there, so that whatever is taken stays in the queue.
sampler_settings unreachable() {
    sampler_settings how;
    how.conninfo = "host=127.0.0.1 port=1 user=nobody dbname=none";
    return how;
}

sampled_read read_of(std::uint64_t fingerprint) {
    sampled_read one;
    one.fingerprint = fingerprint;
    one.text = "SELECT * FROM t";
    one.role = "app";
    return one;
}

}  // namespace

TEST_CASE("a share of the reads is drawn, evenly") {
    CHECK(drawn_of(10'000, 0) == 0);
    CHECK(drawn_of(10'000, 1) == 10'000);
    // Binomial: these are six deviations.
    CHECK(drawn_of(100'000, 0.01) > 800);
    CHECK(drawn_of(100'000, 0.01) < 1200);
    CHECK(is_drawn(42, 0.5) == is_drawn(42, 0.5));
}

TEST_CASE("what is off takes nothing, and what is on knows what it has taken") {
    sampler one{"d"};
    CHECK_FALSE(one.is_on());
    CHECK_FALSE(one.offer(read_of(1)));
    one.configure(unreachable());
    CHECK(one.is_on());
    CHECK_FALSE(one.knows(1, "app"));
    CHECK(one.offer(read_of(1)));
    CHECK(one.knows(1, "app"));
    CHECK_FALSE(one.knows(1, "other"));
    one.configure(std::nullopt);
    CHECK_FALSE(one.is_on());
    one.configure(unreachable());
    CHECK_FALSE(one.knows(1, "app"));
}

TEST_CASE("a full queue drops what comes, and no shape of it counts as seen") {
    sampler one{"d"};
    one.configure(unreachable());
    // The one that the thread has taken and can't run is given back.
    std::size_t taken = 0;
    while (taken < 2 * sampler::queue_max && one.offer(read_of(taken)))
        ++taken;
    CHECK(taken >= sampler::queue_max);
    CHECK(taken <= sampler::queue_max + 1);
    CHECK_FALSE(one.knows(taken, "app"));
}
