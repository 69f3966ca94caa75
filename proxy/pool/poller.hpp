// Readiness of thousands of long-lived sockets, inside an io_context.
//
// Asio re-arms its registration with a system call for every wait. Clients and servers of a proxy
// are always waited for, so they are registered once, level-triggered, with an epoll of their own;
// Asio waits for that epoll alone, and a run of events costs it one wake-up. bench/README.md has
// figures.

#pragma once

#include "auth/tls.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace postern::pool {

/// Who is told of a socket's readiness. Both calls may destroy the channel they are called for.
class socket_handler {
public:
    /// Bytes, end of file or an error are there to be received.
    virtual void on_readable() = 0;
    /// Bytes can be sent again; only after channel::want_write(true).
    virtual void on_writable() = 0;

protected:
    ~socket_handler() = default;
};

class channel;

/// One thread's epoll. Thread safety: only on the thread that runs the io_context.
class poller {
public:
    explicit poller(boost::asio::io_context& io);
    ~poller();
    poller(const poller&) = delete;
    poller& operator=(const poller&) = delete;

    boost::asio::io_context& io() noexcept { return io_; }

private:
    friend class channel;
    struct waiter;
    static constexpr int events_per_round = 128;
    /// Bounds the time between two looks at Asio's own queue (timers, posts, Redis).
    static constexpr int events_between_looks = 128;

    /// What channels hold on to: at the process's end some of them go after their poller.
    struct core {
        int epoll = -1;
        std::array<epoll_event, events_per_round> events{};
        int ready = 0;
        int done = 0;
        /// Channels whose TLS may hold bytes that were received already: no event tells of them.
        std::vector<channel*> reminded;
        bool dispatching = false;
        poller* owner = nullptr;  // null once it is gone
        void forget(const channel* gone) noexcept;
        void remind(channel* of);
    };

    void arm();
    void dispatch();
    void dispatch_soon();
    /// Handles the events that are there; how many they were, or less than 1.
    int dispatch_round();
    int dispatch_reminded();

    boost::asio::io_context& io_;
    std::shared_ptr<core> core_ = std::make_shared<core>();
    std::unique_ptr<waiter> waiter_;
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

    /// Whether on_readable is wanted; true at first. Switched off for back-pressure.
    void want_read(bool wanted) noexcept;
    /// Whether on_writable is wanted; false at first.
    void want_write(bool wanted) noexcept;

    /// `at_rest`: nothing is expected of the peer; whatever it says is handled before all else that
    /// has become ready along with it.
    void set_handler(socket_handler& handler, bool at_rest = false) noexcept {
        handler_ = &handler;
        at_rest_ = at_rest;
    }

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
    bool has_more_ = false;          // received by TLS, but not by us
    bool reads_by_writing_ = false;  // TLS has to send before it can go on receiving
};

}  // namespace postern::pool
