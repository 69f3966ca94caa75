#include "pool/dial.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace postern::pool {

namespace asio = boost::asio;

namespace {

/// One attempt: resolve, connect to each address in turn, under one timer.
struct attempt : std::enable_shared_from_this<attempt> {
    attempt(
        poller& on,
        upstream target,
        std::function<void(int, std::string)> callback,
        std::weak_ptr<void> guard)
        : where{std::move(target)}
        , done{std::move(callback)}
        , alive{std::move(guard)}
        , guest{on}
        , resolver{on.io()}
        , socket{on.io()}
        , local{on.io()}
        , timer{on.io()} {}

    void finish(int fd, const std::string& why) {
        if (!done) return;
        const auto callback = std::exchange(done, nullptr);
        timer.cancel();
        if (alive.expired()) {
            if (fd >= 0) ::close(fd);
            return;
        }
        if (fd < 0) {
            callback(
                -1,
                fmt::format("could not connect to server at {}: {}", address_of(where), why));
        } else {
            callback(fd, {});
        }
    }

    void start_timer(std::chrono::milliseconds timeout) {
        timer.expires_after(timeout);
        timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (error) return;
            boost::system::error_code ignored;
            self->resolver.cancel();
            self->socket.close(ignored);
            self->local.close(ignored);
            self->finish(-1, "timeout expired");
        });
    }

    void connect_unix() {
        local.async_connect(
            asio::local::stream_protocol::endpoint{address_of(where)},
            [self = shared_from_this()](const boost::system::error_code& error) {
                if (error) return self->finish(-1, error.message());
                self->finish(self->local.release(), {});
            });
    }

    void connect_tcp() {
        resolver.async_resolve(
            where.host,
            std::to_string(where.port),
            [self = shared_from_this()](const boost::system::error_code& error, auto endpoints) {
                if (error) return self->finish(-1, error.message());
                asio::async_connect(
                    self->socket,
                    endpoints,
                    [self](const boost::system::error_code& failed, const auto&) {
                        if (failed) return self->finish(-1, failed.message());
                        boost::system::error_code ignored;
                        self->socket.set_option(asio::ip::tcp::no_delay{true}, ignored);
                        self->socket.set_option(asio::socket_base::keep_alive{true}, ignored);
                        self->finish(self->socket.release(), {});
                    });
            });
    }

    upstream where;
    std::function<void(int, std::string)> done;
    std::weak_ptr<void> alive;
    poller::guest guest;
    asio::ip::tcp::resolver resolver;
    asio::ip::tcp::socket socket;
    asio::local::stream_protocol::socket local;
    asio::steady_timer timer;
};

}  // namespace

std::string address_of(const upstream& where) {
    if (where.host.starts_with('/')) return fmt::format("{}/.s.PGSQL.{}", where.host, where.port);
    return fmt::format("{}:{}", where.host, where.port);
}

void dial(
    poller& on,
    const upstream& where,
    std::chrono::milliseconds timeout,
    std::function<void(int fd, std::string error)> done,
    std::weak_ptr<void> alive) {
    auto one = std::make_shared<attempt>(on, where, std::move(done), std::move(alive));
    one->start_timer(timeout);
    if (where.host.starts_with('/')) {
        one->connect_unix();
    } else {
        one->connect_tcp();
    }
}

}  // namespace postern::pool
