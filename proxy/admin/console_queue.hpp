// The console's commands, run on an io_context: one after another, but for those that wait, which
// are asked again from time to time. No worker and no other client of the console waits for them.

#pragma once

#include "admin/source.hpp"
#include "session/console_reply.hpp"

#include <functional>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace postern::admin {

class console_queue {
public:
    /// Both outlive the queue; `source` is used on the io_context's thread alone.
    console_queue(boost::asio::io_context& io, console_source& source);
    ~console_queue();  ///< while the io_context does not run; what waits is not answered
    console_queue(const console_queue&) = delete;
    console_queue& operator=(const console_queue&) = delete;

    /// `done` is called once, on the io_context's thread. A command goes on when its client leaves;
    /// when it is cancelled, what it has begun is undone. Thread-safe.
    void run(session::console_request request, std::function<void(session::console_reply)> done);

private:
    struct state;
    std::shared_ptr<state> state_;
};

}  // namespace postern::admin
