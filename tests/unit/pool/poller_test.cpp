// A thread's loop: tasks, timers, guests, and what is gathered in a round.

#include "pool/poller.hpp"

#include "pool/dial.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <atomic>
#include <functional>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace postern::pool {
namespace {

using namespace std::chrono_literals;

struct loop {
    boost::asio::io_context io;
    poller events{io};
};

/// Two ends of a stream; what the first one hears it answers in two pieces.
struct answering final : socket_handler {
    explicit answering(poller& where) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        peer = ends[1];
        link.emplace(where, ends[0], *this);
    }
    ~answering() { ::close(peer); }
    answering(const answering&) = delete;
    answering& operator=(const answering&) = delete;

    void on_readable() override {
        char some[16];
        CHECK(link->receive(some, sizeof some).state == channel::io_state::done);
        CHECK(link->in_round());
        for (int i = 0; i < 2; ++i) {
            out += "piece ";
            link->flush_soon();
        }
        if (meanwhile) meanwhile();
    }
    void on_writable() override {}
    void on_flush() override {
        ++flushes;
        CHECK(link->send(out).count == out.size());
        out.clear();
    }
    std::string heard() const {
        char some[64];
        const auto count = ::recv(peer, some, sizeof some, MSG_DONTWAIT);
        return {some, static_cast<std::size_t>(count > 0 ? count : 0)};
    }
    void ask() const { REQUIRE(::send(peer, "?", 1, 0) == 1); }

    std::optional<channel> link;
    std::function<void()> meanwhile;
    std::string out;
    int peer = -1;
    int flushes = 0;
};

}  // namespace

TEST_SUITE("pool/poller") {
    TEST_CASE("tasks run in the order in which they were posted, and never at once") {
        loop one;
        std::string order;
        one.events.post([&] {
            order += 'a';
            one.events.post([&] { order += 'c'; });
            order += 'b';
        });
        CHECK(order.empty());
        CHECK(one.events.run_ready());
        CHECK(order == "ab");
        CHECK(one.events.run_ready());
        CHECK(order == "abc");
        CHECK_FALSE(one.events.run_ready());
    }

    TEST_CASE("a task from another thread wakes a loop that sleeps, and the end does") {
        loop one;
        std::atomic<int> calls{0};
        std::thread runs{[&] {
            one.events.run();
        }};
        for (int i = 1; i <= 100; ++i) {
            one.events.post([&] {
                ++calls;
                calls.notify_one();
            });
            calls.wait(i - 1);
        }
        CHECK(calls == 100);
        one.events.stop();
        runs.join();
    }

    TEST_CASE("timers are called when they are due, the earliest first") {
        loop one;
        std::string order;
        timer late{one.events};
        timer early{one.events};
        timer never{one.events};
        late.expires_after(20ms, [&] {
            order += "late ";
            one.events.stop();
        });
        early.expires_after(1ms, [&] { order += "early "; });
        never.expires_after(5ms, [&] { order += "never "; });
        never.cancel();
        one.events.run();
        CHECK(order == "early late ");
    }

    TEST_CASE("a timer can be armed anew, and destroyed, by what it calls") {
        loop one;
        std::optional<timer> repeated{std::in_place, one.events};
        int calls = 0;
        std::function<void()> task = [&] {
            if (++calls < 3) return repeated->expires_after(1ms, task);
            repeated.reset();
            one.events.stop();
        };
        repeated->expires_after(1ms, [] { FAIL("was replaced"); });
        repeated->expires_after(0ms, task);
        one.events.run();
        CHECK(calls == 3);
    }

    TEST_CASE("what was never called goes with the loop, and a timer may outlast it") {
        const auto held = std::make_shared<int>(0);
        std::optional<timer> outlasting;
        {
            loop one;
            outlasting.emplace(one.events);
            outlasting->expires_after(1h, [held] {});
            one.events.post([held] {});
            CHECK(held.use_count() == 3);
        }
        CHECK(held.use_count() == 1);
    }

    TEST_CASE("while Asio has something under way both it and the loop are served") {
        loop one;
        std::optional<poller::guest> staying{std::in_place, one.events};
        boost::asio::steady_timer at_asio{one.io, 2ms};
        answering mine{one.events};
        std::string order;
        at_asio.async_wait([&](const boost::system::error_code& error) {
            CHECK_FALSE(error);
            order += "Asio ";
            mine.ask();
        });
        mine.meanwhile = [&] {
            order += "socket ";
            one.events.post([&] {
                order += "task ";
                staying.reset();
            });
        };
        timer last{one.events};
        std::function<void()> look = [&] {
            if (order.ends_with("task ")) return one.events.stop();
            last.expires_after(1ms, look);
        };
        look();
        one.events.run();
        CHECK(order == "Asio socket task ");
        CHECK(mine.heard() == "piece piece ");
        // Alone again, it sleeps in its own epoll.
        mine.meanwhile = nullptr;
        mine.ask();
        CHECK(one.events.run_ready());
        CHECK(mine.heard() == "piece piece ");
    }

    TEST_CASE("a server is dialled while the loop runs, by its name or its address") {
        const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof name;
        REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&name), size) == 0);
        REQUIRE(::listen(listening, 4) == 0);
        REQUIRE(::getsockname(listening, reinterpret_cast<sockaddr*>(&name), &size) == 0);
        for (const char* host : {"127.0.0.1", "localhost"}) {
            CAPTURE(host);
            loop one;
            upstream where;
            where.host = host;
            where.port = ntohs(name.sin_port);
            const auto alive = std::make_shared<int>(0);
            int connected = -1;
            dial(
                one.events,
                where,
                10s,
                [&](int fd, const std::string& error) {
                    CHECK(error.empty());
                    connected = fd;
                    one.events.stop();
                },
                alive);
            CHECK(connected == -1);
            one.events.run();
            CHECK(connected >= 0);
            ::close(connected);
        }
        ::close(listening);
    }

    TEST_CASE("what is gathered in a round is flushed once, when all have been heard") {
        loop one;
        answering first{one.events};
        answering second{one.events};
        first.ask();
        second.ask();
        const auto nothing_sent_yet = [&] {
            CHECK(first.flushes == 0);
            CHECK(second.flushes == 0);
        };
        first.meanwhile = nothing_sent_yet;
        second.meanwhile = nothing_sent_yet;
        while (one.events.run_ready()) {
        }
        CHECK(first.flushes == 1);
        CHECK(second.flushes == 1);
        CHECK(first.heard() == "piece piece ");
        CHECK(second.heard() == "piece piece ");
    }

    TEST_CASE("one that is closed before the end of its round is not flushed") {
        loop one;
        answering only{one.events};
        only.meanwhile = [&] {
            only.link->close();
        };
        only.ask();
        while (one.events.run_ready()) {
        }
        CHECK(only.flushes == 0);
    }
}

}  // namespace postern::pool
