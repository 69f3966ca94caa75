// How two processes of one user talk beside their clients: messages, some with descriptors, over a
// Unix socket in the runtime folder.
//
// The folder is its owner's alone (0700), and either side looks at the other's credentials: nobody
// else's process is talked to.

#pragma once

#include "base/result.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace postern::cli {

/// A descriptor that came with a message; closed unless it is taken.
class received_fd {
public:
    explicit received_fd(int fd) noexcept
        : fd_{fd} {}
    received_fd(received_fd&& other) noexcept
        : fd_{other.release()} {}
    received_fd& operator=(received_fd&&) = delete;
    received_fd(const received_fd&) = delete;
    received_fd& operator=(const received_fd&) = delete;
    ~received_fd();
    int release() noexcept;

private:
    int fd_;
};

/// One conversation. Every member is called on the io_context's thread; callbacks come there.
class control_link : public std::enable_shared_from_this<control_link> {
public:
    using on_message = std::function<void(std::string_view text, std::vector<received_fd> fds)>;

    /// Takes the connected descriptor `fd`.
    control_link(boost::asio::io_context& io, int fd);
    ~control_link();
    control_link(const control_link&) = delete;
    control_link& operator=(const control_link&) = delete;

    /// Connects to the process that listens in `folder`.
    static outcome<std::shared_ptr<control_link>> connect(
        boost::asio::io_context& io,
        const std::string& folder);

    /// Begins to listen to the other side. `ended` is called once, when it has gone or has said
    /// something that is no message.
    void start(on_message said, std::function<void()> ended);

    /// Sends one message of at most 64 KiB with at most 250 descriptors, which stay the caller's.
    /// The link ends when the other side does not read any more.
    void send(std::string_view text, std::span<const int> fds = {});

    /// No callback comes after this.
    void close();

private:
    struct state;
    void wait();
    void read();
    void end();
    std::unique_ptr<state> state_;
};

/// Where a successor connects.
class control_socket {
public:
    using on_link = std::function<void(std::shared_ptr<control_link>)>;

    /// Listens in `folder`, which is made when it is not there. A failure says that another process
    /// listens there already, or what is wrong with the folder.
    static outcome<int> listen(const std::string& folder);

    /// Takes `fd`, which listens in `folder`; its name stays there until own() has been called.
    control_socket(boost::asio::io_context& io, int fd, std::string folder);
    ~control_socket();
    control_socket(const control_socket&) = delete;
    control_socket& operator=(const control_socket&) = delete;

    /// Begins to accept: `came` is called for each of our own user's processes.
    void accept(on_link came);

    /// The socket's name goes with it from now on.
    void own() noexcept;

    /// To be handed over.
    int fd() const noexcept;
    /// Stops listening; the name stays, since another process listens on.
    void hand_over();

private:
    struct state;
    std::shared_ptr<state> state_;
};

}  // namespace postern::cli
