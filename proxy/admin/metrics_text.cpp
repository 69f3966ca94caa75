#include "admin/metrics_text.hpp"

#include <fmt/core.h>

#include <array>
#include <limits>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::admin {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::vector<ClientMetric::Label>;

constexpr double nanoseconds_a_second = 1e9;

/// What each counter counts, in the order of metrics::counter.
constexpr std::array<const char*, metrics::counter_count> counter_help{
    "Statements answered, from wherever.",
    "SELECT statements among them.",
    "Statements answered from this process's memory.",
    "Statements answered from Redis.",
    "Cacheable reads that went to PostgreSQL.",
    "Hits that a rule in mode observe did not serve.",
    "Answers stored.",
    "Answers not stored because a write moved the versions.",
    "Answers not stored because they were too large.",
    "Fences raised.",
    "Versions moved by writes.",
    "Reads that waited for another session's identical read.",
    "Clients accepted.",
    "Sessions that ended in a protocol or network error.",
    "Logins that failed.",
    "Connections made to PostgreSQL.",
    "Connections to PostgreSQL that failed.",
    "Servers lost while lent.",
    "Transactions that used a server.",
    "Bytes from clients.",
    "Bytes to clients.",
    "Bytes from servers.",
    "Bytes to servers.",
    "Requests that Redis failed.",
    "Requests that Redis did not answer in time.",
    "Loads of a database's catalog.",
    "Reads sampled in shadow mode.",
    "Samples whose answers with and without the policies were equal.",
    "Samples whose answers were different.",
    "Samples that name a table with its schema, past the views.",
    "Samples that name a table that has no view.",
    "Samples that failed.",
    "Reads not sampled because the queue was full.",
};

MetricFamily family(std::string name, std::string help, MetricType type) {
    return {std::move(name), std::move(help), type, {}};
}

void add_counter(MetricFamily& to, std::uint64_t value, labels names = {}) {
    auto& one = to.metric.emplace_back();
    one.label = std::move(names);
    one.counter.value = static_cast<double>(value);
}

void add_gauge(MetricFamily& to, double value, labels names = {}) {
    auto& one = to.metric.emplace_back();
    one.label = std::move(names);
    one.gauge.value = value;
}

MetricFamily gauge(std::string name, std::string help, double value) {
    auto one = family(std::move(name), std::move(help), MetricType::Gauge);
    add_gauge(one, value);
    return one;
}

void add_histogram(MetricFamily& to, const metrics::histogram_values& values, labels names = {}) {
    auto& one = to.metric.emplace_back();
    one.label = std::move(names);
    auto& histogram = one.histogram;
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < metrics::bucket_count; ++i) {
        cumulative += values.buckets[i];
        const bool last = i + 1 == metrics::bucket_count;
        const double bound = last ? std::numeric_limits<double>::infinity()
                                  : static_cast<double>(metrics::bucket_bound_ns(i)) /
                                        nanoseconds_a_second;
        histogram.bucket.push_back({cumulative, bound});
    }
    histogram.sample_count = cumulative;
    histogram.sample_sum = static_cast<double>(values.sum_ns) / nanoseconds_a_second;
}

void append_counters(std::vector<MetricFamily>& all, const metrics::values& values) {
    for (std::size_t i = 0; i < metrics::counter_count; ++i) {
        const auto which = static_cast<metrics::counter>(i);
        auto one = family(
            fmt::format("postern_{}_total", metrics::name(which)),
            counter_help[i],
            MetricType::Counter);
        add_counter(one, values.counters[i]);
        all.push_back(std::move(one));
    }
    auto reasons = family(
        "postern_statements_by_reason_total",
        "Statements by why they were, or were not, served from the cache.",
        MetricType::Counter);
    for (std::size_t i = 0; i < reason_count; ++i) {
        const auto why = code(static_cast<reason>(i));
        add_counter(reasons, values.reasons[i], {{"reason", std::string{why}}});
    }
    all.push_back(std::move(reasons));
}

void append_histograms(std::vector<MetricFamily>& all, const metrics::values& values) {
    const auto of = [&](metrics::histogram which) -> const metrics::histogram_values& {
        return values.histograms[static_cast<std::size_t>(which)];
    };
    using enum metrics::histogram;
    auto latency = family(
        "postern_latency_seconds",
        "Statement received to answer written, by where the answer came from.",
        MetricType::Histogram);
    add_histogram(latency, of(latency_near), {{"source", "near"}});
    add_histogram(latency, of(latency_redis), {{"source", "redis"}});
    add_histogram(latency, of(latency_server), {{"source", "server"}});
    all.push_back(std::move(latency));
    auto wait = family(
        "postern_pool_wait_seconds",
        "Asked for a server to got one.",
        MetricType::Histogram);
    add_histogram(wait, of(pool_wait));
    all.push_back(std::move(wait));
    auto held = family(
        "postern_fence_held_seconds",
        "Fence raised to fence lifted.",
        MetricType::Histogram);
    add_histogram(held, of(fence_held));
    all.push_back(std::move(held));
}

void append_pools(std::vector<MetricFamily>& all, const std::vector<pool_numbers>& pools) {
    struct gauge_of_pool {
        const char* name;
        const char* help;
        double (*value)(const pool_numbers&);
    };
    constexpr std::array<gauge_of_pool, 7> gauges{{
        {"clients_active",
         "Clients that do not wait.",
         [](const pool_numbers& one) -> double {
             return one.clients_active;
         }},
        {"clients_waiting",
         "Clients waiting for a server.",
         [](const pool_numbers& one) -> double {
             return one.clients_waiting;
         }},
        {"servers_active",
         "Servers lent.",
         [](const pool_numbers& one) -> double {
             return one.servers_active;
         }},
        {"servers_idle",
         "Servers free.",
         [](const pool_numbers& one) -> double {
             return one.servers_idle;
         }},
        {"servers_login",
         "Servers being connected.",
         [](const pool_numbers& one) -> double {
             return one.servers_login;
         }},
        {"size",
         "Servers that the pool may have.",
         [](const pool_numbers& one) -> double {
             return one.size;
         }},
        {"longest_wait_seconds",
         "Longest present wait for a server.",
         [](const pool_numbers& one) {
             return std::chrono::duration<double>(one.longest_wait).count();
         }},
    }};
    for (const auto& what : gauges) {
        auto one = family(fmt::format("postern_pool_{}", what.name), what.help, MetricType::Gauge);
        for (const auto& pool : pools) {
            add_gauge(one, what.value(pool), {{"database", pool.database}, {"user", pool.user}});
        }
        all.push_back(std::move(one));
    }
}

void append_gauges(std::vector<MetricFamily>& all, const console_source& source) {
    const auto cache = source.cache();
    const auto as_double = [](auto value) {
        return static_cast<double>(value);
    };
    all.push_back(
        gauge("postern_near_bytes", "What answers in memory take.", as_double(cache.near_bytes)));
    all.push_back(
        gauge("postern_near_bytes_max", "What they may take.", as_double(cache.near_bytes_max)));
    all.push_back(
        gauge("postern_near_entries", "Answers in memory.", as_double(cache.near_entries)));
    all.push_back(
        gauge("postern_fences_standing", "Writes in flight.", as_double(cache.fences_standing)));
    if (cache.redis_connected) {
        all.push_back(
            gauge("postern_redis_connected", "1: connected.", as_double(*cache.redis_connected)));
    }
    auto evictions =
        family("postern_near_evictions_total", "Answers dropped for room.", MetricType::Counter);
    add_counter(evictions, cache.near_evictions);
    all.push_back(std::move(evictions));
    all.push_back(
        gauge("postern_uptime_seconds", "Since the start.", as_double(source.uptime().count())));
    auto build =
        family("postern_build_info", "Always 1; the version is a label.", MetricType::Gauge);
    add_gauge(build, 1, {{"version", source.version()}});
    all.push_back(std::move(build));
}

}  // namespace

std::string render_metrics(const metrics::values& values, const console_source& source) {
    std::vector<MetricFamily> all;
    append_counters(all, values);
    append_histograms(all, values);
    append_pools(all, source.pools());
    append_gauges(all, source);
    return prometheus::TextSerializer{}.Serialize(all);
}

}  // namespace postern::admin
