// SHOW CACHE, SHOW CACHE WHY, SHOW RULES and SHOW SHADOW: what is kept, what was not and why, what
// is allowed, and what row-level security will change.

#include "admin/show.hpp"
#include "admin/table.hpp"
#include "base/metrics.hpp"

#include <algorithm>
#include <ctime>
#include <tuple>

namespace postern::admin {

namespace {

constexpr std::size_t statement_size_shown = 120;

/// Bytes that may stand on until the sequence that they begin ends; 1 for what is not UTF-8.
std::size_t sequence_size(char first) {
    const auto byte = static_cast<unsigned char>(first);
    if (byte >= 0xF0) return 4;
    if (byte >= 0xE0) return 3;
    if (byte >= 0xC0) return 2;
    return 1;
}

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string joined(const std::vector<std::string>& all) {
    return fmt::format("{}", fmt::join(all, ", "));
}

std::string name(cache::rule_mode mode) {
    switch (mode) {
    case cache::rule_mode::disabled: return "disabled";
    case cache::rule_mode::observe: return "observe";
    case cache::rule_mode::enabled: break;
    }
    return "enabled";
}

std::string hit_ratio(const metrics::values& now) {
    using enum metrics::counter;
    const auto hits = now[hits_near] + now[hits_redis];
    const auto asked = now[reads];
    if (asked == 0) return "0.000";
    return fmt::format("{:.3f}", static_cast<double>(hits) / static_cast<double>(asked));
}

std::string timestamp(wall_time at) {
    using namespace std::chrono;
    const std::time_t whole = system_clock::to_time_t(at);
    std::tm parts{};
    ::gmtime_r(&whole, &parts);
    const auto rest = duration_cast<milliseconds>(at.time_since_epoch()).count() % 1000;
    char text[32];
    const auto size = std::strftime(text, sizeof(text), "%F %T", &parts);
    return fmt::format("{}.{:03} UTC", std::string_view{text, size}, rest);
}

}  // namespace

std::string shorten(std::string_view text, std::size_t size_max) {
    std::string line;
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size();) {
        if (is_space(text[i])) {
            ++i;
            if (line.empty() || i == text.size() || is_space(text[i])) continue;
            line += ' ';
            ++characters;
            continue;
        }
        if (characters >= size_max) return line + "…";
        const std::size_t size = std::min(sequence_size(text[i]), text.size() - i);
        line.append(text, i, size);
        i += size;
        ++characters;
    }
    return line;
}

session::console_reply show_cache(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"item", "value", "meaning"});
    const auto cache = source.cache();
    const auto now = metrics::collect();
    using enum metrics::counter;
    const auto* redis = !cache.redis_connected   ? "not configured"
                        : *cache.redis_connected ? "connected"
                                                 : "away";
    rows.row({"enabled", cache.enabled ? "true" : "false", "cache.enabled of postern.yaml"});
    rows.row({"redis", redis, "the second store"});
    rows.row({"hit_ratio", hit_ratio(now), "hits of all SELECT statements since the start"});
    rows.row({"reads", now[reads], "SELECT statements"});
    rows.row({"hits_near", now[hits_near], "answered from memory"});
    rows.row({"hits_redis", now[hits_redis], "answered from Redis"});
    rows.row({"misses", now[misses], "cacheable, but not there"});
    rows.row({"would_have_hit", now[would_have_hit], "hits not served: the rule only observes"});
    rows.row({"flights_joined", now[flights_joined], "waited for another's identical read"});
    rows.row({"fills", now[fills], "answers kept"});
    rows.row({"fills_dropped", now[fills_dropped], "not kept: a write came between"});
    rows.row({"fills_too_large", now[fills_too_large], "not kept: above the rule's max_size"});
    rows.row({"near_entries", cache.near_entries, "answers in memory now"});
    rows.row({"near_bytes", cache.near_bytes, "what they take"});
    rows.row({"near_bytes_max", cache.near_bytes_max, "what they may take: cache.memory"});
    rows.row({"near_evictions", cache.near_evictions, "answers dropped for room"});
    rows.row({"fences", now[fences], "writes that held back reads of what they touch"});
    rows.row({"fences_standing", cache.fences_standing, "of these, still in flight"});
    rows.row({"invalidations", now[invalidations], "versions moved on by writes"});
    return rows.take();
}

session::console_reply show_cache_why(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"statement", "reason", "sentence", "detail"})
        .columns(column_type::int8, {"count"})
        .columns(column_type::text, {"database", "role", "last_seen", "fingerprint"});
    auto all = source.recent_statements();
    std::ranges::stable_sort(all, std::ranges::greater{}, &recent_statement::last_seen);
    for (const auto& one : all) {
        rows.row(
            {shorten(one.text, statement_size_shown),
             std::string{code(one.why)},
             std::string{sentence(one.why)},
             one.detail,
             one.count,
             one.database,
             one.role,
             timestamp(one.last_seen),
             fmt::format("{:016x}", one.fingerprint)});
    }
    return rows.take();
}

session::console_reply show_rules(const console_source& source) {
    table rows;
    rows.columns(column_type::int4, {"number"})
        .columns(
            column_type::text,
            {"name", "mode", "bypass", "tables", "statements", "databases", "roles"})
        .columns(column_type::int8, {"ttl_ms", "max_size"})
        .columns(column_type::text, {"where"});
    const auto settings = source.settings();
    std::uint32_t number = 0;
    for (const auto& one : settings->rules.rules) {
        std::vector<std::string> patterns;
        for (const auto& pattern : one.statement_patterns) {
            patterns.push_back(shorten(pattern, statement_size_shown));
        }
        rows.row(
            {++number,
             one.name,
             name(one.mode),
             one.bypass ? "true" : "false",
             joined(one.tables),
             fmt::format("{}", fmt::join(patterns, "; ")),
             joined(one.databases),
             joined(one.roles),
             one.ttl.count(),
             one.answer_bytes_max,
             one.where});
    }
    return rows.take();
}

session::console_reply show_shadow(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"database", "role", "statement", "relations"})
        .columns(
            column_type::int8,
            {"samples",
             "same",
             "different",
             "qualified",
             "no_view",
             "errors",
             "dropped",
             "rows_without",
             "rows_with"})
        .columns(column_type::text, {"sqlstate", "error", "last_seen", "fingerprint"});
    auto all = source.shadowed();
    // What a DBA has to look at comes first.
    std::ranges::stable_sort(all, std::ranges::greater{}, [](const shadowed_shape& one) {
        return std::tuple{one.what.different != 0, one.what.errors != 0, one.last_seen};
    });
    const auto unless_empty = [](const std::string& text) {
        return text.empty() ? cell{std::nullopt} : cell{text};
    };
    for (const auto& shape : all) {
        const auto& one = shape.what;
        const auto of_difference = [&](std::uint64_t count) {
            return one.different != 0 ? cell{count} : cell{std::nullopt};
        };
        rows.row(
            {one.database,
             one.role,
             shorten(one.text, statement_size_shown),
             one.relations,
             one.samples,
             one.same,
             one.different,
             one.qualified,
             one.no_view,
             one.errors,
             one.dropped,
             of_difference(one.rows_without),
             of_difference(one.rows_with),
             unless_empty(one.sqlstate),
             unless_empty(one.error),
             timestamp(shape.last_seen),
             fmt::format("{:016x}", one.fingerprint)});
    }
    return rows.take();
}

}  // namespace postern::admin
