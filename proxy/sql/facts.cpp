#include "sql/facts.hpp"

namespace postern::sql {

std::string_view name(pin_cause cause) noexcept {
    switch (cause) {
    case pin_cause::none: return "none";
    case pin_cause::listen: return "listen";
    case pin_cause::temporary_object: return "temporary object";
    case pin_cause::advisory_lock: return "advisory lock";
    case pin_cause::with_hold_cursor: return "cursor with hold";
    case pin_cause::load: return "load";
    case pin_cause::sql_prepare: return "prepared in SQL";
    case pin_cause::unknown_setting: return "unknown setting";
    case pin_cause::unknown_effect: return "unknown effect";
    case pin_cause::unread_catalog: return "catalog being read";
    }
    return "unknown effect";
}

bool is_repeatable(reason why, std::string_view detail) noexcept {
    switch (why) {
    case reason::none:
    case reason::time_dependent_constant: return true;
    case reason::time_dependent:
        return detail != "clock_timestamp" && detail != "statement_timestamp" &&
               detail != "timeofday";
    // The path is what differs between two runs in shadow mode.
    case reason::session_dependent:
        return detail != "current_schema" && detail != "current_schemas" && detail != "search_path";
    // Those that are VOLATILE count as writing everything.
    case reason::user_function:
    case reason::unknown_operator: return true;
    default: return false;
    }
}

}  // namespace postern::sql
