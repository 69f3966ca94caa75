// Definitions (everything that changes the catalog) and upkeep (what changes no answer).

#include "sql/collector.hpp"

namespace postern::sql {

namespace {

/// DDL without a trait of its own.
constexpr const ProtobufCMessageDescriptor* plain_definitions[] = {
    &pg_query__create_stmt__descriptor,
    &pg_query__define_stmt__descriptor,
    &pg_query__view_stmt__descriptor,
    &pg_query__rule_stmt__descriptor,
    &pg_query__rename_stmt__descriptor,
    &pg_query__comment_stmt__descriptor,
    &pg_query__sec_label_stmt__descriptor,
    &pg_query__create_seq_stmt__descriptor,
    &pg_query__alter_seq_stmt__descriptor,
    &pg_query__create_domain_stmt__descriptor,
    &pg_query__alter_domain_stmt__descriptor,
    &pg_query__composite_type_stmt__descriptor,
    &pg_query__create_enum_stmt__descriptor,
    &pg_query__alter_enum_stmt__descriptor,
    &pg_query__create_range_stmt__descriptor,
    &pg_query__alter_type_stmt__descriptor,
    &pg_query__create_schema_stmt__descriptor,
    &pg_query__create_function_stmt__descriptor,
    &pg_query__alter_function_stmt__descriptor,
    &pg_query__create_trig_stmt__descriptor,
    &pg_query__create_event_trig_stmt__descriptor,
    &pg_query__alter_event_trig_stmt__descriptor,
    &pg_query__create_policy_stmt__descriptor,
    &pg_query__alter_policy_stmt__descriptor,
    &pg_query__grant_stmt__descriptor,
    &pg_query__grant_role_stmt__descriptor,
    &pg_query__alter_default_privileges_stmt__descriptor,
    &pg_query__create_role_stmt__descriptor,
    &pg_query__alter_role_stmt__descriptor,
    &pg_query__alter_role_set_stmt__descriptor,
    &pg_query__drop_role_stmt__descriptor,
    &pg_query__drop_owned_stmt__descriptor,
    &pg_query__reassign_owned_stmt__descriptor,
    &pg_query__alter_owner_stmt__descriptor,
    &pg_query__alter_object_schema_stmt__descriptor,
    &pg_query__alter_object_depends_stmt__descriptor,
    &pg_query__alter_database_set_stmt__descriptor,
    &pg_query__alter_database_refresh_coll_stmt__descriptor,
    &pg_query__alter_table_space_options_stmt__descriptor,
    &pg_query__alter_table_move_all_stmt__descriptor,
    &pg_query__create_extension_stmt__descriptor,
    &pg_query__alter_extension_stmt__descriptor,
    &pg_query__alter_extension_contents_stmt__descriptor,
    &pg_query__create_fdw_stmt__descriptor,
    &pg_query__alter_fdw_stmt__descriptor,
    &pg_query__create_foreign_server_stmt__descriptor,
    &pg_query__alter_foreign_server_stmt__descriptor,
    &pg_query__create_foreign_table_stmt__descriptor,
    &pg_query__import_foreign_schema_stmt__descriptor,
    &pg_query__create_user_mapping_stmt__descriptor,
    &pg_query__alter_user_mapping_stmt__descriptor,
    &pg_query__drop_user_mapping_stmt__descriptor,
    &pg_query__create_plang_stmt__descriptor,
    &pg_query__create_conversion_stmt__descriptor,
    &pg_query__create_cast_stmt__descriptor,
    &pg_query__create_transform_stmt__descriptor,
    &pg_query__create_op_class_stmt__descriptor,
    &pg_query__create_op_family_stmt__descriptor,
    &pg_query__alter_op_family_stmt__descriptor,
    &pg_query__alter_operator_stmt__descriptor,
    &pg_query__alter_tsdictionary_stmt__descriptor,
    &pg_query__alter_tsconfiguration_stmt__descriptor,
    &pg_query__alter_collation_stmt__descriptor,
    &pg_query__create_am_stmt__descriptor,
    &pg_query__create_publication_stmt__descriptor,
    &pg_query__alter_publication_stmt__descriptor,
    &pg_query__create_stats_stmt__descriptor,
    &pg_query__alter_stats_stmt__descriptor,
    &pg_query__refresh_mat_view_stmt__descriptor,
};

/// Those that PostgreSQL refuses inside a transaction block (PreventInTransactionBlock), always or
/// by default.
constexpr const ProtobufCMessageDescriptor* outside_definitions[] = {
    &pg_query__createdb_stmt__descriptor,
    &pg_query__dropdb_stmt__descriptor,
    &pg_query__create_table_space_stmt__descriptor,
    &pg_query__drop_table_space_stmt__descriptor,
    &pg_query__alter_system_stmt__descriptor,
    &pg_query__create_subscription_stmt__descriptor,
    &pg_query__drop_subscription_stmt__descriptor,
};

}  // namespace

void collector::add_definitions(handler_map& map) {
    for (const auto* descriptor : plain_definitions) {
        map.emplace(descriptor, &collector::definition);
    }
    for (const auto* descriptor : outside_definitions) {
        map.emplace(descriptor, &collector::outside_transaction);
    }
    map.emplace(&pg_query__create_table_as_stmt__descriptor, &collector::create_table_as);
    map.emplace(&pg_query__index_stmt__descriptor, &collector::index);
    map.emplace(&pg_query__drop_stmt__descriptor, &collector::drop);
    map.emplace(&pg_query__alter_table_stmt__descriptor, &collector::alter_table);
    map.emplace(&pg_query__alter_database_stmt__descriptor, &collector::alter_database);
    map.emplace(&pg_query__alter_subscription_stmt__descriptor, &collector::alter_subscription);
    map.emplace(&pg_query__vacuum_stmt__descriptor, &collector::vacuum);
    map.emplace(&pg_query__cluster_stmt__descriptor, &collector::cluster);
    map.emplace(&pg_query__reindex_stmt__descriptor, &collector::reindex);
    map.emplace(&pg_query__check_point_stmt__descriptor, &collector::checkpoint);
}

void collector::definition(const tree_message& message) {
    mode_ = mode::definition;
    top_level_ = false;
    descend(message);
    facts_.kind = statement_kind::ddl;
    facts_.why_not = reason::not_a_select;
    facts_.why_not_detail.clear();
    facts_.changes_catalog = true;
    facts_.writes_everything = true;
}

void collector::outside_transaction(const tree_message& message) {
    definition(message);
    facts_.refuses_transaction = true;
}

/// CREATE TABLE AS and CREATE MATERIALIZED VIEW run their query.
void collector::create_table_as(const tree_message& message) {
    const auto& command = as<PgQuery__CreateTableAsStmt>(message);
    inner_statement(command.query);
    if (command.into != nullptr) add_relation(command.into->rel, access::insert);
    facts_.kind = statement_kind::ddl;
    facts_.why_not = reason::not_a_select;
    facts_.changes_catalog = true;
    facts_.writes_everything = true;
}

void collector::index(const tree_message& message) {
    definition(message);
    if (as<PgQuery__IndexStmt>(message).concurrent != 0) facts_.refuses_transaction = true;
}

void collector::drop(const tree_message& message) {
    definition(message);
    if (as<PgQuery__DropStmt>(message).concurrent != 0) facts_.refuses_transaction = true;
}

void collector::alter_table(const tree_message& message) {
    definition(message);
    const auto& command = as<PgQuery__AlterTableStmt>(message);
    for (std::size_t i = 0; i < command.n_cmds; ++i) {
        const auto* change = unwrap_as<PgQuery__AlterTableCmd>(
            command.cmds[i],
            PG_QUERY__NODE__NODE_ALTER_TABLE_CMD);
        if (change == nullptr) continue;
        const auto* partition = unwrap_as<PgQuery__PartitionCmd>(
            change->def,
            PG_QUERY__NODE__NODE_PARTITION_CMD);
        if (partition != nullptr && partition->concurrent != 0) facts_.refuses_transaction = true;
    }
}

/// ALTER DATABASE … SET TABLESPACE moves files and wants no transaction.
void collector::alter_database(const tree_message& message) {
    definition(message);
    const auto& command = as<PgQuery__AlterDatabaseStmt>(message);
    if (has_option(command.options, command.n_options, "tablespace")) {
        facts_.refuses_transaction = true;
    }
}

void collector::alter_subscription(const tree_message& message) {
    definition(message);
    switch (as<PgQuery__AlterSubscriptionStmt>(message).kind) {
    case PG_QUERY__ALTER_SUBSCRIPTION_TYPE__ALTER_SUBSCRIPTION_SET_PUBLICATION:
    case PG_QUERY__ALTER_SUBSCRIPTION_TYPE__ALTER_SUBSCRIPTION_ADD_PUBLICATION:
    case PG_QUERY__ALTER_SUBSCRIPTION_TYPE__ALTER_SUBSCRIPTION_DROP_PUBLICATION:
    case PG_QUERY__ALTER_SUBSCRIPTION_TYPE__ALTER_SUBSCRIPTION_REFRESH:
        facts_.refuses_transaction = true;
        return;
    default: return;
    }
}

void collector::vacuum(const tree_message& message) {
    facts_.kind = statement_kind::maintenance;
    facts_.refuses_transaction = as<PgQuery__VacuumStmt>(message).is_vacuumcmd != 0;
}

void collector::cluster(const tree_message& message) {
    facts_.kind = statement_kind::maintenance;
    facts_.refuses_transaction = as<PgQuery__ClusterStmt>(message).relation == nullptr;
}

void collector::reindex(const tree_message& message) {
    const auto& command = as<PgQuery__ReindexStmt>(message);
    facts_.kind = statement_kind::maintenance;
    facts_.refuses_transaction = command.kind ==
                                     PG_QUERY__REINDEX_OBJECT_TYPE__REINDEX_OBJECT_SCHEMA ||
                                 command.kind ==
                                     PG_QUERY__REINDEX_OBJECT_TYPE__REINDEX_OBJECT_SYSTEM ||
                                 command.kind ==
                                     PG_QUERY__REINDEX_OBJECT_TYPE__REINDEX_OBJECT_DATABASE ||
                                 has_option(command.params, command.n_params, "concurrently");
}

void collector::checkpoint(const tree_message& message) {
    static_cast<void>(message);
    facts_.kind = statement_kind::maintenance;
}

}  // namespace postern::sql
