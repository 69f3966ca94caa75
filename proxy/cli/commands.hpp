// The subcommands, as main's table calls them. Each returns the process's exit status: 0 it went
// well, 1 it did not and standard error says why.

#pragma once

#include "cli/configuration.hpp"

#include <string>

namespace postern::cli {

/// Runs the proxy until it is told to stop. `takeover`: in place of the process that runs with the
/// same runtime_dir, which serves on when this one can't.
int serve(const configuration& settings, bool takeover);

/// Reads the configuration as the server does, sets up the log, and serves.
int serve_file(const std::string& path, bool takeover);

/// Reads the configuration as the server does and says what is wrong with it.
int check(const std::string& path, bool json);

struct explain_request {
    std::string database;  ///< empty: the only one
    std::string role;      ///< empty: the only user that is not the console's
    std::string search_path = "\"$user\", public";
    std::string statement;
    bool json = false;
};

/// Says whether the statement could be served from the cache, and why.
int explain(const std::string& path, const explain_request& request);

/// Asks the running server's console to drop everything that is cached.
int flush(const std::string& path);

int version();

/// "0.1.0"; lives forever.
const char* version_number() noexcept;

}  // namespace postern::cli
