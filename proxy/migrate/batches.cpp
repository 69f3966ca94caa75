// batch=on: a statement again and again, a commit each time, until it touches no row.

#include "migrate/progress.hpp"
#include "migrate/runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace postern::migrate {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds speak_again{2000};

std::optional<std::uint64_t> parse_count(const std::string& text) {
    std::uint64_t number = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || rest != end) return std::nullopt;
    return number;
}

}  // namespace

answer<std::optional<std::uint64_t>> rows_touched(const reply& answered) {
    if (!answered.has_rows) return answered.affected;
    if (answered.rows.size() == 1 && answered.rows.front().size() == 1) {
        if (auto count = parse_count(answered.rows.front().front())) return count;
    }
    // A query with other rows than that, such as UPDATE … RETURNING: its tag counts them.
    if (answered.affected && (answered.rows.empty() || answered.rows.front().size() != 1))
        return answered.affected;
    return problem{
        problem_kind::file,
        "a batch that is a query must yield one whole number: how many rows it has dealt with"};
}

// Counting what is left may take long: it gets a tenth of the time at most.
void runner::ask_for_the_rest(const script& file, batch_progress& of) {
    constexpr int share = 10;
    const auto now = clock::now();
    if (file.header.progress.empty() || now < of.asked + of.asking * share) return;
    const auto answered = server_.value(file.header.progress);
    of.asked = clock::now();
    of.asking = of.asked - now;
    of.rows_when_asked = of.rows;
    of.left = answered.has_value() ? parse_count(answered.value()) : std::nullopt;
    if (!of.left) {
        say_(fmt::format(
            "{}: progress={}: {}",
            file.file,
            file.header.progress,
            answered.has_error() ? answered.error().message : "yields no whole number"));
    }
}

void runner::say_batch(work& on, batch_progress& of) {
    ask_for_the_rest(on.file, of);
    auto left = of.left;
    if (left) *left -= std::min(*left, of.rows - of.rows_when_asked);
    const auto took = std::chrono::duration_cast<milliseconds>(clock::now() - of.since);
    say_(fmt::format(
        "{}: {}",
        on.file.file,
        batch_text(on.row.rows_done - of.rows, of.rows, left, took)));
}

answer<void> runner::one_batch(work& on, unsigned number, std::uint64_t& rows) {
    return with_retries(on, [&]() -> answer<void> {
        if (on.row.running == number) return run_outside(on, number, &rows);
        return run_inside(on, number, &rows);
    });
}

answer<void> runner::run_batches(work& on, unsigned number) {
    batch_progress progress;
    progress.since = clock::now();
    auto spoken = progress.since;
    ask_for_the_rest(on.file, progress);
    if (progress.left.value_or(0) > 0) say_batch(on, progress);
    for (;;) {
        std::uint64_t rows = 0;
        const auto done = one_batch(on, number, rows);
        if (done.has_error()) return done;
        progress.rows += rows;
        if (rows == 0) break;
        if (clock::now() >= spoken + speak_again) {
            say_batch(on, progress);
            spoken = clock::now();
        }
        if (!stop_signals::wait(on.file.header.pause)) {
            say_batch(on, progress);
            problem found{
                problem_kind::stopped,
                "stopped by a signal; the next up goes on from here"};
            return locate(std::move(found), on.file, number);
        }
    }
    if (progress.rows > 0) say_batch(on, progress);
    return {};
}

}  // namespace postern::migrate
