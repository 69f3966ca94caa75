// How long it takes to find a statement's facts: for a known text, for a new text of a known shape,
// and by a fresh parse. The statements are the point select (75 bytes) and the three-table join
// (361 bytes) that the bars of the room are written for.

#include "sql/analyzer.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

namespace {

using postern::sql::analyzer;

/// The statement with its one number replaced by `number`, seven digits wide.
std::string point_select(std::uint64_t number) {
    return "SELECT abalance FROM pgbench_accounts WHERE aid = " +
           std::to_string(1000000 + number % 9000000) + " AND bid = 1 /**/;";
}

std::string three_table_join(std::uint64_t number) {
    return "SELECT i.id, i.title, i.status, i.priority, p.name AS project_name, "
           "u.name AS assignee, count(c.id) "
           "FROM issues i JOIN projects p ON p.id = i.project_id "
           "LEFT JOIN users u ON u.id = i.assignee_id LEFT JOIN comments c ON c.issue_id = i.id "
           "WHERE i.project_id = " +
           std::to_string(1000000 + number % 9000000) +
           " AND i.status IN ('open', 'review') GROUP BY 1, 2, 3, 4, 5, 6 "
           "ORDER BY i.priority DESC LIMIT 50";
}

template <class Make>
void known_text(benchmark::State& state, Make make) {
    analyzer subject;
    const std::string text = make(1);
    subject.analyze(text);
    for (auto _ : state)
        benchmark::DoNotOptimize(subject.analyze(text));
    state.counters["bytes"] = static_cast<double>(text.size());
}

/// The text itself is made outside the measured time: some 20 million distinct ones would not fit,
/// so the same buffer is given a new number each time.
template <class Make>
void known_shape(benchmark::State& state, Make make) {
    analyzer subject;
    std::string text = make(0);
    const std::size_t digits = text.find("1000000");
    subject.analyze(text);
    std::uint64_t number = 0;
    for (auto _ : state) {
        ++number;
        std::uint64_t rest = number;
        for (std::size_t i = 7; i-- > 0; rest /= 10) {
            text[digits + i] = static_cast<char>('0' + rest % 10);
        }
        benchmark::DoNotOptimize(subject.analyze(text));
    }
    state.counters["bytes"] = static_cast<double>(text.size());
    state.counters["shape_hits"] = static_cast<double>(subject.statistics().shape_hits);
    state.counters["parses"] = static_cast<double>(subject.statistics().parses);
}

template <class Make>
void fresh_parse(benchmark::State& state, Make make) {
    const std::string text = make(1);
    for (auto _ : state)
        benchmark::DoNotOptimize(postern::sql::parse_facts(text));
    state.counters["bytes"] = static_cast<double>(text.size());
}

BENCHMARK_CAPTURE(known_text, point_select, point_select);
BENCHMARK_CAPTURE(known_text, three_table_join, three_table_join);
BENCHMARK_CAPTURE(known_shape, point_select, point_select);
BENCHMARK_CAPTURE(known_shape, three_table_join, three_table_join);
BENCHMARK_CAPTURE(fresh_parse, point_select, point_select);
BENCHMARK_CAPTURE(fresh_parse, three_table_join, three_table_join);

}  // namespace
