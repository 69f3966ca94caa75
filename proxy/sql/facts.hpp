// What a statement's text says it does: reads, writes, session effects. Names only; the catalog
// resolves them (catalog/footprint.hpp). Facts belong to a statement's shape, DESIGN §4.

#pragma once

#include "base/reason.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::sql {

enum class statement_kind : std::uint8_t {
    select,  ///< SELECT, VALUES, TABLE, WITH … SELECT
    insert,
    update,
    delete_,
    merge,
    copy_from,
    copy_to,
    explain,   ///< with or without ANALYZE; the inner statement's facts are merged in
    begin,     ///< BEGIN, START TRANSACTION
    commit,    ///< COMMIT, END
    rollback,  ///< ROLLBACK, ABORT
    savepoint,
    release_savepoint,
    rollback_to_savepoint,
    prepare_transaction,
    commit_prepared,
    rollback_prepared,
    set,  ///< SET, RESET, SET LOCAL, RESET ALL, SET SESSION CHARACTERISTICS, SET ROLE …
    set_transaction,
    show,
    discard,
    listen,
    unlisten,
    notify,
    prepare,  ///< SQL PREPARE; the inner statement's facts are merged in
    execute,  ///< SQL EXECUTE; what it runs is not visible in the text
    deallocate,
    declare_cursor,
    fetch,
    close_cursor,
    lock_table,
    truncate,
    ddl,          ///< anything that changes the catalog
    maintenance,  ///< VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT: changes no answer
    call,
    do_block,
    load,
    not_understood
};

enum class access : std::uint8_t { read, insert, update, delete_, truncate, lock };

/// A relation as the text names it. CTE names are already taken out.
struct relation_use {
    std::string schema;  ///< empty: search_path decides
    std::string name;
    access how = access::read;
    friend bool operator==(const relation_use&, const relation_use&) = default;
};

/// A function as the text calls it. Calls that the text can prove harmless or harmful by themselves
/// (current_user, set_config with constants …) are reported as such and are *not* listed here.
struct function_use {
    std::string schema;  ///< empty: search_path decides
    std::string name;
    friend bool operator==(const function_use&, const function_use&) = default;
};

/// An operator or a type by name, as the text writes it.
struct name_use {
    std::string schema;
    std::string name;
    friend bool operator==(const name_use&, const name_use&) = default;
};

/// One change of a setting, in the order in which the statement makes them.
struct setting_change {
    enum class action : std::uint8_t {
        assign,     ///< value is what set_config() would take: lists flattened as PostgreSQL does
        reset,      ///< RESET name, SET name TO DEFAULT
        reset_all,  ///< RESET ALL
    };
    action what = action::assign;
    bool local = false;  ///< SET LOCAL, or set_config(…, true)
    std::string
        name;  ///< lower case; "role", "session_authorization", "timezone" as PostgreSQL names them
    std::string value;
    /// For set_config($1, $2, …): 1-based parameter numbers that supply name and value, 0 =
    /// constant.
    std::uint16_t name_parameter = 0;
    std::uint16_t value_parameter = 0;
};

/// Why a session must keep its server after this statement succeeded.
enum class pin_cause : std::uint8_t {
    none,
    listen,
    temporary_object,
    advisory_lock,
    with_hold_cursor,
    load,
    sql_prepare,
    unknown_setting,  ///< set_config that can't be seen through, SET SEED …
    unknown_effect,   ///< DO, CALL, functions nobody vouched for
    unread_catalog,   ///< ran while the catalog was being read: whether it pins shows afterwards
};

/// Name of a cause as SHOW CLIENTS prints it, for example "temporary object". Lives forever.
std::string_view name(pin_cause cause) noexcept;

struct statement_facts {
    statement_kind kind = statement_kind::not_understood;

    /// reason::none when the text alone does not speak against caching; only a select can have
    /// that.
    reason why_not = reason::not_understood;
    std::string why_not_detail;  ///< what spoke against it: a function's name, a clause

    std::vector<relation_use> relations;  ///< every relation named, with the strongest access first
    std::vector<function_use> functions;  ///< to be judged by the catalog
    std::vector<name_use> operators;      ///< distinct operator names used
    std::vector<name_use> types;          ///< distinct type names cast to or declared
    std::vector<std::string> current_settings;  ///< names read by current_setting('constant')
    /// Distinct last parts of qualified column references and field selections: `t.f` and `(x).f`
    /// call the function f(t) where t has no such column (manual §4.2.4, functional notation).
    std::vector<std::string> attributes;

    /// A SELECT that changes nothing and, run twice on one snapshot within one transaction, answers
    /// alike, as far as the text says: whatever speaks against caching it, it is the time or the
    /// session.
    bool repeatable = true;
    bool writes_everything = false;  ///< must count as having written every table
    bool changes_catalog = false;    ///< DDL: the catalog snapshot is out of date once it commits
    bool takes_locks = false;  ///< FOR UPDATE …, LOCK TABLE: the transaction is no longer clean
    bool refuses_transaction = false;  ///< VACUUM, CREATE DATABASE, CREATE INDEX CONCURRENTLY …
    bool is_multi_row_copy =
        false;  ///< COPY … FROM STDIN or TO STDOUT: the copy sub-protocol follows

    std::vector<setting_change> settings;
    /// Settings that the statement may change in a way that can't be followed (a set_config() that
    /// runs any number of times): lower case, empty where not even the name is known.
    std::vector<std::string> hidden_settings;
    /// The statement is exactly a SELECT of set_config() calls and nothing else, so that it can be
    /// answered without a server when all its settings are identity settings.
    bool only_set_config = false;
    std::vector<std::string> output_names;  ///< of only_set_config: its columns' names
    pin_cause pin = pin_cause::none;
    std::string pin_detail;  ///< for example the function's name

    // Transaction control.
    std::string isolation;   ///< of BEGIN or SET TRANSACTION, lower case; empty: not said
    bool read_only = false;  ///< BEGIN READ ONLY
    bool has_transaction_modes = false;  ///< BEGIN said anything beyond READ COMMITTED READ WRITE
    bool chain = false;                  ///< COMMIT/ROLLBACK AND CHAIN

    /// Savepoint, prepared statement (PREPARE, EXECUTE, DEALLOCATE; empty = ALL), cursor, channel.
    std::string object_name;
    /// Names of prepared statements wherever they stand: EXPLAIN and CREATE TABLE AS take an
    /// EXECUTE too.
    std::vector<std::string> prepared_names;

    /// CommandComplete's tag where the session may answer itself (BEGIN, COMMIT, SET …).
    std::string command_tag;
};

/// Facts of a whole text: one statement, several (simple Query), or none (an empty query).
struct text_facts {
    std::vector<statement_facts> statements;
    /// libpg_query's fingerprint; equal for texts that differ in constants only. 0: not parsed.
    std::uint64_t fingerprint = 0;
    /// False: nothing in `statements` may be believed; forward, everything written, pin
    /// unknown_effect.
    bool understood = false;
};

/// One text's analysis: the facts of its shape and what its own constants add.
struct analysis {
    std::shared_ptr<const text_facts> facts;
    /// A constant in this very text is one whose meaning depends on the time ('now', 'today' …).
    bool has_time_constant = false;
    /// What a leading comment /* postern:… */ says; "bypass" is the one known word.
    bool hint_bypass = false;
    /// False: a text without a shape that has come for the first time. The next one gets another
    /// analysis, so that nobody will look for what is derived from this one.
    bool kept = true;
    /// Unique among all analyses that this process ever made; a cheap key for what is derived from
    /// it.
    std::uint64_t id = 0;
};

using analysis_ptr = std::shared_ptr<const analysis>;

/// Whether what is not cached for this reason answers alike when it is run twice within one
/// transaction. `detail` is the function's name where the reason is one.
bool is_repeatable(reason why, std::string_view detail) noexcept;

}  // namespace postern::sql
