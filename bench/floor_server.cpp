// The floor under every proxy's figures: one thread that answers pgbench's point select with
// ready-made bytes. It speaks as much of protocol 3 as pgbench needs and knows no SQL, so what it
// spends on a transaction is what the kernel asks for one request and one reply, and next to
// nothing else.
//
//     floor_server [PORT]     listens on 127.0.0.1; port 0, or none: any free one. Prints the port.

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <unordered_map>

namespace {

constexpr std::uint32_t protocol_3 = 196608;
constexpr std::uint32_t ssl_request = 80877103;
constexpr std::uint32_t gss_request = 80877104;
constexpr std::size_t message_bytes_max = std::size_t{1} << 20;

std::uint32_t load_32(const char* at) {
    std::uint32_t big_endian = 0;
    std::memcpy(&big_endian, at, sizeof big_endian);
    return ntohl(big_endian);
}

std::string int_16(std::uint16_t value) {
    const std::uint16_t big_endian = htons(value);
    std::string bytes(sizeof big_endian, '\0');
    std::memcpy(bytes.data(), &big_endian, sizeof big_endian);
    return bytes;
}

std::string int_32(std::uint32_t value) {
    const std::uint32_t big_endian = htonl(value);
    std::string bytes(sizeof big_endian, '\0');
    std::memcpy(bytes.data(), &big_endian, sizeof big_endian);
    return bytes;
}

std::string text(std::string_view value) {
    return std::string(value) + '\0';
}

std::string message(char type, const std::string& body) {
    return std::string(1, type) + int_32(static_cast<std::uint32_t>(body.size() + 4)) + body;
}

std::string row_description() {
    // abalance: no table, attribute 0, int4, 4 bytes, no modifier, text format.
    return message(
        'T',
        int_16(1) + text("abalance") + int_32(0) + int_16(0) + int_32(23) + int_16(4) +
            int_32(0xffffffff) + int_16(0));
}

std::string error(std::string_view sqlstate, std::string_view why) {
    return message(
        'E',
        "S" + text("ERROR") + "V" + text("ERROR") + "C" + text(sqlstate) + "M" + text(why) + '\0');
}

/// Every reply there is, put together once.
struct replies {
    std::string ready = message('Z', "I");
    std::string parsed = message('1', "");
    std::string bound = message('2', "");
    std::string closed = message('3', "");
    std::string parameters = message('t', int_16(1) + int_32(23));
    std::string description = row_description();
    std::string row = message('D', int_16(1) + int_32(1) + "0") + message('C', text("SELECT 1"));
    std::string select = description + row + ready;
    std::string refused = error("0A000", "only the point select is answered here") + ready;
    std::string welcome = message('R', int_32(0)) +
                          message('S', text("server_version") + text("15.0")) +
                          message('S', text("server_encoding") + text("UTF8")) +
                          message('S', text("client_encoding") + text("UTF8")) +
                          message('S', text("DateStyle") + text("ISO, MDY")) +
                          message('S', text("integer_datetimes") + text("on")) +
                          message('S', text("standard_conforming_strings") + text("on")) +
                          message('K', int_32(1) + int_32(1)) + ready;
};

class connection {
public:
    connection(int socket, const replies& ready_made)
        : socket_(socket)
        , ready_made_(ready_made) {}
    ~connection() { ::close(socket_); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    /// Reads what is there, answers every whole message in one send. False: the connection has
    /// ended.
    bool serve() {
        std::array<char, 16384> chunk;
        const ssize_t got = ::recv(socket_, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (got <= 0) return false;
        std::string_view bytes(chunk.data(), static_cast<std::size_t>(got));
        const bool kept = !pending_.empty();
        if (kept) bytes = pending_.append(bytes);
        replying_.clear();
        const std::size_t used = consume(bytes);
        if (ended_) return false;
        if (kept) {
            pending_.erase(0, used);
        } else if (used < bytes.size()) {
            pending_.assign(bytes.substr(used));
        }
        return flush();
    }

private:
    std::size_t consume(std::string_view bytes) {
        std::size_t used = 0;
        while (!ended_) {
            const std::string_view rest = bytes.substr(used);
            const std::size_t header = started_ ? 5 : 4;
            if (rest.size() < header) break;
            const std::size_t length = load_32(rest.data() + header - 4) + header - 4;
            if (length < header || length > message_bytes_max) ended_ = true;
            if (ended_ || rest.size() < length) break;
            if (started_) {
                answer(rest[0], rest.substr(header, length - header));
            } else {
                start(rest.substr(header, length - header));
            }
            used += length;
        }
        return used;
    }

    void start(std::string_view body) {
        const std::uint32_t code = body.size() < 4 ? 0 : load_32(body.data());
        if (code == ssl_request || code == gss_request) {
            replying_ += 'N';
        } else if (code == protocol_3) {
            started_ = true;
            replying_ += ready_made_.welcome;
        } else {
            ended_ = true;
        }
    }

    void answer(char type, std::string_view body) {
        switch (type) {
        case 'P': replying_ += ready_made_.parsed; break;
        case 'B': replying_ += ready_made_.bound; break;
        case 'D':
            if (body.starts_with('S')) replying_ += ready_made_.parameters;
            replying_ += ready_made_.description;
            break;
        case 'E': replying_ += ready_made_.row; break;
        case 'S': replying_ += ready_made_.ready; break;
        case 'C': replying_ += ready_made_.closed; break;
        case 'H': break;
        case 'Q':
            replying_ += body.starts_with("SELECT abalance") ? ready_made_.select
                                                             : ready_made_.refused;
            break;
        default: ended_ = true;
        }
    }

    /// The socket blocks on sending: a reply is far smaller than its buffer, and pgbench always
    /// reads.
    bool flush() {
        std::string_view rest = replying_;
        while (!rest.empty()) {
            const ssize_t sent = ::send(socket_, rest.data(), rest.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0) return false;
            rest.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    int socket_;
    const replies& ready_made_;
    bool started_ = false;
    bool ended_ = false;
    std::string pending_;   ///< the beginning of a message whose end has not come yet
    std::string replying_;  ///< kept for its capacity
};

[[noreturn]] void give_up(const char* what) {
    std::perror(what);
    std::exit(EXIT_FAILURE);
}

int listen_on(std::uint16_t port) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) give_up("socket");
    const int on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) give_up("bind");
    if (::listen(listener, SOMAXCONN) != 0) give_up("listen");
    if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        give_up("getsockname");
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    return listener;
}

void watch(int poll, int socket) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket;
    if (::epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event) != 0) give_up("epoll_ctl");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned long port = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0;
    const int listener = listen_on(static_cast<std::uint16_t>(port));
    const int poll = ::epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) give_up("epoll_create1");
    watch(poll, listener);
    const replies ready_made;
    std::unordered_map<int, std::unique_ptr<connection>> connections;
    std::array<epoll_event, 64> events{};
    for (;;) {
        const int count = ::epoll_wait(poll, events.data(), static_cast<int>(events.size()), -1);
        if (count < 0 && errno != EINTR) give_up("epoll_wait");
        for (int i = 0; i < count; ++i) {
            const int socket = events[static_cast<std::size_t>(i)].data.fd;
            if (socket != listener) {
                if (!connections.at(socket)->serve()) connections.erase(socket);
                continue;
            }
            const int accepted = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
            if (accepted < 0) continue;
            const int on = 1;
            ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            connections[accepted] = std::make_unique<connection>(accepted, ready_made);
            watch(poll, accepted);
        }
    }
}
