// Counters and latency histograms. Each thread writes its own block without locks; a reader adds
// the blocks up. Rendering as Prometheus text or console rows happens in admin/.

#pragma once

#include "base/reason.hpp"

#include <array>
#include <cstdint>

namespace postern::metrics {

enum class counter : std::uint8_t {
    statements,  ///< statements answered, from wherever
    reads,       ///< SELECT statements among them
    hits_near,
    hits_redis,
    misses,          ///< cacheable reads that went to PostgreSQL
    would_have_hit,  ///< hits that a rule in mode observe did not serve
    fills,           ///< entries stored
    fills_dropped,   ///< answers not stored because a write moved the versions
    fills_too_large,
    fences,         ///< fences raised
    invalidations,  ///< tag versions bumped
    flights_joined,
    clients_accepted,
    client_errors,  ///< sessions that ended in a protocol or network error
    logins_failed,
    server_connects,
    server_connect_errors,
    server_losses,  ///< servers lost while lent
    transactions,   ///< transactions that used a server
    bytes_from_clients,
    bytes_to_clients,
    bytes_from_servers,
    bytes_to_servers,
    redis_errors,
    redis_timeouts,
    catalog_reloads,
    shadow_samples,    ///< reads that were run both ways in shadow mode
    shadow_same,       ///< of these: the two answers were equal
    shadow_different,  ///< they were not
    shadow_qualified,  ///< of the samples: tables are named with their schema, past the views
    shadow_no_view,    ///< a table has no view
    shadow_errors,     ///< one of the two failed, or neither could be run
    shadow_dropped,    ///< reads not sampled since the queue was full
    count_
};

/// Latency histograms, in nanoseconds.
enum class histogram : std::uint8_t {
    latency_near,    ///< statement received to answer written, served from memory
    latency_redis,   ///< the same, served from Redis
    latency_server,  ///< the same, served by PostgreSQL
    pool_wait,       ///< asked for a server to got one
    fence_held,      ///< fence raised to fence lifted
    count_
};

inline constexpr std::size_t counter_count = static_cast<std::size_t>(counter::count_);
inline constexpr std::size_t histogram_count = static_cast<std::size_t>(histogram::count_);

/// Upper bounds of the histogram buckets in nanoseconds: 1 µs · 2^k, k = 0…23 (1 µs … 8.4 s), then
/// +Inf.
inline constexpr std::size_t bucket_count = 25;
constexpr std::int64_t bucket_bound_ns(std::size_t bucket) {
    return std::int64_t{1000} << bucket;
}

struct histogram_values {
    std::array<std::uint64_t, bucket_count> buckets{};  ///< not cumulative
    std::uint64_t sum_ns = 0;
};

struct values {
    std::array<std::uint64_t, counter_count> counters{};
    std::array<std::uint64_t, reason_count> reasons{};  ///< statements by their reason
    std::array<histogram_values, histogram_count> histograms{};

    std::uint64_t operator[](counter which) const {
        return counters[static_cast<std::size_t>(which)];
    }
};

/// Adds to this thread's block. No lock, no allocation after the thread's first call.
void add(counter which, std::uint64_t amount = 1) noexcept;
void add(reason why) noexcept;
void observe(histogram which, std::int64_t nanoseconds) noexcept;

/// The sum over all threads, ended ones included. Thread-safe.
values collect();

/// Prometheus names without prefix, such as "hits_near"; live forever.
const char* name(counter which) noexcept;
const char* name(histogram which) noexcept;

}  // namespace postern::metrics
