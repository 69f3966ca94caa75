#include "wire/backend.hpp"
#include "wire/writer.hpp"

namespace postern::wire {
namespace {

void write_empty(std::string& out, char tag) {
    const writer to(out, tag);
}

void write_field(writer& to, char kind, std::string_view value) {
    to.byte(kind);
    to.text(value);
}

void write_fields(
    std::string& out,
    char tag,
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message,
    std::string_view detail,
    std::string_view hint) {
    writer to(out, tag);
    write_field(to, 'S', severity);
    write_field(to, 'V', severity);
    write_field(to, 'C', sqlstate);
    write_field(to, 'M', message);
    if (!detail.empty()) write_field(to, 'D', detail);
    if (!hint.empty()) write_field(to, 'H', hint);
    to.byte('\0');
}

}  // namespace

void write_authentication(std::string& out, authentication code, bytes_view data) {
    writer to(out, 'R');
    to.uint32(static_cast<std::uint32_t>(code));
    to.bytes(data);
}

void write_sasl_mechanisms(std::string& out, std::span<const std::string_view> mechanisms) {
    writer to(out, 'R');
    to.uint32(static_cast<std::uint32_t>(authentication::sasl));
    for (const std::string_view mechanism : mechanisms) {
        POSTERN_ASSERT(!mechanism.empty());  // would end the list
        to.string(mechanism);
    }
    to.byte('\0');
}

void write_parameter_status(std::string& out, std::string_view name, std::string_view value) {
    writer to(out, 'S');
    to.text(name);
    to.text(value);
}

void write_backend_key_data(std::string& out, std::int32_t pid, std::string_view secret) {
    writer to(out, 'K');
    to.int32(pid);
    to.bytes(secret);
}

void write_negotiate_protocol_version(
    std::string& out,
    std::uint32_t version,
    std::span<const std::string_view> unknown_options) {
    writer to(out, 'v');
    to.uint32(version);
    to.uint32(static_cast<std::uint32_t>(unknown_options.size()));
    for (const std::string_view option : unknown_options) {
        to.text(option);
    }
}

void write_ready_for_query(std::string& out, transaction_status status) {
    writer to(out, 'Z');
    to.byte(static_cast<char>(status));
}

void write_command_complete(std::string& out, std::string_view tag) {
    writer to(out, 'C');
    to.text(tag);
}

void write_empty_query_response(std::string& out) {
    write_empty(out, 'I');
}

void write_parse_complete(std::string& out) {
    write_empty(out, '1');
}

void write_bind_complete(std::string& out) {
    write_empty(out, '2');
}

void write_close_complete(std::string& out) {
    write_empty(out, '3');
}

void write_no_data(std::string& out) {
    write_empty(out, 'n');
}

void write_portal_suspended(std::string& out) {
    write_empty(out, 's');
}

void write_parameter_description(std::string& out, std::span<const std::uint32_t> types) {
    writer to(out, 't');
    to.count(types.size());
    for (const std::uint32_t type : types) {
        to.uint32(type);
    }
}

void write_row_description(std::string& out, std::span<const field_description> fields) {
    writer to(out, 'T');
    to.count(fields.size());
    for (const field_description& field : fields) {
        to.text(field.name);
        to.uint32(field.table);
        to.int16(field.column);
        to.uint32(field.type);
        to.int16(field.type_size);
        to.int32(field.type_modifier);
        to.int16(field.format);
    }
}

void write_data_row(std::string& out, std::span<const std::optional<std::string_view>> values) {
    writer to(out, 'D');
    to.values(values);
}

void write_error(
    std::string& out,
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message,
    std::string_view detail,
    std::string_view hint) {
    write_fields(out, 'E', severity, sqlstate, message, detail, hint);
}

void write_notice(
    std::string& out,
    std::string_view severity,
    std::string_view sqlstate,
    std::string_view message) {
    write_fields(out, 'N', severity, sqlstate, message, {}, {});
}

void write_notification(std::string& out, const notification_message& notification) {
    writer to(out, 'A');
    to.int32(notification.pid);
    to.text(notification.channel);
    to.text(notification.payload);
}

void write_copy_response(std::string& out, char tag, const copy_response& response) {
    POSTERN_ASSERT(tag == 'G' || tag == 'H' || tag == 'W');
    writer to(out, tag);
    to.byte(static_cast<char>(response.format));
    to.formats(response.column_formats);
}

void write_function_call_response(std::string& out, std::optional<std::string_view> value) {
    writer to(out, 'V');
    to.value(value);
}

}  // namespace postern::wire
