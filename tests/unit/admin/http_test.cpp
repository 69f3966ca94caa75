// The HTTP server over a real socket on any free port, its io_context run by the test: requests
// written as bytes, answers compared as bytes where they are short.

#include "admin/http.hpp"

#include "admin/made_up_source.hpp"
#include "admin/metrics_text.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <string>
#include <thread>

using namespace postern;
using namespace postern::admin;
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// A server on its own thread; it is stopped on that thread.
class running_server {
public:
    explicit running_server(http_server::settings options = {})
        : server_{io_, std::move(options), source, [this] {
                      return is_ready;
                  }} {
        const auto started = server_.start();
        if (started.has_error()) FAIL(started.error().message);
        thread_ = std::thread{[this] {
            io_.run();
        }};
    }
    ~running_server() {
        asio::post(io_, [this] { server_.stop(); });
        thread_.join();
    }

    tcp::socket connect() {
        tcp::socket socket{client_io_};
        socket.connect(endpoint());
        return socket;
    }
    tcp::endpoint endpoint() const { return {asio::ip::make_address("127.0.0.1"), server_.port()}; }

    /// Sends `request` and reads until the server closes.
    std::string exchange(const std::string& request) {
        auto socket = connect();
        asio::write(socket, asio::buffer(request));
        std::string answer;
        boost::system::error_code end;
        asio::read(socket, asio::dynamic_buffer(answer), end);
        return answer;
    }

    made_up_source source;
    bool is_ready = true;

private:
    asio::io_context io_;
    asio::io_context client_io_;
    http_server server_;
    std::thread thread_;
};

std::string get(const std::string& path) {
    return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
}

std::string status_of(const std::string& answer) {
    return answer.substr(0, answer.find("\r\n"));
}

std::string body_of(const std::string& answer) {
    return answer.substr(answer.find("\r\n\r\n") + 4);
}

std::string one_line(const std::string& text, const std::string& begins) {
    const auto at = text.find("\n" + begins);
    return at == text.npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

}  // namespace

TEST_CASE("health is always good, readiness is asked for") {
    running_server ready;
    CHECK(status_of(ready.exchange(get("/healthz"))) == "HTTP/1.1 200 OK");
    CHECK(body_of(ready.exchange(get("/readyz?from=probe"))) == "ready\n");
    running_server unready;
    unready.is_ready = false;
    CHECK(status_of(unready.exchange(get("/healthz"))) == "HTTP/1.1 200 OK");
    CHECK(status_of(unready.exchange(get("/readyz"))) == "HTTP/1.1 503 Service Unavailable");
}

TEST_CASE("other paths, methods and broken requests are told so") {
    running_server server;
    CHECK(status_of(server.exchange(get("/"))) == "HTTP/1.1 404 Not Found");
    const auto post = server.exchange(
        "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    CHECK(status_of(post) == "HTTP/1.1 405 Method Not Allowed");
    CHECK(post.find("\r\nAllow: GET, HEAD\r\n") != post.npos);
    CHECK(status_of(server.exchange("nonsense\r\n\r\n")) == "HTTP/1.1 400 Bad Request");
}

TEST_CASE("what is too large is refused") {
    running_server server;
    const auto header = "GET / HTTP/1.1\r\nX: " + std::string(9000, 'x') + "\r\n\r\n";
    CHECK(status_of(server.exchange(header)) == "HTTP/1.1 431 Request Header Fields Too Large");
    const auto body = "POST / HTTP/1.1\r\nContent-Length: 4000\r\n\r\n";
    CHECK(status_of(server.exchange(body)) == "HTTP/1.1 413 Payload Too Large");
}

TEST_CASE("a connection serves several requests, and HEAD brings no body") {
    running_server server;
    const auto both = server.exchange(
        "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + get("/healthz"));
    const auto first = both.substr(0, both.find("\r\n\r\n") + 4);
    CHECK(first.find("\r\nContent-Length: 6\r\n") != first.npos);
    CHECK(status_of(both.substr(first.size())) == "HTTP/1.1 200 OK");
    CHECK(body_of(both.substr(first.size())) == "alive\n");
}

TEST_CASE("connections above the limit are closed at once") {
    http_server::settings options;
    options.connections_max = 1;
    running_server server{options};
    auto held = server.connect();
    asio::write(held, asio::buffer(std::string{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"}));
    std::string answer(15, ' ');
    asio::read(held, asio::buffer(answer));
    CHECK(answer == "HTTP/1.1 200 OK");
    CHECK(server.exchange("") == "");
}

TEST_CASE("stopping closes connections that are open and idle") {
    asio::io_context io;
    tcp::socket held{io};
    {
        running_server server;
        held.connect(server.endpoint());
        std::string answer(15, ' ');
        asio::write(held, asio::buffer(std::string{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"}));
        asio::read(held, asio::buffer(answer));
    }
    std::string rest;
    boost::system::error_code end;
    asio::read(held, asio::dynamic_buffer(rest), end);
    CHECK(end == asio::error::eof);
}

TEST_CASE("an address in use is a failure with its reason") {
    made_up_source source;
    asio::io_context io;
    http_server first{io, {}, source, [] {
                          return true;
                      }};
    REQUIRE(first.start().has_value());
    http_server::settings same;
    same.port = first.port();
    http_server second{io, same, source, [] {
                           return true;
                       }};
    const auto started = second.start();
    REQUIRE(started.has_error());
    CHECK(
        started.error().message == "can't listen on 127.0.0.1 port " +
                                       std::to_string(first.port()) +
                                       " for HTTP: Address already in use");
}

TEST_CASE("/metrics is Prometheus' text") {
    running_server server;
    server.source.cache_values.near_bytes = 4096;
    const auto answer = server.exchange(get("/metrics"));
    CHECK(status_of(answer) == "HTTP/1.1 200 OK");
    CHECK(
        answer.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n") !=
        answer.npos);
    CHECK(one_line(answer, "postern_near_bytes ") == "postern_near_bytes 4096");
}

TEST_CASE("counters, reasons, histograms and pools carry their labels") {
    made_up_source source;
    source.pool_rows.push_back(
        {"tracker", "app", 7, 2, 3, 1, 4, 20, std::chrono::milliseconds{1500}});
    source.cache_values.redis_connected = false;
    metrics::values values;
    values.counters[static_cast<std::size_t>(metrics::counter::hits_near)] = 640;
    values.reasons[static_cast<std::size_t>(reason::no_rule)] = 5;
    auto& latency = values.histograms[static_cast<std::size_t>(metrics::histogram::latency_redis)];
    latency.buckets[0] = 1;
    latency.buckets[1] = 2;
    latency.buckets[metrics::bucket_count - 1] = 4;
    latency.sum_ns = 2'500'000'000;
    const auto text = render_metrics(values, source);
    const auto has = [&](const std::string& line) {
        CAPTURE(line);
        CHECK(one_line(text, line.substr(0, line.rfind(' ') + 1)) == line);
    };
    has("postern_hits_near_total 640");
    has("postern_statements_by_reason_total{reason=\"no_rule\"} 5");
    has("postern_statements_by_reason_total{reason=\"hit_near\"} 0");
    has("postern_latency_seconds_bucket{source=\"redis\",le=\"1e-06\"} 1");
    has("postern_latency_seconds_bucket{source=\"redis\",le=\"2e-06\"} 3");
    has("postern_latency_seconds_bucket{source=\"redis\",le=\"+Inf\"} 7");
    has("postern_latency_seconds_count{source=\"redis\"} 7");
    has("postern_latency_seconds_sum{source=\"redis\"} 2.5");
    has("postern_pool_wait_seconds_count 0");
    has("postern_fence_held_seconds_count 0");
    has("postern_pool_clients_waiting{database=\"tracker\",user=\"app\"} 2");
    has("postern_pool_longest_wait_seconds{database=\"tracker\",user=\"app\"} 1.5");
    has("postern_redis_connected 0");
    has("postern_build_info{version=\"1.2.3\"} 1");
    has("# TYPE postern_hits_near_total counter");
}
