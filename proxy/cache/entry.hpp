// A stored answer: the bytes as they go to the client, and what they depend on.

#pragma once

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "coherence/version_table.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace postern::cache {

/// A key: the material that decides an answer (length-prefixed fields), and its hash.
/// The session builds it; look-ups go by hash and are confirmed by comparing the material.
struct key_view {
    std::string_view material;
    hash128 hash;
};

/// Immutable once stored; shared without copying.
struct entry {
    std::string material;  ///< the whole key material, compared on every hit
    hash128 hash;
    std::string row_description;  ///< a complete RowDescription message
    std::string rows;  ///< DataRow messages and the CommandComplete, as they go to the client
    coherence::dependencies depends_on;
    monotonic_ns expires_at = 0;  ///< on our own monotonic clock
    std::uint32_t rule = 0;       ///< index of the rule that admitted it

    /// What it costs to keep, overhead included.
    std::size_t size() const noexcept {
        return sizeof(entry) + material.size() + row_description.size() + rows.size() +
               depends_on.tags.size() * sizeof(coherence::dependencies::one) + 64;
    }
};

using entry_ptr = std::shared_ptr<const entry>;

}  // namespace postern::cache
