// HTTP for whoever watches: GET /metrics, /healthz (200 while the process lives) and /readyz (200
// while clients can be served, else 503).

#pragma once

#include "admin/source.hpp"
#include "base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace boost::asio {
class io_context;
}

namespace postern::admin {

/// Runs on one io_context; every member is called on its thread, or while it does not run.
class http_server {
public:
    struct settings {
        std::string address = "127.0.0.1";
        std::uint16_t port = 0;               ///< 0: any free one, see port()
        std::size_t connections_max = 64;     ///< more are closed at once
        std::size_t header_bytes_max = 8192;  ///< of one request; as most servers have it
        std::size_t body_bytes_max = 1024;    ///< nothing here takes a body
        std::chrono::milliseconds timeout{
            10000};  ///< for a request to come and for its answer to go
    };

    /// `source` and what `ready` uses outlive the server.
    http_server(
        boost::asio::io_context& io,
        settings options,
        console_source& source,
        std::function<bool()> ready);
    ~http_server();  ///< stops
    http_server(const http_server&) = delete;
    http_server& operator=(const http_server&) = delete;

    /// Binds, or takes `listening`, which listens already, and begins to accept. A failure says
    /// what can't be listened on and why.
    outcome<void> start(int listening = -1);

    /// The listening descriptor, to be handed to another process; -1 when it does not listen.
    int listening_fd() const noexcept;

    /// Another process listens on the same socket from now on: accepts no more. Who is connected is
    /// answered once more.
    void hand_over();

    /// Whether nobody is connected.
    bool idle() const noexcept;

    /// The port bound; 0 before start().
    std::uint16_t port() const noexcept;

    /// Stops listening and closes every connection. Idempotent.
    void stop();

private:
    struct state;
    std::shared_ptr<state> state_;
};

}  // namespace postern::admin
