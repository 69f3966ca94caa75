// Why a statement was, or was not, served from the cache: the stable codes that `postern explain`,
// `SHOW CACHE WHY` and the metrics share.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace postern {

/// One stable reason for the fate of a statement. Codes (code()) are an interface: they are never
/// renamed or reused; new ones go to the end.
enum class reason : std::uint8_t {
    none,                     ///< nothing speaks against caching
    hit_near,                 ///< answered from this process's memory
    hit_redis,                ///< answered from Redis
    miss,                     ///< cacheable, not there: asked PostgreSQL and kept the answer
    joined_flight,            ///< waited for another session's identical read in flight
    not_understood,           ///< the statement could not be parsed or holds an unknown construct
    not_a_select,             ///< writes, utility commands and transaction control are never cached
    several_statements,       ///< more than one statement in a simple Query
    writes,                   ///< a SELECT that changes data (data-modifying CTE, SELECT INTO)
    locking_clause,           ///< FOR UPDATE, FOR SHARE and their kin take locks
    volatile_function,        ///< calls a function that is VOLATILE
    time_dependent,           ///< now(), CURRENT_DATE and their kin
    time_dependent_constant,  ///< a constant such as 'now' or 'today' that depends on the time
    session_dependent,        ///< current_user, current_setting() and their kin
    user_function,            ///< calls a function that no rule vouches for
    unknown_function,         ///< calls a function that the catalog does not know
    unknown_operator,         ///< uses an operator that is not PostgreSQL's own
    unknown_type,             ///< names a type that is neither PostgreSQL's own nor an enum
    unknown_relation,         ///< names a relation that the catalog does not know
    system_catalog,           ///< reads pg_catalog or information_schema
    not_a_table,          ///< reads a foreign table, materialized view, sequence or temporary table
    view_not_understood,  ///< reads a view whose definition could not be followed
    policy_not_understood,    ///< a row-level security policy could not be followed
    table_sample,             ///< TABLESAMPLE draws differently each time
    system_column,            ///< reads ctid, xmin or another system column
    no_rule,                  ///< no cache rule matches
    rule_disabled,            ///< the matching rule has mode: disabled
    rule_bypass,              ///< the matching rule says bypass
    rule_observe,             ///< the matching rule only observes
    hint_bypass,              ///< a leading comment /* postern:bypass */
    session_bypass,           ///< SET postern.cache = bypass
    transaction_has_written,  ///< the transaction has written, locked or changed a setting
    isolation_level,          ///< not READ COMMITTED
    failed_transaction,       ///< the transaction has failed; PostgreSQL answers 25P02
    fenced,                   ///< a write on one of its tables is in flight
    too_large,                ///< the statement or its answer is larger than the limit
    partial_fetch,          ///< asks for a limited number of rows, or uses a cursor or named portal
    pinned_session,         ///< the session holds temporary or unknown state on its server
    pipeline,               ///< stands in a batch with statements that must go to the server
    raced_with_write,       ///< a write moved the versions while the answer was fetched
    unclean_answer,         ///< the answer held an error, a notice or a changed setting
    catalog_stale,          ///< the catalog snapshot is being renewed
    cache_off,              ///< the cache is switched off in the configuration
    parameter_unsupported,  ///< parameters whose meaning can't be proven constant
    identity_not_injectable,  ///< the identity could not be put under the statement
    count_
};

inline constexpr std::size_t reason_count = static_cast<std::size_t>(reason::count_);

/// The stable code, such as "hit_near". Lives forever.
std::string_view code(reason why) noexcept;

/// One sentence for people. Lives forever.
std::string_view sentence(reason why) noexcept;

}  // namespace postern
