// Goal: what each kind of statement reads, writes and does to its session, from its text alone.

#include "sql/facts.hpp"

#include "sql/analyzer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace postern::sql {

namespace {

statement_facts only(std::string_view text) {
    text_facts facts = parse_facts(text);
    CAPTURE(text);
    REQUIRE(facts.understood);
    REQUIRE(facts.statements.size() == 1);
    return facts.statements.front();
}

/// "schema.name:access", in the order reported.
std::string relations(const statement_facts& facts) {
    static constexpr const char* names[] = {"r", "i", "u", "d", "t", "l"};
    std::string text;
    for (const relation_use& use : facts.relations) {
        if (!text.empty()) text += ' ';
        if (!use.schema.empty()) text += use.schema + '.';
        text += use.name + ':' + names[static_cast<int>(use.how)];
    }
    return text;
}

template <class Use>
std::string names(const std::vector<Use>& uses) {
    std::vector<std::string> all;
    for (const auto& use : uses) {
        all.push_back(use.schema.empty() ? use.name : use.schema + '.' + use.name);
    }
    std::sort(all.begin(), all.end());
    std::string text;
    for (const auto& each : all)
        text += (text.empty() ? "" : " ") + each;
    return text;
}

/// "name=value" for each change; "local " before, "!name" for reset, "*" for reset all.
std::string settings(const statement_facts& facts) {
    std::string text;
    for (const setting_change& change : facts.settings) {
        if (!text.empty()) text += "; ";
        if (change.local) text += "local ";
        switch (change.what) {
        case setting_change::action::reset_all: text += '*'; break;
        case setting_change::action::reset: text += '!' + change.name; break;
        case setting_change::action::assign: text += change.name + '=' + change.value; break;
        }
        if (change.name_parameter != 0) text += " n$" + std::to_string(change.name_parameter);
        if (change.value_parameter != 0) text += " v$" + std::to_string(change.value_parameter);
    }
    return text;
}

struct row {
    std::string_view text;
    statement_kind kind;
    const char* relations;
};

}  // namespace

// long: a table of statements, one line each
TEST_CASE("every kind of statement is told apart and names its relations") {
    static const row rows[] = {
        {"SELECT * FROM a JOIN s.b ON true", statement_kind::select, "a:r s.b:r"},
        {"VALUES (1), (2)", statement_kind::select, ""},
        {"TABLE a", statement_kind::select, "a:r"},
        {"SELECT 1 FROM a UNION SELECT 2 FROM b", statement_kind::select, "a:r b:r"},
        {"SELECT (SELECT 1 FROM a) FROM b WHERE EXISTS (SELECT 1 FROM c)",
         statement_kind::select,
         "a:r b:r c:r"},
        {"INSERT INTO a SELECT * FROM b", statement_kind::insert, "a:i b:r"},
        {"INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET y = 2",
         statement_kind::insert,
         "a:u a:i"},
        {"INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING", statement_kind::insert, "a:i"},
        {"UPDATE a SET x = b.x FROM b WHERE a.i = b.i", statement_kind::update, "a:u b:r"},
        {"DELETE FROM a USING b WHERE a.i = b.i", statement_kind::delete_, "a:d b:r"},
        {"MERGE INTO a USING b ON a.i = b.i WHEN MATCHED THEN DELETE "
         "WHEN NOT MATCHED THEN INSERT VALUES (1)",
         statement_kind::merge,
         "a:d a:i b:r"},
        {"COPY a FROM STDIN", statement_kind::copy_from, "a:i"},
        {"COPY a TO STDOUT", statement_kind::copy_to, "a:r"},
        {"COPY (SELECT * FROM a) TO STDOUT", statement_kind::copy_to, "a:r"},
        {"EXPLAIN INSERT INTO a VALUES (1)", statement_kind::explain, "a:r"},
        {"EXPLAIN ANALYZE INSERT INTO a VALUES (1)", statement_kind::explain, "a:i"},
        {"EXPLAIN (ANALYZE, BUFFERS) UPDATE a SET x = 1", statement_kind::explain, "a:u"},
        {"EXPLAIN (ANALYZE off) DELETE FROM a", statement_kind::explain, "a:r"},
        {"BEGIN", statement_kind::begin, ""},
        {"START TRANSACTION", statement_kind::begin, ""},
        {"COMMIT", statement_kind::commit, ""},
        {"END", statement_kind::commit, ""},
        {"ROLLBACK", statement_kind::rollback, ""},
        {"ABORT", statement_kind::rollback, ""},
        {"SAVEPOINT s", statement_kind::savepoint, ""},
        {"RELEASE s", statement_kind::release_savepoint, ""},
        {"ROLLBACK TO s", statement_kind::rollback_to_savepoint, ""},
        {"PREPARE TRANSACTION 'g'", statement_kind::prepare_transaction, ""},
        {"COMMIT PREPARED 'g'", statement_kind::commit_prepared, ""},
        {"ROLLBACK PREPARED 'g'", statement_kind::rollback_prepared, ""},
        {"SET x.y = 1", statement_kind::set, ""},
        {"SET CONSTRAINTS ALL IMMEDIATE", statement_kind::set, ""},
        {"SET TRANSACTION READ ONLY", statement_kind::set_transaction, ""},
        {"SHOW search_path", statement_kind::show, ""},
        {"DISCARD ALL", statement_kind::discard, ""},
        {"LISTEN c", statement_kind::listen, ""},
        {"UNLISTEN c", statement_kind::unlisten, ""},
        {"NOTIFY c, 'x'", statement_kind::notify, ""},
        {"PREPARE p AS SELECT * FROM a", statement_kind::prepare, "a:r"},
        {"EXECUTE p(1)", statement_kind::execute, ""},
        {"DEALLOCATE p", statement_kind::deallocate, ""},
        {"DECLARE c CURSOR FOR SELECT * FROM a", statement_kind::declare_cursor, "a:r"},
        {"FETCH 5 FROM c", statement_kind::fetch, ""},
        {"MOVE 5 FROM c", statement_kind::fetch, ""},
        {"CLOSE c", statement_kind::close_cursor, ""},
        {"LOCK TABLE a, b", statement_kind::lock_table, "a:l b:l"},
        {"TRUNCATE a, b", statement_kind::truncate, "a:t b:t"},
        {"CALL p(1)", statement_kind::call, ""},
        {"DO 'begin end'", statement_kind::do_block, ""},
        {"LOAD 'auto_explain'", statement_kind::load, ""},
        {"VACUUM a", statement_kind::maintenance, ""},
        {"ANALYZE a", statement_kind::maintenance, ""},
        {"CLUSTER a", statement_kind::maintenance, ""},
        {"REINDEX TABLE a", statement_kind::maintenance, ""},
        {"CHECKPOINT", statement_kind::maintenance, ""},
    };
    for (const row& expected : rows) {
        CAPTURE(expected.text);
        const statement_facts facts = only(expected.text);
        CHECK(facts.kind == expected.kind);
        CHECK(relations(facts) == expected.relations);
        CHECK((facts.why_not == reason::none) == (facts.kind == statement_kind::select));
    }
}

TEST_CASE("definitions change the catalog and write everything") {
    for (const std::string_view text :
         {"CREATE TABLE a (x int)",
          "CREATE TABLE a AS SELECT 1",
          "CREATE MATERIALIZED VIEW v AS SELECT 1",
          "REFRESH MATERIALIZED VIEW v",
          "CREATE VIEW v AS SELECT 1",
          "CREATE INDEX i ON a (x)",
          "ALTER TABLE a ADD y int",
          "ALTER TABLE a RENAME TO b",
          "DROP TABLE a",
          "DROP OWNED BY u",
          "CREATE POLICY p ON a USING (true)",
          "ALTER POLICY p ON a USING (false)",
          "GRANT SELECT ON a TO u",
          "REVOKE SELECT ON a FROM u",
          "GRANT r TO u",
          "CREATE ROLE r",
          "ALTER ROLE r SET x.y = 1",
          "ALTER ROLE r BYPASSRLS",
          "DROP ROLE r",
          "ALTER DATABASE d SET x.y = 1",
          "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
          "ALTER FUNCTION f() STABLE",
          "CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f()",
          "CREATE RULE r AS ON INSERT TO a DO NOTHING",
          "CREATE TYPE t AS ENUM ('a')",
          "ALTER TYPE t ADD VALUE 'b'",
          "CREATE TYPE t AS (x int)",
          "CREATE DOMAIN d AS int",
          "CREATE SCHEMA s",
          "ALTER SCHEMA s OWNER TO u",
          "CREATE EXTENSION e",
          "COMMENT ON TABLE a IS 'x'",
          "CREATE SEQUENCE s",
          "ALTER SEQUENCE s RESTART",
          "CREATE PUBLICATION p FOR ALL TABLES",
          "CREATE STATISTICS s ON x, y FROM a",
          "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO u",
          "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
          "CREATE AGGREGATE g(int) (sfunc = f, stype = int)",
          "CREATE OPERATOR + (function = f, leftarg = int)",
          "CREATE CAST (int AS text) WITHOUT FUNCTION",
          "REASSIGN OWNED BY a TO b",
          "SECURITY LABEL ON TABLE a IS 'x'",
          "CREATE FOREIGN TABLE a (x int) SERVER s",
          "IMPORT FOREIGN SCHEMA s FROM SERVER v INTO t",
          "CREATE USER MAPPING FOR u SERVER s"}) {
        CAPTURE(text);
        const statement_facts facts = only(text);
        CHECK(facts.kind == statement_kind::ddl);
        CHECK(facts.changes_catalog);
        CHECK(facts.writes_everything);
        CHECK_FALSE(facts.refuses_transaction);
        CHECK(facts.pin == pin_cause::none);
        CHECK(facts.why_not == reason::not_a_select);
    }
}

TEST_CASE("SELECT INTO is a definition that says it writes") {
    const statement_facts facts = only("SELECT * INTO b FROM a");
    CHECK(facts.kind == statement_kind::ddl);
    CHECK(facts.why_not == reason::writes);
    CHECK(facts.writes_everything);
    CHECK(facts.changes_catalog);
    CHECK(relations(facts) == "b:i a:r");
}

TEST_CASE("statements that refuse a transaction say so") {
    for (const std::string_view text :
         {"VACUUM",
          "VACUUM FULL a",
          "CREATE DATABASE d",
          "DROP DATABASE d",
          "CREATE TABLESPACE t LOCATION '/x'",
          "DROP TABLESPACE t",
          "ALTER SYSTEM SET x = 1",
          "CREATE INDEX CONCURRENTLY i ON a (x)",
          "DROP INDEX CONCURRENTLY i",
          "REINDEX TABLE CONCURRENTLY a",
          "REINDEX DATABASE d",
          "REINDEX SYSTEM d",
          "REINDEX SCHEMA s",
          "CLUSTER",
          "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
          "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
          "DROP SUBSCRIPTION s",
          "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
          "ALTER DATABASE d SET TABLESPACE t",
          "DISCARD ALL",
          "COMMIT PREPARED 'g'",
          "ROLLBACK PREPARED 'g'"}) {
        CAPTURE(text);
        CHECK(only(text).refuses_transaction);
    }
    for (const std::string_view text :
         {"ANALYZE",
          "CREATE INDEX i ON a (x)",
          "DROP INDEX i",
          "REINDEX INDEX i",
          "CLUSTER a",
          "ALTER TYPE t ADD VALUE 'x'",
          "ALTER TABLE a DETACH PARTITION b",
          "DISCARD PLANS",
          "ALTER SUBSCRIPTION s DISABLE",
          "REINDEX (CONCURRENTLY off) TABLE a"}) {
        CAPTURE(text);
        CHECK_FALSE(only(text).refuses_transaction);
    }
}

TEST_CASE("upkeep writes nothing") {
    for (const std::string_view text :
         {"VACUUM", "ANALYZE a", "CLUSTER a", "REINDEX TABLE a", "CHECKPOINT"}) {
        CAPTURE(text);
        const statement_facts facts = only(text);
        CHECK_FALSE(facts.writes_everything);
        CHECK_FALSE(facts.changes_catalog);
    }
}

TEST_CASE("what can't be seen through counts as having written everything") {
    for (const std::string_view text :
         {"CALL p()",
          "DO 'begin end'",
          "EXECUTE p",
          "TRUNCATE a CASCADE",
          "COPY a FROM '/x'",
          "COPY a TO PROGRAM 'x'",
          "COPY a FROM PROGRAM 'x'",
          "COMMIT PREPARED 'g'",
          "LOAD 'x'",
          "EXPLAIN ANALYZE EXECUTE p"}) {
        CAPTURE(text);
        CHECK(only(text).writes_everything);
    }
    for (const std::string_view text :
         {"COPY a FROM STDIN",
          "TRUNCATE a",
          "EXPLAIN EXECUTE p",
          "EXPLAIN CREATE TABLE a AS SELECT 1",
          "INSERT INTO a VALUES (1)",
          "NOTIFY c"}) {
        CAPTURE(text);
        CHECK_FALSE(only(text).writes_everything);
    }
}

TEST_CASE("what is not SQL is not understood") {
    for (const std::string_view text : {"SELEC 1", "SELECT 'open", "SELECT 1;;; foo", "\x01"}) {
        CAPTURE(text);
        const text_facts facts = parse_facts(text);
        CHECK_FALSE(facts.understood);
        CHECK(facts.fingerprint == 0);
        REQUIRE(facts.statements.size() == 1);
        CHECK(facts.statements[0].kind == statement_kind::not_understood);
        CHECK(facts.statements[0].writes_everything);
        CHECK(facts.statements[0].pin == pin_cause::unknown_effect);
    }
    CHECK_FALSE(parse_facts(std::string_view("SELECT 1\0;", 10)).understood);
}

TEST_CASE("nesting that could exhaust the stack is refused before it is parsed") {
    const auto repeated = [](std::string_view part, int times) {
        std::string text;
        for (int i = 0; i < times; ++i)
            text += part;
        return text;
    };
    for (const std::string& text :
         {"SELECT 1" + repeated("+1", 100000),
          "SELECT 1" + repeated("::int", 100000),
          "SELECT " + repeated("NOT ", 9000) + "true",
          "SELECT 1" + repeated(" UNION SELECT 1", 50000),
          "SELECT 1 FROM a" + repeated(" CROSS JOIN a", 50000),
          "SELECT ARRAY" + repeated("[", 9000) + "1" + repeated("]", 9000),
          "SELECT " + repeated("- ", 9000) + "a",
          "SELECT a" + repeated(" COLLATE b", 50000),
          "SELECT a" + repeated(" AT TIME ZONE b", 50000),
          "SELECT " + repeated("(SELECT 1+(", 500) + "1" + repeated("))", 500),
          "SELECT " + repeated("1+1+1+(SELECT 1 AS end, ", 500) + "1" + repeated(")", 500),
          "SELECT 1" + repeated(" OPERATOR(pg_catalog.+) 1", 50000)}) {
        CAPTURE(text.substr(0, 60));
        CHECK_FALSE(parse_facts(text).understood);
        CHECK(fingerprint(text) == 0);
    }
    for (const std::string& text :
         {"SELECT 1" + repeated("+1", 390),
          "SELECT " + repeated("(SELECT ", 390) + "1" + repeated(")", 390),
          repeated("SELECT * FROM (", 190) + "SELECT 1" + repeated(") x", 190),
          "SELECT 1 IN (0" + repeated(", -1", 20000) + ")",
          "SELECT 1 FROM a WHERE x = 1" + repeated(" OR x = 1 AND y = 2", 5000),
          "INSERT INTO a VALUES (1, 'x')" + repeated(", (-1, 'x')", 5000),
          "UPDATE a SET x = CASE" + repeated(" WHEN (i = 1) THEN 2 + 3", 3000) + " END"}) {
        CAPTURE(text.substr(0, 60));
        CHECK(parse_facts(text).understood);
    }
}

TEST_CASE("the rarer constructs of a query are understood") {
    for (const std::string_view text :
         {"SELECT DISTINCT ON (a) a, b AS c FROM ONLY t AS x (a, b) ORDER BY a DESC NULLS LAST",
          "SELECT a FROM t GROUP BY GROUPING SETS ((a), ROLLUP (b), CUBE (c)), DISTINCT_x",
          "SELECT GROUPING(a), sum(b) FILTER (WHERE c) OVER w FROM t GROUP BY a WINDOW w AS "
          "(PARTITION BY d)",
          "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t",
          "SELECT * FROM t, LATERAL (SELECT 1) x, LATERAL f(t.a) WITH ORDINALITY",
          "SELECT * FROM ROWS FROM (f(1) AS (a int), g(2)) AS r",
          "SELECT * FROM XMLTABLE('/a' PASSING b COLUMNS c int PATH 'd' DEFAULT 1) AS x",
          "SELECT ARRAY[1, 2], ARRAY(SELECT 1), ROW(1, 2), (ROW(1, 2)).f1, a[1], a[1:2] FROM t",
          "SELECT a IS NULL, b IS NOT TRUE, c IS DISTINCT FROM d, NULLIF(e, f), g ISNULL FROM t",
          "SELECT trim(a), substring(b from 1 for 2), position('x' in c), overlay(d placing 'e' "
          "from 1) FROM t",
          "SELECT a COLLATE \"C\", b AT TIME ZONE 'x', CAST(c AS numeric(1, 2)), d::t.e[] FROM t",
          "SELECT a SIMILAR TO 'b', c ILIKE 'd' ESCAPE '!', (e, f) OVERLAPS (g, h), (i, j) = (1, "
          "2) FROM t",
          "SELECT sum(a) OVER (ORDER BY b RANGE BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) "
          "FROM t",
          "SELECT 1 FROM a NATURAL JOIN b LEFT JOIN c USING (d) AS e FULL JOIN f ON TRUE",
          "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES",
          "SELECT f(a => 1, VARIADIC b) FROM t",
          "WITH RECURSIVE q AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM q) SEARCH DEPTH FIRST BY "
          "a SET s "
          "CYCLE a SET c USING p SELECT * FROM q",
          "WITH q AS MATERIALIZED (SELECT 1) SELECT * FROM q",
          "INSERT INTO a (b, c[1], d.e) OVERRIDING SYSTEM VALUE VALUES (DEFAULT, 1, 2) RETURNING *",
          "INSERT INTO a DEFAULT VALUES",
          "INSERT INTO a AS x SELECT 1 ON CONFLICT ON CONSTRAINT k DO UPDATE SET b = excluded.b "
          "WHERE x.c",
          "INSERT INTO a VALUES (1) ON CONFLICT ((b + 1) text_ops) WHERE c DO NOTHING",
          "UPDATE ONLY a SET (b, c) = (SELECT 1, 2), d = DEFAULT, e[1] = 3 WHERE CURRENT OF cur",
          "MERGE INTO a USING (SELECT 1) b ON TRUE WHEN MATCHED AND c THEN UPDATE SET d = 1 "
          "WHEN NOT MATCHED THEN DO NOTHING"}) {
        CAPTURE(text);
        const text_facts facts = parse_facts(text);
        REQUIRE(facts.statements.size() == 1);
        CAPTURE(facts.statements[0].why_not_detail);
        CHECK(facts.statements[0].kind != statement_kind::not_understood);
        CHECK_FALSE(facts.statements[0].writes_everything);
    }
}

TEST_CASE("several statements have facts each, and an empty text has none") {
    const text_facts facts = parse_facts("SELECT 1; INSERT INTO a VALUES (1); COMMIT");
    REQUIRE(facts.statements.size() == 3);
    CHECK(facts.statements[0].kind == statement_kind::select);
    CHECK(facts.statements[1].kind == statement_kind::insert);
    CHECK(facts.statements[2].kind == statement_kind::commit);
    for (const std::string_view text : {"", ";", " /* c */ ;; -- x"}) {
        CAPTURE(text);
        CHECK(parse_facts(text).understood);
        CHECK(parse_facts(text).statements.empty());
    }
}

TEST_CASE("a CTE hides a table only where it is visible") {
    CHECK(relations(only("WITH a AS (SELECT * FROM b) SELECT * FROM a")) == "b:r");
    CHECK(relations(only("WITH a AS (SELECT * FROM a) SELECT * FROM a")) == "a:r");
    CHECK(relations(only("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) TABLE a")).empty());
    CHECK(relations(only("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b")).empty());
    CHECK(relations(only("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM b")) == "b:r");
    CHECK(
        relations(only("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) TABLE b")).empty());
    CHECK(relations(only("WITH a AS (SELECT 1) SELECT * FROM s.a")) == "s.a:r");
    CHECK(relations(only("SELECT * FROM (WITH a AS (SELECT 1) TABLE a) x, a")) == "a:r");
    CHECK(relations(only("(WITH a AS (SELECT 1) TABLE a) UNION TABLE a")) == "a:r");
    CHECK(
        relations(only("WITH a AS (SELECT 1) SELECT (SELECT 1 FROM a), 2 UNION TABLE a")).empty());
    CHECK(relations(only("WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a")) == "a:i");
    CHECK(relations(only("WITH a AS (SELECT 1) UPDATE a SET x = 1")) == "a:u");
    CHECK(relations(only("WITH a AS (WITH b AS (SELECT 1) TABLE b) SELECT * FROM b")) == "b:r");
}

TEST_CASE("a data-modifying CTE makes a SELECT one that writes") {
    const statement_facts facts = only(
        "WITH x AS (INSERT INTO a VALUES (1) RETURNING *) SELECT * FROM x");
    CHECK(facts.kind == statement_kind::select);
    CHECK(facts.why_not == reason::writes);
    CHECK(relations(facts) == "a:i");
    CHECK(
        only("SELECT now() UNION (WITH x AS (DELETE FROM a RETURNING 1) TABLE x)").why_not ==
        reason::writes);
}

TEST_CASE("what speaks against caching a SELECT is said") {
    static const struct {
        std::string_view text;
        reason why;
    } rows[] = {
        {"SELECT * FROM a", reason::none},
        {"SELECT * FROM a WHERE x = $1 LIMIT 5", reason::none},
        {"SELECT count(*), max(x) FROM a GROUP BY y HAVING count(*) > 1", reason::none},
        {"SELECT CASE x WHEN 1 THEN 2 END, COALESCE(a, b), GREATEST(a, b) FROM t", reason::none},
        {"SELECT current_setting('x.y')", reason::none},
        {"SELECT * FROM a FOR UPDATE", reason::locking_clause},
        {"SELECT * FROM (SELECT * FROM a FOR KEY SHARE) x", reason::locking_clause},
        {"SELECT now()", reason::time_dependent},
        {"SELECT pg_catalog.clock_timestamp()", reason::time_dependent},
        {"SELECT * FROM a WHERE t > CURRENT_DATE", reason::time_dependent},
        {"SELECT LOCALTIMESTAMP(3)", reason::time_dependent},
        {"SELECT age(t) FROM a", reason::time_dependent},
        {"SELECT age(t, u) FROM a", reason::none},
        {"SELECT '04:05'::timetz", reason::time_dependent},
        {"SELECT ('no' || 'w')::timestamp", reason::time_dependent},
        {"SELECT CURRENT_USER", reason::session_dependent},
        {"SELECT USER, SESSION_USER", reason::session_dependent},
        {"SELECT current_schema()", reason::session_dependent},
        {"SELECT pg_backend_pid()", reason::session_dependent},
        {"SELECT current_setting($1)", reason::session_dependent},
        {"SELECT current_setting('a' || 'b')", reason::session_dependent},
        {"SELECT xmlelement(name a)", reason::session_dependent},
        {"SELECT * FROM a TABLESAMPLE system (10)", reason::table_sample},
        {"SELECT ctid FROM a", reason::system_column},
        {"SELECT a.xmin FROM a", reason::system_column},
        {"SELECT 1 FROM a WHERE tableoid = 1", reason::system_column},
        {"SELECT * FROM pg_catalog.pg_class", reason::system_catalog},
        {"SELECT * FROM information_schema.tables", reason::system_catalog},
        {"SELECT * FROM pg_class", reason::none},
        {"SELECT * FROM pg_temp.a", reason::not_a_table},
        {"SELECT pg_advisory_xact_lock(1)", reason::volatile_function},
        {"SELECT pg_advisory_unlock(1)", reason::volatile_function},
    };
    for (const auto& expected : rows) {
        CAPTURE(expected.text);
        const statement_facts facts = only(expected.text);
        CHECK(facts.kind == statement_kind::select);
        CHECK(code(facts.why_not) == code(expected.why));
    }
}

TEST_CASE("a SELECT that answers alike when it is run twice in a transaction is told") {
    const auto is_repeatable = [](std::string_view text) {
        const auto facts = parse_facts(text);
        return facts.statements.front().repeatable;
    };
    for (const auto* text :
         {"SELECT a FROM t WHERE b = 1",
          "SELECT a FROM t WHERE at < now()",
          "SELECT a FROM t WHERE at < CURRENT_DATE AND who = current_user"}) {
        CAPTURE(text);
        CHECK(is_repeatable(text));
    }
    for (const auto* text :
         {"SELECT a, clock_timestamp() FROM t",
          "SELECT current_schema() FROM t",
          "SELECT a FROM t WHERE at < now() FOR UPDATE",
          "SELECT now(), pg_advisory_lock(1) FROM t",
          "SELECT now(), set_config('a.b', x, false) FROM t",
          "WITH d AS (DELETE FROM t RETURNING a) SELECT a, now() FROM d",
          "SELECT a INTO u FROM t",
          "SELECT a FROM t TABLESAMPLE SYSTEM (1)",
          "INSERT INTO t VALUES (1)",
          "what is this"}) {
        CAPTURE(text);
        CHECK_FALSE(is_repeatable(text));
    }
}

TEST_CASE("functions, operators and types are listed for the catalog") {
    const statement_facts facts = only(
        "SELECT f(a), s.g(b), count(*), extract(year FROM c), x::int[], y::app.kind, "
        "z LIKE 'a', u BETWEEN 1 AND 2, v IN (1, 2), w OPERATOR(s.+) 1, CASE q WHEN 1 THEN 2 END "
        "FROM t, h(1) AS r(c numeric(10, 2)) ORDER BY 1 USING <~");
    CHECK(names(facts.functions) == "count f h pg_catalog.extract s.g");
    CHECK(names(facts.types) == "app.kind pg_catalog.int4 pg_catalog.numeric");
    CHECK(names(facts.operators) == "<= <~ = >= s.+ ~~");
    CHECK(facts.why_not == reason::none);
    CHECK(
        names(only("SELECT 1 FROM a JOIN b USING (x) WHERE y NOT BETWEEN 1 AND 2").operators) ==
        "< = >");
    CHECK(names(only("SELECT x IN (SELECT 1), y > ALL (SELECT 2)").operators) == "= >");
}

TEST_CASE("functions that the text itself judges are not listed") {
    const statement_facts facts = only(
        "SELECT now(), set_config('a.b', 'c', true), current_setting('App.Id', true), f()");
    CHECK(names(facts.functions) == "f");
    REQUIRE(facts.current_settings.size() == 1);
    CHECK(facts.current_settings[0] == "app.id");
    CHECK(names(only("SELECT s.now()").functions) == "s.now");
}

TEST_CASE("attribute notation is listed, for it may call a function") {
    const statement_facts facts = only("SELECT a.x, s.a.y, (a).z, b, a.*, a.x FROM a");
    CHECK(facts.attributes == std::vector<std::string>{"x", "y", "z"});
}

TEST_CASE("locks make a transaction unclean") {
    for (const std::string_view text :
         {"SELECT * FROM a FOR SHARE",
          "LOCK TABLE a",
          "SELECT pg_advisory_xact_lock(1)",
          "SELECT pg_try_advisory_xact_lock_shared(1)",
          "EXECUTE p",
          "SET CONSTRAINTS ALL DEFERRED",
          "DECLARE c CURSOR FOR SELECT * FROM a FOR UPDATE",
          "SELECT set_config('a.b', x, true) FROM t"}) {
        CAPTURE(text);
        CHECK(only(text).takes_locks);
    }
    for (const std::string_view text :
         {"SELECT 1",
          "INSERT INTO a VALUES (1)",
          "SET a.b = 1",
          "EXPLAIN SELECT * FROM a FOR UPDATE"}) {
        CAPTURE(text);
        CHECK_FALSE(only(text).takes_locks);
    }
}

TEST_CASE("session effects pin, and name their cause") {
    static const struct {
        std::string_view text;
        pin_cause pin;
    } rows[] = {
        {"SELECT 1", pin_cause::none},
        {"LISTEN c", pin_cause::listen},
        {"UNLISTEN *", pin_cause::none},
        {"CREATE TEMP TABLE a (x int)", pin_cause::temporary_object},
        {"CREATE TEMP TABLE a AS SELECT 1", pin_cause::temporary_object},
        {"CREATE TEMPORARY VIEW v AS SELECT 1", pin_cause::temporary_object},
        {"CREATE TEMP SEQUENCE s", pin_cause::temporary_object},
        {"SELECT 1 INTO TEMP b", pin_cause::temporary_object},
        {"CREATE TABLE pg_temp.a (x int)", pin_cause::temporary_object},
        {"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'select 1'",
         pin_cause::temporary_object},
        {"INSERT INTO pg_temp.a VALUES (1)", pin_cause::temporary_object},
        {"SET search_path = pg_temp, public", pin_cause::temporary_object},
        {"SELECT pg_advisory_lock(1)", pin_cause::advisory_lock},
        {"SELECT pg_catalog.pg_try_advisory_lock_shared(1)", pin_cause::advisory_lock},
        {"UPDATE a SET x = pg_try_advisory_lock(1)", pin_cause::advisory_lock},
        {"SELECT pg_advisory_xact_lock(1)", pin_cause::none},
        {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", pin_cause::with_hold_cursor},
        {"DECLARE c CURSOR FOR SELECT 1", pin_cause::none},
        {"LOAD 'x'", pin_cause::load},
        {"PREPARE p AS SELECT 1", pin_cause::sql_prepare},
        {"PREPARE p AS SELECT set_config('a.b', 'c', false)", pin_cause::unknown_setting},
        {"CALL p()", pin_cause::unknown_effect},
        {"DO 'x'", pin_cause::unknown_effect},
        {"SET seed = 0.5", pin_cause::unknown_setting},
        {"SELECT setseed(0.5)", pin_cause::unknown_setting},
        {"SET a.b FROM CURRENT", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', x, false) FROM t", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', 'c', false) FROM t", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', 'c', false) WHERE false", pin_cause::unknown_setting},
        {"SELECT set_config('a.' || 'b', 'c', false)", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', 'c', $1)", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', 'c', false), generate_series(1, 0)", pin_cause::unknown_setting},
        {"SELECT (SELECT set_config('a.b', 'c', false))", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', 'c', false) || 'x'", pin_cause::unknown_setting},
        {"INSERT INTO t VALUES (set_config('a.b', 'c', false))", pin_cause::unknown_setting},
        {"WITH x AS (SELECT set_config('a.b', 'c', false)) TABLE x", pin_cause::unknown_setting},
        {"SELECT \"set_config\"('a.b', x, false) FROM t", pin_cause::unknown_setting},
        {"SELECT set_config('a.b', x, true) FROM t", pin_cause::none},
        {"EXPLAIN SELECT set_config('a.b', x, false) FROM t", pin_cause::none},
        {"EXPLAIN ANALYZE SELECT set_config('a.b', 'x', false)", pin_cause::unknown_setting},
        {"UPDATE pg_settings SET setting = '1' WHERE name = 'a.b'", pin_cause::unknown_setting},
    };
    for (const auto& expected : rows) {
        CAPTURE(expected.text);
        CHECK(name(only(expected.text).pin) == name(expected.pin));
    }
}

TEST_CASE("SET and its spellings give the value that set_config would take") {
    static const struct {
        std::string_view text;
        const char* settings;
    } rows[] = {
        {"SET app.user_id = 7", "app.user_id=7"},
        {"SET app.user_id TO 'x y'", "app.user_id=x y"},
        {"SET LOCAL app.user_id = '7'", "local app.user_id=7"},
        {"SET SESSION statement_timeout = '5s'", "statement_timeout=5s"},
        {"SET \"App\".\"User\" = 'x'", "app.user=x"},
        {"SET work_mem = -1", "work_mem=-1"},
        {"SET x.y = 1.50", "x.y=1.50"},
        {"SET x.y = on", "x.y=on"},
        {"SET x.y = TRUE", "x.y=true"},
        {"SET datestyle = iso, mdy", "datestyle=iso, mdy"},
        {"SET search_path TO public, \"User\", 'a b', user_data",
         "search_path=public, \"User\", \"a b\", user_data"},
        {"SET search_path TO \"select\", \"a\"\"b\", ''",
         "search_path=\"select\", \"a\"\"b\", \"\""},
        {"SET search_path = \"$user\", public", "search_path=\"$user\", public"},
        {"SET SCHEMA 'x'", "search_path=x"},
        {"SET NAMES 'UTF8'", "client_encoding=UTF8"},
        {"SET NAMES", "!client_encoding"},
        {"SET TIME ZONE 'Europe/Berlin'", "timezone=Europe/Berlin"},
        {"SET TIME ZONE -7", "timezone=-7"},
        {"SET TIME ZONE 5.5", "timezone=5.5"},
        {"SET TIME ZONE LOCAL", "!timezone"},
        {"SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "timezone=INTERVAL '-08:00:00'"},
        {"SET TIME ZONE INTERVAL '+2' HOUR", "timezone=INTERVAL '02:00:00'"},
        {"SET ROLE alice", "role=alice"},
        {"SET ROLE NONE", "role=none"},
        {"RESET ROLE", "!role"},
        {"SET SESSION AUTHORIZATION 'bob'", "session_authorization=bob"},
        {"SET SESSION AUTHORIZATION DEFAULT", "!session_authorization"},
        {"RESET SESSION AUTHORIZATION", "!session_authorization"},
        {"SET XML OPTION DOCUMENT", "xmloption=DOCUMENT"},
        {"SET x.y TO DEFAULT", "!x.y"},
        {"RESET x.y", "!x.y"},
        {"RESET TIME ZONE", "!timezone"},
        {"RESET ALL", "*"},
        {"DISCARD ALL", "!session_authorization; *"},
        {"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
         "default_transaction_isolation=serializable; default_transaction_read_only=1"},
        {"SET TRANSACTION READ ONLY", ""},
    };
    for (const auto& expected : rows) {
        CAPTURE(expected.text);
        const statement_facts facts = only(expected.text);
        CHECK(settings(facts) == expected.settings);
        CHECK(facts.pin == pin_cause::none);
    }
    CHECK(only("SET TIME ZONE INTERVAL '1 day'").pin == pin_cause::unknown_setting);
}

TEST_CASE("a plain SELECT of set_config is a change of settings") {
    static const struct {
        std::string_view text;
        const char* settings;
        bool only_set_config;
    } rows[] = {
        {"SELECT set_config('App.Id', '7', true)", "local app.id=7", true},
        {"SELECT pg_catalog.set_config('a.b', 'x'::text, false) AS v", "a.b=x", true},
        {"SELECT set_config('a.b', $1, true)", "local a.b= v$1", true},
        {"SELECT set_config($1::text, $2::varchar, 'on')", "local = n$1 v$2", true},
        {"SELECT set_config('a.b', 'x', 't'::bool), set_config('a.c', 'y', false)",
         "local a.b=x; a.c=y",
         true},
        {"SELECT set_config('a.b', NULL, false)", "!a.b", true},
        {"SELECT set_config('a.b', 'x', false), current_setting('a.b')", "a.b=x", false},
        {"SELECT 1, set_config('a.b', 'x', false)", "a.b=x", false},
        {"SELECT set_config('a.b', 5::text, false)", "a.b=5", true},
    };
    for (const auto& expected : rows) {
        CAPTURE(expected.text);
        const statement_facts facts = only(expected.text);
        CHECK(settings(facts) == expected.settings);
        CHECK(facts.only_set_config == expected.only_set_config);
        CHECK(facts.pin == pin_cause::none);
        CHECK(facts.why_not == reason::volatile_function);
        CHECK_FALSE(facts.takes_locks);
    }
    CHECK_FALSE(only("SELECT 1").only_set_config);
    CHECK(only("SELECT set_config('a.b', $1::int::text, true)").takes_locks);
    CHECK(only("SELECT set_config('transaction_isolation', 'serializable', true)").takes_locks);
    CHECK_FALSE(
        only("SELECT set_config('transaction_isolation', 'serializable', true)").only_set_config);
}

TEST_CASE("transaction control carries its modes, names and tag") {
    const statement_facts begin = only("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY");
    CHECK(begin.isolation == "serializable");
    CHECK(begin.read_only);
    CHECK(begin.has_transaction_modes);
    CHECK(begin.command_tag == "BEGIN");
    CHECK(only("START TRANSACTION").command_tag == "START TRANSACTION");
    CHECK_FALSE(only("BEGIN").has_transaction_modes);
    CHECK_FALSE(only("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").has_transaction_modes);
    CHECK(only("BEGIN ISOLATION LEVEL READ COMMITTED").isolation == "read committed");
    CHECK(only("BEGIN DEFERRABLE").has_transaction_modes);
    CHECK_FALSE(only("BEGIN NOT DEFERRABLE").has_transaction_modes);
    CHECK(only("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").isolation == "repeatable read");
    CHECK(only("SET transaction_isolation = 'SERIALIZABLE'").isolation == "serializable");
    CHECK(only("SET TRANSACTION SNAPSHOT 'x'").has_transaction_modes);
    CHECK(only("COMMIT AND CHAIN").chain);
    CHECK(only("ROLLBACK AND CHAIN").chain);
    CHECK_FALSE(only("COMMIT").chain);
    CHECK(only("SAVEPOINT S1").object_name == "s1");
    CHECK(only("RELEASE SAVEPOINT s1").object_name == "s1");
    CHECK(only("ROLLBACK TO SAVEPOINT \"S\"").object_name == "S");
    CHECK(only("PREPARE TRANSACTION 'g1'").object_name == "g1");
    CHECK(only("COMMIT PREPARED 'g1'").object_name == "g1");
}

TEST_CASE("named objects and tags are reported") {
    static const struct {
        std::string_view text;
        const char* object;
        const char* tag;
    } rows[] = {
        {"PREPARE p AS SELECT 1", "p", "PREPARE"},
        {"EXECUTE p", "p", ""},
        {"DEALLOCATE p", "p", "DEALLOCATE"},
        {"DEALLOCATE PREPARE ALL", "", "DEALLOCATE ALL"},
        {"DECLARE c CURSOR FOR SELECT 1", "c", ""},
        {"FETCH ALL FROM c", "c", ""},
        {"CLOSE ALL", "", ""},
        {"LISTEN \"Chan\"", "Chan", "LISTEN"},
        {"UNLISTEN *", "", "UNLISTEN"},
        {"DISCARD TEMP", "temp", "DISCARD TEMP"},
        {"DISCARD SEQUENCES", "sequences", "DISCARD SEQUENCES"},
        {"SET a.b = 1", "", "SET"},
        {"RESET ALL", "", "RESET"},
        {"SHOW TIME ZONE", "timezone", "SHOW"},
        {"SELECT set_config('a.b', 'c', true)", "", "SELECT 1"},
    };
    for (const auto& expected : rows) {
        CAPTURE(expected.text);
        const statement_facts facts = only(expected.text);
        CHECK(facts.object_name == expected.object);
        CHECK(facts.command_tag == expected.tag);
    }
}

TEST_CASE("only a copy to or from the client uses the copy sub-protocol") {
    CHECK(only("COPY a FROM STDIN").is_multi_row_copy);
    CHECK(only("COPY (SELECT 1) TO STDOUT").is_multi_row_copy);
    CHECK_FALSE(only("COPY a FROM '/x'").is_multi_row_copy);
    CHECK_FALSE(only("COPY a TO PROGRAM 'x'").is_multi_row_copy);
    CHECK_FALSE(only("SELECT 1").is_multi_row_copy);
}

TEST_CASE("a statement in EXPLAIN or COPY keeps what it writes") {
    CHECK(relations(only("COPY (INSERT INTO a VALUES (1) RETURNING *) TO STDOUT")) == "a:i");
    CHECK(
        relations(only("EXPLAIN ANALYZE WITH x AS (DELETE FROM a RETURNING 1) TABLE x")) == "a:d");
    CHECK(only("EXPLAIN ANALYZE CREATE TABLE b AS SELECT 1").changes_catalog);
    CHECK_FALSE(only("EXPLAIN CREATE TABLE b AS SELECT 1").changes_catalog);
}

TEST_CASE("fingerprints are equal for texts that differ in constants only") {
    CHECK(fingerprint("SELECT * FROM a WHERE x = 1") == fingerprint("select * from a where x = 2"));
    CHECK(fingerprint("SELECT * FROM a WHERE x = 1") != fingerprint("SELECT * FROM b WHERE x = 1"));
    CHECK(fingerprint("SELECT 1") == parse_facts("SELECT 2").fingerprint);
    CHECK(fingerprint("nonsense") == 0);
}

}  // namespace postern::sql
