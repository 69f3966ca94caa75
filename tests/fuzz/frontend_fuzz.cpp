// Arbitrary bytes in a client's place: as its first packet, as a stream of messages, and as the
// body of each message. Nothing may be read past its end, and what was accepted must survive
// writing.

#include "round_trip.hpp"
#include "wire/frontend.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>

namespace postern::wire {
namespace {

void check_startup(bytes_view bytes) {
    const startup_result found = peek_startup(bytes);
    POSTERN_ASSERT((found.state == frame_state::malformed) == (found.error != errc::ok));
    if (found.state != frame_state::complete) return;
    POSTERN_ASSERT(found.packet.size <= bytes.size());
    // Without its last byte it is not there yet.
    const bytes_view cut = bytes.substr(0, found.packet.size - 1);
    POSTERN_ASSERT(peek_startup(cut).state == frame_state::incomplete);

    std::string written;
    switch (found.packet.kind) {
    case startup_kind::startup:
        write_startup(written, found.packet.parameters, found.packet.version);
        break;
    case startup_kind::ssl_request: write_ssl_request(written); break;
    case startup_kind::cancel_request:
        write_cancel_request(written, found.packet.cancel_pid, found.packet.cancel_secret);
        break;
    case startup_kind::gssenc_request: return;  // never asked for by us
    }
    POSTERN_ASSERT(written == bytes.substr(0, found.packet.size));
}

void check_queries(bytes_view body) {
    check_round_trip<std::string_view>(body, read_query, write_query, std::equal_to<>());
    check_round_trip<std::string_view>(body, read_password, write_password, std::equal_to<>());
    check_round_trip<std::string_view>(body, read_copy_fail, write_copy_fail, std::equal_to<>());
    check_round_trip<parse_message>(
        body,
        read_parse,
        [](std::string& out, const parse_message& m) {
            write_parse(out, m.name, m.query, m.parameter_types);
        },
        [](const parse_message& a, const parse_message& b) {
            return std::tie(a.name, a.query, a.parameter_types) ==
                   std::tie(b.name, b.query, b.parameter_types);
        });
    check_round_trip<bind_message>(
        body,
        read_bind,
        [](std::string& out, const bind_message& m) {
            write_bind(out, m.portal, m.statement, m.rest);
        },
        [](const bind_message& a, const bind_message& b) {
            return std::tie(a.portal, a.statement, a.rest, a.parameter_formats, a.values) ==
                       std::tie(b.portal, b.statement, b.rest, b.parameter_formats, b.values) &&
                   a.result_formats == b.result_formats;
        });
    check_round_trip<execute_message>(
        body,
        read_execute,
        [](std::string& out, const execute_message& m) {
            write_execute(out, m.portal, m.rows_max);
        },
        [](const execute_message& a, const execute_message& b) {
            return a.portal == b.portal && a.rows_max == b.rows_max;
        });
}

void check_others(bytes_view body) {
    const auto same_target = [](const target_message& a, const target_message& b) {
        return a.kind == b.kind && a.name == b.name;
    };
    check_round_trip<target_message>(
        body,
        read_target,
        [](std::string& out, const target_message& m) { write_describe(out, m.kind, m.name); },
        same_target);
    check_round_trip<target_message>(
        body,
        read_target,
        [](std::string& out, const target_message& m) { write_close(out, m.kind, m.name); },
        same_target);
    check_round_trip<function_call_message>(
        body,
        read_function_call,
        write_function_call,
        [](const function_call_message& a, const function_call_message& b) {
            return std::tie(a.function, a.argument_formats, a.arguments, a.result_format) ==
                   std::tie(b.function, b.argument_formats, b.arguments, b.result_format);
        });
    sasl_initial_message initial;
    // Only with a response: one without is read, but never written by us.
    if (read_sasl_initial(body, initial) == errc::ok && initial.response) {
        std::string written;
        write_sasl_initial(written, initial.mechanism, *initial.response);
        POSTERN_ASSERT(bytes_view(written).substr(message_header::encoded_size) == body);
    }
}

}  // namespace
}  // namespace postern::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::wire;
    const bytes_view bytes(reinterpret_cast<const char*>(data), size);
    check_startup(bytes);
    check_framing(bytes, direction::from_client);
    check_queries(bytes);
    check_others(bytes);
    bytes_view rest = bytes;
    for (;;) {
        const message_result found = peek_message(rest, direction::from_client, fuzz_body_size_max);
        if (found.state != frame_state::complete) return 0;
        check_queries(found.message.body);
        check_others(found.message.body);
        rest.remove_prefix(found.message.whole.size());
    }
}
