#include "pool/connector.hpp"

#include "auth/scram.hpp"
#include "base/clock.hpp"
#include "base/metrics.hpp"
#include "pool/dial.hpp"
#include "pool/tls_opening.hpp"
#include "wire/backend.hpp"
#include "wire/frontend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unistd.h>
#include <utility>

namespace postern::pool {

namespace {

/// Messages of the login phase are small; more than this is not PostgreSQL.
constexpr std::uint32_t login_message_size_max = 64 * 1024;

/// What a session starts from, asked of the server itself rather than guessed from its files: the
/// configuration, ALTER DATABASE and ALTER ROLE all have their say, and a reload changes it.
constexpr std::string_view defaults_query =
    "SELECT pg_catalog.current_setting('search_path'),"
    " pg_catalog.current_setting('default_transaction_isolation'),"
    " pg_catalog.pg_postmaster_start_time()::pg_catalog.text,"
    " (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(pg_catalog.current_setting(name)), "
    "',')"
    " FROM pg_catalog.unnest(ARRAY["
    "'array_nulls','backslash_quote','bytea_output','client_encoding','DateStyle',"
    "'default_text_search_config','extra_float_digits','IntervalStyle','lc_messages','lc_monetary',"
    "'lc_numeric','lc_time','quote_all_identifiers','row_security','standard_conforming_strings',"
    "'TimeZone','timezone_abbreviations','transform_null_equals','xmlbinary','xmloption'"
    "]) AS name)";
constexpr std::size_t defaults_count = 4;

}  // namespace

/// The login of one server.
///
///   dialling ─▶ TLS, where it is wanted ─▶ authenticating ─▶ reporting (ParameterStatus …
///   ReadyForQuery) ─▶ asking defaults ─▶ done
class connector final : public socket_handler, public std::enable_shared_from_this<connector> {
public:
    connector(poller& where, connect_request request, std::function<void(connect_outcome)> done)
        : poller_{where}
        , request_{std::move(request)}
        , done_{std::move(done)}
        , timer_{where} {}

    void start() {
        dial(
            poller_,
            request_.where,
            request_.limits.connect_timeout,
            [this](int fd, const std::string& error) { on_connected(fd, error); },
            weak_from_this());
    }

    void on_readable() override {
        const auto keep_alive = shared_from_this();
        if (opening_.is_under_way()) return opened(opening_.go_on());
        std::array<char, 16384>
            buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        const auto got = server_->link.receive(buffer.data(), buffer.size());
        if (got.state == channel::io_state::would_block) return;
        if (got.state == channel::io_state::closed) {
            return fail({"08006", "server closed the connection unexpectedly"});
        }
        server_->inbox.append(buffer.data(), got.count);
        std::size_t used = 0;
        while (server_ != nullptr) {
            const auto next = wire::peek_message(
                wire::bytes_view{server_->inbox}.substr(used),
                wire::direction::from_server,
                login_message_size_max);
            if (next.state == wire::frame_state::incomplete) break;
            if (next.state == wire::frame_state::malformed) {
                return fail(
                    {"08P01",
                     fmt::format(
                         "server does not speak the protocol: {}",
                         wire::describe(next.error))});
            }
            used += next.message.whole.size();
            on_message(next.message);
        }
        if (server_ != nullptr) server_->inbox.erase(0, used);
    }

    void on_writable() override {
        const auto keep_alive = shared_from_this();
        if (opening_.is_under_way()) opened(opening_.go_on());
    }

private:
    void on_connected(int fd, const std::string& error) {
        if (fd < 0) return fail({"08006", error});
        server_ =
            std::make_unique<server>(poller_, fd, *this, request_.limits.prepared_statements_max);
        timer_.expires_after(request_.limits.connect_timeout, [weak = weak_from_this()] {
            if (const auto self = weak.lock())
                self->fail({"08006", "timeout expired while logging in"});
        });
        opened(opening_.start(server_->link, request_.where));
    }

    void opened(tls_opening::state how) {
        if (how == tls_opening::state::under_way) return;
        if (how == tls_opening::state::failed) return fail({"08006", opening_.error()});
        std::vector<std::pair<std::string_view, std::string_view>> parameters{
            {"user", request_.who.user},
            {"database", request_.where.database},
        };
        parameters.insert(parameters.end(), request_.parameters.begin(), request_.parameters.end());
        std::string out;
        wire::write_startup(out, parameters, request_.where.protocol);
        send(out);
    }

    void send(std::string_view bytes) {
        // A fresh socket takes a login message whole; one that does not is as good as broken.
        const auto sent = server_->link.send(bytes);
        if (sent.state != channel::io_state::done || sent.count != bytes.size()) {
            fail({"08006", "could not send to the server"});
        }
    }

    void on_message(const wire::message& message) {
        switch (message.tag) {
        case 'R': return on_authentication(message.body);
        case 'S': {
            std::string_view name;
            std::string_view value;
            if (wire::read_parameter_status(message.body, name, value) == wire::errc::ok) {
                server_->note(name, value);
            }
            return;
        }
        case 'K': {
            std::string_view secret;
            if (wire::read_backend_key_data(message.body, server_->pid, secret) == wire::errc::ok) {
                server_->secret = secret;
            }
            return;
        }
        case 'v': return on_negotiation(message.body);
        case 'D': return on_defaults(message.body);
        case 'Z': return on_ready();
        case 'E': return on_error(message.body);
        case 'N':
        case 'A':
        case 'T':
        case 'C': return;
        default:
            return fail(
                {"08P01",
                 fmt::format(
                     "unexpected message '{}' from the server while logging in",
                     message.tag)});
        }
    }

    /// Nothing that we ask for depends on the version but the length of the cancel key, which is as
    /// long as it comes. A server that answers what was not asked is not PostgreSQL.
    void on_negotiation(wire::bytes_view body) {
        std::uint32_t version = 0;
        std::vector<std::string_view> unknown;
        const bool read = wire::read_negotiate_protocol_version(body, version, unknown) ==
                          wire::errc::ok;
        const bool expected = !std::exchange(negotiated_, true) && !authenticated_;
        const bool less = version < request_.where.protocol && version >= wire::protocol_3_0 &&
                          version != wire::protocol_3_1;
        if (read && expected && less && unknown.empty()) return;
        fail({"08P01", "the server's answer to the protocol version that was asked for is wrong"});
    }

    void on_authentication(wire::bytes_view body) {
        wire::authentication_message asked;
        if (wire::read_authentication(body, asked) != wire::errc::ok) {
            return fail({"08P01", "malformed authentication request from the server"});
        }
        std::string out;
        switch (static_cast<wire::authentication>(asked.code)) {
        case wire::authentication::ok: return on_authenticated();
        case wire::authentication::cleartext_password:
            return fail(
                {"28000",
                 "the server asks for the password in clear text, which is not sent without TLS"});
        case wire::authentication::md5_password:
            if (requires_binding()) return fail_binding();
            if (request_.who.password.empty()) return fail_without_password();
            wire::write_password(
                out,
                auth::md5_response(request_.who.user, request_.who.password, asked.data));
            return send(out);
        case wire::authentication::sasl: return start_scram(asked.data);
        case wire::authentication::sasl_continue: {
            if (!scram_) return fail({"08P01", "unexpected SASL message from the server"});
            const auto answer = scram_->final(asked.data);
            if (!answer) {
                return fail(
                    {"28000",
                     fmt::format(
                         "login of user \"{}\" at the server failed: {}",
                         request_.who.user,
                         answer.error().message)});
            }
            wire::write_sasl_response(out, *answer);
            return send(out);
        }
        case wire::authentication::sasl_final: {
            if (!scram_) return fail({"08P01", "unexpected SASL message from the server"});
            const auto verified = scram_->verify(asked.data);
            if (!verified) return fail({"28000", verified.error().message});
            scram_verified_ = true;
            return;
        }
        }
        fail(
            {"28000",
             fmt::format(
                 "the server asks for authentication method {}, which is not supported",
                 asked.code)});
    }

    void fail_without_password() {
        fail(
            {"28000",
             fmt::format(
                 "the server asks for a password of user \"{}\", and none is configured",
                 request_.who.user)});
    }

    bool requires_binding() const noexcept {
        return request_.where.tls.binding == channel_binding::require;
    }

    void fail_binding() {
        fail(
            {"28000",
             "the server did not bind the login to its TLS, which tls.channel_binding asks for"});
    }

    void on_authenticated() {
        const bool bound = scram_verified_ && scram_->mechanism() == auth::scram_plus_mechanism;
        if (requires_binding() && !bound) return fail_binding();
        authenticated_ = true;
    }

    void start_scram(wire::bytes_view data) {
        std::vector<std::string_view> mechanisms;
        const auto offered = [&](std::string_view name) {
            return std::find(mechanisms.begin(), mechanisms.end(), name) != mechanisms.end();
        };
        if (wire::read_sasl_mechanisms(data, mechanisms) != wire::errc::ok ||
            !(offered(auth::scram_mechanism) || offered(auth::scram_plus_mechanism))) {
            return fail({"28000", "the server offers no SASL mechanism that is supported"});
        }
        if (!request_.who.password.empty()) {
            scram_.emplace(request_.who.password);
        } else if (request_.who.keys != nullptr) {
            scram_.emplace(request_.who.keys);
        } else {
            return fail_without_password();
        }
        choose_binding(offered(auth::scram_plus_mechanism));
        if (requires_binding() && scram_->mechanism() != auth::scram_plus_mechanism)
            return fail_binding();
        std::string out;
        wire::write_sasl_initial(out, scram_->mechanism(), scram_->first());
        send(out);
    }

    void choose_binding(bool offered) {
        const auto* tls = server_->link.tls();
        if (tls == nullptr || request_.where.tls.binding == channel_binding::disable) return;
        auto end_point = tls->end_point();
        if (end_point.empty()) return;
        if (offered) {
            scram_->bind_to(std::move(end_point));
        } else {
            scram_->note_no_offer();
        }
    }

    void on_ready() {
        // A server that skipped its own proof of knowing the verifier is not the one we meant.
        if (!authenticated_ || (scram_ && !scram_verified_)) {
            return fail({"28000", "the server did not complete authentication"});
        }
        if (!asked_defaults_ && request_.asks_defaults) {
            asked_defaults_ = true;
            std::string out;
            wire::write_query(out, defaults_query);
            return send(out);
        }
        const bool told = !defaults_.search_path.empty() ||
                          !defaults_.default_transaction_isolation.empty();
        if (request_.asks_defaults && !told) {
            return fail({"08P01", "the server did not report its defaults"});
        }
        connect_outcome outcome;
        server_->connected_at = now();
        server_->idle_since = server_->connected_at;
        server_->inbox.clear();
        server_->link.report_changes_only();
        outcome.defaults = std::move(defaults_);
        outcome.made = std::move(server_);
        metrics::add(metrics::counter::server_connects);
        finish(std::move(outcome));
    }

    void on_defaults(wire::bytes_view body) {
        std::vector<std::optional<std::string_view>> row;
        if (wire::read_data_row(body, row) != wire::errc::ok || row.size() != defaults_count)
            return;
        defaults_.search_path = row[0].value_or("");
        defaults_.default_transaction_isolation = row[1].value_or("");
        defaults_.started_at = row[2].value_or("");
        defaults_.output = row[3].value_or("");
    }

    void on_error(wire::bytes_view body) {
        wire::error_fields fields;
        if (wire::read_error(body, fields) != wire::errc::ok) {
            return fail({"08006", "the server refused the connection with an unreadable error"});
        }
        connect_failure why{
            std::string{fields.code.empty() ? "08006" : fields.code},
            std::string{
                fields.message.empty() ? "the server refused the connection without saying why"
                                       : fields.message},
            true};
        fail(std::move(why));
    }

    void fail(connect_failure why) {
        metrics::add(metrics::counter::server_connect_errors);
        connect_outcome outcome;
        outcome.failure = std::move(why);
        server_.reset();
        finish(std::move(outcome));
    }

    void finish(connect_outcome outcome) {
        timer_.cancel();
        if (!done_) return;
        const auto callback = std::exchange(done_, nullptr);
        callback(std::move(outcome));
    }

    poller& poller_;
    connect_request request_;
    std::function<void(connect_outcome)> done_;
    timer timer_;
    server_ptr server_;
    tls_opening opening_;
    std::optional<auth::scram_client> scram_;
    server_defaults defaults_;
    bool negotiated_ = false;
    bool authenticated_ = false;
    bool scram_verified_ = false;
    bool asked_defaults_ = false;
};

std::shared_ptr<connector> connect(
    poller& where,
    connect_request request,
    std::function<void(connect_outcome)> done) {
    auto made = std::make_shared<connector>(where, std::move(request), std::move(done));
    made->start();
    return made;
}

namespace {

/// One CancelRequest on its own connection, kept until PostgreSQL closes it.
class canceller final : public socket_handler, public std::enable_shared_from_this<canceller> {
public:
    canceller(poller& events, std::function<void()> done)
        : poller_{events}
        , done_{std::move(done)}
        , timer_{events} {}

    void start(const upstream& where, std::int32_t pid, const std::string& secret) {
        where_ = where;
        wire::write_cancel_request(packet_, pid, secret);
        // The lambdas keep us alive, and nothing else does: what is under way when the process
        // stops goes with the loop.
        dial(
            poller_,
            where,
            std::chrono::seconds{5},
            [self = shared_from_this()](int fd, const std::string& error) {
                if (fd < 0 || !error.empty()) return self->finish();
                self->link_ = std::make_unique<channel>(self->poller_, fd, *self);
                self->timer_.expires_after(std::chrono::seconds{5}, [self] { self->finish(); });
                self->opened(self->opening_.start(*self->link_, self->where_));
            },
            shared_from_this());
    }

    void on_readable() override {
        const auto keep_alive = shared_from_this();
        if (opening_.is_under_way()) return opened(opening_.go_on());
        char byte = 0;
        if (link_->receive(&byte, 1).state == channel::io_state::closed) finish();
    }
    void on_writable() override {
        const auto keep_alive = shared_from_this();
        if (opening_.is_under_way()) opened(opening_.go_on());
    }

private:
    void opened(tls_opening::state how) {
        if (how == tls_opening::state::done) link_->send(packet_);
        if (how == tls_opening::state::failed) finish();
    }

    void finish() {
        timer_.cancel();
        link_.reset();
        if (done_) std::exchange(done_, nullptr)();
    }

    poller& poller_;
    std::function<void()> done_;
    timer timer_;
    upstream where_;
    tls_opening opening_;
    std::string packet_;
    std::unique_ptr<channel> link_;
};

}  // namespace

void send_cancel(
    poller& events,
    const upstream& where,
    std::int32_t pid,
    const std::string& secret,
    std::function<void()> done) {
    std::make_shared<canceller>(events, std::move(done))->start(where, pid, secret);
}

}  // namespace postern::pool
