// Framing of PostgreSQL's protocol 3: where one message ends and the next begins, split at any
// byte. https://www.postgresql.org/docs/15/protocol-message-formats.html

#pragma once

#include "wire/errc.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace postern::wire {

/// Bytes as they travel. A view says in its owner's comment how long it is valid.
using bytes_view = std::string_view;

/// A tag and a length, already checked against a limit. Five bytes on the wire.
struct message_header {
    static constexpr std::size_t encoded_size = 5;
    char tag = 0;
    std::uint32_t body_size = 0;  ///< without the length field itself
    std::size_t message_size() const noexcept { return encoded_size + body_size; }
};

/// One whole message; views into the buffer it was found in.
struct message {
    char tag = 0;
    bytes_view body;
    bytes_view whole;  ///< header and body, for relaying
};

enum class frame_state : std::uint8_t { complete, incomplete, malformed };

/// Which side's messages: decides which tags are known.
enum class direction : std::uint8_t { from_client, from_server };

struct header_result {
    frame_state state = frame_state::incomplete;
    errc error{};           ///< when malformed
    message_header header;  ///< when complete
};

/// Reads the header at the front of `buffer`. Malformed: unknown tag, or a length below 4 or above
/// the limit; the stream has lost its framing and the connection must be closed.
header_result peek_header(bytes_view buffer, direction from, std::uint32_t body_size_max) noexcept;

struct message_result {
    frame_state state = frame_state::incomplete;
    errc error{};
    wire::message message;
};

/// The whole message at the front of `buffer`, if all of it is there.
message_result peek_message(
    bytes_view buffer,
    direction from,
    std::uint32_t body_size_max) noexcept;

}  // namespace postern::wire
