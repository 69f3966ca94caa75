#include "cli/control.hpp"

#include "base/log.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace postern::cli {

namespace asio = boost::asio;

namespace {

constexpr std::size_t message_max = 64 * 1024;
/// The kernel takes 253 in one message.
constexpr std::size_t fds_max = 250;

std::string name_in(const std::string& folder) {
    return folder + "/control";
}

/// False: longer than the kernel's limit.
bool name_socket(const std::string& path, sockaddr_un& into) {
    into = {};
    into.sun_family = AF_UNIX;
    if (path.size() >= sizeof into.sun_path) return false;
    std::memcpy(into.sun_path, path.c_str(), path.size() + 1);
    return true;
}

/// Whether the process at the other end is our own user's.
bool is_own(int fd) {
    ucred who{};
    socklen_t size = sizeof who;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == ::geteuid();
}

/// Where anybody else could put a socket, or take ours away, is no place for it.
outcome<void> check_folder(const std::string& folder) {
    struct stat about {};
    if (::lstat(folder.c_str(), &about) != 0) {
        return failure{fmt::format("runtime_dir {}: {}", folder, std::strerror(errno))};
    }
    if (!S_ISDIR(about.st_mode) || about.st_uid != ::geteuid() || (about.st_mode & 077) != 0) {
        return failure{fmt::format(
            "runtime_dir {} must be a folder of Postern's own user with mode 0700",
            folder)};
    }
    return boost::system::in_place_value;
}

/// A connected descriptor, or -1 with errno.
int connect_to(const std::string& path) {
    sockaddr_un name{};
    if (!name_socket(path, name)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) return fd;
    const int why = errno;
    ::close(fd);
    errno = why;
    return -1;
}

}  // namespace

received_fd::~received_fd() {
    if (fd_ >= 0) ::close(fd_);
}

int received_fd::release() noexcept {
    return std::exchange(fd_, -1);
}

struct control_link::state {
    state(asio::io_context& io, int fd)
        : socket{io, fd} {}
    asio::posix::stream_descriptor socket;
    on_message said;
    std::function<void()> ended;
};

control_link::control_link(asio::io_context& io, int fd)
    : state_{std::make_unique<state>(io, fd)} {
    state_->socket.non_blocking(true);
}

control_link::~control_link() = default;

outcome<std::shared_ptr<control_link>> control_link::connect(
    asio::io_context& io,
    const std::string& folder) {
    if (auto right = check_folder(folder); !right) return right.error();
    const int fd = connect_to(name_in(folder));
    if (fd < 0) {
        return failure{fmt::format(
            "there is no Postern to take over from: {}: {}",
            name_in(folder),
            std::strerror(errno))};
    }
    auto made = std::make_shared<control_link>(io, fd);
    if (!is_own(fd)) return failure{fmt::format("{} is another user's", name_in(folder))};
    return made;
}

void control_link::start(on_message said, std::function<void()> ended) {
    state_->said = std::move(said);
    state_->ended = std::move(ended);
    wait();
}

void control_link::wait() {
    state_->socket.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [weak = weak_from_this()](const boost::system::error_code& error) {
            const auto self = weak.lock();
            if (!error && self != nullptr) self->read();
        });
}

void control_link::read() {
    std::string text(message_max, '\0');
    alignas(cmsghdr) std::array<char, CMSG_SPACE(fds_max * sizeof(int))> aside{};
    iovec piece{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = aside.data();
    header.msg_controllen = aside.size();
    const auto size = ::recvmsg(state_->socket.native_handle(), &header, MSG_CMSG_CLOEXEC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
    std::vector<received_fd> fds;
    for (auto* one = CMSG_FIRSTHDR(&header); size >= 0 && one != nullptr;
         one = CMSG_NXTHDR(&header, one)) {
        if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
        const auto count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
    if (size <= 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return end();
    text.resize(static_cast<std::size_t>(size));
    const auto keep_alive = shared_from_this();
    const auto said = state_->said;
    said(text, std::move(fds));
    if (state_->socket.is_open()) wait();
}

void control_link::send(std::string_view text, std::span<const int> fds) {
    if (!state_->socket.is_open()) return;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(fds_max * sizeof(int))> aside{};
    // sendmsg() takes what it sends as if it would change it.
    iovec piece{const_cast<char*>(text.data()), text.size()};  // NOLINT(*-const-cast)
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = aside.data();
        header.msg_controllen = CMSG_SPACE(fds.size_bytes());
        auto* one = CMSG_FIRSTHDR(&header);
        one->cmsg_level = SOL_SOCKET;
        one->cmsg_type = SCM_RIGHTS;
        one->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(one), fds.data(), fds.size_bytes());
    }
    if (fds.size() <= fds_max && text.size() <= message_max &&
        ::sendmsg(state_->socket.native_handle(), &header, MSG_NOSIGNAL) >= 0)
        return;
    // The other side is gone, or so far behind that it may as well be; told by its end of file.
    ::shutdown(state_->socket.native_handle(), SHUT_RDWR);
}

void control_link::end() {
    const auto keep_alive = shared_from_this();
    const auto ended = std::move(state_->ended);
    close();
    if (ended) ended();
}

void control_link::close() {
    state_->said = {};
    state_->ended = {};
    boost::system::error_code ignored;
    state_->socket.close(ignored);
}

struct control_socket::state : std::enable_shared_from_this<control_socket::state> {
    state(asio::io_context& context, int fd, std::string where)
        : io{context}
        , socket{context, fd}
        , folder{std::move(where)} {
        socket.non_blocking(true);
    }

    void wait() {
        socket.async_wait(
            asio::posix::stream_descriptor::wait_read,
            [self = shared_from_this()](const boost::system::error_code& error) {
                if (error) return;
                self->take();
                if (self->socket.is_open()) self->wait();
            });
    }

    void take() {
        const int fd = ::accept4(socket.native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        if (is_own(fd)) return came(std::make_shared<control_link>(io, fd));
        log::warning("another user's process has connected to {}: refused", name_in(folder));
        ::close(fd);
    }

    /// Closes it. A descriptor that another process listens on too would stay in our epoll for ever
    /// if it were merely closed.
    void close() {
        if (socket.is_open()) ::close(socket.release());
    }

    asio::io_context& io;
    asio::posix::stream_descriptor socket;
    std::string folder;
    on_link came;
    bool is_ours = false;
};

outcome<int> control_socket::listen(const std::string& folder) {
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
        return failure{fmt::format("runtime_dir {}: {}", folder, std::strerror(errno))};
    }
    if (auto right = check_folder(folder); !right) return right.error();
    const auto path = name_in(folder);
    if (const int other = connect_to(path); other >= 0) {
        ::close(other);
        return failure{fmt::format(
            "another Postern runs with runtime_dir {}: serve --takeover takes over from it",
            folder)};
    }
    sockaddr_un name{};
    if (!name_socket(path, name)) {
        return failure{fmt::format("runtime_dir {} is too long for a Unix socket", folder)};
    }
    // Nobody listens on it any more: a leftover.
    ::unlink(path.c_str());
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 && ::listen(fd, 16) == 0)
        return fd;
    const int why = errno;
    ::close(fd);
    return failure{fmt::format("could not listen on {}: {}", path, std::strerror(why))};
}

control_socket::control_socket(asio::io_context& io, int fd, std::string folder)
    : state_{std::make_shared<state>(io, fd, std::move(folder))} {}

control_socket::~control_socket() {
    if (state_->is_ours) ::unlink(name_in(state_->folder).c_str());
    state_->close();
}

void control_socket::accept(on_link came) {
    state_->came = std::move(came);
    state_->wait();
}

void control_socket::own() noexcept {
    state_->is_ours = true;
}

int control_socket::fd() const noexcept {
    return state_->socket.native_handle();
}

void control_socket::hand_over() {
    state_->is_ours = false;
    state_->close();
}

}  // namespace postern::cli
