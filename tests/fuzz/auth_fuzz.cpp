// Arbitrary bytes on either side of a SCRAM login, two messages parted by a newline. Nobody who
// does not know the password may ever get in, and no server that does not know the verifier be
// believed.

#include "auth/access.hpp"
#include "auth/scram.hpp"
#include "base/assert.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace postern::auth {
namespace {

// Keys of which nobody knows the password.
scram_verifier locked() {
    return {4096, "0123456789abcdef", std::string(32, '\x17'), std::string(32, '\x42')};
}

void check_verifier(std::string_view text) {
    const auto parsed = scram_verifier::parse(text);
    if (parsed.has_error()) return;
    const auto again = scram_verifier::parse(parsed->to_string());
    POSTERN_ASSERT(again.has_value());
    POSTERN_ASSERT(again->iterations == parsed->iterations && again->salt == parsed->salt);
    POSTERN_ASSERT(again->stored_key == parsed->stored_key);
    POSTERN_ASSERT(again->server_key == parsed->server_key);
}

void check_network(std::string_view text) {
    const auto parsed = network::parse(text);
    if (!parsed) return;
    POSTERN_ASSERT(parsed->prefix <= (parsed->base.is_v6 ? 128U : 32U));
    POSTERN_ASSERT(parsed->contains(parsed->base));
    access_rule rule{.type = access_type::host};
    rule.networks.push_back(*parsed);
    POSTERN_ASSERT(decide({&rule, 1}, {"db", "me", parsed->base, false}) == &rule);
    POSTERN_ASSERT(!parsed->is_loopback() || parsed->base.is_loopback());
}

void check_server(std::string_view first, std::string_view final, bool bound) {
    scram_server server(locked(), "server");
    if (bound) {
        server.offer_binding("end point");
        POSTERN_ASSERT(server.choose(scram_plus_mechanism));
    }
    const auto answer = server.first(first);
    const auto last = server.final(final);
    POSTERN_ASSERT(last.has_error());
    if (answer.has_error()) return;
    POSTERN_ASSERT(first.starts_with("p=tls-server-end-point,,") == bound);
    if (bound) return;
    // What we send ourselves, our own client reads: whatever nonce the other side chose.
    const std::size_t nonce_at = first.find("r=") + 2;
    const std::string_view nonce = first.substr(nonce_at, first.find(',', nonce_at) - nonce_at);
    if (!first.substr(3).starts_with("n=,r=")) return;
    scram_client client("secret", std::string(nonce));
    POSTERN_ASSERT(client.final(answer.value()).has_value());
}

void check_client(std::string_view first, std::string_view final) {
    // More than two digits of iterations cost time and show nothing new.
    const std::size_t iterations_at = first.rfind(",i=");
    if (iterations_at != std::string_view::npos && first.size() - iterations_at > 5) return;
    scram_client client("secret", "client");
    POSTERN_ASSERT(!client.first().empty());
    const auto answer = client.final(first);
    const auto verified = client.verify(final);
    POSTERN_ASSERT(verified.has_error());
    if (answer.has_value()) POSTERN_ASSERT(answer->starts_with("c=biws,r=client"));
}

void check_agreement(std::string_view password, std::string_view salt) {
    if (salt.empty() || salt.size() > 4096) return;
    scram_server server(scram_verifier::derive(password, salt, 1));
    scram_client client{std::string(password)};
    if (salt.size() % 2 == 0) {
        server.offer_binding(std::string(salt));
        client.bind_to(std::string(salt));
        POSTERN_ASSERT(server.choose(client.mechanism()));
    }
    const auto server_first = server.first(client.first());
    POSTERN_ASSERT(server_first.has_value());
    const auto client_final = client.final(*server_first);
    POSTERN_ASSERT(client_final.has_value());
    const auto server_final = server.final(*client_final);
    POSTERN_ASSERT(server_final.has_value());
    POSTERN_ASSERT(client.verify(*server_final).has_value());
}

}  // namespace
}  // namespace postern::auth

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::auth;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::size_t newline = bytes.find('\n');
    const std::string_view first = bytes.substr(0, newline);
    const std::string_view second = newline == std::string_view::npos ? std::string_view()
                                                                      : bytes.substr(newline + 1);
    check_verifier(first);
    check_network(first);
    check_server(first, second, false);
    check_server(first, second, true);
    check_client(first, second);
    check_agreement(first, second);
    return 0;
}
