#include "catalog/builtins.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace postern::catalog {
namespace {

// STABLE functions whose result is decided by their arguments, by settings that are in the key
// (TimeZone, DateStyle, lc_*, default_text_search_config …) and by catalogs that the watcher's
// fingerprint covers (text search configurations, enums). Sorted.
constexpr auto pure_stable = std::to_array<std::string_view>({
    "age",
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date",
    "date_part",
    "date_trunc",
    "enum_first",
    "enum_last",
    "enum_range",
    "extract",
    "format",
    "generate_series",
    "in_range",
    "interval_pl_timestamptz",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "json_to_tsvector",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "money",
    "numeric",
    "overlaps",
    "phraseto_tsquery",
    "plainto_tsquery",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "string_agg",
    "time",
    "timestamp",
    "timestamptz",
    "timestamptz_mi_interval",
    "timestamptz_pl_interval",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "ts_headline",
    "websearch_to_tsquery",
});

// VOLATILE functions that write no row of any table, however they are called. Sorted.
constexpr auto writes_no_row = std::to_array<std::string_view>({
    "brin_desummarize_range",
    "brin_summarize_new_values",
    "brin_summarize_range",
    "clock_timestamp",
    "current_query",
    "currval",
    "gen_random_uuid",
    "gin_clean_pending_list",
    "lastval",
    "lo_close",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_get",
    "lo_import",
    "lo_lseek",
    "lo_lseek64",
    "lo_open",
    "lo_put",
    "lo_tell",
    "lo_tell64",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    "nextval",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_blocking_pids",
    "pg_cancel_backend",
    "pg_collation_actual_version",
    "pg_control_checkpoint",
    "pg_control_init",
    "pg_control_recovery",
    "pg_control_system",
    "pg_create_restore_point",
    "pg_current_logfile",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_export_snapshot",
    "pg_get_backend_memory_contexts",
    "pg_get_shmem_allocations",
    "pg_get_wal_replay_pause_state",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_last_committed_xact",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_lock_status",
    "pg_log_backend_memory_contexts",
    "pg_logical_emit_message",
    "pg_ls_archive_statusdir",
    "pg_ls_dir",
    "pg_ls_logdir",
    "pg_ls_logicalmapdir",
    "pg_ls_logicalsnapdir",
    "pg_ls_replslotdir",
    "pg_ls_tmpdir",
    "pg_ls_waldir",
    "pg_notification_queue_usage",
    "pg_notify",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_prepared_xact",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_relation_size",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value",
    "pg_show_all_file_settings",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_stat_clear_snapshot",
    "pg_stat_file",
    "pg_stat_force_next_flush",
    "pg_stat_get_recovery_prefetch",
    "pg_stat_have_stats",
    "pg_stat_reset",
    "pg_stat_reset_shared",
    "pg_stat_reset_single_function_counters",
    "pg_stat_reset_single_table_counters",
    "pg_stat_reset_slru",
    "pg_switch_wal",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_terminate_backend",
    "pg_total_relation_size",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "pg_xact_commit_timestamp",
    "pg_xact_status",
    "random",
    "setval",
    "timeofday",
    "txid_current",
    "txid_status",
});

// pg_advisory_unlock_all is absent: it only lets go.
constexpr auto session_locks = std::to_array<std::string_view>({
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
});

constexpr auto session_settings = std::to_array<std::string_view>({
    "set_config",
    "setseed",
});

constexpr auto plain_types = std::to_array<std::string_view>({
    "bit",           "bool",           "box",           "bpchar",    "bytea",
    "char",          "cidr",           "circle",        "date",      "datemultirange",
    "daterange",     "float4",         "float8",        "inet",      "int2",
    "int4",          "int4multirange", "int4range",     "int8",      "int8multirange",
    "int8range",     "interval",       "json",          "jsonb",     "jsonpath",
    "line",          "lseg",           "macaddr",       "macaddr8",  "money",
    "name",          "numeric",        "nummultirange", "numrange",  "oid",
    "path",          "pg_lsn",         "point",         "polygon",   "record",
    "regconfig",  // its catalogs are part of the watcher's fingerprint
    "regdictionary", "text",           "time",          "timestamp", "timestamptz",
    "timetz",        "tsmultirange",   "tsquery",       "tsrange",   "tstzmultirange",
    "tstzrange",     "tsvector",       "uuid",          "varbit",    "varchar",
    "xml",
});

template <std::size_t count>
bool contains(const std::array<std::string_view, count>& sorted, std::string_view name) noexcept {
    return std::binary_search(sorted.begin(), sorted.end(), name);
}

static_assert(std::is_sorted(pure_stable.begin(), pure_stable.end()));
static_assert(std::is_sorted(writes_no_row.begin(), writes_no_row.end()));
static_assert(std::is_sorted(session_locks.begin(), session_locks.end()));
static_assert(std::is_sorted(plain_types.begin(), plain_types.end()));

}  // namespace

builtin_effect judge_builtin(std::string_view name, char volatility) noexcept {
    if (contains(session_locks, name)) return builtin_effect::session_lock;
    if (contains(session_settings, name)) return builtin_effect::session_setting;
    if (volatility == 'i') return builtin_effect::pure;
    if (volatility == 's') {
        return contains(pure_stable, name) ? builtin_effect::pure : builtin_effect::session;
    }
    return contains(writes_no_row, name) ? builtin_effect::changes_nothing
                                         : builtin_effect::unknown;
}

builtin_type judge_builtin_type(std::string_view name) noexcept {
    if (contains(plain_types, name)) return builtin_type::plain;
    if (name.starts_with("_") && contains(plain_types, name.substr(1))) return builtin_type::plain;
    if (name.starts_with("reg")) return builtin_type::catalog;
    return builtin_type::unknown;
}

}  // namespace postern::catalog
