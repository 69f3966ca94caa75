// What `postern explain` finds out of one statement. The judgement is the proxy's own: the plan
// that a session would make.

#pragma once

#include "catalog/snapshot.hpp"
#include "session/settings.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::cli {

struct explanation {
    reason why = reason::none;  ///< none: cacheable
    std::string detail;
    std::string database;
    std::string role;
    std::string search_path;
    std::size_t statements = 0;
    std::uint64_t fingerprint = 0;
    std::vector<std::string> reads;  ///< schema.table
    std::vector<std::string> writes;
    bool writes_everything = false;
    bool identity_matters = false;
    std::string pin;  ///< why the session would keep its server; empty: it would not

    struct matched_rule {
        std::uint32_t number = 0;  ///< 1-based, as in SHOW RULES
        std::string name;
        std::string where;
        std::chrono::milliseconds ttl{0};
        std::size_t answer_bytes_max = 0;
    };
    std::optional<matched_rule> rule;

    std::string to_text() const;
    std::string to_json() const;
};

/// Pure. `names` and `database` are what the statement would run under.
explanation explain_statement(
    std::string_view statement,
    const catalog::snapshot& catalog,
    const session::settings_ptr& settings,
    const session::database& database,
    const catalog::resolve_context& names);

}  // namespace postern::cli
