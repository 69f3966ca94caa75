#include "cli/stopping.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <string>
#include <utility>

namespace postern::cli {

using admin::shutdown_mode;

namespace {

/// Between two looks at who is still there.
constexpr std::chrono::milliseconds look_interval{10};
/// For those who were ended: their servers are told to cancel and to roll back.
constexpr std::chrono::milliseconds ending_limit{2000};
constexpr monotonic_ns never = INT64_MAX;

monotonic_ns after(std::chrono::milliseconds time) {
    return now() + std::chrono::nanoseconds{time}.count();
}

/// As it stands in the configuration: 30s, 500ms.
std::string words(std::chrono::milliseconds time) {
    const auto count = time.count();
    return count % 1000 == 0 ? fmt::format("{}s", count / 1000) : fmt::format("{}ms", count);
}

}  // namespace

struct stopper::state {
    enum class phase : std::uint8_t { serving, announced, waiting, draining, ending, ended };

    state(boost::asio::io_context& context, session::proxy_server& whose)
        : io{context}
        , proxy{whose}
        , timer{context} {}

    void announce();
    void wait(monotonic_ns until);
    void drain();
    void end();
    void look();
    void look_again();
    bool all_settled() const;
    void stop_accepting(bool to_another);
    std::size_t clients_left() const;

    boost::asio::io_context& io;
    session::proxy_server& proxy;
    boost::asio::steady_timer timer;
    phase now_in = phase::serving;
    monotonic_ns deadline = never;
    bool accepts = true;
    bool looks = false;                 // the timer runs
    bool patient = true;                // nobody has asked for haste
    std::function<bool()> others_done;  // set once the sockets are another's
};

void stopper::state::announce() {
    const auto delay = proxy.shared().settings()->stop_delay;
    proxy.announce_stop();
    if (delay.count() == 0) return drain();
    log::info("stopping: not ready any more; clients are still accepted for {}", words(delay));
    now_in = phase::announced;
    deadline = after(delay);
    look_again();
}

void stopper::state::stop_accepting(bool to_another) {
    if (!std::exchange(accepts, false)) return;
    proxy.stop_accepting(to_another);
}

void stopper::state::wait(monotonic_ns until) {
    stop_accepting(false);
    now_in = phase::waiting;
    deadline = until;
    log::info(
        "stopping: waiting for {} clients to leave{}",
        clients_left(),
        until == never ? "" : ", at most " + words(proxy.shared().settings()->drain_timeout));
    // Not at once: what has just been accepted for HTTP is still on its way.
    look_again();
}

void stopper::state::drain() {
    stop_accepting(false);
    const auto limit = proxy.shared().settings()->drain_timeout;
    now_in = phase::draining;
    deadline = after(limit);
    proxy.stop_sessions(false);
    const auto left = proxy.clients();
    if (left.busy != 0) {
        log::info(
            "stopping: waiting for {} clients in transactions, at most {}",
            left.busy,
            words(limit));
    }
    look();
}

void stopper::state::end() {
    stop_accepting(false);
    now_in = phase::ending;
    deadline = after(ending_limit);
    if (const auto left = clients_left(); left != 0) {
        log::info("stopping: ending {} clients that are still there", left);
    }
    proxy.stop_sessions(true);
    // Who takes over believes nothing cached while a write of ours may still be under way. Told
    // once more to end at once, it ends all the same.
    if (others_done) deadline = never;
    look();
}

std::size_t stopper::state::clients_left() const {
    const auto counts = proxy.clients();
    return counts.all - counts.on_console;
}

/// Whether nobody's statement can change the database any more.
bool stopper::state::all_settled() const {
    return proxy.clients().all == 0 && proxy.writes_settled() && (!others_done || others_done());
}

void stopper::state::look() {
    const bool late = now() >= deadline;
    switch (now_in) {
    case phase::serving:
    case phase::ended: return;
    case phase::announced:
        if (late) return drain();
        break;
    case phase::waiting:
        if (clients_left() == 0) return end();
        if (late) return drain();
        break;
    case phase::draining:
        if (late || clients_left() == 0) return end();
        break;
    case phase::ending:
        if (late || all_settled()) {
            now_in = phase::ended;
            io.stop();
            return;
        }
        break;
    }
    look_again();
}

void stopper::state::look_again() {
    if (std::exchange(looks, true)) return;
    timer.expires_after(look_interval);
    timer.async_wait([this](const boost::system::error_code& error) {
        looks = false;
        if (!error) look();
    });
}

stopper::stopper(boost::asio::io_context& io, session::proxy_server& proxy)
    : state_{std::make_unique<state>(io, proxy)} {}

stopper::~stopper() = default;

bool stopper::stopping() const noexcept {
    return state_->now_in != state::phase::serving;
}

void stopper::announce() {
    if (!stopping()) return state_->announce();
    // It has been waiting for clients to leave: because another took over, or by SHUTDOWN.
    if (state_->now_in == state::phase::waiting) return state_->drain();
    stop(shutdown_mode::at_once);
}

void stopper::stop(shutdown_mode how) {
    using phase = state::phase;
    auto& self = *state_;
    if (self.now_in == phase::ended) return;
    if (how == shutdown_mode::at_once) {
        // The second time it does not even wait for servers to be told.
        if (self.now_in == phase::ending && !self.patient) self.deadline = 0;
        self.patient = false;
        if (self.now_in != phase::ending) return self.end();
        if (self.deadline == never && !self.others_done) self.deadline = after(ending_limit);
    } else if (how == shutdown_mode::wait_for_servers) {
        if (self.now_in < phase::draining) self.drain();
    } else if (self.now_in < phase::waiting) {
        self.proxy.announce_stop();
        self.wait(never);
    }
}

void stopper::handed_over(std::function<bool()> others_done) {
    auto& self = *state_;
    self.stop_accepting(true);
    // A stop that has begun meanwhile goes on as it is.
    if (stopping()) return;
    self.others_done = std::move(others_done);
    self.wait(after(self.proxy.shared().settings()->drain_timeout));
}

}  // namespace postern::cli
