// What servers send: backend messages, read and written. Same conventions as frontend.hpp.

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

enum class transaction_status : char { idle = 'I', in_transaction = 'T', failed = 'E' };

/// Authentication sub-codes of message 'R'.
enum class authentication : std::uint32_t {
    ok = 0,
    cleartext_password = 3,
    md5_password = 5,
    sasl = 10,
    sasl_continue = 11,
    sasl_final = 12,
};
struct authentication_message {
    std::uint32_t code = 0;  ///< one of authentication, or another that we don't speak
    bytes_view data;         ///< md5 salt, SASL mechanisms or payload
};
errc read_authentication(bytes_view body, authentication_message& into);
/// The mechanisms in the data of an AuthenticationSASL.
errc read_sasl_mechanisms(bytes_view data, std::vector<std::string_view>& into);
errc read_ready_for_query(bytes_view body, transaction_status& into);
errc read_parameter_status(bytes_view body, std::string_view& name, std::string_view& value);
errc read_backend_key_data(bytes_view body, std::int32_t& pid, std::string_view& secret);
errc read_command_complete(bytes_view body, std::string_view& tag);
/// `version` is the whole one, major << 16 | minor, as PostgreSQL sends it.
errc read_negotiate_protocol_version(
    bytes_view body,
    std::uint32_t& version,
    std::vector<std::string_view>& unknown_options);

/// Fields of ErrorResponse and NoticeResponse; absent ones are empty.
/// https://www.postgresql.org/docs/15/protocol-error-fields.html
struct error_fields {
    std::string_view severity;  ///< V, or S where V is absent
    std::string_view code;      ///< C, SQLSTATE
    std::string_view message;   ///< M
    std::string_view detail;    ///< D
    std::string_view hint;      ///< H
    std::vector<std::pair<char, std::string_view>> all;
};
errc read_error(bytes_view body, error_fields& into);

struct field_description {
    std::string_view name;
    std::uint32_t table = 0;
    std::int16_t column = 0;
    std::uint32_t type = 0;
    std::int16_t type_size = 0;
    std::int32_t type_modifier = -1;
    std::int16_t format = 0;
};
errc read_row_description(bytes_view body, std::vector<field_description>& into);
errc read_parameter_description(bytes_view body, std::vector<std::uint32_t>& into);
errc read_data_row(bytes_view body, std::vector<std::optional<std::string_view>>& into);
struct notification_message {
    std::int32_t pid = 0;
    std::string_view channel;
    std::string_view payload;
};
errc read_notification(bytes_view body, notification_message& into);
struct copy_response {  ///< CopyInResponse, CopyOutResponse, CopyBothResponse
    std::int8_t format = 0;
    std::vector<std::int16_t> column_formats;
};
errc read_copy_response(bytes_view body, copy_response& into);
/// nullopt: the function returned NULL.
errc read_function_call_response(bytes_view body, std::optional<std::string_view>& value);

void write_authentication(std::string& out, authentication code, bytes_view data = {});
void write_sasl_mechanisms(std::string& out, std::span<const std::string_view> mechanisms);
void write_parameter_status(std::string& out, std::string_view name, std::string_view value);
void write_backend_key_data(std::string& out, std::int32_t pid, std::string_view secret);
void write_negotiate_protocol_version(
    std::string& out,
    std::uint32_t version,
    std::span<const std::string_view> unknown_options);
void write_ready_for_query(std::string& out, transaction_status status);
void write_command_complete(std::string& out, std::string_view tag);
void write_empty_query_response(std::string& out);
void write_parse_complete(std::string& out);
void write_bind_complete(std::string& out);
void write_close_complete(std::string& out);
void write_no_data(std::string& out);
void write_portal_suspended(std::string& out);
void write_parameter_description(std::string& out, std::span<const std::uint32_t> types);
void write_row_description(std::string& out, std::span<const field_description> fields);
void write_data_row(std::string& out, std::span<const std::optional<std::string_view>> values);
/// Severity is "ERROR", "FATAL" …; writes S, V, C, M, and D and H when not empty.
void write_error(
    std::string& out,
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message,
    std::string_view detail = {},
    std::string_view hint = {});
void write_notice(
    std::string& out,
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message);
void write_notification(std::string& out, const notification_message& notification);
void write_copy_response(std::string& out, char tag, const copy_response& response);
void write_function_call_response(std::string& out, std::optional<std::string_view> value);

}  // namespace postern::wire
