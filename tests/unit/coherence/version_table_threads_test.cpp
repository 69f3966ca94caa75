// Goal: the two orders of DESIGN §5 hold between threads. Method: a database of one atomic a table
// stands in for PostgreSQL; writers commit to it under fences, readers fill and serve one shared
// entry a table, each checking what it served against what had been acknowledged or seen before it
// began. version_table.cpp is compiled so that it calls postern_interleave() between its steps,
// which often lets another thread run there; else these few nanoseconds would hardly ever be hit.
// Under TSan the same run shows that nothing but atomics is shared.

#include "coherence/version_table.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

using namespace postern::coherence;

extern "C" void postern_interleave() noexcept {
    thread_local std::minstd_rand random{
        static_cast<unsigned>(std::hash<std::thread::id>{}(std::this_thread::get_id()))};
    if (random() % 4 == 0) std::this_thread::yield();
}

namespace {

constexpr std::size_t table_count = 3;
constexpr int writes_a_thread = 6'000;

struct cached {
    std::uint64_t value = 0;
    dependencies depends_on;
};

struct world {
    version_table versions;
    std::array<tag, table_count> tags{table_tag(1, 1), table_tag(1, 2), table_tag(1, 3)};
    std::array<std::atomic<std::uint64_t>, table_count> database{};
    /// Highest value acknowledged to, or seen by, anybody; orders memory as a socket would.
    std::array<std::atomic<std::uint64_t>, table_count> seen{};
    std::array<std::mutex, table_count> writing;
    std::mutex store_mutex;
    std::array<cached, table_count> store;
    std::atomic<int> writers{0};
    std::atomic<std::uint64_t> violations{0};
    std::atomic<std::uint64_t> hits{0};

    void learn(std::size_t table, std::uint64_t value) {
        auto known = seen[table].load(std::memory_order_relaxed);
        while (known < value &&
               !seen[table].compare_exchange_weak(known, value, std::memory_order_acq_rel)) {
        }
    }
};

void write_some(world& all, unsigned seed) {
    std::minstd_rand random{seed};
    for (int i = 0; i < writes_a_thread; ++i) {
        const std::size_t table = random() % table_count;
        const bool wide = random() % 16 == 0;
        auto fence = wide ? all.versions.raise_everything()
                          : all.versions.raise(std::array{all.tags[table]});
        if (random() % 4 == 0) {
            fence.roll_back();
            continue;
        }
        std::uint64_t value = 0;
        {
            const std::scoped_lock row_lock{all.writing[table]};
            value = all.database[table].load() + 1;
            all.database[table].store(value);
        }
        postern_interleave();
        fence.commit();
        all.learn(table, value);
    }
}

void read_once(world& all, std::size_t table) {
    const auto known = all.seen[table].load(std::memory_order_acquire);
    cached found;
    {
        const std::scoped_lock lock{all.store_mutex};
        found = all.store[table];
    }
    std::uint64_t answer = 0;
    if (!found.depends_on.tags.empty() && all.versions.current(found.depends_on)) {
        answer = found.value;
        all.hits.fetch_add(1, std::memory_order_relaxed);
    } else {
        dependencies captured;
        const bool may_fill = all.versions.capture(std::array{all.tags[table]}, captured);
        postern_interleave();
        answer = all.database[table].load();
        postern_interleave();
        if (may_fill) {
            const std::scoped_lock lock{all.store_mutex};
            all.store[table] = {answer, std::move(captured)};
        }
    }
    if (answer < known) all.violations.fetch_add(1);
    all.learn(table, answer);
}

void read_while_written(world& all, unsigned seed) {
    std::minstd_rand random{seed};
    while (all.writers.load() != 0)
        read_once(all, random() % table_count);
}

}  // namespace

TEST_CASE("between threads nobody is answered from before what was acknowledged or seen") {
    world all;
    std::vector<std::thread> threads;
    all.writers = 2;
    for (unsigned i = 0; i < 3; ++i) {
        threads.emplace_back([&all, i] { read_while_written(all, 91 + i); });
    }
    for (unsigned i = 0; i < 2; ++i) {
        threads.emplace_back([&all, i] {
            write_some(all, 11 + i);
            all.writers.fetch_sub(1);
        });
    }
    for (auto& one : threads)
        one.join();

    CHECK(all.violations.load() == 0);
    CHECK(all.versions.fences_standing() == 0);
    // Once it is quiet the cache serves, and serves the truth.
    for (std::size_t table = 0; table < table_count; ++table) {
        read_once(all, table);
        const auto hits_before = all.hits.load();
        read_once(all, table);
        CHECK(all.hits.load() == hits_before + 1);
        CHECK(all.store[table].value == all.database[table].load());
    }
}

TEST_CASE("fences of many threads on one slot all count and all lift") {
    version_table versions;
    constexpr int rounds = 20'000;
    constexpr tag shared = 5;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&versions, i] {
            for (int round = 0; round < rounds; ++round) {
                auto fence = versions.raise(std::array{shared, tag{shared + 1}});
                if ((round + i) % 2 == 0)
                    fence.commit();
                else
                    fence.roll_back();
            }
        });
    }
    for (auto& one : threads)
        one.join();
    dependencies after;
    REQUIRE(versions.capture(std::array{shared}, after));
    CHECK(after.tags[0].version == 1 + 4 * rounds / 2);
    CHECK(versions.fences_standing() == 0);
}
