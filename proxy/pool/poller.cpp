#include "pool/poller.hpp"

#include "base/assert.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace postern::pool {

/// Asio's view of our epoll: a descriptor that is readable when one of our sockets is ready. Open
/// only while there are guests: the kernel tells an epoll that watches another of every event.
struct poller::waiter {
    boost::asio::posix::stream_descriptor descriptor;
    bool armed = false;
};

poller::core::core()
    : epoll{epoll_create1(EPOLL_CLOEXEC)}
    , wakes{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
    POSTERN_ASSERT(epoll >= 0 && wakes >= 0);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = this;  // no channel is there
    epoll_ctl(epoll, EPOLL_CTL_ADD, wakes, &event);
}

poller::core::~core() {
    ::close(wakes);
    ::close(epoll);
}

/// Whether the caller is the loop's thread, or there is none.
bool poller::core::is_ours() const noexcept {
    const auto runs = thread.load(std::memory_order_relaxed);
    return runs == std::thread::id{} || runs == std::this_thread::get_id();
}

void poller::core::wake() const noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(::write(wakes, &one, sizeof one));
}

poller::guest::guest(poller& host)
    : core_{host.core_} {
    POSTERN_ASSERT(core_->is_ours());
    ++core_->guests;
}

poller::guest::~guest() {
    --core_->guests;
}

poller::poller(boost::asio::io_context& guests)
    : io_{guests}
    , waiter_{std::make_unique<waiter>(waiter{boost::asio::posix::stream_descriptor{guests}})} {}

poller::~poller() {
    core_->closed = true;
    leave_asio();
    // What is still to be called may hold on to the core, and a timer's task to its timer.
    while (!core_->timers.empty()) {
        auto* late = core_->timers.begin()->second;
        core_->timers.erase(core_->timers.begin());
        const auto uncalled = std::exchange(late->task_, nullptr);
    }
    for (std::vector<std::function<void()>> left; core_->has_tasks.exchange(false); left.clear()) {
        const std::scoped_lock lock{core_->mutex};
        left.swap(core_->tasks);
    }
}

void poller::post(std::function<void()> task) {
    bool first = false;
    {
        const std::scoped_lock lock{core_->mutex};
        first = core_->tasks.empty();
        core_->tasks.push_back(std::move(task));
        core_->has_tasks.store(true, std::memory_order_release);
    }
    // The thread itself looks before it sleeps.
    if (first && core_->thread.load(std::memory_order_relaxed) != std::this_thread::get_id())
        core_->wake();
}

void poller::stop() {
    core_->stopped = true;
    core_->wake();
}

void poller::run() {
    core_->thread = std::this_thread::get_id();
    while (!core_->stopped.load(std::memory_order_relaxed))
        turn(true);
    core_->thread = std::thread::id{};
}

bool poller::run_ready() {
    return turn(false);
}

bool poller::turn(bool may_sleep) {
    const bool ran = run_tasks();
    const bool was_busy = fire_timers() || ran;
    const int timeout = may_sleep ? sleep_limit() : 0;
    if (core_->guests > 0) return host(timeout) || was_busy;
    leave_asio();
    return dispatch(timeout) > 0 || was_busy;
}

void poller::leave_asio() {
    if (!waiter_->descriptor.is_open()) return;
    waiter_->descriptor.release();  // the core closes it
    waiter_->armed = false;
}

/// With what their handlers have others do, all in one round.
bool poller::run_tasks() {
    if (!core_->has_tasks.load(std::memory_order_acquire)) return false;
    {
        const std::scoped_lock lock{core_->mutex};
        running_tasks_.swap(core_->tasks);
        core_->has_tasks.store(false, std::memory_order_relaxed);
    }
    core_->dispatching = true;
    for (auto& task : running_tasks_) {
        task();
        task = nullptr;  // what it held goes before the next is called
    }
    running_tasks_.clear();
    flush();
    core_->dispatching = false;
    return true;
}

bool poller::fire_timers() {
    auto& timers = core_->timers;
    if (timers.empty()) return false;
    const auto at = now();
    bool fired = false;
    core_->dispatching = true;
    // Those that are armed meanwhile are due later than `at`.
    while (!timers.empty() && timers.begin()->first <= at) {
        auto* due = timers.begin()->second;
        timers.erase(timers.begin());
        std::exchange(due->task_, nullptr)();
        fired = true;
    }
    flush();
    core_->dispatching = false;
    return fired;
}

int poller::sleep_limit() const {
    if (core_->has_tasks.load(std::memory_order_relaxed) || !core_->reminded.empty()) return 0;
    if (core_->timers.empty()) return -1;
    constexpr monotonic_ns ns_a_ms = 1'000'000;
    constexpr monotonic_ns longest_ms = 3'600'000;
    const auto left = core_->timers.begin()->first - now();
    return static_cast<int>(std::clamp((left + ns_a_ms - 1) / ns_a_ms, {}, longest_ms));
}

/// Where Asio sleeps, going back to it costs several system calls; under load the next events are
/// there already.
bool poller::host(int timeout_ms) {
    int left = events_between_looks;
    for (int seen = 1; seen > 0 && left > 0; left -= seen)
        seen = dispatch(0);
    if (io_.stopped()) io_.restart();
    if (!waiter_->descriptor.is_open()) waiter_->descriptor.assign(core_->epoll);
    if (!std::exchange(waiter_->armed, true)) {
        waiter_->descriptor.async_wait(
            boost::asio::posix::descriptor_base::wait_read,
            [this](const boost::system::error_code& error) {
                if (!error) waiter_->armed = false;  // else it was left, or is being destroyed
            });
    }
    // What was handled may have left something to be done at once.
    const bool is_idle = left == events_between_looks && sleep_limit() != 0;
    if (is_idle && timeout_ms != 0) {
        const auto limit = timeout_ms < 0 ? std::chrono::hours{1}
                                          : std::chrono::milliseconds{timeout_ms};
        io_.run_one_for(limit);
    }
    core_->round_began_at = now();
    const bool was_idle = io_.poll() == 0 && left == events_between_looks;
    return !was_idle;
}

/// Handles what is there, or the first to come within `timeout_ms` (-1: whenever).
int poller::dispatch(int timeout_ms) {
    core_->dispatching = true;
    const int seen = dispatch_round(timeout_ms);
    const int reminded = dispatch_reminded();
    core_->dispatching = false;
    POSTERN_ASSERT(core_->gathering.empty());
    return std::max(seen, 0) + reminded;
}

int poller::dispatch_reminded() {
    auto& all = core_->reminded;
    // Whoever is reminded meanwhile has their turn in the next round.
    const auto count = all.size();
    for (std::size_t i = 0; i < count; ++i) {
        auto* target = std::exchange(all[i], nullptr);
        if (target == nullptr || !target->has_more_) continue;
        if ((target->interest_ & EPOLLIN) == 0 && !target->is_gone_) continue;
        target->handler_->on_readable();
    }
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    if (count != 0) flush();
    return static_cast<int>(count);
}

void poller::flush() {
    auto& all = core_->gathering;
    for (std::size_t i = 0; i < all.size(); ++i) {  // one that is flushed may make others gather
        auto* target = std::exchange(all[i], nullptr);
        if (target == nullptr) continue;
        target->flushes_soon_ = false;
        target->handler_->on_flush();
    }
    all.clear();
}

void poller::dispatch_event(channel& target, std::uint32_t events) {
    if (target.edges_) target.note_edge(events);
    if ((events & EPOLLOUT) == 0) return target.handler_->on_readable();
    if (target.reads_by_writing_) {
        target.needs_write_to_read(false);
        return target.handler_->on_readable();
    }
    // The handler may close the channel; a read event then is of no interest any more, and if it
    // was not closed it is told of again.
    target.handler_->on_writable();
}

int poller::dispatch_round(int timeout_ms) {
    auto& round = *core_;
    const int seen = epoll_wait(round.epoll, round.events.data(), events_per_round, timeout_ms);
    round.round_began_at = now();
    round.ready = seen;
    round.done = 0;
    // An idle server's end is heard before anyone of the same round could be lent it.
    for (int i = 0; i < round.ready; ++i) {
        auto& event = round.events[static_cast<std::size_t>(i)];
        if (event.data.ptr == core_.get()) {
            std::uint64_t count = 0;
            static_cast<void>(::read(round.wakes, &count, sizeof count));
            event.data.ptr = nullptr;  // what was posted is looked for before each sleep
        }
        auto* target = static_cast<channel*>(event.data.ptr);
        if (target == nullptr || !target->at_rest_) continue;
        event.data.ptr = nullptr;
        if (target->edges_) target->note_edge(event.events);
        target->handler_->on_readable();
    }
    while (round.done < round.ready) {
        const epoll_event event = round.events[static_cast<std::size_t>(round.done++)];
        auto* target = static_cast<channel*>(event.data.ptr);
        if (target == nullptr) continue;  // forgotten by an earlier handler of this round
        dispatch_event(*target, event.events);
        if (round.done % events_between_flushes == 0) flush();
    }
    round.ready = 0;
    flush();
    return seen;
}

void poller::core::forget(const channel* gone) noexcept {
    for (int i = done; i < ready; ++i) {
        auto& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == gone) event.data.ptr = nullptr;
    }
    std::ranges::replace(reminded, const_cast<channel*>(gone), nullptr);
    if (gone->flushes_soon_) std::ranges::replace(gathering, const_cast<channel*>(gone), nullptr);
}

void poller::core::remind(channel* of) {
    if (!closed) reminded.push_back(of);
}

void timer::expires_after(std::chrono::nanoseconds wait, std::function<void()> task) {
    POSTERN_ASSERT(core_->is_ours());
    cancel();
    due_ = now() + std::max<monotonic_ns>(wait.count(), 0);
    task_ = std::move(task);
    core_->timers.emplace(due_, this);
}

void timer::cancel() noexcept {
    if (!task_) return;
    core_->timers.erase({due_, this});
    task_ = nullptr;
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
    event.events = events_wanted();
    event.data.ptr = this;
    epoll_ctl(core_->epoll, EPOLL_CTL_ADD, fd_, &event);
    if (has_more_) core_->remind(this);
}

void channel::detach() noexcept {
    if (core_ == nullptr) return;
    core_->forget(this);
    flushes_soon_ = false;
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

void channel::flush_soon() {
    POSTERN_ASSERT(in_round());
    if (std::exchange(flushes_soon_, true)) return;
    core_->gathering.push_back(this);
}

std::uint32_t channel::events_wanted() const noexcept {
    std::uint32_t wanted = interest_ | (reads_by_writing_ ? EPOLLOUT : 0U);
    if (edges_) wanted |= EPOLLET | ((interest_ & EPOLLIN) != 0 ? EPOLLRDHUP : 0U);
    return wanted;
}

void channel::report_changes_only() noexcept {
    if (std::exchange(edges_, true)) return;
    register_interest();
}

/// Of what is told once: the end, which may come with bytes in front of it; bytes to be read along
/// with room to write; and whatever the one who is told does not receive.
void channel::note_edge(std::uint32_t events) noexcept {
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0) has_more_ = true;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) has_ended_ = is_gone_ = true;
    if ((events & EPOLLRDHUP) != 0) has_ended_ = true;
    if ((events & EPOLLOUT) != 0 && (events & EPOLLIN) != 0) tell_again();
}

/// on_readable is called once more, whether an event comes or not.
void channel::tell_again() noexcept {
    has_more_ = true;
    if (core_ != nullptr) core_->remind(this);
}

void channel::set_handler(socket_handler& handler, bool at_rest) noexcept {
    handler_ = &handler;
    at_rest_ = at_rest;
    // The one before may not have taken it: while a server is handed over nobody reads from it.
    if (has_more_) tell_again();
}

void channel::update(std::uint32_t wanted) noexcept {
    if (wanted == interest_) return;
    interest_ = wanted;
    register_interest();
}

void channel::register_interest() noexcept {
    if (core_ == nullptr || fd_ < 0) return;
    epoll_event event{};
    event.events = events_wanted();
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
    has_more_ = false;
    if (count > 0) {
        const auto received = static_cast<std::size_t>(count);
        // Less than was asked for is all that there was.
        if (edges_ && (received == size || has_ended_)) tell_again();
        return {io_state::done, received};
    }
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
