#include "wire/frontend.hpp"
#include "wire/writer.hpp"

namespace postern::wire {

void write_startup(
    std::string& out,
    std::span<const std::pair<std::string_view, std::string_view>> parameters,
    std::uint32_t version) {
    writer to(out);
    to.uint32(version);
    for (const auto& [name, value] : parameters) {
        POSTERN_ASSERT(!name.empty() && name.front() != '\0');  // would end the list
        to.text(name);
        to.text(value);
    }
    to.byte('\0');
}

void write_ssl_request(std::string& out) {
    writer to(out);
    to.uint32(ssl_request_code);
}

void write_cancel_request(std::string& out, std::int32_t pid, std::string_view secret) {
    writer to(out);
    to.uint32(cancel_request_code);
    to.int32(pid);
    to.bytes(secret);
}

void write_password(std::string& out, std::string_view password) {
    writer to(out, 'p');
    to.text(password);
}

void write_sasl_initial(std::string& out, std::string_view mechanism, std::string_view response) {
    writer to(out, 'p');
    to.string(mechanism);
    to.value(response);
}

void write_sasl_response(std::string& out, std::string_view response) {
    writer to(out, 'p');
    to.bytes(response);
}

void write_query(std::string& out, std::string_view text) {
    writer to(out, 'Q');
    to.string(text);
}

void write_parse(
    std::string& out,
    std::string_view name,
    std::string_view query,
    std::span<const std::uint32_t> parameter_types) {
    writer to(out, 'P');
    to.string(name);
    to.string(query);
    to.count(parameter_types.size());
    for (const std::uint32_t type : parameter_types) {
        to.uint32(type);
    }
}

void write_bind(
    std::string& out,
    std::string_view portal,
    std::string_view statement,
    bytes_view rest) {
    writer to(out, 'B');
    to.string(portal);
    to.string(statement);
    to.bytes(rest);
}

void write_bind_text(
    std::string& out,
    std::string_view portal,
    std::string_view statement,
    std::span<const std::optional<std::string_view>> values) {
    writer to(out, 'B');
    to.string(portal);
    to.string(statement);
    to.count(0);  // no parameter formats: all text
    to.values(values);
    to.count(0);  // no result formats: all text
}

namespace {

void write_target(std::string& out, char tag, char kind, std::string_view name) {
    POSTERN_ASSERT(kind == 'S' || kind == 'P');
    writer to(out, tag);
    to.byte(kind);
    to.string(name);
}

void write_empty(std::string& out, char tag) {
    const writer to(out, tag);
}

}  // namespace

void write_describe(std::string& out, char kind, std::string_view name) {
    write_target(out, 'D', kind, name);
}

void write_close(std::string& out, char kind, std::string_view name) {
    write_target(out, 'C', kind, name);
}

void write_execute(std::string& out, std::string_view portal, std::uint32_t rows_max) {
    writer to(out, 'E');
    to.string(portal);
    to.uint32(rows_max);
}

void write_sync(std::string& out) {
    write_empty(out, 'S');
}

void write_flush(std::string& out) {
    write_empty(out, 'H');
}

void write_terminate(std::string& out) {
    write_empty(out, 'X');
}

void write_copy_data(std::string& out, bytes_view data) {
    writer to(out, 'd');
    to.bytes(data);
}

void write_copy_done(std::string& out) {
    write_empty(out, 'c');
}

void write_copy_fail(std::string& out, std::string_view message) {
    writer to(out, 'f');
    to.text(message);
}

void write_function_call(std::string& out, const function_call_message& call) {
    writer to(out, 'F');
    to.uint32(call.function);
    to.formats(call.argument_formats);
    to.values(call.arguments);
    to.int16(call.result_format);
}

}  // namespace postern::wire
