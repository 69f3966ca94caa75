// rules.yaml: what may be cached, and which functions are vouched for.

#include "cli/configuration_parts.hpp"
#include "cli/units.hpp"
#include "sql/analyzer.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace postern::cli {

namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""h;

struct qualified_name {
    std::string schema;
    std::string name;
};

/// "schema.name", or "name" alone; a part is any text without dots and white space.
std::optional<qualified_name> split(std::string_view text) {
    const auto dot = text.find('.');
    const auto schema = dot == text.npos ? std::string_view{} : text.substr(0, dot);
    const auto name = dot == text.npos ? text : text.substr(dot + 1);
    const bool plain = text.find_first_of(" \t\r\n\"'();,") == text.npos;
    if (!plain || name.empty() || name.find('.') != name.npos || dot == 0) return std::nullopt;
    return qualified_name{std::string{schema}, std::string{name}};
}

void read_tables(section& match, std::vector<std::string>& into) {
    match.texts("tables", into);
    for (std::size_t i = 0; i < into.size(); ++i) {
        const auto parts = split(into[i]);
        const bool wild = parts && parts->name == "*";
        const bool stray = parts && !wild && into[i].find_first_of("*%?") != std::string::npos;
        if (parts && !stray && (!wild || (!parts->schema.empty() && parts->schema != "*")))
            continue;
        match.refuse_item(
            "tables",
            i,
            fmt::format("must be table, schema.table or schema.*, not \"{}\"", into[i]));
    }
}

void read_statements(section& match, cache::rule& into) {
    match.texts("statements", into.statement_patterns);
    for (std::size_t i = 0; i < into.statement_patterns.size(); ++i) {
        const auto& pattern = into.statement_patterns[i];
        const auto facts = sql::parse_facts(pattern);
        if (facts.fingerprint == 0) {
            match.refuse_item(
                "statements",
                i,
                "does not parse: it must be one whole statement in PostgreSQL's SQL");
        } else if (facts.statements.size() != 1) {
            match.refuse_item(
                "statements",
                i,
                fmt::format("must be one statement, not {}", facts.statements.size()));
        } else {
            into.statements.push_back(facts.fingerprint);
        }
    }
}

void read_match(section& rule, const session::settings& settings, cache::rule& into) {
    auto match = rule.child("match");
    read_tables(match, into.tables);
    read_statements(match, into);
    match.texts("databases", into.databases);
    match.texts("roles", into.roles);
    for (std::size_t i = 0; i < into.databases.size(); ++i) {
        const auto known =
            std::ranges::find(settings.databases, into.databases[i], &session::database::name);
        if (known != settings.databases.end()) continue;
        match.refuse_item(
            "databases",
            i,
            fmt::format("names \"{}\", which postern.yaml does not list", into.databases[i]));
    }
}

void read_rule(section& from, session::settings& settings) {
    cache::rule one;
    one.where = fmt::format("{}:{}", from.where().file, from.line());
    from.text("name", one.name);
    read_match(from, settings, one);
    from.choice<cache::rule_mode>(
        "mode",
        one.mode,
        {{"disabled", cache::rule_mode::disabled},
         {"observe", cache::rule_mode::observe},
         {"enabled", cache::rule_mode::enabled}});
    from.flag("bypass", one.bypass);
    from.duration("ttl", one.ttl, 1ms, 30 * 24h);
    from.size("max_size", one.answer_bytes_max, 1, std::int64_t{256} << 20);
    auto& rules = settings.rules.rules;
    if (!from.has("name")) {
        from.refuse_whole("needs a name");
    } else if (std::ranges::find(rules, one.name, &cache::rule::name) != rules.end()) {
        from.refuse("name", fmt::format("is \"{}\" a second time: names are unique", one.name));
    }
    rules.push_back(std::move(one));
}

void check_qualified(section& from, std::string_view key, const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto parts = split(names[i]);
        if (parts && !parts->schema.empty() && parts->name != "*") continue;
        from.refuse_item(key, i, fmt::format("must be schema.table, not \"{}\"", names[i]));
    }
}

void read_function(section& from, session::settings& settings) {
    catalog::vouched_function one;
    std::string name;
    from.text("name", name);
    from.texts("reads", one.reads);
    from.texts("writes", one.writes);
    from.flag("cacheable", one.cacheable);
    check_qualified(from, "reads", one.reads);
    check_qualified(from, "writes", one.writes);
    if (one.cacheable && !one.writes.empty()) {
        from.refuse("cacheable", "is true for a function that writes");
    }
    const auto parts = split(name);
    if (!from.has("name")) return from.refuse_whole("needs a name");
    if (!parts || parts->schema.empty()) {
        return from.refuse("name", fmt::format("must be schema.function, not \"{}\"", name));
    }
    one.schema = parts->schema;
    one.name = parts->name;
    auto& functions = settings.rules.functions;
    const auto same = [&](const catalog::vouched_function& other) {
        return other.schema == one.schema && other.name == one.name;
    };
    if (std::ranges::any_of(functions, same)) {
        from.refuse("name", fmt::format("is \"{}\" a second time: all overloads are one", name));
    }
    functions.push_back(std::move(one));
}

}  // namespace

void read_rules(findings& found, const std::string& path, session::settings& into) {
    const auto root = read_yaml(found, path);
    if (!root) return;
    section top{found, {path, "", ""}, *root, root->Mark()};
    top.each_item("rules", [&](section& one) { read_rule(one, into); });
    top.each_item("functions", [&](section& one) { read_function(one, into); });
}

}  // namespace postern::cli
