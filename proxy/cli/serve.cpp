// The serving process: the proxy, its console and HTTP on a thread of their own, and its signals.

#include "admin/console_queue.hpp"
#include "admin/http.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "cli/handover.hpp"
#include "cli/running_proxy.hpp"
#include "cli/stopping.hpp"
#include "session/proxy_server.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

namespace postern::cli {

namespace {

void print_listeners(const session::proxy_server& proxy) {
    for (const auto& one : proxy.listening()) {
        log::info("listening on {}:{}", one.address, one.port);
    }
}

/// SHOW STATS' averages are over a period: here they begin.
void begin_stats_periods(boost::asio::steady_timer& timer, running_proxy& running) {
    timer.expires_after(running_proxy::stats_period);
    timer.async_wait([&](const boost::system::error_code& error) {
        if (error) return;
        running.begin_stats_period();
        begin_stats_periods(timer, running);
    });
}

/// SIGHUP reloads; SIGTERM stops as balancers like it; SIGINT and SIGQUIT stop at once. A second
/// one of these cuts short what the first waits for. SHUTDOWN is like them.
class signals {
public:
    signals(boost::asio::io_context& io, running_proxy& running, stopper& stops)
        : running_{running}
        , stopper_{stops}
        , stop_{io, SIGTERM, SIGINT, SIGQUIT}
        , reload_{io, SIGHUP} {
        wait_for_stop();
        wait_for_reload();
        running.on_shut_down = [this, &io](admin::shutdown_mode how) {
            // Afterwards, so that who has asked still hears that it is done.
            boost::asio::post(io, [this, how] { stopper_.stop(how); });
        };
    }

private:
    void wait_for_stop() {
        stop_.async_wait([this](const boost::system::error_code& error, int number) {
            if (error) return;
            if (number == SIGTERM) {
                stopper_.announce();
            } else {
                stopper_.stop(admin::shutdown_mode::at_once);
            }
            wait_for_stop();
        });
    }

    void wait_for_reload() {
        reload_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            (void)running_.reload();
            wait_for_reload();
        });
    }

    running_proxy& running_;
    stopper& stopper_;
    boost::asio::signal_set stop_;
    boost::asio::signal_set reload_;
};

/// The process and its parts, in the order in which they are made.
class serving_process {
public:
    explicit serving_process(const configuration& settings)
        : settings_{settings}
        , proxy_{
              std::make_shared<const session::settings>(settings.session),
              settings.redis,
              settings.catalog_poll_interval}
        , running_{proxy_, settings.path}
        , stops_{io_, proxy_} {
        if (!settings.runtime_dir.empty()) handover_.emplace(io_, proxy_, settings.runtime_dir);
        proxy_.shared().console = [this](auto request, auto done) {
            console_.run(std::move(request), std::move(done));
        };
        begin_stats_periods(periods_, running_);
    }

    outcome<void> start(bool takeover) {
        auto begun = begin(takeover);
        if (!begun) return begun.error();
        auto& inherited = *begun;
        if (handover_) {
            proxy_.shared().relay_cancel =
                [this](std::int32_t key, std::string secret, std::function<void()> done) {
                    handover_->relay_cancel(key, std::move(secret), std::move(done));
                };
        }
        if (auto done = proxy_.start(std::move(inherited.listeners)); !done) return done;
        if (takeover) {
            // Before HTTP: until then the other process says that it is ready.
            if (auto done = handover_->await_ready(); !done) return done;
        }
        if (auto done = start_http(inherited.http); !done) return done;
        if (takeover) {
            if (auto done = handover_->take(); !done) return done;
        }
        // From here on clients know of it, and whatever ends it ends it cleanly. What comes before
        // may take long, and a signal then ends it as any program: who was to be taken over from
        // serves on.
        signals_.emplace(io_, running_, stops_);
        proxy_.accept();
        print_listeners(proxy_);
        if (takeover) handover_->serving();
        if (handover_) handover_->allow([this] { return http_to_offer(); }, [this] { give_up(); });
        return boost::system::in_place_value;
    }

    void run() {
        io_.run();
        proxy_.stop();
        http_.reset();
        log::info("stopped");
        // It ends as it should, whatever else it is told now.
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
    }

private:
    outcome<handover::inheritance> begin(bool takeover) {
        if (!handover_) {
            if (takeover) return failure{"serve --takeover needs runtime_dir in the configuration"};
            return handover::inheritance{};
        }
        if (takeover) return handover_->ask();
        if (auto done = handover_->listen(); !done) return done.error();
        return handover::inheritance{};
    }

    outcome<void> start_http(const http_listener& inherited) {
        const auto& admin = settings_.admin;
        const bool same = inherited.fd >= 0 && inherited.address == admin.http_address &&
                          inherited.port == admin.http_port;
        if (inherited.fd >= 0 && !same) ::close(inherited.fd);
        if (!admin.http_port) return boost::system::in_place_value;
        admin::http_server::settings options;
        options.address = admin.http_address;
        options.port = *admin.http_port;
        // Who asks just as another process takes over asks about this address, which is served.
        http_.emplace(io_, options, running_, [this] { return proxy_.ready() || has_successor_; });
        if (auto done = http_->start(same ? inherited.fd : -1); !done) return done;
        log::info("metrics on http://{}:{}/metrics", options.address, http_->port());
        return boost::system::in_place_value;
    }

    http_listener http_to_offer() const {
        if (!http_) return {};
        return {settings_.admin.http_address, *settings_.admin.http_port, http_->listening_fd()};
    }

    /// Another process serves.
    void give_up() {
        log::info("another process has taken over");
        has_successor_ = true;
        if (http_) http_->hand_over();
        stops_.handed_over(
            [this] { return handover_->predecessor_gone() && (!http_ || http_->idle()); });
    }

    const configuration& settings_;
    session::proxy_server proxy_;
    running_proxy running_;
    // Console and HTTP wait for workers; they have a thread of their own so that no worker ever
    // does.
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
        boost::asio::make_work_guard(io_)};
    admin::console_queue console_{io_, running_};
    boost::asio::steady_timer periods_{io_};
    stopper stops_;
    std::optional<handover> handover_;
    std::optional<admin::http_server> http_;
    std::optional<signals> signals_;
    bool has_successor_ = false;
};

/// Each client and each server takes a descriptor; shells and service managers allow 1024 unless
/// more is asked for.
void raise_descriptor_limit(const session::settings& settings) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
    constexpr rlim_t others = 200;  // servers, cancels, files, sockets of our own
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= settings.clients_max + others) return;
    log::warning(
        "limits.clients is {}, but this process may open only {} descriptors (ulimit -n)",
        settings.clients_max,
        limit.rlim_max);
}

}  // namespace

int serve(const configuration& settings, bool takeover) {
    std::signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit(settings.session);
    serving_process process{settings};
    if (const auto started = process.start(takeover); !started) {
        fmt::print(stderr, "postern: {}\n", started.error().message);
        return 1;
    }
    process.run();
    return 0;
}

}  // namespace postern::cli
