// Expressions and clauses: what names and values a statement uses.

#include "sql/analyzer.hpp"
#include "sql/collector.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace postern::sql {

namespace {

/// Nodes that mean nothing but what their children mean.
constexpr const ProtobufCMessageDescriptor* transparent_nodes[] = {
    &pg_query__node__descriptor,
    &pg_query__list__descriptor,
    &pg_query__integer__descriptor,
    &pg_query__float__descriptor,
    &pg_query__boolean__descriptor,
    &pg_query__bit_string__descriptor,
    &pg_query__alias__descriptor,
    &pg_query__res_target__descriptor,
    &pg_query__param_ref__descriptor,
    &pg_query__bool_expr__descriptor,
    &pg_query__null_test__descriptor,
    &pg_query__boolean_test__descriptor,
    &pg_query__coalesce_expr__descriptor,
    &pg_query__min_max_expr__descriptor,
    &pg_query__row_expr__descriptor,
    &pg_query__a__array_expr__descriptor,
    &pg_query__a__star__descriptor,
    &pg_query__a__indices__descriptor,
    &pg_query__case_when__descriptor,
    &pg_query__collate_clause__descriptor,
    &pg_query__window_def__descriptor,
    &pg_query__grouping_func__descriptor,
    &pg_query__grouping_set__descriptor,
    &pg_query__named_arg_expr__descriptor,
    &pg_query__multi_assign_ref__descriptor,
    &pg_query__set_to_default__descriptor,
    &pg_query__current_of_expr__descriptor,
    &pg_query__range_subselect__descriptor,
    &pg_query__range_function__descriptor,
    &pg_query__range_table_func__descriptor,
    &pg_query__range_table_func_col__descriptor,
    &pg_query__column_def__descriptor,
    &pg_query__on_conflict_clause__descriptor,
    &pg_query__infer_clause__descriptor,
    &pg_query__index_elem__descriptor,
    &pg_query__merge_when_clause__descriptor,
    &pg_query__ctesearch_clause__descriptor,
    &pg_query__ctecycle_clause__descriptor,
    &pg_query__def_elem__descriptor,
};

/// PostgreSQL's system columns (manual §5.5).
bool is_system_column(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 6>
        names{"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Types whose input takes 'now' and its kin.
bool is_date_type(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 6>
        names{"date", "time", "timetz", "timestamp", "timestamptz", "abstime"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const collector::handler_map& collector::node_handlers() {
    static const handler_map handlers = [] {
        handler_map map;
        const auto add = [&map](handler how, auto... descriptors) {
            (map.emplace(descriptors, how), ...);
        };
        add(&collector::range_var, &pg_query__range_var__descriptor);
        add(&collector::type_name, &pg_query__type_name__descriptor);
        add(&collector::type_cast, &pg_query__type_cast__descriptor);
        add(&collector::operator_expression, &pg_query__a__expr__descriptor);
        add(&collector::constant, &pg_query__a__const__descriptor);
        add(&collector::value_function, &pg_query__sqlvalue_function__descriptor);
        add(&collector::column, &pg_query__column_ref__descriptor);
        add(&collector::indirection, &pg_query__a__indirection__descriptor);
        add(&collector::sub_link, &pg_query__sub_link__descriptor);
        add(&collector::case_expression, &pg_query__case_expr__descriptor);
        add(&collector::join, &pg_query__join_expr__descriptor);
        add(&collector::sort_by, &pg_query__sort_by__descriptor);
        add(&collector::table_sample, &pg_query__range_table_sample__descriptor);
        add(&collector::xml, &pg_query__xml_expr__descriptor, &pg_query__xml_serialize__descriptor);
        add(&collector::string_node, &pg_query__string__descriptor);
        add(&collector::function_call, &pg_query__func_call__descriptor);
        add(&collector::select, &pg_query__select_stmt__descriptor);
        add(&collector::into_clause, &pg_query__into_clause__descriptor);
        add(&collector::locking_clause, &pg_query__locking_clause__descriptor);
        add(&collector::insert, &pg_query__insert_stmt__descriptor);
        add(&collector::update, &pg_query__update_stmt__descriptor);
        add(&collector::delete_rows, &pg_query__delete_stmt__descriptor);
        add(&collector::merge, &pg_query__merge_stmt__descriptor);
        for (const auto* descriptor : transparent_nodes)
            map.emplace(descriptor, &collector::descend);
        return map;
    }();
    return handlers;
}

void collector::range_var(const tree_message& message) {
    const auto& relation = as<PgQuery__RangeVar>(message);
    const std::string_view name = relation.relname;
    const bool is_qualified = relation.schemaname[0] != '\0' || relation.catalogname[0] != '\0';
    if (!is_qualified && std::find(ctes_.rbegin(), ctes_.rend(), name) != ctes_.rend()) return;
    add_relation(&relation, access::read);
}

void collector::type_name(const tree_message& message) {
    const auto& type = as<PgQuery__TypeName>(message);
    if (type.n_names > 0) {
        const char* name = string_value(type.names[type.n_names - 1]);
        const char* schema = type.n_names > 1 ? string_value(type.names[type.n_names - 2]) : "";
        if (name == nullptr || schema == nullptr) {
            understood_ = false;
            return;
        }
        name_use use{schema, name};
        // Without a zone of its own, '04:05' as timetz takes today's offset (DecodeTimeOnly).
        if (use.name == "timetz") refuse(reason::time_dependent, use.name);
        if (std::find(facts_.types.begin(), facts_.types.end(), use) == facts_.types.end()) {
            facts_.types.push_back(std::move(use));
        }
    }
    descend(message);
}

void collector::type_cast(const tree_message& message) {
    const auto& cast = as<PgQuery__TypeCast>(message);
    // ('no' || 'w')::timestamp: the text is only known when it runs.
    const auto* glued = unwrap_as<PgQuery__AExpr>(cast.arg, PG_QUERY__NODE__NODE_A_EXPR);
    if (glued != nullptr && glued->n_name > 0 && cast.type_name != nullptr &&
        cast.type_name->n_names > 0) {
        const char* name = string_value(glued->name[glued->n_name - 1]);
        const char* type = string_value(cast.type_name->names[cast.type_name->n_names - 1]);
        if (name != nullptr && type != nullptr && std::string_view(name) == "||" &&
            is_date_type(type)) {
            refuse(reason::time_dependent, type);
        }
    }
    descend(message);
}

void collector::operator_expression(const tree_message& message) {
    const auto& expression = as<PgQuery__AExpr>(message);
    switch (expression.kind) {
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN:
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN:
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN_SYM:
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN_SYM: {
        // The name says "BETWEEN"; what is looked up are the comparisons (transformAExprBetween).
        const bool negated = expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN ||
                             expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN_SYM;
        add_operator("", negated ? "<" : ">=");
        add_operator("", negated ? ">" : "<=");
        break;
    }
    default: add_operator(expression.name, expression.n_name);
    }
    for (std::size_t i = 0; i + 1 < expression.n_name; ++i)
        visit(expression.name[i]);
    visit(expression.lexpr);
    visit(expression.rexpr);
}

void collector::constant(const tree_message& message) {
    const auto& value = as<PgQuery__AConst>(message);
    if (value.val_case == PG_QUERY__A__CONST__VAL_SVAL && depends_on_time(value.sval->sval)) {
        has_time_constant_ = true;
    }
}

void collector::value_function(const tree_message& message) {
    const auto& function = as<PgQuery__SQLValueFunction>(message);
    switch (function.op) {
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_DATE:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIME:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIME_N:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP_N:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIME:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIME_N:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP:
    case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP_N:
        refuse(reason::time_dependent, "current time");
        return;
    default: refuse(reason::session_dependent, "current user, schema or database");
    }
}

void collector::attribute(std::string_view name) {
    auto& all = facts_.attributes;
    if (std::find(all.begin(), all.end(), name) == all.end()) all.emplace_back(name);
}

void collector::column(const tree_message& message) {
    const auto& reference = as<PgQuery__ColumnRef>(message);
    for (std::size_t i = 0; i < reference.n_fields; ++i) {
        const char* part = string_value(reference.fields[i]);
        if (part == nullptr) continue;
        if (i + 1 < reference.n_fields) {
            note_schema(part);
            continue;
        }
        if (is_system_column(part)) refuse(reason::system_column, part);
        if (i > 0) attribute(part);
    }
}

void collector::indirection(const tree_message& message) {
    const auto& selection = as<PgQuery__AIndirection>(message);
    for (std::size_t i = 0; i < selection.n_indirection; ++i) {
        if (const char* field = string_value(selection.indirection[i])) {
            if (is_system_column(field)) refuse(reason::system_column, field);
            attribute(field);
        }
    }
    descend(message);
}

void collector::sub_link(const tree_message& message) {
    const auto& link = as<PgQuery__SubLink>(message);
    if (link.n_oper_name > 0) {
        add_operator(link.oper_name, link.n_oper_name);
    } else if (link.testexpr != nullptr) {
        add_operator("", "=");  // x IN (SELECT …)
    }
    descend(message);
}

void collector::case_expression(const tree_message& message) {
    if (as<PgQuery__CaseExpr>(message).arg != nullptr) add_operator("", "=");
    descend(message);
}

void collector::join(const tree_message& message) {
    const auto& joined = as<PgQuery__JoinExpr>(message);
    if (joined.n_using_clause > 0 || joined.is_natural != 0) add_operator("", "=");
    descend(message);
}

void collector::sort_by(const tree_message& message) {
    const auto& order = as<PgQuery__SortBy>(message);
    add_operator(order.use_op, order.n_use_op);
    descend(message);
}

void collector::table_sample(const tree_message& message) {
    refuse(reason::table_sample, "TABLESAMPLE");
    descend(message);
}

void collector::xml(const tree_message& message) {
    refuse(reason::session_dependent, "xml");
    descend(message);
}

void collector::string_node(const tree_message& message) {
    note_schema(as<PgQuery__String>(message).sval);
}

}  // namespace postern::sql
