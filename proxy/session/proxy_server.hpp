// The proxy as a whole: its threads, its listeners, and how it starts, reloads and stops.

#pragma once

#include "base/result.hpp"
#include "session/shared.hpp"
#include "session/worker.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace postern::session {

/// Thread safety: start(), stop() and the destructor on one thread; the rest from any but the
/// workers' own (they wait for those).
class proxy_server {
public:
    proxy_server(
        settings_ptr initial,
        std::optional<cache::redis_settings> redis,
        std::chrono::milliseconds catalog_poll_interval);
    ~proxy_server();
    proxy_server(const proxy_server&) = delete;
    proxy_server& operator=(const proxy_server&) = delete;

    shared_state& shared() noexcept { return shared_; }

    /// Binds every listener, connects the catalogs and starts the threads. A failure names the
    /// address that could not be had.
    outcome<void> start();

    /// Where it listens now, ports filled in.
    const std::vector<listener>& listening() const noexcept { return listening_; }

    /// Takes a new configuration for sessions to come: users, rules, identity, cache on or off.
    /// Listeners, databases, pools and threads stay as they are.
    void reload(settings_ptr fresh);

    /// Drops every entry and makes all that Redis holds unreachable.
    void flush();

    /// True once every database's catalog has been read.
    bool ready() const;

    /// Closes the listening sockets; clients that are there stay.
    void stop_accepting();

    /// Accepts no more; ends idle sessions, waits up to `limit` for the others, then ends those.
    void stop(std::chrono::milliseconds limit);

    /// Runs `task` on every worker and waits for all of them.
    void on_every_worker(const std::function<void(worker&)>& task) const;

private:
    struct acceptor;

    outcome<void> listen(const listener& where);
    void deal_out(int fd, std::string address);
    void start_catalogs();
    void sweep(worker& home);

    shared_state shared_;
    const std::chrono::milliseconds catalog_poll_interval_;
    std::vector<listener> listening_;
    std::vector<std::unique_ptr<acceptor>> acceptors_;
    std::vector<std::thread> threads_;
    struct timers;
    std::vector<std::unique_ptr<timers>> timers_;
    std::size_t next_worker_ = 0;
    bool stopped_ = false;
};

}  // namespace postern::session
