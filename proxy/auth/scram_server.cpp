// What is accepted and refused follows PostgreSQL's auth-scram.c, so that every driver that logs in
// there logs in here.

#include "auth/attributes.hpp"
#include "auth/base64.hpp"
#include "auth/digest.hpp"
#include "auth/scram.hpp"
#include "base/assert.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace postern::auth {
namespace {

constexpr std::size_t nonce_raw_size = 18;  // PostgreSQL's SCRAM_RAW_NONCE_LEN
constexpr std::array all_mechanisms{scram_plus_mechanism, scram_mechanism};

failure malformed(std::string_view what) {
    return {std::string("malformed SCRAM message: ").append(what)};
}

}  // namespace

scram_server::scram_server(scram_verifier verifier)
    : scram_server(std::move(verifier), encode_base64(random_bytes(nonce_raw_size))) {}

scram_server::scram_server(scram_verifier verifier, std::string nonce)
    : verifier_(std::move(verifier))
    , nonce_(std::move(nonce)) {}

void scram_server::offer_binding(std::string end_point) {
    POSTERN_ASSERT(!end_point.empty());
    end_point_ = std::move(end_point);
}

std::span<const std::string_view> scram_server::mechanisms() const noexcept {
    return std::span{all_mechanisms}.subspan(end_point_.empty() ? 1 : 0);
}

bool scram_server::choose(std::string_view mechanism) noexcept {
    const auto offered = mechanisms();
    if (std::ranges::find(offered, mechanism) == offered.end()) return false;
    binds_ = mechanism == scram_plus_mechanism;
    return true;
}

/// `flag,authorization-identity,` off the front. The flag says what the client knows of channel
/// binding, and has to agree with what it chose and with what it was offered.
outcome<void> scram_server::take_gs2_header(std::string_view& message) {
    const char flag = message.front();
    if (flag == 'p') {
        if (!binds_) return malformed("SCRAM-SHA-256 was chosen, but with channel-binding data");
        if (!message.starts_with("p=tls-server-end-point,"))
            return malformed("the type of channel binding is not tls-server-end-point");
    } else if (flag == 'n' || flag == 'y') {
        if (binds_) return malformed("SCRAM-SHA-256-PLUS was chosen, without channel-binding data");
        if (flag == 'y' && !end_point_.empty()) {
            return failure{
                "the client supports SCRAM channel binding but thinks the server does not, which "
                "it does: the offer was taken away on the way"};
        }
    } else {
        return malformed("unexpected channel-binding flag");
    }
    const std::size_t comma = flag == 'p' ? binding_header.size() - 2 : 1;
    if (message.size() < comma + 2 || message[comma] != ',')
        return malformed("comma expected after the flag");
    if (message[comma + 1] == 'a') {
        return failure{"the client asks for an authorization identity, which is not supported"};
    }
    if (message[comma + 1] != ',') return malformed("unexpected attribute before the user name");
    gs2_header_ = message.substr(0, comma + 2);
    message.remove_prefix(comma + 2);
    return {};
}

outcome<std::string> scram_server::first(std::string_view client_first) {
    if (!server_first_.empty()) return failure{"a second SCRAM exchange in one login"};
    if (!is_plausible_message(client_first)) return malformed("empty, too long or with zero bytes");
    if (const auto taken = take_gs2_header(client_first); taken.has_error()) return taken.error();

    attributes in(client_first);
    if (client_first.starts_with("m=")) {
        return failure{"the client requires an extension of SCRAM that is not supported"};
    }
    // The name is that of the startup packet, as with PostgreSQL: this one is not looked at.
    if (!in.next('n')) return malformed("no user name");
    const auto client_nonce = in.next('r');
    if (!client_nonce || !is_nonce(*client_nonce))
        return malformed("no nonce of printable letters");
    while (!in.rest().empty()) {
        if (!in.next()) return malformed("attribute expected");
    }

    client_first_bare_ = client_first;
    nonce_.insert(0, *client_nonce);
    server_first_ = "r=" + nonce_ + ",s=" + encode_base64(verifier_.salt) +
                    ",i=" + std::to_string(verifier_.iterations);
    return to_send(server_first_);
}

outcome<std::string> scram_server::final(std::string_view client_final) {
    if (server_first_.empty()) return failure{"the SCRAM exchange has not begun"};
    if (!is_plausible_message(client_final)) return malformed("empty, too long or with zero bytes");

    attributes in(client_final);
    const auto binding = in.next('c');
    // base64 of the GS2 header, which must be the one that the exchange began with, and of what it
    // is bound to.
    if (!binding || *binding != encode_base64(binds_ ? gs2_header_ + end_point_ : gs2_header_)) {
        if (!binds_) {
            return malformed("the channel-binding header is not that of the first message");
        }
        bound_elsewhere_ = true;
        return malformed("it is bound to another server's certificate than ours");
    }
    const auto nonce = in.next('r');
    if (!nonce || *nonce != nonce_) return malformed("the nonce is not that of this exchange");
    std::string_view without_proof;
    std::optional<attributes::attribute> last;
    do {
        // What precedes the attribute, but for the comma between them.
        const std::size_t taken = client_final.size() - in.rest().size();
        without_proof = client_final.substr(0, taken - 1);
        last = in.next();
        if (!last) return malformed("no proof");
    } while (last->name != 'p');
    if (!in.rest().empty()) return malformed("the proof is not the last attribute");
    const auto proof = decode_base64(last->value);
    if (!proof || proof->size() != digest_size) {
        return malformed("the proof is not base64 of 32 bytes");
    }

    const std::string signed_text = client_first_bare_ + ',' + server_first_ + ',' +
                                    std::string(without_proof);
    const std::string signature = hmac_sha256(verifier_.stored_key, signed_text);
    std::string client_key = exclusive_or(*proof, signature);
    const bool proven = equal_in_constant_time(sha256(client_key), verifier_.stored_key);
    if (proven && !doomed_) {
        keys_ = std::make_shared<const scram_keys>(std::move(client_key), verifier_);
    }
    wipe(client_key);
    std::string answer = "v=" + encode_base64(hmac_sha256(verifier_.server_key, signed_text));
    server_first_.clear();  // one attempt an exchange
    if (!proven || doomed_) return failure{"the password does not match"};
    return to_send(std::move(answer));
}

}  // namespace postern::auth
