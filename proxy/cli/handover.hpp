// Taking over from a running process, and being taken over.
//
//   successor                     predecessor
//    ── takeover ──────────────────▶
//    ◀─ listeners, descriptors ─────   goes on serving
//    (starts, reads the catalog)
//    ── ready ─────────────────────▶   believes its cache no more
//    ◀─ yours ──────────────────────
//    (accepts clients)
//    ── serving ───────────────────▶   accepts no more, and drains
//    ◀═ cancel, cancelled ═════════▶   until it ends
//
// The listening sockets themselves change hands (SCM_RIGHTS), so the queue of clients who have
// connected and are not accepted yet is one, and is never closed. With SO_REUSEPORT each process
// has a queue of its own, and whoever is in the old one when it closes is lost; and any process of
// the user could join in. Up to "serving" the predecessor serves on whatever becomes of its
// successor.

#pragma once

#include "base/result.hpp"
#include "cli/control.hpp"
#include "session/proxy_server.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::cli {

/// The HTTP listener, as it is configured, for it to be handed over.
struct http_listener {
    std::string address;
    std::uint16_t port = 0;
    int fd = -1;  ///< -1: there is none
};

/// Members are called on the io_context's thread, or while it does not run; relay_cancel()
/// anywhere.
class handover {
public:
    /// Both outlive it. `folder` is runtime_dir.
    handover(boost::asio::io_context& io, session::proxy_server& proxy, std::string folder);

    /// For a process that takes over from nobody: listens for a successor. A failure says that
    /// another process runs with this folder.
    outcome<void> listen();

    struct inheritance {
        std::vector<session::listening_socket> listeners;
        http_listener http;  ///< the descriptor is the caller's
    };
    /// Asks the running process for its sockets. From here on the cache is bypassed, until that
    /// process has ended. Runs the io_context meanwhile, as take() does.
    outcome<inheritance> ask();

    /// Waits until the catalog has been read, limits.takeover_timeout at most.
    outcome<void> await_ready();

    /// Says that this process is ready, and waits until clients may be accepted.
    outcome<void> take();

    /// Clients are accepted: the predecessor drains.
    void serving();

    /// Lets a successor take over from now on. `http` is asked for when one comes; `handed_over` is
    /// called when it serves. While this process stops nobody can take over.
    void allow(std::function<http_listener()> http, std::function<void()> handed_over);

    /// Whether the process that this one took over from has ended, or there was none.
    bool predecessor_gone() const noexcept { return predecessor_ == nullptr; }

    /// See shared_state::relay_cancel.
    void relay_cancel(std::int32_t key, std::string secret, std::function<void()> done);

private:
    using link_ptr = std::shared_ptr<control_link>;
    struct cancel_order {
        link_ptr to;
        std::shared_ptr<std::function<void()>> done;  // shared by those it went to; the last calls
    };

    bool run_until(std::chrono::milliseconds limit, const std::function<bool()>& come);
    void read_listeners(std::string_view text, std::vector<received_fd> fds);
    void on_predecessor(std::string_view text, std::vector<received_fd> fds);
    void on_predecessor_gone();
    std::string_view refusal() const;
    void on_link(const link_ptr& link);
    void on_successor(std::string_view text);
    void on_successor_gone();
    void offer();
    void hear_cancel(const link_ptr& from, std::string_view text);
    void pass_on(
        std::int32_t key,
        const std::string& secret,
        std::function<void()> done,
        const link_ptr& not_to);
    void forget_orders(const link_ptr& gone);

    boost::asio::io_context& io_;
    session::proxy_server& proxy_;
    const std::string folder_;
    std::unique_ptr<control_socket> socket_;

    link_ptr predecessor_;
    std::optional<inheritance> inherited_;
    bool is_ours_ = false;  // the predecessor has said so
    std::string refused_;   // or why not

    link_ptr successor_;
    bool successor_ready_ = false;
    bool handed_over_ = false;
    std::function<http_listener()> http_;
    std::function<void()> on_handed_over_;

    std::uint64_t next_order_ = 1;
    std::map<std::uint64_t, cancel_order> orders_;
};

}  // namespace postern::cli
