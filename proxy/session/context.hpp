// What a session has set: settings, identity, whether it goes past the cache; and how transactions
// and savepoints give and take it. No I/O.

#pragma once

#include "pool/session_settings.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::session {

/// One moment's values; cheap to copy, since the maps are shared and immutable.
struct context_values {
    pool::settings_map_ptr settings =
        pool::no_settings();  ///< as the session wants them on a server
    pool::settings_map_ptr identity =
        pool::no_settings();  ///< identity variables set for the session
    pool::settings_map_ptr identity_local = pool::no_settings();  ///< and for this transaction only
    bool cache_bypass = false;                                    ///< SET postern.cache = bypass
};

/// The values now, and those that ROLLBACK and ROLLBACK TO bring back.
class context {
public:
    const context_values& now() const noexcept { return now_; }
    context_values& change() noexcept { return now_; }

    /// `worn`: what the server wears at this point, which the same rollback brings back there.
    void begin(pool::settings_map_ptr worn);
    void savepoint(std::string name, pool::settings_map_ptr worn);
    void release_savepoint(std::string_view name);

    void commit();
    /// Returns what the server wears again; null when no transaction had begun.
    pool::settings_map_ptr roll_back();
    /// The same for ROLLBACK TO; null when there is no such savepoint.
    pool::settings_map_ptr roll_back_to(std::string_view name);

    bool in_transaction() const noexcept { return at_begin_.has_value(); }
    /// The server that the transaction runs on came after its beginning.
    void wears(pool::settings_map_ptr worn);

private:
    struct mark {
        std::string name;
        context_values values;
        pool::settings_map_ptr worn;
    };
    context_values now_;
    std::optional<mark> at_begin_;
    std::vector<mark> savepoints_;
};

}  // namespace postern::session
