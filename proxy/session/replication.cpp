// A replication connection has a server of its own, connected with what its client's startup packet
// says and closed behind it. Bytes pass both ways as they come. What is cached needs no more than
// this: while SQL may run there, nothing is served.

#include "session/replication.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "session/session.hpp"
#include "session/startup_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace postern::session {

namespace {

/// PostgreSQL's own limit of what a client sends, and what a length can say.
constexpr std::uint32_t client_body_size_max = 0x3fffffff;
constexpr std::uint32_t server_body_size_max = 0x7fffffff - 16;

/// Of a Query's text: enough for white space, the longest command's name and what ends it.
constexpr std::size_t looked_at_size = 64;

/// No statement of SQL begins with one of these words.
constexpr std::array<std::string_view, 9> commands{
    "alter_replication_slot",
    "base_backup",
    "create_replication_slot",
    "drop_replication_slot",
    "identify_system",
    "read_replication_slot",
    "start_replication",
    "timeline_history",
    "upload_manifest"};

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || c == '_';
}

/// Whether `value` is a beginning of `word`, of which at least `least` characters.
bool abbreviates(std::string_view word, std::string_view value, std::size_t least = 1) {
    return value.size() >= least && word.starts_with(value);
}

}  // namespace

std::optional<replication_mode> parse_replication(std::string_view value) {
    if (value == "database") return replication_mode::logical;
    const auto text = to_lower(value);
    if (abbreviates("true", text) || abbreviates("yes", text) || text == "on" || text == "1")
        return replication_mode::physical;
    if (abbreviates("false", text) || abbreviates("no", text) || abbreviates("off", text, 2) ||
        text == "0")
        return replication_mode::none;
    return std::nullopt;
}

bool is_replication_command(std::string_view text, bool whole) {
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
    const auto lower = to_lower(text);
    const auto end = static_cast<std::size_t>(
        std::ranges::find_if_not(lower, is_word) - lower.begin());
    if (end == lower.size() && !whole) return false;
    if (end < lower.size() && !is_space(lower[end]) && lower[end] != ';' && lower[end] != '(')
        return false;
    const auto word = std::string_view{lower}.substr(0, end);
    if (std::ranges::find(commands, word) != commands.end()) return true;
    // SHOW is a statement of SQL too, behind which others may stand.
    return word == "show" && whole && text.find(';') == std::string_view::npos;
}

std::size_t replication_stream::from_client(std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size() && !ended_) {
        if (client_rest_ > 0) {
            const auto piece = std::min(client_rest_, bytes.size() - at);
            client_rest_ -= piece;
            at += piece;
            continue;
        }
        const auto rest = bytes.substr(at);
        const auto next =
            wire::peek_header(rest, wire::direction::from_client, client_body_size_max);
        if (next.state == wire::frame_state::incomplete) break;
        broken_ = next.state == wire::frame_state::malformed;
        if (broken_) break;
        bool is_command = false;
        if (next.header.tag == 'Q') {
            const auto looked_at = std::min<std::size_t>(next.header.body_size, looked_at_size);
            const auto body = rest.substr(wire::message_header::encoded_size);
            if (body.size() < looked_at) break;
            // The text ends with a zero byte.
            const bool whole = looked_at == next.header.body_size;
            const auto text = body.substr(0, whole && looked_at > 0 ? looked_at - 1 : looked_at);
            is_command = is_replication_command(text, whole);
        }
        on_client_message(next.header.tag, is_command);
        client_rest_ = next.header.message_size();
    }
    if (ended_) at = std::min(bytes.size(), at + client_rest_);
    return at;
}

void replication_stream::on_client_message(char tag, bool is_command) {
    switch (tag) {
    case 'X': ended_ = true; return;
    case 'd':
    case 'c':
    case 'f':
    case 'H': return;
    case 'S': ++asked_; return;
    case 'Q':
        ++asked_;
        if (!is_command) last_sql_ = asked_;
        return;
    case 'F': last_sql_ = ++asked_; return;
    // PostgreSQL refuses these; if one does not, a Sync ends them.
    default: last_sql_ = asked_ + 1; return;
    }
}

std::size_t replication_stream::from_server(std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (server_rest_ > 0) {
            const auto piece = std::min(server_rest_, bytes.size() - at);
            server_rest_ -= piece;
            at += piece;
            continue;
        }
        const auto next =
            wire::peek_header(bytes.substr(at), wire::direction::from_server, server_body_size_max);
        if (next.state == wire::frame_state::incomplete) break;
        broken_ = next.state == wire::frame_state::malformed;
        if (broken_) break;
        on_server_message(next.header.tag);
        server_rest_ = next.header.message_size();
    }
    return at;
}

void replication_stream::on_server_message(char tag) {
    last_is_error_ = tag == 'E';
    if (tag == 'W') streaming_ = true;
    if (tag == 'E' || tag == 'C' || tag == 'Z') streaming_ = false;
    if (tag == 'Z' && answered_ < asked_) ++answered_;
}

/// A physical one is in no database: the name that it comes with, "replication" mostly, need not be
/// one of ours where all of ours are of one server.
void session::choose_server_of_cluster() {
    const auto& all = settings_->databases;
    if (database_ != nullptr || all.empty()) return;
    const auto& first = all.front().server;
    const bool one_server = std::ranges::all_of(all, [&](const database& one) {
        return one.server.host == first.host && one.server.port == first.port;
    });
    if (one_server) database_ = &all.front();
}

/// Why this client may not have a replication connection; nothing: it may.
std::optional<session::refused> session::refusal_of_replication() const {
    if (database_ == nullptr && replicates_ == replication_mode::physical) {
        return refused{
            "3D000",
            fmt::format(
                "no database \"{}\" is configured, and the others are of several servers: which "
                "one is to be replicated?",
                requested_database_)};
    }
    if (!user_record_->may_replicate) {
        return refused{
            "42501",
            fmt::format(
                "user \"{}\" may not open replication connections: the configuration does not "
                "say replication: true for it",
                user_)};
    }
    if (settings_->rls == rls_mode::required) {
        return refused{
            "42501",
            "replication passes row-level security by, which the configuration requires "
            "(rls: required)"};
    }
    return std::nullopt;
}

/// Waits for a place among the pool's servers: one of them could not be used, nor is ours ever
/// lent.
void session::begin_replication() {
    const auto number = ++wait_number_;
    waiting_for_ = "server";
    wait_began_ = postern::now();
    start_wait_timer(pool_->how().limits.wait_timeout, &session::on_wait_expired);
    pool_->wait_for_place(
        worker_.number,
        [weak = weak_from_this(), from = pool_, number](pool::grant given) {
            const auto self = weak.lock();
            if (self != nullptr && !self->destroyed_ && self->wait_number_ == number &&
                self->waiting_for_ != nullptr)
                return self->on_place_granted(given);
            if (!given.failure) from->lost();
        },
        wait_ticket_);
}

void session::on_place_granted(const pool::grant& given) {
    const auto keep_alive = shared_from_this();
    stop_wait_timer();
    ++wait_number_;
    wait_ticket_.number = 0;
    traffic_->wait_time_ns += postern::now() - wait_began_;
    if (given.failure) {
        fail_client("FATAL", given.failure->code, given.failure->message);
        return end();
    }
    replication_ = std::make_unique<replication>(pool_);
    auto request = pool_->login_request();
    request.asks_defaults = false;
    request.parameters.emplace_back(
        "replication",
        replicates_ == replication_mode::logical ? "database" : "true");
    for (const auto& [name, value] : *startup_settings_) {
        const bool spelled = spellings_ != nullptr && spellings_->contains(name);
        request.parameters.emplace_back(spelled ? spellings_->find(name)->second : name, value);
    }
    replication_->login = pool::connect(
        worker_.events,
        std::move(request),
        [weak = weak_from_this()](pool::connect_outcome made) {
            if (const auto self = weak.lock()) self->on_replication_login(std::move(made));
        });
}

void session::on_replication_login(pool::connect_outcome made) {
    if (destroyed_ || phase_ != phase::welcoming) return;
    waiting_for_ = nullptr;
    if (made.made == nullptr) {
        fail_client("FATAL", made.failure->code, made.failure->message);
        return end();
    }
    adopt_server(std::move(made.made));
    pool_->enrol(*server_);
    replication_->place = nullptr;
    phase_ = phase::replicating;
    const auto parameters = server_->parameters;
    send_welcome(parameters);
    resume();
}

/// What the client says, on its way to its server.
std::size_t session::consume_replication(std::string_view bytes) {
    auto& stream = replication_->stream;
    const auto used = stream.from_client(bytes);
    if (stream.may_write() && !replication_->fence.raised())
        replication_->fence = worker_.shared.versions.raise_everything();
    if (used > 0) send_to_server(bytes.substr(0, used));
    active_at_ = postern::now();
    if (stream.is_broken()) {
        protocol_violation("invalid message from the client");
        return bytes.size();
    }
    if (stream.has_ended()) {
        end();
        return bytes.size();
    }
    return used;
}

/// What the server says, on its way to the client. What ReadyForQuery means is done before the
/// client can see it.
void session::on_replication_readable() {
    const auto keep_alive = shared_from_this();
    if (!server_) return;
    auto& scratch = worker_.scratch;
    const auto got = server_->link.receive(scratch.data(), scratch.size());
    if (got.state == pool::channel::io_state::would_block) return;
    if (got.state == pool::channel::io_state::closed) return replication_lost();
    metrics::add(metrics::counter::bytes_from_servers, got.count);
    auto& inbox = server_->inbox;
    const bool alone = inbox.empty();
    if (!alone) inbox.append(scratch.data(), got.count);
    const auto bytes = alone ? std::string_view{scratch.data(), got.count}
                             : std::string_view{inbox};
    auto& stream = replication_->stream;
    const auto used = stream.from_server(bytes);
    if (replication_->fence.raised() && !stream.may_write()) {
        // It may have changed the catalog as well.
        if (watcher_ != nullptr) watcher_->invalidate();
        replication_->fence.commit();
    }
    send_to_client(bytes.substr(0, used));
    relay_rest_ = stream.rest_to_client();
    relay_forwards_ = true;
    if (stream.is_broken()) return replication_lost();
    if (alone) {
        inbox.assign(bytes.substr(used));
    } else {
        inbox.erase(0, used);
    }
    end_if_stopping();
}

void session::replication_lost() {
    metrics::add(metrics::counter::server_losses);
    if (!replication_->stream.ends_in_error()) {
        log::warning("client {}: lost the server of its replication connection", id_);
        fail_client("FATAL", "08006", "server closed the connection unexpectedly");
    }
    end();
}

/// Its server is closed. What that still runs may commit before its backend is gone.
void session::end_replication() {
    if (server_ && replication_->fence.raised() && watcher_ != nullptr) {
        auto fence = std::make_shared<coherence::fence>(std::move(replication_->fence));
        watcher_->when_backend_gone(server_->pid, [fence, watcher = watcher_] {
            watcher->invalidate();
            fence->commit();
        });
    }
    const bool is_busy = replication_->stream.may_write() && !replication_->stream.has_ended();
    replication_.reset();
    if (!server_) return;
    if (is_busy) {
        pool::send_cancel(worker_.events, database_->server, server_->pid, server_->secret, [] {});
    }
    // What the client said last may be how far it has come. What the server says stays unread: a
    // plain close would reset the connection, and take the other's last words back.
    flush_server();
    server_->link.hang_up();
    drop_server();
}

}  // namespace postern::session
