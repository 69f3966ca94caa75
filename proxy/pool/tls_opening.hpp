// SSLRequest and the handshake behind it, on a fresh connection to PostgreSQL.
// https://www.postgresql.org/docs/15/protocol-flow.html#id-1.10.6.7.12

#pragma once

#include "pool/poller.hpp"
#include "pool/settings.hpp"

#include <cstdint>
#include <string>

namespace postern::pool {

/// Comes before whatever the connection is for, be it a login or a cancel request.
class tls_opening {
public:
    enum class state : std::uint8_t {
        under_way,  ///< go_on() when the channel is readable or writable
        done,       ///< the connection is ready: with TLS, or without where that is allowed
        failed,     ///< error() says why
    };

    /// Asks for TLS where `where` wants it. Both outlive this.
    state start(channel& on, const upstream& where);
    state go_on();

    bool is_under_way() const noexcept { return now_ == state::under_way; }
    const std::string& error() const noexcept { return error_; }

private:
    state fail(std::string why);
    state take_answer();

    channel* channel_ = nullptr;
    const upstream* where_ = nullptr;
    state now_ = state::done;
    std::string error_;
};

}  // namespace postern::pool
