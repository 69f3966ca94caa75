#include "wire/frame.hpp"

#include "wire/byte_order.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace postern::wire {
namespace {

// Per tag, the largest length field (which counts itself) that may be believed; 0: no such message.
using length_limits = std::array<std::uint32_t, 256>;

constexpr std::uint32_t length_size = 4;
// Bounded by the caller's limit alone.
constexpr std::uint32_t large = std::numeric_limits<std::uint32_t>::max();
// PostgreSQL's own PQ_SMALL_MESSAGE_LIMIT: names and row counts never need more, and a peer that
// has lost its framing is found out sooner.
constexpr std::uint32_t small = 10000;
// Messages without a body, and those of one byte: any other length means lost framing.
constexpr std::uint32_t empty = length_size;
constexpr std::uint32_t one_byte = length_size + 1;

constexpr void set(length_limits& limits, std::string_view tags, std::uint32_t length_max) {
    for (const char tag : tags) {
        limits[static_cast<unsigned char>(tag)] = length_max;
    }
}

constexpr length_limits client_limits = [] {
    length_limits limits{};
    set(limits, "BdFpPQ", large);
    set(limits, "CcfDEHSX", small);
    return limits;
}();

constexpr length_limits server_limits = [] {
    length_limits limits{};
    set(limits, "RKCdGHWDEVvNAtST", large);
    set(limits, "23cIn1s", empty);
    set(limits, "Z", one_byte);
    return limits;
}();

[[gnu::cold, gnu::noinline]] errc why_malformed(
    std::uint32_t tag_limit,
    std::uint32_t length) noexcept {
    if (tag_limit == 0) return errc::unknown_tag;
    return length < length_size ? errc::length_too_small : errc::length_too_large;
}

}  // namespace

header_result peek_header(bytes_view buffer, direction from, std::uint32_t body_size_max) noexcept {
    header_result result;
    if (buffer.empty()) return result;

    const char tag = buffer.front();
    const length_limits& limits = from == direction::from_client ? client_limits : server_limits;
    const std::uint32_t tag_limit = limits[static_cast<unsigned char>(tag)];
    if (buffer.size() < message_header::encoded_size) {
        if (tag_limit == 0) {
            result.state = frame_state::malformed;
            result.error = errc::unknown_tag;
        }
        return result;
    }

    const std::uint32_t length = load_uint32(&buffer[1]);
    const std::uint32_t body_size = length - length_size;
    if (length < length_size || length > tag_limit || body_size > body_size_max) [[unlikely]] {
        result.state = frame_state::malformed;
        result.error = why_malformed(tag_limit, length);
        return result;
    }
    result.state = frame_state::complete;
    result.header = {tag, body_size};
    return result;
}

message_result peek_message(
    bytes_view buffer,
    direction from,
    std::uint32_t body_size_max) noexcept {
    const header_result peeked = peek_header(buffer, from, body_size_max);
    message_result result;
    result.state = peeked.state;
    result.error = peeked.error;
    if (peeked.state != frame_state::complete) return result;

    const std::size_t size = peeked.header.message_size();
    if (buffer.size() < size) {
        result.state = frame_state::incomplete;
        return result;
    }
    result.message.tag = peeked.header.tag;
    result.message.whole = bytes_view(buffer.data(), size);
    result.message.body = result.message.whole;
    result.message.body.remove_prefix(message_header::encoded_size);
    return result;
}

}  // namespace postern::wire
