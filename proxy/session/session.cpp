#include "session/session.hpp"

#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"

#include <sys/socket.h>

namespace postern::session {

namespace {

/// Unconsumed bytes of a busy client that are read ahead; beyond, TCP holds the client back.
constexpr std::size_t read_ahead_max = std::size_t{1} << 20;
/// Unsent bytes towards a slow client before its server is not read any more.
constexpr std::size_t backlog_max = std::size_t{256} << 10;
/// Buffers larger than this are given back once they are empty: an idle client owns none.
constexpr std::size_t kept_capacity = 4096;

/// The process at the other end of a Unix socket.
std::int32_t pid_of_peer(int fd) {
    ucred who{};
    socklen_t size = sizeof who;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? who.pid : 0;
}

void shrink(std::string& buffer) {
    if (buffer.empty() && buffer.capacity() > kept_capacity) std::string{}.swap(buffer);
}

}  // namespace

void session::events::on_readable() {
    if (of == side::client) {
        owner.on_client_readable();
    } else if (owner.replication_ != nullptr) {
        owner.on_replication_readable();
    } else {
        owner.on_server_readable();
    }
}

void session::events::on_flush() {
    if (of == side::client) {
        owner.on_client_flush();
    } else {
        owner.on_server_writable();
    }
}

void session::events::on_writable() {
    if (of == side::client) {
        owner.on_client_writable();
    } else {
        owner.on_server_writable();
    }
}

session::session(worker& home, int client_fd, std::string address, std::uint64_t id)
    : worker_{home}
    , id_{id}
    , address_{std::move(address)}
    , connected_at_{postern::now()}
    , client_events_{*this, events::side::client}
    , client_{home.events, client_fd, client_events_}
    , settings_{home.settings()}
    , traffic_{&home.traffics[""]}
    , server_events_{*this, events::side::server}
    , front_{*home.front} {
    metrics::add(metrics::counter::clients_accepted);
    start_wait_timer(settings_->login_timeout, &session::on_login_timeout);
}

session::~session() {
    if (cancel_key_ != 0) worker_.shared.cancels.remove(cancel_key_);
    if (pool_) pool_->cancel(wait_ticket_);
    if (server_) drop_server();
    if (has_place_) --worker_.shared.places_taken;
    if (is_counted_) worker_.shared.clients_by_name.leave(database_->name, user_);
    --worker_.load;
    --worker_.shared.clients;
}

void session::on_client_readable() {
    if (!std::exchange(looked_for_tls_, true)) look_for_direct_tls();
    auto& scratch = worker_.scratch;
    const auto got = client_.receive(scratch.data(), scratch.size());
    if (got.state == pool::channel::io_state::would_block) return;
    if (got.state == pool::channel::io_state::closed) {
        if (phase_ == phase::startup && client_.tls() != nullptr && !client_.tls()->error().empty())
            log::info("client {} {}: TLS failed: {}", id_, address_, client_.tls()->error());
        // The client may only have closed its sending side: what it asked for is still answered,
        // as PostgreSQL does. A client that is gone altogether shows when something is sent to it.
        if (std::exchange(half_closed_, true)) return client_vanished();
        client_.want_read(false);
        if (running_) start_wait_timer(std::chrono::seconds{1}, &session::probe_client);
        if (phase_ != phase::ready || copy_in_) return client_vanished();
        if (!busy()) flush_client();  // what it may still read
        if (!busy() && out_.empty() && !client_gone_) client_vanished();
        return;
    }
    metrics::add(metrics::counter::bytes_from_clients, got.count);
    traffic_->received += got.count;
    if (in_.empty()) {
        const std::string_view bytes{scratch.data(), got.count};
        const auto used = consume(bytes);
        if (destroyed_) return;
        if (used < bytes.size()) in_.assign(bytes.substr(used));
    } else {
        in_.append(scratch.data(), got.count);
        const auto used = consume(in_);
        if (destroyed_) return;
        in_.erase(0, used);
        shrink(in_);
    }
    end_if_stopping();
}

/// A resting point: a session that was told to stop may have become idle.
void session::end_if_stopping() {
    if (stopping_) stop(false);
    if (!destroyed_) back_pressure();
}

/// Tells a client that has closed both sides from one that still reads: something harmless that may
/// come at any time is sent, which the kernel of a client that is gone answers with a reset.
void session::probe_client() {
    if (!running_ || relay_rest_ != 0 || !out_.empty() || !server_ || server_->parameters.empty())
        return;
    std::string out;
    const auto& [name, value] = server_->parameters.front();
    wire::write_parameter_status(out, name, value);
    send_to_client(out);
}

std::size_t session::consume(std::string_view bytes) {
    std::size_t used = 0;
    consuming_ = true;
    // A phase hands over to the next within one piece: startup and first query may come together.
    for (;;) {
        const auto before = phase_;
        const auto rest = bytes.substr(used);
        switch (phase_) {
        case phase::startup: used += consume_startup(rest); break;
        case phase::authenticating: used += consume_authentication(rest); break;
        case phase::welcoming: break;
        case phase::ready: used += consume_ready(rest); break;
        case phase::console: used += consume_console(rest); break;
        case phase::replicating: used += consume_replication(rest); break;
        case phase::closing: used = bytes.size(); break;
        }
        if (destroyed_ || phase_ == before || used == bytes.size()) break;
    }
    consuming_ = false;
    return used;
}

void session::resume() {
    // What is being consumed goes on by itself.
    if (destroyed_ || consuming_ || busy()) return;
    if (!in_.empty()) {
        const auto used = consume(in_);
        if (destroyed_) return;
        in_.erase(0, used);
        shrink(in_);
    }
    if (busy()) return;
    if (half_closed_) {
        // It still reads.
        flush_client();
        if (out_.empty() && !client_gone_) client_vanished();
        return;
    }
    end_if_stopping();
}

void session::back_pressure() {
    if (half_closed_ || client_gone_) return;
    const bool ahead = in_.size() > read_ahead_max && busy() && !copy_in_;
    const bool server_full = server_ != nullptr && server_->unsent() > backlog_max;
    client_.want_read(!ahead && !server_full && out_.size() <= backlog_max * 4);
}

void session::send_to_client(std::string_view bytes) {
    if (client_gone_ || said_farewell_ || bytes.empty()) return;
    metrics::add(metrics::counter::bytes_to_clients, bytes.size());
    traffic_->sent += bytes.size();
    if (client_.in_round() && !client_.wants_write() &&
        out_.size() + bytes.size() <= gathered_max) {
        if (out_.empty()) out_ = worker_.spare_buffer();
        out_.append(bytes);
        client_.flush_soon();
        return;
    }
    flush_client();
    if (client_gone_) return;
    if (out_.empty()) {
        const auto sent = client_.send(bytes);
        if (sent.state == pool::channel::io_state::closed) return lose_client();
        if (sent.state == pool::channel::io_state::done) bytes.remove_prefix(sent.count);
        if (bytes.empty()) return;
    }
    out_.append(bytes);
    client_.want_write(true);
    if (server_ && out_.size() > backlog_max) {
        server_->link.want_read(false);
        leave_flights();
    }
}

/// Found out while something is being relayed: the state machine goes on without a client and ends
/// at its next resting point.
void session::lose_client() {
    client_gone_ = true;
    worker_.events.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->client_vanished();
    });
}

/// Sends what has been gathered for the client now; what its socket does not take waits for it.
void session::flush_client() {
    if (out_.empty() || client_.wants_write()) return;
    const auto sent = client_.send(out_);
    if (sent.state == pool::channel::io_state::closed) return lose_client();
    if (sent.state == pool::channel::io_state::done && sent.count == out_.size())
        return worker_.keep_buffer(std::move(out_));
    if (sent.state == pool::channel::io_state::done) out_.erase(0, sent.count);
    client_.want_write(true);
}

void session::on_client_flush() {
    flush_client();
    if (phase_ != phase::closing || delivers_cancel_) return;
    if (out_.empty() && !server_ && !client_gone_) destroy();
}

void session::on_client_writable() {
    const auto sent = client_.send(out_);
    if (sent.state == pool::channel::io_state::closed) return client_vanished();
    if (sent.state == pool::channel::io_state::done) out_.erase(0, sent.count);
    if (!out_.empty()) return;
    shrink(out_);
    client_.want_write(false);
    if (phase_ == phase::closing) {
        if (!server_) destroy();
        return;
    }
    if (server_) server_->link.want_read(true);
    resume();
}

void session::fail_client(
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message) {
    if (is_mid_row()) return;
    std::string out;
    wire::write_error(out, severity, sqlstate, message);
    send_to_client(out);
    said_farewell_ |= severity == "FATAL";
}

void session::protocol_violation(std::string_view message) {
    metrics::add(metrics::counter::client_errors);
    log::info("client {} {}: {}", id_, address_, message);
    fail_client("FATAL", "08P01", message);
    end();
}

/// Tells the client why it has to go, and ends the session. What its server still answers is not
/// passed on; a client that does not read, or has not finished TLS's handshake, is not waited for.
void session::farewell(std::string_view sqlstate, std::string_view message) {
    log::info("client {} {}: {}", id_, address_, message);
    fail_client("FATAL", sqlstate, message);
    said_farewell_ = true;
    flush_client();
    if (!out_.empty()) return client_vanished();
    end();
}

/// The client is to go: what is composed is still sent, and the server made fit for others.
void session::end() {
    if (phase_ == phase::closing) return;
    phase_ = phase::closing;
    stop_wait_timer();
    if (pool_) pool_->cancel(wait_ticket_);
    ++wait_number_;
    waiting_for_ = nullptr;
    client_.want_read(false);
    if (replication_) end_replication();
    if (server_) return resynchronise();
    if (out_.empty()) destroy();
}

void session::client_vanished() {
    if (destroyed_) return;
    client_gone_ = true;
    client_.close();
    out_.clear();
    if (phase_ == phase::closing) {
        if (!server_) destroy();
        return;
    }
    end();
}

void session::destroy() {
    if (destroyed_) return;
    destroyed_ = true;
    client_.hang_up();
    timer_.reset();
    worker_.remove(id_);
}

bool session::is_busy() const noexcept {
    // What streams has no end to wait for; who receives it goes on elsewhere from where he was.
    if (phase_ == phase::replicating)
        return replication_->stream.is_asked() && !replication_->stream.is_streaming();
    return phase_ == phase::ready && (busy() || place_ != transaction_place::none || in_extended_ ||
                                      pins_.any() || !in_.empty());
}

void session::stop(bool at_once) {
    stopping_ = true;
    if (phase_ == phase::closing) return;
    if (!at_once && (is_busy() || is_on_console())) return;
    // PostgreSQL's words, for a session and for one that is not one yet.
    if (is_logging_in()) return farewell("57P03", "the database system is shutting down");
    fail_client("FATAL", "57P01", "terminating connection due to administrator command");
    end();
}

void session::kill() {
    if (phase_ == phase::closing) return;
    constexpr std::string_view why = "terminating connection due to administrator command";
    if (is_logging_in()) return farewell("57P01", why);
    fail_client("FATAL", "57P01", why);
    end();
}

void session::start_wait_timer(std::chrono::milliseconds limit, void (session::*expired)()) {
    if (timer_ == nullptr) timer_ = std::make_unique<pool::timer>(worker_.events);
    // `id` and the worker find the session again: during construction there is no weak_ptr yet.
    timer_->expires_after(limit, [&home = worker_, id = id_, expired] {
        if (auto* self = home.find(id)) {
            const auto keep_alive = self->shared_from_this();
            (self->*expired)();
        }
    });
}

void session::stop_wait_timer() {
    timer_.reset();
}

void session::cancel(std::function<void()> delivered) {
    if (console_ && console_->cancelled) *console_->cancelled = true;
    if (dressing_) {
        // The settings are nothing that the client knows of; its statement is refused after them.
        waiting_failed_ = "57014";
        return delivered();
    }
    if (server_ && (running_ || replication_)) {
        server_->cancels->fetch_add(1);
        pool::send_cancel(
            worker_.events,
            database_->server,
            server_->pid,
            server_->secret,
            [count = server_->cancels, weak = weak_from_this(), delivered = std::move(delivered)] {
                count->fetch_sub(1);
                delivered();
                // The server was held back from the pool until the signal had been sent.
                if (const auto self = weak.lock()) {
                    if (self->server_ && !self->running_ && !self->dressing_) {
                        self->release_server();
                        if (self->phase_ == phase::closing) self->resynchronise();
                    }
                }
            });
        return;
    }
    if (waiting_for_ != nullptr && phase_ == phase::ready) {
        if (pool_) pool_->cancel(wait_ticket_);
        stop_wait_timer();
        ++wait_number_;
        ++request_number_;  // what Redis or another's flight still answers is not waited for
        pending_ = {};
        waiting_failed_ = "57014";
        waiting_for_ = nullptr;
        resume();
    }
    delivered();
}

void session::take_note(
    const plan& of,
    reason why,
    metrics::histogram from,
    monotonic_ns started_at) {
    const auto at = postern::now();
    active_at_ = at;
    metrics::add(metrics::counter::statements);
    metrics::add(why);
    metrics::observe(from, at - started_at);
    ++traffic_->queries;
    traffic_->query_time_ns += at - started_at;
    if (from == metrics::histogram::latency_server) traffic_->server_time_ns += at - started_at;
    if (why == reason::hit_near || why == reason::hit_redis || why == reason::joined_flight)
        ++traffic_->hits;
    of.count.store(of.count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    of.last.store(why, std::memory_order_relaxed);
    of.last_seen.store(at, std::memory_order_relaxed);
    const auto* only = of.single();
    if (only != nullptr && only->kind == sql::statement_kind::select) {
        metrics::add(metrics::counter::reads);
    }
}

client_row session::row() const {
    client_row out;
    const auto at = postern::now();
    out.id = id_;
    out.user = user_;
    out.database = database_ != nullptr ? database_->name : std::string{};
    out.application_name = application_name_;
    out.address = address_;
    out.state = is_logging_in()                     ? "login"
                : waiting_for_ != nullptr           ? "waiting"
                : is_active()                       ? "active"
                : place_ != transaction_place::none ? "idle in transaction"
                                                    : "idle";
    for (std::size_t cause = 1; cause < pins_.size(); ++cause) {
        if (!pins_[cause]) continue;
        if (!out.pin.empty()) out.pin += ", ";
        out.pin += sql::name(static_cast<sql::pin_cause>(cause));
    }
    if (!out.pin.empty() && !pin_detail_.empty()) out.pin += ": " + pin_detail_;
    out.fd = client_.fd();
    out.local_address = client_.local_address();
    if (is_local()) out.remote_pid = pid_of_peer(client_.fd());
    out.unread = in_.size();
    out.unsent = out_.size();
    if (server_) out.server = pool_->describe(*server_);
    if (client_.tls() != nullptr) out.tls = client_.tls()->description();
    out.connected_ns = at - connected_at_;
    out.request_ns = running_ ? at - running_->started_at : 0;
    return out;
}

}  // namespace postern::session
