#include "pool/poller.hpp"

#include "base/assert.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace postern::pool {

/// Asio's view of our epoll: a descriptor that is readable when one of our sockets is ready.
struct poller::waiter {
    boost::asio::posix::stream_descriptor descriptor;
};

poller::poller(boost::asio::io_context& io)
    : io_{io} {
    core_->epoll = epoll_create1(EPOLL_CLOEXEC);
    POSTERN_ASSERT(core_->epoll >= 0);
    waiter_ = std::make_unique<waiter>(
        waiter{boost::asio::posix::stream_descriptor{io, core_->epoll}});
    arm();
}

poller::~poller() = default;  // the descriptor closes the epoll

void poller::arm() {
    using boost::asio::posix::descriptor_base;
    waiter_->descriptor.async_wait(
        descriptor_base::wait_read,
        [this](const boost::system::error_code& error) {
            if (error) return;  // destroyed or stopping
            // Going back to Asio costs two system calls; under load the next events are there
            // already.
            for (int left = events_between_looks; left > 0;) {
                const int seen = dispatch_round();
                if (seen <= 0) break;
                left -= seen;
            }
            arm();
        });
}

int poller::dispatch_round() {
    auto& round = *core_;
    const int seen = epoll_wait(round.epoll, round.events.data(), events_per_round, 0);
    round.ready = seen;
    for (round.done = 0; round.done < round.ready;) {
        const epoll_event event = round.events[static_cast<std::size_t>(round.done++)];
        auto* target = static_cast<channel*>(event.data.ptr);
        if (target == nullptr) continue;  // forgotten by an earlier handler of this round
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
    event.events = interest_;
    event.data.ptr = this;
    epoll_ctl(core_->epoll, EPOLL_CTL_ADD, fd_, &event);
}

void channel::detach() noexcept {
    if (core_ == nullptr) return;
    core_->forget(this);
    epoll_ctl(core_->epoll, EPOLL_CTL_DEL, fd_, nullptr);
    core_ = nullptr;
}

void channel::close() noexcept {
    if (fd_ < 0) return;
    detach();
    ::close(fd_);
    fd_ = -1;
}

void channel::hang_up() noexcept {
    if (fd_ < 0) return;
    ::shutdown(fd_, SHUT_WR);
    char unread[4096];
    for (int i = 0; i < 256 && receive(unread, sizeof unread).state == io_state::done; ++i) {
    }
    close();
}

void channel::update(std::uint32_t wanted) noexcept {
    if (wanted == interest_) return;
    interest_ = wanted;
    if (core_ == nullptr || fd_ < 0) return;
    epoll_event event{};
    event.events = interest_;
    event.data.ptr = this;
    epoll_ctl(core_->epoll, EPOLL_CTL_MOD, fd_, &event);
}

void channel::want_read(bool wanted) noexcept {
    update(wanted ? interest_ | EPOLLIN : interest_ & ~std::uint32_t{EPOLLIN});
}

void channel::want_write(bool wanted) noexcept {
    update(wanted ? interest_ | EPOLLOUT : interest_ & ~std::uint32_t{EPOLLOUT});
}

channel::io_result channel::receive(char* into, std::size_t size) noexcept {
    if (fd_ < 0) return {io_state::closed};
    const ssize_t count = ::recv(fd_, into, size, MSG_DONTWAIT);
    if (count > 0) return {io_state::done, static_cast<std::size_t>(count)};
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return {io_state::would_block};
    }
    return {io_state::closed};
}

channel::io_result channel::send(std::string_view bytes) noexcept {
    if (fd_ < 0) return {io_state::closed};
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) return {io_state::done, static_cast<std::size_t>(count)};
    if (errno == EAGAIN || errno == EINTR) return {io_state::would_block};
    return {io_state::closed};
}

}  // namespace postern::pool
