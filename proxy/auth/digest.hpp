// The primitives of SCRAM, from OpenSSL. For this room's own use.

#pragma once

#include "auth/secret.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace postern::auth {

inline constexpr std::size_t digest_size = 32;  ///< of SHA-256

std::string sha256(std::string_view data);
std::string hmac_sha256(std::string_view key, std::string_view data);

/// RFC 5802's Hi(): PBKDF2 with HMAC-SHA-256, one block. Milliseconds for 4096 iterations.
std::string salted_password(
    std::string_view password,
    std::string_view salt,
    std::uint32_t iterations);

/// REQUIRES: both of the same size.
std::string exclusive_or(std::string_view left, std::string_view right);

}  // namespace postern::auth
