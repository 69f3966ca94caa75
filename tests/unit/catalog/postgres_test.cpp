// The catalog against a real PostgreSQL: what load() reads, and what the watcher notices.

#include "../private_postgres.hpp"
#include "catalog/watcher.hpp"
#include "sql/analyzer.hpp"

#include <doctest/doctest.h>
#include <libpq-fe.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace postern;
using namespace postern::catalog;
using namespace std::chrono_literals;

namespace {

constexpr auto schema = R"(
CREATE ROLE app LOGIN;
CREATE ROLE team;
CREATE ROLE staff;
GRANT staff TO team;
GRANT team TO app;
CREATE ROLE keeper BYPASSRLS;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN title AS text;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE projects (id int PRIMARY KEY, owner_id int REFERENCES users ON DELETE SET NULL);
CREATE TABLE project_members (project_id int REFERENCES projects ON DELETE CASCADE, user_id int,
    PRIMARY KEY (project_id, user_id));
CREATE TABLE issues (id int PRIMARY KEY, project_id int REFERENCES projects ON DELETE CASCADE,
    status text, state mood);
CREATE TABLE comments (id int PRIMARY KEY, issue_id int REFERENCES issues ON DELETE CASCADE);
CREATE TABLE attachments (id int PRIMARY KEY, comment_id int REFERENCES comments ON DELETE CASCADE);
CREATE TABLE audit (at timestamptz DEFAULT now(), what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO audit (what) VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER note AFTER DELETE ON attachments FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE plain (id int PRIMARY KEY);
CREATE TABLE asleep (id int);
CREATE TRIGGER note AFTER INSERT ON asleep FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE asleep DISABLE TRIGGER note;
CREATE FUNCTION ticket() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE TABLE defaulted (id int DEFAULT ticket());
CREATE TABLE checked (id int, CONSTRAINT odd CHECK (ticket() > 0));
CREATE TABLE events (id int, year int) PARTITION BY LIST (year);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES IN (2025) PARTITION BY LIST (id);
CREATE TABLE events_2025_1 PARTITION OF events_2025 FOR VALUES IN (1);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES IN (2026);
CREATE TABLE logs (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (9);
CREATE TABLE log_notes (log_id int REFERENCES logs ON DELETE CASCADE);
CREATE TABLE traps (id int) PARTITION BY RANGE (id);
CREATE TABLE traps_1 PARTITION OF traps FOR VALUES FROM (1) TO (9);
CREATE TRIGGER note AFTER DELETE ON traps FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE animals (id int);
CREATE TABLE dogs () INHERITS (animals);
CREATE VIEW open_issues AS SELECT id, project_id FROM issues WHERE status = 'open';
CREATE VIEW my_issues WITH (security_invoker = true) AS SELECT id FROM issues WHERE status = 'open';
CREATE VIEW recent AS SELECT id FROM issues WHERE now() > '2000-01-01';
CREATE VIEW instead AS SELECT id FROM plain;
CREATE RULE redirect AS ON INSERT TO instead DO INSTEAD INSERT INTO audit (what) VALUES ('x');
CREATE TABLE ruled (id int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO audit (what) VALUES ('ruled');
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM issues;
CREATE SEQUENCE numbers;
CREATE FUNCTION label(users) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.name';
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY members ON issues FOR SELECT TO staff USING (project_id IN (
    SELECT project_id FROM project_members
    WHERE user_id = nullif(current_setting('app.user_id', true), '')::int));
ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
ALTER TABLE plain FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON plain USING (CURRENT_USER = 'app');
CREATE FUNCTION eq(int, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = eq);
GRANT SELECT ON issues, project_members TO app;
)";

// One server for all cases; each case has a database of its own where it changes things.
test::private_postgres& server() {
    static test::private_postgres one;
    static const bool filled = [] {
        one.run(schema);
        return true;
    }();
    static_cast<void>(filled);
    return one;
}

snapshot_data load_all() {
    auto data = load(server().conninfo());
    REQUIRE_MESSAGE(data.has_value(), data.error().message);
    data->identity_variables = {"app.user_id"};
    return std::move(*data);
}

const snapshot& taken() {
    static const snapshot one(load_all(), 1);
    return one;
}

footprint resolve(std::string_view text, const std::string& role = "app") {
    const auto parsed = sql::parse_facts(text);
    REQUIRE(parsed.understood);
    REQUIRE(parsed.statements.size() == 1);
    return taken().resolve(parsed.statements.front(), {"\"$user\", public", role});
}

std::vector<oid> ids(std::vector<std::string_view> names) {
    std::vector<oid> found;
    for (const auto name : names) {
        const auto* one = taken().find(name, {"public", "app"});
        REQUIRE_MESSAGE(one != nullptr, name);
        found.push_back(one->id);
    }
    std::sort(found.begin(), found.end());
    return found;
}

// A watcher under observation. Waits are bounded and end as soon as what is waited for holds.
struct watched {
    explicit watched(const std::string& conninfo, std::chrono::milliseconds poll = 20ms)
        : under_test({conninfo, poll, {}, {}}, [this] { ++changes; }) {
        wait_for_snapshot();
    }

    template <class Condition>
    static void wait_until(Condition holds) {
        const auto deadline = std::chrono::steady_clock::now() + 30s;
        while (!holds()) {
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            std::this_thread::sleep_for(2ms);
        }
    }
    snapshot_ptr wait_for_snapshot() {
        snapshot_ptr found;
        wait_until([&] { return (found = under_test.current()) != nullptr; });
        return found;
    }
    // The next snapshot with another generation than `before`.
    snapshot_ptr wait_for_change(const snapshot_ptr& before) {
        snapshot_ptr found;
        wait_until([&] {
            found = under_test.current();
            return found != nullptr && found->generation() != before->generation();
        });
        return found;
    }

    std::atomic<int> changes{0};
    watcher under_test;
};

struct connection_closer {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};

std::string fresh_database(const std::string& name) {
    server().run("CREATE DATABASE " + name);
    server().run("CREATE TABLE t (id int); CREATE TABLE u (id int)", name);
    return server().conninfo(name);
}

}  // namespace

TEST_CASE("a refused connection is an error in libpq's words") {
    const auto refused = load("host=127.0.0.1 port=1 dbname=none");
    REQUIRE(refused.has_error());
    CHECK(refused.error().message.find("refused") != std::string::npos);
}

TEST_CASE("the server's identity is read") {
    CHECK(taken().data().system_identifier.size() > 10);
    CHECK(taken().data().timeline == "1");
    CHECK(
        taken().data().started_at ==
        server().run("SET timezone = 'UTC'; SELECT pg_postmaster_start_time()::text"));
}

TEST_CASE("an ordinary role reads the same catalog") {
    const auto data = load(server().conninfo() + " user=app");
    REQUIRE_MESSAGE(data.has_value(), data.error().message);
    CHECK(data->relations.size() == taken().data().relations.size());
    CHECK(data->policies.size() == taken().data().policies.size());
    CHECK(
        data->policies.front().using_expression ==
        taken().data().policies.front().using_expression);
}

TEST_CASE("a delete is followed through three cascades to a trigger") {
    const auto found = resolve("DELETE FROM projects WHERE id = 1");
    CHECK(
        found.writes == ids({"projects", "project_members", "issues", "comments", "attachments"}));
    CHECK(found.writes_everything);
    CHECK(
        resolve("DELETE FROM users").writes ==
        ids({"users", "projects", "project_members", "issues", "comments", "attachments"}));
    CHECK_FALSE(resolve("UPDATE comments SET issue_id = 1").writes_everything);
}

TEST_CASE("a vouched trigger function writes what the voucher says") {
    auto data = load_all();
    data.vouched = {{"public", "note", {}, {"public.audit"}, false}};
    const snapshot vouched(std::move(data), 2);
    const auto facts = sql::parse_facts("DELETE FROM comments").statements.front();
    const auto found = vouched.resolve(facts, {"public", "app"});
    CHECK_FALSE(found.writes_everything);
    CHECK(found.writes == ids({"comments", "attachments", "audit"}));
}

TEST_CASE("code in defaults and constraints counts as a trigger, disabled triggers do not") {
    CHECK(resolve("INSERT INTO defaulted VALUES (1)").writes_everything);
    CHECK(resolve("INSERT INTO checked VALUES (1)").writes_everything);
    CHECK_FALSE(resolve("INSERT INTO asleep VALUES (1)").writes_everything);
    CHECK_FALSE(resolve("INSERT INTO audit (what) VALUES ('x')").writes_everything);
}

TEST_CASE("partitions and children are read and written with their parents") {
    const auto all = ids({"events", "events_2025", "events_2025_1", "events_2026"});
    CHECK(resolve("SELECT * FROM events").reads == all);
    CHECK(resolve("INSERT INTO events VALUES (1, 2025)").writes == all);
    CHECK(resolve("UPDATE events_2025_1 SET id = 1").writes == ids({"events_2025_1"}));
    CHECK(resolve("SELECT * FROM animals").reads == ids({"animals", "dogs"}));
}

TEST_CASE("a partition written by its own name runs its parent's foreign keys and triggers") {
    CHECK(resolve("DELETE FROM logs_1").writes == ids({"logs_1", "log_notes"}));
    CHECK(resolve("DELETE FROM traps_1").writes_everything);
}

TEST_CASE("tables with rules are written everywhere") {
    CHECK(resolve("INSERT INTO ruled VALUES (1)").writes_everything);
    CHECK(resolve("INSERT INTO instead VALUES (1)").writes_everything);
    CHECK(resolve("SELECT * FROM ruled").why_not == reason::none);
}

TEST_CASE("TRUNCATE reaches whatever refers to the table") {
    CHECK(resolve("TRUNCATE issues CASCADE").writes == ids({"issues", "comments", "attachments"}));
}

TEST_CASE("a membership policy adds the members' table and the identity") {
    const auto found = resolve("SELECT id FROM issues WHERE status = 'open'");
    CHECK_MESSAGE(found.why_not == reason::none, found.why_not_detail);
    CHECK(found.identity_matters);
    CHECK(found.reads == ids({"issues", "project_members"}));
    // For whom the policy is not made there are no rows, and nothing else to read.
    CHECK(resolve("SELECT id FROM issues", "keeper").reads == ids({"issues"}));
    CHECK_FALSE(resolve("SELECT id FROM issues", "keeper").identity_matters);
    CHECK_FALSE(resolve("SELECT id FROM issues", "postgres").identity_matters);
}

TEST_CASE("a policy on the current user is understood") {
    const auto found = resolve("SELECT * FROM plain");
    CHECK_MESSAGE(found.why_not == reason::none, found.why_not_detail);
    CHECK(found.identity_matters);
}

TEST_CASE("a view reads as its owner unless it is a security_invoker view") {
    const auto as_owner = resolve("SELECT id FROM open_issues");
    CHECK_MESSAGE(as_owner.why_not == reason::none, as_owner.why_not_detail);
    CHECK(as_owner.reads == ids({"issues"}));
    CHECK_FALSE(as_owner.identity_matters);
    const auto as_reader = resolve("SELECT id FROM my_issues");
    CHECK_MESSAGE(as_reader.why_not == reason::none, as_reader.why_not_detail);
    CHECK(as_reader.reads == ids({"issues", "project_members"}));
    CHECK(as_reader.identity_matters);
    CHECK(resolve("SELECT id FROM recent").why_not == reason::view_not_understood);
    CHECK(resolve("UPDATE open_issues SET id = 1").writes == ids({"issues"}));
}

TEST_CASE("what is no table is told from one") {
    CHECK(resolve("SELECT * FROM counted").why_not == reason::not_a_table);
    CHECK(resolve("SELECT * FROM numbers").why_not == reason::not_a_table);
    CHECK(resolve("SELECT * FROM pg_class").why_not == reason::system_catalog);
    CHECK(resolve("SELECT * FROM information_schema.tables").why_not == reason::system_catalog);
    CHECK(resolve("SELECT * FROM pg_stat_activity").why_not == reason::system_catalog);
}

TEST_CASE("functions, operators and types are judged by the real catalog") {
    CHECK(
        resolve("SELECT lower(status), count(*) FROM comments GROUP BY 1").why_not == reason::none);
    CHECK(resolve("SELECT to_char(at, 'YYYY') FROM audit").why_not == reason::none);
    CHECK(resolve("SELECT nextval('numbers')").why_not != reason::none);
    CHECK_FALSE(resolve("SELECT nextval('numbers')").writes_everything);
    CHECK(resolve("SELECT ticket()").pin == sql::pin_cause::unknown_effect);
    CHECK(resolve("SELECT id === 'x' FROM comments").why_not == reason::unknown_operator);
    CHECK(resolve("SELECT 'good'::mood, 'x'::title").why_not == reason::none);
    CHECK(resolve("SELECT 1::positive").why_not == reason::unknown_type);
    CHECK(resolve("SELECT u.id, u.name FROM users u").why_not == reason::none);
    CHECK(resolve("SELECT u.label FROM users u").why_not == reason::user_function);
    CHECK(resolve("SELECT label(u) FROM users u").why_not == reason::user_function);
    CHECK(resolve("SELECT nothing_here()").why_not == reason::unknown_function);
}

TEST_CASE("memberships are transitive, and the database's owner is in pg_database_owner") {
    const auto& roles = taken().data().roles;
    const auto id_of = [&](std::string_view name) {
        return std::find_if(roles.begin(), roles.end(), [&](const auto& one) {
            return one.name == name;
        });
    };
    const auto& app = id_of("app")->member_of;
    CHECK(std::count(app.begin(), app.end(), id_of("staff")->id) == 1);
    CHECK(std::count(app.begin(), app.end(), id_of("team")->id) == 1);
    const auto& owner = id_of("postgres")->member_of;
    CHECK(std::count(owner.begin(), owner.end(), id_of("pg_database_owner")->id) == 1);
}

TEST_CASE("the poll finds whatever others change in the catalog") {
    const auto conninfo = fresh_database("polled");
    watched one(conninfo);
    for (const auto* sql : {
             "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
             "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
             "ALTER FUNCTION f() STABLE",
             "CREATE POLICY p ON t USING (true)",
             "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
             "ALTER POLICY p ON t USING (id > 0)",
             "DROP POLICY p ON t",
             "GRANT SELECT ON t TO app",
             "REVOKE SELECT ON t FROM app",
             "GRANT SELECT (id) ON t TO app",
             "REVOKE staff FROM team",
             "GRANT staff TO team",
             "ALTER ROLE app BYPASSRLS",
             "ALTER ROLE app NOBYPASSRLS",
             "ALTER ROLE app SET work_mem = '8MB'",
             "ALTER ROLE app RESET work_mem",
             "ALTER TABLE t OWNER TO app",
             "ALTER TABLE t ADD COLUMN more int",
             "ALTER TABLE t RENAME COLUMN more TO less",
             "ALTER TABLE t ALTER COLUMN less TYPE text",
             "ALTER TABLE t ALTER COLUMN less SET DEFAULT 'x'",
             "CREATE VIEW v AS SELECT id FROM t",
             "CREATE OR REPLACE VIEW v AS SELECT id FROM t WHERE id > 0",
             "ALTER VIEW v SET (security_invoker = true)",
             "CREATE TABLE child () INHERITS (t)",
             "ALTER TABLE child NO INHERIT t",
             "CREATE RULE r AS ON INSERT TO u DO ALSO NOTHING",
             "CREATE TYPE e AS ENUM ('a')",
             "ALTER TYPE e ADD VALUE 'b'",
             "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
             "CREATE TEXT SEARCH CONFIGURATION search (COPY = simple)",
             "ALTER TEXT SEARCH CONFIGURATION search DROP MAPPING FOR word",
             "DROP TABLE u",
         }) {
        CAPTURE(sql);
        const auto before = one.wait_for_snapshot();
        const int changes = one.changes;
        server().run(sql, "polled");
        one.wait_for_change(before);
        watched::wait_until([&] { return one.changes > changes; });
    }
}

TEST_CASE("what is no change of the catalog makes no new snapshot") {
    const auto conninfo = fresh_database("quiet");
    watched one(conninfo);
    const auto before = one.under_test.current();
    server().run("INSERT INTO t SELECT generate_series(1, 1000)", "quiet");
    server().run("ANALYZE t", "quiet");
    server().run("VACUUM t", "quiet");
    server().run("TRUNCATE t", "quiet");
    server().run("CREATE TEMP TABLE mine (id serial PRIMARY KEY, CHECK (id > 0))", "quiet");
    // A load that began after all of these has ended, and found nothing new.
    const auto epoch = one.under_test.epoch();
    one.under_test.invalidate();
    CHECK(one.wait_for_snapshot()->generation() == before->generation());
    CHECK(one.under_test.epoch() > epoch);
    CHECK(one.changes == 1);
}

TEST_CASE("invalidate shows nothing until a load that began later has ended") {
    const auto conninfo = fresh_database("told");
    watched one(conninfo, 1h);
    for (int round = 0; round < 20; ++round) {
        const auto name = "made" + std::to_string(round);
        server().run("CREATE TABLE " + name + " (id int)", "told");
        one.under_test.invalidate();
        const auto now = one.under_test.current();
        const auto after = now != nullptr ? now : one.wait_for_snapshot();
        CHECK(after->find(name, {"public", "postgres"}) != nullptr);
    }
}

TEST_CASE("vouching anew makes a new snapshot without the database having changed") {
    const auto conninfo = fresh_database("vouching");
    watched one(conninfo, 1h);
    const auto before = one.under_test.current();
    one.under_test.set_vouched({{"public", "f", {}, {}, true}}, {"app.user_id"});
    const auto after = one.wait_for_change(before);
    REQUIRE(after->data().vouched.size() == 1);
    CHECK(after->data().identity_variables == std::vector<std::string>{"app.user_id"});
    watched::wait_until([&] { return one.changes == 2; });
}

TEST_CASE("a backend is gone when the server no longer lists it") {
    const auto conninfo = fresh_database("waiting");
    watched one(conninfo, 1h);
    std::unique_ptr<PGconn, connection_closer> other(PQconnectdb(conninfo.c_str()));
    REQUIRE(PQstatus(other.get()) == CONNECTION_OK);
    std::atomic<bool> gone{false};
    // The watcher may end it itself: it connects as superuser.
    one.under_test.when_backend_gone(PQbackendPID(other.get()), [&] { gone = true; });
    watched::wait_until([&] { return gone.load(); });
    CHECK(
        server().run(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = " +
            std::to_string(PQbackendPID(other.get()))) == "0");
}

TEST_CASE("a watcher that may not end a backend waits for its own end") {
    const auto conninfo = fresh_database("patient");
    watched one(conninfo + " user=app", 1h);
    std::unique_ptr<PGconn, connection_closer> other(PQconnectdb(conninfo.c_str()));
    REQUIRE(PQstatus(other.get()) == CONNECTION_OK);
    std::atomic<bool> gone{false};
    std::atomic<bool> nobody_gone{false};
    one.under_test.when_backend_gone(PQbackendPID(other.get()), [&] { gone = true; });
    // Asked later and answered at once: by then the first has been looked for.
    one.under_test.when_backend_gone(2'000'000'000, [&] { nobody_gone = true; });
    watched::wait_until([&] { return nobody_gone.load(); });
    CHECK_FALSE(gone);
    other.reset();
    watched::wait_until([&] { return gone.load(); });
}

TEST_CASE("whoever still waits is told when the watcher ends") {
    const auto conninfo = fresh_database("ending");
    std::unique_ptr<PGconn, connection_closer> other(PQconnectdb(conninfo.c_str()));
    bool gone = false;
    {
        watched one(conninfo + " user=app", 1h);
        one.under_test.when_backend_gone(PQbackendPID(other.get()), [&] { gone = true; });
    }
    CHECK(gone);
}

TEST_CASE("a watcher without a database shows nothing and ends promptly") {
    std::atomic<int> changes{0};
    const watcher lonely({"host=127.0.0.1 port=1", 20ms, {}, {}}, [&] { ++changes; });
    CHECK(lonely.current() == nullptr);
    CHECK(changes == 0);
}

TEST_CASE("a paused watcher leaves the database alone, and reads it anew when it is resumed") {
    const auto conninfo = fresh_database("left_alone");
    watched one(conninfo, 1h);
    const auto before = one.under_test.current();
    one.under_test.pause();
    watched::wait_until([&] { return !one.under_test.is_connected(); });
    CHECK(one.under_test.current() == nullptr);
    one.under_test.invalidate();
    const auto connections = [] {
        return server().run("SELECT count(*) FROM pg_stat_activity WHERE datname = 'left_alone'");
    };
    watched::wait_until([&] { return connections() == "0"; });
    server().run("CREATE TABLE v (id int)", "left_alone");
    one.under_test.resume();
    const auto after = one.wait_for_change(before);
    CHECK(after->data().relations.size() == before->data().relations.size() + 1);
}

TEST_CASE("a watcher that is to reconnect does so, and reads anew") {
    const auto conninfo = fresh_database("reconnecting");
    watched one(conninfo, 1h);
    const auto backend = [] {
        return server().run("SELECT pid FROM pg_stat_activity WHERE datname = 'reconnecting'");
    };
    const auto before = backend();
    one.under_test.reconnect();
    watched::wait_until([&] {
        const auto now = backend();
        return !now.empty() && now != before && one.under_test.current() != nullptr;
    });
}

TEST_CASE("a restart is survived, seen as a change, and ends every wait") {
    test::private_postgres own;
    watched one(own.conninfo());
    const auto before = one.under_test.current();
    std::unique_ptr<PGconn, connection_closer> other(PQconnectdb((own.conninfo()).c_str()));
    std::atomic<bool> gone{false};
    own.stop();
    watched::wait_until([&] { return one.under_test.current() == nullptr; });
    one.under_test.when_backend_gone(PQbackendPID(other.get()), [&] { gone = true; });
    CHECK(one.changes == 1);
    own.start();
    const auto after = one.wait_for_change(before);
    CHECK(after->data().started_at != before->data().started_at);
    CHECK(after->data().system_identifier == before->data().system_identifier);
    watched::wait_until([&] { return gone.load() && one.changes == 2; });
}
