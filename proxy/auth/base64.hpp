// Base64 as SCRAM uses it: the standard alphabet, padded, no white space. For this room's own use.

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace postern::auth {

std::string encode_base64(std::string_view bytes);

/// nullopt: not what encode_base64() would have written for any bytes.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace postern::auth
