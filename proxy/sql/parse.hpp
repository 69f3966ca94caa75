// A fresh parse with what only the text's own constants say. Inside this room.

#pragma once

#include "sql/facts.hpp"

#include <string_view>

namespace postern::sql {

struct parsed_text {
    text_facts facts;
    bool has_time_constant = false;
};

/// Never fails: what can't be parsed is `understood == false`.
parsed_text parse_text(std::string_view text);

/// What a statement counts as of which nothing may be believed.
statement_facts unknown_statement();

}  // namespace postern::sql
