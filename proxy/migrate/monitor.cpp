#include "migrate/monitor.hpp"

#include "migrate/progress.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace postern::migrate {

namespace {

using std::chrono::milliseconds;

// Early enough to see who blocks before even a short lock_timeout has passed.
constexpr milliseconds look_after{100};
constexpr milliseconds look_again{1000};
constexpr milliseconds speak_again{2000};

std::uint64_t number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

monitor::monitor(std::string conninfo, int backend_pid, speaker say)
    : conninfo_(std::move(conninfo))
    , pid_(fmt::to_string(backend_pid))
    , say_(std::move(say)) {}

void monitor::look(milliseconds running) {
    if (running.count() == 0) {  // a new statement
        looked_ = spoken_ = milliseconds(0);
        phase_.clear();
    }
    const bool first = looked_.count() == 0;
    if (failed_ || running < (first ? look_after : looked_ + look_again)) return;
    looked_ = running;
    if (!link_) {
        auto made = server::connect(conninfo_);
        failed_ = made.has_error();
        if (failed_) return;
        link_ = std::move(made).value();
    }
    look_at_blockers();
    look_at_index_build(running);
    if (link_->is_lost()) link_.reset();
}

void monitor::look_at_blockers() {
    auto found = link_->value(fmt::format(
        "SELECT string_agg(format('pid %s (%s as %s, %s for %s s: %s)', pid, "
        "coalesce(nullif(application_name, ''), 'a client'), usename, state, "
        "extract(epoch FROM clock_timestamp() - state_change)::int, "
        "left(regexp_replace(query, '\\s+', ' ', 'g'), 60)), ', ') "
        "FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids({}))",
        pid_));
    if (found.has_value()) blockers_ = std::move(found).value();
}

void monitor::look_at_index_build(milliseconds running) {
    if (running < spoken_ + speak_again) return;
    spoken_ = running;
    const auto found = link_->run(fmt::format(
        "SELECT phase, greatest(blocks_done, tuples_done, lockers_done, partitions_done), "
        "greatest(blocks_total, tuples_total, lockers_total, partitions_total) "
        "FROM pg_stat_progress_create_index WHERE pid = {}",
        pid_));
    if (found.has_error()) return;
    if (found.value().rows.empty()) {
        if (!blockers_.empty()) say_(fmt::format("waiting for {}", blockers_));
        return;
    }
    const auto& fields = found.value().rows.front();
    if (fields[0] != phase_) {
        phase_ = fields[0];
        phase_since_ = running;
    }
    const auto share = share_text(number(fields[1]), number(fields[2]), running - phase_since_);
    say_(fmt::format("{}{}{}", phase_, share.empty() ? "" : ": ", share));
}

std::string monitor::take_blockers() {
    return std::exchange(blockers_, {});
}

}  // namespace postern::migrate
