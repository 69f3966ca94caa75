// What needs no server: hits, transactions that have not begun yet, the session's own settings.
//
// First every statement of the request is judged, then, if each can be answered here, the answers
// are rendered in the order of the messages. A request is answered here whole or not at all: a hit
// never overtakes an answer that a server still owes.

#include "base/assert.hpp"
#include "base/metrics.hpp"
#include "session/session.hpp"
#include "sql/analyzer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace postern::session {

namespace {

/// A longer statement would make a key of that size for every look-up.
constexpr std::size_t text_size_max = 16 * 1024;
constexpr std::size_t parameters_size_max = 64 * 1024;

/// What follows the names in a Bind without parameters that asks for text: three zero counts.
/// A simple Query means the same, so the two share their entries.
constexpr std::string_view no_parameters{"\0\0\0\0\0\0", 6};

void append_field(std::string& out, std::string_view field) {
    const auto size = static_cast<std::uint32_t>(field.size());
    out.append(reinterpret_cast<const char*>(&size), sizeof size);
    out.append(field);
}

constexpr std::string_view cache_setting = "postern.cache";

void render_text_columns(std::span<const wire::field_description> named, std::string& out) {
    std::vector<wire::field_description> fields{named.begin(), named.end()};
    for (auto& field : fields) {
        field.type = 25;  // text
        field.type_size = -1;
    }
    wire::write_row_description(out, fields);
}

bool changes_settings(const sql::text_facts& facts) {
    return std::ranges::any_of(facts.statements, [](const sql::statement_facts& one) {
        return !one.settings.empty() || !one.hidden_settings.empty();
    });
}

bool begins_block(const execution& one) {
    return std::ranges::any_of(
        one.plan->analysis->facts->statements,
        [](const sql::statement_facts& facts) { return facts.kind == sql::statement_kind::begin; });
}

}  // namespace

bool session::may_answer_locally() const {
    if (!front_.local || in_extended_ || copy_in_ || phase_ != phase::ready) return false;
    // What is bound is also run: a portal that is only described has to exist on a server.
    const auto binds = front_.is_query
                           ? std::ptrdiff_t{0}
                           : std::ranges::count(front_.batch.messages, 'B', &wire::message::tag);
    if (!front_.is_query && static_cast<std::size_t>(binds) != front_.executions.size())
        return false;
    // A statement that is only prepared has to be checked by PostgreSQL; one that is run here as a
    // hit, or that we understand to the letter, has been.
    for (const auto& one : namings_) {
        if (one.statement == nullptr || is_describable(*one.statement)) continue;
        const bool runs = std::ranges::any_of(front_.executions, [&](const execution& e) {
            return e.statement == one.statement;
        });
        if (!runs) return false;
    }
    return true;
}

/// Tries to answer the request without a server. `answered` says whether that was done; if not, and
/// the outcome is `consumed`, the request is to be forwarded.
session::step session::answer_locally(bool& answered) {
    auto no = std::optional<refused>{};
    if (waiting_failed_ == "57014") {
        no = refused{waiting_failed_, "canceling statement due to user request"};
    } else if (!waiting_failed_.empty()) {
        no = refused{waiting_failed_, "no server became free within the wait limit of the pool"};
    } else {
        no = refusal();
    }
    if (no) {
        const auto outcome = refuse(no->sqlstate, no->message);
        answered = outcome == step::consumed;
        if (answered) waiting_failed_.clear();
        return outcome;
    }
    if (skip_until_sync_) {
        POSTERN_ASSERT(front_.batch.end == 'S' && front_.executions.empty());
        skip_until_sync_ = false;
    }
    if (!may_answer_locally()) {
        for (auto& one : front_.executions) {
            one.why = why_not_cached(one, place_, read_committed_);
            if (one.why == reason::none) one.why = reason::pipeline;
        }
        return step::consumed;
    }
    auto place = place_;
    bool read_committed = read_committed_;
    bool all_here = true;
    for (auto& one : front_.executions) {
        if (is_local_control(one, place)) {
            // What a new transaction's level will be is known when it has begun.
            const auto& isolation = one.plan->single()->isolation;
            if (!isolation.empty()) read_committed = isolation == "read committed";
            const bool was_open = place != transaction_place::none;
            place = place_after(one, place);
            if (was_open && place == transaction_place::none) read_committed = false;
            continue;
        }
        const bool ours = is_local_setting(one) || shows_own_setting(*one.plan->analysis->facts);
        if (ours && place != transaction_place::failed) continue;
        const auto where = look_up(one, place, read_committed);
        if (where == source::later) return step::waiting;
        all_here &= where == source::here;
    }
    // An open transaction's Sync, and an empty query in it, are PostgreSQL's to answer only when
    // something else of the request goes there.
    if (!all_here) {
        for (auto& one : front_.executions) {
            if (one.hit != nullptr) one.why = reason::pipeline;
            one.hit = nullptr;
        }
        return step::consumed;
    }
    auto& out = worker_.client_bytes;
    out.clear();
    render(out);
    send_to_client(out);
    pending_ = {};
    answered = true;
    return step::consumed;
}

/// What this client may not do, whatever PostgreSQL would say.
std::optional<session::refused> session::refusal() {
    refresh_claims();
    if (pool_->how().limits.mode == pool::pool_mode::statement &&
        std::ranges::any_of(front_.executions, begins_block))
        return refused{"0A000", std::string{no_blocks}};
    const bool several = front_.executions.size() +
                             (front_.is_query && !front_.executions.empty()
                                  ? front_.executions[0].plan->footprints.size() - 1
                                  : 0) >
                         1;
    for (const auto& one : front_.executions) {
        if (auto no = refusal_of_names(*one.plan)) return no;
        if (one.obscure && guards_identity()) {
            return refused{
                "0A000",
                "the statement can't be told from one that sets an identity: "
                "standard_conforming_strings is off or may just have been changed, or its encoding "
                "is one of clients alone"};
        }
        if (one.hides_identity && guards_identity()) {
            return refused{
                "42501",
                "permission denied to set a parameter that may be one of the identity's: it can't "
                "be seen which"};
        }
        for (const auto& change : one.settings) {
            if (auto no = refusal_of_setting(change, several)) return no;
        }
    }
    if (!front_.is_query || claims_ == nullptr || claims_->empty || front_.executions.empty())
        return std::nullopt;
    // Behind a COMMIT in the middle of one query text the rest would run as nobody.
    const auto& facts = *front_.executions[0].plan->analysis->facts;
    for (std::size_t i = 0; facts.understood && i + 1 < facts.statements.size(); ++i) {
        const auto kind = facts.statements[i].kind;
        const bool resets_all = std::ranges::any_of(
            facts.statements[i].settings,
            [](const sql::setting_change& change) {
                return change.what == sql::setting_change::action::reset_all;
            });
        if (kind == sql::statement_kind::commit || kind == sql::statement_kind::rollback ||
            kind == sql::statement_kind::prepare_transaction ||
            kind == sql::statement_kind::rollback_to_savepoint || resets_all ||
            (kind == sql::statement_kind::begin && facts.statements[i].has_transaction_modes)) {
            return refused{
                "0A000",
                "a query text that ends, resets or configures a transaction before its last "
                "statement cannot carry an identity; send its statements one by one"};
        }
    }
    return std::nullopt;
}

std::optional<session::refused> session::refusal_of_setting(
    const sql::setting_change& change,
    bool several) const {
    if (is_postern_setting(change.name)) {
        if (change.name != cache_setting) {
            return refused{
                "42704",
                fmt::format("unrecognized configuration parameter \"{}\"", change.name)};
        }
        if (change.what == sql::setting_change::action::assign && change.value != "bypass" &&
            change.value != "on" && change.value != "default") {
            return refused{
                "22023",
                fmt::format(
                    "invalid value for parameter \"postern.cache\": \"{}\" (expected \"on\" or "
                    "\"bypass\")",
                    change.value)};
        }
    }
    if (!identity::is_variable(settings_->identity, change.name)) return std::nullopt;
    if (!settings_->identity.trust_client_set) {
        return refused{
            "42501",
            fmt::format("permission denied to set parameter \"{}\"", change.name)};
    }
    if (!several || change.local) return std::nullopt;
    return refused{
        "0A000",
        fmt::format(
            "parameter \"{}\" must be set for the session by a request of its own",
            change.name)};
}

/// Whether there is an identity that the client's own word must not change.
bool session::guards_identity() const noexcept {
    return !settings_->identity.variables.empty() && !settings_->identity.trust_client_set;
}

/// What SQL names that only looks like the client's own: server-side statements, which are
/// anyone's, and settings that are somebody's identity.
std::optional<session::refused> session::refusal_of_names(const plan& of) const {
    const auto& rules = settings_->identity;
    for (const auto& facts : of.analysis->facts->statements) {
        for (const auto& name : facts.prepared_names) {
            if (auto no = refusal_of_prepared(facts, name)) return no;
        }
        if (!guards_identity()) continue;
        for (const auto& name : facts.hidden_settings) {
            if (!name.empty() && !identity::is_variable(rules, name)) continue;
            return refused{
                "42501",
                name.empty() ? std::string{"permission denied to set a parameter whose name is not "
                                           "a constant, since it may be one of the identity's"}
                             : fmt::format("permission denied to set parameter \"{}\"", name)};
        }
    }
    return std::nullopt;
}

std::optional<session::refused> session::refusal_of_prepared(
    const sql::statement_facts& facts,
    const std::string& name) const {
    const auto known = statements_.find(name);
    if (known == statements_.end()) {
        if (!name.starts_with(pool::prepared_lru::prefix)) return std::nullopt;
        if (facts.kind == sql::statement_kind::prepare) {
            return refused{
                "42939",
                fmt::format(
                    "unacceptable name of a prepared statement \"{}\": the prefix \"{}\" is "
                    "reserved",
                    name,
                    pool::prepared_lru::prefix)};
        }
        return refused{"26000", fmt::format("prepared statement \"{}\" does not exist", name)};
    }
    if (facts.kind == sql::statement_kind::deallocate ||
        !changes_settings(*known->second->analysis->facts)) {
        return std::nullopt;
    }
    return refused{
        "0A000",
        fmt::format(
            "prepared statement \"{}\" changes settings: execute it through the protocol, not with "
            "EXECUTE",
            name)};
}

bool session::is_local_control(const execution& one, transaction_place place) const {
    const auto* facts = one.plan->single();
    if (facts == nullptr || place == transaction_place::failed) return false;
    if (facts->kind == sql::statement_kind::deallocate) {
        // Statements of the protocol, which live in the session; SQL's PREPARE made others.
        return facts->object_name.empty()
                   ? !pins_[static_cast<std::size_t>(sql::pin_cause::sql_prepare)]
                   : statements_.contains(facts->object_name);
    }
    if (server_ != nullptr || pins_.any()) return false;
    switch (facts->kind) {
    case sql::statement_kind::discard:
        // Behind another statement of its pipeline PostgreSQL refuses it.
        return place == transaction_place::none && facts->command_tag == "DISCARD ALL" &&
               &one == &front_.executions.front();
    case sql::statement_kind::begin: return place == transaction_place::none;
    case sql::statement_kind::commit:
    case sql::statement_kind::rollback: return place == transaction_place::held && !facts->chain;
    default: return false;
    }
}

session::transaction_place session::place_after(const execution& one, transaction_place place) {
    switch (one.plan->single()->kind) {
    case sql::statement_kind::begin: return transaction_place::held;
    case sql::statement_kind::commit:
    case sql::statement_kind::rollback: return transaction_place::none;
    default: return place;
    }
}

/// Statements that change nothing but settings of ours: the identity's variables, postern.cache.
bool session::is_local_setting(const execution& one) const {
    const auto* facts = one.plan->single();
    if (facts == nullptr || one.settings.empty()) return false;
    if (facts->kind != sql::statement_kind::set && !facts->only_set_config) return false;
    return std::ranges::all_of(one.settings, [&](const sql::setting_change& change) {
        return is_postern_setting(change.name) ||
               identity::is_variable(settings_->identity, change.name);
    });
}

/// SHOW postern.cache. PostgreSQL knows nothing of it.
bool session::shows_own_setting(const sql::text_facts& facts) {
    if (!facts.understood || facts.statements.size() != 1) return false;
    const auto& only = facts.statements.front();
    return only.kind == sql::statement_kind::show && only.object_name == cache_setting;
}

/// Why the answer may not come from the cache, as far as the session can tell.
reason session::why_not_cached(const execution& one, transaction_place place, bool read_committed)
    const {
    const auto& plan = *one.plan;
    if (!plan.cacheable()) return plan.why_not;
    if (!plan.settings->cache_enabled) return reason::cache_off;
    if (context_.now().cache_bypass) return reason::session_bypass;
    if (plan.analysis->hint_bypass) return reason::hint_bypass;
    if (pins_.any()) return reason::pinned_session;
    if (place == transaction_place::failed) return reason::failed_transaction;
    if (!read_committed) return reason::isolation_level;
    if (place != transaction_place::none && (!transaction_clean_ || local_settings_)) {
        return reason::transaction_has_written;
    }
    if (!one.whole_answer) return reason::partial_fetch;
    if (in_extended_) return reason::pipeline;
    if (one.text.size() > text_size_max) return reason::too_large;
    if (one.bind != nullptr) {
        if (one.bind->body.size() > parameters_size_max) return reason::too_large;
        if (!parameters_are_constant(one)) return reason::parameter_unsupported;
    }
    return reason::none;
}

/// A parameter in text form goes through its type's input function: 'now' is as good as now().
bool session::parameters_are_constant(const execution& one) const {
    if (read_bind(*one.bind) != wire::errc::ok) return false;
    for (std::size_t i = 0; i < front_.bind.values.size(); ++i) {
        const auto& formats = front_.bind.parameter_formats;
        const auto format = formats.empty() ? 0 : formats.size() == 1 ? formats[0] : formats[i];
        if (format == 0 && front_.bind.values[i] && sql::depends_on_time(*front_.bind.values[i]))
            return false;
    }
    return true;
}

/// Everything that decides the answer's bytes, unambiguously. DESIGN §5, "Key".
void session::build_key(const execution& one, std::string& material) const {
    material.clear();
    material.append(reinterpret_cast<const char*>(&database_->number), sizeof database_->number);
    append_field(material, plan_context_->names.role);
    append_field(material, plan_context_->names.search_path);
    append_field(material, shape_settings_);
    append_field(
        material,
        one.plan->identity_matters ? std::string_view{claims_->fingerprint} : "-");
    append_field(material, one.text);
    const auto* types = one.statement != nullptr ? &one.statement->parameter_types : nullptr;
    append_field(
        material,
        types == nullptr || types->empty() ? std::string_view{}
                                           : std::string_view{
                                                 reinterpret_cast<const char*>(types->data()),
                                                 types->size() * sizeof(std::uint32_t)});
    // After the two names, which are C strings, the body of a Bind is what the answer depends on.
    auto rest = no_parameters;
    if (one.bind != nullptr) {
        rest = one.bind->body;
        rest.remove_prefix(rest.find('\0') + 1);
        rest.remove_prefix(rest.find('\0') + 1);
    }
    append_field(material, rest);
}

session::source session::look_up(execution& one, transaction_place place, bool read_committed) {
    one.why = why_not_cached(one, place, read_committed);
    if (one.why != reason::none) return source::server;
    refresh_claims();
    auto& material = worker_.key_material;
    build_key(one, material);
    const cache::key_view key{material, hash_bytes(material)};
    auto& shared = worker_.shared;
    if (auto found = shared.near.find(key, pending_.started_at)) {
        if (shared.versions.current(found->depends_on)) return serve(one, found, reason::hit_near);
        one.why = shared.versions.fenced(found->depends_on) ? reason::fenced : reason::miss;
        if (one.why == reason::fenced) return source::server;
        shared.near.erase(found);
    }
    one.why = reason::miss;
    if (one.plan->why_not == reason::rule_observe) return source::server;
    // Waiting for others makes sense for a request of one read; in a pipeline it is not worth it.
    return front_.executions.size() == 1 ? look_further(one, key) : source::server;
}

session::source session::serve(execution& one, const cache::entry_ptr& found, reason how) {
    if (one.plan->why_not == reason::rule_observe) {
        metrics::add(metrics::counter::would_have_hit);
        one.why = reason::rule_observe;
        return source::server;
    }
    one.hit = found;
    one.why = how;
    return source::here;
}

/// Not near: Redis, then another session's flight, then a flight of our own.
session::source session::look_further(execution& one, const cache::key_view& key) {
    auto& shared = worker_.shared;
    // Who holds a server must not wait for anyone who may be waiting for that very server.
    if (server_ != nullptr) return source::server;
    if (worker_.redis != nullptr && !pending_.asked_redis) {
        ask_redis(key);
        return source::later;
    }
    if (const auto found = std::exchange(pending_.from_redis, nullptr)) {
        if (shared.versions.current(found->depends_on)) {
            shared.near.put(found);
            return serve(one, found, reason::hit_redis);
        }
    }
    if (pending_.landed) {
        const auto found = std::exchange(pending_.from_flight, nullptr);
        // RACES.md 30: only an answer asked for under the versions of our own arrival is ours too.
        if (found != nullptr && found->depends_on == pending_.captured_on_joining) {
            return serve(one, found, reason::joined_flight);
        }
        return source::server;
    }
    if (pending_.joined_flight) return pending_.ticket.leads() ? source::server : source::later;
    coherence::dependencies captured;
    if (!shared.versions.capture(one.plan->read_tags, captured)) {
        one.why = reason::fenced;
        return source::server;
    }
    return join_flight(key, captured) ? source::server : source::later;
}

void session::ask_redis(const cache::key_view& key) {
    pending_.asked_redis = true;
    waiting_for_ = "redis";
    const auto request = ++request_number_;
    worker_.redis->find(key.material, [weak = weak_from_this(), request](cache::entry_ptr found) {
        const auto self = weak.lock();
        if (self == nullptr || self->destroyed_ || self->request_number_ != request) return;
        self->waiting_for_ = nullptr;
        self->pending_.from_redis = std::move(found);
        self->resume();
    });
}

/// True: we lead, and ask the server. False: another session does; its landing resumes us.
bool session::join_flight(const cache::key_view& key, const coherence::dependencies& captured) {
    const auto request = ++request_number_;
    auto landing = [weak = weak_from_this(), &home = worker_, request](cache::entry_ptr answer) {
        // On the leader's thread.
        home.events.post([weak, request, answer = std::move(answer)] {
            const auto self = weak.lock();
            if (self == nullptr || self->destroyed_ || self->request_number_ != request) return;
            self->waiting_for_ = nullptr;
            self->pending_.landed = true;
            self->pending_.from_flight = answer;
            self->pending_.ticket = {};
            self->resume();
        });
    };
    pending_.joined_flight = true;
    pending_.captured_on_joining = captured;
    pending_.ticket = worker_.shared.flights.join(key, std::move(landing));
    if (pending_.ticket.leads()) return true;
    metrics::add(metrics::counter::flights_joined);
    waiting_for_ = "flight";
    return false;
}

/// Renders the whole answer. From here on the request can't fail: its effects are made as its
/// messages come by.
void session::render(std::string& out) {
    if (front_.is_query) {
        unnamed_ = nullptr;  // PostgreSQL drops it at a simple Query
        if (front_.executions.empty()) {
            wire::write_empty_query_response(out);
        } else {
            render_execution(front_.executions.front(), true, out);
        }
    } else {
        std::size_t next = 0;
        namings_done_ = 0;
        for (const auto& message : front_.batch.messages)
            render_message(message, next, out);
    }
    if (front_.is_query) {
        wire::write_ready_for_query(out, status_byte());
    }
}

void session::render_message(const wire::message& message, std::size_t& next, std::string& out) {
    switch (message.tag) {
    case 'P': {
        auto& named = namings_[namings_done_++];
        if (named.name.empty()) {
            unnamed_ = named.statement;
        } else {
            statements_.insert_or_assign(named.name, named.statement);
        }
        return wire::write_parse_complete(out);
    }
    case 'B':
        front_.rendered_bind = next;  // each Bind is run once, and in order
        return wire::write_bind_complete(out);
    case 'D':
        (void)wire::read_target(message.body, front_.target);
        if (front_.target.kind == 'S') {
            const auto& statement = front_.target.name.empty()
                                        ? unnamed_
                                        : statements_.find(front_.target.name)->second;
            return render_statement_description(*statement, out);
        }
        return render_description(front_.executions[front_.rendered_bind], out);
    case 'E': return render_execution(front_.executions[next++], false, out);
    case 'C':
        (void)wire::read_target(message.body, front_.target);
        if (front_.target.kind == 'S') {
            const auto& named = namings_[namings_done_++];
            if (named.name.empty()) {
                unnamed_ = nullptr;
            } else {
                statements_.erase(named.name);
            }
        }
        return wire::write_close_complete(out);
    case 'S':
        if (place_ == transaction_place::none) forget_portals();
        return wire::write_ready_for_query(out, status_byte());
    default: return;
    }
}

wire::transaction_status session::status_byte() const noexcept {
    switch (place_) {
    case transaction_place::none: return wire::transaction_status::idle;
    case transaction_place::failed: return wire::transaction_status::failed;
    default: return wire::transaction_status::in_transaction;
    }
}

void session::render_description(const execution& one, std::string& out) {
    if (one.hit != nullptr) {
        out += one.hit->row_description;
        return;
    }
    const auto* facts = one.plan->single();
    if (facts == nullptr) return wire::write_no_data(out);
    std::vector<wire::field_description> columns;
    const auto add = [&](std::string_view name) {
        auto& column = columns.emplace_back();
        column.name = name;
        column.format = result_format(one, columns.size() - 1);
    };
    if (shows_own_setting(*one.plan->analysis->facts)) add(cache_setting);
    for (std::size_t i = 0; facts->only_set_config && i < one.settings.size(); ++i) {
        const bool named = i < facts->output_names.size();
        add(named ? std::string_view{facts->output_names[i]} : "set_config");
    }
    if (columns.empty()) return wire::write_no_data(out);
    render_text_columns(columns, out);
}

/// Of a statement that is_describable().
void session::render_statement_description(const prepared_statement& statement, std::string& out)
    const {
    wire::write_parameter_description(out, {});
    if (!shows_own_setting(*statement.analysis->facts)) return wire::write_no_data(out);
    wire::field_description column;
    column.name = cache_setting;
    render_text_columns({&column, 1}, out);
}

std::int16_t session::result_format(const execution& one, std::size_t column) const {
    if (one.bind == nullptr || read_bind(*one.bind) != wire::errc::ok) return 0;
    const auto& formats = front_.bind.result_formats;
    if (formats.empty()) return 0;
    return formats.size() == 1       ? formats[0]
           : column < formats.size() ? formats[column]
                                     : std::int16_t{0};
}

void session::render_execution(execution& one, bool with_description, std::string& out) {
    if (one.hit != nullptr) {
        if (with_description) out += one.hit->row_description;
        out += one.hit->rows;
        return note_local(one);
    }
    const auto* facts = one.plan->single();
    perform_locally(one);
    if (facts->only_set_config) {
        if (with_description) render_description(one, out);
        std::vector<std::optional<std::string_view>> row;
        for (const auto& change : one.settings)
            row.emplace_back(change.value);
        wire::write_data_row(out, row);
        return wire::write_command_complete(out, "SELECT 1");
    }
    if (shows_own_setting(*one.plan->analysis->facts)) {
        if (with_description) render_description(one, out);
        const std::optional<std::string_view> value = context_.now().cache_bypass ? "bypass" : "on";
        wire::write_data_row(out, {&value, 1});
    }
    wire::write_command_complete(out, facts->command_tag);
    note_local(one);
}

void session::note_local(const execution& one) {
    if (sampler_->is_on() && one.hit != nullptr) [[unlikely]]
        sample(one);
    const bool redis = one.why == reason::hit_redis;
    if (one.why == reason::hit_near || one.why == reason::joined_flight) {
        metrics::add(metrics::counter::hits_near);
    } else if (redis) {
        metrics::add(metrics::counter::hits_redis);
    }
    const auto why = one.hit != nullptr ? one.why : reason::not_a_select;
    take_note(
        *one.plan,
        why,
        redis ? metrics::histogram::latency_redis : metrics::histogram::latency_near,
        pending_.started_at);
}

/// BEGIN, COMMIT, ROLLBACK without a server, and settings of our own.
void session::perform_locally(const execution& one) {
    const auto& facts = *one.plan->single();
    switch (facts.kind) {
    case sql::statement_kind::begin:
        transaction_began_ = pending_.started_at;
        place_ = transaction_place::held;
        held_begin_ = one.text;
        enter_isolation(facts);
        transaction_clean_ = true;
        identity_injected_ = false;
        context_.begin(nullptr);
        return;
    case sql::statement_kind::commit: context_.commit(); break;
    case sql::statement_kind::rollback: context_.roll_back(); break;
    case sql::statement_kind::deallocate:
        if (facts.object_name.empty()) {
            statements_.clear();
        } else {
            statements_.erase(facts.object_name);
        }
        return;
    case sql::statement_kind::discard: return apply_discard(facts.command_tag);
    default:
        for (const auto& change : one.settings)
            set_locally(change);
        return;
    }
    place_ = transaction_place::none;
    held_begin_.clear();
    forget_portals();
    isolation_ended_ = true;
}

void session::set_locally(const sql::setting_change& change) {
    auto& values = context_.change();
    if (is_postern_setting(change.name)) {
        values.cache_bypass = change.what == sql::setting_change::action::assign &&
                              change.value == "bypass";
        return;
    }
    // Outside a transaction a LOCAL value would be gone at the end of this very statement.
    if (change.local && place_ == transaction_place::none) return;
    auto& map = change.local ? values.identity_local : values.identity;
    auto plain = change;
    plain.local = false;
    map = pool::apply(map, plain, {});
    if (!change.local) {
        // A session-wide value also ends what the transaction had set before.
        auto forget = plain;
        forget.what = sql::setting_change::action::reset;
        values.identity_local = pool::apply(values.identity_local, forget, {});
    }
    identity_injected_ = false;
}

void session::refresh_claims() {
    const auto& values = context_.now();
    if (claims_ != nullptr && claims_session_ == values.identity &&
        claims_local_ == values.identity_local)
        return;
    claims_ = identity::resolve(
        settings_->identity,
        login_identity_,
        *values.identity,
        *values.identity_local);
    claims_session_ = values.identity;
    claims_local_ = values.identity_local;
}

}  // namespace postern::session
