// SCRAM messages are lists of attributes, `name=value`, parted by commas (RFC 5802, section 5.1).
// For this room's own use.

#pragma once

#include "base/result.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace postern::auth {

/// PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH: nobody who is not yet known may send more.
inline constexpr std::size_t message_size_max = 65535;

/// The GS2 header of a login that is bound to its TLS; the only type of binding there is here.
inline constexpr std::string_view binding_header = "p=tls-server-end-point,,";

/// A message to send. Said in full because a failure, too, can be made from a string.
inline outcome<std::string> to_send(std::string message) {
    return {boost::system::in_place_value, std::move(message)};
}

/// Whether a message may be looked into at all.
inline bool is_plausible_message(std::string_view message) noexcept {
    return !message.empty() && message.size() <= message_size_max &&
           message.find('\0') == std::string_view::npos;
}

/// Printable ASCII without the comma: what a nonce may consist of.
inline bool is_nonce(std::string_view text) noexcept {
    for (const char c : text) {
        if (c < 0x21 || c > 0x7e || c == ',') return false;
    }
    return !text.empty();
}

/// Takes attributes off the front of a message.
class attributes {
public:
    explicit attributes(std::string_view message) noexcept
        : rest_(message) {}

    struct attribute {
        char name;
        std::string_view value;
    };

    /// The next attribute, whatever its name; nullopt: there is none, or it is malformed.
    std::optional<attribute> next() noexcept {
        if (rest_.size() < 2 || !is_letter(rest_[0]) || rest_[1] != '=') return std::nullopt;
        const std::size_t end = std::min(rest_.find(','), rest_.size());
        const attribute found{rest_[0], rest_.substr(2, end - 2)};
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        return found;
    }

    /// The next attribute, which must have this name.
    std::optional<std::string_view> next(char name) noexcept {
        const std::optional<attribute> found = next();
        if (!found || found->name != name) return std::nullopt;
        return found->value;
    }

    std::string_view rest() const noexcept { return rest_; }

private:
    static bool is_letter(char c) noexcept {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    }

    std::string_view rest_;
};

/// A positive decimal number without sign, no larger than `largest`.
inline std::optional<std::uint32_t> parse_iterations(
    std::string_view text,
    std::uint32_t largest) noexcept {
    std::uint32_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number == 0 || number > largest) return std::nullopt;
    return number;
}

}  // namespace postern::auth
