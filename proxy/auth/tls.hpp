// TLS on either side of the proxy, over sockets that somebody else owns and polls.
// https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.12 (SSL session encryption),
// https://www.postgresql.org/docs/15/libpq-ssl.html (what the modes of a client mean).

#pragma once

#include "base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct ssl_st;
struct ssl_ctx_st;

namespace postern::auth {

/// The protocol's name in ALPN, as PostgreSQL 17 has it.
inline constexpr std::string_view alpn_protocol = "postgresql";

/// Certificates, keys and what is asked of the peer. Immutable; may be shared by threads, and is
/// kept alive by the streams made of it, so that a reload disturbs nobody.
class tls_context {
public:
    /// What is shown to clients. Files are PEM; a certificate may be followed by its chain.
    struct server_files {
        std::string certificate;
        std::string key;
        std::string
            client_ca;  ///< empty: clients show no certificate; else they must, signed by it
    };
    /// How far a server is checked.
    enum class verification : std::uint8_t {
        none,  ///< not at all: protects from listeners alone
        ca,    ///< its certificate is signed by the root
        full,  ///< and names the host that was asked for
    };
    struct client_files {
        verification verify = verification::none;
        std::string root_ca;      ///< needed by ca and full
        std::string certificate;  ///< of our own, with `key`; empty: none
        std::string key;
    };

    /// The failure's message names the file.
    static outcome<std::shared_ptr<const tls_context>> towards_clients(const server_files& files);
    static outcome<std::shared_ptr<const tls_context>> towards_servers(const client_files& files);

    ~tls_context();
    tls_context(const tls_context&) = delete;
    tls_context& operator=(const tls_context&) = delete;

private:
    friend class tls_stream;
    explicit tls_context(ssl_ctx_st* made) noexcept
        : context_{made} {}
    ssl_ctx_st* context_;
    verification verify_ = verification::none;
};
using tls_context_ptr = std::shared_ptr<const tls_context>;

/// One connection's TLS on a non-blocking socket, which it does not own and must not outlive. The
/// process has to ignore SIGPIPE: OpenSSL writes with write(2).
///
/// receive() and send() may need the socket to become readable or writable, whichever they say,
/// before they are called again. send() is repeated with the same bytes, to which more may have
/// been appended.
class tls_stream {
public:
    enum class state : std::uint8_t { done, wants_read, wants_write, closed };
    struct result {
        state what;
        std::size_t count = 0;
    };

    /// The side that was connected to; the handshake happens within the first receive().
    static std::unique_ptr<tls_stream> accept(tls_context_ptr rules, int fd);
    /// The side that connected to `host`, a name or an address; handshake() comes first.
    static std::unique_ptr<tls_stream> connect(
        tls_context_ptr rules,
        int fd,
        const std::string& host);

    ~tls_stream();
    tls_stream(const tls_stream&) = delete;
    tls_stream& operator=(const tls_stream&) = delete;

    result handshake() noexcept;
    result receive(char* into, std::size_t size) noexcept;
    result send(std::string_view bytes) noexcept;
    /// Tells the peer that nothing more will be sent.
    void shut_down() noexcept;

    /// The common name in the peer's certificate, which was verified; empty: none, or it holds a
    /// zero byte.
    std::string peer_name() const;
    /// The server's end of it, ours or the peer's, as channel binding knows it: the hash of the
    /// certificate (tls-server-end-point, RFC 5929). Empty before the handshake, and for a
    /// certificate whose signature names no hash, such as Ed25519.
    std::string end_point() const;
    /// The application protocol agreed on; empty before the handshake, or when none was.
    std::string_view alpn() const noexcept;
    /// Such as "TLSv1.3/TLS_AES_256_GCM_SHA384", as PgBouncer's SHOW CLIENTS has it.
    std::string description() const;
    /// Why the stream is closed; empty when the peer has simply ended it.
    const std::string& error() const noexcept { return error_; }

private:
    tls_stream(tls_context_ptr rules, int fd);
    result outcome_of(int returned, std::size_t count) noexcept;

    tls_context_ptr context_;
    ssl_st* ssl_;
    std::string error_;
};

}  // namespace postern::auth
