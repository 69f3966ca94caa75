#include "admin/http.hpp"

#include "admin/metrics_text.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <fmt/core.h>

#include <list>
#include <unistd.h>
#include <utility>

namespace postern::admin {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

constexpr auto use_tuple = asio::as_tuple(asio::use_awaitable);
/// How long accepting rests when the process is out of descriptors.
constexpr std::chrono::milliseconds accept_pause{100};

using request_parser = http::request_parser<http::string_body>;
using response = http::response<http::string_body>;

std::string_view path_of(const http::request<http::string_body>& request) {
    const std::string_view target{request.target().data(), request.target().size()};
    return target.substr(0, target.find('?'));
}

response answer(http::status status, std::string body) {
    response reply{status, 11};
    reply.set(http::field::content_type, "text/plain; charset=utf-8");
    reply.set(http::field::cache_control, "no-store");
    reply.body() = std::move(body);
    return reply;
}

/// What a request that can't be read is answered with.
http::status status_of(const boost::system::error_code& error) {
    if (error == http::error::header_limit) return http::status::request_header_fields_too_large;
    if (error == http::error::body_limit) return http::status::payload_too_large;
    return http::status::bad_request;
}

}  // namespace

struct http_server::state : std::enable_shared_from_this<http_server::state> {
    state(
        asio::io_context& context,
        settings chosen,
        console_source& what,
        std::function<bool()> is_ready)
        : io{context}
        , acceptor{context}
        , pause{context}
        , options{std::move(chosen)}
        , source{what}
        , ready{std::move(is_ready)} {}

    asio::io_context& io;
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    const settings options;
    console_source& source;
    const std::function<bool()> ready;
    std::uint16_t port = 0;
    bool stopping = false;
    bool handed_over = false;
    std::list<beast::tcp_stream*> streams;  ///< each lives in its coroutine, which takes it out

    response respond(const http::request<http::string_body>& request) const;
    void close_acceptor();
    static asio::awaitable<void> accept(std::shared_ptr<state> self);
    static asio::awaitable<void> serve(std::shared_ptr<state> self, tcp::socket socket);
};

response http_server::state::respond(const http::request<http::string_body>& request) const {
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
        auto reply = answer(http::status::method_not_allowed, "GET and HEAD only\n");
        reply.set(http::field::allow, "GET, HEAD");
        return reply;
    }
    const auto path = path_of(request);
    if (path == "/healthz") return answer(http::status::ok, "alive\n");
    if (path == "/readyz") {
        return ready() ? answer(http::status::ok, "ready\n")
                       : answer(http::status::service_unavailable, "not ready\n");
    }
    if (path == "/metrics") {
        auto reply = answer(http::status::ok, render_metrics(metrics::collect(), source));
        reply.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
        return reply;
    }
    return answer(http::status::not_found, "/metrics, /healthz and /readyz are here\n");
}

/// Released first: merely closed, a descriptor that another process listens on too would stay in
/// our epoll.
void http_server::state::close_acceptor() {
    boost::system::error_code ignored;
    if (acceptor.is_open()) ::close(acceptor.release(ignored));
}

asio::awaitable<void> http_server::state::accept(std::shared_ptr<state> self) {
    while (!self->stopping && !self->handed_over) {
        auto [error, socket] = co_await self->acceptor.async_accept(use_tuple);
        if (self->stopping || error == asio::error::operation_aborted) co_return;
        if (error) {
            self->pause.expires_after(accept_pause);
            co_await self->pause.async_wait(use_tuple);
            continue;
        }
        if (self->streams.size() >= self->options.connections_max) continue;
        asio::co_spawn(self->io, serve(self, std::move(socket)), asio::detached);
    }
}

// A connection: requests one after the other, each within the timeout.
asio::awaitable<void> http_server::state::serve(std::shared_ptr<state> self, tcp::socket socket) {
    beast::tcp_stream stream{std::move(socket)};
    struct registration {
        std::list<beast::tcp_stream*>& all;
        std::list<beast::tcp_stream*>::iterator mine;
        ~registration() { all.erase(mine); }
    };
    const registration registered{
        self->streams,
        self->streams.insert(self->streams.end(), &stream)};
    beast::flat_buffer buffer{self->options.header_bytes_max + self->options.body_bytes_max};
    bool keep_alive = true;
    while (keep_alive && !self->stopping) {
        request_parser parser;
        parser.header_limit(static_cast<std::uint32_t>(self->options.header_bytes_max));
        parser.body_limit(self->options.body_bytes_max);
        stream.expires_after(self->options.timeout);
        const auto [failed, read] = co_await http::async_read(stream, buffer, parser, use_tuple);
        const bool malformed = failed &&
                               failed.category() ==
                                   http::make_error_code(http::error::bad_method).category();
        if (self->stopping || failed == http::error::end_of_stream || (failed && !malformed)) break;

        const auto& request = parser.get();
        auto reply = malformed ? answer(status_of(failed), "") : self->respond(request);
        keep_alive = !malformed && !self->handed_over && request.keep_alive();
        reply.keep_alive(keep_alive);
        reply.prepare_payload();
        // HEAD tells the length of what GET would bring, and brings nothing.
        if (!malformed && request.method() == http::verb::head) reply.body().clear();
        stream.expires_after(self->options.timeout);
        const auto [unsent, written] = co_await http::async_write(stream, reply, use_tuple);
        if (unsent) break;
    }
    boost::system::error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

http_server::http_server(
    asio::io_context& io,
    settings options,
    console_source& source,
    std::function<bool()> ready)
    : state_{std::make_shared<state>(io, std::move(options), source, std::move(ready))} {}

http_server::~http_server() {
    stop();
}

outcome<void> http_server::start(int listening) {
    const auto& options = state_->options;
    const auto failed = [&](const boost::system::error_code& error) {
        return failure{fmt::format(
            "can't listen on {} port {} for HTTP: {}",
            options.address,
            options.port,
            error.message())};
    };
    boost::system::error_code error;
    const auto address = asio::ip::make_address(options.address, error);
    if (error) return failed(error);
    const tcp::endpoint where{address, options.port};
    auto& acceptor = state_->acceptor;
    if (listening >= 0) {
        acceptor.assign(where.protocol(), listening, error);
    } else {
        acceptor.open(where.protocol(), error);
        if (!error) acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
        if (!error) acceptor.bind(where, error);
        if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
        boost::system::error_code ignored;
        acceptor.close(ignored);
        return failed(error);
    }
    state_->port = acceptor.local_endpoint(error).port();
    asio::co_spawn(state_->io, state::accept(state_), asio::detached);
    return {};
}

int http_server::listening_fd() const noexcept {
    return state_->acceptor.is_open() ? state_->acceptor.native_handle() : -1;
}

std::uint16_t http_server::port() const noexcept {
    return state_->port;
}

void http_server::hand_over() {
    state_->handed_over = true;
    state_->close_acceptor();
}

bool http_server::idle() const noexcept {
    return state_->streams.empty();
}

void http_server::stop() {
    if (std::exchange(state_->stopping, true)) return;
    state_->close_acceptor();
    state_->pause.cancel();
    for (auto* stream : state_->streams)
        stream->close();
}

}  // namespace postern::admin
