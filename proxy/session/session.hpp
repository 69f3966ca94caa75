// One client, from its first byte to its last: startup, the message loop, its transaction, its
// prepared statements, and the server that it has been lent.
//
//   startup ─▶ authenticating ─▶ welcoming ─▶ ready ⇄ (a request under way) ─▶ closing
//                                      ├────▶ console
//                                      └────▶ replicating
//
// Requests are taken one at a time: a simple Query, or extended messages up to Sync or Flush. For
// each the session first tries to answer by itself (answer.cpp), and else composes what goes to the
// server (forward.cpp), and relays the answer (relay.cpp). While a request waits (for a server, for
// Redis, for another session's flight) its bytes stay in `in_`, and it is looked at again with what
// was learnt; nothing is half-done. All on one thread.

#pragma once

#include "auth/scram.hpp"
#include "base/metrics.hpp"
#include "cache/flight.hpp"
#include "identity/identity.hpp"
#include "pool/pool.hpp"
#include "session/context.hpp"
#include "session/replication.hpp"
#include "session/worker.hpp"
#include "wire/backend.hpp"
#include "wire/frontend.hpp"

#include <bitset>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace postern::session {

/// What the server still has to answer, in order.
struct expectation {
    enum class kind : std::uint8_t {
        parse,
        bind,
        close,
        describe_statement,
        describe_portal,
        execute,
        sync,
        query,          ///< everything up to ReadyForQuery
        function_call,  ///< likewise
    };
    enum class fate : std::uint8_t {
        forward,
        swallow,        ///< ours: the client knows nothing of it
        local,          ///< nothing was sent: the answer is made here when its turn comes
        all_but_ready,  ///< another ReadyForQuery follows, which is the client's
        hidden,         ///< a statement of ours that fails on purpose, and nobody hears of it
        ready_only,  ///< a statement of ours that fails on purpose: only ReadyForQuery is passed on
    };
    kind what = kind::sync;
    fate how = fate::forward;
    /// Index into the request's fills, or -1: the answer to this execute is to be kept.
    int fill = -1;
    /// The server-side statement that this Parse makes: forgotten again when it fails.
    std::optional<pool::statement_key> prepares;
    /// Index into the request's named statements, or -1: what the client calls it from now on.
    int names = -1;
    /// The client's name of the statement: its place in the session's names_meant_.
    std::uint32_t name_at = 0;
    std::uint32_t name_size = 0;
    bool is_identity = false;         ///< the Parse of the statement that carries the identity
    bool drops_sql_prepared = false;  ///< a Close of what SQL's PREPARE has made
};

/// An answer being kept while it passes.
struct fill {
    std::string material;
    hash128 hash;
    coherence::dependencies captured;
    plan_ptr plan;
    std::string row_description;
    std::string rows;
    bool complete = false;
    bool spoilt = false;
    reason spoilt_by = reason::none;
    cache::flight_table::ticket ticket;
};

/// One statement of a request about to run.
struct execution {
    plan_ptr plan;
    prepared_ptr statement;  ///< null: a simple Query, or a portal of an earlier request
    const wire::message* bind = nullptr;
    bool describes_portal = false;
    bool whole_answer = true;  ///< unnamed portal, all rows
    std::string_view text;
    std::vector<sql::setting_change> settings;  ///< with parameters filled in
    bool obscure = false;         ///< its text may say something else than it seems to
    bool hides_identity = false;  ///< may set a variable of the identity, unseen
    reason why = reason::none;    ///< why it goes to the server
    int fill = -1;
    cache::entry_ptr hit;
};

/// What is known so far about the request at the front of `in_`, kept while it waits.
struct pending_request {
    monotonic_ns started_at = 0;
    monotonic_ns granted_at = 0;  ///< when it had to wait for a server
    bool again = false;           ///< it was looked at before, and had to wait
    bool asked_redis = false;
    cache::entry_ptr from_redis;
    bool joined_flight = false;
    bool landed = false;
    coherence::dependencies captured_on_joining;
    cache::entry_ptr from_flight;
    cache::flight_table::ticket ticket;
    bool counted_as_read = false;
    unsigned servers_lost = 0;  ///< before anything of it was sent
};

/// In front of a statement's name that the client does not have, where it looks like one of ours.
inline constexpr std::string_view unknown_prefix = "client's ";

/// How far it is certain that a text means to PostgreSQL what the analyzer takes it for.
enum class reading : std::uint8_t {
    plain,
    uncertain,  ///< a setting that decides it has been changed and not announced yet
};

/// How a transaction, or the part of it behind a savepoint, has ended.
enum class transaction_end : std::uint8_t { committed, rolled_back };

/// What is noted of a running request that owns no memory.
struct running_marks {
    monotonic_ns started_at = 0;
    monotonic_ns sent_at = 0;       ///< about when it reached PostgreSQL: waiting does not count
    monotonic_ns cancelled_at = 0;  ///< by its query_timeout; 0: not
    monotonic_ns fenced_at = 0;
    bool from_idle = false;  ///< no transaction was open when it was sent
    bool saw_error = false;
    /// Executions that have begun to run; the others of a failed request have done nothing.
    std::size_t begun = 0;
    bool saw_rollback = false;  ///< of a whole transaction
    std::size_t endings_used = 0;
    bool saw_fatal = false;
    bool controls_transaction = false;
    bool changes_catalog = false;
    bool lends_names = false;         ///< statements stand on the server under the client's names
    bool dropped_statements = false;  ///< DEALLOCATE ALL or DISCARD ALL has been done
    reading reads = reading::plain;   ///< how texts that follow are read until it is settled
    bool ready = false;               ///< ReadyForQuery has been seen
    /// Executions that have been counted; those behind it came with a later piece of the batch.
    std::size_t noted = 0;
    bool is_query = false;
};

/// What runs on the server now.
struct running_request : running_marks {
    /// What ran, with its settings and why it came here; without views into the request's bytes.
    struct ran {
        plan_ptr plan;
        std::vector<sql::setting_change> settings;
        reason why = reason::none;
    };
    std::vector<ran> executions;
    std::vector<fill> fills;
    coherence::fence fence;
    std::vector<transaction_end> endings;  ///< as CommandComplete told them, in order

    /// As new, but for the memory.
    void clear();
};

/// The messages of one request.
struct request_batch {
    std::vector<wire::message> messages;  ///< up to and with Sync or Flush
    /// What could not be read, and the reason; null: all could.
    const wire::message* malformed = nullptr;
    wire::errc error = wire::errc::ok;
    std::size_t size = 0;
    char end = 'S';  ///< 'S', or 'H' for a Flush, the client's or one of ours
    bool flush_is_ours = false;
};

/// The request at the front of a session's input, as it is read each time it is looked at. Nothing
/// of it outlives the handler, so the sessions of a thread share one, with the memory that it has
/// grown.
struct front_request {
    request_batch batch;
    std::string_view query_text;  ///< of a simple Query
    bool is_query = false;
    bool local = true;  ///< nothing in it speaks against answering it here
    std::vector<execution> executions;
    bool bound = false;  ///< the unnamed portal within the request, to a statement that is known
    const wire::message* bound_by = nullptr;
    std::unordered_map<std::string, const wire::message*> binds;  ///< of named portals
    const wire::message* composed_bind = nullptr;                 ///< the last one sent
    std::size_t rendered_bind = 0;  ///< the execution of the Bind rendered last
    // The readers' memory.
    wire::parse_message parse;
    wire::bind_message bind;
    const wire::message* bind_of = nullptr;  ///< whose fields `bind` has; null: nobody's
    wire::execute_message execute;
    wire::target_message target;
    /// Requests that have run, for those to come.
    std::vector<std::unique_ptr<running_request>> spare;
};

/// What a session waits for while a cancel request of Postern's own is under way to its server.
inline constexpr const char* waits_for_cancel = "cancel";
/// What a login waits for under `rls: required` while nobody can tell whether policies bind it.
inline constexpr const char* waits_for_catalog = "catalog";

/// PgBouncer's words.
inline constexpr std::string_view no_blocks =
    "transaction blocks not allowed in statement pooling mode";

class session final : public std::enable_shared_from_this<session> {
public:
    session(worker& home, int client_fd, std::string address, std::uint64_t id);
    ~session();

    std::uint64_t id() const noexcept { return id_; }
    client_row row() const;

    /// A CancelRequest with this session's key arrived. `delivered` is called once, on this thread:
    /// when PostgreSQL has been signalled, or when there is nothing to signal.
    void cancel(std::function<void()> delivered);

    /// The catalog has been read: what ran without it may have done nothing to the session, and who
    /// logs in may be proven to be bound by policies.
    void on_catalog_read();

    /// The process stops: an idle session ends now; a busy one once it is idle, or now. One on the
    /// console stays until it is to end at once.
    void stop(bool at_once);

    /// KILL, KILL_CLIENT: it ends now, whatever it is doing.
    void kill();

    /// What has taken longer than it may.
    enum class overdue : std::uint8_t {
        nothing,
        query,
        cancel,  ///< the query was cancelled, and PostgreSQL does not react
        client_idle,
        idle_transaction,
        transaction,
    };
    /// Asked in passes over a thread's sessions, see sweep_interval().
    overdue look_for_overdue(monotonic_ns at);
    /// Does what is to be done about it.
    void on_overdue(overdue what);
    bool is_on_console() const noexcept { return phase_ == phase::console; }
    /// In a transaction, within a request, or with something on a server that would be lost.
    bool is_busy() const noexcept;

private:
    enum class phase : std::uint8_t {
        startup,
        authenticating,
        welcoming,
        ready,
        console,
        replicating,
        closing,
    };
    /// Where the session's transaction is.
    enum class transaction_place : std::uint8_t {
        none,
        held,    ///< the client was told BEGIN; no server knows of it yet
        open,    ///< open on the server
        failed,  ///< open on the server, and failed
    };
    enum class step : std::uint8_t {
        consumed,  ///< the request is dealt with, or under way: take its bytes
        waiting,   ///< leave its bytes; resume() looks at it again
        ended,     ///< the session is closing
    };
    struct events final : pool::socket_handler {
        enum class side : std::uint8_t { client, server };
        events(session& whose, side which)
            : owner{whose}
            , of{which} {}
        void on_readable() override;
        void on_writable() override;
        void on_flush() override;
        session& owner;
        side of;
    };
    /// A name that the request gives to a statement, or takes away (null).
    struct naming {
        std::string name;
        prepared_ptr statement;
    };

    // session.cpp: bytes in, bytes out, life and death
    void on_client_readable();
    void on_client_writable();
    std::size_t consume(std::string_view bytes);
    std::size_t consume_ready(std::string_view bytes);
    void resume();
    /// So much is gathered while a round of events is handled; more is sent from where it stands.
    static constexpr std::size_t gathered_max = std::size_t{8} << 10;
    void send_to_client(std::string_view bytes);
    void flush_client();
    void on_client_flush();
    void lose_client();
    void fail_client(
        std::string_view severity,
        std::string_view sqlstate,
        std::string_view message);
    void protocol_violation(std::string_view message);
    void farewell(std::string_view sqlstate, std::string_view message);
    /// Whatever were sent to the client now would be taken for the rest of a message of which it
    /// has had a part: it is only disconnected.
    bool is_mid_row() const noexcept { return relay_rest_ > 0 && relay_forwards_; }
    void end();
    void end_if_stopping();
    void client_vanished();
    void destroy();
    void back_pressure();
    void probe_client();
    bool is_logging_in() const noexcept {
        return phase_ == phase::startup || phase_ == phase::authenticating ||
               phase_ == phase::welcoming;
    }
    bool is_active() const noexcept {
        return running_ || (replication_ && replication_->stream.is_asked());
    }
    bool busy() const noexcept { return running_ || waiting_for_ != nullptr; }
    void take_note(const plan& of, reason why, metrics::histogram from, monotonic_ns started_at);
    void start_wait_timer(std::chrono::milliseconds limit, void (session::*expired)());
    void stop_wait_timer();

    // timeouts.cpp: how long a client may take
    void refresh_timeouts();
    void cancel_overdue();
    void on_overdue_cancelled();

    // startup.cpp: from the first byte to ReadyForQuery
    std::size_t consume_startup(std::string_view bytes);
    std::size_t consume_authentication(std::string_view bytes);
    void on_startup_packet(const wire::startup_packet& packet);
    bool on_encryption_request(const wire::startup_packet& packet, bool more_follows);
    void on_cancel_packet(const wire::startup_packet& packet);
    void begin_tls();
    bool is_local() const noexcept { return address_ == "unix"; }
    void look_for_direct_tls();
    bool take_place();
    void read_startup_parameters(const wire::startup_packet& packet);
    bool read_replication(std::string_view value);
    static bool is_no_setting(std::string_view name);
    bool keep_settings(const std::vector<std::pair<std::string, std::string>>& settings);
    bool choose_database(std::string_view name);
    void authenticate();
    std::optional<auth::access_method> method_in_force();
    std::optional<auth::ip_address> client_address() const;
    void refuse_access(const auth::access_rule* by);
    void authenticate_by(auth::access_method method, const std::string* verifier);
    void start_scram(const std::string& verifier_text, bool doomed);
    void on_password_message(std::string_view body);
    void authenticated();
    void prove_policies();
    void admit();
    void refuse_policies();
    void enter_console();
    bool sees_through_policies() const;
    void welcome();
    void send_welcome(const pool::reported_parameters& parameters);
    void on_login_timeout();

    // request.cpp: what a request is made of
    step handle_request(std::string_view bytes, std::size_t& used);
    void begin_request();
    step handle_query(const wire::message& message);
    step handle_batch();
    step handle_malformed();
    bool is_too_large(char tag, std::size_t size);
    bool collect_batch(std::string_view bytes);
    bool classify();
    const wire::message* bind_of(std::string_view portal) const;
    bool classify_execute(const wire::execute_message& execute);
    bool classify_message(const wire::message& message);
    bool classify_bind(const wire::message& message);
    bool classify_describe(const wire::message& message);
    wire::errc read_bind(const wire::message& message) const;
    void forget_portals();
    bool is_prepared_by_sql(std::string_view name) const;
    static const std::string* deallocates(const prepared_statement& statement);
    plan_ptr plan_of(const sql::analysis_ptr& analysis, std::string_view text);
    plan_ptr plan_of(const prepared_statement& statement);
    /// Null when there is none. Valid until a statement is named or forgotten.
    const prepared_ptr& find_statement(std::string_view name) const;
    std::uint64_t catalog_epoch() const noexcept;
    void refresh_plan_context();
    bool starts_readable() const;
    reading reading_after(const execution& one) const;
    void fill_in_settings(execution& one, const wire::message* bound);
    plan_ptr plan_of_function_call(std::string_view body);
    bool is_describable(const prepared_statement& statement) const;

    // answer.cpp: what needs no server
    enum class source : std::uint8_t { here, server, later };
    step answer_locally(bool& answered);
    bool may_answer_locally() const;
    reason why_not_cached(const execution& one, transaction_place place, bool read_committed) const;
    bool parameters_are_constant(const execution& one) const;
    bool is_local_control(const execution& one, transaction_place place) const;
    bool is_local_setting(const execution& one) const;
    static bool shows_own_setting(const sql::text_facts& facts);
    static transaction_place place_after(const execution& one, transaction_place place);
    struct refused {
        std::string sqlstate;
        std::string message;
    };
    std::optional<refused> refusal();
    bool guards_identity() const noexcept;
    std::optional<refused> refusal_of_setting(const sql::setting_change& change, bool several)
        const;
    std::optional<refused> refusal_of_names(const plan& of) const;
    std::optional<refused> refusal_of_prepared(
        const sql::statement_facts& facts,
        const std::string& name) const;
    bool readable(std::string_view text) const;
    bool is_obscure(std::string_view text) const;
    const pool::server* dressed_server() const noexcept;
    source look_up(execution& one, transaction_place place, bool read_committed);
    source serve(execution& one, const cache::entry_ptr& found, reason how);
    source look_further(execution& one, const cache::key_view& key);
    void build_key(const execution& one, std::string& material) const;
    void ask_redis(const cache::key_view& key);
    bool join_flight(const cache::key_view& key, const coherence::dependencies& captured);
    void render(std::string& out);
    void render_message(const wire::message& message, std::size_t& next, std::string& out);
    void render_execution(execution& one, bool with_description, std::string& out);
    void render_description(const execution& one, std::string& out);
    void render_statement_description(const prepared_statement& statement, std::string& out) const;
    void perform_locally(const execution& one);
    void set_locally(const sql::setting_change& change);
    void note_local(const execution& one);
    wire::transaction_status status_byte() const noexcept;
    std::int16_t result_format(const execution& one, std::size_t column) const;
    step refuse(std::string_view sqlstate, std::string_view message);
    void refresh_claims();

    // forward.cpp: what goes to the server
    step forward();
    bool have_server();
    bool dressed();
    void dress();
    void on_dressed();
    void adopt_server(pool::server_ptr lent);
    void go_on();
    void note_executions();
    void suspend_batch();
    bool open_batch_leaves_traces() const;
    void compose_batch(std::string& out);
    void compose_query(std::string& out);
    std::string_view add_server_name(const pool::statement_key& key, std::string& out);
    void compose_begin(std::string& out);
    void compose_identity(std::string& out);
    void compose_query_naming(const std::map<std::string, prepared_ptr>& named, std::string& out);
    void compose_deallocated(const prepared_statement& statement, std::string& out);
    void compose_abort(std::string& out);
    void forget_unnamed(std::string& out);
    void compose_message(
        const wire::message& message,
        std::size_t& next_execution,
        std::string& out);
    void compose_parse(const wire::message& message, std::string& out);
    void compose_parse_anew(const prepared_statement& statement, int index, std::string& out);
    void compose_bind(const wire::message& message, std::string& out);
    void compose_describe(
        const wire::message& message,
        std::size_t next_execution,
        std::string& out);
    void compose_close(const wire::message& message, std::string& out);
    void compose_execute(const wire::message& message, execution& one, std::string& out);
    std::string_view server_name_of(const prepared_statement& statement, std::string& out);
    std::string_view unknown_name(std::string_view name, std::string& buffer) const;
    const pool::statement_key& server_key(const prepared_statement& statement) const;
    void choose_context();
    expectation& expect(
        expectation::kind what,
        expectation::fate how = expectation::fate::forward,
        int fill = -1);
    void name_meant(std::string_view name);
    bool may_want_identity() const;
    bool wants_identity(const plan& of) const;
    void begin_running();
    void start_running();
    void end_running();
    void prepare_fills();
    void raise_fence();
    void send_to_server(std::string_view bytes);
    void flush_server();
    void on_server_writable();
    void on_granted(pool::grant given);
    void on_wait_expired();

    // sample.cpp: what shadow mode is given to run again
    void sample_forwarded();
    void sample(const execution& one);
    bool may_sample(const execution& one) const;
    catalog::sampled_read copy_of(const execution& one) const;

    // relay.cpp: what comes back
    void on_server_readable();
    enum class passage : std::uint8_t { forward, swallow, broken };
    std::size_t relay(std::string_view bytes, bool& in_step);
    bool expects_data() const noexcept;
    void begin_data(std::size_t size);
    void relay_data(const char* begin, std::size_t size);
    void spoil_fills();
    void leave_flights();
    passage on_server_message(char tag, std::string_view body, std::string_view whole);
    passage on_dressing_message(char tag, std::string_view whole);
    passage on_extended_answer(char tag, std::string_view body, std::string_view whole);
    passage on_query_answer(char tag, std::string_view body, std::string_view whole);
    passage on_error(std::string_view body);
    passage on_ready(std::string_view body);
    void note_begun(std::string_view sqlstate);
    void on_command_complete(
        std::string_view body,
        std::string_view whole,
        const expectation& head);
    bool only_rolls_back_to_savepoint() const;
    void commit_naming(int index);
    void after_relay();
    void drop_until_sync();
    static bool rewrite_statement_name(
        const wire::error_fields& fields,
        std::string_view meant,
        std::string& out);
    bool is_local_answer_due() const noexcept;
    void emit_local_answers();
    void complete_head();
    void revert_context();
    void pin(sql::pin_cause cause, const std::string& detail);
    void pin_blind(const plan_ptr& ran);
    void unpin(sql::pin_cause cause);
    void unpin(sql::pin_cause cause, const std::string& name);
    void forget_statements(const std::string& name);
    void apply_discard(std::string_view tag);
    void settle(wire::transaction_status status);
    void settle_fence(bool rolled_back);
    void settle_fills(bool stored);
    void apply_effects();
    void enter_isolation(const sql::statement_facts& facts);
    void apply_effect(const sql::statement_facts& facts);
    void apply_failure(std::size_t statements);
    void apply_setting(const sql::setting_change& change);
    void note_pin(const plan_ptr& ran, const catalog::footprint& footprint);
    bool may_be_rolled_back() const noexcept;
    void reconsider_pins();
    transaction_end next_ending();
    void release_server();
    void drop_server();
    bool may_take_another_server() const noexcept;
    void server_lost();
    void pass(const char* begin, std::size_t size);
    void flush_run();
    void enter_copy_in();
    std::size_t consume_copy_in(std::string_view bytes);
    void resynchronise();
    bool must_discard() const;
    void discard();

    // replication.cpp: a connection that is passed through whole
    void choose_server_of_cluster();
    std::optional<refused> refusal_of_replication() const;
    void begin_replication();
    void on_place_granted(const pool::grant& given);
    void on_replication_login(pool::connect_outcome made);
    std::size_t consume_replication(std::string_view bytes);
    void on_replication_readable();
    void replication_lost();
    void end_replication();

    // console.cpp
    enum class console_answer : std::uint8_t { query, description, rows };
    std::size_t consume_console(std::string_view bytes);
    void on_console_message(const wire::message& message);
    void ask_console(std::string command, console_answer form);
    void on_console_reply(const console_reply& reply, console_answer form);

    // Constant after construction.
    worker& worker_;
    const std::uint64_t id_;
    const std::string address_;
    const monotonic_ns connected_at_;

    // The client.
    events client_events_;
    pool::channel client_;
    std::string in_;   // received, not yet consumed
    std::string out_;  // composed, not yet taken by the socket
    phase phase_ = phase::startup;
    bool client_gone_ = false;
    bool destroyed_ = false;
    bool consuming_ = false;
    bool stopping_ = false;
    bool said_farewell_ = false;  // FATAL is the last that a client hears
    bool half_closed_ = false;    // the client will send nothing more, but may still read

    // Who it is. Set by startup and authentication.
    settings_ptr settings_;  // the configuration at login: databases, identity
    const database* database_ = nullptr;
    std::string user_;
    std::string application_name_;
    std::string requested_database_;
    pool::settings_map_ptr startup_settings_;              // one for all that come with the same
    std::unique_ptr<const pool::settings_map> spellings_;  // of their names, where not lower case
    identity::variable_map login_identity_;
    std::unique_ptr<auth::scram_server> scram_;
    bool scram_started_ = false;
    bool scram_doomed_ = false;
    replication_mode replicates_ = replication_mode::none;
    auth::scram_keys_ptr proven_keys_;         // until they are the pool's
    std::shared_ptr<const user> user_record_;  // until it is logged in; owned by its configuration
    std::uint32_t protocol_ = wire::protocol_3_0;  // agreed on
    std::int32_t cancel_key_ = 0;
    std::string cancel_secret_;
    catalog::watcher* watcher_ = nullptr;
    catalog::sampler* sampler_ = nullptr;  // never null once it is logged in to a database
    pool::pool_ptr pool_;
    traffic* traffic_;                    // of its thread and database
    std::unique_ptr<pool::timer> timer_;  // while something is waited for

    // How long it may take. The points in time are those that are known anyway.
    client_timeouts timeouts_;
    settings_ptr timeouts_of_;            // the configuration that timeouts_ was taken from
    monotonic_ns active_at_ = 0;          // the last request's begin or end
    monotonic_ns transaction_began_ = 0;  // of an implicit one too; while there is one
    bool is_counted_ = false;             // in client_counts
    bool has_place_ = false;              // of limits.clients
    bool cancelling_ = false;  // our own cancel request is under way: it must not hit what follows

    // What it has set.
    context context_;
    std::unordered_map<std::string, prepared_ptr, string_hasher, std::equal_to<>> statements_;
    prepared_ptr unnamed_;
    prepared_ptr unnamed_portal_;  // the statement that it runs
    std::unordered_map<std::string, prepared_ptr, string_hasher, std::equal_to<>> portals_;
    identity::claims_ptr claims_;
    plan_context_ptr plan_context_;
    pool::settings_map_ptr claims_session_;  // the maps that claims_ was made from
    pool::settings_map_ptr claims_local_;
    pool::settings_map_ptr plan_context_of_;   // the settings that plan_context_ was made from
    std::uint64_t plan_context_welcome_ = 0;   // and the servers' greeting
    reading reading_ = reading::plain;         // of texts behind what is not settled yet
    bool strings_conform_ = true;              // standard_conforming_strings
    bool encoding_is_utf8_ = true;             // client_encoding
    bool encoding_is_superset_ = true;         // of ASCII, in every byte of a character
    statement_context_ptr statement_context_;  // what decides what a prepared statement means
    statement_context_ptr private_context_;    // in its place, while this transaction differs
    bool local_shape_ = false;                 // from the session's settings
    mutable pool::statement_key private_key_;
    std::string shape_settings_;  // of those, what shapes answers; part of the key

    // Its transaction.
    transaction_place place_ = transaction_place::none;
    std::string held_begin_;                  // the text that the client was told has begun
    bool read_committed_ = true;              // of the transaction; outside: of the next one
    bool reads_committed_by_default_ = true;  // as plan_context_of_ has it
    bool isolation_ended_ = false;            // with its transaction: the default is in force again
    bool transaction_clean_ = true;           // nothing written, locked or set locally in it
    std::vector<coherence::tag> dirty_tags_;
    bool dirty_everything_ = false;
    bool dirty_catalog_ = false;
    bool identity_injected_ = false;  // the server's transaction carries the identity in force
    bool identity_was_sent_ = false;  // an earlier one may: then even an empty one must replace it

    bool looked_for_tls_ = false;   // at the very first byte
    bool delivers_cancel_ = false;  // it stays until PostgreSQL has been signalled
    bool tls_is_direct_ = false;    // without SSLRequest in front
    bool tls_was_asked_ = false;    // by SSLRequest
    bool gss_was_asked_ = false;    // by GSSENCRequest

    // Its server.
    events server_events_;
    pool::server_ptr server_;
    std::bitset<16> pins_;  // by sql::pin_cause
    std::string pin_detail_;
    std::map<sql::pin_cause, std::set<std::string>> pinned_names_;  // channels, cursors, statements
    std::vector<plan_ptr> ran_blind_;  // what pin_cause::unread_catalog stands for
    pool::wait_ticket wait_ticket_;
    std::uint64_t wait_number_ = 0;  // tells a grant that comes late from the one waited for
    monotonic_ns wait_began_ = 0;
    const char* waiting_for_ = nullptr;  // what a waiting request waits for, for SHOW CLIENTS
    bool dressing_ = false;
    bool dressing_ready_ = false;
    bool resynchronising_ = false;
    bool discarding_ = false;  // DISCARD ALL was sent, for the session's mode is to leave nothing
    bool fatal_seen_ = false;  // PostgreSQL has said goodbye; the end of the connection follows
    std::string dressing_error_;    // the server's ErrorResponse to it
    bool in_extended_ = false;      // a Flush was forwarded: the server's batch is open until Sync
    bool skip_until_sync_ = false;  // the open batch failed: client messages are dropped until Sync
    bool copy_in_ = false;          // the server takes CopyData
    bool copy_extended_ = false;    // within the extended protocol
    std::size_t copy_rest_ = 0;     // bytes of a CopyData still to come from the client
    bool copy_ships_ = true;        // and whether they go to the server
    bool local_settings_ = false;   // SET LOCAL in this transaction: names may resolve differently
    std::string waiting_failed_;    // SQLSTATE of why the request stops waiting for a server

    // The request at the front of in_, and the one on the server.
    pending_request pending_;
    front_request& front_;  // as far as it has been read; anew each time it is looked at
    std::vector<naming> namings_;
    std::size_t namings_visible_ = 0;  // those that stand before the message being looked at
    std::size_t namings_done_ = 0;
    std::uint64_t request_number_ = 0;  // tells a late callback from the one that is waited for
    std::unique_ptr<running_request> running_;
    /// A batch that a Flush left open, while nothing of it runs: what it has done is settled with
    /// its Sync.
    std::unique_ptr<running_request> open_batch_;
    std::vector<expectation> expected_;
    std::size_t expected_head_ = 0;
    std::string names_meant_;  // of statements, by what is expected

    /// On the console: statements by name, and what the portal runs.
    struct console_memory {
        std::unordered_map<std::string, std::string> statements;
        std::string portal;
        bool may_act = false;                          // or only SHOW
        std::shared_ptr<std::atomic<bool>> cancelled;  // of the command under way
    };
    std::unique_ptr<console_memory> console_;  // null elsewhere

    std::unique_ptr<replication> replication_;  // null elsewhere

    // The relay's place in the server's stream.
    std::size_t relay_rest_ = 0;   // bytes of the current message still to come
    bool relay_forwards_ = false;  // and whether they go to the client
    int relay_fill_ = -1;
    const char* run_begin_ = nullptr;  // bytes that will go to the client in one piece
    std::size_t run_size_ = 0;
};

}  // namespace postern::session
