// A small made-up database: rows are added by name, and statements are facts made by hand.

#pragma once

#include "catalog/snapshot.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::catalog::test {

class world {
public:
    world() {
        data.identity_variables = {"app.user_id"};
        add_role("postgres").superuser = true;
        add_role("owner");
        add_role("app");
        for (const auto* name : {"count", "lower", "timezone", "sum"})
            add_function("pg_catalog", name, 'i');
        add_function("pg_catalog", "to_char", 's');
        add_function("pg_catalog", "pg_backend_pid", 's');
        add_function("pg_catalog", "random", 'v');
        add_function("pg_catalog", "nextval", 'v');
        add_function("pg_catalog", "query_to_xml", 'v');
        add_function("pg_catalog", "pg_advisory_lock", 'v');
        add_function("pg_catalog", "set_config", 'v');
        add_table("pg_class", "pg_catalog");
    }

    relation& add_table(std::string name, std::string schema = "public", char kind = 'r') {
        relation one;
        one.id = ++last_id_;
        one.schema = std::move(schema);
        one.name = std::move(name);
        one.kind = kind;
        one.owner = id_of_role("owner");
        data.relations.push_back(std::move(one));
        return data.relations.back();
    }
    relation& add_view(std::string name, std::string definition) {
        auto& view = add_table(std::move(name), "public", 'v');
        view.view_definition = std::move(definition);
        return view;
    }
    relation& add_child(std::string_view parent, std::string name) {
        auto& child = add_table(std::move(name));
        table(parent).children.push_back(child.id);
        return child;
    }
    void add_key(std::string_view parent, std::string_view child, bool on_delete, bool on_update) {
        data.cascades.push_back({id(parent), id(child), on_delete, on_update});
    }
    oid add_function(std::string schema, std::string name, char volatility) {
        data.functions.push_back({++last_id_, std::move(schema), std::move(name), volatility});
        return last_id_;
    }
    void add_trigger(std::string_view on, oid function) {
        data.triggers.push_back({id(on), "trigger", function});
    }
    role& add_role(std::string name) {
        role one;
        one.id = ++last_id_;
        one.name = std::move(name);
        data.roles.push_back(std::move(one));
        return data.roles.back();
    }
    void protect(
        std::string_view name,
        std::string expression,
        char command = '*',
        std::string_view to = "") {
        table(name).rls_enabled = true;
        policy rule;
        rule.table = id(name);
        rule.name = "members";
        rule.command = command;
        rule.roles = {to.empty() ? 0 : id_of_role(to)};
        rule.using_expression = std::move(expression);
        data.policies.push_back(std::move(rule));
    }

    relation& table(std::string_view name) {
        return *std::find_if(data.relations.begin(), data.relations.end(), [&](const auto& one) {
            return one.name == name;
        });
    }
    oid id(std::string_view name) { return table(name).id; }
    std::vector<oid> ids(std::vector<std::string_view> names) {
        std::vector<oid> found;
        for (const auto name : names)
            found.push_back(id(name));
        std::sort(found.begin(), found.end());
        return found;
    }
    role& role_named(std::string_view name) {
        return *std::find_if(data.roles.begin(), data.roles.end(), [&](const auto& one) {
            return one.name == name;
        });
    }
    oid id_of_role(std::string_view name) { return role_named(name).id; }

    footprint resolve(
        const sql::statement_facts& facts,
        const std::string& role = "app",
        const std::string& path = "\"$user\", public") const {
        return snapshot(data, 1).resolve(facts, {path, role});
    }

    snapshot_data data;

private:
    oid last_id_ = 16384;
};

/// SELECT from `tables`, nothing else.
inline sql::statement_facts reading(std::vector<std::string> tables) {
    sql::statement_facts facts;
    facts.kind = sql::statement_kind::select;
    facts.why_not = reason::none;
    for (auto& name : tables)
        facts.relations.push_back({"", std::move(name), sql::access::read});
    return facts;
}

/// SELECT name(…).
inline sql::statement_facts calling(std::string name, std::string schema = "") {
    auto facts = reading({});
    facts.functions.push_back({std::move(schema), std::move(name)});
    return facts;
}

inline sql::statement_facts writing(std::string table, sql::access how) {
    sql::statement_facts facts;
    facts.kind = sql::statement_kind::update;
    facts.why_not = reason::not_a_select;
    facts.relations.push_back({"", std::move(table), how});
    return facts;
}

}  // namespace postern::catalog::test
