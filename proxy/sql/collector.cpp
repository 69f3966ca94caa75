#include "sql/collector.hpp"

#include "sql/parse.hpp"

#include <algorithm>
#include <utility>

namespace postern::sql {

namespace {

/// The cause that lasts longest wins: what can't be undone by a command hides what can.
int lastingness(pin_cause cause) noexcept {
    switch (cause) {
    case pin_cause::none: return 0;
    case pin_cause::listen: return 1;
    case pin_cause::sql_prepare: return 2;
    case pin_cause::with_hold_cursor: return 3;
    case pin_cause::advisory_lock: return 4;
    case pin_cause::temporary_object: return 5;
    case pin_cause::load: return 6;
    case pin_cause::unknown_setting: return 7;
    case pin_cause::unread_catalog: return 8;  // never the text's own
    case pin_cause::unknown_effect: return 9;
    }
    return 9;
}

/// Writes before locks before reads.
int strength(access how) noexcept {
    switch (how) {
    case access::read: return 0;
    case access::lock: return 1;
    case access::insert: return 2;
    case access::update: return 3;
    case access::delete_: return 4;
    case access::truncate: return 5;
    }
    return 0;
}

}  // namespace

statement_facts collector::collect(const PgQuery__Node* node) {
    facts_.why_not = reason::none;
    statement(node);
    finish();
    return std::move(facts_);
}

void collector::finish() {
    if (!understood_) {
        std::string detail = std::move(facts_.why_not_detail);
        facts_ = unknown_statement();
        facts_.why_not_detail = std::move(detail);
        return;
    }
    const bool selects_into = facts_.kind == statement_kind::ddl &&
                              facts_.why_not == reason::writes;
    facts_.repeatable &= facts_.kind == statement_kind::select;
    if (facts_.kind != statement_kind::select && !selects_into) {
        facts_.why_not = reason::not_a_select;
    }
    std::stable_sort(
        facts_.relations.begin(),
        facts_.relations.end(),
        [](const auto& a, const auto& b) { return strength(a.how) > strength(b.how); });
}

void collector::statement(const PgQuery__Node* node) {
    const tree_message* message = unwrap(node);
    if (message == nullptr) {
        understood_ = false;
        return;
    }
    const auto found = statement_handlers().find(message->descriptor);
    if (found == statement_handlers().end()) {
        unknown_node(*message);
        return;
    }
    (this->*found->second)(*message);
}

void collector::inner_statement(const PgQuery__Node* node) {
    const bool was_top_level = std::exchange(top_level_, false);
    statement(node);
    top_level_ = was_top_level;
}

void collector::visit(const tree_message& message) {
    const auto found = node_handlers().find(message.descriptor);
    if (found != node_handlers().end()) {
        (this->*found->second)(message);
        return;
    }
    if (mode_ == mode::query) {
        unknown_node(message);
        return;
    }
    descend(message);  // a definition counts as having written everything, whatever it holds
}

void collector::visit(const PgQuery__Node* node) {
    if (const tree_message* message = unwrap(node)) visit(*message);
}

void collector::descend(const tree_message& message) {
    for_each_child(message, [this](const tree_message& child) { visit(child); });
}

void collector::with_scope(
    const tree_message& message,
    const PgQuery__WithClause* with,
    std::initializer_list<const void*> handled_already) {
    const std::size_t outer = ctes_.size();
    if (with != nullptr) open_with(*with);
    for_each_child(message, [&](const tree_message& child) {
        const void* address = &child;
        if (address == with || std::find(handled_already.begin(), handled_already.end(), address) !=
                                   handled_already.end()) {
            return;
        }
        visit(child);
    });
    ctes_.resize(outer);
}

/// A CTE is visible to those after it and to the statement; under RECURSIVE to all of its list and
/// to itself (transformWithClause in PostgreSQL's parse_cte.c).
void collector::open_with(const PgQuery__WithClause& with) {
    const auto entry = [&](std::size_t i) {
        return unwrap_as<PgQuery__CommonTableExpr>(
            with.ctes[i],
            PG_QUERY__NODE__NODE_COMMON_TABLE_EXPR);
    };
    if (with.recursive != 0) {
        for (std::size_t i = 0; i < with.n_ctes; ++i) {
            if (const auto* cte = entry(i)) ctes_.emplace_back(cte->ctename);
        }
    }
    for (std::size_t i = 0; i < with.n_ctes; ++i) {
        const auto* cte = entry(i);
        if (cte == nullptr) {
            understood_ = false;
            return;
        }
        const bool was_top_level = std::exchange(top_level_, false);
        descend(cte->base);
        top_level_ = was_top_level;
        if (with.recursive == 0) ctes_.emplace_back(cte->ctename);
    }
}

void collector::refuse(reason why, std::string_view detail) {
    facts_.repeatable &= is_repeatable(why, detail);
    if (facts_.why_not == reason::writes) return;
    if (facts_.why_not != reason::none && why != reason::writes) return;
    facts_.why_not = why;
    facts_.why_not_detail = detail;
}

void collector::pin(pin_cause cause, std::string_view detail) {
    if (lastingness(cause) <= lastingness(facts_.pin)) return;
    facts_.pin = cause;
    facts_.pin_detail = detail;
}

void collector::unknown_node(const tree_message& message) {
    if (understood_) facts_.why_not_detail = message.descriptor->short_name;
    understood_ = false;
}

void collector::note_schema(std::string_view schema) {
    if (schema == "pg_temp" || schema.starts_with("pg_temp_")) {
        pin(pin_cause::temporary_object, schema);
        refuse(reason::not_a_table, schema);
    }
}

void collector::add_relation(const PgQuery__RangeVar* relation, access how) {
    if (relation == nullptr) return;
    const std::string_view schema = relation->schemaname;
    const std::string_view name = relation->relname;
    note_schema(schema);
    if (std::string_view(relation->relpersistence) == "t") pin(pin_cause::temporary_object, name);
    if (schema == "pg_catalog" || schema == "information_schema" || schema == "pg_toast") {
        refuse(reason::system_catalog, name);
    }
    relation_use use{std::string(schema), std::string(name), how};
    if (std::find(facts_.relations.begin(), facts_.relations.end(), use) ==
        facts_.relations.end()) {
        facts_.relations.push_back(std::move(use));
    }
}

void collector::add_operator(std::string_view schema, std::string_view name) {
    name_use use{std::string(schema), std::string(name)};
    if (std::find(facts_.operators.begin(), facts_.operators.end(), use) ==
        facts_.operators.end()) {
        facts_.operators.push_back(std::move(use));
    }
}

void collector::add_operator(PgQuery__Node* const* names, std::size_t count) {
    if (count == 0) return;
    const char* name = string_value(names[count - 1]);
    const char* schema = count > 1 ? string_value(names[count - 2]) : "";
    if (name == nullptr || schema == nullptr) {
        understood_ = false;
        return;
    }
    add_operator(schema, name);
}

bool has_option(PgQuery__Node* const* options, std::size_t count, std::string_view name) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto* option = unwrap_as<PgQuery__DefElem>(options[i], PG_QUERY__NODE__NODE_DEF_ELEM);
        if (option == nullptr || lower(option->defname) != name) continue;
        if (unwrap(option->arg) == nullptr) return true;
        const char* word = string_value(option->arg);
        if (word != nullptr) {
            const std::string value = lower(word);
            if (value == "false" || value == "off") continue;
        }
        const auto* number = unwrap_as<PgQuery__Integer>(option->arg, PG_QUERY__NODE__NODE_INTEGER);
        if (number != nullptr && number->ival == 0) continue;
        return true;
    }
    return false;
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

}  // namespace postern::sql
