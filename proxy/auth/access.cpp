#include "auth/access.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <netinet/in.h>

namespace postern::auth {
namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

ip_address from_v4(const void* bytes) {
    ip_address made;
    std::memcpy(made.bytes.data(), bytes, 4);
    return made;
}

ip_address from_v6(const void* bytes) {
    const auto* from = static_cast<const std::uint8_t*>(bytes);
    if (std::equal(mapped_prefix.begin(), mapped_prefix.end(), from))
        return from_v4(from + mapped_prefix.size());
    ip_address made;
    made.is_v6 = true;
    std::memcpy(made.bytes.data(), from, made.bytes.size());
    return made;
}

/// Asked anew each time: addresses come and go.
bool is_of_this_host(const ip_address& one) {
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return false;
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned{all, ::freeifaddrs};
    for (const auto* i = all; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr == nullptr) continue;
        if (i->ifa_addr->sa_family == AF_INET &&
            from_v4(&reinterpret_cast<const sockaddr_in*>(i->ifa_addr)->sin_addr) == one)
            return true;
        if (i->ifa_addr->sa_family == AF_INET6 &&
            from_v6(&reinterpret_cast<const sockaddr_in6*>(i->ifa_addr)->sin6_addr) == one)
            return true;
    }
    return false;
}

bool names(const std::vector<std::string>& list, std::string_view name) {
    return std::ranges::find(list, name) != list.end();
}

bool is_type(access_type type, const access_question& asked) {
    switch (type) {
    case access_type::local: return !asked.address;
    case access_type::host: return asked.address.has_value();
    case access_type::hostssl: return asked.address && asked.tls;
    case access_type::hostnossl: return asked.address && !asked.tls;
    }
    return false;
}

bool is_from(const access_rule& rule, const ip_address& one) {
    if (rule.from_all || (rule.from_loopback && one.is_loopback())) return true;
    if (std::ranges::any_of(rule.networks, [&](const network& net) { return net.contains(one); }))
        return true;
    return rule.from_same_host && is_of_this_host(one);
}

bool is_into(const access_rule& rule, const access_question& asked) {
    if (asked.physical_replication) return names(rule.databases, "replication");
    return names(rule.databases, "all") || names(rule.databases, asked.database) ||
           (asked.database == asked.user && names(rule.databases, "sameuser"));
}

bool is_meant(const access_rule& rule, const access_question& asked) {
    if (!is_type(rule.type, asked)) return false;
    if (!is_into(rule, asked) || !(names(rule.users, "all") || names(rule.users, asked.user)))
        return false;
    return !asked.address || is_from(rule, *asked.address);
}

}  // namespace

std::optional<ip_address> ip_address::parse(std::string_view text) {
    const std::string ended{text};
    std::array<std::uint8_t, 16> raw{};
    if (::inet_pton(AF_INET, ended.c_str(), raw.data()) == 1) return from_v4(raw.data());
    if (::inet_pton(AF_INET6, ended.c_str(), raw.data()) == 1) return from_v6(raw.data());
    return std::nullopt;
}

bool ip_address::is_loopback() const noexcept {
    if (!is_v6) return bytes[0] == 127;
    return bytes.back() == 1 &&
           std::all_of(bytes.begin(), bytes.end() - 1, [](std::uint8_t one) { return one == 0; });
}

std::optional<network> network::parse(std::string_view text) {
    const auto slash = text.find('/');
    const auto base = ip_address::parse(text.substr(0, slash));
    if (!base) return std::nullopt;
    network made{*base, base->is_v6 ? 128U : 32U};
    if (slash == std::string_view::npos) return made;
    // In IPv6's clothes the prefix would count from elsewhere.
    if (!base->is_v6 && text.find(':') != std::string_view::npos) return std::nullopt;
    const auto digits = text.substr(slash + 1);
    const auto* const end = digits.data() + digits.size();
    unsigned prefix = 0;
    const auto [rest, error] = std::from_chars(digits.data(), end, prefix);
    if (error != std::errc{} || rest != end || prefix > made.prefix) return std::nullopt;
    made.prefix = prefix;
    return made;
}

bool network::contains(const ip_address& one) const noexcept {
    if (one.is_v6 != base.is_v6) return false;
    const std::size_t whole = prefix / 8;
    if (!std::equal(base.bytes.begin(), base.bytes.begin() + whole, one.bytes.begin()))
        return false;
    const unsigned rest = prefix % 8;
    return rest == 0 || (base.bytes[whole] ^ one.bytes[whole]) >> (8 - rest) == 0;
}

bool network::is_loopback() const noexcept {
    return base.is_loopback() && prefix >= (base.is_v6 ? 128U : 8U);
}

bool access_rule::is_of_this_machine() const noexcept {
    if (type == access_type::local) return true;
    return !from_all && std::ranges::all_of(networks, &network::is_loopback);
}

const access_rule* decide(std::span<const access_rule> rules, const access_question& asked) {
    const auto found = std::ranges::find_if(rules, [&](const access_rule& one) {
        return is_meant(one, asked);
    });
    return found == rules.end() ? nullptr : &*found;
}

}  // namespace postern::auth
