// The serving process: the proxy, its console and HTTP on a thread of their own, and its signals.

#include "admin/console_queue.hpp"
#include "admin/http.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "cli/running_proxy.hpp"
#include "cli/stopping.hpp"
#include "session/proxy_server.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

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

}  // namespace

int serve(const configuration& settings) {
    std::signal(SIGPIPE, SIG_IGN);
    session::proxy_server proxy{
        std::make_shared<const session::settings>(settings.session),
        settings.redis,
        settings.catalog_poll_interval};
    running_proxy running{proxy, settings.path};

    // Console and HTTP wait for workers; they have a thread of their own so that no worker ever
    // does.
    boost::asio::io_context io{1};
    const auto work = boost::asio::make_work_guard(io);
    admin::console_queue console{io, running};
    proxy.shared().console = [&console](auto request, auto done) {
        console.run(std::move(request), std::move(done));
    };
    boost::asio::steady_timer periods{io};
    begin_stats_periods(periods, running);
    if (const auto started = proxy.start(); !started) {
        fmt::print(stderr, "postern: {}\n", started.error().message);
        return 1;
    }
    std::optional<admin::http_server> http;
    if (settings.admin.http_port) {
        admin::http_server::settings options;
        options.address = settings.admin.http_address;
        options.port = *settings.admin.http_port;
        http.emplace(io, options, running, [&proxy] { return proxy.ready(); });
        if (const auto started = http->start(); !started) {
            fmt::print(stderr, "postern: {}\n", started.error().message);
            return 1;
        }
        log::info("metrics on http://{}:{}/metrics", options.address, http->port());
    }
    proxy.accept();
    print_listeners(proxy);
    stopper stops{io, proxy};
    const signals watched{io, running, stops};
    io.run();
    proxy.stop();
    http.reset();
    log::info("stopped");
    return 0;
}

}  // namespace postern::cli
