#include "pool/session_settings.hpp"

#include <algorithm>
#include <array>

namespace postern::pool {

settings_map_ptr no_settings() {
    static const auto empty = std::make_shared<const settings_map>();
    return empty;
}

bool same(const settings_map_ptr& left, const settings_map_ptr& right) noexcept {
    return left == right || *left == *right;
}

settings_map_ptr apply(
    const settings_map_ptr& before,
    const sql::setting_change& change,
    const settings_map& reset_values) {
    if (change.local) return before;
    using action = sql::setting_change::action;
    auto after = std::make_shared<settings_map>(*before);
    const auto reset_one = [&](const std::string& name) {
        const auto original = reset_values.find(name);
        if (original == reset_values.end()) {
            after->erase(name);
        } else {
            (*after)[name] = original->second;
        }
    };
    switch (change.what) {
    case action::assign:
        (*after)[change.name] = change.value;
        // PostgreSQL resets the role when the session authorisation changes.
        if (change.name == "session_authorization") after->erase("role");
        break;
    case action::reset:
        reset_one(change.name);
        if (change.name == "session_authorization") after->erase("role");
        break;
    case action::reset_all: {
        // GUC_NO_RESET_ALL: these two survive RESET ALL.
        settings_map kept;
        for (const auto* name : {"role", "session_authorization"}) {
            if (const auto found = after->find(name); found != after->end()) kept.insert(*found);
        }
        *after = reset_values;
        for (const auto& one : kept)
            (*after)[one.first] = one.second;
        break;
    }
    }
    return after;
}

std::string quote_literal(std::string_view text) {
    std::string out;
    out.reserve(text.size() + 3);
    const bool escapes = text.find('\\') != std::string_view::npos;
    out += escapes ? "E'" : "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += c;
        out += c;
    }
    out += '\'';
    return out;
}

namespace {

constexpr std::array<std::string_view, 2> first_of_all{"session_authorization", "role"};

bool comes_first(std::string_view name) {
    return std::ranges::find(first_of_all, name) != first_of_all.end();
}

void set_one(std::string& out, std::string_view name, std::string_view value) {
    out += "SELECT pg_catalog.set_config(";
    out += quote_literal(name);
    out += ',';
    out += quote_literal(value);
    out += ",false);";
}

void reset_one(std::string& out, std::string_view name) {
    if (name == "session_authorization") {
        out += "RESET SESSION AUTHORIZATION;";
        return;
    }
    // A customised option has dots, each part of it an identifier of its own.
    out += "RESET \"";
    for (const char c : name) {
        if (c == '.') {
            out += "\".\"";
        } else {
            if (c == '"') out += '"';
            out += c;
        }
    }
    out += "\";";
}

}  // namespace

std::string change_of_dress(
    const settings_map& worn,
    const settings_map& wanted,
    const settings_map& spellings) {
    std::string out;
    const auto spelled = [&](const std::string& name) -> std::string_view {
        const auto found = spellings.find(name);
        return found == spellings.end() ? name : found->second;
    };
    // Back to ourselves before anything else: another role may not be allowed to set the rest.
    for (const auto name : first_of_all) {
        const auto old_value = worn.find(name);
        if (old_value == worn.end()) continue;
        const auto new_value = wanted.find(name);
        if (new_value == wanted.end() || new_value->second != old_value->second)
            reset_one(out, name);
    }
    for (const auto& [name, value] : worn) {
        if (!comes_first(name) && !wanted.contains(name)) reset_one(out, name);
    }
    for (const auto& [name, value] : wanted) {
        if (comes_first(name)) continue;
        const auto old_value = worn.find(name);
        if (old_value == worn.end() || old_value->second != value)
            set_one(out, spelled(name), value);
    }
    for (const auto name : first_of_all) {
        const auto new_value = wanted.find(name);
        if (new_value == wanted.end()) continue;
        const auto old_value = worn.find(name);
        if (old_value == worn.end() || old_value->second != new_value->second) {
            set_one(out, name, new_value->second);
        }
    }
    return out;
}

}  // namespace postern::pool
