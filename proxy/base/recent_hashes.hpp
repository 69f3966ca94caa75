// Whether something has been met lately: what comes once is not worth remembering, and would push
// out what comes again.

#pragma once

#include "base/hash.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace postern {

/// The last few thousand hashes, by their low bits; 32 KiB. One that has been forgotten, or that
/// shares half its bits with another, only costs a chance.
///
/// Thread safety: none.
class recent_hashes {
public:
    /// Notes `hash`, and says whether it was there already.
    bool met_before(const hash128& hash) noexcept {
        auto& slot = slots_[hash.low % slots_.size()];
        return std::exchange(slot, hash.high) == hash.high;
    }

private:
    std::array<std::uint64_t, 4096> slots_{};
};

}  // namespace postern
