// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS both ways (RFC 5802, RFC 7677), without I/O: messages in,
// messages out. PLUS ties the login to the TLS that it goes through (tls-server-end-point,
// RFC 5929), so that nobody who ends that TLS in between can pass the login on.
// https://www.postgresql.org/docs/15/sasl-authentication.html

#pragma once

#include "base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace postern::auth {

/// What PostgreSQL keeps of a password:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (base64), as in
/// pg_authid.rolpassword.
struct scram_verifier {
    std::uint32_t iterations = 4096;
    std::string salt;        ///< raw bytes
    std::string stored_key;  ///< 32 raw bytes
    std::string server_key;  ///< 32 raw bytes

    static outcome<scram_verifier> parse(std::string_view text);
    /// Derives it from a password (SASLprep where the password is not plain ASCII; an unpreparable
    /// password is used as it is, as PostgreSQL does). Costs milliseconds: derive once, not a
    /// login. REQUIRES: 0 < iterations < 2^31.
    static scram_verifier derive(
        std::string_view password,
        std::string_view salt,
        std::uint32_t iterations = 4096);
    std::string to_string() const;
};

/// What a client's proof shows of its password: enough to log in, under the same verifier, wherever
/// that is in force, and not enough to know the password. Kept in memory only; wiped as it goes.
/// Immutable, may be shared by threads.
class scram_keys {
public:
    /// REQUIRES: `client_key` is the one that the verifier's stored_key is the hash of.
    scram_keys(std::string client_key, scram_verifier of);
    ~scram_keys();
    scram_keys(const scram_keys&) = delete;
    scram_keys& operator=(const scram_keys&) = delete;

    const std::string& client_key() const noexcept { return client_key_; }
    const scram_verifier& verifier() const noexcept { return verifier_; }

private:
    std::string client_key_;
    scram_verifier verifier_;
};
using scram_keys_ptr = std::shared_ptr<const scram_keys>;

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";
inline constexpr std::string_view scram_plus_mechanism = "SCRAM-SHA-256-PLUS";

/// The server's side: one login attempt.
///
/// choose() takes the mechanism that the client has picked from mechanisms(); without it the plain
/// one is meant.
/// first() takes client-first-message, final() takes client-final-message; each returns what to
/// send or why the login failed. An unknown user is run through with a mock verifier, so that
/// timing and messages do not tell it from a wrong password (call set_doomed()).
class scram_server {
public:
    explicit scram_server(scram_verifier verifier);
    /// With a server nonce of the caller's choice: only for retracing a recorded exchange.
    scram_server(scram_verifier verifier, std::string nonce);
    void set_doomed() noexcept { doomed_ = true; }
    /// Offers PLUS. `end_point` is tls_stream::end_point() of the client's connection, not empty.
    void offer_binding(std::string end_point);
    /// What to offer, the best first, as PostgreSQL does.
    std::span<const std::string_view> mechanisms() const noexcept;
    /// False: it was not offered.
    bool choose(std::string_view mechanism) noexcept;
    outcome<std::string> first(std::string_view client_first);
    outcome<std::string> final(std::string_view client_final);
    /// What final() has proven, once it went well; null before and otherwise.
    scram_keys_ptr keys() const noexcept { return keys_; }
    /// final() failed since the client's TLS ends elsewhere than ours.
    bool bound_elsewhere() const noexcept { return bound_elsewhere_; }

private:
    outcome<void> take_gs2_header(std::string_view& message);

    scram_verifier verifier_;
    bool doomed_ = false;
    bool binds_ = false;            ///< PLUS was chosen
    bool bound_elsewhere_ = false;  ///< see above
    std::string end_point_;         ///< empty: PLUS is not offered
    std::string gs2_header_;
    std::string client_first_bare_;
    std::string server_first_;  ///< empty: no exchange is under way
    std::string nonce_;         ///< ours; from first() on the client's and ours
    scram_keys_ptr keys_;
};

/// The client's side, towards PostgreSQL. final() costs milliseconds; more than a million
/// iterations are refused, since a hostile server could otherwise keep the thread busy.
class scram_client {
public:
    explicit scram_client(std::string password);
    /// Without a password. REQUIRES: not null.
    explicit scram_client(scram_keys_ptr keys);
    /// With a nonce and a user name of the caller's choice: only for retracing a recorded exchange.
    scram_client(std::string password, std::string nonce, std::string_view user = {});
    /// Takes PLUS. `end_point` is tls_stream::end_point() of the connection, not empty. Comes
    /// before first(), as does the next one.
    void bind_to(std::string end_point);
    /// We could bind, and the server does not offer it. One that does, and hears this, knows that
    /// somebody took its offer away on the way.
    void note_no_offer();
    /// The one to name beside first().
    std::string_view mechanism() const noexcept;
    std::string first();
    outcome<std::string> final(std::string_view server_first);
    /// Checks the server's signature: a server that does not know the verifier is refused.
    outcome<void> verify(std::string_view server_final);

private:
    struct derived {
        std::string client_key;
        std::string server_key;
    };
    outcome<derived> keys_for(std::string_view salt, std::uint32_t iterations) const;

    std::string password_;
    scram_keys_ptr keys_;  ///< in place of the password; null: none
    std::string nonce_;
    std::string gs2_header_ = "n,,";
    std::string end_point_;  ///< empty: plain SCRAM-SHA-256
    std::string client_first_bare_;
    std::string server_signature_;
};

/// A deterministic verifier for users that do not exist, so that their salt stays the same from
/// login to login. `secret` is random, made once a process.
scram_verifier mock_verifier(std::string_view user, std::string_view secret);

/// "md5" + hex(md5(hex(md5(password + user)) + salt)), what an md5 request wants back;
/// empty where the machine's policy forbids MD5.
std::string md5_response(std::string_view user, std::string_view password, std::string_view salt);

/// Cryptographically random bytes. Ends the process if there are none to be had.
std::string random_bytes(std::size_t count);

}  // namespace postern::auth
