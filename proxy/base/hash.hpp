// 128-bit hashes for look-ups. A hash finds, it never proves: whoever looks up by hash compares the
// whole key afterwards.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace postern {

struct hash128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    friend bool operator==(const hash128&, const hash128&) = default;
};

/// XXH3-128 of `bytes`.
hash128 hash_bytes(std::string_view bytes) noexcept;

/// Lets unordered containers take a hash128 as it is.
struct hash128_hasher {
    using is_avalanching = void;  // for Boost's: it need not be mixed once more
    std::size_t operator()(const hash128& value) const noexcept { return value.low; }
};

/// Heterogeneous look-up of std::string keys by string_view.
struct string_hasher {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return hash_bytes(text).low; }
};

}  // namespace postern
