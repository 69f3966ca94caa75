// Commands that are neither queries, nor definitions, nor SET.

#include "sql/collector.hpp"

#include <string_view>
#include <utility>

namespace postern::sql {

namespace {

/// CURSOR_OPT_HOLD of PostgreSQL's parsenodes.h.
constexpr int cursor_option_hold = 0x0020;

}  // namespace

const collector::handler_map& collector::statement_handlers() {
    static const handler_map handlers = [] {
        handler_map map;
        const auto add = [&map](handler how, auto... descriptors) {
            (map.emplace(descriptors, how), ...);
        };
        add(&collector::select, &pg_query__select_stmt__descriptor);
        add(&collector::insert, &pg_query__insert_stmt__descriptor);
        add(&collector::update, &pg_query__update_stmt__descriptor);
        add(&collector::delete_rows, &pg_query__delete_stmt__descriptor);
        add(&collector::merge, &pg_query__merge_stmt__descriptor);
        add(&collector::copy, &pg_query__copy_stmt__descriptor);
        add(&collector::explain, &pg_query__explain_stmt__descriptor);
        add(&collector::transaction, &pg_query__transaction_stmt__descriptor);
        add(&collector::set, &pg_query__variable_set_stmt__descriptor);
        add(&collector::show, &pg_query__variable_show_stmt__descriptor);
        add(&collector::set_constraints, &pg_query__constraints_set_stmt__descriptor);
        add(&collector::discard, &pg_query__discard_stmt__descriptor);
        add(&collector::listen, &pg_query__listen_stmt__descriptor);
        add(&collector::unlisten, &pg_query__unlisten_stmt__descriptor);
        add(&collector::notify, &pg_query__notify_stmt__descriptor);
        add(&collector::prepare, &pg_query__prepare_stmt__descriptor);
        add(&collector::execute, &pg_query__execute_stmt__descriptor);
        add(&collector::deallocate, &pg_query__deallocate_stmt__descriptor);
        add(&collector::declare_cursor, &pg_query__declare_cursor_stmt__descriptor);
        add(&collector::fetch, &pg_query__fetch_stmt__descriptor);
        add(&collector::close_cursor, &pg_query__close_portal_stmt__descriptor);
        add(&collector::lock_table, &pg_query__lock_stmt__descriptor);
        add(&collector::truncate, &pg_query__truncate_stmt__descriptor);
        add(&collector::call, &pg_query__call_stmt__descriptor);
        add(&collector::do_block, &pg_query__do_stmt__descriptor);
        add(&collector::load, &pg_query__load_stmt__descriptor);
        add_definitions(map);
        return map;
    }();
    return handlers;
}

void collector::copy(const tree_message& message) {
    const auto& command = as<PgQuery__CopyStmt>(message);
    const bool is_from = command.is_from != 0;
    if (command.relation != nullptr) {
        add_relation(command.relation, is_from ? access::insert : access::read);
    }
    if (command.query != nullptr) inner_statement(command.query);
    visit(command.where_clause);
    facts_.kind = is_from ? statement_kind::copy_from : statement_kind::copy_to;
    const bool on_server = command.is_program != 0 || command.filename[0] != '\0';
    facts_.is_multi_row_copy = !on_server;
    if (on_server) facts_.writes_everything = true;  // a program may do anything
}

/// EXPLAIN without ANALYZE only plans: it reads the catalog, and folds functions that are not
/// volatile.
void collector::explain(const tree_message& message) {
    const auto& command = as<PgQuery__ExplainStmt>(message);
    inner_statement(command.query);
    facts_.kind = statement_kind::explain;
    facts_.is_multi_row_copy = false;
    facts_.object_name.clear();
    facts_.command_tag.clear();
    if (has_option(command.options, command.n_options, "analyze")) return;
    facts_.writes_everything = false;
    facts_.changes_catalog = false;
    facts_.takes_locks = false;
    facts_.pin = pin_cause::none;
    facts_.pin_detail.clear();
    facts_.settings.clear();
    facts_.hidden_settings.clear();
    for (relation_use& relation : facts_.relations)
        relation.how = access::read;
}

void collector::transaction(const tree_message& message) {
    const auto& command = as<PgQuery__TransactionStmt>(message);
    const auto is = [this](statement_kind kind, std::string_view tag) {
        facts_.kind = kind;
        facts_.command_tag = tag;
    };
    facts_.chain = command.chain != 0;
    switch (command.kind) {
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN:
        is(statement_kind::begin, "BEGIN");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START:
        is(statement_kind::begin, "START TRANSACTION");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT:
        is(statement_kind::commit, "COMMIT");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK:
        is(statement_kind::rollback, "ROLLBACK");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_SAVEPOINT:
        is(statement_kind::savepoint, "SAVEPOINT");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_RELEASE:
        is(statement_kind::release_savepoint, "RELEASE");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_TO:
        is(statement_kind::rollback_to_savepoint, "ROLLBACK");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_PREPARE:
        is(statement_kind::prepare_transaction, "PREPARE TRANSACTION");
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT_PREPARED:
        is(statement_kind::commit_prepared, "COMMIT PREPARED");
        facts_.writes_everything = true;  // what that transaction wrote is not in the text
        facts_.changes_catalog = true;
        facts_.refuses_transaction = true;
        break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK_PREPARED:
        is(statement_kind::rollback_prepared, "ROLLBACK PREPARED");
        facts_.refuses_transaction = true;
        break;
    default: understood_ = false; return;
    }
    facts_.object_name = command.gid[0] != '\0' ? command.gid : command.savepoint_name;
    transaction_modes(command.options, command.n_options);
}

void collector::show(const tree_message& message) {
    facts_.kind = statement_kind::show;
    facts_.object_name = lower(as<PgQuery__VariableShowStmt>(message).name);
    facts_.command_tag = "SHOW";
}

/// SET CONSTRAINTS may run deferred triggers here and now.
void collector::set_constraints(const tree_message& message) {
    static_cast<void>(message);
    facts_.kind = statement_kind::set;
    facts_.command_tag = "SET CONSTRAINTS";
    facts_.takes_locks = true;
}

void collector::discard(const tree_message& message) {
    facts_.kind = statement_kind::discard;
    switch (as<PgQuery__DiscardStmt>(message).target) {
    case PG_QUERY__DISCARD_MODE__DISCARD_ALL: {
        // DiscardAll in PostgreSQL's discard.c: session_authorization first, then RESET ALL.
        facts_.object_name = "all";
        facts_.command_tag = "DISCARD ALL";
        facts_.refuses_transaction = true;
        setting_change user;
        user.what = setting_change::action::reset;
        user.name = "session_authorization";
        facts_.settings.push_back(std::move(user));
        setting_change all;
        all.what = setting_change::action::reset_all;
        facts_.settings.push_back(std::move(all));
        return;
    }
    case PG_QUERY__DISCARD_MODE__DISCARD_PLANS:
        facts_.object_name = "plans";
        facts_.command_tag = "DISCARD PLANS";
        return;
    case PG_QUERY__DISCARD_MODE__DISCARD_SEQUENCES:
        facts_.object_name = "sequences";
        facts_.command_tag = "DISCARD SEQUENCES";
        return;
    case PG_QUERY__DISCARD_MODE__DISCARD_TEMP:
        facts_.object_name = "temp";
        facts_.command_tag = "DISCARD TEMP";
        return;
    default: understood_ = false;
    }
}

void collector::listen(const tree_message& message) {
    facts_.kind = statement_kind::listen;
    facts_.object_name = as<PgQuery__ListenStmt>(message).conditionname;
    facts_.command_tag = "LISTEN";
    pin(pin_cause::listen, facts_.object_name);
}

void collector::unlisten(const tree_message& message) {
    facts_.kind = statement_kind::unlisten;
    facts_.object_name = as<PgQuery__UnlistenStmt>(message).conditionname;  // empty: all
    facts_.command_tag = "UNLISTEN";
}

void collector::notify(const tree_message& message) {
    facts_.kind = statement_kind::notify;
    facts_.object_name = as<PgQuery__NotifyStmt>(message).conditionname;
    facts_.command_tag = "NOTIFY";
}

void collector::prepare(const tree_message& message) {
    const auto& command = as<PgQuery__PrepareStmt>(message);
    for (std::size_t i = 0; i < command.n_argtypes; ++i)
        visit(command.argtypes[i]);
    inner_statement(command.query);
    facts_.kind = statement_kind::prepare;
    facts_.object_name = command.name;
    facts_.prepared_names.emplace_back(command.name);
    facts_.command_tag = "PREPARE";
    pin(pin_cause::sql_prepare, command.name);
}

void collector::execute(const tree_message& message) {
    const auto& command = as<PgQuery__ExecuteStmt>(message);
    for (std::size_t i = 0; i < command.n_params; ++i)
        visit(command.params[i]);
    facts_.kind = statement_kind::execute;
    facts_.object_name = command.name;
    facts_.prepared_names.emplace_back(command.name);
    facts_.writes_everything = true;
    facts_.takes_locks = true;
}

void collector::deallocate(const tree_message& message) {
    facts_.kind = statement_kind::deallocate;
    facts_.object_name = as<PgQuery__DeallocateStmt>(message).name;
    if (!facts_.object_name.empty()) facts_.prepared_names.push_back(facts_.object_name);
    facts_.command_tag = facts_.object_name.empty() ? "DEALLOCATE ALL" : "DEALLOCATE";
}

void collector::declare_cursor(const tree_message& message) {
    const auto& command = as<PgQuery__DeclareCursorStmt>(message);
    inner_statement(command.query);
    facts_.kind = statement_kind::declare_cursor;
    facts_.object_name = command.portalname;
    if ((command.options & cursor_option_hold) != 0) {
        pin(pin_cause::with_hold_cursor, command.portalname);
    }
}

void collector::fetch(const tree_message& message) {
    facts_.kind = statement_kind::fetch;
    facts_.object_name = as<PgQuery__FetchStmt>(message).portalname;
}

void collector::close_cursor(const tree_message& message) {
    facts_.kind = statement_kind::close_cursor;
    facts_.object_name = as<PgQuery__ClosePortalStmt>(message).portalname;  // empty: all
}

void collector::lock_table(const tree_message& message) {
    const auto& command = as<PgQuery__LockStmt>(message);
    for (std::size_t i = 0; i < command.n_relations; ++i) {
        add_relation(
            unwrap_as<PgQuery__RangeVar>(command.relations[i], PG_QUERY__NODE__NODE_RANGE_VAR),
            access::lock);
    }
    facts_.kind = statement_kind::lock_table;
    facts_.takes_locks = true;
}

/// CASCADE follows foreign keys to tables that the text does not name: everything.
void collector::truncate(const tree_message& message) {
    const auto& command = as<PgQuery__TruncateStmt>(message);
    for (std::size_t i = 0; i < command.n_relations; ++i) {
        add_relation(
            unwrap_as<PgQuery__RangeVar>(command.relations[i], PG_QUERY__NODE__NODE_RANGE_VAR),
            access::truncate);
    }
    facts_.kind = statement_kind::truncate;
    if (command.behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE) facts_.writes_everything = true;
}

/// Code runs whose text is not here, in any number of transactions.
void collector::opaque(statement_kind kind, std::string_view detail) {
    facts_.kind = kind;
    facts_.writes_everything = true;
    facts_.changes_catalog = true;
    facts_.takes_locks = true;
    pin(pin_cause::unknown_effect, detail);
}

void collector::call(const tree_message& message) {
    const auto& command = as<PgQuery__CallStmt>(message);
    if (command.funccall == nullptr) {
        understood_ = false;
        return;
    }
    function_call(command.funccall->base);
    const PgQuery__FuncCall& procedure = *command.funccall;
    const char* name = procedure.n_funcname == 0
                           ? nullptr
                           : string_value(procedure.funcname[procedure.n_funcname - 1]);
    opaque(statement_kind::call, name == nullptr ? "CALL" : name);
}

void collector::do_block(const tree_message& message) {
    static_cast<void>(message);
    opaque(statement_kind::do_block, "DO");
}

void collector::load(const tree_message& message) {
    facts_.kind = statement_kind::load;
    facts_.object_name = as<PgQuery__LoadStmt>(message).filename;
    facts_.writes_everything = true;
    pin(pin_cause::load, facts_.object_name);
}

}  // namespace postern::sql
