#include "migrate/directives.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace postern::migrate {

namespace {

constexpr std::string_view mark = "postern:";
constexpr std::string_view known =
    "transaction, batch, lock_timeout, statement_timeout, retry, pause, requires, reversible, "
    "progress";
constexpr unsigned retry_max = 10'000;  // with the longest wait between two: most of a day

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
    unsigned number = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || rest != end || number > max) return std::nullopt;
    return number;
}

std::optional<bool> parse_switch(std::string_view text) {
    if (text == "on") return true;
    if (text == "off") return false;
    return std::nullopt;
}

bool is_version(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool take_versions(std::string_view value, std::vector<std::string>& into) {
    while (!value.empty()) {
        const auto comma = std::min(value.find(','), value.size());
        if (!is_version(value.substr(0, comma))) return false;
        into.emplace_back(value.substr(0, comma));
        value.remove_prefix(std::min(comma + 1, value.size()));
    }
    return !into.empty();
}

template <class T, class Value>
bool take(const std::optional<Value>& value, T& into) {
    if (value) into = *value;
    return value.has_value();
}

// What was expected, or nothing when the value was right.
std::string_view take_one(std::string_view name, std::string_view value, directives& into) {
    constexpr std::string_view duration = "a duration such as 500ms, 2s or 5min";
    if (name == "transaction") {
        return take(parse_switch(value), into.transaction) ? "" : "on or off";
    }
    if (name == "batch") return take(parse_switch(value), into.batch) ? "" : "on or off";
    if (name == "lock_timeout") {
        return take(parse_duration(value), into.lock_timeout) ? "" : duration;
    }
    if (name == "statement_timeout") {
        return take(parse_duration(value), into.statement_timeout) ? "" : duration;
    }
    if (name == "pause") return take(parse_duration(value), into.pause) ? "" : duration;
    if (name == "retry") {
        return take(parse_number(value, retry_max), into.retry) ? "" : "a number up to 10000";
    }
    if (name == "requires") {
        return take_versions(value, into.requires_versions) ? "" : "versions such as 0020,0021";
    }
    if (name != "reversible") return known;
    if (value == "yes")
        into.reversible = reversal::yes;
    else if (value == "data-loss")
        into.reversible = reversal::data_loss;
    else if (value == "no")
        into.reversible = reversal::no;
    else
        return "yes, data-loss or no";
    return "";
}

answer<void> take_line(
    std::string_view file,
    unsigned line,
    std::string_view rest,
    directives& into) {
    while (!(rest = trim(rest)).empty()) {
        const auto end = std::min(rest.find_first_of(" \t"), rest.size());
        const auto one = rest.substr(0, end);
        const auto equals = std::min(one.find('='), one.size());
        const auto name = one.substr(0, equals);
        if (name == "progress" && equals < one.size()) {
            into.progress = std::string(trim(rest.substr(equals + 1)));
            return {};
        }
        const auto value = one.substr(std::min(equals + 1, one.size()));
        const auto expected = take_one(name, value, into);
        if (!expected.empty()) {
            return problem{
                problem_kind::file,
                fmt::format("directive \"{}\": expected {}", one, expected),
                std::string(file),
                line};
        }
        rest.remove_prefix(end);
    }
    return {};
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    using std::chrono::milliseconds;
    const struct {
        std::string_view unit;
        std::int64_t ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}};
    const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    std::int64_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + digits, number);
    if (digits == 0 || error != std::errc{}) return std::nullopt;
    for (const auto& one : units) {
        if (text.substr(digits) != one.unit) continue;
        if (number > std::numeric_limits<std::int32_t>::max() / one.ms) return std::nullopt;
        return milliseconds(number * one.ms);
    }
    return std::nullopt;
}

answer<directives> parse_directives(std::string_view file, std::string_view text) {
    directives found;
    unsigned line = 0;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        auto one = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        ++line;
        if (one.empty()) continue;
        if (!one.starts_with("--")) break;
        one = trim(one.substr(2));
        if (!one.starts_with(mark)) continue;
        const auto taken = take_line(file, line, one.substr(mark.size()), found);
        if (taken.has_error()) return taken.error();
    }
    if (found.batch && found.transaction) {
        return problem{
            problem_kind::file,
            "batch=on commits after every batch: it needs transaction=off as well",
            std::string(file),
            1};
    }
    return found;
}

}  // namespace postern::migrate
