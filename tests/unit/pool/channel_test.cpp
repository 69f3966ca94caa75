// What can be received and has not been is told of, though no event comes any more: bytes that lie
// within TLS, and all that a channel which reports changes only was told of once.

#include "auth/tls.hpp"
#include "pool/poller.hpp"

#include <boost/asio/io_context.hpp>
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

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
    void on_writable() override {
        ++writable;
        if (!goes_on_writing) link->want_write(false);
    }
    channel* link = nullptr;
    std::string heard;
    int writable = 0;
    bool goes_on_writing = false;
    bool ended = false;
};

/// A channel that reports changes only, and its peer.
struct changing {
    changing() {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        peer = ends[1];
        link.emplace(events, ends[0], handler);
        handler.link = &*link;
        link->report_changes_only();
    }
    ~changing() { hang_up(); }
    changing(const changing&) = delete;
    changing& operator=(const changing&) = delete;
    void say(std::string_view bytes) const {
        REQUIRE(::send(peer, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    }
    void hang_up() {
        if (peer >= 0) ::close(std::exchange(peer, -1));
    }
    int run() {
        int turns = 0;
        while (events.run_ready())
            ++turns;
        return turns;
    }
    boost::asio::io_context io;
    poller events{io};
    sipping handler;
    std::optional<channel> link;
    int peer = -1;
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

    TEST_CASE("what was left of what an event told is told of again, and nothing else") {
        changing one;
        const std::string said(1000, 'x');
        one.say(said);
        one.run();
        CHECK(one.handler.heard == said);
        one.say("1234567");  // as many bytes as are taken at once
        one.run();
        CHECK(one.handler.heard == said + "1234567");
        CHECK(one.run() == 0);
        // The event told of both; the first was taken by somebody else.
        one.say("ab");
        char first = 0;
        REQUIRE(one.link->receive(&first, 1).count == 1);
        one.run();
        CHECK(one.handler.heard == said + "1234567b");
    }

    TEST_CASE("the end is told of, together with the last bytes or after them") {
        for (const bool together : {true, false}) {
            CAPTURE(together);
            changing one;
            one.say("123");
            if (!together) one.run();
            one.hang_up();
            one.run();
            CHECK(one.handler.heard == "123");
            CHECK(one.handler.ended);
        }
    }

    TEST_CASE("what comes while nobody wants to read, or was left then, is told of afterwards") {
        changing one;
        one.link->want_read(false);
        one.say("twenty bytes or so ..");
        one.run();
        CHECK(one.handler.heard.empty());
        one.link->want_read(true);
        one.events.run_ready();
        CHECK(one.handler.heard.starts_with("twenty "));
        one.link->want_read(false);
        one.run();
        const auto before = one.handler.heard.size();
        CHECK(before < 21);
        one.link->want_read(true);
        one.run();
        CHECK(one.handler.heard == "twenty bytes or so ..");
    }

    TEST_CASE("a peer that is gone for good is told of even if nobody wants to read") {
        changing one;
        one.link->want_read(false);
        one.say("twenty bytes or so ..");
        one.hang_up();
        one.run();
        CHECK(one.handler.heard == "twenty bytes or so ..");
        CHECK(one.handler.ended);
    }

    TEST_CASE("what one handler was told of and did not take the next one is told of") {
        struct idle final : socket_handler {
            void on_readable() override { ++told; }
            void on_writable() override {}
            int told = 0;
        };
        for (const bool at_rest : {false, true}) {
            CAPTURE(at_rest);
            changing one;
            idle before;
            one.link->set_handler(before, at_rest);
            one.say("bytes and the end");
            one.hang_up();
            one.run();
            CHECK(before.told > 0);
            one.link->set_handler(one.handler);
            one.run();
            CHECK(one.handler.heard == "bytes and the end");
            CHECK(one.handler.ended);
        }
    }

    TEST_CASE("bytes that come together with room to write are told of as well") {
        changing one;
        one.handler.goes_on_writing = true;
        one.link->want_write(true);
        one.say("twenty bytes or so ..");
        one.run();
        CHECK(one.handler.writable > 0);
        CHECK(one.handler.heard == "twenty bytes or so ..");
    }

    TEST_CASE("what comes while no thread polls it is told of where it goes on") {
        changing one;
        one.run();
        one.link->detach();
        one.say("between two threads");
        poller other{one.io};
        one.link->attach(other);
        while (other.run_ready()) {
        }
        CHECK(one.handler.heard == "between two threads");
        one.link.reset();
    }

    TEST_CASE("a channel with TLS can report changes only") {
        pair two;
        two.server->report_changes_only();
        const std::string said(1000, 'x');
        REQUIRE(two.client->send(said).count == said.size());
        two.run();
        CHECK(two.at_server.heard == said);
        two.client->hang_up();
        two.run();
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
