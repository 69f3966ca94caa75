#include "session/conversation.hpp"

#include "session/session.hpp"
#include "wire/backend.hpp"
#include "wire/frame.hpp"
#include "wire/frontend.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace postern::session {
namespace {

using wire::direction;

constexpr std::uint32_t body_size_max = 1 << 24;

/// "name=text" taken apart.
std::pair<std::string_view, std::string_view> halves(std::string_view text) {
    const auto at = text.find('=');
    if (at == std::string_view::npos) return {text, {}};
    return {text.substr(0, at), text.substr(at + 1)};
}

void write_from_client(std::string& out, char tag, std::string_view rest) {
    const auto [first, second] = halves(rest);
    const auto kind = rest.empty() ? 'P' : rest.front();
    const auto name = rest.size() > 2 ? rest.substr(2) : std::string_view{};
    switch (tag) {
    case 'Q': return wire::write_query(out, rest);
    case 'P': return wire::write_parse(out, first, second, {});
    case 'B': return wire::write_bind_text(out, first, second, {});
    case 'D': return wire::write_describe(out, kind, name);
    case 'E': return wire::write_execute(out, rest, 0);
    case 'C': return wire::write_close(out, kind, name);
    case 'S': return wire::write_sync(out);
    case 'H': return wire::write_flush(out);
    case 'X': return wire::write_terminate(out);
    default: FAIL("no client says ", std::string(1, tag));
    }
}

void write_from_server(std::string& out, char tag, std::string_view rest) {
    const auto [first, second] = halves(rest);
    switch (tag) {
    case 'T': {
        wire::field_description column;
        column.name = "a";
        column.type = 25;
        return wire::write_row_description(out, {&column, 1});
    }
    case 'D': {
        const std::optional<std::string_view> value = rest;
        return wire::write_data_row(out, {&value, 1});
    }
    case 'C': return wire::write_command_complete(out, rest);
    case 'Z':
        return wire::write_ready_for_query(
            out,
            static_cast<wire::transaction_status>(rest.front()));
    case 'E': return wire::write_error(out, "ERROR", rest.substr(0, 5), rest.substr(6));
    case 'N': return wire::write_notice(out, "NOTICE", rest.substr(0, 5), rest.substr(6));
    case 'S': return wire::write_parameter_status(out, first, second);
    case '1': return wire::write_parse_complete(out);
    case '2': return wire::write_bind_complete(out);
    case '3': return wire::write_close_complete(out);
    case 'n': return wire::write_no_data(out);
    case 'I': return wire::write_empty_query_response(out);
    case 't': return wire::write_parameter_description(out, {});
    default: FAIL("no server says ", std::string(1, tag));
    }
}

std::string composed(std::string_view messages, bool from_client) {
    std::string out;
    while (!messages.empty()) {
        const auto end = messages.find(" | ");
        const auto one = messages.substr(0, end);
        messages = end == std::string_view::npos ? std::string_view{} : messages.substr(end + 3);
        const auto rest = one.size() > 2 ? one.substr(2) : std::string_view{};
        if (from_client) {
            write_from_client(out, one.front(), rest);
        } else {
            write_from_server(out, one.front(), rest);
        }
    }
    return out;
}

/// What matters of one client message.
std::string said_by_client(const wire::message& message) {
    switch (message.tag) {
    case 'Q': {
        std::string_view text;
        REQUIRE(wire::read_query(message.body, text) == wire::errc::ok);
        return " " + std::string{text};
    }
    case 'P': {
        wire::parse_message one;
        REQUIRE(wire::read_parse(message.body, one) == wire::errc::ok);
        return " " + std::string{one.name} + "=" + std::string{one.query};
    }
    case 'B': {
        wire::bind_message one;
        REQUIRE(wire::read_bind(message.body, one) == wire::errc::ok);
        return " " + std::string{one.portal} + "=" + std::string{one.statement};
    }
    default: return {};
    }
}

std::string said_by_server(const wire::message& message) {
    switch (message.tag) {
    case 'D': {
        std::vector<std::optional<std::string_view>> values;
        REQUIRE(wire::read_data_row(message.body, values) == wire::errc::ok);
        return " " + std::string{values.at(0).value_or("null")};
    }
    case 'C': {
        std::string_view tag;
        REQUIRE(wire::read_command_complete(message.body, tag) == wire::errc::ok);
        return " " + std::string{tag};
    }
    case 'Z': return " " + std::string{message.body};
    case 'E':
    case 'N': {
        wire::error_fields fields;
        REQUIRE(wire::read_error(message.body, fields) == wire::errc::ok);
        return " " + std::string{fields.code} + " " + std::string{fields.message};
    }
    default: return {};
    }
}

void make_non_blocking(int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
}

/// A Unix socket listening in `folder` as PostgreSQL's would.
int listen_in(const std::string& folder) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const auto path = folder + "/.s.PGSQL.5432";
    REQUIRE(path.size() < sizeof name.sun_path);
    std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    REQUIRE(::listen(fd, 8) == 0);
    return fd;
}

settings_ptr settings_for(const std::string& folder, std::uint32_t pool_size) {
    auto made = std::make_shared<settings>();
    database where;
    where.name = "app";
    where.server.host = folder;
    where.server.database = "app";
    where.pool.size = pool_size;
    made->databases.push_back(where);
    user who;
    who.name = "app";
    who.method = auth_method::trust;
    made->users.emplace(who.name, who);
    return made;
}

}  // namespace

conversation::peer::peer(conversation& where, int fd, bool is_client)
    : where_{where}
    , fd_{fd}
    , is_client_{is_client} {}

conversation::peer::peer(peer&& other) noexcept
    : where_{other.where_}
    , fd_{std::exchange(other.fd_, -1)}
    , is_client_{other.is_client_}
    , in_{std::move(other.in_)}
    , key_{other.key_}
    , secret_{std::move(other.secret_)} {}

conversation::peer::~peer() {
    if (fd_ >= 0) ::close(fd_);
}

void conversation::peer::says(std::string_view messages) {
    says_in_pieces(messages, std::string::npos);
}

void conversation::peer::says_in_pieces(std::string_view messages, std::size_t size) {
    const auto bytes = composed(messages, is_client_);
    for (std::size_t at = 0; at < bytes.size(); at += std::min(size, bytes.size() - at)) {
        const auto piece = std::string_view{bytes}.substr(at, size);
        where_.run();
        REQUIRE(
            ::send(fd_, piece.data(), piece.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(piece.size()));
    }
    where_.run();
}

std::string conversation::peer::hears() {
    where_.run();
    bool gone = false;
    for (;;) {
        char buffer[4096];
        const auto count = ::recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count > 0) {
            in_.append(buffer, static_cast<std::size_t>(count));
            continue;
        }
        gone = count == 0 || (errno != EAGAIN && errno != EINTR);
        break;
    }
    std::string out;
    const auto from = is_client_ ? direction::from_server : direction::from_client;
    for (;;) {
        const auto next = wire::peek_message(in_, from, body_size_max);
        REQUIRE(next.state != wire::frame_state::malformed);
        if (next.state == wire::frame_state::incomplete) break;
        if (is_client_ && next.message.tag == 'K') {
            std::string_view secret;
            REQUIRE(wire::read_backend_key_data(next.message.body, key_, secret) == wire::errc::ok);
            secret_ = secret;
        }
        if (!out.empty()) out += " | ";
        out += next.message.tag;
        out += is_client_ ? said_by_server(next.message) : said_by_client(next.message);
        in_.erase(0, next.message.whole.size());
    }
    if (gone) out += out.empty() ? "(gone)" : " | (gone)";
    return out;
}

void conversation::peer::hangs_up() {
    where_.run();
    ::close(std::exchange(fd_, -1));
    where_.run();
}

conversation::peer conversation::peer::cancels() {
    std::string out;
    wire::write_cancel_request(out, key_, secret_);
    peer made{where_, where_.connect_client(), true};
    REQUIRE(::send(made.fd_, out.data(), out.size(), MSG_NOSIGNAL) > 0);
    where_.run();
    return made;
}

void conversation::let_cancels() {
    holds_cancels_ = false;
    for (const int fd : std::exchange(held_cancels_, {}))
        ::close(fd);
    run();
}

conversation::conversation(std::uint32_t pool_size) {
    std::string pattern = std::filesystem::temp_directory_path() / "postern-talk-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
    listener_ = listen_in(folder_);
    shared_ = std::make_unique<shared_state>(settings_for(folder_, pool_size), std::nullopt);
    shared_->workers.push_back(std::make_unique<worker>(*shared_, 0));
}

conversation::~conversation() {
    let_cancels();
    shared_->workers.front()->stop_sessions(true);
    run();
    for (const auto& one : shared_->pools())
        one->close_idle(0);
    if (logged_in_ >= 0) ::close(logged_in_);
    ::close(listener_);
    std::filesystem::remove_all(folder_);
}

/// Until nothing is left to do: every message that can arrive has arrived.
void conversation::run() {
    auto& events = shared_->workers.front()->events;
    for (int idle = 0; idle < 3;) {
        const bool did_something = events.run_ready();
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) welcome(fd);
        idle = did_something || fd >= 0 ? 0 : idle + 1;
    }
}

/// What the worker sends next on `fd`; empty when it closes instead.
std::string conversation::next_from(int fd) {
    char buffer[4096];
    for (;;) {
        const auto count = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count >= 0) return {buffer, static_cast<std::size_t>(count)};
        shared_->workers.front()->events.run_ready();
    }
}

/// Logs Postern in, and answers what it asks of every new server; takes a cancel request as it is.
void conversation::welcome(int fd) {
    const auto first = next_from(fd);
    const auto packet = wire::peek_startup(first).packet;
    if (packet.kind == wire::startup_kind::cancel_request) {
        cancelled_.push_back(packet.cancel_pid);
        held_cancels_.push_back(fd);
        if (!holds_cancels_) let_cancels();
        return;
    }
    std::string out;
    wire::write_authentication(out, wire::authentication::ok);
    wire::write_parameter_status(out, "client_encoding", "UTF8");
    wire::write_parameter_status(out, "standard_conforming_strings", "on");
    wire::write_backend_key_data(out, next_pid_++, "same");
    wire::write_ready_for_query(out, wire::transaction_status::idle);
    ::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
    next_from(fd);
    out.clear();
    const std::optional<std::string_view> row[] = {"public", "read committed", "today", "plain"};
    const wire::field_description column;
    wire::write_row_description(out, {&column, 1});
    wire::write_data_row(out, row);
    wire::write_command_complete(out, "SELECT 1");
    wire::write_ready_for_query(out, wire::transaction_status::idle);
    ::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
    if (logged_in_ >= 0) ::close(logged_in_);
    logged_in_ = fd;
}

/// The client's end of a connection that the worker has just accepted.
int conversation::connect_client() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    make_non_blocking(ends[0]);
    ++shared_->clients;
    ++shared_->workers.front()->load;
    shared_->workers.front()->adopt(ends[0], "a test");
    return ends[1];
}

conversation::peer conversation::login() {
    peer made{*this, connect_client(), true};
    const std::pair<std::string_view, std::string_view> parameters[] = {
        {"user", "app"},
        {"database", "app"}};
    std::string out;
    wire::write_startup(out, parameters);
    REQUIRE(::send(made.fd_, out.data(), out.size(), MSG_NOSIGNAL) > 0);
    REQUIRE(made.hears() == "R | S | S | K | Z I");
    return made;
}

conversation::peer conversation::server() {
    run();
    REQUIRE(logged_in_ >= 0);
    return {*this, std::exchange(logged_in_, -1), false};
}

pool::pool::numbers conversation::pool() const {
    return shared_->pools().front()->statistics();
}

}  // namespace postern::session
