// What a request is made of: its messages, the statements they run, and the plans of those.

#include "base/assert.hpp"
#include "base/metrics.hpp"
#include "session/session.hpp"
#include "session/startup_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace postern::session {

namespace {

/// PostgreSQL's own limit of a message is 1 GiB (MaxAllocSize).
constexpr std::uint32_t body_size_max = 0x3fffffff;

/// A pipeline is cut here and forwarded in pieces, so that one without Sync can't fill the memory.
constexpr std::size_t batch_size_max = std::size_t{1} << 20;

/// Unsent answers to a client that only asks: more requests are not taken meanwhile.
constexpr std::size_t backlog_max = std::size_t{1} << 20;

/// Settings that decide neither which rows an answer has nor how they are written.
constexpr std::array<std::string_view, 16> shapeless_settings{
    "application_name",
    "client_min_messages",
    "deadlock_timeout",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "default_transaction_deferrable",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_min_duration_statement",
    "log_statement",
    "maintenance_work_mem",
    "plan_cache_mode",
    "statement_timeout",
    "synchronous_commit",
    "work_mem"};

/// What servers announce of a parameter; empty before the first has.
std::string reported(
    const std::shared_ptr<const pool::pool::greeting>& by,
    std::string_view parameter) {
    if (by == nullptr) return {};
    for (const auto& [name, value] : by->parameters) {
        if (name == parameter) return value;
    }
    return {};
}

bool is_extended(char tag) {
    return tag == 'P' || tag == 'B' || tag == 'D' || tag == 'E' || tag == 'C' || tag == 'H' ||
           tag == 'S';
}

}  // namespace

bool is_shapeless(std::string_view name) {
    return std::ranges::binary_search(shapeless_settings, name);
}

std::size_t session::consume_ready(std::string_view bytes) {
    std::size_t used = 0;
    // A copy that failed in the middle of a large message leaves the rest of it to come.
    if (copy_in_ || copy_rest_ > 0) used += consume_copy_in(bytes);
    while (phase_ == phase::ready && !busy() && used < bytes.size() && out_.size() <= backlog_max) {
        std::size_t taken = 0;
        const auto outcome = handle_request(bytes.substr(used), taken);
        if (outcome != step::consumed || taken == 0) break;
        used += taken;
        if (copy_in_) used += consume_copy_in(bytes.substr(used));
    }
    // A request that waited for a server and then found its answer in the cache needs none any
    // more.
    if (server_ && !busy()) release_server();
    return phase_ == phase::closing ? bytes.size() : used;
}

/// Takes the request at the front of `bytes`; `used` stays 0 while it is not all there.
session::step session::handle_request(std::string_view bytes, std::size_t& used) {
    const auto next = wire::peek_header(bytes, wire::direction::from_client, body_size_max);
    if (next.state == wire::frame_state::incomplete) return step::consumed;
    if (next.state == wire::frame_state::malformed) {
        protocol_violation(wire::describe(next.error));
        return step::ended;
    }
    const char tag = next.header.tag;
    const auto size = next.header.message_size();
    if (tag == 'X') {
        end();
        return step::ended;
    }
    if (is_too_large(tag, size)) return step::ended;
    if (bytes.size() < size && !is_extended(tag)) return step::consumed;
    if (skip_until_sync_ && tag != 'S') {
        if (bytes.size() >= size) {
            used = size;
        } else if (tag == 'd') {
            // Data for a copy that has failed need not be gathered to be dropped.
            copy_rest_ = size - bytes.size();
            copy_ships_ = false;
            used = bytes.size();
        }
        return step::consumed;
    }
    if (is_extended(tag)) {
        if (!collect_batch(bytes)) {
            return phase_ == phase::closing ? step::ended : step::consumed;
        }
        const auto outcome = handle_batch();
        if (outcome == step::consumed) used = front_.batch.size;
        return outcome;
    }
    switch (tag) {
    case 'Q':
    case 'F': {
        const auto whole = wire::peek_message(bytes, wire::direction::from_client, body_size_max);
        const auto outcome = handle_query(whole.message);
        if (outcome == step::consumed) used = size;
        return outcome;
    }
    case 'd':
    case 'c':
    case 'f':
        // The copy has failed meanwhile; PostgreSQL ignores these as well.
        used = size;
        return step::consumed;
    default: protocol_violation("unexpected message from the client"); return step::ended;
    }
}

/// True: the message is larger than what may be kept of one, and the session is ending.
bool session::is_too_large(char tag, std::size_t size) {
    const auto limit = worker_.settings()->statement_bytes_max;
    if (size <= limit || tag == 'd') return false;
    metrics::add(metrics::counter::client_errors);
    fail_client(
        "FATAL",
        "54000",
        fmt::format("message of {} bytes: limits.statement_size allows {}", size, limit));
    end();
    return true;
}

void session::begin_request() {
    pending_.again = pending_.started_at != 0;
    if (!pending_.again) active_at_ = pending_.started_at = worker_.events.round_began_at();
}

session::step session::handle_query(const wire::message& message) {
    begin_request();
    front_.batch.messages.clear();
    front_.batch.messages.push_back(message);
    front_.batch.size = message.whole.size();
    front_.batch.end = 'S';
    front_.executions.clear();
    namings_.clear();
    namings_visible_ = 0;
    front_.local = true;
    front_.is_query = true;
    reading_ = open_batch_ ? open_batch_->reads : reading::plain;
    refresh_plan_context();

    execution one;
    if (message.tag == 'F') {
        one.plan = plan_of_function_call(message.body);
        one.hides_identity = !one.plan->analysis->facts->understood;
        front_.local = false;
    } else {
        front_.batch.error = wire::read_query(message.body, front_.query_text);
        if (front_.batch.error != wire::errc::ok) {
            front_.batch.malformed = &front_.batch.messages.front();
            return handle_malformed();
        }
        one.plan = plan_of(nullptr, front_.query_text);
        one.obscure = is_obscure(front_.query_text);
        one.text = front_.query_text;
    }
    if (!one.plan->analysis->facts->statements.empty() || !one.plan->analysis->facts->understood) {
        fill_in_settings(one, nullptr);
        front_.executions.push_back(std::move(one));
    }
    bool answered = false;
    const auto outcome = answer_locally(answered);
    if (answered || outcome != step::consumed) return outcome;
    return forward();
}

/// A function called by its number is judged as a SELECT of it would be.
plan_ptr session::plan_of_function_call(std::string_view body) {
    const auto catalog = watcher_ != nullptr ? watcher_->current() : nullptr;
    wire::function_call_message call;
    if (catalog != nullptr && wire::read_function_call(body, call) == wire::errc::ok) {
        for (const auto& one : catalog->data().functions) {
            if (one.id != call.function) continue;
            return plan_of(nullptr, fmt::format("SELECT \"{}\".\"{}\"()", one.schema, one.name));
        }
    }
    return plan_of(sql::analyzer::unknown(), "function call");
}

/// Gathers the messages up to Sync or Flush. False: not all there yet, or the session is ending.
bool session::collect_batch(std::string_view bytes) {
    front_.batch.messages.clear();
    front_.batch.size = 0;
    front_.batch.flush_is_ours = false;
    while (front_.batch.size < bytes.size()) {
        const auto next = wire::peek_message(
            bytes.substr(front_.batch.size),
            wire::direction::from_client,
            body_size_max);
        if (next.state == wire::frame_state::malformed) {
            protocol_violation(wire::describe(next.error));
            return false;
        }
        if (next.state == wire::frame_state::incomplete) {
            const auto rest = bytes.substr(front_.batch.size);
            const auto head = wire::peek_header(rest, wire::direction::from_client, body_size_max);
            if (head.state == wire::frame_state::complete &&
                is_too_large(head.header.tag, head.header.message_size()))
                return false;
            break;
        }
        if (!is_extended(next.message.tag)) {
            // A simple Query (or the client's farewell) in the middle of an open batch: what came
            // before it is run first.
            front_.batch.end = 'H';
            front_.batch.flush_is_ours = true;
            return true;
        }
        front_.batch.messages.push_back(next.message);
        front_.batch.size += next.message.whole.size();
        if (next.message.tag == 'S' || next.message.tag == 'H') {
            front_.batch.end = next.message.tag;
            return true;
        }
    }
    if (front_.batch.size > batch_size_max) {
        front_.batch.end = 'H';
        front_.batch.flush_is_ours = true;
        return true;
    }
    return false;
}

session::step session::handle_batch() {
    begin_request();
    front_.is_query = false;
    front_.query_text = {};
    refresh_plan_context();
    if (!classify() && front_.batch.malformed == front_.batch.messages.data())
        return handle_malformed();
    bool answered = false;
    const auto outcome = answer_locally(answered);
    if (answered || outcome != step::consumed) return outcome;
    return forward();
}

/// A message that is framed well but does not read is an error as any to PostgreSQL: the rest up to
/// Sync is skipped, and the session goes on.
session::step session::handle_malformed() {
    const auto message = *front_.batch.malformed;
    front_.batch.messages.assign(1, message);
    front_.batch.size = message.whole.size();
    front_.batch.end = message.tag == 'Q' || message.tag == 'S' ? 'S' : 'H';
    front_.batch.flush_is_ours = true;
    front_.executions.clear();
    switch (front_.batch.error) {
    case wire::errc::missing_terminator: return refuse("08P01", "invalid string in message");
    case wire::errc::truncated: return refuse("08P01", "insufficient data left in message");
    case wire::errc::bad_value:
        if (message.tag == 'C' || message.tag == 'D') {
            return refuse(
                "08P01",
                fmt::format(
                    "invalid {} message subtype {}",
                    message.tag == 'C' ? "CLOSE" : "DESCRIBE",
                    static_cast<int>(message.body.front())));
        }
        [[fallthrough]];
    default: return refuse("08P01", "invalid message format");
    }
}

/// Reads the batch's messages: which statements it runs, names and forgets. False: one of them does
/// not read; those in front of it are a batch of their own, unless there are none.
bool session::classify() {
    front_.executions.clear();
    namings_.clear();
    namings_visible_ = 0;
    front_.bound = false;
    front_.bound_by = nullptr;
    front_.bind_of = nullptr;
    front_.binds.clear();
    reading_ = open_batch_ ? open_batch_->reads : reading::plain;
    front_.local = front_.batch.end == 'S';
    front_.batch.malformed = nullptr;
    const auto bad = std::ranges::find_if_not(front_.batch.messages, [&](const wire::message& one) {
        return classify_message(one);
    });
    if (bad == front_.batch.messages.end()) return true;
    front_.batch.malformed = &*bad;
    if (bad == front_.batch.messages.begin()) return false;
    front_.batch.messages.erase(bad, front_.batch.messages.end());
    front_.batch.size = 0;
    for (const auto& one : front_.batch.messages)
        front_.batch.size += one.whole.size();
    front_.batch.end = 'H';
    front_.batch.flush_is_ours = true;
    front_.local = false;
    return false;
}

/// PostgreSQL keeps them under one roof with the protocol's.
bool session::is_prepared_by_sql(std::string_view name) const {
    if (pinned_names_.empty()) return false;
    const auto found = pinned_names_.find(sql::pin_cause::sql_prepare);
    return found != pinned_names_.end() && found->second.contains(std::string{name});
}

/// The name that this statement, a DEALLOCATE, takes away; null for all other statements.
const std::string* session::deallocates(const prepared_statement& statement) {
    const auto& facts = *statement.analysis->facts;
    if (!facts.understood || facts.statements.size() != 1) return nullptr;
    const auto& only = facts.statements.front();
    const bool one = only.kind == sql::statement_kind::deallocate && !only.object_name.empty();
    return one ? &only.object_name : nullptr;
}

/// The fields of a Bind of this request, into front_.bind.
wire::errc session::read_bind(const wire::message& message) const {
    if (front_.bind_of == &message) return wire::errc::ok;
    const auto error = wire::read_bind(message.body, front_.bind);
    front_.bind_of = error == wire::errc::ok ? &message : nullptr;
    return error;
}

void session::forget_portals() {
    unnamed_portal_ = nullptr;
    portals_.clear();
}

bool session::classify_message(const wire::message& message) {
    auto& error = front_.batch.error;
    switch (message.tag) {
    case 'P': {
        if ((error = wire::read_parse(message.body, front_.parse)) != wire::errc::ok) return false;
        // A name that is taken is PostgreSQL's to refuse.
        if (!front_.parse.name.empty() &&
            (find_statement(front_.parse.name) != nullptr || is_prepared_by_sql(front_.parse.name)))
            front_.local = false;
        namings_.push_back(
            {std::string{front_.parse.name},
             worker_.prepare(
                 front_.parse.query,
                 front_.parse.parameter_types,
                 catalog_epoch(),
                 readable(front_.parse.query),
                 is_obscure(front_.parse.query),
                 pending_.again)});
        namings_visible_ = namings_.size();
        return true;
    }
    case 'B': return classify_bind(message);
    case 'D': return classify_describe(message);
    case 'E':
        error = wire::read_execute(message.body, front_.execute);
        return error == wire::errc::ok && classify_execute(front_.execute);
    case 'C':
        if ((error = wire::read_target(message.body, front_.target)) != wire::errc::ok)
            return false;
        if (front_.target.kind == 'S') {
            front_.local &= !is_prepared_by_sql(front_.target.name);
            namings_.push_back({std::string{front_.target.name}, nullptr});
            namings_visible_ = namings_.size();
        } else {
            front_.local &= front_.target.name.empty();
            if (front_.target.name.empty()) {
                unnamed_portal_ = nullptr;
            } else {
                portals_.erase(std::string{front_.target.name});
            }
        }
        return true;
    default:
        error = message.body.empty() ? wire::errc::ok : wire::errc::trailing_bytes;
        return message.body.empty();
    }
}

bool session::classify_bind(const wire::message& message) {
    auto& error = front_.batch.error;
    error = read_bind(message);
    if (error == wire::errc::bad_count) {
        front_.local = false;  // PostgreSQL says in its own words what does not fit
    } else if (error != wire::errc::ok) {
        return false;
    }
    const auto& statement = find_statement(front_.bind.statement);
    if (statement == nullptr || !front_.bind.portal.empty()) front_.local = false;
    if (front_.bind.portal.empty()) {
        unnamed_portal_ = statement;
        front_.bound = statement != nullptr;
        front_.bound_by = &message;
    } else {
        portals_.insert_or_assign(std::string{front_.bind.portal}, statement);
        front_.binds.insert_or_assign(std::string{front_.bind.portal}, &message);
    }
    return true;
}

bool session::classify_describe(const wire::message& message) {
    front_.batch.error = wire::read_target(message.body, front_.target);
    if (front_.batch.error != wire::errc::ok) return false;
    if (front_.target.kind == 'P') {
        front_.local &= front_.target.name.empty() && front_.bound;
        return true;
    }
    // BEGIN and its like have neither parameters nor rows, and what we show is known: those can be
    // described here.
    const auto& statement = find_statement(front_.target.name);
    front_.local &= statement != nullptr && is_describable(*statement);
    return true;
}

bool session::is_describable(const prepared_statement& statement) const {
    const auto& facts = *statement.analysis->facts;
    if (!facts.understood || facts.statements.size() != 1) return false;
    const auto kind = facts.statements.front().kind;
    return kind == sql::statement_kind::begin || kind == sql::statement_kind::commit ||
           kind == sql::statement_kind::rollback || shows_own_setting(facts);
}

/// The Bind of this portal in this request, or null.
const wire::message* session::bind_of(std::string_view portal) const {
    if (portal.empty()) return front_.bound_by;
    const auto found = front_.binds.find(std::string{portal});
    return found == front_.binds.end() ? nullptr : found->second;
}

bool session::classify_execute(const wire::execute_message& execute) {
    execution one;
    if (execute.portal.empty()) {
        one.statement = unnamed_portal_;
    } else if (const auto portal = portals_.find(execute.portal); portal != portals_.end()) {
        one.statement = portal->second;
    }
    if (one.statement != nullptr) {
        one.plan = plan_of(*one.statement);
        one.obscure = one.statement->obscure || !strings_conform_;
        one.text = one.statement->text;
    } else {
        one.plan = plan_of(sql::analyzer::unknown(), "a portal that is not known");
        front_.local = false;
    }
    one.whole_answer = execute.portal.empty() && execute.rows_max == 0 && front_.bound;
    one.bind = execute.portal.empty() ? front_.bound_by : nullptr;
    // A second Execute of the same portal goes on where the first ended: with no rows.
    for (const auto& earlier : front_.executions) {
        if (earlier.bind != nullptr && earlier.bind == one.bind) {
            one.whole_answer = false;
            front_.local = false;
        }
    }
    fill_in_settings(one, bind_of(execute.portal));
    reading_ = std::max(reading_, reading_after(one));
    if (one.statement != nullptr) {
        if (const auto* name = deallocates(*one.statement)) {
            namings_.push_back({*name, nullptr});
            namings_visible_ = namings_.size();
            front_.local = false;
        }
    }
    front_.executions.push_back(std::move(one));
    return true;
}

std::uint64_t session::catalog_epoch() const noexcept {
    return watcher_ != nullptr ? watcher_->epoch() : 0;
}

/// By what the request itself names first, then by what the session has.
const prepared_ptr& session::find_statement(std::string_view name) const {
    static const prepared_ptr none;
    for (auto i = namings_visible_; i > 0; --i) {
        if (namings_[i - 1].name == name) return namings_[i - 1].statement;
    }
    if (name.empty()) return unnamed_;
    const auto found = statements_.find(name);
    return found == statements_.end() ? none : found->second;
}

plan_ptr session::plan_of(const sql::analysis_ptr& analysis, std::string_view text) {
    if (analysis != nullptr) return worker_.plan_of(analysis, text, plan_context_, watcher_);
    return worker_.plan_of(
        readable(text) ? worker_.analyzer.analyze(text, pending_.again) : sql::analyzer::unknown(),
        text,
        plan_context_,
        watcher_);
}

/// The server, when it wears what the session wants: what it has announced then holds for texts,
/// SET LOCAL and what functions have done included. Else null.
const pool::server* session::dressed_server() const noexcept {
    return server_ && pool::same(server_->worn, context_.now().settings) ? server_.get() : nullptr;
}

/// Whether what the analyzer takes for a constant may be code to PostgreSQL, or the other way
/// round.
bool session::is_obscure(std::string_view text) const {
    if (reading_ == reading::uncertain || !strings_conform_) return true;
    const auto* told = dressed_server();
    if (told != nullptr && !told->strings_conform) return true;
    if (encoding_is_superset_ && (told == nullptr || told->encoding_is_superset)) return false;
    return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

/// Whether a text means to PostgreSQL what it means to the analyzer: with backslash escapes in
/// plain literals, or in an encoding that has to be converted first, it may not.
bool session::readable(std::string_view text) const {
    if (reading_ != reading::plain || !strings_conform_) return false;
    const auto* told = dressed_server();
    if (told != nullptr && !told->strings_conform) return false;
    return (encoding_is_utf8_ && (told == nullptr || told->encoding_is_utf8)) ||
           std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

plan_ptr session::plan_of(const prepared_statement& statement) {
    // Parsed under another meaning of its literals than the one in force: nothing is certain.
    if (statement.readable && !strings_conform_)
        return plan_of(sql::analyzer::unknown(), statement.text);
    const auto& last = statement.last_plan;
    const bool usable = last != nullptr && last->context == plan_context_ &&
                        last->settings == worker_.settings() &&
                        last->catalog_epoch == catalog_epoch();
    if (!usable) statement.last_plan = plan_of(statement.analysis, statement.text);
    return statement.last_plan;
}

/// Names resolve under search_path and role; both follow the session's settings.
void session::refresh_plan_context() {
    const auto& settings = context_.now().settings;
    const auto welcome = pool_->welcome_version();
    if (plan_context_ != nullptr && plan_context_of_ == settings &&
        plan_context_welcome_ == welcome) {
        if (std::exchange(isolation_ended_, false) && place_ == transaction_place::none)
            read_committed_ = reads_committed_by_default_;
        return;
    }
    const auto value_of = [&](std::string_view name, std::string fallback) {
        const auto found = settings->find(name);
        return found == settings->end() ? std::move(fallback) : found->second;
    };
    const auto greeting = pool_->welcome();
    plan_context fresh;
    fresh.database = database_->number;
    fresh.database_name = database_->name;
    fresh.names.search_path = value_of(
        "search_path",
        greeting ? greeting->defaults.search_path : "\"$user\", public");
    fresh.names.role = value_of("role", "none");
    if (fresh.names.role == "none") fresh.names.role = value_of("session_authorization", user_);
    plan_context_ = worker_.plans.intern(std::move(fresh));
    plan_context_of_ = settings;
    plan_context_welcome_ = welcome;
    strings_conform_ = value_of(
                           "standard_conforming_strings",
                           reported(greeting, "standard_conforming_strings")) == "on";
    const auto encoding = value_of("client_encoding", reported(greeting, "client_encoding"));
    encoding_is_utf8_ = pool::needs_no_conversion(encoding);
    encoding_is_superset_ = pool::is_superset_of_ascii(encoding);
    shape_settings_.clear();
    for (const auto& [name, value] : *settings) {
        if (is_shapeless(name)) continue;
        shape_settings_ += std::to_string(name.size()) + ':' + name;
        shape_settings_ += std::to_string(value.size()) + ':' + value;
    }
    statement_context_ = worker_.intern(
        plan_context_->names.search_path + '\0' + plan_context_->names.role + '\0' +
        shape_settings_);
    const auto isolation = value_of(
        "default_transaction_isolation",
        greeting ? greeting->defaults.default_transaction_isolation : "read committed");
    reads_committed_by_default_ = isolation == "read committed";
    isolation_ended_ = false;
    if (place_ == transaction_place::none) read_committed_ = reads_committed_by_default_;
}

/// Whether texts mean what they seem to where the session has changed nothing.
bool session::starts_readable() const {
    const auto greeting = pool_->welcome();
    const auto at_start = [&](const std::string& name) {
        const auto found = startup_settings_->find(name);
        return found == startup_settings_->end() ? reported(greeting, name) : found->second;
    };
    return at_start("standard_conforming_strings") == "on" &&
           pool::needs_no_conversion(at_start("client_encoding"));
}

/// Whether the texts behind it in its batch may mean something else than those before.
reading session::reading_after(const execution& one) const {
    const auto& plan = *one.plan;
    if (!plan.analysis->facts->understood || plan.hides_settings) return reading::uncertain;
    for (const auto& change : one.settings) {
        const bool decides = change.name == "standard_conforming_strings" ||
                             change.name == "client_encoding";
        const bool assigns = change.what == sql::setting_change::action::assign;
        const bool resets_all = change.what == sql::setting_change::action::reset_all;
        if (decides && assigns) return reading::uncertain;
        if ((decides || resets_all) && !starts_readable()) return reading::uncertain;
    }
    return reading::plain;
}

/// The settings that this execution changes, with the values of its parameters.
void session::fill_in_settings(execution& one, const wire::message* bound) {
    const auto& facts = *one.plan->analysis->facts;
    if (!facts.understood) return;
    for (const auto& statement : facts.statements) {
        for (auto change : statement.settings) {
            if (change.name_parameter != 0 || change.value_parameter != 0) {
                if (bound == nullptr || read_bind(*bound) != wire::errc::ok) {
                    // Bound by an earlier request, whose values are gone.
                    one.hides_identity = change.name_parameter != 0 ||
                                         identity::is_variable(settings_->identity, change.name);
                    one.settings.clear();
                    one.plan = plan_of(sql::analyzer::unknown(), one.text);
                    return;
                }
                const auto parameter =
                    [&](std::uint16_t number) -> std::optional<std::string_view> {
                    if (number > front_.bind.values.size()) return std::nullopt;
                    return front_.bind.values[number - 1U];
                };
                if (change.name_parameter != 0)
                    change.name = to_lower(parameter(change.name_parameter).value_or(""));
                if (change.value_parameter != 0) {
                    const auto value = parameter(change.value_parameter);
                    change.value = value.value_or("");
                    // set_config_by_name: null means the default.
                    if (!value) change.what = sql::setting_change::action::reset;
                }
            }
            one.settings.push_back(std::move(change));
        }
    }
}

}  // namespace postern::session
