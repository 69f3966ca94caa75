#include "catalog/sampler.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "catalog/shadow_run.hpp"
#include "sql/analyzer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace postern::catalog {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds connect_time_max = 10s;
constexpr std::chrono::milliseconds retry_min = 50ms;
constexpr std::chrono::milliseconds retry_max = 2s;

// What of a text is shown, and remembered.
constexpr std::size_t shown_size_max = 512;

// Of complaints that are made once.
constexpr std::size_t complaints_max = 100;

using shape_key = std::pair<std::uint64_t, std::string>;  // fingerprint, role

std::string shown(const std::string& text) {
    auto out = sql::without_values(text);
    if (out.size() <= shown_size_max) return out;
    auto end = shown_size_max;
    while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0U) == 0x80U)
        --end;
    out.resize(end);
    return out + "…";
}

std::string relations_of(const sampled_read& read) {
    return fmt::format(
        "{}{}{}",
        fmt::join(read.unqualified, ", "),
        read.unqualified.empty() || read.qualified.empty() ? "" : ", ",
        fmt::join(read.qualified, ", "));
}

}  // namespace

bool is_drawn(std::uint64_t number, double share) noexcept {
    // splitmix64's mixing: 53 bits of it are a double's.
    auto mixed = (number + 1) * 0x9E3779B97F4A7C15U;
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    mixed ^= mixed >> 31U;
    return static_cast<double>(mixed >> 11U) * 0x1p-53 < share;
}

struct sampler::state {
    explicit state(std::string name)
        : database_name{std::move(name)} {}

    // ---- constant, or the thread's own

    const std::string database_name;
    wakeup stop;  // calls off what is under way
    connection database;
    std::set<std::string> complaints;
    std::chrono::milliseconds retry_after = retry_min;
    bool complained = false;  // of the connection

    // ---- protected by `mutex`, which is held for some instructions only: workers take it

    mutable std::mutex mutex;
    std::condition_variable wake;
    std::optional<sampler_settings> wanted;
    std::uint64_t version = 0;  // of `wanted`
    std::deque<sampled_read> queue;
    std::set<shape_key> known;
    std::map<shape_key, std::uint64_t> dropped;
    bool paused = false;
    bool closing = false;  // the connection is not to be used any more
    bool stopping = false;

    // ---- protected by `rows_mutex`

    mutable std::mutex rows_mutex;
    std::map<shape_key, sampled_shape> rows;

    std::atomic<bool> connected{false};  // or about to be
    std::thread thread;                  // last: it uses all of the above

    void run();
    bool stop_requested() const {
        const std::scoped_lock lock{mutex};
        return stopping;
    }
    std::uint64_t current_version() const {
        const std::scoped_lock lock{mutex};
        return version;
    }
    std::optional<sampled_read> next(std::optional<sampler_settings>& how);
    bool connect(const sampler_settings& how);
    void give_back(sampled_read read);
    void record(const sampled_read& read, const shadow_outcome& what);
    sampled_shape& row_of(const shape_key& key, const sampled_read& read);
    void complain_once(const std::string& words);
    void forget();
};

void sampler::state::run() {
    std::optional<sampler_settings> how;
    std::uint64_t seen = 0;
    while (!stop_requested()) {
        auto read = next(how);
        if (!read) continue;
        const auto used = current_version();
        if (std::exchange(seen, used) != used) complaints.clear();
        if (!database.still_there() && !connect(*how)) {
            give_back(*std::move(read));
            continue;
        }
        auto what = run_both_ways(database, *read, *how, &stop);
        // That a connection has died while it was idle may show only when it is used.
        if (what.never_began && !stop_requested() && connect(*how))
            what = run_both_ways(database, *read, *how, &stop);
        if (!stop_requested() && used == current_version()) record(*read, what);
    }
}

// Waits for a read to run, or for anything else to do; null then.
std::optional<sampled_read> sampler::state::next(std::optional<sampler_settings>& how) {
    std::unique_lock lock{mutex};
    wake.wait(lock, [&] {
        const bool may_run = wanted && !paused && !queue.empty();
        return stopping || may_run || closing || (connected && (paused || !wanted));
    });
    if (closing || paused || !wanted) {
        closing = false;
        database.close();
        connected = false;
    }
    if (stopping || paused || !wanted || queue.empty()) return std::nullopt;
    how = wanted;
    auto read = std::move(queue.front());
    queue.pop_front();
    // Before it is so: who pauses must not miss a connection that is being made.
    connected = true;
    return read;
}

bool sampler::state::connect(const sampler_settings& how) {
    const auto opened = database.open(how.conninfo, connect_time_max, &stop);
    if (opened) {
        retry_after = retry_min;
        if (std::exchange(complained, false)) {
            log::info("shadow: database {}: connected again", database_name);
        }
        return true;
    }
    std::unique_lock lock{mutex};
    if (stopping) return false;
    if (!std::exchange(complained, true)) {
        log::warning("shadow: database {}: {}", database_name, opened.error().message);
    }
    wake.wait_for(lock, retry_after, [&] { return stopping || paused || closing || !wanted; });
    retry_after = std::min(retry_after * 2, retry_max);
    return false;
}

void sampler::state::give_back(sampled_read read) {
    const std::scoped_lock lock{mutex};
    if (wanted && !stopping) queue.push_front(std::move(read));
}

void sampler::state::record(const sampled_read& read, const shadow_outcome& what) {
    using metrics::counter;
    metrics::add(counter::shadow_samples);
    const std::scoped_lock lock{rows_mutex};
    auto& row = row_of({read.fingerprint, read.role}, read);
    ++row.samples;
    row.last_seen = now();
    switch (what.verdict) {
    case shadow_verdict::same:
        metrics::add(counter::shadow_same);
        ++row.same;
        return;
    case shadow_verdict::qualified:
        metrics::add(counter::shadow_qualified);
        ++row.qualified;
        return;
    case shadow_verdict::no_view:
        metrics::add(counter::shadow_no_view);
        ++row.no_view;
        return;
    case shadow_verdict::different: break;
    case shadow_verdict::error:
        metrics::add(counter::shadow_errors);
        ++row.errors;
        row.sqlstate = what.sqlstate;
        row.error = what.error;
        if (what.is_setup) complain_once(fmt::format("{} ({})", what.error, what.sqlstate));
        return;
    }
    metrics::add(counter::shadow_different);
    row.rows_without = what.rows_without;
    row.rows_with = what.rows_with;
    if (row.different++ != 0) return;
    log::warning(
        "shadow: database {}: role {}: will answer differently, {} rows without the policies and "
        "{} with them: {}",
        database_name,
        read.role,
        what.rows_without,
        what.rows_with,
        row.text);
}

// The shape's row; where there are too many, the one that was not seen for longest makes room.
sampled_shape& sampler::state::row_of(const shape_key& key, const sampled_read& read) {
    if (const auto found = rows.find(key); found != rows.end()) return found->second;
    if (rows.size() >= shapes_max) {
        rows.erase(std::ranges::min_element(rows, {}, [](const auto& one) {
            return one.second.last_seen;
        }));
    }
    auto& row = rows[key];
    row.database = database_name;
    row.role = read.role;
    row.text = shown(read.text);
    row.relations = relations_of(read);
    row.fingerprint = read.fingerprint;
    return row;
}

// What stands in the way of all reads of a role.
void sampler::state::complain_once(const std::string& words) {
    if (complaints.size() >= complaints_max || !complaints.insert(words).second) return;
    log::warning("shadow: database {}: {}", database_name, words);
}

// REQUIRES: `mutex` is held.
void sampler::state::forget() {
    queue.clear();
    known.clear();
    dropped.clear();
    const std::scoped_lock lock{rows_mutex};
    rows.clear();
}

sampler::sampler(std::string database)
    : state_{std::make_unique<state>(std::move(database))} {}

sampler::~sampler() {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->stopping = true;
    }
    state_->stop.signal();
    state_->wake.notify_all();
    if (state_->thread.joinable()) state_->thread.join();
}

void sampler::configure(std::optional<sampler_settings> how) {
    auto& own = *state_;
    const std::scoped_lock lock{own.mutex};
    if (own.wanted == how) return;
    if (how && (!own.wanted || own.wanted->schema != how->schema)) own.forget();
    if (!how) own.queue.clear();
    own.closing = own.closing || !how || !own.wanted || own.wanted->conninfo != how->conninfo;
    own.wanted = std::move(how);
    ++own.version;
    share_ = own.wanted ? own.wanted->share : 0;
    on_ = own.wanted.has_value();
    if (own.wanted && !own.thread.joinable()) own.thread = std::thread([&own] { own.run(); });
    own.wake.notify_all();
}

bool sampler::knows(std::uint64_t fingerprint, const std::string& role) const {
    const std::scoped_lock lock{state_->mutex};
    return state_->known.contains({fingerprint, role});
}

bool sampler::offer(sampled_read read) {
    auto& own = *state_;
    bool was_empty = false;
    {
        const std::scoped_lock lock{own.mutex};
        if (!own.wanted) return false;
        shape_key key{read.fingerprint, read.role};
        if (own.queue.size() >= queue_max) {
            metrics::add(metrics::counter::shadow_dropped);
            if (own.dropped.size() < shapes_max || own.dropped.contains(key)) ++own.dropped[key];
            return false;
        }
        // Shapes without end are sampled as if they were new now and then.
        if (own.known.size() >= 4 * shapes_max) own.known.clear();
        own.known.insert(std::move(key));
        was_empty = own.queue.empty();
        own.queue.push_back(std::move(read));
    }
    if (was_empty) own.wake.notify_one();
    return true;
}

std::vector<sampled_shape> sampler::shapes() const {
    std::vector<sampled_shape> out;
    {
        const std::scoped_lock lock{state_->rows_mutex};
        for (const auto& [unused, one] : state_->rows)
            out.push_back(one);
    }
    const std::scoped_lock lock{state_->mutex};
    for (auto& one : out) {
        const auto found = state_->dropped.find({one.fingerprint, one.role});
        if (found != state_->dropped.end()) one.dropped = found->second;
    }
    return out;
}

void sampler::pause() {
    const std::scoped_lock lock{state_->mutex};
    if (std::exchange(state_->paused, true)) return;
    state_->wake.notify_all();
}

void sampler::resume() {
    const std::scoped_lock lock{state_->mutex};
    state_->paused = false;
    state_->wake.notify_all();
}

bool sampler::is_connected() const noexcept {
    return state_->connected;
}

void sampler::reconnect() {
    const std::scoped_lock lock{state_->mutex};
    state_->closing = true;
    state_->wake.notify_all();
}

}  // namespace postern::catalog
