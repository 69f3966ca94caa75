#include "auth/digest.hpp"

#include "auth/scram.hpp"
#include "base/assert.hpp"

#include <array>
#include <limits>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <optional>

namespace postern::auth {
namespace {

unsigned char* raw(std::string& bytes) {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

const unsigned char* raw(std::string_view bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}

int int_size(std::string_view bytes) {
    POSTERN_ASSERT(bytes.size() <= std::size_t{std::numeric_limits<int>::max()});
    return static_cast<int>(bytes.size());
}

std::optional<std::string> md5_hex(std::string_view data) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_md5(), nullptr) != 1) {
        return std::nullopt;
    }
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    for (unsigned i = 0; i < size; ++i) {
        hex.push_back(digits[digest[i] >> 4]);
        hex.push_back(digits[digest[i] & 15]);
    }
    return hex;
}

}  // namespace

std::string sha256(std::string_view data) {
    std::string digest(digest_size, '\0');
    POSTERN_ASSERT(SHA256(raw(data), data.size(), raw(digest)) != nullptr);
    return digest;
}

std::string hmac_sha256(std::string_view key, std::string_view data) {
    std::string digest(digest_size, '\0');
    unsigned size = 0;
    const unsigned char* done =
        HMAC(EVP_sha256(), key.data(), int_size(key), raw(data), data.size(), raw(digest), &size);
    POSTERN_ASSERT(done != nullptr && size == digest_size);
    return digest;
}

std::string salted_password(
    std::string_view password,
    std::string_view salt,
    std::uint32_t iterations) {
    POSTERN_ASSERT(iterations > 0 && iterations <= std::numeric_limits<int>::max());
    std::string digest(digest_size, '\0');
    const int done = PKCS5_PBKDF2_HMAC(
        // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its size follows, as an int
        password.data(),
        int_size(password),
        raw(salt),
        int_size(salt),
        static_cast<int>(iterations),
        EVP_sha256(),
        int{digest_size},
        raw(digest));
    POSTERN_ASSERT(done == 1);
    return digest;
}

bool equal_in_constant_time(std::string_view left, std::string_view right) noexcept {
    return left.size() == right.size() &&
           CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

std::string exclusive_or(std::string_view left, std::string_view right) {
    POSTERN_ASSERT(left.size() == right.size());
    std::string bytes(left);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<char>(bytes[i] ^ right[i]);
    }
    return bytes;
}

void wipe(std::string& secret) noexcept {
    OPENSSL_cleanse(secret.data(), secret.size());
    secret.clear();
}

std::string random_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    // Without randomness no nonce and no key is safe: going on would be worse than stopping.
    POSTERN_ASSERT(RAND_bytes(raw(bytes), int_size(bytes)) == 1);
    return bytes;
}

std::string md5_response(std::string_view user, std::string_view password, std::string_view salt) {
    const std::optional<std::string> inner = md5_hex(std::string(password).append(user));
    if (!inner) return {};
    const std::optional<std::string> outer = md5_hex(std::string(*inner).append(salt));
    return outer ? "md5" + *outer : std::string();
}

}  // namespace postern::auth
