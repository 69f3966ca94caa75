// How bytes can fail to be PostgreSQL's protocol.

#pragma once

#include <cstdint>
#include <string_view>

namespace postern::wire {

enum class errc : std::uint8_t {
    ok = 0,
    unknown_tag,          ///< no message has this tag in this direction
    length_too_small,     ///< a length field must count its own four bytes
    length_too_large,     ///< above the limit for this message
    truncated,            ///< a field reaches past the end of its message
    trailing_bytes,       ///< the message goes on after its last field
    missing_terminator,   ///< a string without its zero byte
    bad_count,            ///< a negative or impossible number of elements
    bad_value,            ///< a field holds a value that the protocol does not know
    unsupported_version,  ///< a startup packet for a major version other than 3
};

/// One sentence for logs and ErrorResponses. Lives forever.
std::string_view describe(errc error) noexcept;

}  // namespace postern::wire
