// SHOW STATS and its parts, as PgBouncer has them: totals since the start, and averages over the
// last whole minute.

#include "admin/show.hpp"
#include "admin/table.hpp"

#include <algorithm>
#include <array>

namespace postern::admin {

namespace {

/// The seven numbers of a database, in PgBouncer's order.
using numbers = std::array<std::uint64_t, 7>;

numbers totals_of(const database_stats& of) {
    return {
        of.transactions,
        of.queries,
        of.received,
        of.sent,
        of.transaction_time_us,
        of.query_time_us,
        of.wait_time_us};
}

std::uint64_t per(std::uint64_t total, std::uint64_t count) {
    return count == 0 ? 0 : total / count;
}

/// Counts, bytes and waits a second; times a transaction and a query.
numbers averages_of(const database_stats& gain, std::chrono::microseconds length) {
    const auto us = static_cast<std::uint64_t>(length.count());
    const auto a_second = [&](std::uint64_t total) {
        return per(total * 1'000'000, us);
    };
    return {
        a_second(gain.transactions),
        a_second(gain.queries),
        a_second(gain.received),
        a_second(gain.sent),
        per(gain.transaction_time_us, gain.transactions),
        per(gain.query_time_us, gain.queries),
        a_second(gain.wait_time_us)};
}

numbers averages_of(const stats_period& period, const std::string& database) {
    for (const auto& one : period.gains) {
        if (one.database == database) return averages_of(one, period.length);
    }
    return {};
}

void append(std::vector<cell>& cells, const numbers& values) {
    cells.insert(cells.end(), values.begin(), values.end());
}

void add(numbers& sum, const numbers& more) {
    std::ranges::transform(sum, more, sum.begin(), std::plus{});
}

table table_of_one_kind() {
    table rows;
    rows.columns(column_type::text, {"database"})
        .columns(
            column_type::numeric,
            {"xact_count",
             "query_count",
             "bytes_received",
             "bytes_sent",
             "xact_time",
             "query_time",
             "wait_time"});
    return rows;
}

}  // namespace

session::console_reply show_stats(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"database"})
        .columns(
            column_type::numeric,
            {"total_xact_count",
             "total_query_count",
             "total_received",
             "total_sent",
             "total_xact_time",
             "total_query_time",
             "total_wait_time",
             "avg_xact_count",
             "avg_query_count",
             "avg_recv",
             "avg_sent",
             "avg_xact_time",
             "avg_query_time",
             "avg_wait_time",
             "total_cache_hits",
             // As PgBouncer before 1.8 called total_query_count; Debian's exporter asks for it.
             "total_requests"});
    const auto period = source.last_period();
    for (const auto& one : source.stats()) {
        std::vector<cell> cells{one.database};
        append(cells, totals_of(one));
        append(cells, averages_of(period, one.database));
        cells.emplace_back(one.hits);
        cells.emplace_back(one.queries);
        rows.row(std::move(cells));
    }
    return rows.take();
}

session::console_reply show_stats_totals(const console_source& source) {
    auto rows = table_of_one_kind();
    for (const auto& one : source.stats()) {
        std::vector<cell> cells{one.database};
        append(cells, totals_of(one));
        rows.row(std::move(cells));
    }
    return rows.take();
}

session::console_reply show_stats_averages(const console_source& source) {
    auto rows = table_of_one_kind();
    const auto period = source.last_period();
    for (const auto& one : source.stats()) {
        std::vector<cell> cells{one.database};
        append(cells, averages_of(period, one.database));
        rows.row(std::move(cells));
    }
    return rows.take();
}

session::console_reply show_totals(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"name"}).columns(column_type::numeric, {"value"});
    numbers totals{};
    numbers averages{};
    const auto period = source.last_period();
    for (const auto& one : source.stats()) {
        add(totals, totals_of(one));
        add(averages, averages_of(period, one.database));
    }
    constexpr std::array<const char*, 7> names{
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time"};
    for (std::size_t i = 0; i < names.size(); ++i)
        rows.row({fmt::format("total_{}", names[i]), totals[i]});
    for (std::size_t i = 0; i < names.size(); ++i)
        rows.row({fmt::format("avg_{}", names[i]), averages[i]});
    return rows.take();
}

}  // namespace postern::admin
