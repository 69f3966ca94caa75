// Connection strings in libpq's form.
// https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING

#pragma once

#include "session/settings.hpp"

#include <string>
#include <string_view>

namespace postern::session {

/// `key='value'` with the value's quotes and backslashes escaped; nothing for an empty value.
std::string conninfo_part(std::string_view key, std::string_view value);

/// How Postern's own connections, by its service login, reach a database: the catalog's,
/// auth_query's, and those of the subcommands. TLS as its servers have it.
std::string service_conninfo(const database& where);

}  // namespace postern::session
