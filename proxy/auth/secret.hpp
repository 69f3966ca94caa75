// Bytes that nobody else shall know.

#pragma once

#include <string>
#include <string_view>

namespace postern::auth {

/// Takes as long for unlike bytes as for like ones. Sizes are not secret.
bool equal_in_constant_time(std::string_view left, std::string_view right) noexcept;

/// Overwrites the bytes, so that they do not outlive their use in memory.
void wipe(std::string& secret) noexcept;

}  // namespace postern::auth
