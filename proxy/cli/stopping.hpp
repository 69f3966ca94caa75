// How the process ends: what it waits for, in which order, and for how long.
//
//   serving ─▶ announced ─▶ draining ─▶ ending ─▶ (the io_context stops)
//        └───▶ waiting ──────┘
//
// announced: /readyz fails, everything else is as before; for balancers to notice (stop_delay).
// waiting:   nobody new is accepted; clients leave when they like.
// draining:  nobody new is accepted; idle clients are ended, the others when they become idle.
// ending:    whoever is left is ended, and what they had on servers is cleaned up.

#pragma once

#include "admin/source.hpp"
#include "session/proxy_server.hpp"

#include <chrono>
#include <functional>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace postern::cli {

/// Every member is called on the io_context's thread, and none of them blocks for long.
class stopper {
public:
    /// Both outlive it. Once all is over it stops `io`.
    stopper(boost::asio::io_context& io, session::proxy_server& proxy);
    ~stopper();
    stopper(const stopper&) = delete;
    stopper& operator=(const stopper&) = delete;

    /// A stop that balancers are told of first: drain after limits.stop_delay. When it waits for
    /// clients to leave: drain. When it is stopping otherwise: it goes on at once without waiting.
    void announce();

    /// Stops without the delay. A stop under way only becomes more urgent, never less.
    void stop(admin::shutdown_mode how);

    /// Another process has taken the listening sockets: clients may stay for limits.drain_timeout,
    /// then they are drained. It ends once `others_done` says so and no statement of its clients
    /// can change the database any more.
    void handed_over(std::function<bool()> others_done);

    /// Whether a stop is under way.
    bool stopping() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace postern::cli
