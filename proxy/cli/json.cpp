#include "cli/json.hpp"

#include <fmt/format.h>

namespace postern::cli {

std::string json_quote(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        switch (c) {
        case '"': quoted += "\\\""; break;
        case '\\': quoted += "\\\\"; break;
        case '\n': quoted += "\\n"; break;
        case '\t': quoted += "\\t"; break;
        case '\r': quoted += "\\r"; break;
        default:
            if (static_cast<unsigned char>(c) < 0x20) {
                quoted += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
            } else {
                quoted += c;
            }
        }
    }
    return quoted + '"';
}

json_object& json_object::raw(std::string_view name, std::string_view value) {
    if (!members_.empty()) members_ += ", ";
    members_ += fmt::format("{}: {}", json_quote(name), value);
    return *this;
}

json_object& json_object::text(std::string_view name, std::string_view value) {
    return raw(name, json_quote(value));
}

json_object& json_object::texts(std::string_view name, const std::vector<std::string>& values) {
    std::vector<std::string> quoted;
    for (const auto& one : values)
        quoted.push_back(json_quote(one));
    return raw(name, fmt::format("[{}]", fmt::join(quoted, ", ")));
}

json_object& json_object::flag(std::string_view name, bool value) {
    return raw(name, value ? "true" : "false");
}

json_object& json_object::objects(std::string_view name, const std::vector<json_object>& values) {
    std::vector<std::string> all;
    for (const auto& one : values)
        all.push_back(one.str());
    return raw(name, fmt::format("[{}]", fmt::join(all, ", ")));
}

}  // namespace postern::cli
