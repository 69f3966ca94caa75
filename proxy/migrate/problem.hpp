// What went wrong with a migration, told so that a DBA can act on it: where, what, and PostgreSQL's
// own words when it was PostgreSQL that refused.

#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>

#include <cstdint>
#include <string>

namespace postern::migrate {

enum class problem_kind : std::uint8_t {
    usage,         ///< the command line asks for what can't be
    file,          ///< a file's name, header or text is not right
    drift,         ///< a file is no longer what was applied
    missing,       ///< what was applied has no file
    out_of_order,  ///< a version is pending below one that is applied
    unmet,         ///< a `requires` is not met
    dirty,         ///< something was left half done, and only a person can tell how far
    irreversible,  ///< there is no way back, or one that loses data and was not asked for
    locked,        ///< another migration is running
    connection,    ///< the database can't be reached, or was lost
    sql,           ///< PostgreSQL refused a statement
    verify,        ///< a verify file says that the migration is not in place
    stopped        ///< a signal asked to stop; the next run goes on from here
};

/// Stable, for JSON: "out_of_order".
const char* to_string(problem_kind kind) noexcept;

/// Copyable; nothing in it refers elsewhere. Empty and 0 mean "does not apply".
struct problem {
    problem_kind kind = problem_kind::usage;
    std::string message;
    std::string file = {};
    unsigned line = 0;          ///< counted from 1
    unsigned statement = 0;     ///< counted from 1 within the file
    std::string sqlstate = {};  ///< five characters
    std::string detail = {};    ///< PostgreSQL's DETAIL
    std::string hint = {};      ///< PostgreSQL's HINT, or what to do
    std::string context = {};   ///< PostgreSQL's CONTEXT
    std::string summary = {};   ///< the statement's first words
    unsigned position = 0;      ///< where in the statement, in characters from 1

    /// Several lines, the first of which is "file:line: statement n: message".
    std::string to_text() const;
};

/// A value, or why there is none.
template <class T>
using answer = boost::system::result<T, problem>;

/// Lets `answer::value()` throw something legible.
[[noreturn]] void throw_exception_from_error(
    const problem& error,
    const boost::source_location& where);

}  // namespace postern::migrate
