#include "session/proxy_server.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"
#include "pool/poller.hpp"
#include "session/session.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <future>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace postern::session {

namespace {

constexpr int backlog = 1024;

std::string quoted(const std::string& value) {
    std::string out = "'";
    for (const char c : value) {
        if (c == '\'' || c == '\\') out += '\\';
        out += c;
    }
    return out + "'";
}

std::string conninfo_of(const database& where) {
    auto out = fmt::format(
        "host={} port={} dbname={} user={} application_name=postern",
        quoted(where.server.host),
        where.server.port,
        quoted(where.server.database),
        quoted(where.service.user));
    if (!where.service.password.empty()) out += " password=" + quoted(where.service.password);
    return out;
}

/// A listening descriptor, or -1 with errno.
int listen_tcp(const listener& where) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(where.address, error);
    if (error) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    const int family = address.is_v6() ? AF_INET6 : AF_INET;
    const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int bound = -1;
    if (address.is_v6()) {
        sockaddr_in6 name{};
        name.sin6_family = AF_INET6;
        name.sin6_port = htons(where.port);
        const auto bytes = address.to_v6().to_bytes();
        std::memcpy(&name.sin6_addr, bytes.data(), bytes.size());
        bound = ::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name);
    } else {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_port = htons(where.port);
        const auto bytes = address.to_v4().to_bytes();
        std::memcpy(&name.sin_addr, bytes.data(), bytes.size());
        bound = ::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name);
    }
    if (bound == 0 && ::listen(fd, backlog) == 0) return fd;
    const int why = errno;
    ::close(fd);
    errno = why;
    return -1;
}

int listen_unix(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (path.size() >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // A socket that nobody listens on any more is a leftover; one that answers is somebody's.
    if (::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) {
        ::close(fd);
        errno = EADDRINUSE;
        return -1;
    }
    ::unlink(path.c_str());
    if (::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 &&
        ::listen(fd, backlog) == 0) {
        ::chmod(path.c_str(), 0777);  // as PostgreSQL's unix_socket_permissions by default
        return fd;
    }
    const int why = errno;
    ::close(fd);
    errno = why;
    return -1;
}

std::uint16_t port_of(int fd) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
    return ntohs(
        name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                   : reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

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
    acceptor(proxy_server& whose, pool::poller& where, int fd, std::string socket_path)
        : owner{whose}
        , link{where, fd, *this}
        , path{std::move(socket_path)} {}

    ~acceptor() {
        if (!path.empty()) ::unlink(path.c_str());
    }

    void on_readable() override {
        for (int taken = 0; taken < 64; ++taken) {
            sockaddr_storage name{};
            socklen_t size = sizeof name;
            const int fd = ::accept4(
                link.fd(),
                reinterpret_cast<sockaddr*>(&name),
                &size,
                SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) return;
            owner.deal_out(fd, peer_of(name));
        }
    }
    void on_writable() override {}

    proxy_server& owner;
    pool::channel link;
    std::string path;
};

struct proxy_server::timers {
    explicit timers(worker& home)
        : sweep{home.io}
        , work{boost::asio::make_work_guard(home.io)} {}
    boost::asio::steady_timer sweep;
    monotonic_ns pools_due = 0;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
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
    stop(std::chrono::milliseconds{0});
}

outcome<void> proxy_server::start() {
    for (const auto& where : shared_.settings()->listeners) {
        auto made = listen(where);
        if (!made) return made;
    }
    start_catalogs();
    for (auto& one : shared_.workers) {
        sweep(*one);
        threads_.emplace_back([home = one.get()] { home->io.run(); });
    }
    return boost::system::in_place_value;
}

outcome<void> proxy_server::listen(const listener& where) {
    const bool local = where.address.starts_with('/');
    const auto path = local ? fmt::format("{}/.s.PGSQL.{}", where.address, where.port)
                            : std::string{};
    const int fd = local ? listen_unix(path) : listen_tcp(where);
    if (fd < 0) {
        return failure{fmt::format(
            "could not listen on {}: {}",
            local ? path : fmt::format("{}:{}", where.address, where.port),
            std::strerror(errno))};
    }
    auto actual = where;
    if (!local) actual.port = port_of(fd);
    listening_.push_back(actual);
    acceptors_.push_back(
        std::make_unique<acceptor>(*this, shared_.workers.front()->events, fd, path));
    return boost::system::in_place_value;
}

void proxy_server::deal_out(int fd, std::string address) {
    const auto limit = shared_.settings()->clients_max;
    if (shared_.stopping || shared_.clients.load() >= limit) {
        // PostgreSQL's own words; the client has not spoken yet, so this is all it will see.
        std::string out;
        wire::write_error(out, "FATAL", "53300", "sorry, too many clients already");
        (void)::send(fd, out.data(), out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        ::close(fd);
        return;
    }
    ++shared_.clients;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails on Unix sockets: no matter
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    auto* home = shared_.workers[next_worker_++ % shared_.workers.size()].get();
    for (const auto& one : shared_.workers) {
        if (one->load.load() < home->load.load()) home = one.get();
    }
    ++home->load;
    boost::asio::post(home->io, [home, fd, address = std::move(address)]() mutable {
        home->adopt(fd, std::move(address));
    });
}

void proxy_server::start_catalogs() {
    const auto settings = shared_.settings();
    for (const auto& one : settings->databases) {
        if (one.service.user.empty()) continue;  // only pooled: nobody may look
        catalog::watcher_settings how;
        how.conninfo = conninfo_of(one);
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
                    boost::asio::post(home->io, [home = home.get()] { home->reconsider_pins(); });
            });
        if (!settings->auth_query.empty()) {
            entry.auth = std::make_unique<catalog::auth_lookup>(how.conninfo, settings->auth_query);
        }
    }
}

void proxy_server::sweep(worker& home) {
    auto& timer = timers_[home.number]->sweep;
    // A reload that asks for shorter intervals is heard of within a second.
    timer.expires_after(home.sweep_interval());
    timer.async_wait([this, &home](const boost::system::error_code& error) {
        if (error) return;
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
        boost::asio::post(one->io, [&task, done, home = one.get()] {
            task(*home);
            done->set_value();
        });
    }
    for (auto& one : answers)
        one.wait();
}

void proxy_server::stop_accepting() {
    on_every_worker([&](worker& home) {
        if (home.number == 0) acceptors_.clear();
    });
}

void proxy_server::stop(std::chrono::milliseconds limit) {
    if (std::exchange(stopped_, true)) return;
    shared_.stopping = true;
    if (!threads_.empty()) {
        stop_accepting();
        on_every_worker([](worker& home) { home.stop_sessions(false); });
        const auto deadline = now() + std::chrono::nanoseconds{limit}.count();
        while (shared_.clients.load() != 0 && now() < deadline) {
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
        }
        on_every_worker([](worker& home) { home.stop_sessions(true); });
    }
    // Feeds first: what they report goes nowhere any more.
    for (auto& [unused, one] : shared_.databases) {
        one.watcher.reset();
        one.auth.reset();
    }
    for (auto& one : shared_.workers)
        one->io.stop();
    for (auto& one : threads_)
        one.join();
    threads_.clear();
    // Nobody runs any more: idle servers go while their threads' pollers are there.
    for (const auto& one : shared_.pools()) {
        for (const auto& home : shared_.workers)
            one->close_idle(home->number);
    }
    acceptors_.clear();
    timers_.clear();
}

}  // namespace postern::session
