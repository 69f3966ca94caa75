// Value or error: how everything outside our control fails. Our own defects assert (assert.hpp).

#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <string>

namespace postern {

using boost::system::error_code;

/// A value, or the error_code that says why there is none.
template <class T>
using result = boost::system::result<T>;

/// An error that a person will read: what happened, where, and what was expected.
struct failure {
    std::string message;
};

/// A value, or a failure to show to a person.
template <class T>
using outcome = boost::system::result<T, failure>;

/// Lets `outcome::value()` throw something legible.
[[noreturn]] void throw_exception_from_error(
    const failure& error,
    const boost::source_location& where);

}  // namespace postern
