#include "cli/units.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <vector>

namespace postern::cli {

namespace {

struct unit {
    std::string_view name;
    std::int64_t factor;
};

constexpr std::array<unit, 5> durations{{
    {"ms", 1},
    {"s", 1000},
    {"min", 60'000},
    {"h", 3'600'000},
    {"d", 86'400'000},
}};

constexpr std::array<unit, 5> sizes{{
    {"B", 1},
    {"KiB", std::int64_t{1} << 10},
    {"MiB", std::int64_t{1} << 20},
    {"GiB", std::int64_t{1} << 30},
    {"TiB", std::int64_t{1} << 40},
}};

std::optional<std::int64_t> parse(std::string_view text, std::span<const unit> units) noexcept {
    std::int64_t count = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || count < 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    for (const auto& one : units) {
        if (text != one.name) continue;
        if (count > std::numeric_limits<std::int64_t>::max() / one.factor) return std::nullopt;
        return count * one.factor;
    }
    return std::nullopt;
}

std::string format(std::int64_t value, std::span<const unit> units) {
    const unit* best = &units.front();
    for (const auto& one : units) {
        if (value != 0 && value % one.factor == 0) best = &one;
    }
    return fmt::format("{}{}", value / best->factor, best->name);
}

/// Levenshtein's distance with neighbours swapped counting once.
std::size_t distance(std::string_view a, std::string_view b) {
    const std::size_t width = b.size() + 1;
    std::vector<std::size_t> table((a.size() + 1) * width);
    const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& {
        return table[i * width + j];
    };
    for (std::size_t i = 0; i <= a.size(); ++i)
        at(i, 0) = i;
    for (std::size_t j = 0; j <= b.size(); ++j)
        at(0, j) = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substituted = at(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
            at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, substituted});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
        }
    }
    return at(a.size(), b.size());
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept {
    const auto value = parse(text, durations);
    if (!value) return std::nullopt;
    return std::chrono::milliseconds{*value};
}

std::optional<std::int64_t> parse_size(std::string_view text) noexcept {
    return parse(text, sizes);
}

std::string format_duration(std::chrono::milliseconds value) {
    return format(value.count(), durations);
}

std::string format_size(std::int64_t bytes) {
    return format(bytes, sizes);
}

std::optional<std::string_view> nearest(
    std::string_view word,
    std::span<const std::string_view> candidates) {
    std::optional<std::string_view> best;
    // A third of the word may be wrong: enough for slips, too little to suggest another word.
    std::size_t allowed = std::max<std::size_t>(1, word.size() / 3);
    for (const auto candidate : candidates) {
        const std::size_t steps = distance(word, candidate);
        if (steps > allowed) continue;
        best = candidate;
        if (steps == 0) break;
        allowed = steps - 1;
    }
    return best;
}

}  // namespace postern::cli
