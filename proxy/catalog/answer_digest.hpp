// What an answer holds, in a few bytes: its columns' names, and its rows as a multiset. Two answers
// with the same rows in another order are equal, as they are to SQL. No I/O.

#pragma once

#include "base/hash.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace postern::catalog {

class answer_digest {
public:
    using fields = std::span<const std::optional<std::string_view>>;  ///< nullopt: NULL

    void columns(fields names);
    void row(fields values);
    std::uint64_t rows() const noexcept { return rows_; }

    friend bool operator==(const answer_digest&, const answer_digest&) = default;

private:
    hash128 columns_;
    // A sum, for rows that occur twice have to count twice.
    hash128 sum_;
    std::uint64_t rows_ = 0;
};

}  // namespace postern::catalog
