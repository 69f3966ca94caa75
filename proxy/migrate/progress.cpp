#include "migrate/progress.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::migrate {

namespace {

std::chrono::milliseconds for_the_rest(
    std::uint64_t done,
    std::uint64_t left,
    std::chrono::milliseconds spent) {
    const double each = static_cast<double>(spent.count()) / static_cast<double>(done);
    return std::chrono::milliseconds(static_cast<std::int64_t>(each * static_cast<double>(left)));
}

}  // namespace

std::string duration_text(std::chrono::milliseconds time) {
    const auto seconds = (time.count() + 500) / 1000;
    if (time.count() < 1000) return fmt::format("{} ms", time.count());
    if (seconds < 120) return fmt::format("{} s", seconds);
    const auto minutes = (seconds + 30) / 60;
    if (minutes < 120) return fmt::format("{} min", minutes);
    return fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

std::string share_text(std::uint64_t done, std::uint64_t total, std::chrono::milliseconds spent) {
    if (total == 0) return {};
    done = std::min(done, total);
    const auto share = fmt::format(
        "{:.1f} % done",
        100.0 * static_cast<double>(done) / static_cast<double>(total));
    if (done == 0) return share;
    return fmt::format(
        "{}, about {} left",
        share,
        duration_text(for_the_rest(done, total - done, spent)));
}

std::string batch_text(
    std::uint64_t before,
    std::uint64_t done,
    std::optional<std::uint64_t> left,
    std::chrono::milliseconds spent) {
    const auto ms = std::max<std::int64_t>(spent.count(), 1);
    auto text = fmt::format(
        "{} rows done, {} a second",
        before + done,
        done * 1000 / static_cast<std::uint64_t>(ms));
    if (!left) return text;
    text += fmt::format(", {} left", *left);
    if (done == 0) return text;
    return text + ": about " + duration_text(for_the_rest(done, *left, spent));
}

}  // namespace postern::migrate
