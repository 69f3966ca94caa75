#include "catalog/resolver.hpp"

#include "catalog/builtins.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::catalog {
namespace {

constexpr int depth_max = 32;  // of views and policies inside one another

std::string qualified(std::string_view schema, std::string_view name) {
    return schema.empty() ? std::string(name) : fmt::format("{}.{}", schema, name);
}

template <class Named>
std::string qualified(const Named& named) {
    return qualified(named.schema, named.name);
}

bool is_system_schema(std::string_view schema) noexcept {
    return schema == "pg_catalog" || schema == "information_schema" || schema == "pg_toast";
}

bool is_table(const relation& target) noexcept {
    return (target.kind == 'r' || target.kind == 'p') && target.persistence != 't';
}

bool is_write(sql::access how) noexcept {
    return how != sql::access::read && how != sql::access::lock;
}

void sort_unique(std::vector<oid>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// "schema.table" as rules.yaml writes it.
std::pair<std::string_view, std::string_view> split_name(std::string_view name) noexcept {
    const auto dot = name.find('.');
    if (dot == std::string_view::npos) return {{}, name};
    return {name.substr(0, dot), name.substr(dot + 1)};
}

}  // namespace

resolver::resolver(const catalog_index& index, const resolve_context& context)
    : index_(index)
    , path_(parse_search_path(context.search_path, context.role))
    , session_role_(index.role_by_name(context.role)) {}

footprint resolver::run(const sql::statement_facts& facts) {
    result_.why_not = facts.why_not;
    result_.why_not_detail = facts.why_not_detail;
    result_.repeatable = facts.repeatable;
    result_.changes_catalog = facts.changes_catalog;
    uses(facts, {path_, session_role_, reason::none, {}, 0, facts.attributes});
    sort_unique(result_.reads);
    sort_unique(result_.writes);
    return std::move(result_);
}

// The first refusal is the one that is reported.
void resolver::deny(const scope& where, reason why, std::string_view detail) {
    result_.repeatable &= sql::is_repeatable(why, detail);
    if (result_.why_not != reason::none) return;
    if (where.wrapped_as == reason::none) {
        result_.why_not = why;
        result_.why_not_detail = detail;
    } else {
        result_.why_not = where.wrapped_as;
        result_.why_not_detail = fmt::format("{}: {} {}", where.label, code(why), detail);
    }
}

void resolver::uses(const sql::statement_facts& facts, const scope& where) {
    if (facts.writes_everything) write_everything();
    if (facts.pin != sql::pin_cause::none) pin(facts.pin, facts.pin_detail);
    for (const auto& use : facts.relations) {
        is_write(use.how) ? write(use, where) : read(use, where);
    }
    for (const auto& use : facts.functions)
        call(use, where);
    for (const auto& use : facts.operators)
        apply_operator(use, where);
    for (const auto& use : facts.types)
        name_type(use, where);
    for (const auto& name : facts.current_settings)
        read_setting(name, where);
}

// The first cause is the one that is reported.
void resolver::pin(sql::pin_cause cause, std::string_view detail) {
    if (result_.pin != sql::pin_cause::none) return;
    result_.pin = cause;
    result_.pin_detail = detail;
}

// ---- reads

void resolver::read(const sql::relation_use& use, const scope& where) {
    const auto targets = index_.relations(use.schema, use.name, where.path);
    if (targets.empty()) {
        const bool system = is_system_schema(use.schema);
        deny(where, system ? reason::system_catalog : reason::unknown_relation, qualified(use));
    }
    for (const auto* target : targets)
        read_relation(*target, where);
}

void resolver::read_relation(const relation& target, const scope& where) {
    if (is_system_schema(target.schema)) {
        deny(where, reason::system_catalog, qualified(target));
    } else if (target.kind == 'v') {
        read_view(target, where);
    } else if (is_table(target)) {
        read_table(target, where);
    } else {
        deny(where, reason::not_a_table, qualified(target));
    }
}

void resolver::read_table(const relation& table, const scope& where) {
    read_row_functions(table, where);
    // A policy that reads its own table ends here; PostgreSQL refuses to run such a one.
    if (!seen_reads_.emplace(table.id, where.as).second) return;
    for (const auto* one : descendants(table)) {
        if (!is_table(*one)) deny(where, reason::not_a_table, qualified(*one));
        result_.reads.push_back(one->id);
    }
    if (policies_apply(table, where.as)) read_policies(table, where);
}

void resolver::read_view(const relation& view, const scope& where) {
    // A view reads with its owner's rights and policies, or with those of whoever reads the view.
    const actor as = view.security_invoker ? where.as : index_.role_by_id(view.owner);
    read_row_functions(view, where);
    if (!seen_reads_.emplace(view.id, as).second) return;
    const auto& definition = index_.view(view.id);
    scope inside{
        catalog_only_,
        as,
        reason::view_not_understood,
        qualified(view),
        where.depth + 1,
        definition.facts.attributes};
    if (where.wrapped_as != reason::none) {
        inside.wrapped_as = where.wrapped_as;
        inside.label = fmt::format("{}: {}", where.label, inside.label);
    }
    if (!definition.understood) deny(inside, reason::view_not_understood, definition.why);
    if (inside.depth > depth_max) {
        deny(inside, reason::view_not_understood, "nested too deeply");
        write_everything();
        return;
    }
    uses(definition.facts, inside);
}

void resolver::read_policies(const relation& table, const scope& where) {
    result_.identity_matters = true;
    for (const auto& known : index_.policies(table.id)) {
        const auto& rule = *known.rule;
        if ((rule.command != 'r' && rule.command != '*') || !concerns(rule, where.as)) continue;
        const scope inside{
            catalog_only_,
            where.as,
            reason::policy_not_understood,
            fmt::format("{} on {}", rule.name, qualified(table)),
            where.depth + 1,
            known.visible.facts.attributes};
        if (!known.visible.understood) {
            deny(inside, reason::policy_not_understood, known.visible.why);
        }
        if (inside.depth > depth_max) {
            deny(inside, reason::policy_not_understood, "nested too deeply");
            write_everything();
            continue;
        }
        uses(known.visible.facts, inside);
    }
}

// `t.f` is a call of f(t) where t has no column f.
void resolver::read_row_functions(const relation& table, const scope& where) {
    const auto& names = where.attributes;
    if (names.empty()) return;
    for (const oid id : table.row_functions) {
        const auto* callee = index_.function_by_id(id);
        if (callee == nullptr) continue;
        if (std::find(names.begin(), names.end(), callee->name) != names.end()) {
            call_user(*callee, where);
        }
    }
}

bool resolver::policies_apply(const relation& table, actor as) const {
    if (!table.rls_enabled) return false;
    if (as == nullptr) return true;
    if (as->superuser || as->bypass_rls) return false;
    // A member of the owning role is exempt only where it inherits; assuming that it is not costs
    // a narrower key, never a wrong answer.
    return table.rls_forced || as->id != table.owner;
}

bool resolver::concerns(const policy& rule, actor as) {
    if (as == nullptr || rule.roles.empty()) return true;
    return std::any_of(rule.roles.begin(), rule.roles.end(), [as](oid id) {
        return id == 0 || id == as->id ||
               std::find(as->member_of.begin(), as->member_of.end(), id) != as->member_of.end();
    });
}

std::vector<const relation*> resolver::descendants(const relation& root) const {
    std::vector<const relation*> found{&root};
    std::set<oid> seen{root.id};
    for (std::size_t at = 0; at < found.size(); ++at) {
        for (const oid id : found[at]->children) {
            const auto* child = index_.relation_by_id(id);
            if (child != nullptr && seen.insert(id).second) found.push_back(child);
        }
    }
    return found;
}

// ---- writes

void resolver::write(const sql::relation_use& use, const scope& where) {
    const auto targets = index_.relations(use.schema, use.name, where.path);
    if (targets.empty()) {
        deny(where, reason::unknown_relation, qualified(use));
        write_everything();
    }
    for (const auto* target : targets) {
        write_relation(*target, use.how, 0);
        if (target->kind == 'v') read_view(*target, where);  // whose functions run as well
    }
}

void resolver::write_relation(const relation& target, sql::access how, int depth) {
    if (is_system_schema(target.schema)) {
        result_.changes_catalog = true;
        write_everything();
    } else if (target.kind == 'v' && depth < depth_max) {
        write_view(target, how, depth);
    } else if (is_table(target)) {
        // A row that moves to another partition is deleted from its old one.
        const bool update = how == sql::access::update;
        const bool truncate = how == sql::access::truncate;
        const bool moves = update && target.kind == 'p';
        write_table(
            {target.id, update, how == sql::access::delete_ || truncate || moves, truncate});
    } else {
        write_everything();
    }
}

// What an automatically updatable view hands its writes to is among the relations that it names.
void resolver::write_view(const relation& view, sql::access how, int depth) {
    if (!seen_view_writes_.emplace(view.id, how).second) return;
    run_triggers(view);
    const auto& definition = index_.view(view.id);
    if (!definition.understood || view.has_user_rules) return write_everything();
    for (const auto& use : definition.facts.relations) {
        const auto bases = index_.relations(use.schema, use.name, catalog_only_);
        if (bases.empty()) write_everything();
        for (const auto* base : bases)
            write_relation(*base, how, depth + 1);
    }
}

void resolver::write_table(touch first) {
    std::vector<touch> pending{first};
    while (!pending.empty()) {
        const touch one = pending.back();
        pending.pop_back();
        if (seen_writes_.insert(one).second) write_one(one, pending);
    }
}

void resolver::write_one(const touch& one, std::vector<touch>& pending) {
    const auto* table = index_.relation_by_id(one.table);
    if (table == nullptr || !is_table(*table) || table->has_user_rules) return write_everything();
    result_.writes.push_back(table->id);
    run_triggers(*table);
    for (const oid id : table->children) {
        pending.push_back({id, one.update, one.remove, one.truncate});
    }
    for (const auto* key : index_.cascades(table->id)) {
        if (one.truncate) pending.push_back({key->child, false, true, true});
        // SET NULL and SET DEFAULT update what CASCADE would delete.
        if (one.remove && key->on_delete) pending.push_back({key->child, true, true, false});
        if (one.update && key->on_update) pending.push_back({key->child, true, false, false});
    }
}

void resolver::run_triggers(const relation& table) {
    for (const auto* one : index_.triggers(table.id)) {
        const auto* callee = index_.function_by_id(one->function);
        if (callee == nullptr) {
            write_everything();
        } else if (const auto* known = index_.vouched(callee->schema, callee->name)) {
            write_vouched(*known);
        } else if (callee->schema != "pg_catalog") {
            write_everything();
        }
    }
}

// ---- functions, operators, types, settings

void resolver::call(const sql::function_use& use, const scope& where) {
    const auto callees = index_.functions(use.schema, use.name, where.path);
    if (callees.empty()) {
        // It may have come into being since the snapshot was taken.
        deny(where, reason::unknown_function, qualified(use));
        write_everything();
        pin(sql::pin_cause::unknown_effect, qualified(use));
        return;
    }
    char builtin_volatility = 0;
    for (const auto* callee : callees) {
        if (callee->schema != "pg_catalog") {
            call_user(*callee, where);
        } else if (builtin_volatility != 'v' && callee->volatility != 'i') {
            builtin_volatility = callee->volatility;
        } else if (builtin_volatility == 0) {
            builtin_volatility = 'i';
        }
    }
    if (builtin_volatility != 0) call_builtin(use.name, builtin_volatility, where);
}

void resolver::call_builtin(std::string_view name, char volatility, const scope& where) {
    if (const auto* known = index_.vouched("pg_catalog", name)) return call_vouched(*known, where);
    switch (judge_builtin(name, volatility)) {
    case builtin_effect::pure: return;
    case builtin_effect::session: return deny(where, reason::session_dependent, name);
    case builtin_effect::changes_nothing: break;
    case builtin_effect::session_lock: pin(sql::pin_cause::advisory_lock, name); break;
    case builtin_effect::session_setting: pin(sql::pin_cause::unknown_setting, name); break;
    case builtin_effect::unknown: write_everything(); break;
    }
    deny(where, reason::volatile_function, name);
}

void resolver::call_user(const function& callee, const scope& where) {
    if (const auto* known = index_.vouched(callee.schema, callee.name)) {
        return call_vouched(*known, where);
    }
    deny(where, reason::user_function, qualified(callee));
    if (callee.volatility != 'v') return;
    write_everything();
    pin(sql::pin_cause::unknown_effect, qualified(callee));
}

// What a foreign key, a trigger or a voucher writes could be any change of any row.
void resolver::write_vouched(const vouched_function& callee) {
    for (const auto& name : callee.writes) {
        const auto [schema, table] = split_name(name);
        const auto targets = index_.relations(schema, table, catalog_only_);
        if (targets.empty()) write_everything();
        for (const auto* target : targets) {
            if (is_table(*target)) {
                write_table({target->id, true, true, false});
            } else {
                write_relation(*target, sql::access::update, 0);
                write_relation(*target, sql::access::delete_, 0);
            }
        }
    }
}

void resolver::call_vouched(const vouched_function& callee, const scope& where) {
    write_vouched(callee);
    if (!callee.cacheable) return deny(where, reason::user_function, qualified(callee));
    // Its result may depend on the identity, and its `reads` are all that it reads: the policies on
    // them are the voucher's business.
    result_.identity_matters = true;
    for (const auto& name : callee.reads) {
        const auto [schema, table] = split_name(name);
        const auto targets = index_.relations(schema, table, catalog_only_);
        if (targets.empty()) deny(where, reason::unknown_relation, name);
        for (const auto* target : targets) {
            for (const auto* one : descendants(*target)) {
                if (!is_table(*one)) deny(where, reason::not_a_table, qualified(*one));
                result_.reads.push_back(one->id);
            }
        }
    }
}

void resolver::apply_operator(const sql::name_use& use, const scope& where) {
    if (use.schema == "pg_catalog") return;
    if (!use.schema.empty() || index_.has_operator(use.schema, use.name, where.path)) {
        deny(where, reason::unknown_operator, qualified(use));
    }
    if (index_.has_volatile_operator(use.schema, use.name, where.path)) write_everything();
}

void resolver::name_type(const sql::name_use& use, const scope& where) {
    const bool builtin = use.schema == "pg_catalog" ||
                         (use.schema.empty() && where.path.catalog_first);
    switch (builtin ? judge_builtin_type(use.name) : builtin_type::unknown) {
    case builtin_type::plain: return;
    case builtin_type::catalog: return deny(where, reason::system_catalog, qualified(use));
    case builtin_type::unknown: break;
    }
    if (!index_.has_type(use.schema, use.name, where.path)) {
        deny(where, reason::unknown_type, qualified(use));
    }
}

void resolver::read_setting(std::string_view name, const scope& where) {
    if (index_.is_identity_variable(name)) {
        result_.identity_matters = true;
    } else {
        deny(where, reason::session_dependent, name);
    }
}

}  // namespace postern::catalog
