// What a client may take follows from what the process, its database and its user are given.

#include "session/limits.hpp"

#include <doctest/doctest.h>

using namespace postern::session;
using namespace std::chrono_literals;

namespace {

settings with_one_of_each() {
    settings all;
    all.timeouts.query = 30s;
    database where;
    where.name = "d";
    where.timeouts = {.query = 20s, .client_idle = 1h, .idle_transaction = 0s, .transaction = 0s};
    all.databases.push_back(where);
    user who;
    who.name = "u";
    who.timeouts.client_idle = 0s;
    who.timeouts.idle_transaction = 5s;
    all.users.emplace("u", who);
    return all;
}

}  // namespace

TEST_CASE("a user's time-outs come before his database's") {
    const auto out = timeouts_of(with_one_of_each(), "d", "u");
    CHECK(out.query == 20s);
    CHECK(out.client_idle == 0s);
    CHECK(out.idle_transaction == 5s);
    CHECK(out.transaction == 0s);
}

TEST_CASE("a user who is not listed has his database's time-outs") {
    const auto out = timeouts_of(with_one_of_each(), "d", "looked up");
    CHECK(out.query == 20s);
    CHECK(out.client_idle == 1h);
    CHECK(out.idle_transaction == 0s);
}

TEST_CASE("time-outs are looked for at a tenth of the shortest, between 10 ms and 1 s") {
    settings all;
    CHECK_FALSE(limits_time(all));
    CHECK(sweep_interval(all) == 1s);
    all = with_one_of_each();
    CHECK(limits_time(all));
    CHECK(sweep_interval(all) == 500ms);
    all.users.at("u").timeouts.transaction = 20ms;
    CHECK(sweep_interval(all) == 10ms);
}

TEST_CASE("clients are counted by database and by user, and refused in PostgreSQL's words") {
    client_counts counts;
    database where;
    where.name = "d";
    where.clients_max = 2;
    user first;
    first.name = "first";
    first.clients_max = 1;
    user second;
    second.name = "second";
    CHECK_FALSE(counts.admit(where, first));
    CHECK(counts.admit(where, first) == "too many connections for role \"first\"");
    CHECK_FALSE(counts.admit(where, second));
    CHECK(counts.admit(where, second) == "too many connections for database \"d\"");
    counts.leave("d", "first");
    CHECK_FALSE(counts.admit(where, first));
}
