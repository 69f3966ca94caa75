// What the configuration says about identity.

#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace postern::identity {

/// The session variables that make up an identity, and where their values may come from. For a
/// variable the first source that has a value decides, in this order: the client's own SET (where
/// trusted), startup parameters (where trusted), the map from login.
struct settings {
    std::vector<std::string> variables;     ///< lower case, for example app.user_id
    bool trust_client_set = false;          ///< SET, set_config() from the client are believed
    bool trust_startup_parameters = false;  ///< startup parameters and -c options are believed
    /// login -> (variable, value)
    std::unordered_map<std::string, std::vector<std::pair<std::string, std::string>>> by_login;
};

}  // namespace postern::identity
