// Writes one message: tag, length, fields. For this room's own use.

#pragma once

#include "base/assert.hpp"
#include "wire/byte_order.hpp"
#include "wire/frame.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace postern::wire {

/// Appends to `out`; the length is filled in when the writer goes out of scope.
class writer {
public:
    writer(std::string& out, char tag)
        : out_(out) {
        out_.push_back(tag);
        start_ = out_.size();
        uint32(0);
    }
    /// A message without a tag: a startup packet.
    explicit writer(std::string& out)
        : out_(out)
        , start_(out.size()) {
        uint32(0);
    }
    writer(const writer&) = delete;
    writer& operator=(const writer&) = delete;
    ~writer() {
        const std::size_t length = out_.size() - start_;
        POSTERN_ASSERT(length <= std::size_t{std::numeric_limits<std::int32_t>::max()});
        store_uint32(out_.data() + start_, static_cast<std::uint32_t>(length));
    }

    void byte(char value) { out_.push_back(value); }
    void bytes(bytes_view value) { out_.append(value); }

    void uint16(std::uint16_t value) {
        char raw[sizeof value];
        store_uint16(raw, value);
        out_.append(raw, sizeof raw);
    }
    void int16(std::int16_t value) { uint16(static_cast<std::uint16_t>(value)); }

    void uint32(std::uint32_t value) {
        char raw[sizeof value];
        store_uint32(raw, value);
        out_.append(raw, sizeof raw);
    }
    void int32(std::int32_t value) { uint32(static_cast<std::uint32_t>(value)); }

    /// Text that a zero byte would change the meaning of: SQL, names. Whoever hands one in has
    /// built it wrong, for what is read from the wire ends at its zero.
    void string(std::string_view value) {
        POSTERN_ASSERT(value.find('\0') == std::string_view::npos);
        out_.append(value);
        out_.push_back('\0');
    }

    /// Text for people, and texts that may stem from outside: ends at its first zero byte, so that
    /// it can't forge the fields behind it.
    void text(std::string_view value) {
        out_.append(value.substr(0, value.find('\0')));
        out_.push_back('\0');
    }

    void value(const std::optional<std::string_view>& value) {
        if (!value) return int32(-1);
        POSTERN_ASSERT(value->size() <= std::size_t{std::numeric_limits<std::int32_t>::max()});
        uint32(static_cast<std::uint32_t>(value->size()));
        out_.append(*value);
    }

    void count(std::size_t elements) {
        POSTERN_ASSERT(elements <= std::numeric_limits<std::uint16_t>::max());
        uint16(static_cast<std::uint16_t>(elements));
    }

    void formats(std::span<const std::int16_t> formats) {
        count(formats.size());
        for (const std::int16_t format : formats) {
            int16(format);
        }
    }

    void values(std::span<const std::optional<std::string_view>> values) {
        count(values.size());
        for (const auto& element : values) {
            value(element);
        }
    }

private:
    std::string& out_;
    std::size_t start_ = 0;
};

}  // namespace postern::wire
