#include "base/metrics.hpp"

#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <vector>

namespace postern::metrics {

namespace {

/// One thread's numbers: written by that thread only, read by anyone.
struct block {
    std::array<std::atomic<std::uint64_t>, counter_count> counters{};
    std::array<std::atomic<std::uint64_t>, reason_count> reasons{};
    struct histogram_block {
        std::array<std::atomic<std::uint64_t>, bucket_count> buckets{};
        std::atomic<std::uint64_t> sum_ns{};
    };
    std::array<histogram_block, histogram_count> histograms{};
};

struct registry {
    std::mutex mutex;
    // Blocks outlive their threads, so that totals never go back.
    std::vector<std::unique_ptr<block>> blocks;
};

registry& all() {
    static auto* instance = new registry;  // never destroyed: threads may outlive main's statics
    return *instance;
}

[[gnu::cold, gnu::noinline]] block* begin_mine() {
    auto& shared = all();
    const std::scoped_lock lock{shared.mutex};
    return shared.blocks.emplace_back(std::make_unique<block>()).get();
}

block& mine() {
    // Begun by hand: a guarded initialisation would be asked for at every count.
    static constinit thread_local block* own = nullptr;
    if (own == nullptr) [[unlikely]]
        own = begin_mine();
    return *own;
}

/// Single writer: a plain load and store are enough and cheaper than fetch_add.
void bump(std::atomic<std::uint64_t>& value, std::uint64_t amount) noexcept {
    value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

std::size_t bucket_of(std::int64_t nanoseconds) noexcept {
    const auto microseconds = static_cast<std::uint64_t>(nanoseconds < 0 ? 0 : nanoseconds) / 1000;
    const std::size_t bucket = std::bit_width(microseconds);
    return bucket < bucket_count ? bucket : bucket_count - 1;
}

}  // namespace

void add(counter which, std::uint64_t amount) noexcept {
    bump(mine().counters[static_cast<std::size_t>(which)], amount);
}

void add(reason why) noexcept {
    bump(mine().reasons[static_cast<std::size_t>(why)], 1);
}

void observe(histogram which, std::int64_t nanoseconds) noexcept {
    auto& target = mine().histograms[static_cast<std::size_t>(which)];
    bump(target.buckets[bucket_of(nanoseconds)], 1);
    bump(target.sum_ns, static_cast<std::uint64_t>(nanoseconds < 0 ? 0 : nanoseconds));
}

values collect() {
    values sum;
    auto& shared = all();
    const std::scoped_lock lock{shared.mutex};
    for (const auto& one : shared.blocks) {
        for (std::size_t i = 0; i < counter_count; ++i)
            sum.counters[i] += one->counters[i].load();
        for (std::size_t i = 0; i < reason_count; ++i)
            sum.reasons[i] += one->reasons[i].load();
        for (std::size_t i = 0; i < histogram_count; ++i) {
            auto& to = sum.histograms[i];
            const auto& from = one->histograms[i];
            for (std::size_t b = 0; b < bucket_count; ++b)
                to.buckets[b] += from.buckets[b].load();
            to.sum_ns += from.sum_ns.load();
        }
    }
    return sum;
}

const char* name(counter which) noexcept {
    static constexpr const char* names[counter_count] = {
        "statements",
        "reads",
        "hits_near",
        "hits_redis",
        "misses",
        "would_have_hit",
        "fills",
        "fills_dropped",
        "fills_too_large",
        "fences",
        "invalidations",
        "flights_joined",
        "clients_accepted",
        "client_errors",
        "logins_failed",
        "server_connects",
        "server_connect_errors",
        "server_losses",
        "transactions",
        "bytes_from_clients",
        "bytes_to_clients",
        "bytes_from_servers",
        "bytes_to_servers",
        "redis_errors",
        "redis_timeouts",
        "catalog_reloads",
        "shadow_samples",
        "shadow_same",
        "shadow_different",
        "shadow_qualified",
        "shadow_no_view",
        "shadow_errors",
        "shadow_dropped"};
    return names[static_cast<std::size_t>(which)];
}

const char* name(histogram which) noexcept {
    static constexpr const char* names[histogram_count] =
        {"latency_near", "latency_redis", "latency_server", "pool_wait", "fence_held"};
    return names[static_cast<std::size_t>(which)];
}

}  // namespace postern::metrics
