// The life of a store's connection:
//
//   resting ──timer──> resolving ──> connecting ──set up──> ready ──┐
//      ^  ^                │              │  (AUTH, SELECT, SETNAME) │
//      │  └────failed──────┴──────────────┘                          │
//      └──────────────lost, silent, lying────────────────────────────┘
//
// Requests are only taken when ready, so nothing ever waits for a connection. Replies come in the
// order of requests and all requests have the same time limit, so requests, limits and replies are
// one queue, and one timer looks at its oldest unanswered member. A request whose time is up is
// answered with null and stays in the queue without its caller until its reply comes and is
// dropped. While such a one is at the front Redis is behind, and what is asked now would be
// answered later still: it is refused at once. A front that stays silent too long ends the
// connection.

#include "cache/redis_store.hpp"

#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "cache/redis_link.hpp"
#include "cache/redis_value.hpp"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <deque>
#include <openssl/evp.h>
#include <utility>
#include <vector>

namespace postern::cache {

namespace asio = boost::asio;

namespace {

using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds backoff_first{50};
constexpr milliseconds backoff_max{2000};
/// Values under way to a Redis that takes them slowly; beyond it stores are dropped, since memory
/// spent here is taken from the near store's machine.
constexpr std::size_t unsent_bytes_max = std::size_t{16} << 20;
/// A front that is silent this many time limits long is dead, not slow (half-open TCP).
constexpr int silence_max_timeouts = 10;
/// What a reply is longer than the value in it: its header, and one read's worth of the next.
constexpr std::size_t reply_slack_bytes = std::size_t{64} << 10;

std::string hex_sha256(std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    const int done =
        EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
    POSTERN_ASSERT(done == 1 && size == 32);
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    hex.reserve(std::size_t{2} * size);
    for (unsigned int i = 0; i < size; ++i) {
        hex += digits[digest[i] >> 4];
        hex += digits[digest[i] & 0xf];
    }
    return hex;
}

/// hiredis writes with write(2): to a peer that is gone that is SIGPIPE, whose default ends us.
void ignore_sigpipe() {
    struct sigaction now {};
    if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
        static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
    }
}

}  // namespace

struct redis_store::connection : std::enable_shared_from_this<connection> {
    using find_callback = std::function<void(entry_ptr)>;

    connection(asio::io_context& io, redis_settings settings, std::string_view namespace_token)
        : settings_{std::move(settings)}
        , key_start_{settings_.key_prefix + ':' + std::string{namespace_token} + ':'}
        , limits_{settings_.compress_above_bytes, settings_.value_bytes_max}
        , io_{io}
        , resolver_{io}
        , life_timer_{io}
        , front_timer_{io} {}

    void start();
    void stop();
    void find(std::string_view material, find_callback done);
    void put(const entry_ptr& fresh);
    bool is_ready() const noexcept { return phase_ == phase::ready; }

private:
    enum class phase { resting, resolving, connecting, ready, stopped };

    /// One command that Redis still owes an answer, oldest first.
    struct request {
        std::uint64_t number;
        monotonic_ns sent_at;
        std::string material;  // empty: a store
        find_callback done;    // empty: nobody waits (a store, or the time is up)
    };

    // Connecting.
    void resolve();
    void connect(const std::string& address);
    void set_up();
    void set_up_answered(const redis_reply& reply, std::string_view command, bool is_last);
    void rest(std::string_view why);
    void lost(const redis_link* which);

    // Requests.
    bool may_send(monotonic_ns now) const;
    void refuse(find_callback done);
    void answer_refused();
    void answered(std::uint64_t number, const redis_reply& reply);
    void finish(request ended, const redis_reply& reply);
    void answer_all_with_null();
    void arm_front_timer();
    void front_timer_fired();
    monotonic_ns timeout_ns() const { return nanoseconds{settings_.timeout}.count(); }
    std::string key_of(std::string_view material) const {
        return key_start_ + hex_sha256(material);
    }

    // Constant after construction.
    const redis_settings settings_;
    const std::string key_start_;
    const value_limits limits_;

    asio::io_context& io_;
    asio::ip::tcp::resolver resolver_;
    asio::steady_timer life_timer_;   // resting: until the next attempt; connecting: its time limit
    asio::steady_timer front_timer_;  // until the oldest request that has a caller is out of time
    phase phase_ = phase::resting;
    std::shared_ptr<redis_link> link_;
    milliseconds backoff_ = backoff_first;
    std::string trouble_logged_;

    std::deque<request> owed_;
    std::uint64_t next_number_ = 0;
    std::size_t out_of_time_ = 0;  // how many at the front of owed_ have been given up on
    bool front_timer_armed_ = false;
    std::deque<find_callback> refused_;  // to be answered with null, not from within find()
    bool refused_posted_ = false;
};

void redis_store::connection::start() {
    phase_ = phase::resolving;
    life_timer_.expires_after(settings_.connect_timeout);
    life_timer_.async_wait([self = shared_from_this()](error_code error) {
        if (error || self->phase_ == phase::ready || self->phase_ == phase::resting) return;
        self->rest("connecting took too long");
    });
    if (settings_.unix_socket.empty())
        resolve();
    else
        connect({});
}

void redis_store::connection::resolve() {
    error_code not_numeric;
    asio::ip::make_address(settings_.host, not_numeric);
    if (!not_numeric) return connect(settings_.host);
    // hiredis would resolve within connect() and block this thread.
    resolver_.async_resolve(
        settings_.host,
        std::to_string(settings_.port),
        [self = shared_from_this()](error_code error, const auto& found) {
            if (self->phase_ != phase::resolving) return;
            if (error || found.empty()) return self->rest(error.message());
            self->connect(found.begin()->endpoint().address().to_string());
        });
}

void redis_store::connection::connect(const std::string& address) {
    phase_ = phase::connecting;
    link_ = std::make_shared<redis_link>(io_, settings_.value_bytes_max + reply_slack_bytes);
    const auto when_lost = [weak = weak_from_this(), which = link_.get()] {
        if (const auto self = weak.lock()) self->lost(which);
    };
    const bool begun = settings_.unix_socket.empty()
                           ? link_->connect_tcp(address, settings_.port, when_lost)
                           : link_->connect_unix(settings_.unix_socket, when_lost);
    if (!begun) return rest(link_->trouble());
    set_up();
}

void redis_store::connection::set_up() {
    std::vector<std::vector<std::string_view>> commands;
    const std::string database = std::to_string(settings_.database);
    if (!settings_.password.empty() && !settings_.username.empty()) {
        commands.push_back({"AUTH", settings_.username, settings_.password});
    } else if (!settings_.password.empty()) {
        commands.push_back({"AUTH", settings_.password});
    }
    if (settings_.database != 0) commands.push_back({"SELECT", database});
    commands.push_back({"CLIENT", "SETNAME", "postern"});
    const auto link = link_;
    for (std::size_t i = 0; i < commands.size(); ++i) {
        const bool is_last = i + 1 == commands.size();
        const bool queued = link->command(
            commands[i],
            [weak = weak_from_this(),
             which = link.get(),
             name = std::string{commands[i][0]},
             is_last](const redis_reply& reply) {
                const auto self = weak.lock();
                if (self && self->link_.get() == which) self->set_up_answered(reply, name, is_last);
            });
        if (!queued) return rest("the connection ended while it was set up");
    }
}

void redis_store::connection::set_up_answered(
    const redis_reply& reply,
    std::string_view command,
    bool is_last) {
    if (phase_ != phase::connecting || reply.what == redis_reply::kind::lost) return;
    if (reply.what == redis_reply::kind::error) {
        // A user who may not name its connection may still use it; who isn't let in at all may not.
        const bool harmless = command == "CLIENT" && !reply.text.starts_with("NOAUTH");
        if (!harmless) {
            return rest(std::string{command} + " was answered: " + std::string{reply.text});
        }
    }
    if (!is_last) return;
    phase_ = phase::ready;
    backoff_ = backoff_first;
    trouble_logged_.clear();
    life_timer_.cancel();
    log::info("redis: connected, database {}", settings_.database);
}

/// Gives the connection up, answers what waits for it, and tries again after a while.
void redis_store::connection::rest(std::string_view why) {
    if (phase_ == phase::stopped || phase_ == phase::resting) return;
    phase_ = phase::resting;
    if (trouble_logged_ != why) {  // or else each attempt would say it again
        log::warning("redis: no connection, reads go past it: {}", why);
        trouble_logged_ = why;
    }
    metrics::add(metrics::counter::redis_errors);
    resolver_.cancel();
    if (const auto link = std::exchange(link_, nullptr)) link->close();
    answer_all_with_null();
    if (phase_ == phase::stopped) return;  // an answer may have ended the store
    life_timer_.expires_after(backoff_);
    backoff_ = std::min(backoff_ * 2, backoff_max);
    life_timer_.async_wait([self = shared_from_this()](error_code error) {
        if (!error && self->phase_ == phase::resting) self->start();
    });
}

void redis_store::connection::lost(const redis_link* which) {
    if (link_.get() != which) return;  // one that was given up before
    rest(link_->trouble());
}

void redis_store::connection::stop() {
    phase_ = phase::stopped;
    resolver_.cancel();
    life_timer_.cancel();
    front_timer_.cancel();
    if (const auto link = std::exchange(link_, nullptr)) link->close();
    answer_all_with_null();
    answer_refused();
}

bool redis_store::connection::may_send(monotonic_ns now) const {
    if (phase_ != phase::ready || owed_.size() >= settings_.in_flight_max) return false;
    return owed_.empty() || owed_.front().sent_at + timeout_ns() > now;
}

void redis_store::connection::find(std::string_view material, find_callback done) {
    const auto sent_at = now();
    if (!may_send(sent_at)) return refuse(std::move(done));
    const auto key = key_of(material);
    const std::array<std::string_view, 2> words{"GET", key};
    owed_.push_back({next_number_, sent_at, std::string{material}, std::move(done)});
    const bool queued = link_->command(
        words,
        [weak = weak_from_this(), number = next_number_](const redis_reply& reply) {
            if (const auto self = weak.lock()) self->answered(number, reply);
        });
    if (!queued) {
        auto refused = std::move(owed_.back().done);
        owed_.pop_back();
        return refuse(std::move(refused));
    }
    ++next_number_;
    arm_front_timer();
}

void redis_store::connection::put(const entry_ptr& fresh) {
    const auto sent_at = now();
    if (fresh->expires_at <= sent_at || !may_send(sent_at)) return;
    if (link_->unsent_bytes() > unsent_bytes_max) return;
    const auto value = encode_value(*fresh, limits_);
    if (value.empty()) return;
    constexpr monotonic_ns ns_a_ms = 1'000'000;
    // Rounded up: that it has expired is decided by our own clock, Redis only tidies up. A lifetime
    // that Redis would find too long to add to its own clock is cut to a year.
    constexpr monotonic_ns ttl_max_ms = monotonic_ns{366} * 24 * 3600 * 1000;
    const auto ttl_ms = std::min((fresh->expires_at - sent_at - 1) / ns_a_ms + 1, ttl_max_ms);
    const auto key = key_of(fresh->material);
    const auto ttl = std::to_string(ttl_ms);
    const std::array<std::string_view, 5> words{"SET", key, value, "PX", ttl};
    owed_.push_back({next_number_, sent_at, {}, nullptr});
    const bool queued = link_->command(
        words,
        [weak = weak_from_this(), number = next_number_](const redis_reply& reply) {
            if (const auto self = weak.lock()) self->answered(number, reply);
        });
    if (queued) {
        ++next_number_;
        arm_front_timer();
    } else {
        owed_.pop_back();
    }
}

/// Null, but never from within the caller's own call.
void redis_store::connection::refuse(find_callback done) {
    refused_.push_back(std::move(done));
    if (std::exchange(refused_posted_, true)) return;
    asio::post(io_, [self = shared_from_this()] {
        self->refused_posted_ = false;
        self->answer_refused();
    });
}

/// One at a time out of the member: a caller may end the store, which answers the others.
void redis_store::connection::answer_refused() {
    for (auto count = refused_.size(); count > 0 && !refused_.empty(); --count) {
        const auto done = std::move(refused_.front());
        refused_.pop_front();
        done(nullptr);
    }
}

void redis_store::connection::answered(std::uint64_t number, const redis_reply& reply) {
    // Of a connection given up before: its requests were answered then.
    if (owed_.empty() || owed_.front().number != number) return;
    auto ended = std::move(owed_.front());
    owed_.pop_front();
    if (out_of_time_ > 0) {
        --out_of_time_;
        front_timer_.cancel();  // it may wait for the end of a silence that is over
    }
    finish(std::move(ended), reply);
}

void redis_store::connection::finish(request ended, const redis_reply& reply) {
    using kind = redis_reply::kind;
    const bool is_store = ended.material.empty();
    const auto expected = is_store ? kind::status : kind::bytes;
    if (reply.what != expected && reply.what != kind::nil && reply.what != kind::lost) {
        metrics::add(metrics::counter::redis_errors);
    }
    if (!ended.done) return;
    entry_ptr found;
    if (reply.what == kind::bytes) {
        found = decode_value(reply.text, ended.material, now(), limits_);
    }
    ended.done(std::move(found));
}

void redis_store::connection::answer_all_with_null() {
    out_of_time_ = 0;
    while (!owed_.empty()) {
        const auto one = std::move(owed_.front());
        owed_.pop_front();
        if (one.done) one.done(nullptr);
    }
}

void redis_store::connection::arm_front_timer() {
    if (front_timer_armed_ || owed_.empty()) return;
    // The oldest that still has its time, or, when none has, the front's silence.
    const bool all_late = out_of_time_ == owed_.size();
    const auto at = all_late ? owed_.front().sent_at + timeout_ns() * silence_max_timeouts
                             : owed_[out_of_time_].sent_at + timeout_ns();
    front_timer_armed_ = true;
    front_timer_.expires_after(nanoseconds{std::max<monotonic_ns>(at - now(), 0)});
    front_timer_.async_wait([self = shared_from_this()](error_code error) {
        self->front_timer_armed_ = false;
        if (self->phase_ != phase::ready) return;
        if (error)
            self->arm_front_timer();
        else
            self->front_timer_fired();
    });
}

void redis_store::connection::front_timer_fired() {
    const auto fired_at = now();
    for (; out_of_time_ < owed_.size(); ++out_of_time_) {
        auto& one = owed_[out_of_time_];
        if (one.sent_at + timeout_ns() > fired_at) break;
        metrics::add(metrics::counter::redis_timeouts);
        if (one.done) refused_.push_back(std::exchange(one.done, nullptr));
    }
    // Callers last: one of them may ask again, or end the store.
    const bool silent = !owed_.empty() &&
                        owed_.front().sent_at + timeout_ns() * silence_max_timeouts <= fired_at;
    if (silent)
        rest("Redis does not answer");
    else
        arm_front_timer();
    answer_refused();
}

redis_store::redis_store(asio::io_context& io, redis_settings settings, std::string namespace_token)
    : connection_{std::make_shared<connection>(io, std::move(settings), namespace_token)} {
    ignore_sigpipe();
    connection_->start();
}

redis_store::~redis_store() {
    connection_->stop();
}

void redis_store::find(std::string_view material, std::function<void(entry_ptr)> done) {
    connection_->find(material, std::move(done));
}

void redis_store::put(const entry_ptr& fresh) {
    POSTERN_ASSERT(fresh != nullptr);
    connection_->put(fresh);
}

bool redis_store::connected() const noexcept {
    return connection_->is_ready();
}

}  // namespace postern::cache
