// What every reader owes: its message is read, no part of it is, and nothing may follow.

#pragma once

#include "wire/frame.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace postern::wire {

/// The body of the one message in `bytes`.
inline bytes_view body_of(std::string_view bytes, direction from, char tag) {
    const message_result found = peek_message(bytes, from, 1 << 20);
    REQUIRE(found.state == frame_state::complete);
    REQUIRE(found.message.whole.size() == bytes.size());
    CHECK(found.message.tag == tag);
    return found.message.body;
}

/// `read` takes a body and returns an errc. Bodies are read from storage of just their size, so
/// that a sanitizer sees any look past the end.
template <class Read>
void check_strictly_read(bytes_view body, Read read) {
    CHECK(read(body) == errc::ok);
    for (std::size_t size = 0; size < body.size(); ++size) {
        CAPTURE(size);
        const std::string cut(body.substr(0, size));
        CHECK(read(bytes_view(cut)) != errc::ok);
    }
    for (const char extra : {'\0', 'x'}) {
        const std::string longer = std::string(body) + extra;
        CHECK(read(bytes_view(longer)) == errc::trailing_bytes);
    }
}

}  // namespace postern::wire
