// What comes back from the server: matched with what was asked, passed on in the spans it arrived
// in, kept where it may be kept; and what the end of a request means for the transaction, the
// fences, the settings and the server.

#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "session/session.hpp"

#include <algorithm>

namespace postern::session {

namespace {

using kind = expectation::kind;
using fate = expectation::fate;

constexpr std::uint32_t body_size_max = 0x7fffffff - 16;

/// A CopyData larger than this is passed on as it comes.
constexpr std::size_t copy_piece_max = std::size_t{1} << 20;

/// What a statement that fails may have left on the session nevertheless.
bool outlives_abort(sql::pin_cause cause) {
    return cause == sql::pin_cause::unknown_effect || cause == sql::pin_cause::unread_catalog ||
           cause == sql::pin_cause::advisory_lock || cause == sql::pin_cause::load;
}

bool is_data(char tag) {
    return tag == 'D' || tag == 'd';
}

}  // namespace

void session::on_server_readable() {
    if (!server_) return;
    auto& scratch = worker_.scratch;
    const auto got = server_->link.receive(scratch.data(), scratch.size());
    if (got.state == pool::channel::io_state::would_block) return;
    if (got.state == pool::channel::io_state::closed) return server_lost();
    metrics::add(metrics::counter::bytes_from_servers, got.count);
    bool in_step = true;
    if (server_->inbox.empty()) {
        const std::string_view bytes{scratch.data(), got.count};
        const auto used = relay(bytes, in_step);
        if (in_step && used < bytes.size()) server_->inbox.assign(bytes.substr(used));
    } else {
        server_->inbox.append(scratch.data(), got.count);
        const auto used = relay(server_->inbox, in_step);
        if (in_step) server_->inbox.erase(0, used);
    }
    if (!in_step) return server_lost();
    after_relay();
}

/// Goes through whole messages and pieces of data messages; returns how much was used.
std::size_t session::relay(std::string_view bytes, bool& in_step) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (relay_rest_ > 0) {
            const auto piece = std::min(relay_rest_, bytes.size() - at);
            relay_data(bytes.data() + at, piece);
            at += piece;
            continue;
        }
        const auto rest = bytes.substr(at);
        const auto next = wire::peek_header(rest, wire::direction::from_server, body_size_max);
        if (next.state == wire::frame_state::incomplete) break;
        if (next.state == wire::frame_state::malformed) {
            log::error("server {}: {}", server_->pid, wire::describe(next.error));
            in_step = false;
            break;
        }
        const auto size = next.header.message_size();
        if (is_data(next.header.tag) && expects_data()) {
            begin_data(size);
            continue;
        }
        if (rest.size() < size) break;
        const auto whole = rest.substr(0, size);
        const auto body = whole.substr(wire::message_header::encoded_size);
        const auto how = on_server_message(next.header.tag, body, whole);
        if (how == passage::broken) {
            log::error("server {}: message '{}' out of step", server_->pid, next.header.tag);
            in_step = false;
            break;
        }
        if (how == passage::forward) pass(whole.data(), whole.size());
        at += size;
        // What was never sent is answered as soon as its turn has come.
        if (is_local_answer_due()) emit_local_answers();
    }
    flush_run();
    return at;
}

bool session::expects_data() const noexcept {
    if (dressing_ || expected_head_ >= expected_.size()) return false;
    const auto& head = expected_[expected_head_];
    return head.what == kind::execute || head.what == kind::query;
}

void session::begin_data(std::size_t size) {
    const auto& head = expected_[expected_head_];
    relay_rest_ = size;
    relay_forwards_ = head.how == fate::forward || head.how == fate::all_but_ready;
    relay_fill_ = head.fill;
}

void session::relay_data(const char* begin, std::size_t size) {
    relay_rest_ -= size;
    if (relay_forwards_) pass(begin, size);
    if (relay_fill_ < 0) return;
    auto& target = running_->fills[static_cast<std::size_t>(relay_fill_)];
    if (target.spoilt) return;
    if (target.rows.size() + size > target.plan->answer_bytes_max) {
        target.spoilt = true;
        target.spoilt_by = reason::too_large;
        metrics::add(metrics::counter::fills_too_large);
        std::string{}.swap(target.rows);
        target.ticket = {};  // whoever waits for it asks for themselves
        return;
    }
    target.rows.append(begin, size);
}

/// Adds to the run of bytes that goes to the client in one piece.
void session::pass(const char* begin, std::size_t size) {
    if (run_size_ != 0 && run_begin_ + run_size_ == begin) {
        run_size_ += size;
        return;
    }
    flush_run();
    run_begin_ = begin;
    run_size_ = size;
}

void session::flush_run() {
    if (run_size_ == 0) return;
    const std::string_view run{run_begin_, run_size_};
    run_size_ = 0;
    send_to_client(run);
}

session::passage session::on_server_message(
    char tag,
    std::string_view body,
    std::string_view whole) {
    if (tag == 'S') {
        std::string_view name;
        std::string_view value;
        if (wire::read_parameter_status(body, name, value) != wire::errc::ok)
            return passage::broken;
        server_->note(name, value);
        spoil_fills();
        return dressing_ ? passage::swallow : passage::forward;
    }
    if (dressing_) return on_dressing_message(tag, whole);
    if (tag == 'N') {
        spoil_fills();
        return passage::forward;
    }
    if (tag == 'A') return passage::forward;
    if (is_local_answer_due()) emit_local_answers();
    if (tag == 'E') return on_error(body);
    if (expected_head_ >= expected_.size()) return passage::broken;
    if (tag == 'Z') return on_ready(body);
    const auto head = expected_[expected_head_].what;
    if (head == kind::query || head == kind::function_call)
        return on_query_answer(tag, body, whole);
    return on_extended_answer(tag, body, whole);
}

session::passage session::on_dressing_message(char tag, std::string_view whole) {
    if (tag == 'E') dressing_error_ = whole;
    if (tag == 'Z') dressing_ready_ = true;
    return passage::swallow;
}

void session::spoil_fills() {
    if (!running_) return;
    for (auto& one : running_->fills) {
        if (one.spoilt) continue;
        one.spoilt = true;
        one.spoilt_by = reason::unclean_answer;
        one.ticket = {};
    }
}

/// Nobody waits for an answer that our client does not read.
void session::leave_flights() {
    if (!running_) return;
    for (auto& one : running_->fills)
        one.ticket = {};
}

session::passage session::on_extended_answer(
    char tag,
    std::string_view body,
    std::string_view whole) {
    const auto head = expected_[expected_head_];
    const auto how = head.how == fate::forward ? passage::forward : passage::swallow;
    switch (head.what) {
    case kind::parse:
        if (tag != '1') return passage::broken;
        break;
    case kind::bind:
        if (tag != '2') return passage::broken;
        break;
    case kind::close:
        if (tag != '3') return passage::broken;
        break;
    case kind::describe_statement:
        if (tag == 't') return how;
        if (tag != 'T' && tag != 'n') return passage::broken;
        break;
    case kind::describe_portal:
        if (tag != 'T' && tag != 'n') return passage::broken;
        if (head.fill >= 0)
            running_->fills[static_cast<std::size_t>(head.fill)].row_description = whole;
        break;
    case kind::execute:
        if (tag == 'G') {
            enter_copy_in();
            return how;
        }
        if (tag == 'H' || tag == 'c') return how;
        if (tag == 'C') {
            on_command_complete(body, whole, head);
        } else if (tag != 'I' && tag != 's') {
            return passage::broken;
        }
        break;
    default: return passage::broken;
    }
    complete_head();
    return how;
}

session::passage session::on_query_answer(char tag, std::string_view body, std::string_view whole) {
    const auto& head = expected_[expected_head_];
    if (tag == 'T' && head.fill >= 0) {
        running_->fills[static_cast<std::size_t>(head.fill)].row_description = whole;
    } else if (tag == 'C') {
        on_command_complete(body, whole, head);
    } else if (tag == 'G') {
        enter_copy_in();
    }
    return head.how == fate::forward || head.how == fate::all_but_ready ? passage::forward
                                                                        : passage::swallow;
}

void session::on_command_complete(
    std::string_view body,
    std::string_view whole,
    const expectation& head) {
    copy_in_ = false;
    if (head.fill >= 0) {
        auto& target = running_->fills[static_cast<std::size_t>(head.fill)];
        target.rows.append(whole);
        target.complete = true;
    }
    if (head.how != fate::forward && head.how != fate::all_but_ready) return;
    std::string_view tag;
    if (wire::read_command_complete(body, tag) != wire::errc::ok) return;
    if (tag == "COMMIT" || tag == "PREPARE TRANSACTION") {
        running_->endings.push_back(transaction_end::committed);
    } else if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") {
        running_->dropped_statements = true;
    } else if (tag == "ROLLBACK") {
        running_->endings.push_back(transaction_end::rolled_back);
        running_->saw_rollback |= !only_rolls_back_to_savepoint();
    }
}

/// How the next statement that ends a transaction, or goes back to a savepoint, turned out: COMMIT
/// of a failed transaction is a ROLLBACK.
transaction_end session::next_ending() {
    auto& request = *running_;
    if (request.endings_used == request.endings.size()) {
        return request.saw_rollback ? transaction_end::rolled_back : transaction_end::committed;
    }
    return request.endings[request.endings_used++];
}

/// ROLLBACK TO has the tag of ROLLBACK but ends nothing.
bool session::only_rolls_back_to_savepoint() const {
    return std::ranges::none_of(running_->executions, [](const running_request::ran& one) {
        const auto& facts = *one.plan->analysis->facts;
        return !facts.understood ||
               std::ranges::any_of(facts.statements, [](const sql::statement_facts& statement) {
                   return statement.kind == sql::statement_kind::rollback ||
                          statement.kind == sql::statement_kind::commit ||
                          statement.kind == sql::statement_kind::prepare_transaction;
               });
    });
}

namespace {

/// "cached plan must not change result type", in whatever language.
bool says_that_ddl_has_happened(const wire::error_fields& fields) {
    if (fields.code != "0A000") return false;
    return std::ranges::any_of(fields.all, [](const auto& field) {
        return field.first == 'R' && field.second == "RevalidateCachedQuery";
    });
}

}  // namespace

session::passage session::on_error(std::string_view body) {
    wire::error_fields fields;
    if (wire::read_error(body, fields) == wire::errc::ok && running_) {
        running_->saw_fatal |= fields.severity == "FATAL" || fields.severity == "PANIC";
    }
    fatal_seen_ |= fields.severity == "FATAL" || fields.severity == "PANIC";
    // Said while nothing was asked: PostgreSQL is about to close.
    if (!running_ || expected_head_ >= expected_.size()) return passage::forward;
    running_->saw_error = true;
    // DDL has passed by unseen. What is prepared from now on must be prepared anew on the servers,
    // else the client's remedy, to prepare its statement again, would find the old one there.
    if (says_that_ddl_has_happened(fields) && watcher_ != nullptr) watcher_->invalidate();
    note_begun(fields.code);
    spoil_fills();
    const auto& head = expected_[expected_head_];
    const bool hidden = head.how == fate::ready_only || head.how == fate::hidden ||
                        (head.how == fate::swallow && phase_ == phase::closing);
    copy_in_ = false;
    std::string renamed;
    const bool names_another =
        body.find(pool::prepared_lru::prefix) != std::string_view::npos &&
        rewrite_statement_name(
            fields,
            std::string_view{names_meant_}.substr(head.name_at, head.name_size),
            renamed);
    if (head.what != kind::query && head.what != kind::function_call && head.what != kind::sync) {
        drop_until_sync();
    }
    if (hidden) return passage::swallow;
    if (running_->cancelled_at != 0 && fields.code == "57014") {
        // PostgreSQL takes it for the user's wish.
        flush_run();
        fail_client("ERROR", fields.code, "canceling statement due to statement timeout");
        return passage::swallow;
    }
    if (names_another) {
        flush_run();
        send_to_client(renamed);
        return passage::swallow;
    }
    return passage::forward;
}

/// Of the request's executions, those up to the failed one have run; none of a text that PostgreSQL
/// could not even parse.
void session::note_begun(std::string_view sqlstate) {
    auto& request = *running_;
    const auto& head = expected_[expected_head_];
    if (head.what == kind::query || head.what == kind::function_call) {
        const bool unparsed = sqlstate == "42601" && head.what == kind::query &&
                              !request.executions.empty() &&
                              !request.executions.front().plan->analysis->facts->understood;
        request.begun = unparsed ? 0 : request.executions.size();
        return;
    }
    std::size_t left = 0;
    for (auto i = expected_head_; i < expected_.size(); ++i) {
        left += expected_[i].what == kind::execute && expected_[i].how == fate::forward ? 1U : 0U;
    }
    // A portal that does not exist has not run.
    const bool running = head.what == kind::execute && head.how == fate::forward &&
                         sqlstate != "34000";
    request.begun = request.executions.size() - std::min(left, request.executions.size()) +
                    (running ? 1U : 0U);
}

/// After an error PostgreSQL skips what was sent up to Sync: nothing of it will be answered.
void session::drop_until_sync() {
    const bool parse_failed = expected_[expected_head_].what == kind::parse;
    const bool synced = std::any_of(
        expected_.begin() + static_cast<std::ptrdiff_t>(expected_head_),
        expected_.end(),
        [](const expectation& one) { return one.what == kind::sync; });
    bool first = true;
    while (expected_head_ < expected_.size() && expected_[expected_head_].what != kind::sync) {
        const auto& gone = expected_[expected_head_];
        if (!synced && (gone.what == kind::query || gone.what == kind::function_call)) {
            // A simple message behind ours is skipped as well, and brought no Sync of its own.
            std::string out;
            wire::write_sync(out);
            send_to_server(out);
            expected_[expected_head_].what = kind::sync;
            expected_[expected_head_].fill = -1;
            return;
        }
        if (gone.prepares) server_->prepared.remove(*gone.prepares);
        if (gone.is_identity) server_->identity_prepared = false;
        if (gone.what == kind::parse) {
            server_->unnamed.reset();
            const bool unnamed = gone.names >= 0 &&
                                 namings_[static_cast<std::size_t>(gone.names)].name.empty();
            if (first && parse_failed && unnamed) unnamed_ = nullptr;
        }
        first = false;
        ++expected_head_;
    }
    if (expected_head_ == expected_.size()) {
        // The batch was forwarded by a Flush: the client's messages are dropped until its Sync.
        expected_.clear();
        expected_head_ = 0;
        skip_until_sync_ = true;
    }
}

/// `prepared statement "postern_12" …` as the client knows it. False: nothing is to be changed.
bool session::rewrite_statement_name(
    const wire::error_fields& fields,
    std::string_view meant,
    std::string& out) {
    // Those in which PostgreSQL names the statement that a message is about.
    const bool is_about_it = fields.code == "42P05" || fields.code == "26000" ||
                             fields.code == "08P01";
    const auto begin = fields.message.find(pool::prepared_lru::prefix);
    if (!is_about_it || meant.empty() || begin == std::string_view::npos) return false;
    // A name that begins like ours is the client's own, and went with a word in front of it.
    auto until = begin;
    if (fields.message.substr(0, begin).ends_with(unknown_prefix)) until -= unknown_prefix.size();
    auto end_of_name = begin + pool::prepared_lru::prefix.size();
    while (end_of_name < fields.message.size() && fields.message[end_of_name] >= '0' &&
           fields.message[end_of_name] <= '9') {
        ++end_of_name;
    }
    out.assign(5, 'E');
    for (const auto& [code, value] : fields.all) {
        out += code;
        if (code == 'M') {
            out += fields.message.substr(0, until);
            out += meant;
            out += fields.message.substr(end_of_name);
        } else {
            out += value;
        }
        out += '\0';
    }
    out += '\0';
    const auto length = static_cast<std::uint32_t>(out.size() - 1);
    for (std::size_t i = 0; i < 4; ++i)
        out[1 + i] = static_cast<char>(length >> (24 - 8 * i));
    return true;
}

session::passage session::on_ready(std::string_view body) {
    wire::transaction_status status{};
    if (wire::read_ready_for_query(body, status) != wire::errc::ok) return passage::broken;
    const auto head = expected_[expected_head_];
    if (head.what != kind::sync && head.what != kind::query && head.what != kind::function_call) {
        return passage::broken;
    }
    complete_head();
    // What the answer's end means must be done before the client can see it.
    if (expected_.empty()) settle(status);
    return head.how == fate::forward || head.how == fate::ready_only ? passage::forward
                                                                     : passage::swallow;
}

void session::commit_naming(int index) {
    if (index < 0) return;
    const auto& one = namings_[static_cast<std::size_t>(index)];
    if (one.name.empty()) {
        unnamed_ = one.statement;
    } else if (one.statement == nullptr) {
        statements_.erase(one.name);
    } else {
        statements_.insert_or_assign(one.name, one.statement);
    }
}

void session::complete_head() {
    const auto& head = expected_[expected_head_];
    if (head.drops_sql_prepared && head.names >= 0) {
        unpin(sql::pin_cause::sql_prepare, namings_[static_cast<std::size_t>(head.names)].name);
    }
    commit_naming(head.names);
    if (++expected_head_ == expected_.size()) {
        expected_.clear();
        expected_head_ = 0;
    }
}

/// Whether what is to be answered next has never gone to the server.
bool session::is_local_answer_due() const noexcept {
    return expected_head_ < expected_.size() && expected_[expected_head_].how == fate::local;
}

/// ParseComplete and CloseComplete of it.
void session::emit_local_answers() {
    while (is_local_answer_due()) {
        std::string out;
        if (expected_[expected_head_].what == kind::parse) {
            wire::write_parse_complete(out);
        } else {
            wire::write_close_complete(out);
        }
        flush_run();
        send_to_client(out);
        complete_head();
    }
}

/// After a piece of the server's stream: is something finished?
void session::after_relay() {
    if (dressing_ready_) {
        dressing_ready_ = false;
        return on_dressed();
    }
    if (running_ && expected_.empty()) {
        auto& request = *running_;
        for (; request.noted < request.executions.size(); ++request.noted) {
            const auto& one = request.executions[request.noted];
            take_note(*one.plan, one.why, metrics::histogram::latency_server, request.started_at);
        }
        if (!request.ready) suspend_batch();
        end_running();
        if (fatal_seen_) return;  // the end of the connection follows
        release_server();
        if (phase_ == phase::closing) return resynchronise();
        return resume();
    }
    if (copy_in_ && !consuming_ && !in_.empty()) {
        const auto used = consume(in_);
        if (destroyed_) return;
        in_.erase(0, used);
        back_pressure();
    }
}

/// A Flush has been answered: what ran is settled with the rest of its batch. Should something have
/// been committed in it already, its fence must not stand for as long as the client likes; what is
/// still to be committed raises another.
void session::suspend_batch() {
    running_->fence.commit();
    open_batch_ = std::move(running_);
}

/// The request has ended on the server with this status. Effects, fences and fills come first; the
/// ReadyForQuery itself is passed on afterwards.
void session::settle(wire::transaction_status status) {
    auto& request = *running_;
    const bool ends = status == wire::transaction_status::idle;
    const bool rolled_back = request.saw_error || request.saw_rollback;
    request.ready = true;
    copy_in_ = false;
    reading_ = reading::plain;  // the server has announced what it has been told
    const bool was_clean = transaction_clean_ || place_ == transaction_place::none;
    apply_effects();
    if (discarding_ && !request.saw_error) server_->worn = pool::no_settings();
    if (ends) {
        // What its statements ended has been seen to; this is the end of what is left.
        const bool undone = request.saw_error ||
                            (request.endings_used < request.endings.size() &&
                             request.endings.back() == transaction_end::rolled_back);
        if (context_.in_transaction() && undone) {
            revert_context();
        } else {
            context_.commit();
        }
        isolation_ended_ = true;
        transaction_clean_ = true;
        local_settings_ = local_shape_ = false;
        private_context_ = nullptr;
        identity_injected_ = identity_was_sent_ = false;
        forget_portals();
        place_ = transaction_place::none;
    } else {
        if (!context_.in_transaction()) context_.begin(server_->worn);
        place_ = status == wire::transaction_status::failed ? transaction_place::failed
                                                            : transaction_place::open;
    }
    settle_fence(rolled_back);
    settle_fills(!rolled_back && status != wire::transaction_status::failed && was_clean);
    if (ends) {
        dirty_tags_.clear();
        dirty_everything_ = dirty_catalog_ = false;
    }
}

void session::revert_context() {
    if (auto worn = context_.roll_back()) server_->worn = std::move(worn);
}

/// Bumps what may have been written and lifts; only a write that is known not to have happened is
/// lifted without.
void session::settle_fence(bool rolled_back) {
    auto& request = *running_;
    if (!request.fence.raised()) return;
    bool nothing_written = request.from_idle && request.saw_error && request.begun == 0;
    if (rolled_back && request.executions.size() == 1) {
        const auto& plan = *request.executions.front().plan;
        const auto* only = plan.single();
        const bool ended_by_itself = only != nullptr &&
                                     (only->kind == sql::statement_kind::rollback ||
                                      only->kind == sql::statement_kind::commit) &&
                                     !only->chain;
        nothing_written |= (ended_by_itself && request.saw_rollback) ||
                           (request.from_idle && request.saw_error && plan.atomic_alone);
    }
    if (nothing_written) {
        request.fence.roll_back();
    } else {
        if (dirty_catalog_ && watcher_ != nullptr) watcher_->invalidate();
        request.fence.commit();
    }
    metrics::observe(metrics::histogram::fence_held, postern::now() - request.fenced_at);
}

void session::settle_fills(bool stored) {
    auto& shared = worker_.shared;
    for (auto& one : running_->fills) {
        if (!stored || one.spoilt || !one.complete || one.row_description.empty() ||
            one.row_description[0] != 'T') {
            continue;  // its ticket lands nothing when it is destroyed
        }
        auto fresh = std::make_shared<cache::entry>();
        fresh->material = std::move(one.material);
        fresh->hash = one.hash;
        fresh->row_description = std::move(one.row_description);
        fresh->rows = std::move(one.rows);
        fresh->depends_on = std::move(one.captured);
        fresh->expires_at = postern::now() + one.plan->ttl_ns;
        fresh->rule = one.plan->rule;
        if (shared.versions.current(fresh->depends_on)) {
            shared.near.put(fresh);
            if (worker_.redis != nullptr) worker_.redis->put(fresh);
            metrics::add(metrics::counter::fills);
        } else {
            metrics::add(metrics::counter::fills_dropped);
        }
        if (one.ticket && one.ticket.leads()) one.ticket.land(fresh);
    }
}

/// What the request's statements did to the session, in their order.
void session::apply_effects() {
    auto& request = *running_;
    std::size_t statements = 0;
    for (const auto& one : request.executions)
        statements += one.plan->footprints.size();
    if (request.saw_error) return apply_failure(statements);
    for (const auto& one : request.executions) {
        if (one.plan->writes() || one.plan->takes_locks) transaction_clean_ = false;
        local_settings_ |= one.plan->hides_settings;
        local_shape_ |= one.plan->hides_settings;
        if (one.plan->disturbs_identity) identity_injected_ = false;
        const auto& facts = *one.plan->analysis->facts;
        auto change = one.settings.begin();
        for (std::size_t i = 0; i < one.plan->footprints.size(); ++i) {
            note_pin(one.plan, one.plan->footprints[i]);
            if (!facts.understood || i >= facts.statements.size()) continue;
            // Several statements without BEGIN share a transaction, which one of them may end.
            if (statements > 1) context_.begin(server_->worn);
            apply_effect(facts.statements[i]);
            for (std::size_t n = 0; n < facts.statements[i].settings.size(); ++n, ++change) {
                if (change == one.settings.end()) break;
                apply_setting(*change);
            }
        }
    }
}

/// The request has failed. Alone a statement has done nothing but what no abort undoes. In company
/// something before it may have been committed, or be undone later: then the server is kept rather
/// than its state guessed.
void session::apply_failure(std::size_t statements) {
    auto& request = *running_;
    bool sets = false;
    bool sections = request.controls_transaction;
    for (const auto& one : request.executions) {
        sets |= !one.settings.empty();
        sections |= one.plan->uses_savepoints;
    }
    if (statements > 1 && sets && sections)
        pin(sql::pin_cause::unknown_setting, "a failed request of several statements");
    if (request.lends_names) pin(sql::pin_cause::unknown_effect, "a failed DEALLOCATE");
    if (request.dropped_statements) {
        forget_statements({});
        server_->unnamed.reset();
    }
    // Transactions that ended before the failure have ended.
    for (const auto ending : request.endings) {
        if (ending == transaction_end::committed) {
            context_.commit();
        } else if (request.saw_rollback) {
            revert_context();
        }
    }
    request.endings_used = request.endings.size();
    for (std::size_t i = 0; i < request.begun; ++i) {
        const auto& one = request.executions[i];
        if (one.plan->writes() || one.plan->takes_locks) transaction_clean_ = false;
        for (const auto& footprint : one.plan->footprints) {
            if (statements > 1 || outlives_abort(footprint.pin)) note_pin(one.plan, footprint);
        }
    }
}

void session::note_pin(const plan_ptr& ran, const catalog::footprint& footprint) {
    if (footprint.pin == sql::pin_cause::none) return;
    if (footprint.pin == sql::pin_cause::unread_catalog) return pin_blind(ran);
    pin(footprint.pin, footprint.pin_detail);
}

/// Whether what has been asked for so far in this transaction can still be taken back.
bool session::may_be_rolled_back() const noexcept {
    return place_ != transaction_place::none || context_.in_transaction();
}

void session::pin(sql::pin_cause cause, const std::string& detail) {
    pins_.set(static_cast<std::size_t>(cause));
    pin_detail_ = detail;
}

/// Kept on its server until the catalog says what it called; a pool without a catalog never learns.
void session::pin_blind(const plan_ptr& ran) {
    if (watcher_ == nullptr) return;
    ran_blind_.push_back(ran);
    worker_.awaiting_catalog.insert(id_);
    pin(sql::pin_cause::unread_catalog, ran->footprints.front().pin_detail);
}

void session::on_catalog_read() {
    if (waiting_for_ != nullptr && std::string_view{waiting_for_} == waits_for_catalog)
        return prove_policies();
    reconsider_pins();
}

void session::reconsider_pins() {
    if (running_) return;  // release_server() comes back here
    while (!ran_blind_.empty()) {
        const auto& ran = *ran_blind_.back();
        const auto now = worker_.plan_of(ran.analysis, ran.text, ran.context, watcher_);
        if (now->blind) {
            worker_.awaiting_catalog.insert(id_);  // until the next reading
            return;
        }
        ran_blind_.pop_back();
        for (const auto& footprint : now->footprints) {
            if (footprint.pin != sql::pin_cause::none) pin(footprint.pin, footprint.pin_detail);
        }
    }
    unpin(sql::pin_cause::unread_catalog);
    if (!busy()) release_server();
}

void session::unpin(sql::pin_cause cause) {
    pins_.reset(static_cast<std::size_t>(cause));
    pinned_names_.erase(cause);
}

/// One of the things that pin by name is gone; with the last of them the pin.
void session::unpin(sql::pin_cause cause, const std::string& name) {
    if (name.empty()) return unpin(cause);
    const auto found = pinned_names_.find(cause);
    if (found == pinned_names_.end()) return;
    found->second.erase(name);
    if (found->second.empty()) unpin(cause);
}

/// Of a BEGIN. One that names no level leaves an open transaction's as it is, and goes back to the
/// default behind the end of one in the same request; if that has changed settings too, the default
/// is not known.
void session::enter_isolation(const sql::statement_facts& facts) {
    if (!facts.isolation.empty()) {
        read_committed_ = facts.isolation == "read committed";
    } else if (isolation_ended_) {
        read_committed_ = reads_committed_by_default_ &&
                          plan_context_of_ == context_.now().settings;
    }
    isolation_ended_ = false;
}

void session::apply_effect(const sql::statement_facts& facts) {
    using sql::statement_kind;
    switch (facts.kind) {
    case statement_kind::begin:
        enter_isolation(facts);
        context_.begin(server_->worn);
        return;
    case statement_kind::set_transaction:
        if (!facts.isolation.empty()) read_committed_ = facts.isolation == "read committed";
        return;
    case statement_kind::commit:
    case statement_kind::rollback:
    case statement_kind::prepare_transaction:
        if (next_ending() == transaction_end::rolled_back) {
            revert_context();
        } else {
            context_.commit();
        }
        identity_injected_ = false;
        isolation_ended_ = !facts.chain;
        if (facts.chain) {
            context_.begin(server_->worn);
            transaction_began_ = running_->sent_at;
        }
        return;
    case statement_kind::savepoint: return context_.savepoint(facts.object_name, server_->worn);
    case statement_kind::release_savepoint: return context_.release_savepoint(facts.object_name);
    case statement_kind::rollback_to_savepoint:
        static_cast<void>(next_ending());
        if (auto worn = context_.roll_back_to(facts.object_name)) server_->worn = std::move(worn);
        identity_injected_ = false;
        return;
    case statement_kind::listen:
    case statement_kind::declare_cursor:
    case statement_kind::prepare:
        if (facts.pin != sql::pin_cause::none) pinned_names_[facts.pin].insert(facts.object_name);
        return;
    case statement_kind::unlisten:
        // Undone by ROLLBACK; the pin then simply lasts.
        if (!may_be_rolled_back()) unpin(sql::pin_cause::listen, facts.object_name);
        return;
    case statement_kind::close_cursor:
        return unpin(sql::pin_cause::with_hold_cursor, facts.object_name);
    case statement_kind::deallocate:
        // A single name of the extended protocol went with the answer, in its place among others.
        if (!running_->is_query && !facts.object_name.empty())
            return unpin(sql::pin_cause::sql_prepare, facts.object_name);
        return forget_statements(facts.object_name);
    case statement_kind::discard: return apply_discard(facts.command_tag);
    default: return;
    }
}

/// DEALLOCATE: on the server it only reaches what SQL's PREPARE made, and with ALL ours too.
void session::forget_statements(const std::string& name) {
    if (!name.empty()) {
        unpin(sql::pin_cause::sql_prepare, name);
        statements_.erase(name);
        return;
    }
    statements_.clear();
    unpin(sql::pin_cause::sql_prepare);
    if (server_) {
        server_->prepared.clear();
        server_->identity_prepared = false;
    }
}

void session::apply_discard(std::string_view tag) {
    if (tag == "DISCARD TEMP" && !may_be_rolled_back()) {
        return unpin(sql::pin_cause::temporary_object);
    }
    if (tag != "DISCARD ALL") return;
    forget_statements({});
    pins_.reset();
    ran_blind_.clear();
    pinned_names_.clear();
    forget_portals();
    auto& values = context_.change();
    values.settings = startup_settings_;
    values.identity = values.identity_local = pool::no_settings();
    values.cache_bypass = false;
    if (server_) {
        server_->worn = pool::no_settings();
        server_->unnamed.reset();
    }
}

void session::apply_setting(const sql::setting_change& change) {
    const bool is_identity = identity::is_variable(settings_->identity, change.name);
    if (is_identity || is_postern_setting(change.name)) {
        set_locally(change);
        // It has been set on the server as well, for whom it must not stay.
        server_->worn = pool::apply(server_->worn, change, {});
        return;
    }
    if (change.local) {
        local_settings_ = true;
        local_shape_ |= !is_shapeless(change.name);
        return;
    }
    auto& wanted = context_.change().settings;
    wanted = pool::apply(wanted, change, *startup_settings_);
    if (change.what == sql::setting_change::action::reset_all) {
        context_.change().identity = context_.change().identity_local = pool::no_settings();
        identity_injected_ = false;
    }
    server_->worn = pool::apply(server_->worn, change, {});
    if (change.name == "application_name") application_name_ = change.value;
}

/// Gives the server back when it is provably in step and nothing of the session is on it.
void session::release_server() {
    if (!ran_blind_.empty()) return reconsider_pins();
    if (server_ && !running_ && phase_ == phase::ready && place_ != transaction_place::none &&
        pool_->how().limits.mode == pool::pool_mode::statement) {
        // A text that could not be read has begun a transaction, or left one.
        return farewell("0A000", no_blocks);
    }
    if (!server_ || running_ || dressing_ || place_ != transaction_place::none || in_extended_ ||
        pins_.any() || replication_)
        return;
    if (server_->cancels->load() != 0) return;
    if (pool_->how().limits.mode == pool::pool_mode::session &&
        (phase_ == phase::closing ? must_discard() : phase_ != phase::welcoming))
        return;
    const bool mid_message = relay_rest_ != 0 || copy_rest_ != 0;
    flush_server();
    if (!server_->inbox.empty() || !server_->outbox.empty() || mid_message ||
        server_->worn == nullptr) {
        return drop_server();
    }
    pool_->give_back(worker_.number, std::move(server_));
}

void session::drop_server() {
    if (server_) flush_server();  // it has been asked to, and does not know that nobody listens
    server_.reset();
    open_batch_.reset();
    dressing_ = dressing_ready_ = false;
    relay_rest_ = 0;
    expected_.clear();
    expected_head_ = 0;
    pool_->lost();
}

/// Whether what waits at the front can go on elsewhere as if it had never seen this server: it was
/// still being dressed, so that nothing of the client's has reached it. A few times only: it may be
/// the settings that end it.
bool session::may_take_another_server() const noexcept {
    constexpr unsigned losses_max = 2;
    const bool outside = place_ == transaction_place::none || place_ == transaction_place::held;
    return dressing_ && outside && pins_.none() && !in_extended_ && phase_ != phase::closing &&
           pending_.servers_lost < losses_max;
}

/// The server is gone, or out of step and made to go.
void session::server_lost() {
    const auto keep_alive = shared_from_this();
    metrics::add(metrics::counter::server_losses);
    if (may_take_another_server()) {
        ++pending_.servers_lost;
        waiting_for_ = nullptr;
        drop_server();
        return go_on();
    }
    flush_run();
    const bool mid_answer = running_ != nullptr;
    const bool mid_row = is_mid_row();
    if (running_ && running_->fence.raised()) {
        // Whether it has committed is not known before its backend is gone.
        auto fence = std::make_shared<coherence::fence>(std::move(running_->fence));
        const bool catalog_changed = dirty_catalog_;
        if (watcher_ != nullptr) {
            watcher_->when_backend_gone(server_->pid, [fence, catalog_changed, watcher = watcher_] {
                if (catalog_changed) watcher->invalidate();
                fence->commit();
            });
        }
    }
    end_running();
    waiting_for_ = nullptr;
    drop_server();
    place_ = transaction_place::none;
    if (phase_ == phase::closing) {
        if (client_gone_ || out_.empty()) destroy();
        return;
    }
    if (!fatal_seen_) {
        log::warning(
            "client {}: lost its server {}",
            id_,
            mid_answer ? "while it answered" : "while idle");
        if (!mid_row) fail_client("FATAL", "08006", "server closed the connection unexpectedly");
    }
    end();
}

void session::enter_copy_in() {
    copy_in_ = true;
    copy_extended_ = expected_[expected_head_].what != kind::query;
    copy_ships_ = true;
    copy_rest_ = 0;
    const bool sync_is_next = expected_head_ + 2 == expected_.size() &&
                              expected_.back().what == kind::sync;
    if (!copy_extended_ || !sync_is_next) return;
    // PostgreSQL ignores a Sync that comes while it waits for data: the batch is as open as behind
    // a Flush, and the next Sync ends it.
    expected_.pop_back();
    in_extended_ = true;
}

/// CopyData is streamed as it comes, until CopyDone or CopyFail.
std::size_t session::consume_copy_in(std::string_view bytes) {
    const bool was_in = copy_in_;
    std::size_t at = 0;
    std::size_t from = 0;  // what has been looked at but not yet sent
    const auto ship = [&](std::size_t up_to) {
        if (copy_ships_ && server_ && up_to > from)
            send_to_server(bytes.substr(from, up_to - from));
        from = up_to;
    };
    while (at < bytes.size()) {
        if (copy_rest_ > 0) {
            // A message whose head was sent is sent to its end, whatever has become of the copy.
            const auto piece = std::min(copy_rest_, bytes.size() - at);
            copy_rest_ -= piece;
            at += piece;
            continue;
        }
        if (!copy_in_) break;
        const auto next =
            wire::peek_header(bytes.substr(at), wire::direction::from_client, 0x3fffffff);
        if (next.state == wire::frame_state::incomplete) break;
        if (next.state == wire::frame_state::malformed) {
            protocol_violation(wire::describe(next.error));
            return bytes.size();
        }
        const char tag = next.header.tag;
        if (tag == 'X') {
            ship(at);
            end();
            return bytes.size();
        }
        // Whole messages, so that a copy that fails leaves the server's stream between two of them.
        if (next.header.message_size() <= copy_piece_max &&
            bytes.size() - at < next.header.message_size())
            break;
        if (!copy_ships_) ship(at);
        copy_ships_ = true;
        copy_rest_ = next.header.message_size();
        if (tag == 'c' || tag == 'f') copy_in_ = false;
    }
    ship(at);
    // Without a Sync PostgreSQL would keep its answer to itself.
    if (was_in && !copy_in_ && copy_extended_ && copy_rest_ == 0 && server_ && running_) {
        std::string out;
        wire::write_flush(out);
        send_to_server(out);
    }
    back_pressure();
    return at;
}

/// Whether what has run of a batch without Sync may outlast its being undone.
bool session::open_batch_leaves_traces() const {
    if (!open_batch_) return false;
    return std::ranges::any_of(open_batch_->executions, [](const running_request::ran& one) {
        return !one.settings.empty() || one.plan->controls_transaction ||
               one.plan->drops_statements ||
               std::ranges::any_of(one.plan->footprints, [](const catalog::footprint& footprint) {
                   return footprint.pin != sql::pin_cause::none;
               });
    });
}

/// In session mode a client may have left what nobody looks for: sequences' last values, plans.
bool session::must_discard() const {
    return !discarding_ && pool_->how().limits.mode == pool::pool_mode::session && pins_.none() &&
           ran_blind_.empty() && !in_extended_ && place_ == transaction_place::none &&
           server_->worn != nullptr;
}

/// Until it is done the server is not known to be fit for others.
void session::discard() {
    discarding_ = true;
    server_->worn = nullptr;
    server_->prepared.clear();
    server_->unnamed.reset();
    server_->identity_prepared = false;
    start_running();
    running_->started_at = postern::now();
    std::string out;
    wire::write_query(out, "DISCARD ALL");
    expect(kind::query, fate::swallow);
    resynchronising_ = true;
    start_wait_timer(std::chrono::seconds{10}, &session::server_lost);
    send_to_server(out);
}

/// The client is leaving or gone: what it left on the server is ended, so that the server can be
/// lent again; what can't be ended in time closes it.
void session::resynchronise() {
    if (!server_) {
        if (client_gone_ || out_.empty()) destroy();
        return;
    }
    if (dressing_) {
        drop_server();
        return resynchronise();
    }
    if (running_) {
        if (std::exchange(resynchronising_, true)) return;
        start_wait_timer(std::chrono::seconds{10}, &session::server_lost);
        if (copy_in_) {
            std::string out;
            if (copy_rest_ > 0) return server_lost();  // half a message can't be taken back
            wire::write_copy_fail(out, "the client is gone");
            if (copy_extended_) {
                wire::write_sync(out);
                expect(kind::sync, fate::swallow);
                in_extended_ = false;
            }
            copy_in_ = false;
            send_to_server(out);
        } else {
            cancel([] {});
        }
        return;
    }
    const bool mid_message = copy_rest_ > 0 && copy_ships_;
    if (open_batch_leaves_traces() || mid_message) {
        drop_server();
        return resynchronise();
    }
    std::string out;
    if (must_discard()) return discard();
    if (in_extended_) {
        compose_abort(out);
    } else if (place_ == transaction_place::open || place_ == transaction_place::failed) {
        wire::write_query(out, "ROLLBACK");
        expect(kind::query, fate::swallow);
    }
    if (!out.empty()) {
        start_running();
        running_->started_at = postern::now();
        running_->saw_rollback = true;
        running_->endings.push_back(transaction_end::rolled_back);
        resynchronising_ = true;
        start_wait_timer(std::chrono::seconds{10}, &session::server_lost);
        return send_to_server(out);
    }
    release_server();
    if (server_ && server_->cancels->load() != 0) return;  // cancel() comes back here
    if (server_) drop_server();
    resynchronise();
}

}  // namespace postern::session
