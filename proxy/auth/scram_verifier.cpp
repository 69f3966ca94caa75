#include "auth/attributes.hpp"
#include "auth/base64.hpp"
#include "auth/digest.hpp"
#include "auth/saslprep.hpp"
#include "auth/scram.hpp"

#include <limits>

namespace postern::auth {
namespace {

constexpr std::string_view prefix = "SCRAM-SHA-256$";
constexpr std::uint32_t iterations_max = std::numeric_limits<std::int32_t>::max();
// As PostgreSQL's SCRAM_DEFAULT_SALT_LEN, so that a made-up salt looks like a real one.
constexpr std::size_t mock_salt_size = 16;

failure malformed(std::string_view what) {
    return {std::string("not a SCRAM-SHA-256 verifier: ").append(what)};
}

// Splits at the first `separator`; nullopt when there is none.
std::optional<std::string_view> take_until(std::string_view& rest, char separator) {
    const std::size_t end = rest.find(separator);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return taken;
}

}  // namespace

outcome<scram_verifier> scram_verifier::parse(std::string_view text) {
    if (!text.starts_with(prefix)) return malformed("it must begin with SCRAM-SHA-256$");
    std::string_view rest = text.substr(prefix.size());
    const auto iterations_text = take_until(rest, ':');
    if (!iterations_text) return malformed("no colon after the iterations");
    const auto salt_text = take_until(rest, '$');
    if (!salt_text) return malformed("no dollar sign after the salt");
    const auto stored_text = take_until(rest, ':');
    if (!stored_text) return malformed("no colon after the stored key");

    const auto iterations = parse_iterations(*iterations_text, iterations_max);
    if (!iterations) return malformed("the iterations are no positive number");
    auto salt = decode_base64(*salt_text);
    if (!salt || salt->empty()) return malformed("the salt is not base64");
    auto stored_key = decode_base64(*stored_text);
    if (!stored_key || stored_key->size() != digest_size) {
        return malformed("the stored key is not base64 of 32 bytes");
    }
    auto server_key = decode_base64(rest);
    if (!server_key || server_key->size() != digest_size) {
        return malformed("the server key is not base64 of 32 bytes");
    }
    return scram_verifier{
        *iterations,
        std::move(*salt),
        std::move(*stored_key),
        std::move(*server_key)};
}

scram_verifier scram_verifier::derive(
    std::string_view password,
    std::string_view salt,
    std::uint32_t iterations) {
    std::string prepared = prepare_password(password);
    std::string salted = salted_password(prepared, salt, iterations);
    wipe(prepared);
    std::string client_key = hmac_sha256(salted, "Client Key");
    scram_verifier verifier{
        iterations,
        std::string(salt),
        sha256(client_key),
        hmac_sha256(salted, "Server Key")};
    wipe(client_key);
    wipe(salted);
    return verifier;
}

std::string scram_verifier::to_string() const {
    return std::string(prefix) + std::to_string(iterations) + ':' + encode_base64(salt) + '$' +
           encode_base64(stored_key) + ':' + encode_base64(server_key);
}

scram_keys::scram_keys(std::string client_key, scram_verifier of)
    : client_key_(std::move(client_key))
    , verifier_(std::move(of)) {}

scram_keys::~scram_keys() {
    wipe(client_key_);
}

scram_verifier mock_verifier(std::string_view user, std::string_view secret) {
    const auto made_up = [&](std::string_view purpose) {
        return hmac_sha256(secret, std::string(purpose).append(user));
    };
    scram_verifier verifier;
    verifier.salt = made_up("salt:").substr(0, mock_salt_size);
    verifier.stored_key = made_up("stored key:");
    verifier.server_key = made_up("server key:");
    return verifier;
}

}  // namespace postern::auth
