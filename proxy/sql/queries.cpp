// SELECT and the statements that change rows.

#include "sql/collector.hpp"

#include <utility>

namespace postern::sql {

void collector::select(const tree_message& message) {
    const auto& query = as<PgQuery__SelectStmt>(message);
    const bool was_top_level = std::exchange(top_level_, false);
    if (was_top_level) {
        facts_.kind = statement_kind::select;
        plain_set_configs(query);
    }
    with_scope(message, query.with_clause, {});
    top_level_ = was_top_level;
}

/// SELECT INTO makes a table; where it stands in a SELECT decides whether PostgreSQL accepts it.
void collector::into_clause(const tree_message& message) {
    facts_.kind = statement_kind::ddl;
    facts_.changes_catalog = true;
    facts_.writes_everything = true;
    refuse(reason::writes, "SELECT INTO");
    const auto& into = as<PgQuery__IntoClause>(message);
    add_relation(into.rel, access::insert);
}

/// FOR UPDATE and its kin. The names after OF are those of range table entries, not of relations.
void collector::locking_clause(const tree_message& message) {
    static_cast<void>(message);
    facts_.takes_locks = true;
    refuse(reason::locking_clause, "FOR UPDATE or FOR SHARE");
}

void collector::changes_rows(statement_kind kind) {
    if (top_level_) {
        facts_.kind = kind;
    } else {
        refuse(reason::writes, "a data-modifying statement inside");
    }
}

void collector::insert(const tree_message& message) {
    const auto& command = as<PgQuery__InsertStmt>(message);
    changes_rows(statement_kind::insert);
    const bool was_top_level = std::exchange(top_level_, false);
    add_relation(command.relation, access::insert);
    if (command.on_conflict_clause != nullptr &&
        command.on_conflict_clause->action == PG_QUERY__ON_CONFLICT_ACTION__ONCONFLICT_UPDATE) {
        add_relation(command.relation, access::update);
    }
    with_scope(message, command.with_clause, {command.relation});
    top_level_ = was_top_level;
}

void collector::update(const tree_message& message) {
    const auto& command = as<PgQuery__UpdateStmt>(message);
    changes_rows(statement_kind::update);
    const bool was_top_level = std::exchange(top_level_, false);
    add_relation(command.relation, access::update);
    if (std::string_view{command.relation->relname} == "pg_settings") {
        // A view whose rule calls set_config() for every row.
        facts_.hidden_settings.emplace_back();
        pin(pin_cause::unknown_setting, "pg_settings");
    }
    with_scope(message, command.with_clause, {command.relation});
    top_level_ = was_top_level;
}

void collector::delete_rows(const tree_message& message) {
    const auto& command = as<PgQuery__DeleteStmt>(message);
    changes_rows(statement_kind::delete_);
    const bool was_top_level = std::exchange(top_level_, false);
    add_relation(command.relation, access::delete_);
    with_scope(message, command.with_clause, {command.relation});
    top_level_ = was_top_level;
}

void collector::merge(const tree_message& message) {
    const auto& command = as<PgQuery__MergeStmt>(message);
    changes_rows(statement_kind::merge);
    const bool was_top_level = std::exchange(top_level_, false);
    bool writes = false;
    for (std::size_t i = 0; i < command.n_merge_when_clauses; ++i) {
        const auto* clause = unwrap_as<PgQuery__MergeWhenClause>(
            command.merge_when_clauses[i],
            PG_QUERY__NODE__NODE_MERGE_WHEN_CLAUSE);
        if (clause == nullptr) continue;
        switch (clause->command_type) {
        case PG_QUERY__CMD_TYPE__CMD_INSERT: add_relation(command.relation, access::insert); break;
        case PG_QUERY__CMD_TYPE__CMD_DELETE: add_relation(command.relation, access::delete_); break;
        case PG_QUERY__CMD_TYPE__CMD_NOTHING: continue;
        default: add_relation(command.relation, access::update);
        }
        writes = true;
    }
    if (!writes) add_relation(command.relation, access::update);
    with_scope(message, command.with_clause, {command.relation});
    top_level_ = was_top_level;
}

}  // namespace postern::sql
