// Who leads, who follows, who is answered, and who is not any more.

#include "cache/flight.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace postern;
using namespace postern::cache;

namespace {

key_view key_of(std::string_view material) {
    return {material, hash_bytes(material)};
}

entry_ptr answer_of(std::string material) {
    auto made = std::make_shared<entry>();
    made->hash = hash_bytes(material);
    made->material = std::move(material);
    return made;
}

/// Remembers what landed.
struct waiting {
    std::vector<entry_ptr> landed;
    landing callback() {
        return [this](entry_ptr answer) {
            landed.push_back(std::move(answer));
        };
    }
};

}  // namespace

TEST_CASE("the first to miss leads, whoever misses next follows and is handed the answer") {
    flight_table flights;
    waiting first;
    waiting second;
    auto leader = flights.join(key_of("a"), nullptr);
    const auto one = flights.join(key_of("a"), first.callback());
    const auto two = flights.join(key_of("a"), second.callback());
    CHECK(leader.leads());
    REQUIRE(one);
    CHECK_FALSE(one.leads());

    const auto answer = answer_of("a");
    leader.land(answer);
    CHECK(first.landed == std::vector{answer});
    CHECK(second.landed == std::vector{answer});
    CHECK_FALSE(leader);
}

TEST_CASE("other keys fly by themselves") {
    flight_table flights;
    const auto one = flights.join(key_of("a"), nullptr);
    const auto other = flights.join(key_of("b"), nullptr);
    CHECK(one.leads());
    CHECK(other.leads());
}

TEST_CASE("equal hashes with other material are other flights") {
    flight_table flights;
    const hash128 same{1, 2};
    waiting follower;
    auto one = flights.join({"a", same}, nullptr);
    auto other = flights.join({"b", same}, nullptr);
    CHECK(one.leads());
    REQUIRE(other.leads());
    const auto follows = flights.join({"b", same}, follower.callback());
    REQUIRE_FALSE(follows.leads());

    one.land(answer_of("a"));
    CHECK(follower.landed.empty());
    const auto answer = answer_of("b");
    other.land(answer);
    CHECK(follower.landed == std::vector{answer});
}

TEST_CASE("a leader that goes without an answer lands null") {
    flight_table flights;
    waiting follower;
    std::optional leader{flights.join(key_of("a"), nullptr)};
    const auto follows = flights.join(key_of("a"), follower.callback());
    leader.reset();
    CHECK(follower.landed == std::vector<entry_ptr>{nullptr});
}

TEST_CASE("a flight that has landed is over: the next to miss leads anew") {
    flight_table flights;
    auto leader = flights.join(key_of("a"), nullptr);
    leader.land(nullptr);
    CHECK(flights.join(key_of("a"), nullptr).leads());
}

TEST_CASE("a follower that left is not called any more") {
    flight_table flights;
    waiting stays;
    waiting leaves;
    auto leader = flights.join(key_of("a"), nullptr);
    const auto one = flights.join(key_of("a"), stays.callback());
    { const auto gone = flights.join(key_of("a"), leaves.callback()); }
    leader.land(answer_of("a"));
    CHECK(stays.landed.size() == 1);
    CHECK(leaves.landed.empty());
}

TEST_CASE("what a follower's landing holds is let go when the follower leaves") {
    flight_table flights;
    const auto held = std::make_shared<int>(1);
    const auto leader = flights.join(key_of("a"), nullptr);
    {
        const auto gone = flights.join(key_of("a"), [held](entry_ptr) {});
    }
    CHECK(held.use_count() == 1);
}

TEST_CASE("a landing may destroy its own ticket, and another follower's") {
    flight_table flights;
    waiting second;
    std::optional<flight_table::ticket> one;
    std::optional<flight_table::ticket> two;
    int calls = 0;
    auto leader = flights.join(key_of("a"), nullptr);
    one = flights.join(key_of("a"), [&](entry_ptr) {
        ++calls;
        one.reset();
        two.reset();
    });
    two = flights.join(key_of("a"), second.callback());
    leader.land(answer_of("a"));
    CHECK(calls == 1);
    CHECK(second.landed.empty());
}

TEST_CASE("a landing may destroy the leader's ticket and join again") {
    flight_table flights;
    std::optional leader{flights.join(key_of("a"), nullptr)};
    flight_table::ticket again;
    const auto follows = flights.join(key_of("a"), [&](entry_ptr) {
        leader.reset();
        again = flights.join(key_of("a"), nullptr);
    });
    leader->land(nullptr);
    CHECK(again.leads());
}

TEST_CASE("a ticket that is assigned over gives up its seat, one that is moved keeps it") {
    flight_table flights;
    waiting follower;
    auto seat = flights.join(key_of("a"), nullptr);
    const auto follows = flights.join(key_of("a"), follower.callback());
    flight_table::ticket moved{std::move(seat)};
    CHECK(moved.leads());
    CHECK(follower.landed.empty());
    moved = flights.join(key_of("b"), nullptr);
    CHECK(follower.landed == std::vector<entry_ptr>{nullptr});
    CHECK(moved.leads());
}

TEST_CASE("tickets may outlive the table") {
    std::optional<flight_table> flights{std::in_place};
    waiting follower;
    auto leader = flights->join(key_of("a"), nullptr);
    const auto follows = flights->join(key_of("a"), follower.callback());
    flights.reset();
    leader.land(nullptr);
    CHECK(follower.landed.size() == 1);
}

TEST_CASE("between threads every follower is called once, or left and is never called after") {
    flight_table flights;
    constexpr int rounds = 4000;
    std::atomic<int> led{0};
    std::atomic<int> late{0};
    const auto fly = [&](unsigned thread) {
        for (int round = 0; round < rounds; ++round) {
            std::atomic<bool> gone{false};
            std::atomic<int> calls{0};
            auto seat = flights.join(key_of("a"), [&](entry_ptr) {
                if (gone.load()) late.fetch_add(1);
                calls.fetch_add(1);
            });
            if (seat.leads()) {
                led.fetch_add(1);
                seat.land(answer_of("a"));
            } else if ((static_cast<unsigned>(round) + thread) % 3 != 0) {
                while (calls.load() == 0)
                    std::this_thread::yield();
            }
            seat = {};
            gone.store(true);
            if (calls.load() > 1) late.fetch_add(1);
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; ++i)
        threads.emplace_back(fly, i);
    for (auto& one : threads)
        one.join();
    CHECK(late.load() == 0);
    CHECK(led.load() > 0);
}
