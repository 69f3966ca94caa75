// The first packet of a connection, which has a length but no tag.
// https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.3

#include "wire/frontend.hpp"
#include "wire/reader.hpp"

namespace postern::wire {
namespace {

constexpr std::uint32_t startup_size_min = 8;
constexpr std::uint32_t protocol_major = 3;
constexpr std::size_t cancel_secret_size_min = 4;
constexpr std::size_t cancel_secret_size_max = 256;

startup_result malformed(errc error) {
    startup_result result;
    result.state = frame_state::malformed;
    result.error = error;
    return result;
}

errc read_parameters(reader& in, startup_packet& into) {
    for (;;) {
        const std::string_view name = in.string();
        if (!in.ok() || name.empty()) return in.finish();
        const std::string_view value = in.string();
        into.parameters.emplace_back(name, value);
    }
}

errc read_cancel(reader& in, startup_packet& into) {
    into.kind = startup_kind::cancel_request;
    into.cancel_pid = in.int32();
    into.cancel_secret = in.rest();
    if (!in.ok() || into.cancel_secret.size() < cancel_secret_size_min) return errc::truncated;
    return into.cancel_secret.size() > cancel_secret_size_max ? errc::length_too_large : errc::ok;
}

errc read_packet(reader& in, startup_packet& into) {
    const std::uint32_t code = in.uint32();
    switch (code) {
    case ssl_request_code: into.kind = startup_kind::ssl_request; return in.finish();
    case gssenc_request_code: into.kind = startup_kind::gssenc_request; return in.finish();
    case cancel_request_code: return read_cancel(in, into);
    default: break;
    }
    into.kind = startup_kind::startup;
    into.version = code;
    if (code >> 16 != protocol_major) return errc::unsupported_version;
    return read_parameters(in, into);
}

}  // namespace

startup_result peek_startup(bytes_view buffer) {
    if (buffer.size() < 4) return {};
    // Judged at once: a peer that speaks something else must not keep us waiting for its bytes.
    const std::uint32_t length = load_uint32(&buffer.front());
    if (length < startup_size_min) return malformed(errc::length_too_small);
    if (length > startup_size_max) return malformed(errc::length_too_large);
    if (buffer.size() < length) return {};

    startup_result result;
    result.packet.size = length;
    reader in(buffer.substr(4, length - 4));
    result.error = read_packet(in, result.packet);
    result.state = result.error == errc::ok ? frame_state::complete : frame_state::malformed;
    return result;
}

}  // namespace postern::wire
