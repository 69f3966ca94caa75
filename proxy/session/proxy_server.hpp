// The proxy as a whole: its threads, its listeners, and how it starts, reloads and stops.

#pragma once

#include "base/result.hpp"
#include "session/listening.hpp"
#include "session/shared.hpp"
#include "session/worker.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace postern::session {

/// Thread safety: all that starts, stops or bypasses, and the destructor, on one thread; the rest
/// from any but the workers' own (they wait for those).
class proxy_server {
public:
    proxy_server(
        settings_ptr initial,
        std::optional<cache::redis_settings> redis,
        std::chrono::milliseconds catalog_poll_interval);
    ~proxy_server();  ///< stops
    proxy_server(const proxy_server&) = delete;
    proxy_server& operator=(const proxy_server&) = delete;

    shared_state& shared() noexcept { return shared_; }

    /// Binds every listener, or takes its socket from `handed`; connects the catalogs and starts
    /// the threads. Nobody is accepted yet. A failure names the address that could not be had.
    outcome<void> start(std::vector<listening_socket> handed = {});

    /// Begins to accept clients. Those who came since start() are waiting in the sockets' queues.
    void accept();

    /// Where it listens now, ports filled in.
    std::vector<listener> listening() const;
    /// To be handed over; valid until stop_accepting().
    const std::vector<listening_socket>& sockets() const noexcept { return sockets_; }

    /// Takes a new configuration for sessions to come: users, rules, identity, cache on or off.
    /// Listeners, databases, pools and threads stay as they are.
    void reload(settings_ptr fresh);

    /// Drops every entry and makes all that Redis holds unreachable.
    void flush();

    /// From here on nothing is answered from the cache nor kept in it, until believe_cache() has
    /// been called as often: while another process writes of which this one is not told.
    void bypass_cache();
    void believe_cache();

    /// Whether no statement that was sent can still change the database unseen.
    bool writes_settled() const noexcept;

    /// True once every database's catalog has been read, and until it stops.
    bool ready() const;

    /// Not ready any more, but serving as before.
    void announce_stop() noexcept { shared_.stopping = true; }

    /// Closes the listening sockets. Whoever waits in their queues is told that this is shutting
    /// down; `handed_over`: another process has the sockets and takes who waits.
    void stop_accepting(bool handed_over);

    /// Ends sessions that are idle (no transaction, nothing pinned) now and the others as they
    /// become so, or all of them `at_once`. The console's are ended at once only.
    void stop_sessions(bool at_once);

    using client_counts = worker::counts;
    client_counts clients() const;

    /// Ends everything that is left: sessions, servers, threads. Idempotent.
    void stop();

    /// Runs `task` on every worker and waits for all of them.
    void on_every_worker(const std::function<void(worker&)>& task) const;

private:
    struct acceptor;

    void deal_out(int fd, std::string address);
    static void turn_away(int fd, std::string_view sqlstate, std::string_view message);
    void start_catalogs();
    void sweep(worker& home);

    shared_state shared_;
    const std::chrono::milliseconds catalog_poll_interval_;
    coherence::fence bypass_;  // on everything
    unsigned bypasses_ = 0;
    std::vector<listening_socket> sockets_;
    // The first worker's own:
    std::vector<std::unique_ptr<acceptor>> acceptors_;
    bool refuses_ = false;
    std::size_t next_worker_ = 0;

    std::vector<std::thread> threads_;
    struct timers;
    std::vector<std::unique_ptr<timers>> timers_;
    bool stopped_ = false;
};

}  // namespace postern::session
