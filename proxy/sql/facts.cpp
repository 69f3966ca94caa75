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

}  // namespace postern::sql
