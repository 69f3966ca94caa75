#include "session/proxy_server.hpp"

#include "base/log.hpp"
#include "pool/poller.hpp"
#include "session/conninfo.hpp"
#include "session/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <future>
#include <mutex>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace postern::session {

namespace {

/// Of one socket: what may wait in its queue when it is closed.
constexpr int backlog_max = 65536;

/// Connections beyond limits.clients: for cancels and the console, and for the others until they
/// have said what they want.
constexpr std::uint32_t clients_reserve = 64;

std::string peer_of(const sockaddr_storage& name) {
    char text[INET6_ADDRSTRLEN] = "";
    if (name.ss_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return fmt::format("{}:{}", text, ntohs(v4->sin_port));
    }
    if (name.ss_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name);
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        return fmt::format("[{}]:{}", text, ntohs(v6->sin6_port));
    }
    return "unix";
}

}  // namespace

/// One listening socket, accepted from on the first worker and dealt out to the one with the fewest
/// clients: a kernel's hash over few connections leaves threads idle.
struct proxy_server::acceptor final : pool::socket_handler {
    /// A channel owns what it polls, so it gets a descriptor of its own.
    acceptor(proxy_server& whose, pool::poller& where, int fd)
        : owner{whose}
        , link{where, ::fcntl(fd, F_DUPFD_CLOEXEC, 0), *this}
        , waits{where} {}

    void on_readable() override {
        (void)take(64);
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) rest();
    }
    void on_writable() override {}

    /// Out of descriptors or memory: who waits in the queue would have us called again and again.
    void rest() {
        if (!std::exchange(rests, true)) {
            log::warning(
                "no client can be accepted: {}; trying again every {} ms",
                std::strerror(errno),
                rest_time.count());
        }
        link.want_read(false);
        waits.expires_after(rest_time, [this] { link.want_read(true); });
    }

    /// Accepts up to `most` clients; how many there were. errno says why not more.
    int take(int most) {
        errno = 0;
        for (int taken = 0; taken < most; ++taken) {
            sockaddr_storage name{};
            socklen_t size = sizeof name;
            const int fd = ::accept4(
                link.fd(),
                reinterpret_cast<sockaddr*>(&name),
                &size,
                SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) return taken;
            rests = false;
            owner.deal_out(fd, peer_of(name));
        }
        errno = 0;
        return most;
    }

    static constexpr std::chrono::milliseconds rest_time{100};
    proxy_server& owner;
    pool::channel link;
    pool::timer waits;
    bool rests = false;  // and that has been said
};

struct proxy_server::timers {
    explicit timers(worker& home)
        : sweep{home.events} {}
    pool::timer sweep;
    monotonic_ns pools_due = 0;
};

proxy_server::proxy_server(
    settings_ptr initial,
    std::optional<cache::redis_settings> redis,
    std::chrono::milliseconds catalog_poll_interval)
    : shared_{initial, std::move(redis)}
    , catalog_poll_interval_{catalog_poll_interval} {
    // Threads that are mostly asleep cost their waking: as many as a sidecar's share of the
    // machine.
    const auto share = std::max(1U, std::thread::hardware_concurrency() / 2);
    const auto count = initial->threads == 0 ? share : initial->threads;
    for (unsigned i = 0; i < count; ++i) {
        shared_.workers.push_back(std::make_unique<worker>(shared_, i));
        timers_.push_back(std::make_unique<timers>(*shared_.workers.back()));
    }
}

proxy_server::~proxy_server() {
    stop();
}

outcome<void> proxy_server::start(std::vector<listening_socket> handed) {
    for (const auto& where : shared_.settings()->listeners) {
        const auto same = std::ranges::find_if(handed, [&](const listening_socket& one) {
            return one.configured().address == where.address && one.configured().port == where.port;
        });
        if (same != handed.end()) {
            sockets_.push_back(std::move(*same));
            handed.erase(same);
            continue;
        }
        auto made = listening_socket::bind(where);
        if (!made) return made.error();
        sockets_.push_back(std::move(*made));
    }
    start_catalogs();
    shared_.configure_samplers(*shared_.settings());
    for (auto& one : shared_.workers) {
        sweep(*one);
        threads_.emplace_back([home = one.get()] { home->events.run(); });
    }
    return boost::system::in_place_value;
}

void proxy_server::accept() {
    for (auto& one : sockets_)
        one.own();
    on_every_worker([this](worker& home) {
        if (home.number != 0) return;
        for (const auto& one : sockets_)
            acceptors_.push_back(std::make_unique<acceptor>(*this, home.events, one.fd()));
    });
}

std::vector<listener> proxy_server::listening() const {
    std::vector<listener> out;
    for (const auto& one : sockets_)
        out.push_back(one.actual());
    return out;
}

void proxy_server::stop_accepting(bool handed_over) {
    shared_.stopping = true;
    on_every_worker([&](worker& home) {
        if (home.number != 0) return;
        refuses_ = true;
        for (const auto& one : acceptors_) {
            if (!handed_over) (void)one->take(backlog_max);
        }
        acceptors_.clear();
    });
    for (auto& one : sockets_) {
        if (handed_over) one.hand_over();
    }
    sockets_.clear();
}

/// A client that is not taken: it has not been read from, so this is all that it will see.
void proxy_server::turn_away(int fd, std::string_view sqlstate, std::string_view message) {
    std::string out;
    wire::write_error(out, "FATAL", sqlstate, message);
    (void)::send(fd, out.data(), out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    // What it has sent stays unread otherwise, and the kernel would take the message back.
    char unread[4096];
    (void)::recv(fd, unread, sizeof unread, MSG_DONTWAIT);
    ::close(fd);
}

void proxy_server::deal_out(int fd, std::string address) {
    // PostgreSQL's own words.
    if (refuses_) return turn_away(fd, "57P03", "the database system is shutting down");
    if (shared_.clients.load() >= shared_.settings()->clients_max + clients_reserve)
        return turn_away(fd, "53300", "sorry, too many clients already");
    ++shared_.clients;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails on Unix sockets: no matter
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    auto* home = shared_.workers[next_worker_++ % shared_.workers.size()].get();
    for (const auto& one : shared_.workers) {
        if (one->load.load() < home->load.load()) home = one.get();
    }
    ++home->load;
    home->events.post([home, fd, address = std::move(address)]() mutable {
        home->adopt(fd, std::move(address));
    });
}

void proxy_server::start_catalogs() {
    const auto settings = shared_.settings();
    for (const auto& one : settings->databases) {
        if (one.service.user.empty()) continue;  // only pooled: nobody may look
        catalog::watcher_settings how;
        how.conninfo = service_conninfo(one);
        how.poll_interval = catalog_poll_interval_;
        how.vouched = settings->rules.functions;
        how.identity_variables = settings->identity.variables;
        auto& entry = shared_.databases[one.name];
        entry.watcher = std::make_unique<catalog::watcher>(
            how,
            [this, name = one.name] {
                log::info("database {}: the catalog has changed", name);
                // Whatever was answered under the old one may not be what PostgreSQL would say now.
                shared_.versions.bump_everything();
            },
            [this] {
                for (const auto& home : shared_.workers)
                    home->events.post([home = home.get()] { home->on_catalog_read(); });
            });
        if (!settings->auth_query.empty()) {
            entry.auth = std::make_unique<catalog::auth_lookup>(how.conninfo, settings->auth_query);
        }
    }
}

void proxy_server::sweep(worker& home) {
    auto& timer = timers_[home.number]->sweep;
    // A reload that asks for shorter intervals is heard of within a second.
    timer.expires_after(home.sweep_interval(), [this, &home] {
        home.check_timeouts();
        for (const auto& one : shared_.pools())
            one->look_at_queue(home.number);
        auto& due = timers_[home.number]->pools_due;
        if (now() >= due) {
            due = now() + std::chrono::nanoseconds{std::chrono::seconds{1}}.count();
            for (const auto& one : shared_.pools())
                one->sweep(home.number);
        }
        sweep(home);
    });
}

void proxy_server::reload(settings_ptr fresh) {
    const auto before = shared_.settings();
    for (auto& [name, one] : shared_.databases) {
        one.watcher->set_vouched(fresh->rules.functions, fresh->identity.variables);
    }
    shared_.configure_samplers(*fresh);
    const bool identity_changed = before->identity.variables != fresh->identity.variables;
    shared_.set_settings(std::move(fresh));
    shared_.versions.bump_everything();
    // The statement that carries the identity is prepared on servers: those with the old one go.
    if (identity_changed) {
        for (const auto& one : shared_.pools())
            one->reconnect();
    }
}

void proxy_server::flush() {
    shared_.near.clear();
    shared_.versions.bump_everything();
}

void proxy_server::bypass_cache() {
    if (bypasses_++ != 0) return;
    bypass_ = shared_.versions.raise_everything();
    // A worker that has found an answer has gathered it before it gets here, and sends it next.
    on_every_worker([](worker&) {});
}

void proxy_server::believe_cache() {
    if (--bypasses_ == 0) bypass_.commit();
}

bool proxy_server::writes_settled() const noexcept {
    const std::size_t others = (bypasses_ != 0 ? 1U : 0U) + shared_.admits.fences();
    return shared_.versions.fences_standing() <= others;
}

bool proxy_server::ready() const {
    for (const auto& [unused, one] : shared_.databases) {
        // A paused database's clients are let in, and wait.
        if (one.watcher->current() == nullptr && !one.watcher->is_paused()) return false;
    }
    return !shared_.stopping;
}

void proxy_server::on_every_worker(const std::function<void(worker&)>& task) const {
    if (threads_.empty()) return;
    std::vector<std::future<void>> answers;
    for (const auto& one : shared_.workers) {
        auto done = std::make_shared<std::promise<void>>();
        answers.push_back(done->get_future());
        one->events.post([&task, done, home = one.get()] {
            task(*home);
            done->set_value();
        });
    }
    for (auto& one : answers)
        one.wait();
}

void proxy_server::stop_sessions(bool at_once) {
    shared_.stopping = true;
    on_every_worker([at_once](worker& home) { home.stop_sessions(at_once); });
}

proxy_server::client_counts proxy_server::clients() const {
    std::mutex mutex;
    client_counts out;
    on_every_worker([&](worker& home) {
        const auto own = home.count_clients();
        const std::scoped_lock lock{mutex};
        out.all += own.all;
        out.on_console += own.on_console;
        out.busy += own.busy;
    });
    return out;
}

void proxy_server::stop() {
    if (std::exchange(stopped_, true)) return;
    shared_.stopping = true;
    if (!threads_.empty()) {
        stop_accepting(false);
        stop_sessions(true);
    }
    for (auto& one : shared_.workers)
        one->events.stop();
    for (auto& one : threads_)
        one.join();
    threads_.clear();
    // Sessions that did not end in time have asked them until now.
    for (auto& [unused, one] : shared_.databases) {
        one.watcher.reset();
        one.auth.reset();
    }
    shared_.stop_samplers();
    // Nobody runs any more: idle servers go while their threads' pollers are there.
    for (const auto& one : shared_.pools()) {
        for (const auto& home : shared_.workers)
            one->close_idle(home->number);
    }
    acceptors_.clear();
    timers_.clear();
}

}  // namespace postern::session
