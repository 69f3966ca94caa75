// JSON as the subcommands print it: one object, its members in the order in which they were added.

#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::cli {

/// `text` in quotes, with what JSON forbids in it escaped. Bytes that are no UTF-8 pass as they
/// are.
std::string json_quote(std::string_view text);

class json_object {
public:
    json_object& text(std::string_view name, std::string_view value);
    json_object& texts(std::string_view name, const std::vector<std::string>& values);
    json_object& flag(std::string_view name, bool value);
    template <std::integral Number>
    json_object& number(std::string_view name, Number value) {
        return raw(name, std::to_string(value));
    }
    json_object& null(std::string_view name) { return raw(name, "null"); }
    json_object& object(std::string_view name, const json_object& value) {
        return raw(name, value.str());
    }
    json_object& objects(std::string_view name, const std::vector<json_object>& values);
    std::string str() const { return "{" + members_ + "}"; }

private:
    json_object& raw(std::string_view name, std::string_view value);
    std::string members_;
};

}  // namespace postern::cli
