// The near store's contract: its bound, its eviction, and what a look-up may find.

#include "cache/near_store.hpp"

#include "manual_clock.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace postern;
using namespace postern::cache;
using namespace std::chrono_literals;

namespace {

constexpr monotonic_ns never = INT64_MAX;

key_view key_of(std::string_view material) {
    return {material, hash_bytes(material)};
}

std::shared_ptr<entry> blank(std::string material, std::size_t rows_size = 0) {
    auto made = std::make_shared<entry>();
    made->hash = hash_bytes(material);
    made->material = std::move(material);
    made->rows.assign(rows_size, 'r');
    made->expires_at = never;
    return made;
}

std::string numbered(std::string_view name, std::size_t number) {
    return std::string{name} + std::to_string(number);
}

/// Entries of this many bytes each, as the store counts them.
constexpr std::size_t entry_bytes = 1024;

entry_ptr sized(std::string material) {
    const auto bare = blank(material)->size();
    return blank(std::move(material), entry_bytes - bare);
}

}  // namespace

TEST_CASE("what was put is found, shared and not copied") {
    near_store store{{}};
    const entry_ptr kept = blank("a");
    store.put(kept);
    CHECK(store.find(key_of("a"), 0) == kept);
    CHECK(store.find(key_of("b"), 0) == nullptr);
    CHECK(store.statistics().entries == 1);
    CHECK(store.statistics().bytes == kept->size());
}

TEST_CASE("an entry put under the same material replaces the former") {
    near_store store{{}};
    store.put(blank("a", 100));
    const entry_ptr second = blank("a", 10);
    store.put(second);
    CHECK(store.find(key_of("a"), 0) == second);
    CHECK(store.statistics().entries == 1);
    CHECK(store.statistics().bytes == second->size());
}

TEST_CASE("other material under an equal hash is a miss, and the newest of the two is kept") {
    near_store store{{}};
    const hash128 same{1, 2};
    const auto mine = blank("mine");
    const auto theirs = blank("theirs");
    mine->hash = theirs->hash = same;
    store.put(mine);
    CHECK(store.find({"theirs", same}, 0) == nullptr);
    CHECK(store.find({"mine", same}, 0) == mine);
    store.put(theirs);
    CHECK(store.find({"mine", same}, 0) == nullptr);
    CHECK(store.find({"theirs", same}, 0) == theirs);
    CHECK(store.statistics().entries == 1);
}

TEST_CASE("an entry is found until the moment it expires, then it is dropped") {
    near_store store{{}};
    manual_clock clock;
    const auto kept = blank("a");
    kept->expires_at = clock.in(5s);
    store.put(kept);
    clock.pass(5s - 1ns);
    CHECK(store.find(key_of("a"), clock.now()) == kept);
    clock.pass(1ns);
    CHECK(store.find(key_of("a"), clock.now()) == nullptr);
    CHECK(store.statistics().entries == 0);
    CHECK(store.statistics().bytes == 0);
    CHECK(store.find(key_of("a"), 0) == nullptr);
}

TEST_CASE("erase drops this very entry and no newer one") {
    near_store store{{}};
    const entry_ptr stale = blank("a");
    const entry_ptr fresh = blank("a");
    store.put(stale);
    store.put(fresh);
    store.erase(stale);
    CHECK(store.find(key_of("a"), 0) == fresh);
    store.erase(fresh);
    CHECK(store.find(key_of("a"), 0) == nullptr);
    store.erase(fresh);
    CHECK(store.statistics().bytes == 0);
}

TEST_CASE("clear leaves nothing, and the store goes on") {
    near_store store{{}};
    for (std::size_t i = 0; i < 1000; ++i)
        store.put(blank(numbered("k", i)));
    store.clear();
    CHECK(store.statistics().entries == 0);
    CHECK(store.statistics().bytes == 0);
    store.put(blank("k1"));
    CHECK(store.find(key_of("k1"), 0) != nullptr);
    CHECK(store.find(key_of("k2"), 0) == nullptr);
}

TEST_CASE("an entry larger than a shard's share is not kept, one as large is") {
    near_store store{{.bytes_max = 8 * entry_bytes, .shards = 2}};
    const auto bare = blank("a")->size();
    store.put(blank("a", 4 * entry_bytes - bare + 1));
    CHECK(store.find(key_of("a"), 0) == nullptr);
    store.put(blank("a", 4 * entry_bytes - bare));
    CHECK(store.find(key_of("a"), 0) != nullptr);
    CHECK(store.statistics().bytes == 4 * entry_bytes);
}

TEST_CASE("the bound in bytes holds after every step of a random load") {
    near_store store{{.bytes_max = 64 * entry_bytes, .shards = 2}};
    std::minstd_rand random{7};
    std::vector<entry_ptr> known(400);
    for (int step = 0; step < 40'000; ++step) {
        const std::size_t which = random() % known.size();
        const auto material = numbered("k", which);
        switch (random() % 8) {
        case 0:
            if (known[which] != nullptr) store.erase(known[which]);
            break;
        case 1:
        case 2:
        case 3:
            known[which] = blank(material, random() % (6 * entry_bytes));
            store.put(known[which]);
            break;
        default: {
            const auto found = store.find(key_of(material), 0);
            if (found != nullptr) CHECK(found == known[which]);
        }
        }
        const auto numbers = store.statistics();
        REQUIRE(numbers.bytes <= numbers.bytes_max);
    }
    CHECK(store.statistics().evictions > 1000);
    // The count of bytes is that of what is there.
    std::size_t there = 0;
    std::size_t entries = 0;
    for (std::size_t i = 0; i < known.size(); ++i) {
        if (const auto found = store.find(key_of(numbered("k", i)), 0)) {
            there += found->size();
            ++entries;
        }
    }
    CHECK(store.statistics().bytes == there);
    CHECK(store.statistics().entries == entries);
}

TEST_CASE("a hot set survives a scan of ten times the capacity, where LRU would lose it all") {
    constexpr std::size_t capacity = 400;
    near_store store{{.bytes_max = capacity * entry_bytes, .shards = 1}};
    constexpr std::size_t hot = capacity / 2;
    for (std::size_t i = 0; i < hot; ++i)
        store.put(sized(numbered("hot", i)));
    for (int times = 0; times < 3; ++times) {
        for (std::size_t i = 0; i < hot; ++i)
            store.find(key_of(numbered("hot", i)), 0);
    }
    for (std::size_t i = 0; i < 10 * capacity; ++i)
        store.put(sized(numbered("scan", i)));

    std::size_t survivors = 0;
    for (std::size_t i = 0; i < hot; ++i) {
        if (store.find(key_of(numbered("hot", i)), 0) != nullptr) ++survivors;
    }
    CHECK(survivors == hot);
}

TEST_CASE("what comes back soon after it left goes to the main queue and survives the next scan") {
    constexpr std::size_t capacity = 400;
    near_store store{{.bytes_max = capacity * entry_bytes, .shards = 1}};
    for (std::size_t i = 0; i < capacity / 2; ++i) {
        store.put(sized(numbered("hot", i)));
        for (int times = 0; times < 3; ++times)
            store.find(key_of(numbered("hot", i)), 0);
    }
    for (std::size_t i = 0; i < capacity; ++i)
        store.put(sized(numbered("first", i)));
    // The last that was pushed out of the small queue, remembered by its hash …
    std::size_t last = capacity;
    while (last > 0 && store.find(key_of(numbered("first", last - 1)), 0) != nullptr)
        --last;
    REQUIRE(last > 0);
    const auto returning = numbered("first", last - 1);
    // … is let in by the main door: newcomers behind it go, it stays.
    store.put(sized(returning));
    for (std::size_t i = 0; i < 2 * capacity; ++i)
        store.put(sized(numbered("second", i)));
    CHECK(store.find(key_of(returning), 0) != nullptr);
    CHECK(store.find(key_of("second0"), 0) == nullptr);
}

TEST_CASE("a hot entry that was erased as out of date comes back to where it was") {
    constexpr std::size_t capacity = 100;
    near_store store{{.bytes_max = capacity * entry_bytes, .shards = 1}};
    const auto first = sized("hot");
    store.put(first);
    for (int times = 0; times < 3; ++times)
        store.find(key_of("hot"), 0);
    for (std::size_t i = 0; i < 2 * capacity; ++i)
        store.put(sized(numbered("scan", i)));
    REQUIRE(store.find(key_of("hot"), 0) == first);
    store.erase(first);
    store.put(sized("hot"));
    for (std::size_t i = 0; i < 2 * capacity; ++i)
        store.put(sized(numbered("more", i)));
    CHECK(store.find(key_of("hot"), 0) != nullptr);
}

TEST_CASE("between threads every look-up finds its own key's entry and the bound holds") {
    near_store store{{.bytes_max = 256 * entry_bytes, .shards = 4}};
    std::atomic<int> wrong{0};
    const auto work = [&](unsigned seed) {
        std::minstd_rand random{seed};
        for (int step = 0; step < 20'000; ++step) {
            const auto material = numbered("k", random() % 600);
            if (random() % 2000 == 0) store.clear();
            const auto found = store.find(key_of(material), 0);
            if (found == nullptr)
                store.put(sized(material));
            else if (found->material != material)
                wrong.fetch_add(1);
            else if (random() % 16 == 0)
                store.erase(found);
            if (step % 256 != 0) continue;
            const auto numbers = store.statistics();
            if (numbers.bytes > numbers.bytes_max) wrong.fetch_add(1);
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; ++i)
        threads.emplace_back(work, 31 + i);
    for (auto& one : threads)
        one.join();
    CHECK(wrong.load() == 0);
}
