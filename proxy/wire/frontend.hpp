// What clients send: startup packets and frontend messages, read and written.
// Views point into the bytes they were read from. Every reader checks every length and refuses
// trailing bytes; writers append to `out`.

#pragma once

#include "base/result.hpp"
#include "wire/frame.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::wire {

inline constexpr std::uint32_t protocol_3_0 = 196608;
inline constexpr std::uint32_t protocol_3_1 = 196609;  ///< of no PostgreSQL
inline constexpr std::uint32_t protocol_3_2 = 196610;  ///< of PostgreSQL 18: long cancel keys
inline constexpr std::uint32_t protocol_latest = protocol_3_2;
inline constexpr std::uint32_t ssl_request_code = 80877103;
inline constexpr std::uint32_t gssenc_request_code = 80877104;
inline constexpr std::uint32_t cancel_request_code = 80877102;
/// PostgreSQL's own MAX_STARTUP_PACKET_LENGTH.
inline constexpr std::uint32_t startup_size_max = 10000;

enum class startup_kind : std::uint8_t { startup, ssl_request, gssenc_request, cancel_request };

struct startup_packet {
    startup_kind kind = startup_kind::startup;
    std::uint32_t version = 0;  ///< of a startup: major << 16 | minor
    std::vector<std::pair<std::string_view, std::string_view>> parameters;
    std::int32_t cancel_pid = 0;
    std::string_view cancel_secret;  ///< 4 bytes in protocol 3.0, up to 256 in 3.2
    std::size_t size = 0;            ///< bytes of the packet
};
struct startup_result {
    frame_state state = frame_state::incomplete;
    errc error{};
    startup_packet packet;
};
/// Reads the first packet of a connection, which has no tag.
startup_result peek_startup(bytes_view buffer);

struct parse_message {
    std::string_view name;
    std::string_view query;
    std::vector<std::uint32_t> parameter_types;
};
struct bind_message {
    std::string_view portal;
    std::string_view statement;
    /// The body after the two names, as it came: formats, values, result formats. Part of the key.
    bytes_view rest;
    std::vector<std::int16_t> parameter_formats;          ///< none, one for all, or one each
    std::vector<std::optional<std::string_view>> values;  ///< nullopt: NULL
    std::vector<std::int16_t> result_formats;             ///< none, one for all, or one each
};
struct target_message {  ///< Describe and Close
    char kind = 'S';     ///< 'S' statement, 'P' portal
    std::string_view name;
};
struct execute_message {
    std::string_view portal;
    std::uint32_t rows_max = 0;  ///< 0: all
};

/// The vectors of `into` are reused, so that a warm reader does not allocate.
errc read_parse(bytes_view body, parse_message& into);
errc read_bind(bytes_view body, bind_message& into);
errc read_target(bytes_view body, target_message& into);
errc read_execute(bytes_view body, execute_message& into);
errc read_query(bytes_view body, std::string_view& text);
/// Password, SASLInitialResponse and SASLResponse share the tag 'p'.
errc read_password(bytes_view body, std::string_view& password);
struct sasl_initial_message {
    std::string_view mechanism;
    std::optional<std::string_view> response;
};
errc read_sasl_initial(bytes_view body, sasl_initial_message& into);
struct function_call_message {
    std::uint32_t function = 0;
    std::vector<std::int16_t> argument_formats;
    std::vector<std::optional<std::string_view>> arguments;
    std::int16_t result_format = 0;
};
errc read_function_call(bytes_view body, function_call_message& into);
errc read_copy_fail(bytes_view body, std::string_view& message);

void write_startup(
    std::string& out,
    std::span<const std::pair<std::string_view, std::string_view>> parameters,
    std::uint32_t version = protocol_3_0);
void write_ssl_request(std::string& out);
void write_cancel_request(std::string& out, std::int32_t pid, std::string_view secret);
void write_password(std::string& out, std::string_view password);
void write_sasl_initial(std::string& out, std::string_view mechanism, std::string_view response);
void write_sasl_response(std::string& out, std::string_view response);
void write_query(std::string& out, std::string_view text);
void write_parse(
    std::string& out,
    std::string_view name,
    std::string_view query,
    std::span<const std::uint32_t> parameter_types);
/// `rest` as in bind_message::rest.
void write_bind(
    std::string& out,
    std::string_view portal,
    std::string_view statement,
    bytes_view rest);
/// All parameters in text format, all results in text format.
void write_bind_text(
    std::string& out,
    std::string_view portal,
    std::string_view statement,
    std::span<const std::optional<std::string_view>> values);
void write_describe(std::string& out, char kind, std::string_view name);
void write_close(std::string& out, char kind, std::string_view name);
void write_execute(std::string& out, std::string_view portal, std::uint32_t rows_max);
void write_sync(std::string& out);
void write_flush(std::string& out);
void write_terminate(std::string& out);
void write_copy_data(std::string& out, bytes_view data);
void write_copy_done(std::string& out);
void write_copy_fail(std::string& out, std::string_view message);
void write_function_call(std::string& out, const function_call_message& call);

}  // namespace postern::wire
