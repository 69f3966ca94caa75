#include "wire/backend.hpp"
#include "wire/reader.hpp"

namespace postern::wire {
namespace {

// PostgreSQL 18's bounds for the secret of BackendKeyData; earlier versions always send 4 bytes.
constexpr std::size_t secret_size_min = 4;
constexpr std::size_t secret_size_max = 256;
constexpr std::size_t md5_salt_size = 4;
// Name's zero byte, table, column, type, size, modifier, format.
constexpr std::size_t field_size_min = 1 + 4 + 2 + 4 + 2 + 4 + 2;

errc check_size(bytes_view data, std::size_t expected) {
    if (data.size() < expected) return errc::truncated;
    return data.size() > expected ? errc::trailing_bytes : errc::ok;
}

}  // namespace

errc read_authentication(bytes_view body, authentication_message& into) {
    reader in(body);
    into.code = in.uint32();
    into.data = in.rest();
    if (!in.ok()) return in.finish();
    switch (static_cast<authentication>(into.code)) {
    case authentication::ok:
    case authentication::cleartext_password: return check_size(into.data, 0);
    case authentication::md5_password: return check_size(into.data, md5_salt_size);
    case authentication::sasl:
    case authentication::sasl_continue:
    case authentication::sasl_final: break;
    }
    return errc::ok;
}

errc read_sasl_mechanisms(bytes_view data, std::vector<std::string_view>& into) {
    into.clear();
    reader in(data);
    for (;;) {
        const std::string_view mechanism = in.string();
        if (!in.ok() || mechanism.empty()) return in.finish();
        into.push_back(mechanism);
    }
}

errc read_ready_for_query(bytes_view body, transaction_status& into) {
    reader in(body);
    const char status = in.byte();
    if (const errc error = in.finish(); error != errc::ok) return error;
    if (status != 'I' && status != 'T' && status != 'E') return errc::bad_value;
    into = static_cast<transaction_status>(status);
    return errc::ok;
}

errc read_parameter_status(bytes_view body, std::string_view& name, std::string_view& value) {
    reader in(body);
    name = in.string();
    value = in.string();
    return in.finish();
}

errc read_backend_key_data(bytes_view body, std::int32_t& pid, std::string_view& secret) {
    reader in(body);
    pid = in.int32();
    secret = in.rest();
    if (!in.ok() || secret.size() < secret_size_min) return errc::truncated;
    return secret.size() > secret_size_max ? errc::length_too_large : errc::ok;
}

errc read_command_complete(bytes_view body, std::string_view& tag) {
    reader in(body);
    tag = in.string();
    return in.finish();
}

errc read_negotiate_protocol_version(
    bytes_view body,
    std::uint32_t& version,
    std::vector<std::string_view>& unknown_options) {
    reader in(body);
    unknown_options.clear();
    version = in.uint32();
    const std::uint32_t count = in.uint32();
    // Every option takes at least its zero byte.
    if (in.ok() && count > in.left()) return errc::bad_count;
    for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        unknown_options.push_back(in.string());
    }
    return in.finish();
}

errc read_error(bytes_view body, error_fields& into) {
    into.severity = into.code = into.message = into.detail = into.hint = {};
    into.all.clear();
    reader in(body);
    bool unlocalised = false;
    for (;;) {
        if (in.ok() && in.left() == 0) in.fail(errc::missing_terminator);
        const char kind = in.byte();
        if (!in.ok() || kind == '\0') return in.finish();
        const std::string_view value = in.string();
        switch (kind) {
        case 'S':
            if (!unlocalised) into.severity = value;
            break;
        case 'V':
            into.severity = value;
            unlocalised = true;
            break;
        case 'C': into.code = value; break;
        case 'M': into.message = value; break;
        case 'D': into.detail = value; break;
        case 'H': into.hint = value; break;
        default: break;  // the other fields, and those of versions to come
        }
        into.all.emplace_back(kind, value);
    }
}

errc read_row_description(bytes_view body, std::vector<field_description>& into) {
    reader in(body);
    into.resize(in.count(field_size_min));
    for (field_description& field : into) {
        field.name = in.string();
        field.table = in.uint32();
        field.column = in.int16();
        field.type = in.uint32();
        field.type_size = in.int16();
        field.type_modifier = in.int32();
        field.format = in.int16();
    }
    return in.finish();
}

errc read_parameter_description(bytes_view body, std::vector<std::uint32_t>& into) {
    reader in(body);
    into.resize(in.count(4));
    for (std::uint32_t& type : into) {
        type = in.uint32();
    }
    return in.finish();
}

errc read_data_row(bytes_view body, std::vector<std::optional<std::string_view>>& into) {
    reader in(body);
    in.values(into);
    return in.finish();
}

errc read_notification(bytes_view body, notification_message& into) {
    reader in(body);
    into.pid = in.int32();
    into.channel = in.string();
    into.payload = in.string();
    return in.finish();
}

errc read_copy_response(bytes_view body, copy_response& into) {
    reader in(body);
    const char format = in.byte();
    if (in.ok() && format != 0 && format != 1) return errc::bad_value;
    into.format = static_cast<std::int8_t>(format);
    in.formats(into.column_formats);
    return in.finish();
}

errc read_function_call_response(bytes_view body, std::optional<std::string_view>& value) {
    reader in(body);
    value = in.value();
    return in.finish();
}

}  // namespace postern::wire
