#include "admin/console_queue.hpp"

#include "admin/console.hpp"
#include "admin/operate.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <utility>
#include <vector>

namespace postern::admin {

namespace {

/// Between two looks at commands that wait. Nothing is looked at while none does.
constexpr std::chrono::milliseconds look_interval{20};

}  // namespace

struct console_queue::state : std::enable_shared_from_this<console_queue::state> {
    struct waiting {
        console_outcome how;
        std::shared_ptr<const std::atomic<bool>> cancelled;
        std::function<void(session::console_reply)> done;
    };

    state(boost::asio::io_context& where, console_source& whose)
        : io{where}
        , source{whose}
        , timer{where} {}

    void run(
        const session::console_request& request,
        const std::function<void(session::console_reply)>& done) {
        auto outcome = run_console(request, source);
        if (!outcome.progress) return done(std::move(outcome.reply));
        commands.push_back({std::move(outcome), request.cancelled, done});
        if (commands.size() == 1) look_later();
    }

    void look_later() {
        timer.expires_after(look_interval);
        timer.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
            const auto self = weak.lock();
            if (error || self == nullptr) return;
            std::erase_if(self->commands, [](const waiting& one) { return has_ended(one); });
            if (!self->commands.empty()) self->look_later();
        });
    }

    static bool has_ended(const waiting& one) {
        if (one.cancelled != nullptr && *one.cancelled) {
            if (one.how.undo) one.how.undo();
            one.done(refused("canceling statement due to user request", "57014"));
            return true;
        }
        auto reply = one.how.progress();
        if (!reply) return false;
        one.done(std::move(*reply));
        return true;
    }

    boost::asio::io_context& io;
    console_source& source;
    boost::asio::steady_timer timer;
    std::vector<waiting> commands;
};

console_queue::console_queue(boost::asio::io_context& io, console_source& source)
    : state_{std::make_shared<state>(io, source)} {}

console_queue::~console_queue() = default;

void console_queue::run(
    session::console_request request,
    std::function<void(session::console_reply)> done) {
    boost::asio::post(
        state_->io,
        [weak = std::weak_ptr{state_}, request = std::move(request), done = std::move(done)] {
            if (const auto self = weak.lock()) self->run(request, done);
        });
}

}  // namespace postern::admin
