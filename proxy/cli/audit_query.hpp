// What `postern audit` asks PostgreSQL: the SQL that finds holes in row-level security.

#pragma once

#include <string>

namespace postern::cli {

/// One row a finding, in order: code, object, detail. $1 is the name of a role that exists. Names
/// come out qualified only under an empty search_path.
std::string audit_findings_sql();

/// One row: how many tables the role $1 can touch, and how many of these have row-level security
/// enabled, forced, and a policy for each command that the role has the privilege for.
std::string audit_coverage_sql();

}  // namespace postern::cli
