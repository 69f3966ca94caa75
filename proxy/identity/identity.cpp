#include "identity/identity.hpp"

#include <algorithm>

namespace postern::identity {

bool is_variable(const settings& rules, std::string_view name) {
    return std::ranges::find(rules.variables, name) != rules.variables.end();
}

variable_map at_login(
    const settings& rules,
    std::string_view login,
    const variable_map& startup_parameters) {
    variable_map out;
    if (const auto found = rules.by_login.find(std::string{login}); found != rules.by_login.end()) {
        for (const auto& [name, value] : found->second)
            out[name] = value;
    }
    if (rules.trust_startup_parameters) {
        for (const auto& [name, value] : startup_parameters) {
            if (is_variable(rules, name)) out[name] = value;
        }
    }
    return out;
}

claims_ptr resolve(
    const settings& rules,
    const variable_map& login,
    const variable_map& session,
    const variable_map& transaction) {
    auto out = std::make_shared<claims>();
    for (const auto& name : rules.variables) {
        std::string value;
        for (const auto* source : {&transaction, &session, &login}) {
            if (const auto found = source->find(name); found != source->end()) {
                value = found->second;
                break;
            }
        }
        out->empty &= value.empty();
        out->fingerprint += std::to_string(value.size());
        out->fingerprint += ':';
        out->fingerprint += value;
        out->values.push_back(std::move(value));
    }
    return out;
}

std::string injection_text(const settings& rules) {
    std::string out = "SELECT ";
    for (std::size_t i = 0; i < rules.variables.size(); ++i) {
        if (i != 0) out += ", ";
        out += "pg_catalog.set_config('";
        for (const char c : rules.variables[i]) {
            if (c == '\'') out += c;
            out += c;
        }
        out += "', $";
        out += std::to_string(i + 1);
        out += ", true)";
    }
    return out;
}

}  // namespace postern::identity
