#include "catalog/watcher.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "catalog/connection.hpp"
#include "catalog/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <poll.h>
#include <thread>
#include <utility>

namespace postern::catalog {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds retry_min = 50ms;
constexpr std::chrono::milliseconds retry_max = 2s;
constexpr std::chrono::milliseconds backend_poll_interval = 20ms;
constexpr std::chrono::milliseconds query_time_max = 10s;

std::atomic<std::uint64_t> last_generation{0};

// Somebody who waits for a backend to be gone.
struct waiter {
    std::int32_t pid = 0;
    std::function<void()> done;
    std::string started_at;  // of the server, when the wait began; empty: not known yet
    bool terminated = false;
};

}  // namespace

struct watcher::state {
    state(
        watcher_settings given,
        std::function<void()> on_change,
        std::function<void()> on_published)
        : settings(std::move(given))
        , changed(std::move(on_change))
        , was_published(std::move(on_published)) {}

    // ---- constant after construction, or the thread's own

    watcher_settings settings;  // but for `vouched` and `identity_variables`: see below
    std::function<void()> changed;
    std::function<void()> was_published;  // may be empty
    wakeup wake;                          // something is asked for: ends the sleep
    wakeup stop;                          // calls off whatever is under way
    connection database;
    std::vector<waiter> waiters;
    std::string content;  // fingerprint and identity of `newest`
    snapshot_ptr newest;  // what was loaded last, believed or not
    std::uint64_t newest_settings = 0;
    std::uint64_t announced = 0;  // generation of which `changed` was told last
    bool complained = false;
    std::chrono::milliseconds retry_after = retry_min;
    clock::time_point retry_at{};
    clock::time_point poll_at{};
    clock::time_point look_at{};

    // ---- protected by `mutex`

    mutable std::mutex mutex;
    snapshot_ptr published;
    bool stopping = false;
    bool paused = false;
    bool reconnecting = false;
    std::uint64_t wanted = 1;  // counts requests for a load
    std::uint64_t served = 0;  // the newest request that a load has followed
    std::uint64_t settings_version = 0;
    std::vector<waiter> new_waiters;

    std::atomic<std::uint64_t> moves{0};
    std::atomic<bool> connected{false};  // or about to be
    std::thread thread;                  // last: it uses all of the above

    void run();
    bool stop_requested() const {
        const std::lock_guard lock(mutex);
        return stopping;
    }
    bool load_wanted() const {
        const std::lock_guard lock(mutex);
        return wanted != served;
    }
    void work();
    bool may_connect();
    void connect();
    void renew();
    void poll_for_change();
    void look_for_backends();
    void take_waiters();
    void sleep();
    void failed(const failure& error);
    void withdraw();
    void keep(loaded fresh, std::uint64_t request, std::uint64_t settings_used);
    clock::time_point next_due() const;
    std::string describe(const std::string& fingerprint, const server_identity& identity) const {
        return fmt::format(
            "{} {} {} {}",
            fingerprint,
            identity.system_identifier,
            identity.timeline,
            identity.started_at);
    }
};

void watcher::state::run() {
    while (!stop_requested()) {
        work();
        sleep();
    }
    take_waiters();
    for (auto& one : waiters)
        one.done();
}

// One round: whatever is due, once.
void watcher::state::work() {
    wake.clear();
    if (stop_requested()) return;
    take_waiters();
    if (!may_connect()) return;
    if (database.is_open() && !database.still_there()) failed({"the server has gone away"});
    if (clock::now() < retry_at) return;
    if (!database.is_open()) connect();
    if (database.is_open() && load_wanted()) renew();
    if (database.is_open() && !waiters.empty() && clock::now() >= look_at) look_for_backends();
    if (database.is_open() && clock::now() >= poll_at) poll_for_change();
}

// False: it is to have no connection now, and has none.
bool watcher::state::may_connect() {
    bool close = false;
    bool is_paused = false;
    {
        const std::lock_guard lock(mutex);
        is_paused = paused;
        close = std::exchange(reconnecting, false) || is_paused;
        // Before it is so: who pauses must not miss a connection that is being made.
        if (!is_paused) connected = true;
    }
    if (close) {
        database.close();
        if (is_paused) connected = false;
        withdraw();
        // What keeps it from connecting now need not keep it from it later.
        retry_at = {};
        retry_after = retry_min;
    }
    return !is_paused;
}

void watcher::state::connect() {
    if (const auto opened = open_session(database, settings.conninfo, &stop); !opened) {
        return failed(opened.error());
    }
    // What changed while nobody looked is found by a load.
    const std::lock_guard lock(mutex);
    if (served == wanted) ++wanted;
}

void watcher::state::renew() {
    std::uint64_t request = 0;
    {
        const std::lock_guard lock(mutex);
        request = wanted;
    }
    auto fresh = read_catalog(database, &stop);
    if (!fresh) return failed(fresh.error());
    metrics::add(metrics::counter::catalog_reloads);
    poll_at = clock::now() + settings.poll_interval;
    retry_after = retry_min;
    if (std::exchange(complained, false)) log::info("catalog: reading again");
    std::uint64_t settings_used = 0;
    {
        const std::lock_guard lock(mutex);
        fresh->data.vouched = settings.vouched;
        fresh->data.identity_variables = settings.identity_variables;
        settings_used = settings_version;
    }
    keep(std::move(*fresh), request, settings_used);
}

// Puts what was read in place, unless it was overtaken by another request; then the next round
// reads again.
void watcher::state::keep(loaded fresh, std::uint64_t request, std::uint64_t settings_used) {
    auto described = describe(
        fresh.fingerprint,
        {fresh.data.system_identifier, fresh.data.timeline, fresh.data.started_at});
    const bool differs = newest == nullptr || described != content ||
                         settings_used != newest_settings;
    if (differs) {
        newest = std::make_shared<const snapshot>(std::move(fresh.data), ++last_generation);
        content = std::move(described);
        newest_settings = settings_used;
    }
    // First the word that everything older is void, then the snapshot: were it the other way round,
    // an answer from before the change could be served for a moment after one from behind it.
    if (std::exchange(announced, newest->generation()) != newest->generation()) changed();
    {
        const std::lock_guard lock(mutex);
        served = request;
        if (wanted != request) return;
        published = newest;
        moves.fetch_add(1, std::memory_order_release);
    }
    if (was_published) was_published();
}

void watcher::state::poll_for_change() {
    poll_at = clock::now() + settings.poll_interval;
    const auto identity = read_identity(database, &stop);
    if (!identity) return failed(identity.error());
    const auto fingerprint = read_fingerprint(database, &stop);
    if (!fingerprint) return failed(fingerprint.error());
    if (describe(*fingerprint, *identity) == content) return;
    withdraw();
    renew();
}

// A backend may outlive the connection that watches it, so only the server's own word counts: it
// does not list the pid, or it has been restarted since.
void watcher::state::look_for_backends() {
    look_at = clock::now() + backend_poll_interval;
    const auto listed = database.query(
        "SELECT pg_postmaster_start_time()::text, pid::text FROM pg_stat_activity",
        query_time_max,
        &stop);
    if (!listed) return failed(listed.error());
    if (listed->empty()) return;
    const auto is_listed = [&](std::int32_t pid) {
        const auto text = std::to_string(pid);
        return std::any_of(listed->begin(), listed->end(), [&](const auto& row) {
            return row[1] == text;
        });
    };
    std::vector<std::function<void()>> ready;
    for (auto& one : waiters) {
        const auto& started_at = listed->front()[0];
        if (one.started_at.empty()) one.started_at = started_at;
        if (one.started_at != started_at || !is_listed(one.pid)) {
            ready.push_back(std::exchange(one.done, nullptr));
        } else if (!std::exchange(one.terminated, true)) {
            // Refused to ordinary roles; then its own end is waited for.
            static_cast<void>(database.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid = $1::int AND backend_type IN ('client backend', 'walsender')",
                query_time_max,
                &stop,
                {std::to_string(one.pid)}));
        }
    }
    std::erase_if(waiters, [](const waiter& one) { return one.done == nullptr; });
    for (auto& done : ready)
        done();
}

void watcher::state::take_waiters() {
    const std::lock_guard lock(mutex);
    for (auto& one : new_waiters) {
        if (newest != nullptr) one.started_at = newest->data().started_at;
        waiters.push_back(std::move(one));
    }
    new_waiters.clear();
}

void watcher::state::failed(const failure& error) {
    if (stop_requested()) return;
    if (!std::exchange(complained, true)) {
        log::warning("catalog: {}", error.message);
    } else {
        log::debug("catalog: {}", error.message);
    }
    withdraw();
    retry_at = clock::now() + retry_after;
    retry_after = std::min(retry_after * 2, retry_max);
}

// Until the next load nothing is known.
void watcher::state::withdraw() {
    const std::lock_guard lock(mutex);
    ++wanted;
    published = nullptr;
    moves.fetch_add(1, std::memory_order_release);
}

clock::time_point watcher::state::next_due() const {
    {
        const std::lock_guard lock(mutex);
        if (paused) return clock::time_point::max();
    }
    if (!database.is_open() || load_wanted()) return retry_at;
    const auto next = waiters.empty() ? poll_at : std::min(poll_at, look_at);
    return std::max(next, retry_at);
}

void watcher::state::sleep() {
    constexpr auto nap_max = 60s;
    const auto left = std::min<clock::duration>(next_due() - clock::now(), nap_max);
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    std::array<pollfd, 2> watched{
        {{wake.descriptor(), POLLIN, 0}, {database.descriptor(), POLLIN, 0}}};
    ::poll(
        watched.data(),
        watched.size(),
        static_cast<int>(std::max<std::int64_t>(milliseconds, 0)));
}

watcher::watcher(
    watcher_settings settings,
    std::function<void()> on_change,
    std::function<void()> on_published)
    : state_(std::make_unique<state>(
          std::move(settings),
          std::move(on_change),
          std::move(on_published))) {
    state_->thread = std::thread([shared = state_.get()] { shared->run(); });
}

watcher::~watcher() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->stop.signal();
    state_->wake.signal();
    state_->thread.join();
}

snapshot_ptr watcher::current() const {
    const std::lock_guard lock(state_->mutex);
    return state_->published;
}

std::uint64_t watcher::epoch() const noexcept {
    return state_->moves.load(std::memory_order_relaxed);
}

void watcher::invalidate() {
    state_->withdraw();
    state_->wake.signal();
}

void watcher::when_backend_gone(std::int32_t pid, std::function<void()> done) {
    {
        const std::lock_guard lock(state_->mutex);
        state_->new_waiters.push_back({pid, std::move(done), {}, false});
    }
    state_->wake.signal();
}

void watcher::pause() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->paused = true;
    }
    state_->wake.signal();
}

void watcher::resume() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->paused = false;
    }
    state_->wake.signal();
}

bool watcher::is_paused() const {
    const std::lock_guard lock(state_->mutex);
    return state_->paused;
}

bool watcher::is_connected() const noexcept {
    return state_->connected;
}

void watcher::reconnect() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->reconnecting = true;
    }
    state_->withdraw();
    state_->wake.signal();
}

void watcher::set_vouched(
    std::vector<vouched_function> vouched,
    std::vector<std::string> identity_variables) {
    {
        const std::lock_guard lock(state_->mutex);
        state_->settings.vouched = std::move(vouched);
        state_->settings.identity_variables = std::move(identity_variables);
        ++state_->settings_version;
    }
    // What is resolved under the old settings must not be kept beside what is under the new.
    invalidate();
}

}  // namespace postern::catalog
