// SET, RESET and their many spellings, as entries of `settings`.

#include "sql/collector.hpp"

#include <fmt/format.h>
#include <pg_query.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace postern::sql {

namespace {

/// Settings whose lists quote their items (GUC_LIST_QUOTE in PostgreSQL 15's guc.c).
bool quotes_items(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 6> names{
        "search_path",
        "temp_tablespaces",
        "local_preload_libraries",
        "session_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Properties of the current transaction that can be set as if they were settings.
bool is_transaction_property(std::string_view name) noexcept {
    return name == "transaction_isolation" || name == "transaction_read_only" ||
           name == "transaction_deferrable";
}

/// Whether `word` alone is an identifier and not a reserved word of any kind.
bool is_plain_identifier(const std::string& word) {
    const PgQueryScanResult scan = pg_query_scan(word.c_str());
    bool is_plain = false;
    if (scan.error == nullptr) {
        auto* tokens = pg_query__scan_result__unpack(
            nullptr,
            scan.pbuf.len,
            reinterpret_cast<const std::uint8_t*>(scan.pbuf.data));
        if (tokens != nullptr) {
            is_plain = tokens->n_tokens == 1 &&
                       (tokens->tokens[0]->keyword_kind == PG_QUERY__KEYWORD_KIND__NO_KEYWORD ||
                        tokens->tokens[0]->keyword_kind ==
                            PG_QUERY__KEYWORD_KIND__UNRESERVED_KEYWORD);
            pg_query__scan_result__free_unpacked(tokens, nullptr);
        }
    }
    pg_query_free_scan_result(scan);
    return is_plain;
}

/// quote_identifier() of PostgreSQL's ruleutils.c.
std::string quoted(const std::string& word) {
    const auto is_start = [](char c) {
        return (c >= 'a' && c <= 'z') || c == '_';
    };
    const bool is_safe = !word.empty() && is_start(word.front()) &&
                         std::all_of(word.begin(), word.end(), [&](char c) {
                             return is_start(c) || (c >= '0' && c <= '9');
                         });
    if (is_safe && is_plain_identifier(word)) return word;
    std::string result = "\"";
    for (const char c : word) {
        if (c == '"') result += '"';
        result += c;
    }
    result += '"';
    return result;
}

constexpr int interval_hour = 1 << 10;
constexpr int interval_hour_to_minute = interval_hour | (1 << 11);

/// An interval such as '-08:00' or '5' as interval_out() writes it; nullopt for rarer spellings.
std::optional<std::string> normal_interval(std::string_view text, int fields) {
    std::string_view rest = text;
    const bool is_negative = rest.starts_with('-');
    if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
    std::array<int, 3> parts{0, 0, 0};
    std::size_t count = 0;
    while (count < parts.size()) {
        const char* end = rest.data() + rest.size();
        if (rest.empty() || rest.front() < '0' || rest.front() > '9') return std::nullopt;
        const auto [stop, error] = std::from_chars(rest.data(), end, parts.at(count));
        if (error != std::errc() || stop - rest.data() > 2) return std::nullopt;
        ++count;
        rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
        if (rest.empty()) break;
        if (rest.front() != ':') return std::nullopt;
        rest.remove_prefix(1);
    }
    if (!rest.empty() || parts[1] > 59 || parts[2] > 59) return std::nullopt;
    // A lone number means the last field named; without one, seconds: no zone is meant that way.
    if (count == 1 && fields != interval_hour) return std::nullopt;
    if (fields == interval_hour && count > 1) return std::nullopt;
    if (fields == interval_hour_to_minute && parts[2] != 0) return std::nullopt;
    const bool is_zero = parts == std::array<int, 3>{0, 0, 0};
    return fmt::format(
        "INTERVAL '{}{:02}:{:02}:{:02}'",
        is_negative && !is_zero ? "-" : "",
        parts[0],
        parts[1],
        parts[2]);
}

/// One argument of SET as set_config() would take it (flatten_set_variable_args in guc.c).
std::optional<std::string> flattened(const PgQuery__Node* node, std::string_view name) {
    const PgQuery__TypeCast* interval = unwrap_as<PgQuery__TypeCast>(
        node,
        PG_QUERY__NODE__NODE_TYPE_CAST);
    if (interval != nullptr) node = interval->arg;
    const auto* value = unwrap_as<PgQuery__AConst>(node, PG_QUERY__NODE__NODE_A_CONST);
    if (value == nullptr) return std::nullopt;
    switch (value->val_case) {
    case PG_QUERY__A__CONST__VAL_IVAL: return std::to_string(value->ival->ival);
    case PG_QUERY__A__CONST__VAL_FVAL: return value->fval->fval;
    case PG_QUERY__A__CONST__VAL_SVAL: break;
    default: return std::nullopt;
    }
    const std::string text = value->sval->sval;
    if (interval == nullptr) return quotes_items(name) ? quoted(text) : text;
    int fields = 0;
    const PgQuery__TypeName* type = interval->type_name;
    if (type == nullptr || type->n_typmods > 1) return std::nullopt;
    if (type->n_typmods == 1) {
        const auto* modifier = unwrap_as<PgQuery__AConst>(
            type->typmods[0],
            PG_QUERY__NODE__NODE_A_CONST);
        if (modifier == nullptr || modifier->val_case != PG_QUERY__A__CONST__VAL_IVAL) {
            return std::nullopt;
        }
        fields = modifier->ival->ival;
    }
    return normal_interval(text, fields);
}

std::optional<std::string> flattened(
    PgQuery__Node* const* items,
    std::size_t count,
    std::string_view name) {
    std::string result;
    for (std::size_t i = 0; i < count; ++i) {
        const std::optional<std::string> item = flattened(items[i], name);
        if (!item) return std::nullopt;
        if (i > 0) result += ", ";
        result += *item;
    }
    return result;
}

}  // namespace

void collector::add_setting(setting_change change) {
    if (is_transaction_property(change.name)) {
        // Of this transaction, not of the session: it must simply not be overlooked.
        facts_.takes_locks = true;
        facts_.has_transaction_modes = true;
        return;
    }
    if (change.name == "seed") {
        pin(pin_cause::unknown_setting, "seed");
        return;
    }
    if (change.name == "search_path" && change.value.find("pg_temp") != std::string::npos) {
        // Objects created from now on may be temporary without saying so.
        pin(pin_cause::temporary_object, "search_path");
    }
    facts_.settings.push_back(std::move(change));
}

void collector::set(const tree_message& message) {
    const auto& command = as<PgQuery__VariableSetStmt>(message);
    facts_.kind = statement_kind::set;
    facts_.command_tag = "SET";
    setting_change change;
    change.local = command.is_local != 0;
    change.name = lower(command.name);
    switch (command.kind) {
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_VALUE: {
        std::optional<std::string> value = flattened(command.args, command.n_args, change.name);
        if (!value) {
            pin(pin_cause::unknown_setting, change.name);
            return;
        }
        change.value = *std::move(value);
        break;
    }
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_DEFAULT:
        change.what = setting_change::action::reset;
        break;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_RESET:
        change.what = setting_change::action::reset;
        facts_.command_tag = "RESET";
        break;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL:
        change.what = setting_change::action::reset_all;
        change.name.clear();
        facts_.command_tag = "RESET";
        break;
    case PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI:
        if (change.name == "session characteristics") {
            set_session_characteristics(command);
        } else {
            set_transaction(command);
        }
        return;
    default: pin(pin_cause::unknown_setting, change.name); return;  // SET … FROM CURRENT
    }
    if (is_transaction_property(change.name)) {
        facts_.kind = statement_kind::set_transaction;
        if (change.name == "transaction_isolation" &&
            change.what == setting_change::action::assign) {
            facts_.isolation = lower(change.value);
        }
        facts_.has_transaction_modes = true;
        facts_.takes_locks = true;
        return;
    }
    add_setting(std::move(change));
}

/// SET TRANSACTION …, and SET TRANSACTION SNAPSHOT, whose reads are of another time.
void collector::set_transaction(const PgQuery__VariableSetStmt& command) {
    facts_.kind = statement_kind::set_transaction;
    transaction_modes(command.args, command.n_args);
    if (lower(command.name) != "transaction") facts_.has_transaction_modes = true;
}

void collector::set_session_characteristics(const PgQuery__VariableSetStmt& command) {
    for (std::size_t i = 0; i < command.n_args; ++i) {
        const auto* item = unwrap_as<PgQuery__DefElem>(
            command.args[i],
            PG_QUERY__NODE__NODE_DEF_ELEM);
        std::optional<std::string> value;
        if (item != nullptr) value = flattened(item->arg, item->defname);
        if (!value) {
            pin(pin_cause::unknown_setting, "session characteristics");
            return;
        }
        setting_change change;
        change.name = std::string("default_") + item->defname;
        change.value = *std::move(value);
        facts_.settings.push_back(std::move(change));
    }
}

void collector::transaction_modes(PgQuery__Node* const* options, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto* item = unwrap_as<PgQuery__DefElem>(options[i], PG_QUERY__NODE__NODE_DEF_ELEM);
        std::optional<std::string> value;
        if (item != nullptr) value = flattened(item->arg, item->defname);
        if (!value) {
            facts_.has_transaction_modes = true;
            continue;
        }
        const std::string_view mode_name = item->defname;
        if (mode_name == "transaction_isolation") {
            facts_.isolation = lower(*value);
            if (facts_.isolation != "read committed") facts_.has_transaction_modes = true;
        } else if (mode_name == "transaction_read_only") {
            facts_.read_only = *value != "0";
            if (facts_.read_only) facts_.has_transaction_modes = true;
        } else if (*value != "0") {
            facts_.has_transaction_modes = true;
        }
    }
}

}  // namespace postern::sql
