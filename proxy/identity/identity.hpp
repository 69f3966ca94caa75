// Who a statement runs for: the values of the identity variables, from the sources that the
// configuration trusts, and their one fingerprint. DESIGN §6.

#pragma once

#include "identity/settings.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::identity {

using variable_map = std::map<std::string, std::string, std::less<>>;

/// An identity: a value for each variable, in the configuration's order; empty where no source has
/// one.
struct claims {
    std::vector<std::string> values;
    bool empty = true;        ///< no variable has a value: nobody; nothing is injected
    std::string fingerprint;  ///< unambiguous, for keys
    friend bool operator==(const claims&, const claims&) = default;
};
using claims_ptr = std::shared_ptr<const claims>;

/// What login and startup packet say, before the client has set anything.
variable_map at_login(
    const settings& rules,
    std::string_view login,
    const variable_map& startup_parameters);

/// The identity in force: for each variable what the transaction set, else what the session set,
/// else what the login brought.
claims_ptr resolve(
    const settings& rules,
    const variable_map& login,
    const variable_map& session,
    const variable_map& transaction);

bool is_variable(const settings& rules, std::string_view name);

/// `SELECT pg_catalog.set_config('<variable>', $1, true), …`: the statement that puts an identity
/// into a transaction, its values as bind parameters in the configuration's order.
std::string injection_text(const settings& rules);

}  // namespace postern::identity
