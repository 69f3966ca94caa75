#include "session/listening.hpp"

#include <boost/asio/ip/address.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace postern::session {

namespace {

constexpr int backlog = 1024;

bool is_unix(const listener& where) {
    return where.address.starts_with('/');
}

std::string path_of(const listener& where) {
    if (!is_unix(where)) return {};
    return fmt::format("{}/.s.PGSQL.{}", where.address, where.port);
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
    // A socket that nobody listens on any more is a leftover; one that answers is somebody's, and
    // so is one whose queue is full just now (EAGAIN).
    const int connected = ::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name);
    if (connected != 0 && errno == ECONNREFUSED) ::unlink(path.c_str());
    if (connected == 0 || errno == EAGAIN) {
        ::close(fd);
        errno = EADDRINUSE;
        return -1;
    }
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

}  // namespace

outcome<listening_socket> listening_socket::bind(const listener& where) {
    const auto path = path_of(where);
    const int fd = is_unix(where) ? listen_unix(path) : listen_tcp(where);
    if (fd >= 0) return listening_socket{where, fd, path};
    const int why = errno;
    return failure{fmt::format(
        "could not listen on {}: {}{}",
        is_unix(where) ? path : fmt::format("{}:{}", where.address, where.port),
        std::strerror(why),
        why == EADDRINUSE ? " (another Postern? serve --takeover takes over from it)" : "")};
}

listening_socket listening_socket::adopt(const listener& where, int fd) {
    return {where, fd, {}};
}

void listening_socket::own() {
    path_ = path_of(configured_);
}

listening_socket::listening_socket(listening_socket&& other) noexcept
    : configured_{std::move(other.configured_)}
    , fd_{std::exchange(other.fd_, -1)}
    , path_{std::exchange(other.path_, {})} {}

listening_socket& listening_socket::operator=(listening_socket&& other) noexcept {
    std::swap(configured_, other.configured_);
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
}

listening_socket::~listening_socket() {
    // In this order: once nobody listens, another process may put its own socket there.
    if (!path_.empty()) ::unlink(path_.c_str());
    if (fd_ >= 0) ::close(fd_);
}

listener listening_socket::actual() const {
    auto out = configured_;
    if (!is_unix(out)) out.port = port_of(fd_);
    return out;
}

}  // namespace postern::session
