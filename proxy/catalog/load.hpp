// Reading the catalog, and telling cheaply whether it has changed since.

#pragma once

#include "catalog/connection.hpp"
#include "catalog/snapshot.hpp"

#include <string>

namespace postern::catalog {

/// What tells one server's one run from another.
struct server_identity {
    std::string system_identifier;
    std::string timeline;
    std::string started_at;
    friend bool operator==(const server_identity&, const server_identity&) = default;
};

struct loaded {
    snapshot_data data;
    std::string fingerprint;
};

/// Connects, and makes names mean pg_catalog's alone.
outcome<void> open_session(connection& database, const std::string& conninfo, const wakeup* stop);

/// Parts that the role may not see stay empty.
outcome<server_identity> read_identity(connection& database, const wakeup* stop);

/// Changes whenever something that a footprint, a privilege or an answer's shape depends on
/// changes.
outcome<std::string> read_fingerprint(connection& database, const wakeup* stop);

/// The catalog and its fingerprint, both as one transaction sees them. `vouched` and
/// `identity_variables` stay empty: they are no part of the database.
outcome<loaded> read_catalog(connection& database, const wakeup* stop);

}  // namespace postern::catalog
