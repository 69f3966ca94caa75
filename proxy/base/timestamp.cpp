#include "base/timestamp.hpp"

#include <algorithm>
#include <charconv>

namespace postern {

namespace {

/// Takes a text apart from its front.
class reader {
public:
    explicit reader(std::string_view text)
        : rest_{text} {}

    bool at_end() const noexcept { return rest_.empty(); }

    bool skip(char wanted) {
        if (rest_.empty() || rest_.front() != wanted) return false;
        rest_.remove_prefix(1);
        return true;
    }

    /// A number of `digits_min` to `digits_max` digits that is at most `max`.
    std::optional<int> number(std::size_t digits_min, std::size_t digits_max, int max) {
        std::size_t size = 0;
        while (size < rest_.size() && size < digits_max && is_digit(rest_[size]))
            ++size;
        if (size < digits_min) return std::nullopt;
        int value = 0;
        std::from_chars(rest_.data(), rest_.data() + size, value);
        rest_.remove_prefix(size);
        return value <= max ? std::optional{value} : std::nullopt;
    }

    void skip_digits() {
        while (!rest_.empty() && is_digit(rest_.front()))
            rest_.remove_prefix(1);
    }

private:
    static bool is_digit(char c) { return c >= '0' && c <= '9'; }

    std::string_view rest_;
};

using seconds = std::chrono::seconds;

/// `12:00[:00[.5]]`
std::optional<seconds> read_clock(reader& from) {
    const auto hours = from.number(2, 2, 24);
    if (!hours || !from.skip(':')) return std::nullopt;
    const auto minutes = from.number(2, 2, 59);
    if (!minutes) return std::nullopt;
    std::optional<int> rest = 0;
    if (from.skip(':')) {
        rest = from.number(2, 2, 60);
        if (!rest) return std::nullopt;
        if (from.skip('.')) from.skip_digits();
    }
    return seconds{*hours * 3600 + *minutes * 60 + *rest};
}

/// `Z`, `+02`, `-03:30`, or nothing.
std::optional<seconds> read_zone(reader& from) {
    if (from.at_end() || from.skip('Z')) return seconds{0};
    const bool west = from.skip('-');
    if (!west && !from.skip('+')) return std::nullopt;
    const auto hours = from.number(2, 2, 15);
    if (!hours) return std::nullopt;
    std::optional<int> minutes = 0;
    if (from.skip(':')) minutes = from.number(2, 2, 59);
    if (!minutes) return std::nullopt;
    const seconds east{*hours * 3600 + *minutes * 60};
    return west ? -east : east;
}

}  // namespace

std::optional<std::chrono::sys_seconds> parse_timestamp(std::string_view text) {
    using namespace std::chrono;
    if (text == "infinity") return sys_seconds::max();
    if (text == "-infinity" || text.ends_with(" BC")) return sys_seconds::min();
    reader from{text};
    const auto year = from.number(4, 6, 294276);  // PostgreSQL's last
    if (!year || !from.skip('-')) return std::nullopt;
    const auto month = from.number(2, 2, 12);
    if (!month || !from.skip('-')) return std::nullopt;
    const auto day = from.number(2, 2, 31);
    if (!day) return std::nullopt;
    const year_month_day date{
        std::chrono::year{std::min(*year, 9999)},
        std::chrono::month{static_cast<unsigned>(*month)},
        std::chrono::day{static_cast<unsigned>(*day)}};
    if (!date.ok()) return std::nullopt;
    std::optional<seconds> clock{seconds{0}};
    if (from.skip(' ') || from.skip('T')) clock = read_clock(from);
    if (!clock) return std::nullopt;
    const auto zone = read_zone(from);
    if (!zone || !from.at_end()) return std::nullopt;
    return sys_seconds{sys_days{date}} + *clock - *zone;
}

bool has_passed(std::chrono::sys_seconds at) noexcept {
    using namespace std::chrono;
    return floor<seconds>(system_clock::now()) >= at;
}

}  // namespace postern
