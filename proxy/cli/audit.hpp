// `postern audit`: whether row-level security leaves a hole for one login role.

#pragma once

#include <string>

namespace CLI {
class App;
}

namespace postern::cli {

struct audit_request {
    std::string conninfo;  ///< libpq's form or a URI: a direct connection, to the database itself
    std::string role;      ///< what the application logs in as
    bool json = false;
};

/// Looks for what `role` may do that no policy covers, and prints what it finds. The exit status: 0
/// no error is among the findings (warnings may be), 1 one is, or it could not look: then standard
/// error says why.
int audit(const audit_request& request);

/// Adds the subcommand; `status` as audit() returns it once parsing is done. `status` must outlive
/// `app`.
void add_audit(CLI::App& app, int& status);

}  // namespace postern::cli
