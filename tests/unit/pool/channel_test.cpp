// A channel with TLS on it: what TLS has received and nobody has taken yet is told of, though the
// socket has nothing more to say.

#include "auth/tls.hpp"
#include "pool/poller.hpp"

#include <boost/asio/io_context.hpp>
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/socket.h>

namespace postern::pool {
namespace {

/// A self-signed certificate and its key, for as long as this lives.
struct certificate {
    certificate() {
        std::string pattern = std::filesystem::temp_directory_path() / "postern-tls-XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        folder = pattern;
        const auto command =
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
            "-nodes -days 2 -subj /CN=localhost -keyout " +
            key() + " -out " + file() + " 2>/dev/null";
        REQUIRE(std::system(command.c_str()) == 0);
    }
    ~certificate() { std::filesystem::remove_all(folder); }
    certificate(const certificate&) = delete;
    certificate& operator=(const certificate&) = delete;
    std::string file() const { return folder + "/server.crt"; }
    std::string key() const { return folder + "/server.key"; }
    std::string folder;
};

/// Takes a few bytes at each event.
struct sipping final : socket_handler {
    void on_readable() override {
        char some[7];
        const auto got = link->receive(some, sizeof some);
        if (got.state == channel::io_state::done) heard.append(some, got.count);
        ended |= got.state == channel::io_state::closed;
        if (ended) link->close();
    }
    void on_writable() override {}
    channel* link = nullptr;
    std::string heard;
    bool ended = false;
};

/// A server's channel, and a client's that has shaken hands with it.
struct pair {
    pair() {
        // OpenSSL writes with write(2); serve ignores it too.
        std::signal(SIGPIPE, SIG_IGN);
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        server.emplace(events, ends[0], at_server);
        client.emplace(events, ends[1], at_client);
        at_server.link = &*server;
        at_client.link = &*client;
        const auto served = auth::tls_context::towards_clients({own.file(), own.key(), {}});
        const auto trusting = auth::tls_context::towards_servers({});
        REQUIRE(served.has_value());
        REQUIRE(trusting.has_value());
        server->secure(auth::tls_stream::accept(*served, ends[0]));
        client->secure(auth::tls_stream::connect(*trusting, ends[1], "localhost"));
        while (client->handshake().state != channel::io_state::done)
            events.run_ready();
        client->want_write(false);
        run();
    }
    void run() {
        while (events.run_ready()) {
        }
    }
    certificate own;
    boost::asio::io_context io;
    poller events{io};
    sipping at_server;
    sipping at_client;
    std::optional<channel> server;
    std::optional<channel> client;
};

}  // namespace

TEST_SUITE("pool/channel") {
    TEST_CASE("what lies within TLS is told of until it has been taken") {
        pair two;
        const std::string said(1000, 'x');
        REQUIRE(two.client->send(said).count == said.size());
        two.run();
        CHECK(two.at_server.heard == said);
    }

    TEST_CASE("what lies within TLS while nobody wants to read is told of afterwards") {
        pair two;
        REQUIRE(two.client->send("twenty bytes or so ..").count == 21);
        char first = 0;
        REQUIRE(two.server->receive(&first, 1).count == 1);
        two.server->want_read(false);
        two.run();
        CHECK(two.at_server.heard.empty());
        two.server->want_read(true);
        two.run();
        CHECK(two.at_server.heard == "wenty bytes or so ..");
    }

    TEST_CASE("the end behind the last bytes is told of") {
        pair two;
        REQUIRE(two.client->send("1234567").count == 7);
        two.client->hang_up();
        two.run();
        CHECK(two.at_server.heard == "1234567");
        CHECK(two.at_server.ended);
    }

    TEST_CASE("a channel that goes while it is to be told of something is forgotten") {
        pair two;
        REQUIRE(two.client->send("twenty bytes or so ..").count == 21);
        char first = 0;
        REQUIRE(two.server->receive(&first, 1).count == 1);
        two.server.reset();
        two.run();
        CHECK(two.at_server.heard.empty());
    }
}

}  // namespace postern::pool
