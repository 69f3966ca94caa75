// The serving process: the proxy, its console and HTTP on a thread of their own, and its signals.

#include "admin/console.hpp"
#include "admin/http.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "cli/running_proxy.hpp"
#include "session/proxy_server.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>

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

/// SIGHUP reloads; SIGTERM ends after running transactions; SIGINT and SIGQUIT end at once.
class signals {
public:
    signals(boost::asio::io_context& io, running_proxy& running)
        : running_{running}
        , set_{io, SIGTERM, SIGINT, SIGQUIT}
        , reload_{io, SIGHUP} {
        set_.async_wait([this, &io](const boost::system::error_code& error, int number) {
            if (error) return;
            received_ = number;
            io.stop();
        });
        wait_for_reload();
    }
    int received() const noexcept { return received_; }

private:
    void wait_for_reload() {
        reload_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            (void)running_.reload();
            wait_for_reload();
        });
    }

    running_proxy& running_;
    boost::asio::signal_set set_;
    boost::asio::signal_set reload_;
    int received_ = 0;
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
    proxy.shared().console =
        [&io, &running](std::string command, std::function<void(session::console_reply)> done) {
            boost::asio::post(io, [&running, command = std::move(command), done = std::move(done)] {
                done(admin::run_console(command, running));
            });
        };
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
    print_listeners(proxy);
    signals watched{io, running};
    io.run();
    log::info("stopping");
    const bool gently = watched.received() == SIGTERM;
    proxy.stop(gently ? proxy.shared().settings()->drain_timeout : std::chrono::milliseconds{0});
    http.reset();
    log::info("stopped");
    return 0;
}

}  // namespace postern::cli
