// Arbitrary bytes in a server's place: as a stream of messages, and as the body of each message.
// Nothing may be read past its end, and what was accepted must survive writing.

#include "round_trip.hpp"
#include "wire/backend.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace postern::wire {
namespace {

using values = std::vector<std::optional<std::string_view>>;
using texts = std::vector<std::string_view>;

void check_rows(bytes_view body) {
    check_round_trip<values>(body, read_data_row, write_data_row, std::equal_to<>());
    check_round_trip<std::vector<field_description>>(
        body,
        read_row_description,
        write_row_description,
        [](const auto& a, const auto& b) {
            const auto all = [](const field_description& f) {
                return std::tie(
                    f.name,
                    f.table,
                    f.column,
                    f.type,
                    f.type_size,
                    f.type_modifier,
                    f.format);
            };
            return std::equal(
                a.begin(),
                a.end(),
                b.begin(),
                b.end(),
                [&](const auto& x, const auto& y) { return all(x) == all(y); });
        });
    check_round_trip<std::vector<std::uint32_t>>(
        body,
        read_parameter_description,
        write_parameter_description,
        std::equal_to<>());
    check_round_trip<std::optional<std::string_view>>(
        body,
        read_function_call_response,
        write_function_call_response,
        std::equal_to<>());
    check_round_trip<std::string_view>(
        body,
        read_command_complete,
        write_command_complete,
        std::equal_to<>());
    check_round_trip<copy_response>(
        body,
        read_copy_response,
        [](std::string& out, const copy_response& m) { write_copy_response(out, 'G', m); },
        [](const copy_response& a, const copy_response& b) {
            return a.format == b.format && a.column_formats == b.column_formats;
        });
}

void check_login(bytes_view body) {
    check_round_trip<authentication_message>(
        body,
        read_authentication,
        [](std::string& out, const authentication_message& m) {
            write_authentication(out, static_cast<authentication>(m.code), m.data);
        },
        [](const auto& a, const auto& b) { return a.code == b.code && a.data == b.data; });
    texts mechanisms;
    if (read_sasl_mechanisms(body, mechanisms) == errc::ok) {
        std::string written;
        write_sasl_mechanisms(written, mechanisms);
        POSTERN_ASSERT(bytes_view(written).substr(message_header::encoded_size + 4) == body);
    }
    using key = std::pair<std::int32_t, std::string_view>;
    check_round_trip<key>(
        body,
        [](bytes_view from, key& m) { return read_backend_key_data(from, m.first, m.second); },
        [](std::string& out, const key& m) { write_backend_key_data(out, m.first, m.second); },
        std::equal_to<>());
    using negotiation = std::pair<std::uint32_t, texts>;
    check_round_trip<negotiation>(
        body,
        [](bytes_view from, negotiation& m) {
            return read_negotiate_protocol_version(from, m.first, m.second);
        },
        [](std::string& out, const negotiation& m) {
            write_negotiate_protocol_version(out, m.first, m.second);
        },
        std::equal_to<>());
}

void check_asides(bytes_view body) {
    using status = std::pair<std::string_view, std::string_view>;
    check_round_trip<status>(
        body,
        [](bytes_view from, status& m) { return read_parameter_status(from, m.first, m.second); },
        [](std::string& out, const status& m) { write_parameter_status(out, m.first, m.second); },
        std::equal_to<>());
    check_round_trip<transaction_status>(
        body,
        read_ready_for_query,
        write_ready_for_query,
        std::equal_to<>());
    check_round_trip<notification_message>(
        body,
        read_notification,
        write_notification,
        [](const auto& a, const auto& b) {
            return std::tie(a.pid, a.channel, a.payload) == std::tie(b.pid, b.channel, b.payload);
        });
    // Only the fields that we write ourselves come back.
    check_round_trip<error_fields>(
        body,
        read_error,
        [](std::string& out, const error_fields& m) {
            write_error(out, m.severity, m.code, m.message, m.detail, m.hint);
        },
        [](const error_fields& a, const error_fields& b) {
            return std::tie(a.severity, a.code, a.message, a.detail, a.hint) ==
                   std::tie(b.severity, b.code, b.message, b.detail, b.hint);
        });
}

void check_body(bytes_view body) {
    check_rows(body);
    check_login(body);
    check_asides(body);
}

}  // namespace
}  // namespace postern::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::wire;
    const bytes_view bytes(reinterpret_cast<const char*>(data), size);
    check_framing(bytes, direction::from_server);
    check_body(bytes);
    bytes_view rest = bytes;
    for (;;) {
        const message_result found = peek_message(rest, direction::from_server, fuzz_body_size_max);
        if (found.state != frame_state::complete) return 0;
        check_body(found.message.body);
        rest.remove_prefix(found.message.whole.size());
    }
}
