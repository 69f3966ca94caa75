// Function calls: the few that the text can judge by itself, and set_config().

#include "sql/collector.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>

namespace postern::sql {

namespace {

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& names, std::string_view name) noexcept {
    return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 5> time_functions{
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday"};

constexpr std::array<std::string_view, 13> session_functions{
    "current_schema",
    "current_schemas",
    "current_user",
    "session_user",
    "current_role",
    "user",
    "getpgusername",
    "pg_backend_pid",
    "inet_client_addr",
    "inet_client_port",
    "pg_my_temp_schema",
    "inet_server_addr",
    "inet_server_port"};

constexpr std::array<std::string_view, 4> session_locks{
    "pg_advisory_lock",
    "pg_try_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock_shared"};

constexpr std::array<std::string_view, 4> transaction_locks{
    "pg_advisory_xact_lock",
    "pg_try_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock_shared"};

constexpr std::array<std::string_view, 3> unlocks{
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all"};

/// An unqualified or pg_catalog function's name, empty for any other.
std::string_view builtin_name(const PgQuery__FuncCall& call) noexcept {
    if (call.n_funcname == 0 || call.n_funcname > 2) return {};
    if (call.n_funcname == 2) {
        const char* schema = string_value(call.funcname[0]);
        if (schema == nullptr || std::string_view(schema) != "pg_catalog") return {};
    }
    const char* name = string_value(call.funcname[call.n_funcname - 1]);
    return name == nullptr ? std::string_view{} : std::string_view(name);
}

/// An argument whose value the text, or one bind parameter, gives unchanged.
struct plain_argument {
    bool is_null = false;
    std::string text;
    std::uint16_t parameter = 0;
};

/// A cast to text or varchar without a length changes no string.
bool keeps_strings(const PgQuery__TypeName* type) noexcept {
    if (type == nullptr || type->n_names == 0 || type->n_typmods > 0 || type->n_array_bounds > 0 ||
        type->setof != 0) {
        return false;
    }
    const char* name = string_value(type->names[type->n_names - 1]);
    if (name == nullptr) return false;
    const std::string_view text = name;
    return type->n_names <= 2 && (text == "text" || text == "varchar");
}

std::optional<plain_argument> plain(const PgQuery__Node* node) {
    bool is_cast = false;
    while (const auto* cast = unwrap_as<PgQuery__TypeCast>(node, PG_QUERY__NODE__NODE_TYPE_CAST)) {
        if (!keeps_strings(cast->type_name)) return std::nullopt;
        node = cast->arg;
        is_cast = true;
    }
    plain_argument argument;
    if (const auto* value = unwrap_as<PgQuery__ParamRef>(node, PG_QUERY__NODE__NODE_PARAM_REF)) {
        if (value->number < 1 || value->number > std::numeric_limits<std::uint16_t>::max()) {
            return std::nullopt;
        }
        argument.parameter = static_cast<std::uint16_t>(value->number);
        return argument;
    }
    const auto* value = unwrap_as<PgQuery__AConst>(node, PG_QUERY__NODE__NODE_A_CONST);
    if (value == nullptr) return std::nullopt;
    if (value->isnull != 0) {
        argument.is_null = true;
        return argument;
    }
    if (value->val_case == PG_QUERY__A__CONST__VAL_SVAL) {
        argument.text = value->sval->sval;
        return argument;
    }
    if (value->val_case == PG_QUERY__A__CONST__VAL_IVAL && is_cast) {
        argument.text = std::to_string(value->ival->ival);
        return argument;
    }
    return std::nullopt;
}

/// A boolean that the text gives: true, 'on', 't'::bool.
std::optional<bool> plain_boolean(const PgQuery__Node* node) {
    if (const auto* cast = unwrap_as<PgQuery__TypeCast>(node, PG_QUERY__NODE__NODE_TYPE_CAST)) {
        const PgQuery__TypeName* type = cast->type_name;
        if (type == nullptr || type->n_names == 0 || type->n_array_bounds > 0) return std::nullopt;
        const char* name = string_value(type->names[type->n_names - 1]);
        if (name == nullptr || std::string_view(name) != "bool") return std::nullopt;
        node = cast->arg;
    }
    const auto* value = unwrap_as<PgQuery__AConst>(node, PG_QUERY__NODE__NODE_A_CONST);
    if (value == nullptr) return std::nullopt;
    if (value->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL) return value->boolval->boolval != 0;
    if (value->val_case != PG_QUERY__A__CONST__VAL_SVAL) return std::nullopt;
    static constexpr std::array<std::string_view, 5> yes{"t", "true", "on", "yes", "1"};
    static constexpr std::array<std::string_view, 5> no{"f", "false", "off", "no", "0"};
    const std::string word = lower(value->sval->sval);
    if (contains(yes, word)) return true;
    if (contains(no, word)) return false;
    return std::nullopt;
}

bool is_plain_call(const PgQuery__FuncCall& call) noexcept {
    return call.n_agg_order == 0 && call.agg_filter == nullptr && call.over == nullptr &&
           call.agg_within_group == 0 && call.agg_star == 0 && call.agg_distinct == 0 &&
           call.func_variadic == 0;
}

/// set_config() with everything in sight; nullopt where something is not.
std::optional<setting_change> plain_set_config(const PgQuery__FuncCall& call) {
    if (builtin_name(call) != "set_config" || call.n_args != 3 || !is_plain_call(call)) {
        return std::nullopt;
    }
    const std::optional<plain_argument> name = plain(call.args[0]);
    const std::optional<plain_argument> value = plain(call.args[1]);
    const std::optional<bool> local = plain_boolean(call.args[2]);
    if (!name || !value || !local || name->is_null) return std::nullopt;
    setting_change change;
    // A null value means the default (set_config_by_name in PostgreSQL's guc.c).
    change.what = value->is_null ? setting_change::action::reset : setting_change::action::assign;
    change.local = *local;
    change.name = lower(name->text);
    change.value = value->text;
    change.name_parameter = name->parameter;
    change.value_parameter = value->parameter;
    return change;
}

const PgQuery__FuncCall* target_call(const PgQuery__Node* target) noexcept {
    const auto* result = unwrap_as<PgQuery__ResTarget>(target, PG_QUERY__NODE__NODE_RES_TARGET);
    if (result == nullptr) return nullptr;
    return unwrap_as<PgQuery__FuncCall>(result->val, PG_QUERY__NODE__NODE_FUNC_CALL);
}

bool makes_exactly_one_row(const PgQuery__SelectStmt& select) noexcept {
    return select.n_from_clause == 0 && select.where_clause == nullptr &&
           select.n_group_clause == 0 && select.having_clause == nullptr &&
           select.n_distinct_clause == 0 && select.n_window_clause == 0 &&
           select.n_values_lists == 0 && select.n_sort_clause == 0 &&
           select.limit_offset == nullptr && select.limit_count == nullptr &&
           select.n_locking_clause == 0 && select.with_clause == nullptr &&
           select.into_clause == nullptr && select.larg == nullptr;
}

}  // namespace

bool collector::plain_target(const PgQuery__Node* target) const {
    if (const PgQuery__FuncCall* call = target_call(target)) {
        const std::string_view name = builtin_name(*call);
        if (name == "set_config") return plain_set_config(*call).has_value();
        return name == "current_setting" && call->n_args > 0 && plain(call->args[0]).has_value();
    }
    const auto* result = unwrap_as<PgQuery__ResTarget>(target, PG_QUERY__NODE__NODE_RES_TARGET);
    if (result == nullptr) return false;
    return result->val->node_case == PG_QUERY__NODE__NODE_A_CONST || plain(result->val).has_value();
}

/// Each of a SELECT's set_config() calls runs exactly once, in order, only when nothing else in the
/// SELECT can add, drop or reorder rows.
void collector::plain_set_configs(const PgQuery__SelectStmt& select) {
    if (!makes_exactly_one_row(select) || select.n_target_list == 0) return;
    for (std::size_t i = 0; i < select.n_target_list; ++i) {
        if (!plain_target(select.target_list[i])) return;
    }
    bool only = true;
    for (std::size_t i = 0; i < select.n_target_list; ++i) {
        const PgQuery__FuncCall* call = target_call(select.target_list[i]);
        std::optional<setting_change> change;
        if (call != nullptr) change = plain_set_config(*call);
        if (!change) {
            only = false;
            continue;
        }
        plain_calls_.push_back(call);
        add_setting(*std::move(change));
    }
    facts_.only_set_config = only && facts_.settings.size() == select.n_target_list;
    if (facts_.only_set_config) facts_.command_tag = "SELECT 1";
}

/// A set_config() somewhere in a larger query: how often it runs, and with what, is not known.
void collector::hidden_set_config(const PgQuery__FuncCall& call) {
    refuse(reason::volatile_function, "set_config");
    std::optional<plain_argument> name;
    if (call.n_args == 3 && is_plain_call(call)) name = plain(call.args[0]);
    const bool is_known = name && !name->is_null && name->parameter == 0;
    facts_.hidden_settings.push_back(is_known ? lower(name->text) : std::string{});
    if (call.n_args == 3 && plain_boolean(call.args[2]) == true) {
        // Gone at the transaction's end, but until then the transaction is not clean.
        facts_.takes_locks = true;
        return;
    }
    pin(pin_cause::unknown_setting, "set_config");
}

bool collector::known_function(const PgQuery__FuncCall& call, std::string_view name) {
    if (contains(time_functions, name) || (name == "age" && call.n_args == 1)) {
        refuse(reason::time_dependent, name);
    } else if (contains(session_functions, name)) {
        refuse(reason::session_dependent, name);
    } else if (contains(session_locks, name)) {
        refuse(reason::volatile_function, name);
        pin(pin_cause::advisory_lock, name);
    } else if (contains(transaction_locks, name)) {
        refuse(reason::volatile_function, name);
        facts_.takes_locks = true;
    } else if (contains(unlocks, name)) {
        refuse(reason::volatile_function, name);
    } else if (name == "setseed") {
        refuse(reason::volatile_function, name);
        pin(pin_cause::unknown_setting, name);
    } else if (name == "set_config") {
        if (std::find(plain_calls_.begin(), plain_calls_.end(), &call) == plain_calls_.end()) {
            hidden_set_config(call);
        } else {
            refuse(reason::volatile_function, name);
        }
    } else if (name == "current_setting") {
        std::optional<plain_argument> setting;
        if (call.n_args > 0) setting = plain(call.args[0]);
        if (!setting || setting->is_null || setting->parameter != 0) {
            refuse(reason::session_dependent, name);
        } else {
            facts_.current_settings.push_back(lower(setting->text));
        }
    } else {
        return false;
    }
    return true;
}

void collector::function_call(const tree_message& message) {
    const auto& call = as<PgQuery__FuncCall>(message);
    const std::string_view known = builtin_name(call);
    if (known.empty() || !known_function(call, known)) {
        function_use use;
        if (call.n_funcname > 0) {
            if (const char* name = string_value(call.funcname[call.n_funcname - 1]))
                use.name = name;
        }
        if (call.n_funcname > 1) {
            if (const char* schema = string_value(call.funcname[call.n_funcname - 2])) {
                use.schema = schema;
            }
        }
        if (use.name.empty()) understood_ = false;
        auto& all = facts_.functions;
        if (std::find(all.begin(), all.end(), use) == all.end()) all.push_back(std::move(use));
    }
    descend(message);
}

}  // namespace postern::sql
