#include "pool/tls_opening.hpp"

#include "wire/frontend.hpp"

#include <fmt/format.h>

namespace postern::pool {

tls_opening::state tls_opening::start(channel& on, const upstream& where) {
    channel_ = &on;
    where_ = &where;
    if (where.tls.mode == tls_mode::disable || where.host.starts_with('/'))
        return now_ = state::done;
    std::string out;
    wire::write_ssl_request(out);
    const auto sent = on.send(out);
    if (sent.state != channel::io_state::done || sent.count != out.size())
        return fail("could not send to the server");
    return now_ = state::under_way;
}

tls_opening::state tls_opening::go_on() {
    if (now_ != state::under_way) return now_;
    if (channel_->tls() == nullptr) {
        if (const auto answered = take_answer(); answered != state::under_way) return answered;
        if (channel_->tls() == nullptr) return now_;
    }
    switch (channel_->handshake().state) {
    case channel::io_state::done:
        channel_->want_write(false);
        channel_->want_read(true);
        return now_ = state::done;
    case channel::io_state::would_block: return now_;
    default: break;
    }
    const auto& why = channel_->tls()->error();
    return fail(
        why.empty() ? "the server closed the connection during the TLS handshake"
                    : fmt::format("TLS with the server failed: {}", why));
}

/// One byte and no more: what a stranger may have put behind it in plain text is not to be read as
/// if it were encrypted (CVE-2021-23222).
tls_opening::state tls_opening::take_answer() {
    char answer = 0;
    const auto got = channel_->receive(&answer, 1);
    if (got.state == channel::io_state::would_block) return now_;
    if (got.state == channel::io_state::closed)
        return fail("server closed the connection unexpectedly");
    if (answer == 'S') {
        channel_->secure(
            auth::tls_stream::connect(where_->tls.context, channel_->fd(), where_->host));
        return now_;
    }
    if (answer != 'N') return fail("unexpected answer of the server to SSLRequest");
    if (where_->tls.mode == tls_mode::prefer) return now_ = state::done;
    return fail("the server offers no TLS, which tls.mode asks for");
}

tls_opening::state tls_opening::fail(std::string why) {
    error_ = std::move(why);
    return now_ = state::failed;
}

}  // namespace postern::pool
