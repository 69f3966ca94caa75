// Reads the fields of one message body, front to back. For this room's own use.

#pragma once

#include "wire/byte_order.hpp"
#include "wire/frame.hpp"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace postern::wire {

/// The first failure sticks: later reads yield zeroes and empty views, and finish() tells it. So a
/// message is read in one straight line and judged once, at its end.
class reader {
public:
    explicit reader(bytes_view body) noexcept
        : at_(body.data())
        , end_(body.data() + body.size()) {}

    bool ok() const noexcept { return error_ == errc::ok; }
    std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }

    void fail(errc error) noexcept {
        if (error_ == errc::ok) error_ = error;
        at_ = end_;
    }

    /// The verdict, once every field was asked for.
    errc finish() const noexcept {
        if (error_ != errc::ok) return error_;
        return at_ == end_ ? errc::ok : errc::trailing_bytes;
    }

    char byte() noexcept { return has(1) ? *at_++ : '\0'; }

    std::uint16_t uint16() noexcept {
        if (!has(2)) return 0;
        const std::uint16_t value = load_uint16(at_);
        at_ += 2;
        return value;
    }
    std::int16_t int16() noexcept { return static_cast<std::int16_t>(uint16()); }

    std::uint32_t uint32() noexcept {
        if (!has(4)) return 0;
        const std::uint32_t value = load_uint32(at_);
        at_ += 4;
        return value;
    }
    std::int32_t int32() noexcept { return static_cast<std::int32_t>(uint32()); }

    bytes_view bytes(std::size_t count) noexcept {
        if (!has(count)) return {};
        const bytes_view taken(at_, count);
        at_ += count;
        return taken;
    }
    bytes_view rest() noexcept { return bytes(left()); }

    /// A zero-terminated string, without its zero.
    std::string_view string() noexcept {
        const void* zero = left() == 0 ? nullptr : std::memchr(at_, '\0', left());
        if (zero == nullptr) {
            fail(errc::missing_terminator);
            return {};
        }
        const char* terminator = static_cast<const char*>(zero);
        const std::string_view text(at_, static_cast<std::size_t>(terminator - at_));
        at_ = terminator + 1;
        return text;
    }

    /// Length and bytes; -1 is NULL, any other negative length is nothing.
    std::optional<std::string_view> value() noexcept {
        const std::int32_t length = int32();
        if (length < 0) {
            if (length != -1) fail(errc::bad_value);
            return std::nullopt;
        }
        return bytes(static_cast<std::size_t>(length));
    }

    /// A number of elements that take at least `element_size` bytes each. PostgreSQL reads these
    /// counts as unsigned: 65 535 parameters are allowed.
    std::size_t count(std::size_t element_size) noexcept {
        const std::size_t elements = uint16();
        return has(elements * element_size) ? elements : 0;
    }

    /// A counted list of 16-bit format codes. What the codes may be is the server's business: it
    /// refuses unknown ones with an error of its own, which a relay must not pre-empt.
    void formats(std::vector<std::int16_t>& into) {
        into.resize(count(2));
        for (std::int16_t& format : into) {
            format = static_cast<std::int16_t>(load_uint16(at_));
            at_ += 2;
        }
    }

    /// A counted list of values.
    void values(std::vector<std::optional<std::string_view>>& into) {
        into.resize(count(4));
        for (auto& element : into) {
            element = value();
        }
    }

private:
    bool has(std::size_t count) noexcept {
        if (left() >= count) [[likely]]
            return true;
        fail(errc::truncated);
        return false;
    }

    const char* at_;
    const char* end_;
    errc error_ = errc::ok;
};

}  // namespace postern::wire
