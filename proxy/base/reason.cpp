#include "base/reason.hpp"

#include <array>

namespace postern {

namespace {

struct words {
    std::string_view code;
    std::string_view sentence;
};

constexpr std::array<words, reason_count> table{{
    {"none", "Nothing speaks against caching."},
    {"hit_near", "Answered from this process's memory."},
    {"hit_redis", "Answered from Redis."},
    {"miss", "Cacheable, not there: asked PostgreSQL and kept the answer."},
    {"joined_flight", "Waited for another session's identical read in flight."},
    {"not_understood", "The statement could not be parsed or holds an unknown construct."},
    {"not_a_select", "Writes, utility commands and transaction control are never cached."},
    {"several_statements", "More than one statement in a simple Query."},
    {"writes", "A SELECT that changes data (data-modifying CTE, SELECT INTO)."},
    {"locking_clause", "FOR UPDATE, FOR SHARE and their kin take locks."},
    {"volatile_function", "Calls a function that is VOLATILE."},
    {"time_dependent", "Now(), CURRENT_DATE and their kin."},
    {"time_dependent_constant", "A constant such as 'now' or 'today' that depends on the time."},
    {"session_dependent", "Current_user, current_setting() and their kin."},
    {"user_function", "Calls a function that no rule vouches for."},
    {"unknown_function", "Calls a function that the catalog does not know."},
    {"unknown_operator", "Uses an operator that is not PostgreSQL's own."},
    {"unknown_type", "Names a type that is neither PostgreSQL's own nor an enum."},
    {"unknown_relation", "Names a relation that the catalog does not know."},
    {"system_catalog", "Reads pg_catalog or information_schema."},
    {"not_a_table", "Reads a foreign table, materialized view, sequence or temporary table."},
    {"view_not_understood", "Reads a view whose definition could not be followed."},
    {"policy_not_understood", "A row-level security policy could not be followed."},
    {"table_sample", "TABLESAMPLE draws differently each time."},
    {"system_column", "Reads ctid, xmin or another system column."},
    {"no_rule", "No cache rule matches."},
    {"rule_disabled", "The matching rule has mode: disabled."},
    {"rule_bypass", "The matching rule says bypass."},
    {"rule_observe", "The matching rule only observes."},
    {"hint_bypass", "A leading comment /* postern:bypass */."},
    {"session_bypass", "SET postern.cache = bypass."},
    {"transaction_has_written", "The transaction has written, locked or changed a setting."},
    {"isolation_level", "Not READ COMMITTED."},
    {"failed_transaction", "The transaction has failed; PostgreSQL answers 25P02."},
    {"fenced", "A write on one of its tables is in flight."},
    {"too_large", "The statement or its answer is larger than the limit."},
    {"partial_fetch", "Asks for a limited number of rows, or uses a cursor or named portal."},
    {"pinned_session", "The session holds temporary or unknown state on its server."},
    {"pipeline", "Stands in a batch with statements that must go to the server."},
    {"raced_with_write", "A write moved the versions while the answer was fetched."},
    {"unclean_answer", "The answer held an error, a notice or a changed setting."},
    {"catalog_stale", "The catalog snapshot is being renewed."},
    {"cache_off", "The cache is switched off in the configuration."},
    {"parameter_unsupported", "Parameters whose meaning can't be proven constant."},
    {"identity_not_injectable", "The identity could not be put under the statement."},
}};

static_assert(!table.back().code.empty(), "every reason needs its words");

}  // namespace

std::string_view code(reason why) noexcept {
    return table[static_cast<std::size_t>(why)].code;
}

std::string_view sentence(reason why) noexcept {
    return table[static_cast<std::size_t>(why)].sentence;
}

}  // namespace postern
