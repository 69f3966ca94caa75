// Who may come from where, and what he has to show: host-based rules in the manner of pg_hba.conf.
// https://www.postgresql.org/docs/15/auth-pg-hba-conf.html

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace postern::auth {

/// An IPv4 or IPv6 address. An IPv4 address in IPv6's clothes (::ffff:…) is the IPv4 address.
struct ip_address {
    std::array<std::uint8_t, 16> bytes{};  ///< in network order; IPv4 uses the first four
    bool is_v6 = false;

    static std::optional<ip_address> parse(std::string_view text);
    bool is_loopback() const noexcept;  ///< 127.0.0.0/8 or ::1
    friend bool operator==(const ip_address&, const ip_address&) = default;
};

/// "10.0.0.0/8", "fd00::/8", or an address alone. Bits behind the prefix do not matter.
struct network {
    ip_address base;
    unsigned prefix = 0;  ///< in bits; at most 32, or 128

    static std::optional<network> parse(std::string_view text);
    bool contains(const ip_address& one) const noexcept;
    bool is_loopback() const noexcept;  ///< nothing but loopback addresses
};

enum class access_type : std::uint8_t {
    local,      ///< Unix sockets
    host,       ///< TCP
    hostssl,    ///< TCP with TLS
    hostnossl,  ///< TCP without
};

enum class access_method : std::uint8_t {
    scram,   ///< SCRAM-SHA-256, with channel binding where there is TLS
    trust,   ///< nothing
    reject,  ///< whatever he shows, he is refused
    cert,    ///< a certificate whose common name is the user's
};

/// One entry. A list with "all" in it takes everyone; "sameuser" among the databases takes the one
/// that is named like the user. `local` looks at no address. Physical replication is taken by
/// "replication" among the databases, and by nothing else.
struct access_rule {
    access_type type = access_type::local;
    std::vector<std::string> databases = {"all"};
    std::vector<std::string> users = {"all"};
    bool from_all = false;
    bool from_loopback = false;
    bool from_same_host = false;  ///< from any address that this machine has
    std::vector<network> networks = {};
    access_method method = access_method::reject;

    /// Whether nobody but this machine is meant.
    bool is_of_this_machine() const noexcept;
};

/// Who asks.
struct access_question {
    std::string_view database;
    std::string_view user;
    std::optional<ip_address> address;  ///< nullopt: by a Unix socket
    bool tls = false;
    bool physical_replication = false;  ///< which is in no database
};

/// The first rule that is meant for him decides; null: none is, and he is refused.
const access_rule* decide(std::span<const access_rule> rules, const access_question& asked);

}  // namespace postern::auth
