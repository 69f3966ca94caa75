// What a view's definition or a policy's expression does, worked out once a snapshot.

#pragma once

#include "sql/facts.hpp"

#include <string>
#include <string_view>

namespace postern::catalog {

/// The one SELECT in a text of PostgreSQL's own making, or why it could not be followed.
struct expression {
    bool understood = false;
    std::string why;  ///< when it is not understood
    sql::statement_facts facts;
};

/// `query` is what pg_get_viewdef gives, or "SELECT " and what pg_get_expr gives. CURRENT_USER is
/// understood in it: the role is part of every key.
expression understand(std::string_view query);

/// `query` with each CURRENT_USER, CURRENT_ROLE and USER outside of quotes replaced by a constant.
std::string without_current_user(std::string_view query);

}  // namespace postern::catalog
