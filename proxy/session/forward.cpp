// What goes to the server: settings first and on their own, then in one write the transaction that
// was held back, the identity, and the client's messages with their statements' names translated.

#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "session/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

namespace postern::session {

namespace {

using kind = expectation::kind;
using fate = expectation::fate;

/// What a thread keeps of the memory that it composes in.
constexpr std::size_t composed_size_max = std::size_t{1} << 20;

/// Distinguishes the server-side statements of one text under different contexts.
hash128 mix(const hash128& left, const hash128& right) {
    const std::uint64_t words[4] = {left.low, left.high, right.low, right.high};
    return hash_bytes({reinterpret_cast<const char*>(words), sizeof words});
}

void append_unique(std::vector<coherence::tag>& into, const std::vector<coherence::tag>& more) {
    for (const auto tag : more) {
        if (std::ranges::find(into, tag) == into.end()) into.push_back(tag);
    }
}

}  // namespace

/// True: a server is ours. False: the request waits for one.
bool session::have_server() {
    if (server_ && !cancelling_) return true;
    if (waiting_for_ != nullptr) return false;
    if (cancelling_) {
        waiting_for_ = waits_for_cancel;
        return false;
    }
    if (auto lent = pool_->checkout(worker_.number, context_.now().settings)) {
        adopt_server(std::move(lent));
        return true;
    }
    const auto number = ++wait_number_;
    pool_->wait(
        worker_.number,
        [weak = weak_from_this(), &home = worker_, from = pool_, number](pool::grant given) {
            const auto self = weak.lock();
            if (self != nullptr && !self->destroyed_ && self->wait_number_ == number &&
                self->waiting_for_ != nullptr) {
                return self->on_granted(std::move(given));
            }
            if (given.lent) from->give_back(home.number, std::move(given.lent));
        },
        wait_ticket_);
    wait_began_ = postern::now();
    waiting_for_ = "server";
    start_wait_timer(pool_->how().limits.wait_timeout, &session::on_wait_expired);
    return false;
}

void session::adopt_server(pool::server_ptr lent) {
    server_ = std::move(lent);
    server_->link.set_handler(server_events_);
    metrics::add(metrics::counter::transactions);
    ++traffic_->transactions;
}

void session::on_granted(pool::grant given) {
    const auto keep_alive = shared_from_this();
    stop_wait_timer();
    ++wait_number_;
    ++request_number_;
    waiting_for_ = nullptr;
    wait_ticket_.number = 0;
    traffic_->wait_time_ns += postern::now() - wait_began_;
    if (!given.lent) {
        fail_client("FATAL", given.failure->code, given.failure->message);
        return end();
    }
    pending_.granted_at = postern::now();
    adopt_server(std::move(given.lent));
    go_on();
}

/// What was waited for is there: the login or the request at the front goes on.
void session::go_on() {
    if (phase_ == phase::welcoming) return welcome();
    if (phase_ == phase::closing) return resynchronise();
    resume();
}

void session::on_wait_expired() {
    if (waiting_for_ == nullptr) return;
    pool_->cancel(wait_ticket_);
    ++wait_number_;
    waiting_for_ = nullptr;
    active_at_ = postern::now();
    if (phase_ == phase::ready && place_ == transaction_place::none) {
        waiting_failed_ = "53300";
        return resume();
    }
    fail_client("FATAL", "53300", "no server became free within the wait limit of the pool");
    end();
}

/// True: the server wears what the session wants. False: it is being dressed, or that failed.
bool session::dressed() {
    const auto& wanted = context_.now().settings;
    if (server_->worn == wanted) return true;
    // In a failed transaction nothing can be set, and nothing that is set matters.
    if (place_ == transaction_place::failed) return true;
    const auto text = pool::change_of_dress(
        *server_->worn,
        *wanted,
        spellings_ != nullptr ? *spellings_ : *pool::no_settings());
    if (text.empty()) {
        server_->worn = wanted;
        return true;
    }
    server_->unnamed.reset();  // as every simple Query does
    dressing_ = true;
    dressing_error_.clear();
    waiting_for_ = "settings";
    std::string out;
    wire::write_query(out, text);
    send_to_server(out);
    return false;
}

/// The settings' answer is complete: only now may anything of the client's follow.
void session::on_dressed() {
    dressing_ = false;
    waiting_for_ = nullptr;
    if (dressing_error_.empty()) {
        server_->worn = context_.now().settings;
        return go_on();
    }
    drop_server();
    send_to_client(dressing_error_);
    end();
}

session::step session::forward() {
    if (server_ == nullptr && front_.batch.end == 'S' && !front_.is_query &&
        front_.batch.messages.size() == 1 && !in_extended_) {
        // A lone Sync with nothing open anywhere.
        std::string out;
        wire::write_ready_for_query(out, status_byte());
        send_to_client(out);
        pending_ = {};
        return step::consumed;
    }
    if (!have_server() || !dressed()) return phase_ == phase::closing ? step::ended : step::waiting;
    if (sampler_->is_on()) [[unlikely]]
        sample_forwarded();
    begin_running();
    raise_fence();
    prepare_fills();
    choose_context();
    auto& out = worker_.server_bytes;
    out.clear();
    if (place_ == transaction_place::held) compose_begin(out);
    if (front_.is_query) {
        compose_query(out);
    } else {
        compose_batch(out);
    }
    note_executions();
    pending_ = {};
    send_to_server(out);
    // A message of 1 GiB shall not leave that much behind with the thread.
    for (auto* one : {&out, &worker_.key_material}) {
        if (one->capacity() > composed_size_max) std::string{}.swap(*one);
    }
    if (running_ && !expected_.empty()) emit_local_answers();
    after_relay();
    return phase_ == phase::closing ? step::ended : step::consumed;
}

void running_request::clear() {
    executions.clear();
    fills.clear();
    endings.clear();
    if (fence.raised()) fence = {};
    static_cast<running_marks&>(*this) = {};
}

void session::start_running() {
    auto& spare = front_.spare;
    if (spare.empty()) {
        running_ = std::make_unique<running_request>();
        return;
    }
    running_ = std::move(spare.back());
    spare.pop_back();
}

void session::end_running() {
    constexpr std::size_t spare_max = 64;
    if (running_ == nullptr) return;
    running_->clear();
    if (front_.spare.size() < spare_max) {
        front_.spare.push_back(std::move(running_));
    } else {
        running_.reset();
    }
}

void session::begin_running() {
    if (open_batch_) {
        running_ = std::move(open_batch_);
    } else {
        start_running();
        running_->from_idle = place_ == transaction_place::none && !in_extended_;
    }
    running_->started_at = pending_.started_at;
    running_->is_query = front_.is_query;
    running_->sent_at = std::max(pending_.started_at, pending_.granted_at);
    running_->cancelled_at = 0;
    if (running_->from_idle) transaction_began_ = running_->sent_at;
    running_->reads = std::max(running_->reads, reading_);
    for (const auto& one : front_.executions) {
        running_->controls_transaction |= one.plan->controls_transaction;
        running_->changes_catalog |= one.plan->changes_catalog;
    }
}

void session::note_executions() {
    for (auto& one : front_.executions) {
        running_->executions.push_back({std::move(one.plan), std::move(one.settings), one.why});
    }
}

/// Raises the fence of a request that may commit, or remembers what a transaction has touched.
void session::raise_fence() {
    bool sets_anything = pins_[static_cast<std::size_t>(sql::pin_cause::unknown_effect)] ||
                         pins_[static_cast<std::size_t>(sql::pin_cause::unknown_setting)] ||
                         pins_[static_cast<std::size_t>(sql::pin_cause::unread_catalog)] ||
                         local_settings_;
    std::size_t statements = 0;
    for (const auto& one : front_.executions) {
        sets_anything |= !one.settings.empty() || one.plan->hides_settings;
        statements += one.plan->footprints.size();
    }
    for (const auto& one : front_.executions) {
        if (!one.plan->writes()) continue;
        append_unique(dirty_tags_, one.plan->write_tags);
        // Names resolve differently once search_path has changed out of our sight.
        dirty_everything_ |= one.plan->writes_everything ||
                             (sets_anything && (statements > 1 || local_settings_ || pins_.any()));
    }
    dirty_catalog_ |= running_->changes_catalog;
    const bool nothing = dirty_tags_.empty() && !dirty_everything_;
    const bool in_block = place_ == transaction_place::held || place_ == transaction_place::open ||
                          place_ == transaction_place::failed;
    const bool may_commit = running_->controls_transaction ||
                            (!in_block && front_.batch.end == 'S');
    if (nothing || !may_commit) return;
    auto& versions = worker_.shared.versions;
    running_->fence = dirty_everything_ ? versions.raise_everything() : versions.raise(dirty_tags_);
    running_->fenced_at = postern::now();
}

/// Captures the versions of what will be read, before anything is sent. DESIGN §5.
void session::prepare_fills() {
    // A read behind a write of the same request sees what others can't see yet.
    const bool writes = std::ranges::any_of(front_.executions, [](const execution& one) {
        return one.plan->writes() || one.plan->takes_locks || !one.settings.empty() ||
               one.plan->sets_transaction_modes;
    });
    for (auto& one : front_.executions) {
        one.fill = -1;
        if (one.why != reason::miss) continue;
        if (writes) {
            one.why = reason::transaction_has_written;
            continue;
        }
        metrics::add(metrics::counter::misses);
        fill fresh;
        if (pending_.joined_flight && pending_.ticket.leads()) {
            fresh.captured = std::move(pending_.captured_on_joining);
            fresh.ticket = std::move(pending_.ticket);
        } else if (!worker_.shared.versions.capture(one.plan->read_tags, fresh.captured)) {
            one.why = reason::fenced;
            continue;
        }
        // DDL that has ended since the plan was looked up may have changed what it reads.
        if (one.plan->catalog_epoch != catalog_epoch()) {
            one.why = reason::catalog_stale;
            continue;
        }
        build_key(one, fresh.material);
        fresh.hash = hash_bytes(fresh.material);
        fresh.plan = one.plan;
        one.fill = static_cast<int>(running_->fills.size());
        running_->fills.push_back(std::move(fresh));
    }
}

expectation& session::expect(kind what, fate how, int fill) {
    auto& added = expected_.emplace_back();
    added.what = what;
    added.how = how;
    added.fill = fill;
    return added;
}

/// What the client calls the statement that the last expectation is about, for errors that name it.
void session::name_meant(std::string_view name) {
    if (expected_head_ + 1 == expected_.size()) names_meant_.clear();
    auto& of = expected_.back();
    of.name_at = static_cast<std::uint32_t>(names_meant_.size());
    of.name_size = static_cast<std::uint32_t>(name.size());
    names_meant_ += name;
}

const pool::statement_key& session::server_key(const prepared_statement& statement) const {
    if (private_context_ != nullptr) {
        private_key_ = {
            mix(statement.hash, private_context_->hash),
            statement.material,
            private_context_->material};
        return private_key_;
    }
    if (statement.last_context != statement_context_) {
        statement.last_context = statement_context_;
        statement.last_key = {
            mix(statement.hash, statement_context_->hash),
            statement.material,
            statement_context_->material};
    }
    return statement.last_key;
}

/// Where SET LOCAL, a SET of this very batch, or DDL that nobody else sees yet decides what a
/// statement means, what is prepared is nobody else's.
void session::choose_context() {
    const auto shapes = [](const auto& one) {
        return std::ranges::any_of(one.settings, [](const sql::setting_change& change) {
            return !is_shapeless(change.name);
        });
    };
    if (running_->changes_catalog) private_context_ = nullptr;
    if (private_context_ != nullptr) return;
    if (!dirty_catalog_ && !running_->changes_catalog && !local_shape_ &&
        std::ranges::none_of(front_.executions, shapes) &&
        std::ranges::none_of(running_->executions, shapes))
        return;
    static std::atomic<std::uint64_t> next{0};
    auto fresh = std::make_shared<statement_context>();
    fresh->material = std::make_shared<const std::string>(fmt::format("private {}", next++));
    fresh->hash = hash_bytes(*fresh->material);
    private_context_ = std::move(fresh);
}

/// The BEGIN that the client was told of, without Sync: if it fails, what follows is skipped.
void session::compose_begin(std::string& out) {
    const auto statement = worker_.prepare(held_begin_, {}, 0, true);
    const auto name = server_name_of(*statement, out);
    wire::write_bind(out, {}, name, std::string_view{"\0\0\0\0\0\0", 6});
    expect(kind::bind, fate::swallow);
    wire::write_execute(out, {}, 0);
    expect(kind::execute, fate::swallow);
    place_ = transaction_place::open;
    held_begin_.clear();
    identity_injected_ = false;
    context_.wears(server_->worn);
}

bool session::may_want_identity() const {
    return !identity_injected_ && !settings_->identity.variables.empty() &&
           (!claims_->empty || identity_was_sent_);
}

bool session::wants_identity(const plan& of) const {
    return may_want_identity() && of.needs_identity && !of.refuses_transaction;
}

/// The identity as the transaction's own settings, in front of its first data statement, without
/// Sync: gone at the transaction's end, and if it fails the statement does not run. DESIGN §4.
void session::compose_identity(std::string& out) {
    refresh_claims();
    if (!server_->identity_prepared) {
        // It may be there all the same, when it is only not known to be.
        wire::write_close(out, 'S', "postern_identity");
        expect(kind::close, fate::swallow);
        wire::write_parse(
            out,
            "postern_identity",
            identity::injection_text(settings_->identity),
            {});
        expect(kind::parse, fate::swallow).is_identity = true;
        server_->identity_prepared = true;
    }
    std::vector<std::optional<std::string_view>> values;
    for (const auto& value : claims_->values)
        values.emplace_back(value);
    wire::write_bind_text(out, {}, "postern_identity", values);
    expect(kind::bind, fate::swallow);
    wire::write_execute(out, {}, 0);
    expect(kind::execute, fate::swallow);
    identity_injected_ = true;
    identity_was_sent_ = true;
}

void session::compose_query(std::string& out) {
    const auto& message = front_.batch.messages.front();
    if (message.tag == 'F') {
        out += message.whole;
        expect(kind::function_call);
        return;
    }
    std::map<std::string, prepared_ptr> named;
    for (const auto& one : front_.executions) {
        if (wants_identity(*one.plan)) compose_identity(out);
        // SQL's EXECUTE and DEALLOCATE name statements as the client does; the server has to know
        // those names.
        for (const auto& facts : one.plan->analysis->facts->statements) {
            for (const auto& name : facts.prepared_names) {
                if (const auto found = statements_.find(name); found != statements_.end())
                    named.emplace(found->first, found->second);
            }
        }
    }
    // A failed transaction refuses whatever stands in front as well.
    if (!named.empty() && place_ != transaction_place::failed)
        return compose_query_naming(named, out);
    // PostgreSQL drops the unnamed statement at a simple Query.
    unnamed_ = nullptr;
    server_->unnamed.reset();
    out += message.whole;
    expect(
        kind::query,
        fate::forward,
        front_.executions.empty() ? -1 : front_.executions.front().fill);
}

/// A Query that names statements of the protocol: they are there under the client's names for as
/// long as it takes.
void session::compose_query_naming(
    const std::map<std::string, prepared_ptr>& named,
    std::string& out) {
    for (const auto& [name, statement] : named) {
        wire::write_parse(out, name, statement->text, statement->parameter_types);
        expect(kind::parse, fate::swallow);
    }
    unnamed_ = nullptr;
    server_->unnamed.reset();
    out += front_.batch.messages.front().whole;
    expect(kind::query, fate::all_but_ready);
    for (const auto& [name, unused] : named) {
        wire::write_close(out, 'S', name);
        expect(kind::close, fate::swallow);
    }
    wire::write_sync(out);
    expect(kind::sync);
}

/// DEALLOCATE in the extended protocol: what it names is put on the server for it to drop.
void session::compose_deallocated(const prepared_statement& statement, std::string& out) {
    const auto* name = deallocates(statement);
    if (name == nullptr || place_ == transaction_place::failed) return;
    const auto& found = find_statement(*name);
    if (found == nullptr) return;
    wire::write_close(out, 'S', *name);
    expect(kind::close, fate::swallow);
    wire::write_parse(out, *name, found->text, found->parameter_types);
    expect(kind::parse, fate::swallow);
    running_->lends_names = true;
}

/// Ends the open batch of extended messages as a vanished client's ends on PostgreSQL: undone. A
/// Sync alone would commit it, unless it has failed already: then what precedes Sync is skipped.
void session::compose_abort(std::string& out) {
    if (!skip_until_sync_) {
        wire::write_parse(out, {}, "aborted by postern", {});
        expect(kind::parse, fate::hidden);
    }
    wire::write_sync(out);
    expect(kind::sync, fate::swallow);
    server_->unnamed.reset();
    in_extended_ = false;
}

void session::compose_batch(std::string& out) {
    std::size_t next_execution = 0;
    namings_visible_ = 0;
    front_.composed_bind = nullptr;
    for (const auto& message : front_.batch.messages)
        compose_message(message, next_execution, out);
    if (front_.batch.flush_is_ours) wire::write_flush(out);
    in_extended_ = front_.batch.end == 'H';
}

void session::compose_message(
    const wire::message& message,
    std::size_t& next_execution,
    std::string& out) {
    switch (message.tag) {
    case 'P': return compose_parse(message, out);
    case 'B': return compose_bind(message, out);
    case 'D': return compose_describe(message, next_execution, out);
    case 'E': return compose_execute(message, front_.executions[next_execution++], out);
    case 'C': return compose_close(message, out);
    case 'S':
        out += message.whole;
        expect(kind::sync);
        return;
    default: out += message.whole; return;
    }
}

void session::compose_parse(const wire::message& message, std::string& out) {
    const int index = static_cast<int>(namings_visible_);
    const auto& before = find_statement(namings_[namings_visible_].name);
    const auto& named = namings_[namings_visible_++];
    const auto& statement = *named.statement;
    const auto& key = server_key(statement);
    if (named.name.empty()) {
        out += message.whole;
        expect(kind::parse).names = index;
        server_->unnamed = key;
        return;
    }
    if (is_prepared_by_sql(named.name)) {
        out += message.whole;
        expect(kind::parse);
        return;
    }
    // PostgreSQL refuses a name that is taken; so does a second Parse of its server-side name.
    const bool taken = before != nullptr;
    if (!taken && !server_->prepared.find(key).empty()) {
        if (place_ == transaction_place::failed) return compose_parse_anew(statement, index, out);
        expect(kind::parse, fate::local).names = index;
        return;
    }
    const auto name = taken ? server_name_of(*before, out) : add_server_name(key, out);
    wire::write_parse(out, name, statement.text, statement.parameter_types);
    auto& expected = expect(kind::parse);
    expected.names = taken ? -1 : index;
    if (!taken) expected.prepares = key;
    name_meant(named.name);
}

/// A failed transaction may refuse to parse what the server has prepared long ago.
void session::compose_parse_anew(const prepared_statement& statement, int index, std::string& out) {
    wire::write_close(out, 'S', "postern_anew");
    expect(kind::close, fate::swallow);
    wire::write_parse(out, "postern_anew", statement.text, statement.parameter_types);
    expect(kind::parse).names = index;
}

/// Makes room for and names a new server-side statement.
std::string_view session::add_server_name(const pool::statement_key& key, std::string& out) {
    std::vector<std::string> evicted;
    const auto name = server_->prepared.add(key, evicted);
    for (const auto& gone : evicted) {
        wire::write_close(out, 'S', gone);
        expect(kind::close, fate::swallow);
    }
    return name;
}

/// The statement's name on this server, prepared there first when it isn't yet.
std::string_view session::server_name_of(const prepared_statement& statement, std::string& out) {
    const auto& key = server_key(statement);
    if (const auto known = server_->prepared.find(key); !known.empty()) return known;
    const auto name = add_server_name(key, out);
    wire::write_parse(out, name, statement.text, statement.parameter_types);
    expect(kind::parse, fate::swallow).prepares = key;
    return name;
}

/// A name that the session does not know, as PostgreSQL shall not know it either.
std::string_view session::unknown_name(std::string_view name, std::string& buffer) const {
    if (!name.starts_with(pool::prepared_lru::prefix)) return name;
    buffer = unknown_prefix;
    buffer += name;
    return buffer;
}

/// The session has no unnamed statement: another's on this server must not be taken for it.
void session::forget_unnamed(std::string& out) {
    wire::write_close(out, 'S', {});
    expect(kind::close, fate::swallow);
    server_->unnamed.reset();
}

void session::compose_bind(const wire::message& message, std::string& out) {
    front_.composed_bind = &message;
    static_cast<void>(read_bind(message));
    const auto& statement = find_statement(front_.bind.statement);
    // The identity stands before the values are bound: planning may already look at policies, and
    // a portal may be run by a later request.
    if (statement != nullptr && may_want_identity() && wants_identity(*plan_of(*statement))) {
        compose_identity(out);
    }
    if (statement != nullptr) compose_deallocated(*statement, out);
    if (front_.bind.statement.empty()) {
        const bool parsed_here = std::any_of(
            namings_.begin(),
            namings_.begin() + static_cast<std::ptrdiff_t>(namings_visible_),
            [](const naming& one) { return one.name.empty(); });
        if (statement != nullptr && !parsed_here && server_->unnamed != server_key(*statement)) {
            // It was made on another server.
            wire::write_parse(out, {}, statement->text, statement->parameter_types);
            expect(kind::parse, fate::swallow);
            server_->unnamed = server_key(*statement);
        }
        if (statement == nullptr) forget_unnamed(out);
        out += message.whole;
    } else {
        std::string buffer;
        const auto name = statement != nullptr ? server_name_of(*statement, out)
                                               : unknown_name(front_.bind.statement, buffer);
        wire::write_bind(out, front_.bind.portal, name, front_.bind.rest);
    }
    expect(kind::bind);
    if (!front_.bind.statement.empty()) name_meant(front_.bind.statement);
}

void session::compose_describe(
    const wire::message& message,
    std::size_t next_execution,
    std::string& out) {
    (void)wire::read_target(message.body, front_.target);
    if (front_.target.kind == 'P') {
        out += message.whole;
        int fill = -1;
        // Of the portal that is about to run; behind its Execute this describes the one before.
        if (front_.target.name.empty() && next_execution < front_.executions.size() &&
            front_.executions[next_execution].bind == front_.composed_bind) {
            fill = front_.executions[next_execution].fill;
            front_.executions[next_execution].describes_portal = fill >= 0;
        }
        expect(kind::describe_portal, fate::forward, fill);
        return;
    }
    const auto& statement = find_statement(front_.target.name);
    if (front_.target.name.empty()) {
        if (statement == nullptr) forget_unnamed(out);
        if (statement != nullptr && server_->unnamed != server_key(*statement)) {
            wire::write_parse(out, {}, statement->text, statement->parameter_types);
            expect(kind::parse, fate::swallow);
            server_->unnamed = server_key(*statement);
        }
        out += message.whole;
    } else {
        std::string buffer;
        const auto name = statement != nullptr ? server_name_of(*statement, out)
                                               : unknown_name(front_.target.name, buffer);
        wire::write_describe(out, 'S', name);
    }
    expect(kind::describe_statement);
    if (!front_.target.name.empty()) name_meant(front_.target.name);
}

void session::compose_close(const wire::message& message, std::string& out) {
    (void)wire::read_target(message.body, front_.target);
    if (front_.target.kind == 'P') {
        out += message.whole;
        expect(kind::close);
        return;
    }
    const auto index = static_cast<int>(namings_visible_++);
    if (is_prepared_by_sql(front_.target.name)) {
        out += message.whole;
        auto& expected = expect(kind::close);
        expected.names = index;
        expected.drops_sql_prepared = true;
        return;
    }
    // The server keeps it for the next one who prepares the same.
    expect(kind::close, fate::local).names = index;
}

void session::compose_execute(const wire::message& message, execution& one, std::string& out) {
    if (one.fill >= 0 && !one.describes_portal) {
        // An entry serves those who ask for the row's description as well.
        wire::write_describe(out, 'P', {});
        expect(kind::describe_portal, fate::swallow, one.fill);
    }
    out += message.whole;
    auto& expected = expect(kind::execute, fate::forward, one.fill);
    if (one.statement != nullptr && deallocates(*one.statement) != nullptr)
        expected.names = static_cast<int>(namings_visible_++);
    // What follows in the same batch may run in another transaction, or without what was set in it.
    if (one.plan->disturbs_identity) identity_injected_ = false;
}

void session::send_to_server(std::string_view bytes) {
    metrics::add(metrics::counter::bytes_to_servers, bytes.size());
    auto& link = server_->link;
    if (link.in_round() && !link.wants_write() &&
        server_->outbox.size() + bytes.size() <= gathered_max) {
        if (server_->outbox.empty()) server_->outbox = worker_.spare_buffer();
        server_->outbox.append(bytes);
        return link.flush_soon();
    }
    if (!link.wants_write()) flush_server();
    if (server_->outbox.empty()) {
        const auto sent = link.send(bytes);
        // A server that is gone shows when its answer is read: what it said last comes first.
        if (sent.state == pool::channel::io_state::closed) return;
        if (sent.state == pool::channel::io_state::done) bytes.remove_prefix(sent.count);
        if (bytes.empty()) return;
    }
    server_->outbox.append(bytes);
    link.want_write(true);
}

void session::on_server_writable() {
    if (!server_) return;
    const bool was_full = server_->link.wants_write();
    flush_server();
    if (was_full || server_->link.wants_write()) back_pressure();
}

/// Sends what has been gathered for the server, or has waited for its socket.
void session::flush_server() {
    auto& outbox = server_->outbox;
    if (outbox.empty()) return;
    const auto sent = server_->link.send(std::string_view{outbox}.substr(server_->outbox_sent));
    if (sent.state == pool::channel::io_state::closed) {
        outbox.clear();
        server_->outbox_sent = 0;
        server_->link.want_write(false);
        return;
    }
    if (sent.state == pool::channel::io_state::done) server_->outbox_sent += sent.count;
    // A message of 1 GiB leaves in thousands of pieces: its rest is not moved behind each of them.
    if (server_->outbox_sent * 2 >= outbox.size()) {
        outbox.erase(0, server_->outbox_sent);
        server_->outbox_sent = 0;
    }
    server_->link.want_write(!outbox.empty());
    if (outbox.empty()) worker_.keep_buffer(std::move(outbox));
}

/// An error of our own in answer to the request, with what PostgreSQL does on one: the transaction
/// fails, the rest up to Sync is skipped.
session::step session::refuse(std::string_view sqlstate, std::string_view message) {
    std::string out;
    wire::write_error(out, "ERROR", sqlstate, message);
    const bool in_block = place_ == transaction_place::held || place_ == transaction_place::open;
    if (in_block || in_extended_) {
        if (!have_server() || !dressed())
            return phase_ == phase::closing ? step::ended : step::waiting;
        begin_running();
        running_->saw_error = true;
        auto& bytes = worker_.server_bytes;
        bytes.clear();
        if (place_ == transaction_place::held) compose_begin(bytes);
        // An open batch of extended messages ends here as well.
        if (in_extended_) compose_abort(bytes);
        // A client that has only sent Flush so far is not told ReadyForQuery before its Sync.
        const bool told = front_.batch.end == 'S';
        if (in_block) {
            wire::write_query(bytes, "refused by postern");
            expect(kind::query, told ? fate::ready_only : fate::hidden);
        } else if (told) {
            expected_.back().how = fate::forward;
        }
        skip_until_sync_ = !told;
        send_to_client(out);
        pending_ = {};
        send_to_server(bytes);
        return step::consumed;
    }
    skip_until_sync_ = front_.batch.end != 'S';
    if (!skip_until_sync_) wire::write_ready_for_query(out, status_byte());
    send_to_client(out);
    pending_ = {};
    return step::consumed;
}

}  // namespace postern::session
