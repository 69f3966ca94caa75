// Walks one statement's tree and fills its facts. Default deny: a node of a kind that no handler
// names makes the whole statement "not understood". Inside this room.

#pragma once

#include "sql/facts.hpp"
#include "sql/tree.hpp"

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace postern::sql {

class collector {
public:
    /// The facts of `node`. REQUIRES: called once.
    statement_facts collect(const PgQuery__Node* node);

    /// Whether a string constant anywhere in the statement depends on the time.
    bool has_time_constant() const noexcept { return has_time_constant_; }

private:
    using handler = void (collector::*)(const tree_message&);
    using handler_map = std::unordered_map<const ProtobufCMessageDescriptor*, handler>;

    /// How the names in a subtree are meant.
    enum class mode : unsigned char { query, definition };

    static const handler_map& statement_handlers();
    static const handler_map& node_handlers();
    static void add_definitions(handler_map& map);

    // The walk itself (collector.cpp).
    void statement(const PgQuery__Node* node);
    void inner_statement(const PgQuery__Node* node);
    void visit(const tree_message& message);
    void visit(const PgQuery__Node* node);
    void descend(const tree_message& message);
    void with_scope(
        const tree_message& message,
        const PgQuery__WithClause* with,
        std::initializer_list<const void*> handled_already);
    void open_with(const PgQuery__WithClause& with);
    void finish();

    // What the handlers report (collector.cpp).
    void refuse(reason why, std::string_view detail);
    void pin(pin_cause cause, std::string_view detail);
    void unknown_node(const tree_message& message);
    void add_relation(const PgQuery__RangeVar* relation, access how);
    void add_operator(std::string_view schema, std::string_view name);
    void add_operator(PgQuery__Node* const* names, std::size_t count);
    void note_schema(std::string_view schema);

    // Expressions and clauses (nodes.cpp).
    void range_var(const tree_message& message);
    void type_name(const tree_message& message);
    void type_cast(const tree_message& message);
    void operator_expression(const tree_message& message);
    void constant(const tree_message& message);
    void value_function(const tree_message& message);
    void column(const tree_message& message);
    void indirection(const tree_message& message);
    void sub_link(const tree_message& message);
    void case_expression(const tree_message& message);
    void join(const tree_message& message);
    void sort_by(const tree_message& message);
    void table_sample(const tree_message& message);
    void xml(const tree_message& message);
    void string_node(const tree_message& message);
    void attribute(std::string_view name);

    // Function calls (functions.cpp).
    void function_call(const tree_message& message);
    bool known_function(const PgQuery__FuncCall& call, std::string_view name);
    void hidden_set_config(const PgQuery__FuncCall& call);
    void plain_set_configs(const PgQuery__SelectStmt& select);
    bool plain_target(const PgQuery__Node* target) const;

    // SELECT and the statements that change rows (queries.cpp).
    void select(const tree_message& message);
    void into_clause(const tree_message& message);
    void locking_clause(const tree_message& message);
    void insert(const tree_message& message);
    void update(const tree_message& message);
    void delete_rows(const tree_message& message);
    void merge(const tree_message& message);
    void changes_rows(statement_kind kind);

    // Other commands (statements.cpp).
    void copy(const tree_message& message);
    void explain(const tree_message& message);
    void transaction(const tree_message& message);
    void show(const tree_message& message);
    void discard(const tree_message& message);
    void listen(const tree_message& message);
    void unlisten(const tree_message& message);
    void notify(const tree_message& message);
    void prepare(const tree_message& message);
    void execute(const tree_message& message);
    void deallocate(const tree_message& message);
    void declare_cursor(const tree_message& message);
    void fetch(const tree_message& message);
    void close_cursor(const tree_message& message);
    void lock_table(const tree_message& message);
    void truncate(const tree_message& message);
    void call(const tree_message& message);
    void do_block(const tree_message& message);
    void load(const tree_message& message);
    void set_constraints(const tree_message& message);
    void opaque(statement_kind kind, std::string_view detail);

    // Definitions and upkeep (definitions.cpp).
    void definition(const tree_message& message);
    void create_table_as(const tree_message& message);
    void vacuum(const tree_message& message);
    void cluster(const tree_message& message);
    void reindex(const tree_message& message);
    void checkpoint(const tree_message& message);
    void outside_transaction(const tree_message& message);
    void index(const tree_message& message);
    void drop(const tree_message& message);
    void alter_table(const tree_message& message);
    void alter_database(const tree_message& message);
    void alter_subscription(const tree_message& message);

    // Settings (settings.cpp).
    void set(const tree_message& message);
    void set_transaction(const PgQuery__VariableSetStmt& command);
    void set_session_characteristics(const PgQuery__VariableSetStmt& command);
    void transaction_modes(PgQuery__Node* const* options, std::size_t count);
    void add_setting(setting_change change);

    statement_facts facts_;
    bool has_time_constant_ = false;
    bool understood_ = true;
    bool top_level_ = true;  ///< the statement itself runs, not one that it wraps or contains
    mode mode_ = mode::query;
    /// Names of the CTEs visible here, innermost last.
    std::vector<std::string_view> ctes_;
    /// set_config calls that already became entries of `facts_.settings`.
    std::vector<const PgQuery__FuncCall*> plain_calls_;
};

/// Whether any of `options` (DefElem nodes) is `name` and not switched off.
bool has_option(PgQuery__Node* const* options, std::size_t count, std::string_view name);

/// ASCII lower case, as PostgreSQL folds setting names.
std::string lower(std::string_view text);

}  // namespace postern::sql
