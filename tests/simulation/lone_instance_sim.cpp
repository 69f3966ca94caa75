// Goal: a lone instance never answers from before a write that was acknowledged, and nobody sees
// time go back (DESIGN P2). Method: thousands of seeded interleavings of lone_instance.hpp, each
// checked by its oracle; then the same with one rule broken at a time, where the oracle must find a
// violation, so that it is known to be able to. A failure prints its seed:
// POSTERN_SIMULATION_SEED=n runs that one alone, POSTERN_SIMULATION_SEEDS=n sets how many are run.

#include "lone_instance.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <string_view>

using namespace postern::simulation;

namespace {

constexpr std::uint64_t seeds_default = 4000;
/// Within how many seeds a broken rule must show.
constexpr std::uint64_t seeds_to_notice = 2000;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// One for all runs: it is large, and making it would take longer than a run.
postern::coherence::version_table& versions() {
    static postern::coherence::version_table instance;
    return instance;
}

/// The first seed that violates, or 0.
std::uint64_t first_violation(broken rule) {
    for (std::uint64_t seed = 1; seed <= seeds_to_notice; ++seed) {
        lone_instance instance{seed, rule, versions()};
        if (instance.run()) return seed;
    }
    return 0;
}

struct mutation {
    broken rule;
    std::string_view name;
};

constexpr mutation mutations[] = {
    {broken::captured_after_send, "versions captured after the read was sent"},
    {broken::fill_not_dropped, "an answer that raced with a write stored all the same"},
    {broken::lifted_before_bump, "the fence lifted before the versions move"},
    {broken::invalidated_before_only, "invalidated before the write only"},
    {broken::written_without_fence, "no fence while the write is in flight"},
    {broken::fenced_after_send, "the fence raised after the write was sent"},
    {broken::followed_without_asking, "a follower that accepts whatever lands"},
    {broken::hit_in_a_dirty_transaction, "hits inside a transaction that has written"},
    {broken::filled_from_a_dirty_transaction, "fills from a transaction that has written"},
    {broken::rollback_assumed_when_lost, "a server lost at COMMIT counted as rolled back"},
    {broken::lifted_while_backend_lives, "the fence lifted while the backend may still commit"},
    {broken::hit_without_asking, "hits without a look at the versions"},
};

}  // namespace

TEST_CASE("no interleaving answers a read from before what was acknowledged or seen") {
    run_counts total;
    const auto only = setting("POSTERN_SIMULATION_SEED", 0);
    const auto first = only != 0 ? only : 1;
    const auto last = only != 0 ? only : setting("POSTERN_SIMULATION_SEEDS", seeds_default);
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        lone_instance instance{seed, broken::nothing, versions()};
        const auto violation = instance.run();
        INFO("seed " << seed << ": " << violation.value_or(""));
        REQUIRE_FALSE(violation.has_value());
        total.add(instance.counts());
    }
    if (only != 0) return;
    MESSAGE(
        last << " seeds: " << total.reads << " reads, " << total.hits << " hits, " << total.fills
             << " fills, " << total.fills_dropped << " dropped, " << total.follows << " followed, "
             << total.follows_refused << " refused, " << total.fenced << " fenced, "
             << total.commits << " commits, " << total.rollbacks << " rollbacks, "
             << total.servers_lost << " servers lost, " << total.links_cut << " links cut");
    // It went everywhere, and often.
    for (const auto count :
         {total.hits,
          total.fills,
          total.fills_dropped,
          total.follows,
          total.follows_refused,
          total.fenced,
          total.rollbacks,
          total.servers_lost,
          total.links_cut}) {
        CHECK(count > last / 20);
    }
    CHECK(total.hits * 20 > total.reads);
}

TEST_CASE("the same seed gives the same run") {
    lone_instance one{42, broken::nothing, versions()};
    lone_instance other{42, broken::nothing, versions()};
    one.run();
    other.run();
    CHECK(one.counts().reads == other.counts().reads);
    CHECK(one.counts().hits == other.counts().hits);
    CHECK(one.counts().commits == other.counts().commits);
    CHECK(one.counts().fenced == other.counts().fenced);
}

TEST_CASE("each rule is needed: broken, it is found out") {
    for (const auto& one : mutations) {
        const auto seed = first_violation(one.rule);
        INFO(std::string{one.name});
        CHECK(seed != 0);
        if (seed != 0) MESSAGE(std::string{one.name} << ": seed " << seed);
    }
}
