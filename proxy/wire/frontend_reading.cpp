#include "wire/frontend.hpp"
#include "wire/reader.hpp"

namespace postern::wire {

errc read_parse(bytes_view body, parse_message& into) {
    reader in(body);
    into.name = in.string();
    into.query = in.string();
    into.parameter_types.resize(in.count(4));
    for (std::uint32_t& type : into.parameter_types) {
        type = in.uint32();
    }
    return in.finish();
}

errc read_bind(bytes_view body, bind_message& into) {
    reader in(body);
    into.portal = in.string();
    into.statement = in.string();
    into.rest = body.substr(body.size() - in.left());
    in.formats(into.parameter_formats);
    in.values(into.values);
    in.formats(into.result_formats);
    if (const errc error = in.finish(); error != errc::ok) return error;
    const std::size_t formats = into.parameter_formats.size();
    return formats <= 1 || formats == into.values.size() ? errc::ok : errc::bad_count;
}

errc read_target(bytes_view body, target_message& into) {
    reader in(body);
    into.kind = in.byte();
    if (in.ok() && into.kind != 'S' && into.kind != 'P') return errc::bad_value;
    into.name = in.string();
    return in.finish();
}

errc read_execute(bytes_view body, execute_message& into) {
    reader in(body);
    into.portal = in.string();
    // PostgreSQL takes any limit that is not positive for "all".
    const std::int32_t rows_max = in.int32();
    into.rows_max = rows_max < 0 ? 0 : static_cast<std::uint32_t>(rows_max);
    return in.finish();
}

errc read_query(bytes_view body, std::string_view& text) {
    reader in(body);
    text = in.string();
    return in.finish();
}

errc read_password(bytes_view body, std::string_view& password) {
    reader in(body);
    password = in.string();
    return in.finish();
}

errc read_sasl_initial(bytes_view body, sasl_initial_message& into) {
    reader in(body);
    into.mechanism = in.string();
    into.response = in.value();
    return in.finish();
}

errc read_function_call(bytes_view body, function_call_message& into) {
    reader in(body);
    into.function = in.uint32();
    in.formats(into.argument_formats);
    in.values(into.arguments);
    into.result_format = in.int16();
    if (const errc error = in.finish(); error != errc::ok) return error;
    const std::size_t formats = into.argument_formats.size();
    return formats <= 1 || formats == into.arguments.size() ? errc::ok : errc::bad_count;
}

errc read_copy_fail(bytes_view body, std::string_view& message) {
    reader in(body);
    message = in.string();
    return in.finish();
}

}  // namespace postern::wire
