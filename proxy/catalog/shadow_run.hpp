// One read run twice in one transaction of ours, on one snapshot: without and with the views.

#pragma once

#include "catalog/connection.hpp"
#include "catalog/sampler.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace postern::catalog {

enum class shadow_verdict : std::uint8_t { same, different, qualified, no_view, error };

struct shadow_outcome {
    shadow_verdict verdict = shadow_verdict::error;
    std::uint64_t rows_without = 0;
    std::uint64_t rows_with = 0;
    // Of an error:
    std::string sqlstate;
    std::string error;         ///< holds no values of the read's
    bool is_setup = false;     ///< concerns all reads of this role, not this one
    bool never_began = false;  ///< the connection was lost before anything of it was done
};

/// Blocks for some statement_timeouts at most. Leaves no transaction behind: where that is not
/// certain the connection is closed.
shadow_outcome run_both_ways(
    connection& database,
    const sampled_read& read,
    const sampler_settings& how,
    const wakeup* stop);

}  // namespace postern::catalog
