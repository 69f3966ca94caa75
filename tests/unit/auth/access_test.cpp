// Which rule is meant for whom.

#include "auth/access.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

namespace postern::auth {
namespace {

bool is_in(std::string_view address, std::string_view net) {
    const auto one = ip_address::parse(address);
    const auto among = network::parse(net);
    REQUIRE(one.has_value());
    REQUIRE(among.has_value());
    return among->contains(*one);
}

access_rule rule_for(std::string_view net) {
    access_rule one{.type = access_type::host, .method = access_method::scram};
    one.networks.push_back(network::parse(net).value());
    return one;
}

access_question over_tcp(std::string_view address, bool tls = false) {
    return {"db", "me", ip_address::parse(address).value(), tls};
}

}  // namespace

TEST_SUITE("auth/access") {
    TEST_CASE("a network is its address's leading bits") {
        CHECK(is_in("10.1.2.3", "10.0.0.0/8"));
        CHECK_FALSE(is_in("11.1.2.3", "10.0.0.0/8"));
        CHECK(is_in("10.1.2.3", "10.1.2.9/28"));
        CHECK_FALSE(is_in("10.1.2.17", "10.1.2.9/28"));
        CHECK(is_in("192.168.1.1", "0.0.0.0/0"));
        CHECK(is_in("10.1.2.3", "10.1.2.3"));
        CHECK_FALSE(is_in("10.1.2.4", "10.1.2.3/32"));
        CHECK(is_in("fd00::1", "fd00::/8"));
        CHECK(is_in("fd00::1", "fd00::1/128"));
        CHECK_FALSE(is_in("fe00::1", "fd00::/8"));
        CHECK(is_in("2001:db8:7fff::1", "2001:db8::/33"));
        CHECK_FALSE(is_in("2001:db8:8000::1", "2001:db8::/33"));
    }

    TEST_CASE("IPv4 and IPv6 do not match each other, but for the one in the other's clothes") {
        CHECK_FALSE(is_in("10.1.2.3", "::/0"));
        CHECK_FALSE(is_in("::1", "0.0.0.0/0"));
        CHECK(is_in("::ffff:10.1.2.3", "10.0.0.0/8"));
        CHECK_FALSE(is_in("::ffff:10.1.2.3", "::/0"));
    }

    TEST_CASE("what is no network is not taken for one") {
        for (const std::string_view text :
             {"",
              "10.0.0.0/",
              "10.0.0.0/33",
              "10.0.0.0/-1",
              "10.0.0.0/+8",
              "10.0.0.0/8x",
              "10.0.0/8",
              "::/129",
              "::ffff:10.0.0.0/104",
              "example.org",
              "10.0.0.0/8/8",
              "all"}) {
            CAPTURE(std::string(text));
            CHECK_FALSE(network::parse(text).has_value());
        }
    }

    TEST_CASE("the first rule that is meant for a client decides") {
        std::vector<access_rule> rules{rule_for("10.0.0.0/8"), rule_for("10.1.0.0/16")};
        CHECK(decide(rules, over_tcp("10.1.2.3")) == &rules[0]);
        rules[0].users = {"somebody"};
        CHECK(decide(rules, over_tcp("10.1.2.3")) == &rules[1]);
        CHECK(decide(rules, over_tcp("10.2.2.3")) == nullptr);
        CHECK(decide({}, over_tcp("10.2.2.3")) == nullptr);
    }

    TEST_CASE("a type is a way to come") {
        struct way {
            access_type type;
            bool unix_socket, plain, tls;
        };
        const way ways[] = {
            {access_type::local, true, false, false},
            {access_type::host, false, true, true},
            {access_type::hostssl, false, false, true},
            {access_type::hostnossl, false, true, false},
        };
        for (const auto& one : ways) {
            const access_rule rules[] = {{.type = one.type, .from_all = true}};
            CHECK((decide(rules, {"db", "me", {}, false}) != nullptr) == one.unix_socket);
            CHECK((decide(rules, over_tcp("10.1.2.3")) != nullptr) == one.plain);
            CHECK((decide(rules, over_tcp("10.1.2.3", true)) != nullptr) == one.tls);
        }
    }

    TEST_CASE("names are compared as they stand, and sameuser means the user's own") {
        const auto meant = [](std::vector<std::string> databases, std::vector<std::string> users) {
            access_rule one;
            one.databases = std::move(databases);
            one.users = std::move(users);
            return [one](std::string_view database, std::string_view user) {
                return decide({&one, 1}, {database, user, {}, false}) != nullptr;
            };
        };
        CHECK(meant({"a", "b"}, {"x", "y"})("b", "y"));
        CHECK_FALSE(meant({"a", "b"}, {"x", "y"})("b", "z"));
        CHECK_FALSE(meant({"a", "b"}, {"x", "y"})("c", "y"));
        CHECK_FALSE(meant({"A"}, {"all"})("a", "y"));
        CHECK(meant({"sameuser"}, {"all"})("me", "me"));
        CHECK_FALSE(meant({"sameuser"}, {"all"})("me", "you"));
        CHECK(meant({"a", "all"}, {"x", "all"})("z", "z"));
        CHECK_FALSE(meant({}, {"all"})("a", "b"));
    }

    TEST_CASE("physical replication is meant by its own word alone") {
        const access_question physical{"db", "me", {}, false, true};
        access_rule one{.databases = {"all", "db", "me", "sameuser"}};
        CHECK(decide({&one, 1}, physical) == nullptr);
        one.databases = {"replication"};
        CHECK(decide({&one, 1}, physical) != nullptr);
        CHECK(decide({&one, 1}, {"db", "me", {}, false}) == nullptr);
    }

    TEST_CASE("loopback and samehost are this machine") {
        access_rule one{.type = access_type::host, .from_loopback = true};
        CHECK(decide({&one, 1}, over_tcp("127.8.0.1")) != nullptr);
        CHECK(decide({&one, 1}, over_tcp("::1")) != nullptr);
        CHECK(decide({&one, 1}, over_tcp("::ffff:127.0.0.1")) != nullptr);
        CHECK(decide({&one, 1}, over_tcp("::2")) == nullptr);
        CHECK(decide({&one, 1}, over_tcp("10.0.0.1")) == nullptr);
        access_rule same{.type = access_type::host, .from_same_host = true};
        CHECK(decide({&same, 1}, over_tcp("127.0.0.1")) != nullptr);
        // TEST-NET-3, which no machine has.
        CHECK(decide({&same, 1}, over_tcp("203.0.113.7")) == nullptr);

        CHECK(one.is_of_this_machine());
        CHECK(same.is_of_this_machine());
        CHECK(access_rule{}.is_of_this_machine());
        CHECK(rule_for("127.0.0.0/8").is_of_this_machine());
        CHECK(rule_for("::1").is_of_this_machine());
        CHECK_FALSE(rule_for("127.0.0.0/7").is_of_this_machine());
        CHECK_FALSE(rule_for("10.0.0.0/8").is_of_this_machine());
        one.from_all = true;
        CHECK_FALSE(one.is_of_this_machine());
    }
}

}  // namespace postern::auth
