// Rows for the console: columns by name and type, values as text.

#pragma once

#include "session/console_reply.hpp"

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace postern::admin {

/// Types as pg_type has them.
enum class column_type : std::uint32_t {
    bytea = 17,
    int8 = 20,
    int4 = 23,
    text = 25,
    float8 = 701,
    numeric = 1700
};

/// One value, already text, or NULL.
class cell {
public:
    cell(std::string text)
        : text_{std::move(text)} {}  // NOLINT: rows read as lists of values
    cell(const char* text)
        : text_{text} {}     // NOLINT
    cell(std::nullopt_t) {}  // NOLINT
    template <std::integral Number>
    cell(Number number)
        : text_{fmt::to_string(number)} {}  // NOLINT
    std::optional<std::string> take() { return std::move(text_); }

private:
    std::optional<std::string> text_;
};

/// Builds one reply. REQUIRES of row(): as many cells as there are columns.
class table {
public:
    table& columns(column_type type, std::initializer_list<const char*> names);
    void row(std::vector<cell> cells);
    /// The reply, tagged as PgBouncer tags what SHOW brings.
    session::console_reply take();

private:
    session::console_reply reply_;
};

}  // namespace postern::admin
