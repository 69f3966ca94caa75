// Big-endian integers at any address, for this room's own use.

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace postern::wire {

static_assert(std::endian::native == std::endian::little, "the loads below swap unconditionally");

inline std::uint16_t load_uint16(const char* at) noexcept {
    std::uint16_t raw = 0;
    std::memcpy(&raw, at, sizeof raw);
    return __builtin_bswap16(raw);
}

inline std::uint32_t load_uint32(const char* at) noexcept {
    std::uint32_t raw = 0;
    std::memcpy(&raw, at, sizeof raw);
    return __builtin_bswap32(raw);
}

inline void store_uint16(char* at, std::uint16_t value) noexcept {
    value = __builtin_bswap16(value);
    std::memcpy(at, &value, sizeof value);
}

inline void store_uint32(char* at, std::uint32_t value) noexcept {
    value = __builtin_bswap32(value);
    std::memcpy(at, &value, sizeof value);
}

}  // namespace postern::wire
