// What the fuzzers of both directions share: a stream is framed alike however it is cut, and what a
// reader accepted and a writer wrote again reads equal.

#pragma once

#include "base/assert.hpp"
#include "wire/frame.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace postern::wire {

inline constexpr std::uint32_t fuzz_body_size_max = 1 << 16;

/// Frames `stream` with only its first `available` bytes at hand, then one more, and so on.
inline void check_framing(bytes_view stream, direction from) {
    std::vector<std::size_t> ends;
    std::size_t offset = 0;
    message_result last;
    while ((last = peek_message(stream.substr(offset), from, fuzz_body_size_max)).state ==
           frame_state::complete) {
        POSTERN_ASSERT(last.message.whole.data() == stream.data() + offset);
        offset += last.message.whole.size();
        ends.push_back(offset);
    }

    offset = 0;
    std::size_t next = 0;
    for (std::size_t available = 0; available <= stream.size(); ++available) {
        const bytes_view buffer = stream.substr(offset, available - offset);
        const message_result found = peek_message(buffer, from, fuzz_body_size_max);
        if (found.state == frame_state::malformed) {
            POSTERN_ASSERT(last.state == frame_state::malformed && last.error == found.error);
            POSTERN_ASSERT(next == ends.size());
            return;
        }
        if (found.state == frame_state::incomplete) continue;
        offset += found.message.whole.size();
        POSTERN_ASSERT(next < ends.size() && ends[next] == offset);
        ++next;
    }
    POSTERN_ASSERT(next == ends.size() && last.state == frame_state::incomplete);
}

/// `read(body, message)` returns an errc; `write(out, message)` appends one whole message;
/// `equal(a, b)` compares two.
template <class Message, class Read, class Write, class Equal>
void check_round_trip(bytes_view body, Read read, Write write, Equal equal) {
    Message first;
    if (read(body, first) != errc::ok) return;
    std::string written;
    write(written, first);
    POSTERN_ASSERT(written.size() >= message_header::encoded_size);
    Message second;
    const bytes_view again = bytes_view(written).substr(message_header::encoded_size);
    POSTERN_ASSERT(read(again, second) == errc::ok);
    POSTERN_ASSERT(equal(first, second));
}

}  // namespace postern::wire
