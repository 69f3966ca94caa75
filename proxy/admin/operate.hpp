// What makes the proxy do something, one function a command: RELOAD, FLUSH, PAUSE and its like. Who
// may is the console's to know.

#pragma once

#include "admin/console.hpp"
#include "admin/source.hpp"

#include <span>
#include <string>
#include <string_view>

namespace postern::admin {

struct operation {
    std::string_view name;  ///< in upper case
    std::string_view form;  ///< of its argument, for SHOW HELP: [database], an alternative …
    console_outcome (*run)(std::string_view argument, console_source& source);
    std::string_view meaning;
};

std::span<const operation> operations();

session::console_reply done(std::string_view tag);
session::console_reply refused(std::string message, std::string sqlstate);
/// To a user of admin.stats_users.
session::console_reply needs_admin();

}  // namespace postern::admin
