#include "auth/attributes.hpp"
#include "auth/base64.hpp"
#include "auth/digest.hpp"
#include "auth/saslprep.hpp"
#include "auth/scram.hpp"
#include "base/assert.hpp"

#include <utility>

namespace postern::auth {
namespace {

constexpr std::size_t nonce_raw_size = 18;  // as libpq
// A server that asks for more would only burn our time: a million is nearly half a second, and some
// 250 times PostgreSQL's default.
constexpr std::uint32_t iterations_max = 1'000'000;

failure malformed(std::string_view what) {
    return {std::string("malformed SCRAM message from the server: ").append(what)};
}

}  // namespace

scram_client::scram_client(std::string password)
    : scram_client(std::move(password), encode_base64(random_bytes(nonce_raw_size))) {}

scram_client::scram_client(std::string password, std::string nonce, std::string_view user)
    : password_(std::move(password))
    , nonce_(std::move(nonce))
    , client_first_bare_(std::string("n=").append(user).append(",r=").append(nonce_)) {}

scram_client::scram_client(scram_keys_ptr keys)
    : scram_client(std::string()) {
    POSTERN_ASSERT(keys != nullptr);
    keys_ = std::move(keys);
}

void scram_client::bind_to(std::string end_point) {
    POSTERN_ASSERT(!end_point.empty());
    gs2_header_ = binding_header;
    end_point_ = std::move(end_point);
}

void scram_client::note_no_offer() {
    gs2_header_ = "y,,";
}

std::string_view scram_client::mechanism() const noexcept {
    return end_point_.empty() ? scram_mechanism : scram_plus_mechanism;
}

std::string scram_client::first() {
    // No user name: PostgreSQL goes by that of the startup packet.
    return gs2_header_ + client_first_bare_;
}

outcome<scram_client::derived> scram_client::keys_for(
    std::string_view salt,
    std::uint32_t iterations) const {
    if (keys_) {
        const auto& known = keys_->verifier();
        if (known.salt != salt || known.iterations != iterations) {
            return failure{
                "the password was proven under another verifier than the server has now: it was "
                "changed there since"};
        }
        return derived{keys_->client_key(), known.server_key};
    }
    std::string prepared = prepare_password(password_);
    std::string salted = salted_password(prepared, salt, iterations);
    wipe(prepared);
    derived made{hmac_sha256(salted, "Client Key"), hmac_sha256(salted, "Server Key")};
    wipe(salted);
    return made;
}

outcome<std::string> scram_client::final(std::string_view server_first) {
    if (!server_signature_.empty()) return failure{"a second server-first message"};
    if (!is_plausible_message(server_first)) return malformed("empty, too long or with zero bytes");

    attributes in(server_first);
    const auto nonce = in.next('r');
    if (!nonce || !is_nonce(*nonce)) return malformed("no nonce of printable letters");
    if (!nonce->starts_with(nonce_) || nonce->size() == nonce_.size()) {
        return malformed("its nonce does not continue ours");
    }
    const auto salt_text = in.next('s');
    const auto salt = salt_text ? decode_base64(*salt_text) : std::nullopt;
    if (!salt || salt->empty()) return malformed("no salt in base64");
    const auto iterations_text = in.next('i');
    const auto iterations = iterations_text ? parse_iterations(*iterations_text, iterations_max)
                                            : std::nullopt;
    if (!iterations) return malformed("the iterations are no number from 1 to 1000000");
    if (!in.rest().empty()) return malformed("it goes on after the iterations");

    outcome<derived> keys = keys_for(*salt, *iterations);
    if (keys.has_error()) return keys.error();
    const std::string without_proof = "c=" + encode_base64(gs2_header_ + end_point_) +
                                      std::string(",r=").append(*nonce);
    const std::string signed_text = client_first_bare_ + ',' + std::string(server_first) + ',' +
                                    without_proof;
    const std::string signature = hmac_sha256(sha256(keys->client_key), signed_text);
    const std::string proof = exclusive_or(keys->client_key, signature);
    server_signature_ = hmac_sha256(keys->server_key, signed_text);
    wipe(keys->client_key);
    return to_send(without_proof + ",p=" + encode_base64(proof));
}

outcome<void> scram_client::verify(std::string_view server_final) {
    if (server_signature_.empty()) return failure{"the server ended the SCRAM exchange too early"};
    if (!is_plausible_message(server_final)) return malformed("empty, too long or with zero bytes");

    attributes in(server_final);
    const auto attribute = in.next();
    if (attribute && attribute->name == 'e') {
        return failure{std::string("the server refused the login: ").append(attribute->value)};
    }
    if (!attribute || attribute->name != 'v') return malformed("no signature");
    if (!in.rest().empty()) return malformed("it goes on after the signature");
    const auto signature = decode_base64(attribute->value);
    if (!signature || signature->size() != digest_size) {
        return malformed("the signature is not base64 of 32 bytes");
    }
    if (!equal_in_constant_time(*signature, server_signature_)) {
        return failure{"the server's signature is wrong: it does not know the password's verifier"};
    }
    return {};
}

}  // namespace postern::auth
