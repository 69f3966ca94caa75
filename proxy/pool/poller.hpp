// A thread's loop: the readiness of thousands of long-lived sockets, tasks from other threads,
// timers.
//
// Asio re-arms its registration with a system call for every wait, and its loop around an epoll of
// ours cost three more for every wake-up. Clients and servers of a proxy are always waited for:
// they are registered once, and the thread sleeps in that epoll itself. What still needs Asio
// (names to be resolved and addresses tried in turn, Redis) is a guest: while there is one, Asio
// does the sleeping and this epoll is one of the descriptors it waits for. bench/README.md has
// figures.

#pragma once

#include "auth/tls.hpp"
#include "base/clock.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <thread>
#include <utility>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace postern::pool {

/// Who is told of a socket's readiness. Any call may destroy the channel it is made for.
class socket_handler {
public:
    /// Bytes, end of file or an error are there to be received.
    virtual void on_readable() = 0;
    /// Bytes can be sent again; only after channel::want_write(true).
    virtual void on_writable() = 0;
    /// What was asked for by channel::flush_soon().
    virtual void on_flush() { on_writable(); }

protected:
    ~socket_handler() = default;
};

class channel;
class timer;

/// One thread's loop. Thread safety: post() and stop() from anywhere; all else on the thread that
/// runs it, or while none does.
class poller {
public:
    /// `guests`: what Asio's work is started with; run by this loop alone.
    explicit poller(boost::asio::io_context& guests);
    ~poller();
    poller(const poller&) = delete;
    poller& operator=(const poller&) = delete;

    /// Handles what comes, until stop().
    void run();
    void stop();
    /// Handles what is there and returns; whether there was anything. For tests.
    bool run_ready();

    /// `task` is called on the loop's thread, never from within this call; destroyed uncalled when
    /// the loop goes first.
    void post(std::function<void()> task);

    /// When the events, tasks or timers came that are being handled now; in a guest's handler, when
    /// the loop last looked for events. No later than now(), and without asking the clock once
    /// more.
    monotonic_ns round_began_at() const noexcept { return core_->round_began_at; }

    /// For guests: what is begun there is waited for as long as a `guest` exists.
    boost::asio::io_context& io() noexcept { return io_; }

private:
    struct core;

public:
    /// Somebody has something under way in io().
    class guest {
    public:
        explicit guest(poller& host);
        ~guest();
        guest(const guest&) = delete;
        guest& operator=(const guest&) = delete;

    private:
        std::shared_ptr<core> core_;
    };

private:
    friend class channel;
    friend class timer;
    struct waiter;
    static constexpr int events_per_round = 128;
    /// Bounds the time between two looks at tasks, timers and Asio.
    static constexpr int events_between_looks = 128;
    /// Bounds how long what the first of a round has composed waits for the others.
    static constexpr int events_between_flushes = 32;

    /// What channels and timers hold on to: at the process's end some of them go after their
    /// poller.
    struct core {
        core();
        ~core();
        core(const core&) = delete;
        core& operator=(const core&) = delete;

        int epoll;
        int wakes;  // an eventfd: something was posted, or the end
        std::array<epoll_event, events_per_round> events{};
        int ready = 0;
        int done = 0;
        /// Channels that may have more to be received, of which no event tells: in their TLS, or
        /// because they were told of it already.
        std::vector<channel*> reminded;
        /// Those that have gathered something to be sent.
        std::vector<channel*> gathering;
        bool dispatching = false;
        monotonic_ns round_began_at = now();
        bool closed = false;  // its poller is gone
        int guests = 0;
        std::set<std::pair<monotonic_ns, timer*>> timers;  // by when they are due
        std::atomic<std::thread::id> thread{};             // that runs it
        std::atomic<bool> stopped{false};

        std::mutex mutex;  // guards what follows
        std::vector<std::function<void()>> tasks;
        std::atomic<bool> has_tasks{false};

        bool is_ours() const noexcept;
        void wake() const noexcept;
        void forget(const channel* gone) noexcept;
        void remind(channel* of);
    };

    bool turn(bool may_sleep);
    bool run_tasks();
    bool fire_timers();
    /// Milliseconds until there is something to do that no event tells of; -1: never.
    int sleep_limit() const;
    int dispatch(int timeout_ms);
    bool host(int timeout_ms);
    void leave_asio();
    /// Handles the events that are there, or the first that come; how many they were, or less than
    /// 1.
    int dispatch_round(int timeout_ms);
    int dispatch_reminded();
    void dispatch_event(channel& target, std::uint32_t events);
    void flush();

    boost::asio::io_context& io_;
    std::shared_ptr<core> core_ = std::make_shared<core>();
    std::unique_ptr<waiter> waiter_;
    std::vector<std::function<void()>> running_tasks_;
};

/// Calls once, later, on its poller's thread. Thread safety: only there.
class timer {
public:
    explicit timer(poller& where)
        : core_{where.core_} {}
    ~timer() { cancel(); }
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    /// In the place of what was to be called before. The task may destroy the timer.
    void expires_after(std::chrono::nanoseconds wait, std::function<void()> task);
    void cancel() noexcept;

private:
    friend class poller;
    std::shared_ptr<poller::core> core_;
    monotonic_ns due_ = 0;
    std::function<void()> task_;  // empty: not armed
};

/// A connected, non-blocking stream socket, registered with a poller, owned; with TLS on it or not,
/// which those who receive and send need not know.
///
/// Nothing here throws or blocks. After close() all calls but the destructor do nothing.
class channel {
public:
    enum class io_state : std::uint8_t { done, would_block, closed };
    struct io_result {
        io_state state;
        std::size_t count = 0;
    };

    /// Takes `fd`; makes it non-blocking. Events go to `handler`, which outlives its registration.
    channel(poller& where, int fd, socket_handler& handler);
    ~channel();
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;

    /// Receives what is there, up to `size` bytes.
    io_result receive(char* into, std::size_t size) noexcept;
    /// Sends as much as the socket takes at once.
    io_result send(std::string_view bytes) noexcept;

    /// Everything from now on is TLS. REQUIRES: no byte of it has been received yet.
    void secure(std::unique_ptr<auth::tls_stream> by) noexcept { tls_ = std::move(by); }
    /// Null: none.
    const auth::tls_stream* tls() const noexcept { return tls_.get(); }
    /// Of the side that connected, before anything is sent. would_block: again when on_readable or
    /// on_writable is called.
    io_result handshake() noexcept;
    /// The first byte that has come, which stays there; 0 when none has.
    char peek() const noexcept;

    /// Whether events are being handled just now: what is composed meanwhile for several peers, or
    /// in several pieces for one, had better be gathered and sent when all have been heard. A peer
    /// that is woken in between answers at once, and its answer wakes us for itself alone.
    bool in_round() const noexcept { return core_ != nullptr && core_->dispatching; }
    /// on_flush is called once, soon after the events that are being handled. REQUIRES: in_round().
    void flush_soon();

    /// Whether on_readable is wanted; true at first. Switched off for back-pressure.
    void want_read(bool wanted) noexcept;
    /// Whether on_writable is wanted; false at first.
    void want_write(bool wanted) noexcept;
    bool wants_write() const noexcept { return (interest_ & EPOLLOUT) != 0; }

    /// `at_rest`: nothing is expected of the peer; whatever it says is handled before all else that
    /// has become ready along with it.
    void set_handler(socket_handler& handler, bool at_rest = false) noexcept;

    /// From now on an event tells of what has come since the last one, and not of what is still
    /// there, for which the kernel looks at the socket once more after each. Whoever is told need
    /// not receive more than once nevertheless: what is left is told of again.
    void report_changes_only() noexcept;

    /// Ends events on this thread; attach() continues them on another. In between no thread polls
    /// it.
    void detach() noexcept;
    void attach(poller& where) noexcept;

    void close() noexcept;
    /// Closes after reading what has already come: unread bytes would make the kernel reset the
    /// connection, and the peer lose what was sent to it last.
    void hang_up() noexcept;
    bool is_open() const noexcept { return fd_ >= 0; }
    int fd() const noexcept { return fd_; }
    /// Our end's name: "127.0.0.1:6432", "[::1]:6432" or "unix"; empty when it is closed.
    std::string local_address() const;

private:
    friend class poller;
    void update(std::uint32_t wanted) noexcept;
    std::uint32_t events_wanted() const noexcept;
    void note_edge(std::uint32_t events) noexcept;
    void tell_again() noexcept;
    void register_interest() noexcept;
    io_result receive_secured(char* into, std::size_t size) noexcept;
    io_result send_secured(std::string_view bytes) noexcept;
    void needs_write_to_read(bool needed) noexcept;

    std::shared_ptr<poller::core> core_;  // null: polled by nobody
    int fd_;
    socket_handler* handler_;
    std::uint32_t interest_ = 0;
    std::unique_ptr<auth::tls_stream> tls_;
    bool at_rest_ = false;
    bool flushes_soon_ = false;
    bool has_more_ = false;   // to be received, without an event that would tell
    bool edges_ = false;      // see report_changes_only()
    bool has_ended_ = false;  // as an event told: what is left can be received without one
    bool is_gone_ = false;    // in both directions: that is told even if nobody wants to read
    bool reads_by_writing_ = false;  // TLS has to send before it can go on receiving
};

}  // namespace postern::pool
