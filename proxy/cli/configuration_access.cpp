// access: who may come from where, and what he has to show.

#include "cli/configuration_parts.hpp"

#include <fmt/core.h>

namespace postern::cli {

namespace {

using auth::access_method;
using auth::access_type;

void read_addresses(section& from, auth::access_rule& into) {
    std::vector<std::string> named;
    from.texts("addresses", named);
    for (std::size_t i = 0; i < named.size(); ++i) {
        if (named[i] == "all") {
            into.from_all = true;
        } else if (named[i] == "loopback") {
            into.from_loopback = true;
        } else if (named[i] == "samehost") {
            into.from_same_host = true;
        } else if (const auto network = auth::network::parse(named[i])) {
            into.networks.push_back(*network);
        } else {
            from.refuse_item(
                "addresses",
                i,
                fmt::format(
                    "must be all, loopback, samehost, or a network such as 10.0.0.0/8 or fd00::/8, "
                    "not \"{}\"",
                    named[i]));
        }
    }
    if (into.type == access_type::local) {
        if (from.has("addresses"))
            from.refuse("addresses", "stands beside type: local, which has none");
    } else if (named.empty() && !from.has("addresses")) {
        from.refuse_whole(
            "needs addresses: all, loopback, samehost, or networks such as 10.0.0.0/8");
    }
}

void read_names(section& from, std::string_view key, std::vector<std::string>& into) {
    if (!from.has(key)) return from.texts(key, into);
    into.clear();
    from.texts(key, into);
    if (into.empty()) from.refuse(key, "names nobody; leave it out for all");
}

/// What the method asks of the rest.
void check_method(section& from, const auth::access_rule& rule, const session::settings& settings) {
    const bool encrypted = rule.type == access_type::hostssl;
    if (encrypted && settings.tls == nullptr)
        from.refuse("type", "is hostssl, and there is no tls section that clients could use");
    if (rule.method == access_method::trust && !rule.is_of_this_machine()) {
        from.refuse(
            "method",
            "is trust, which asks for no password: only with type: local, or addresses that are "
            "loopback, samehost or in 127.0.0.0/8");
    }
    if (rule.method != access_method::cert) return;
    if (!encrypted) {
        from.refuse("method", "is cert, which needs type: hostssl");
    } else if (!settings.tls_asks_for_certificates) {
        from.refuse("method", "is cert, which needs tls.client_ca");
    }
}

}  // namespace

void read_access(section& top, session::settings& into) {
    std::vector<auth::access_rule> rules;
    top.each_item("access", [&](section& from) {
        auth::access_rule one;
        one.type = access_type::host;  // where the type is wrong, its addresses need not be too
        from.choice<access_type>(
            "type",
            one.type,
            {{"local", access_type::local},
             {"host", access_type::host},
             {"hostssl", access_type::hostssl},
             {"hostnossl", access_type::hostnossl}});
        read_names(from, "databases", one.databases);
        read_names(from, "users", one.users);
        from.choice<access_method>(
            "method",
            one.method,
            {{"scram", access_method::scram},
             {"trust", access_method::trust},
             {"reject", access_method::reject},
             {"cert", access_method::cert}});
        if (!from.has("type") || !from.has("method")) {
            // Read all the same, so that its keys are known.
            std::vector<std::string> unused;
            from.texts("addresses", unused);
            return from.refuse_whole("needs a type and a method");
        }
        read_addresses(from, one);
        check_method(from, one, into);
        rules.push_back(std::move(one));
    });
    if (!top.has("access")) return;
    if (rules.empty() && top.found().problems.empty())
        top.refuse("access", "is empty: nobody could log in");
    into.access = std::move(rules);
}

}  // namespace postern::cli
