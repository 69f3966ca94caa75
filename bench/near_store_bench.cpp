// What a look-up in the near store costs, with one thread and with several on one store.

#include "cache/near_store.hpp"

#include <benchmark/benchmark.h>

#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

using namespace postern;
using namespace postern::cache;

namespace {

constexpr std::size_t entry_count = 10'000;

struct filled_store {
    near_store store{{}};
    std::vector<std::string> materials;
    std::vector<hash128> hashes;

    filled_store() {
        for (std::size_t i = 0; i < entry_count; ++i) {
            // About as long as the key of a point select: statement, parameters, settings.
            auto made = std::make_shared<entry>();
            made->material = std::string(180, 'k') + std::to_string(i);
            made->hash = hash_bytes(made->material);
            made->rows.assign(120, 'r');
            made->expires_at = INT64_MAX;
            materials.push_back(made->material);
            hashes.push_back(made->hash);
            store.put(std::move(made));
        }
    }
};

filled_store& filled() {
    static filled_store instance;
    return instance;
}

/// Indices that wander over all entries without a generator's cost.
constexpr std::size_t stride = 7919;

void find_hit(benchmark::State& state) {
    auto& all = filled();
    auto at = static_cast<std::size_t>(state.thread_index()) * 1237;
    for (auto _ : state) {
        at = (at + stride) % entry_count;
        benchmark::DoNotOptimize(all.store.find({all.materials[at], all.hashes[at]}, 0));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(find_hit)->Threads(1)->Threads(2)->UseRealTime();

void find_hit_hot(benchmark::State& state) {
    auto& all = filled();
    for (auto _ : state)
        benchmark::DoNotOptimize(all.store.find({all.materials[5], all.hashes[5]}, 0));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(find_hit_hot)->Threads(1)->Threads(2)->UseRealTime();

void find_miss(benchmark::State& state) {
    auto& all = filled();
    const std::string absent(190, 'a');
    const auto hash = hash_bytes(absent);
    for (auto _ : state)
        benchmark::DoNotOptimize(all.store.find({absent, hash}, 0));
}
BENCHMARK(find_miss);

void put_into_a_full_store(benchmark::State& state) {
    near_store store{{.bytes_max = std::size_t{4} << 20}};
    std::uint64_t number = 0;
    for (auto _ : state) {
        auto made = std::make_shared<entry>();
        made->material = std::to_string(++number);
        made->hash = hash_bytes(made->material);
        made->rows.assign(300, 'r');
        made->expires_at = INT64_MAX;
        store.put(std::move(made));
    }
}
BENCHMARK(put_into_a_full_store);

}  // namespace
