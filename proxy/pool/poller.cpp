#include "pool/poller.hpp"

#include "base/assert.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace postern::pool {

/// Asio's view of our epoll: a descriptor that is readable when one of our sockets is ready.
struct poller::waiter {
    boost::asio::posix::stream_descriptor descriptor;
};

poller::poller(boost::asio::io_context& io)
    : io_{io} {
    core_->epoll = epoll_create1(EPOLL_CLOEXEC);
    core_->owner = this;
    POSTERN_ASSERT(core_->epoll >= 0);
    waiter_ = std::make_unique<waiter>(
        waiter{boost::asio::posix::stream_descriptor{io, core_->epoll}});
    arm();
}

poller::~poller() {
    core_->owner = nullptr;  // the descriptor closes the epoll
}

void poller::arm() {
    using boost::asio::posix::descriptor_base;
    waiter_->descriptor.async_wait(
        descriptor_base::wait_read,
        [this](const boost::system::error_code& error) {
            if (error) return;  // destroyed or stopping
            dispatch();
            arm();
        });
}

/// Going back to Asio costs two system calls; under load the next events are there already.
void poller::dispatch() {
    core_->dispatching = true;
    for (int left = events_between_looks; left > 0;) {
        const int seen = dispatch_round() + dispatch_reminded();
        if (seen <= 0) break;
        left -= seen;
    }
    core_->dispatching = false;
    if (!core_->reminded.empty()) dispatch_soon();
}

void poller::dispatch_soon() {
    boost::asio::post(io_, [this] { dispatch(); });
}

int poller::dispatch_reminded() {
    auto& all = core_->reminded;
    // Whoever is reminded meanwhile has their turn in the next round.
    const auto count = all.size();
    for (std::size_t i = 0; i < count; ++i) {
        auto* target = std::exchange(all[i], nullptr);
        if (target == nullptr || !target->has_more_ || (target->interest_ & EPOLLIN) == 0) continue;
        target->handler_->on_readable();
    }
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    return static_cast<int>(count);
}

int poller::dispatch_round() {
    auto& round = *core_;
    const int seen = epoll_wait(round.epoll, round.events.data(), events_per_round, 0);
    round.ready = seen;
    round.done = 0;
    // An idle server's end is heard before anyone of the same round could be lent it.
    for (int i = 0; i < round.ready; ++i) {
        auto& event = round.events[static_cast<std::size_t>(i)];
        auto* target = static_cast<channel*>(event.data.ptr);
        if (target == nullptr || !target->at_rest_) continue;
        event.data.ptr = nullptr;
        target->handler_->on_readable();
    }
    while (round.done < round.ready) {
        const epoll_event event = round.events[static_cast<std::size_t>(round.done++)];
        auto* target = static_cast<channel*>(event.data.ptr);
        if (target == nullptr) continue;  // forgotten by an earlier handler of this round
        if ((event.events & EPOLLOUT) != 0 && target->reads_by_writing_) {
            target->needs_write_to_read(false);
            target->handler_->on_readable();
            continue;
        }
        if ((event.events & EPOLLOUT) != 0) {
            // The handler may close the channel; a read event then is of no interest any more, and
            // if it was not closed level triggering reports it again in the next round.
            target->handler_->on_writable();
            continue;
        }
        target->handler_->on_readable();
    }
    round.ready = 0;
    return seen;
}

void poller::core::forget(const channel* gone) noexcept {
    for (int i = done; i < ready; ++i) {
        auto& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == gone) event.data.ptr = nullptr;
    }
    std::ranges::replace(reminded, const_cast<channel*>(gone), nullptr);
}

void poller::core::remind(channel* of) {
    if (owner == nullptr) return;
    reminded.push_back(of);
    if (!dispatching) owner->dispatch_soon();
}

channel::channel(poller& where, int fd, socket_handler& handler)
    : fd_{fd}
    , handler_{&handler}
    , interest_{EPOLLIN} {
    const int flags = fcntl(fd, F_GETFL, 0);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    attach(where);
}

channel::~channel() {
    close();
}

void channel::attach(poller& where) noexcept {
    POSTERN_ASSERT(core_ == nullptr);
    core_ = where.core_;
    epoll_event event{};
    event.events = interest_ | (reads_by_writing_ ? EPOLLOUT : 0U);
    event.data.ptr = this;
    epoll_ctl(core_->epoll, EPOLL_CTL_ADD, fd_, &event);
    if (has_more_) core_->remind(this);
}

void channel::detach() noexcept {
    if (core_ == nullptr) return;
    core_->forget(this);
    epoll_ctl(core_->epoll, EPOLL_CTL_DEL, fd_, nullptr);
    core_ = nullptr;
}

std::string channel::local_address() const {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (fd_ < 0 || ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size) != 0) return {};
    char text[INET6_ADDRSTRLEN] = "";
    if (name.ss_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return std::string{text} + ":" + std::to_string(ntohs(v4->sin_port));
    }
    if (name.ss_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name);
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        return "[" + std::string{text} + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    return "unix";
}

void channel::close() noexcept {
    if (fd_ < 0) return;
    detach();
    ::close(fd_);
    fd_ = -1;
}

void channel::hang_up() noexcept {
    if (fd_ < 0) return;
    if (tls_) tls_->shut_down();
    ::shutdown(fd_, SHUT_WR);
    char unread[4096];
    for (int i = 0; i < 256 && receive(unread, sizeof unread).state == io_state::done; ++i) {
    }
    close();
}

void channel::update(std::uint32_t wanted) noexcept {
    if (wanted == interest_) return;
    interest_ = wanted;
    register_interest();
}

void channel::register_interest() noexcept {
    if (core_ == nullptr || fd_ < 0) return;
    epoll_event event{};
    event.events = interest_ | (reads_by_writing_ ? EPOLLOUT : 0U);
    event.data.ptr = this;
    epoll_ctl(core_->epoll, EPOLL_CTL_MOD, fd_, &event);
}

void channel::needs_write_to_read(bool needed) noexcept {
    if (needed == reads_by_writing_) return;
    reads_by_writing_ = needed;
    register_interest();
}

void channel::want_read(bool wanted) noexcept {
    const bool again = wanted && has_more_ && (interest_ & EPOLLIN) == 0;
    if (again && core_ != nullptr) core_->remind(this);
    update(wanted ? interest_ | EPOLLIN : interest_ & ~std::uint32_t{EPOLLIN});
}

void channel::want_write(bool wanted) noexcept {
    update(wanted ? interest_ | EPOLLOUT : interest_ & ~std::uint32_t{EPOLLOUT});
}

channel::io_result channel::receive(char* into, std::size_t size) noexcept {
    if (fd_ < 0) return {io_state::closed};
    if (tls_) return receive_secured(into, size);
    const ssize_t count = ::recv(fd_, into, size, MSG_DONTWAIT);
    if (count > 0) return {io_state::done, static_cast<std::size_t>(count)};
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return {io_state::would_block};
    }
    return {io_state::closed};
}

channel::io_result channel::send(std::string_view bytes) noexcept {
    if (fd_ < 0) return {io_state::closed};
    if (tls_) return send_secured(bytes);
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) return {io_state::done, static_cast<std::size_t>(count)};
    if (errno == EAGAIN || errno == EINTR) return {io_state::would_block};
    return {io_state::closed};
}

/// Record after record, until the socket has no more or `into` is full: then more may lie in TLS,
/// of which no event tells.
channel::io_result channel::receive_secured(char* into, std::size_t size) noexcept {
    has_more_ = false;
    std::size_t count = 0;
    while (count < size) {
        const auto got = tls_->receive(into + count, size - count);
        if (got.what == auth::tls_stream::state::done) {
            count += got.count;
            continue;
        }
        needs_write_to_read(got.what == auth::tls_stream::state::wants_write);
        const bool ended = got.what == auth::tls_stream::state::closed;
        if (count == 0) return {ended ? io_state::closed : io_state::would_block};
        has_more_ = ended;  // the end is told by the next call
        break;
    }
    has_more_ |= count == size;
    if (has_more_ && core_ != nullptr) core_->remind(this);
    return {io_state::done, count};
}

channel::io_result channel::send_secured(std::string_view bytes) noexcept {
    std::size_t count = 0;
    while (count < bytes.size()) {
        const auto sent = tls_->send(bytes.substr(count));
        if (sent.what != auth::tls_stream::state::done) {
            if (sent.what == auth::tls_stream::state::closed) return {io_state::closed};
            if (count == 0) return {io_state::would_block};
            break;
        }
        count += sent.count;
    }
    return {io_state::done, count};
}

channel::io_result channel::handshake() noexcept {
    if (fd_ < 0 || tls_ == nullptr) return {io_state::closed};
    switch (tls_->handshake().what) {
    case auth::tls_stream::state::done: return {io_state::done};
    case auth::tls_stream::state::wants_read: want_write(false); return {io_state::would_block};
    case auth::tls_stream::state::wants_write: want_write(true); return {io_state::would_block};
    default: return {io_state::closed};
    }
}

char channel::peek() const noexcept {
    char first = 0;
    if (fd_ >= 0) static_cast<void>(::recv(fd_, &first, 1, MSG_DONTWAIT | MSG_PEEK));
    return first;
}

}  // namespace postern::pool
