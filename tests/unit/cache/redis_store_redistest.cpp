// The Redis store against a real redis-server: private, on a Unix socket in a temporary folder (one
// test: on a loopback port), ended by its own pid. Whatever is done to the server, every look-up is
// answered once and nothing blocks.

#include "base/metrics.hpp"
#include "cache/redis_store.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <doctest/doctest.h>
#include <hiredis/hiredis.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace postern;
using namespace postern::cache;
using namespace std::chrono_literals;

namespace {

/// Long enough for the slowest machine; nothing waits for it when all is well.
constexpr auto patience = 20s;

class redis_server {
public:
    explicit redis_server(std::vector<std::string> options = {})
        : options_{std::move(options)} {
        std::string name =
            (std::filesystem::temp_directory_path() / "postern-redis-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        folder_ = name;
        start();
    }
    ~redis_server() {
        stop(SIGKILL);
        std::filesystem::remove_all(folder_);
    }
    redis_server(const redis_server&) = delete;
    redis_server& operator=(const redis_server&) = delete;

    void start() {
        std::vector<std::string> words{
            POSTERN_REDIS_SERVER,
            "--unixsocket",
            socket(),
            "--dir",
            folder_};
        for (const char* word : {"--save", "", "--appendonly", "no", "--logfile", "redis.log"}) {
            words.emplace_back(word);
        }
        if (options_.empty() || options_[0] != "--port") {
            words.insert(words.end(), {"--port", "0"});
        }
        words.insert(words.end(), options_.begin(), options_.end());
        std::vector<char*> arguments;
        for (auto& word : words)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);
        pid_ = fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            execv(arguments[0], arguments.data());
            _exit(127);
        }
    }
    void stop(int signal) {
        if (pid_ <= 0) return;
        send(signal);
        send(SIGCONT);
        waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }
    void send(int signal) const { kill(pid_, signal); }
    std::string socket() const { return folder_ + "/redis.sock"; }

    /// What a second client is answered, as text; the store knows nothing of it.
    std::string ask(std::initializer_list<std::string_view> words) const {
        const std::unique_ptr<redisContext, void (*)(redisContext*)> link{
            redisConnectUnix(socket().c_str()),
            redisFree};
        std::vector<const char*> starts;
        std::vector<std::size_t> sizes;
        for (const auto word : words) {
            starts.push_back(word.data());
            sizes.push_back(word.size());
        }
        const std::unique_ptr<void, void (*)(void*)> reply{
            redisCommandArgv(
                link.get(),
                static_cast<int>(words.size()),
                starts.data(),
                sizes.data()),
            freeReplyObject};
        REQUIRE(reply != nullptr);
        const auto* got = static_cast<const redisReply*>(reply.get());
        if (got->type == REDIS_REPLY_ARRAY) return got->elements == 0 ? "" : got->element[0]->str;
        if (got->type == REDIS_REPLY_INTEGER) return std::to_string(got->integer);
        return got->str == nullptr ? "" : std::string{got->str, got->len};
    }
    std::string only_key() const { return ask({"KEYS", "*"}); }

private:
    std::vector<std::string> options_;
    std::string folder_;
    pid_t pid_ = 0;
};

std::string message(char tag, std::string_view body) {
    const auto length = static_cast<std::uint32_t>(body.size() + 4);
    std::string made{tag};
    for (const int shift : {24, 16, 8, 0})
        made += static_cast<char>(length >> shift & 0xff);
    return made.append(body);
}

std::shared_ptr<entry> sample(std::string material, std::size_t row_bytes = 100) {
    auto made = std::make_shared<entry>();
    made->hash = hash_bytes(material);
    made->material = std::move(material);
    made->rows = message('D', std::string(row_bytes, 'r')) + message('C', "SELECT 1");
    made->depends_on = {.tags = {{3, 9}}, .everything = 1};
    made->expires_at = now() + std::chrono::nanoseconds{1h}.count();
    return made;
}

struct fixture {
    boost::asio::io_context io;
    redis_server server;
    redis_settings settings;
    std::optional<redis_store> store;

    explicit fixture(std::vector<std::string> options = {})
        : server{std::move(options)} {
        settings.unix_socket = server.socket();
        // Generous, so that a busy machine makes no difference; tests of limits set their own.
        settings.timeout = 10s;
        settings.connect_timeout = 10s;
    }
    void open() { store.emplace(io, settings, "token"); }
    void open_connected() {
        open();
        until([&] { return store->connected(); });
    }

    template <class Condition>
    void until(Condition holds) {
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (!holds()) {
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            io.restart();
            io.run_one_for(100ms);
        }
    }

    entry_ptr find(std::string_view material) {
        std::optional<entry_ptr> found;
        store->find(material, [&](entry_ptr got) { found = std::move(got); });
        CHECK_FALSE(found.has_value());  // never from within the call
        until([&] { return found.has_value(); });
        return *found;
    }
    /// One connection answers in order, so this is there for whatever is asked afterwards.
    void put(const entry_ptr& kept) { store->put(kept); }
};

std::uint64_t counted(metrics::counter which) {
    return metrics::collect()[which];
}

}  // namespace

TEST_CASE("what was put is found, what was not is not") {
    fixture all;
    all.open_connected();
    const auto kept = sample("a");
    all.put(kept);
    const auto found = all.find("a");
    REQUIRE(found != nullptr);
    CHECK(found->rows == kept->rows);
    CHECK(found->depends_on == kept->depends_on);
    CHECK(found->expires_at == kept->expires_at);
    CHECK(found->hash == kept->hash);
    CHECK(all.find("b") == nullptr);
}

TEST_CASE(
    "keys are prefix, namespace and SHA-256 of the material; values live no longer than entries") {
    fixture all;
    all.settings.key_prefix = "mine";
    all.open_connected();
    all.put(sample("abc"));
    REQUIRE(all.find("abc") != nullptr);
    CHECK(
        all.server.only_key() ==
        "mine:token:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const auto ttl = std::stoll(all.server.ask({"PTTL", all.server.only_key()}));
    CHECK(ttl > 0);
    CHECK(ttl <= 3'600'000);
}

TEST_CASE("an entry that has expired is not stored, one that expires is not found afterwards") {
    fixture all;
    all.open_connected();
    const auto gone = sample("gone");
    gone->expires_at = now();
    all.put(gone);
    CHECK(all.find("gone") == nullptr);

    const auto brief = sample("brief");
    brief->expires_at = now() + std::chrono::nanoseconds{30ms}.count();
    all.put(brief);
    all.until([&] { return now() > brief->expires_at; });
    CHECK(all.find("brief") == nullptr);
}

TEST_CASE("large entries are compressed on their way, entries over the limit stay out") {
    fixture all;
    all.open_connected();
    const auto large = sample("large", 500'000);
    all.put(large);
    const auto found = all.find("large");
    REQUIRE(found != nullptr);
    CHECK(found->rows == large->rows);
    CHECK(std::stoull(all.server.ask({"STRLEN", all.server.only_key()})) < 10'000);

    all.put(sample("too large", 2'000'000));
    CHECK(all.find("too large") == nullptr);
}

TEST_CASE("many look-ups under way are each answered with their own entry") {
    fixture all;
    all.open_connected();
    constexpr int count = 1000;
    for (int i = 0; i < count; ++i)
        all.put(sample("k" + std::to_string(i)));
    int right = 0;
    int answered = 0;
    for (int i = 0; i < count; ++i) {
        const auto material = "k" + std::to_string(i);
        all.store->find(material, [&, material](entry_ptr got) {
            ++answered;
            if (got != nullptr && got->material == material) ++right;
        });
    }
    all.until([&] { return answered == count; });
    CHECK(right == count);
}

TEST_CASE("more requests than the limit are refused at once, the others are answered") {
    fixture all;
    all.settings.in_flight_max = 10;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);
    int found = 0;
    int refused = 0;
    for (int i = 0; i < 25; ++i) {
        all.store->find("a", [&](entry_ptr got) { ++(got == nullptr ? refused : found); });
    }
    all.until([&] { return found + refused == 25; });
    CHECK(found == 10);
    CHECK(refused == 15);
}

TEST_CASE("before it is connected every look-up is null, and so it is when there is no server") {
    fixture all;
    all.open();
    CHECK_FALSE(all.store->connected());
    CHECK(all.find("a") == nullptr);

    all.settings.unix_socket = "/nonexistent/redis.sock";
    all.open();
    CHECK(all.find("a") == nullptr);
    CHECK_FALSE(all.store->connected());
}

TEST_CASE("a server killed with look-ups under way leaves none unanswered, and is found again") {
    fixture all;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);
    all.server.send(SIGSTOP);
    int answered = 0;
    for (int i = 0; i < 100; ++i) {
        all.store->find("a", [&](entry_ptr got) {
            CHECK(got == nullptr);
            ++answered;
        });
    }
    all.server.stop(SIGKILL);
    all.until([&] { return answered == 100; });
    all.until([&] { return !all.store->connected(); });

    all.server.start();
    all.until([&] { return all.store->connected(); });
    CHECK(all.find("a") == nullptr);  // a restarted Redis is an empty one
    all.put(sample("a"));
    CHECK(all.find("a") != nullptr);
}

TEST_CASE(
    "a server that stands still costs each look-up its time limit, then nothing, until it goes "
    "on") {
    fixture all;
    // Silence ends the connection after ten limits: long enough for the server to be let go on.
    all.settings.timeout = 300ms;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);

    all.server.send(SIGSTOP);
    const auto timeouts = counted(metrics::counter::redis_timeouts);
    CHECK(all.find("a") == nullptr);
    CHECK(counted(metrics::counter::redis_timeouts) == timeouts + 1);
    // While the front is owed its answer, what follows is refused and not sent.
    CHECK(all.find("a") == nullptr);
    CHECK(counted(metrics::counter::redis_timeouts) == timeouts + 1);

    all.server.send(SIGCONT);
    entry_ptr found;
    all.until([&] { return (found = all.find("a")) != nullptr; });
    CHECK(found->material == "a");  // the late reply was not taken for this one's
}

TEST_CASE("a server that stays silent loses its connection") {
    fixture all;
    all.settings.timeout = 20ms;
    all.open_connected();
    all.server.send(SIGSTOP);
    CHECK(all.find("a") == nullptr);
    all.until([&] { return !all.store->connected(); });
    all.server.send(SIGCONT);
    all.until([&] { return all.store->connected(); });
}

TEST_CASE(
    "look-ups under way when the store is destroyed are answered with null before it is gone") {
    fixture all;
    all.open_connected();
    all.server.send(SIGSTOP);
    int nulls = 0;
    for (int i = 0; i < 10; ++i)
        all.store->find("a", [&](entry_ptr got) { nulls += got == nullptr; });
    all.store.reset();
    CHECK(nulls == 10);
    all.server.send(SIGCONT);
    all.io.restart();
    all.io.poll();
    CHECK(nulls == 10);
}

TEST_CASE("look-ups that were refused are answered as well before the store is gone") {
    fixture all;
    all.open();
    int nulls = 0;
    all.store->find("a", [&](entry_ptr got) { nulls += got == nullptr; });
    all.store.reset();
    CHECK(nulls == 1);
}

TEST_CASE("an answer may end the store") {
    fixture all;
    all.open_connected();
    int nulls = 0;
    bool ended = false;
    all.store->find("a", [&](entry_ptr) {
        all.store.reset();
        ended = true;
    });
    all.store->find("a", [&](entry_ptr got) { nulls += got == nullptr; });
    all.until([&] { return ended; });
    CHECK(nulls == 1);
}

TEST_CASE("a full Redis refuses stores and look-ups go on") {
    fixture all{{"--maxmemory", "1", "--maxmemory-policy", "noeviction"}};
    all.open_connected();
    const auto errors = counted(metrics::counter::redis_errors);
    all.put(sample("a"));
    CHECK(all.find("a") == nullptr);
    CHECK(counted(metrics::counter::redis_errors) == errors + 1);
    CHECK(all.store->connected());
}

TEST_CASE("after FLUSHALL nothing is there and all goes on") {
    fixture all;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);
    all.server.ask({"FLUSHALL"});
    CHECK(all.find("a") == nullptr);
    all.put(sample("a"));
    CHECK(all.find("a") != nullptr);
}

TEST_CASE(
    "a password that is missing or wrong leaves the store unconnected, the right one opens it") {
    fixture all{{"--requirepass", "open sesame"}};
    const auto stays_out = [&] {
        all.open();
        const auto errors = counted(metrics::counter::redis_errors);
        all.until([&] { return counted(metrics::counter::redis_errors) >= errors + 3; });
        CHECK_FALSE(all.store->connected());
        CHECK(all.find("a") == nullptr);
    };
    stays_out();
    all.settings.password = "wrong";
    stays_out();
    all.settings.password = "open sesame";
    all.settings.username = "default";
    all.settings.database = 3;
    all.open_connected();
    all.put(sample("a"));
    CHECK(all.find("a") != nullptr);
}

TEST_CASE("what a second client plants under our key is not believed") {
    fixture all;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);
    const auto key = all.server.only_key();
    const auto good = all.server.ask({"GET", key});

    for (const std::string& garbage :
         {std::string{}, std::string{"PSTN"}, std::string(100'000, '\xff'), good.substr(1)}) {
        all.server.ask({"SET", key, garbage});
        CHECK(all.find("a") == nullptr);
    }
    all.server.ask({"SET", key, good});
    CHECK(all.find("a") != nullptr);

    SUBCASE("an entry of another key") {
        all.put(sample("b"));
        REQUIRE(all.find("b") != nullptr);
        all.server.ask({"DEL", key});
        const auto of_b = all.server.ask({"GET", all.server.only_key()});
        all.server.ask({"SET", key, of_b});
        CHECK(all.find("a") == nullptr);
    }
    SUBCASE("another type") {
        const auto errors = counted(metrics::counter::redis_errors);
        all.server.ask({"DEL", key});
        all.server.ask({"LPUSH", key, "x"});
        CHECK(all.find("a") == nullptr);
        CHECK(counted(metrics::counter::redis_errors) == errors + 1);
    }
    SUBCASE("more than we ever store") {
        all.server.ask({"SET", key, std::string(8'000'000, 'x')});
        CHECK(all.find("a") == nullptr);
        all.until(
            [&] { return all.store->connected(); });  // the connection was given up, and is back
    }
}

TEST_CASE("over TCP by name it works the same") {
    boost::asio::io_context io;
    boost::asio::ip::tcp::acceptor probe{io, {boost::asio::ip::address_v4::loopback(), 0}};
    const auto port = probe.local_endpoint().port();
    probe.close();
    fixture all{{"--port", std::to_string(port), "--bind", "127.0.0.1"}};
    all.settings.unix_socket.clear();
    all.settings.port = port;
    SUBCASE("by address") {
        all.settings.host = "127.0.0.1";
    }
    SUBCASE("by name") {
        all.settings.host = "localhost";
    }
    all.open_connected();
    all.put(sample("a"));
    CHECK(all.find("a") != nullptr);
}

TEST_CASE("another namespace sees nothing of this one") {
    fixture all;
    all.open_connected();
    all.put(sample("a"));
    REQUIRE(all.find("a") != nullptr);
    all.store.emplace(all.io, all.settings, "other token");
    all.until([&] { return all.store->connected(); });
    CHECK(all.find("a") == nullptr);
}
