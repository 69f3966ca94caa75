// What is known of pg_catalog's own functions and types beyond what pg_proc says of them.

#pragma once

#include <cstdint>
#include <string_view>

namespace postern::catalog {

/// What calling one of pg_catalog's functions means for the cache.
enum class builtin_effect : std::uint8_t {
    pure,             ///< its result depends on its arguments and on settings that are in the key
    session,          ///< STABLE, and depends on something that no key holds
    changes_nothing,  ///< VOLATILE, yet writes nothing that a cached answer could show
    session_lock,     ///< takes an advisory lock that outlives the transaction
    session_setting,  ///< changes a setting that nobody can name
    unknown           ///< VOLATILE, and could run any SQL
};

/// `volatility` is the worst pg_proc.provolatile among the overloads of `name`.
builtin_effect judge_builtin(std::string_view name, char volatility) noexcept;

enum class builtin_type : std::uint8_t {
    plain,    ///< input and output depend on the value and on settings that are in the key
    catalog,  ///< regclass and its kin: input or output look into the system catalogs
    unknown
};

/// `name` as a type of pg_catalog, in PostgreSQL's internal spelling ("int4", "timestamptz").
builtin_type judge_builtin_type(std::string_view name) noexcept;

}  // namespace postern::catalog
