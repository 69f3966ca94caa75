// From a client's first byte to ReadyForQuery: SSLRequest and its kin, the startup packet,
// authentication, and what the server would have announced.
// https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.3

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "base/timestamp.hpp"
#include "session/session.hpp"
#include "session/startup_options.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::session {

namespace {

/// Before login a client may only send passwords, which are short; PostgreSQL's own limit.
constexpr std::uint32_t password_size_max = 65535;

/// Of a cancel key, in bytes, as PostgreSQL has them.
constexpr std::size_t short_secret_size = 4;
constexpr std::size_t long_secret_size = 32;

bool is_console(std::string_view database_name) {
    return database_name == "postern" || database_name == "pgbouncer";
}

/// Settings and parameters, apart from the name that every client gives itself.
std::string welcome_key(const pool::pool& servers, const pool::settings_map& settings) {
    auto key =
        fmt::format("{}\n{}\n{}", servers.welcome_version(), servers.database(), servers.user());
    for (const auto& [name, value] : settings) {
        if (name == "application_name") continue;
        key += fmt::format("\n{}:{}={}", value.size(), name, value);
    }
    return key;
}

}  // namespace

std::size_t session::consume_startup(std::string_view bytes) {
    std::size_t used = 0;
    // The application protocol is known once the handshake is over, as it is when bytes arrive.
    if (tls_is_direct_ && client_.tls()->alpn() != auth::alpn_protocol) {
        log::info("client {} {}: direct TLS without ALPN \"postgresql\"", id_, address_);
        end();
        return bytes.size();
    }
    while (phase_ == phase::startup && used < bytes.size()) {
        const auto next = wire::peek_startup(bytes.substr(used));
        if (next.state == wire::frame_state::incomplete) break;
        if (next.state == wire::frame_state::malformed) {
            protocol_violation(
                fmt::format("invalid startup packet: {}", wire::describe(next.error)));
            return bytes.size();
        }
        used += next.packet.size;
        switch (next.packet.kind) {
        case wire::startup_kind::ssl_request:
        case wire::startup_kind::gssenc_request:
            if (!on_encryption_request(next.packet, used < bytes.size())) return bytes.size();
            break;
        case wire::startup_kind::cancel_request: on_cancel_packet(next.packet); return bytes.size();
        case wire::startup_kind::startup: on_startup_packet(next.packet); break;
        }
    }
    return used;
}

/// A connection that begins with a TLS record (PostgreSQL 17's sslnegotiation=direct).
void session::look_for_direct_tls() {
    constexpr char handshake_record = 0x16;
    if (settings_->tls == nullptr || client_.peek() != handshake_record) return;
    tls_is_direct_ = true;
    begin_tls();
}

void session::begin_tls() {
    client_.secure(auth::tls_stream::accept(settings_->tls, client_.fd()));
}

/// Each may be asked for once, and neither within TLS; then they are what any other unknown version
/// of the protocol is. False: the session is ending.
bool session::on_encryption_request(const wire::startup_packet& packet, bool more_follows) {
    const bool ssl = packet.kind == wire::startup_kind::ssl_request;
    bool& asked = ssl ? tls_was_asked_ : gss_was_asked_;
    if (asked || client_.tls() != nullptr) {
        const auto code = ssl ? wire::ssl_request_code : wire::gssenc_request_code;
        fail_client(
            "FATAL",
            "0A000",
            fmt::format(
                "unsupported frontend protocol {}.{}: server supports 3.0 to 3.{}",
                code >> 16,
                code & 0xffff,
                settings_->client_protocol & 0xffff));
        end();
        return false;
    }
    asked = true;
    if (!ssl || is_local() || settings_->tls == nullptr) {
        // Bytes behind a "no" are the plain text that they are.
        send_to_client("N");
        return true;
    }
    if (more_follows) {
        // They would be taken for something that came encrypted (CVE-2021-23214).
        protocol_violation("received unencrypted data after SSL request");
        return false;
    }
    send_to_client("S");
    flush_client();
    if (!out_.empty()) {
        // A socket that takes no single byte; it must not follow within TLS.
        end();
        return false;
    }
    begin_tls();
    return true;
}

/// PostgreSQL says nothing either way and closes, and closes only once the signal has been sent:
/// libpq waits for that before the client goes on, so that its next statement is not hit.
void session::on_cancel_packet(const wire::startup_packet& packet) {
    phase_ = phase::closing;
    delivers_cancel_ = true;
    stop_wait_timer();
    client_.want_read(false);
    auto delivered = [weak = weak_from_this(), &home = worker_] {
        // On the thread of the session that was cancelled.
        home.events.post([weak] {
            if (const auto self = weak.lock()) self->destroy();
        });
    };
    auto& shared = worker_.shared;
    if (cancel_client(shared, packet.cancel_pid, packet.cancel_secret, delivered)) return;
    if (!shared.relay_cancel || shared.cancels.makes(packet.cancel_pid)) return destroy();
    shared.relay_cancel(packet.cancel_pid, std::string{packet.cancel_secret}, delivered);
}

void session::on_startup_packet(const wire::startup_packet& packet) {
    std::vector<std::string_view> unknown;
    for (const auto& [name, value] : packet.parameters) {
        if (name.starts_with("_pq_.")) unknown.push_back(name);
    }
    // As PostgreSQL: 3.1, which never was, is taken at its word.
    protocol_ = std::min(packet.version, settings_->client_protocol);
    if (packet.version != protocol_ || !unknown.empty()) {
        std::string out;
        wire::write_negotiate_protocol_version(out, protocol_, unknown);
        send_to_client(out);
    }
    if (settings_->tls_required && client_.tls() == nullptr && !is_local()) {
        fail_client("FATAL", "28000", "connections over TCP must use TLS (tls.mode: require)");
        return end();
    }
    read_startup_parameters(packet);
    if (phase_ != phase::startup) return;
    if (!take_place()) {
        // PostgreSQL's own words.
        fail_client("FATAL", "53300", "sorry, too many clients already");
        return end();
    }
    phase_ = phase::authenticating;
    authenticate();
}

/// One of limits.clients. Who cancels a statement needs none, nor does the console: they matter
/// most when there is none left.
bool session::take_place() {
    if (is_console(requested_database_) && database_ == nullptr) return true;
    auto& places = worker_.shared.places_taken;
    auto taken = places.load();
    while (taken < settings_->clients_max && !has_place_)
        has_place_ = places.compare_exchange_weak(taken, taken + 1);
    return has_place_;
}

void session::read_startup_parameters(const wire::startup_packet& packet) {
    std::string database_name;
    std::vector<std::pair<std::string, std::string>> settings;
    for (const auto& [name, value] : packet.parameters) {
        if (name == "user") {
            user_ = value;
        } else if (name == "database") {
            database_name = value;
        } else if (name == "options") {
            auto parsed = parse_options(value);
            if (!parsed) {
                fail_client("FATAL", "42601", parsed.error().message);
                return end();
            }
            for (auto& one : *parsed)
                settings.push_back(std::move(one));
        } else if (name == "replication") {
            if (!read_replication(value)) return;
        } else if (!name.starts_with("_pq_.")) {
            settings.emplace_back(name, value);
        }
    }
    if (user_.empty()) {
        fail_client("FATAL", "28000", "no PostgreSQL user name specified in startup packet");
        return end();
    }
    if (!keep_settings(settings)) return end();
    requested_database_ = database_name.empty() ? user_ : std::move(database_name);
    // What does not exist is said after authentication, so that strangers can't ask.
    (void)choose_database(requested_database_);
    if (replicates_ == replication_mode::physical) choose_server_of_cluster();
}

/// False: it is neither a truth value nor "database", and the client has been told so.
bool session::read_replication(std::string_view value) {
    const auto mode = parse_replication(value);
    if (mode) {
        replicates_ = *mode;
        return true;
    }
    fail_client(
        "FATAL",
        "22023",
        fmt::format("invalid value for parameter \"replication\": \"{}\"", value));
    end();
    return false;
}

/// Words of the startup packet itself, in a spelling or a place in which PostgreSQL takes them for
/// settings and knows none of the name. Passed on to it in a startup packet they would be believed.
bool session::is_no_setting(std::string_view name) {
    return name == "user" || name == "database" || name == "options" || name == "replication" ||
           name.starts_with("_pq_.");
}

/// The settings of the startup packet, and what they say of the identity. False: it may not say
/// that, and the client has been told so.
bool session::keep_settings(const std::vector<std::pair<std::string, std::string>>& settings) {
    pool::settings_map at_startup;
    pool::settings_map spellings;
    identity::variable_map claimed;
    for (const auto& [spelled, value] : settings) {
        const auto name = to_lower(spelled);
        if (is_no_setting(name)) {
            fail_client(
                "FATAL",
                "42704",
                fmt::format("unrecognized configuration parameter \"{}\"", spelled));
            return false;
        }
        if (identity::is_variable(settings_->identity, name)) {
            if (!settings_->identity.trust_startup_parameters) {
                fail_client(
                    "FATAL",
                    "42501",
                    fmt::format("permission denied to set parameter \"{}\"", name));
                return false;
            }
            claimed[name] = value;
        } else if (name == "postern.cache") {
            context_.change().cache_bypass = value == "bypass";
        } else if (name == "application_name") {
            at_startup[name] = application_name_ = clean_ascii(value);
        } else {
            at_startup[name] = value;
            // PostgreSQL's own settings are announced as PostgreSQL spells them.
            if (name != spelled && name.find('.') != std::string::npos) spellings[name] = spelled;
        }
    }
    if (!spellings.empty())
        spellings_ = std::make_unique<const pool::settings_map>(std::move(spellings));
    login_identity_ = identity::at_login(settings_->identity, user_, claimed);
    startup_settings_ = worker_.intern(std::move(at_startup));
    return true;
}

bool session::choose_database(std::string_view name) {
    for (const auto& one : settings_->databases) {
        if (one.name == name) {
            database_ = &one;
            return true;
        }
    }
    return false;
}

/// Nothing: a Unix socket.
std::optional<auth::ip_address> session::client_address() const {
    std::string_view host{address_};
    host = host.substr(0, host.rfind(':'));
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    return auth::ip_address::parse(host);
}

/// What the client has to show; nothing: it has been refused.
std::optional<auth::access_method> session::method_in_force() {
    using auth::access_method;
    if (!settings_->access) {
        return user_record_->method == auth_method::trust ? access_method::trust
                                                          : access_method::scram;
    }
    const auto address = client_address();
    // An address that could not be read is no Unix socket: no rule is meant for it.
    const auto* rule = address || is_local() ? auth::decide(
                                                   *settings_->access,
                                                   {requested_database_,
                                                    user_,
                                                    address,
                                                    client_.tls() != nullptr,
                                                    replicates_ == replication_mode::physical})
                                             : nullptr;
    if (rule != nullptr && rule->method != access_method::reject) return rule->method;
    refuse_access(rule);
    return std::nullopt;
}

/// In PostgreSQL's words, but for what it looked at.
void session::refuse_access(const auth::access_rule* by) {
    std::string host = "[local]";
    if (!is_local()) {
        host = address_.substr(0, address_.rfind(':'));
        if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    }
    metrics::add(metrics::counter::logins_failed);
    const auto why = fmt::format(
        "{} host \"{}\", user \"{}\", database \"{}\", {}",
        by != nullptr ? "an entry of Postern's access rules rejects connection for"
                      : "no entry of Postern's access rules for",
        host,
        user_,
        requested_database_,
        client_.tls() != nullptr ? "SSL encryption" : "no encryption");
    log::info("client {} {}: {}", id_, address_, why);
    fail_client("FATAL", "28000", why);
    end();
}

void session::authenticate() {
    const auto found = settings_->users.find(user_);
    const bool known = found != settings_->users.end();
    if (known) {
        user_record_ = {settings_, &found->second};
    } else {
        auto unlisted = std::make_shared<user>();
        unlisted->name = user_;
        unlisted->method = settings_->auth_query_method;
        user_record_ = std::move(unlisted);
    }
    const auto method = method_in_force();
    if (!method) return;
    if (known) {
        const bool expired = user_record_->valid_until && has_passed(*user_record_->valid_until);
        if (expired) log::info("user \"{}\" has an expired password", user_);
        const bool has_verifier = !user_record_->verifier.empty() && !expired;
        return authenticate_by(*method, has_verifier ? &user_record_->verifier : nullptr);
    }
    auto* lookup = database_ != nullptr ? worker_.shared.auth_of(database_->name) : nullptr;
    if (lookup == nullptr) return start_scram({}, true);
    lookup->find(
        user_,
        [&home = worker_, id = id_, method](const std::optional<std::string>& verifier) {
            home.events.post([&home, id, method, verifier] {
                auto* self = home.find(id);
                if (self == nullptr || self->phase_ != phase::authenticating) return;
                const auto keep_alive = self->shared_from_this();
                // Whoever is not known there is not let in by any method.
                if (!verifier) return self->start_scram({}, true);
                self->authenticate_by(*method, &*verifier);
            });
        });
}

/// `verifier`: null where the user has none.
void session::authenticate_by(auth::access_method method, const std::string* verifier) {
    if (method == auth::access_method::trust) return authenticated();
    if (method == auth::access_method::scram)
        return start_scram(verifier != nullptr ? *verifier : std::string{}, verifier == nullptr);
    const auto* tls = client_.tls();
    if (method == auth::access_method::cert && tls != nullptr && tls->peer_name() == user_)
        return authenticated();
    metrics::add(metrics::counter::logins_failed);
    log::info(
        "client {} {}: its certificate names \"{}\", not \"{}\"",
        id_,
        address_,
        tls != nullptr ? tls->peer_name() : "",
        user_);
    fail_client(
        "FATAL",
        "28000",
        fmt::format("certificate authentication failed for user \"{}\"", user_));
    end();
}

void session::start_scram(const std::string& verifier_text, bool doomed) {
    auto verifier = auth::scram_verifier::parse(verifier_text);
    scram_doomed_ = doomed || !verifier;
    if (!doomed && !verifier) {
        log::warning(
            "user \"{}\" has no SCRAM-SHA-256 verifier: {}",
            user_,
            verifier.error().message);
    }
    scram_ = std::make_unique<auth::scram_server>(
        scram_doomed_ ? auth::mock_verifier(user_, worker_.shared.mock_secret) : *verifier);
    if (scram_doomed_) scram_->set_doomed();
    if (client_.tls() != nullptr) {
        auto end_point = client_.tls()->end_point();
        if (!end_point.empty()) scram_->offer_binding(std::move(end_point));
    }
    std::string out;
    wire::write_sasl_mechanisms(out, scram_->mechanisms());
    send_to_client(out);
}

std::size_t session::consume_authentication(std::string_view bytes) {
    std::size_t used = 0;
    while (phase_ == phase::authenticating && scram_ && used < bytes.size()) {
        const auto next =
            wire::peek_message(bytes.substr(used), wire::direction::from_client, password_size_max);
        if (next.state == wire::frame_state::incomplete) break;
        if (next.state == wire::frame_state::malformed || next.message.tag != 'p') {
            if (next.state == wire::frame_state::complete && next.message.tag == 'X') {
                end();
            } else {
                protocol_violation("expected a password response");
            }
            return bytes.size();
        }
        used += next.message.whole.size();
        on_password_message(next.message.body);
    }
    return used;
}

void session::on_password_message(std::string_view body) {
    std::string out;
    if (!scram_started_) {
        wire::sasl_initial_message initial;
        if (wire::read_sasl_initial(body, initial) != wire::errc::ok || !initial.response) {
            return protocol_violation("malformed SASLInitialResponse");
        }
        if (!scram_->choose(initial.mechanism)) {
            return protocol_violation("client selected an invalid SASL authentication mechanism");
        }
        scram_started_ = true;
        const auto answer = scram_->first(*initial.response);
        if (!answer) return protocol_violation(answer.error().message);
        wire::write_authentication(out, wire::authentication::sasl_continue, *answer);
        return send_to_client(out);
    }
    const auto answer = scram_->final(body);
    if (!answer) {
        metrics::add(metrics::counter::logins_failed);
        log::info(
            "client {} {}: login as \"{}\" failed: {}",
            id_,
            address_,
            user_,
            answer.error().message);
        if (scram_->bound_elsewhere()) {
            fail_client("FATAL", "28000", "SCRAM channel binding check failed");
        } else {
            fail_client(
                "FATAL",
                "28P01",
                fmt::format("password authentication failed for user \"{}\"", user_));
        }
        return end();
    }
    wire::write_authentication(out, wire::authentication::sasl_final, *answer);
    send_to_client(out);
    proven_keys_ = scram_->keys();
    authenticated();
}

void session::enter_console() {
    const auto lets_in = [&](const std::vector<std::string>& users) {
        return std::find(users.begin(), users.end(), user_) != users.end();
    };
    const bool may_act = lets_in(settings_->admin_users);
    if (!may_act && !lets_in(settings_->stats_users)) {
        fail_client("FATAL", "42501", fmt::format("user \"{}\" may not use the console", user_));
        return end();
    }
    phase_ = phase::console;
    console_ = std::make_unique<console_memory>();
    console_->may_act = may_act;
    stop_wait_timer();
    send_welcome(
        {{"server_version", "15.0 (Postern)"},
         {"client_encoding", "UTF8"},
         {"server_encoding", "UTF8"},
         {"DateStyle", "ISO, MDY"},
         {"standard_conforming_strings", "on"},
         {"integer_datetimes", "on"}});
}

void session::authenticated() {
    scram_.reset();
    if (replicates_ != replication_mode::none) {
        if (const auto no = refusal_of_replication()) {
            fail_client("FATAL", no->sqlstate, no->message);
            return end();
        }
    } else if (is_console(requested_database_) && database_ == nullptr) {
        return enter_console();
    }
    if (database_ == nullptr) {
        fail_client(
            "FATAL",
            "3D000",
            fmt::format("database \"{}\" does not exist", requested_database_));
        return end();
    }
    if (worker_.shared.admits.is_disabled(database_->name)) {
        // PostgreSQL's code of a database that lets nobody in, and PgBouncer's words.
        fail_client("FATAL", "55000", fmt::format("database \"{}\" is disabled", database_->name));
        return end();
    }
    watcher_ = worker_.shared.watcher_of(database_->name);
    sampler_ = &worker_.shared.sampler_of(database_->name);
    if (settings_->rls == rls_mode::required) return prove_policies();
    admit();
}

/// Lets in whom policies bind. While the catalog is being read nobody can tell: the login waits as
/// long as a login may take.
void session::prove_policies() {
    waiting_for_ = nullptr;
    if (watcher_ != nullptr && watcher_->current() == nullptr) {
        waiting_for_ = waits_for_catalog;
        worker_.awaiting_catalog.insert(id_);
        // What the client sends meanwhile is kept, and the time for a login goes on.
        if (std::exchange(phase_, phase::welcoming) == phase::welcoming) return;
        const std::chrono::nanoseconds spent{postern::now() - connected_at_};
        start_wait_timer(
            std::chrono::ceil<std::chrono::milliseconds>(settings_->login_timeout - spent),
            &session::refuse_policies);
        return;
    }
    if (sees_through_policies()) return refuse_policies();
    admit();
}

void session::refuse_policies() {
    farewell(
        "42501",
        fmt::format(
            "role \"{}\" is not proven to be subject to row-level security, which the "
            "configuration requires (rls: required)",
            user_));
}

/// The login's last part: a place among the database's clients, and a pool.
void session::admit() {
    traffic_ = &worker_.traffics[database_->name];
    if (const auto limit = worker_.shared.clients_by_name.admit(*database_, *user_record_)) {
        fail_client("FATAL", "53300", *limit);
        return end();
    }
    is_counted_ = true;
    pool_ = worker_.shared.pool_of(*database_, *user_record_);
    // Nobody need write a password down: what this client has proven logs in at PostgreSQL too.
    if (proven_keys_ && user_record_->upstream_password.empty())
        pool_->set_keys(std::move(proven_keys_));
    proven_keys_.reset();
    user_record_.reset();
    context_.change().settings = startup_settings_;
    phase_ = phase::welcoming;
    stop_wait_timer();
    welcome();
}

/// Whether policies do not, or may not, hold for this login: a superuser, BYPASSRLS, the owner of a
/// table whose policies are not forced, or nobody the catalog could tell us about.
bool session::sees_through_policies() const {
    const auto catalog = watcher_ != nullptr ? watcher_->current() : nullptr;
    if (catalog == nullptr) return true;
    const auto& roles = catalog->data().roles;
    const auto found = std::find_if(roles.begin(), roles.end(), [&](const catalog::role& one) {
        return one.name == user_;
    });
    if (found == roles.end() || found->superuser || found->bypass_rls) return true;
    const auto& relations = catalog->data().relations;
    return std::any_of(relations.begin(), relations.end(), [&](const catalog::relation& one) {
        return one.rls_enabled && !one.rls_forced && one.owner == found->id;
    });
}

/// Sends what PostgreSQL would announce to a session with these startup parameters. A combination
/// that was not seen before is tried on a server first, so that a value that PostgreSQL refuses is
/// refused at login, and what it makes of the others is announced.
void session::welcome() {
    if (replicates_ != replication_mode::none) return begin_replication();
    const auto known = worker_.welcomes.find(welcome_key(*pool_, *startup_settings_));
    if (known != worker_.welcomes.end()) {
        phase_ = phase::ready;
        send_welcome(known->second);
        return resume();
    }
    if (!have_server() || !dressed()) return;
    if (worker_.welcomes.size() > 1000) worker_.welcomes.clear();
    const auto parameters = server_->parameters;
    worker_.welcomes.emplace(welcome_key(*pool_, *startup_settings_), parameters);
    // Nothing was asked yet: in session mode too the server is not this client's so far.
    release_server();
    phase_ = phase::ready;
    send_welcome(parameters);
    resume();
}

void session::send_welcome(const pool::reported_parameters& parameters) {
    std::string out;
    wire::write_authentication(out, wire::authentication::ok);
    for (const auto& [name, value] : parameters) {
        const bool own_name = name == "application_name";
        wire::write_parameter_status(
            out,
            name,
            own_name ? std::string_view{application_name_} : value);
    }
    const bool long_key = protocol_ >= wire::protocol_3_2;
    cancel_secret_ = auth::random_bytes(long_key ? long_secret_size : short_secret_size);
    cancel_key_ = worker_.shared.cancels.add({cancel_secret_, worker_.number, id_});
    wire::write_backend_key_data(out, cancel_key_, cancel_secret_);
    wire::write_ready_for_query(out, wire::transaction_status::idle);
    active_at_ = postern::now();
    client_.report_changes_only();
    send_to_client(out);
}

void session::on_login_timeout() {
    if (phase_ != phase::startup && phase_ != phase::authenticating) return;
    farewell("57014", "canceling authentication due to timeout");
}

}  // namespace postern::session
