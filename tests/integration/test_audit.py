"""`postern audit`: one hole at a time is torn into a database that has none, and must be found; the migrated tracker has none."""

import json
import subprocess

import pytest
from harness import tracker
from harness.servers import PostgreSQL, postern_program
from harness.world import DIRECT_ONLY

pytestmark = pytest.mark.skipif(DIRECT_ONLY, reason="says something of Postern alone")

CLEAN = """
CREATE ROLE auditor NOLOGIN;
CREATE SCHEMA hall;
REVOKE TEMP ON DATABASE sound FROM PUBLIC;
CREATE FUNCTION hall.me() RETURNS integer LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog
    AS $$ SELECT nullif(current_setting('app.user_id', true), '')::integer $$;
CREATE TABLE hall.room (id integer PRIMARY KEY);
CREATE TABLE hall.chair (id integer PRIMARY KEY, owner integer, room integer REFERENCES hall.room);
CREATE INDEX ON hall.chair (room);
ALTER TABLE hall.chair ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON hall.chair FOR SELECT TO guest USING (owner = (SELECT hall.me()));
GRANT USAGE ON SCHEMA hall TO guest;
GRANT SELECT ON hall.chair TO guest;
"""

# What is done to the database, the finding that must come of it, and its object.
HOLES = {
    "rls off": ("ALTER TABLE hall.chair DISABLE ROW LEVEL SECURITY", "E01", "hall.chair"),
    "a column is enough": ("GRANT SELECT (id) ON hall.room TO guest", "E01", "hall.room"),
    "granted to everybody": ("GRANT SELECT ON hall.room TO PUBLIC", "E01", "hall.room"),
    "granted to a group": ("GRANT INSERT ON hall.room TO auditor; GRANT auditor TO guest", "E01", "hall.room"),
    "a partition": ("CREATE TABLE hall.log (id int) PARTITION BY LIST (id); CREATE TABLE hall.log_1 PARTITION OF hall.log FOR VALUES IN (1);"
                    "GRANT SELECT ON hall.log_1 TO guest", "E01", "hall.log_1"),
    "not forced": ("ALTER TABLE hall.chair NO FORCE ROW LEVEL SECURITY", "E02", "hall.chair"),
    "no policy": ("GRANT UPDATE ON hall.chair TO guest", "E03", "hall.chair"),
    "another's policy": ("GRANT DELETE ON hall.chair TO guest; CREATE POLICY d ON hall.chair FOR DELETE TO auditor USING (false)", "E03", "hall.chair"),
    "restrictive only": ("GRANT DELETE ON hall.chair TO guest; CREATE POLICY d ON hall.chair AS RESTRICTIVE FOR DELETE TO guest USING (false)",
                         "E03", "hall.chair"),
    "truncate": ("GRANT TRUNCATE ON hall.chair TO guest", "E04", "hall.chair"),
    "references": ("GRANT REFERENCES ON hall.room TO guest", "E04", "hall.room"),
    "trigger": ("GRANT TRIGGER ON hall.chair TO guest", "E04", "hall.chair"),
    "a view": ("CREATE VIEW hall.seen AS SELECT * FROM hall.chair; GRANT SELECT ON hall.seen TO guest", "E05", "hall.seen"),
    "a barrier alone": ("CREATE VIEW hall.seen WITH (security_barrier) AS SELECT * FROM hall.chair; GRANT SELECT ON hall.seen TO guest",
                        "E05", "hall.seen"),
    "a materialized view": ("CREATE MATERIALIZED VIEW hall.kept AS SELECT * FROM hall.chair; GRANT SELECT ON hall.kept TO guest",
                            "E06", "hall.kept"),
    "a foreign table": ("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE hall.far (id int) SERVER s;"
                        "GRANT SELECT ON hall.far TO guest", "E06", "hall.far"),
    "superuser": ("ALTER ROLE guest SUPERUSER", "E07", "guest"),
    "bypassrls": ("ALTER ROLE guest BYPASSRLS", "E07", "guest"),
    "createrole": ("ALTER ROLE guest CREATEROLE", "E07", "guest"),
    "replication": ("ALTER ROLE guest REPLICATION", "E07", "guest"),
    "bypassrls of a group": ("ALTER ROLE auditor BYPASSRLS; GRANT auditor TO guest", "E07", "auditor"),
    "owner": ("ALTER TABLE hall.room OWNER TO guest", "E08", "hall.room"),
    "owner by membership": ("ALTER TABLE hall.room OWNER TO auditor; GRANT auditor TO guest", "E08", "hall.room"),
    "create in a schema": ("GRANT CREATE ON SCHEMA hall TO guest", "E09", "hall"),
    "create in the database": ("GRANT CREATE ON DATABASE sound TO guest", "E09", "sound"),
    "temp": ("GRANT TEMP ON DATABASE sound TO PUBLIC", "E10", "sound"),
    "a definer's search_path": ("CREATE FUNCTION hall.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", "E11", "hall.f()"),
    "leakproof": ("CREATE FUNCTION hall.g(text) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true'", "E12", "hall.g(text)"),
    "a call a row": ("ALTER POLICY own ON hall.chair USING (owner = hall.me())", "W01", "own on hall.chair"),
    "one of two": ("ALTER POLICY own ON hall.chair USING (owner = (SELECT hall.me()) OR owner + 1 = hall.me())", "W01", "own on hall.chair"),
    "a setting a row": ("ALTER POLICY own ON hall.chair USING (owner = current_setting('app.user_id', true)::integer)",
                        "W01", "own on hall.chair"),
    "always true": ("ALTER POLICY own ON hall.chair USING (true)", "W02", "own on hall.chair"),
    "always true for writes": ("GRANT INSERT ON hall.chair TO guest; CREATE POLICY i ON hall.chair FOR INSERT TO guest WITH CHECK (true)",
                               "W02", "i on hall.chair"),
    "to public": ("ALTER POLICY own ON hall.chair TO PUBLIC", "W03", "own on hall.chair"),
    "two for a command": ("CREATE POLICY other ON hall.chair TO guest USING (id = 1)", "W04", "hall.chair"),
    "parallel safe": ("ALTER FUNCTION hall.me() PARALLEL SAFE", "W05", "hall.me()"),
    "no index on a key": ("DROP INDEX hall.chair_room_idx", "W06", "hall.chair"),
    "a secret": ("ALTER TABLE hall.chair ADD password_hash text", "W07", "hall.chair"),
}


def audit(pg, database, role):
    done = subprocess.run(
        [str(postern_program()), "audit", "--database", pg.dsn(database), "--role", role, "--json"],
        text=True, capture_output=True, check=False, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture(scope="module")
def pg():
    server = PostgreSQL()
    server.run("CREATE ROLE guest LOGIN")
    server.run("CREATE DATABASE sound TEMPLATE template0")
    server.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database="sound")
    server.run(CLEAN, database="sound")
    yield server
    server.remove()


def test_a_sound_database_has_no_finding(pg):
    status, report = audit(pg, "sound", "guest")
    assert (status, report["findings"]) == (0, [])
    assert (report["tables"], report["covered"], report["errors"], report["warnings"]) == (1, 1, 0, 0)


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found(pg, hole):
    sql, code, target = HOLES[hole]
    # A copy for each hole; roles are everybody's, and put right afterwards.
    pg.admin("sound").close()
    pg.run("DROP DATABASE IF EXISTS torn")
    pg.run("CREATE DATABASE torn TEMPLATE sound")
    pg.run("REVOKE TEMP ON DATABASE torn FROM PUBLIC")
    try:
        pg.run(sql.replace("sound", "torn"), database="torn")
        status, report = audit(pg, "torn", "guest")
        found = {(one["code"], one["object"]) for one in report["findings"]}
        assert (code, target.replace("sound", "torn")) in found
        if code not in ("E07", "E08"):  # a superuser and an owner may do all the rest as well
            assert {kind for kind, _ in found} <= {code, "E01", "E03"}, "and nothing far from it"
        assert status == (1 if any(kind.startswith("E") for kind, _ in found) else 0)
        assert report["errors"] + report["warnings"] == len(report["findings"])
    finally:
        pg.admin("torn").close()
        pg.run("REVOKE auditor FROM guest; ALTER ROLE auditor NOBYPASSRLS;"
               " ALTER ROLE guest NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION")
        pg.run("DROP DATABASE torn")


def test_a_table_without_policies_is_not_covered(pg):
    pg.run("BEGIN; GRANT SELECT ON hall.room TO guest; COMMIT", database="sound")
    try:
        _, report = audit(pg, "sound", "guest")
        assert (report["tables"], report["covered"]) == (2, 1)
    finally:
        pg.run("REVOKE ALL ON hall.room FROM guest", database="sound")


def test_a_role_that_is_not_there_is_said_so(pg):
    assert audit(pg, "sound", "nobody") == (1, 'there is no role "nobody"\n')


def test_the_migrated_tracker_has_no_error_and_is_covered_whole(pg):
    tracker.create(pg)
    tracker.migrate(pg, "up")
    status, report = audit(pg, "tracker", "tracker_app")
    assert status == 0 and report["errors"] == 0
    assert report["tables"] == report["covered"] == 7
    # The application's object mapper selects all columns of users (policies/10_users.sql).
    assert [(one["code"], one["object"]) for one in report["findings"]] == [("W07", "public.users")]


def test_the_tracker_as_it_was_has_errors(pg):
    tracker.create(pg, "before")
    status, report = audit(pg, "before", "tracker_app")
    assert status == 1 and report["covered"] == 0
    assert {one["code"] for one in report["findings"]} >= {"E01", "E10"}
