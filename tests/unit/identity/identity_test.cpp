// An identity comes from what the configuration trusts, and two identities never look alike.

#include "identity/identity.hpp"

#include <doctest/doctest.h>

namespace postern::identity {
namespace {

settings two_variables() {
    settings out;
    out.variables = {"app.user_id", "app.role"};
    out.by_login["alice"] = {{"app.user_id", "1"}};
    return out;
}

TEST_SUITE("identity/identity") {
    TEST_CASE("startup parameters count only where they are trusted") {
        auto rules = two_variables();
        CHECK(at_login(rules, "bob", {{"app.role", "admin"}}).empty());
        rules.trust_startup_parameters = true;
        CHECK(
            at_login(rules, "bob", {{"app.role", "admin"}, {"other", "x"}}) ==
            variable_map{{"app.role", "admin"}});
    }

    TEST_CASE("the transaction's value comes before the session's, and that before the login's") {
        const auto rules = two_variables();
        const auto login = at_login(rules, "alice", {});
        CHECK(resolve(rules, login, {}, {})->values[0] == "1");
        CHECK(resolve(rules, login, {{"app.user_id", "2"}}, {})->values[0] == "2");
        CHECK(
            resolve(rules, login, {{"app.user_id", "2"}}, {{"app.user_id", "3"}})->values[0] ==
            "3");
    }

    TEST_CASE("nobody is nobody") {
        const auto nobody = resolve(two_variables(), {}, {}, {});
        CHECK(nobody->empty);
        CHECK(nobody->values == std::vector<std::string>{"", ""});
    }

    TEST_CASE("values that run together differ in their fingerprints") {
        const auto rules = two_variables();
        const auto one = resolve(rules, {{"app.user_id", "1"}, {"app.role", "23"}}, {}, {});
        const auto other = resolve(rules, {{"app.user_id", "12"}, {"app.role", "3"}}, {}, {});
        const auto crafted = resolve(rules, {{"app.user_id", "12:3"}, {"app.role", ""}}, {}, {});
        CHECK(one->fingerprint != other->fingerprint);
        CHECK(other->fingerprint != crafted->fingerprint);
    }

    TEST_CASE("values travel as parameters, names as literals") {
        CHECK(
            injection_text(two_variables()) ==
            "SELECT pg_catalog.set_config('app.user_id', $1, true), "
            "pg_catalog.set_config('app.role', $2, true)");
    }
}

}  // namespace
}  // namespace postern::identity
