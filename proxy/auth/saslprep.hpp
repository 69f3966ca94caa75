// SASLprep (RFC 4013) of passwords, as PostgreSQL applies it. For this room's own use.

#pragma once

#include <string>
#include <string_view>

namespace postern::auth {

/// The form of `password` that keys are derived from. Plain ASCII stays as it is, and so does what
/// can't be prepared: invalid UTF-8, prohibited or unassigned characters, or nothing left over.
/// https://www.postgresql.org/docs/15/sasl-authentication.html
std::string prepare_password(std::string_view password);

}  // namespace postern::auth
