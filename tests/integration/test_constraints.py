"""The tracker's CHECK constraints: what they take and refuse, and how they came over a database that held anything.

Bad values are mapped, their originals kept, and put back on the way down; VALIDATE and everything else that takes long leaves
readers and writers alone. The database is the demo's, small, with and without dirt.
"""

import threading

import psycopg2
import pytest
from harness import tracker
from harness.servers import PostgreSQL
from harness.waiting import eventually
from harness.world import DIRECT_ONLY

ALLOWED = {
    ("users", "role"): ["user", "manager", "admin"],
    ("project_members", "role"): ["developer", "manager"],
    ("sprints", "status"): ["planned", "active", "completed"],
    ("issues", "status"): ["open", "in_progress", "in_review", "resolved", "closed"],
    ("issues", "priority"): ["low", "medium", "high", "critical"],
    ("issues", "issue_type"): ["bug", "feature", "task", "question"],
}
# A row that its table takes, when one of its values is replaced: as the administrator, who may add all of them.
ROWS = {
    "users": "INSERT INTO users (email, name, role, password_hash, created_at) VALUES ('new@example.org', 'N', '{}', 'x', now())",
    "project_members": "INSERT INTO project_members (project_id, user_id, role, created_at) VALUES (3, 7, '{}', now())",
    "sprints": "INSERT INTO sprints (project_id, name, status) VALUES (1, 'S', '{}')",
    "issues": "INSERT INTO issues (project_id, number, title, reporter_id, {column}, created_at, updated_at)"
              " VALUES (1, 4711, 'T', 1, '{}', now(), now())",
}
BAD = ["", "nonsense", "Open", "OPEN ", "in-progress", "admin\n", "u", "medium;", "büg"]

DIRT = """
UPDATE issues SET status = CASE id % 6 WHEN 0 THEN 'Open' WHEN 1 THEN 'wontfix' WHEN 2 THEN 'In Progress' WHEN 3 THEN '¿?' ELSE status END;
UPDATE issues SET priority = 'P1' WHERE id % 7 = 0;
UPDATE issues SET issue_type = 'Defect' WHERE id % 5 = 0;
UPDATE users SET role = 'Admin' WHERE id = 4;
UPDATE users SET role = '' WHERE id = 5;
UPDATE project_members SET role = 'lead' WHERE user_id = 6;
UPDATE sprints SET status = 'done' WHERE id = 2;
"""


@pytest.fixture(scope="module")
def migrated():
    with tracker.Tracker() as one:
        if not DIRECT_ONLY:
            one.start_postern()
        yield one


def insert(table, column, value):
    return ROWS[table].replace("{column}", column).format(value)


def outcome(client, sql):
    """What an undone statement led to: None, or the error with all its fields."""
    client.run("BEGIN")
    answer = client.query(sql)
    client.run("ROLLBACK")
    return answer.error


@pytest.mark.parametrize("table,column", ALLOWED)
def test_each_allowed_value_is_taken_and_every_other_refused(migrated, table, column):
    sides = [migrated.direct(1)] + ([] if DIRECT_ONLY else [migrated.client(1)])
    key = "user_id = 3" if table == "project_members" else "id = 2"
    try:
        for write in (lambda value: insert(table, column, value),
                      lambda value: f"UPDATE {table} SET {column} = '{value}' WHERE {key}"):
            for value in ALLOWED[table, column]:
                assert [outcome(client, write(value)) for client in sides] == [None] * len(sides)
            for value in BAD:
                errors = [outcome(client, write(value)) for client in sides]
                assert errors[0]["C"] == "23514" and errors[0]["n"] == f"{table}_{column}_check"
                # Through Postern the same, field by field. Which row failed, PostgreSQL does not say under row-level security.
                assert all(error == errors[0] for error in errors)
                assert "D" not in errors[0]
    finally:
        for client in sides:
            client.close()


@pytest.fixture(scope="module")
def pg():
    server = PostgreSQL()
    yield server
    server.remove()


@pytest.mark.parametrize("kind", ["empty", "clean", "dirty"])
def test_up_down_and_up_again_restore_everything(pg, kind):
    database = f"cycle_{kind}"
    tracker.create(pg, database, data="" if kind == "empty" else tracker.DATA)
    if kind == "dirty":
        pg.run(DIRT, database=database)
    before = tracker.dump(pg, database)
    tracker.migrate(pg, "up", database=database)
    tracker.migrate(pg, "verify", database=database)
    after = tracker.dump(pg, database)
    tracker.migrate(pg, "down", "--to", "0", database=database)
    assert tracker.dump(pg, database) == before
    tracker.migrate(pg, "up", database=database)
    assert tracker.dump(pg, database) == after
    if kind == "dirty":
        assert pg.value("SELECT count(*) FROM postern_migration.quarantine", database=database) > 50


def test_the_way_up_and_the_triggers_pass_through_policies_that_are_in_force(pg):
    """Down to 0025 leaves row-level security on. row_security = off is what the tool's own steps and pg_restore set."""
    tracker.create(pg, "halfway")
    tracker.migrate(pg, "up", database="halfway")
    after = tracker.dump(pg, "halfway")
    tracker.migrate(pg, "down", "--to", "25", database="halfway")
    assert pg.value("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'issues'", database="halfway")
    tracker.migrate(pg, "up", database="halfway")
    assert tracker.dump(pg, "halfway") == after
    pg.run("SET row_security = off; INSERT INTO comments (id, issue_id, author_id, body, created_at, updated_at)"
           " VALUES (9000, 3, 3, 'x', now(), now()); UPDATE comments SET body = 'y' WHERE id = 9000;"
           " UPDATE issues SET title = 'z' WHERE id = 3; SELECT postern.search_fold(); SELECT postern.search_backfill(10);"
           " DELETE FROM attachments WHERE issue_id = 3; RESET row_security", database="halfway")
    assert pg.run("SELECT project_id, body FROM comments WHERE id = 9000", database="halfway") == [(1, "y")]


def test_the_way_down_brings_back_policies_of_every_kind_and_grants_on_no_other_table(pg):
    tracker.create(pg, "earlier")
    pg.run("CREATE ROLE \"odd role\"; ALTER TABLE comments ENABLE ROW LEVEL SECURITY; ALTER TABLE sprints FORCE ROW LEVEL SECURITY;"
           " CREATE POLICY \"it's odd\" ON comments AS RESTRICTIVE FOR UPDATE TO \"odd role\", tracker_app"
           " USING (author_id IN (SELECT u.id FROM users u WHERE u.name <> 'it''s')) WITH CHECK (body <> '');"
           " CREATE POLICY everybody ON users FOR INSERT WITH CHECK (true);"
           " CREATE TABLE other (id integer); GRANT SELECT ON other TO tracker_app", database="earlier")
    earlier = tracker.dump(pg, "earlier")
    tracker.migrate(pg, "up", "--to", "10", database="earlier")
    pg.run("DROP POLICY \"it's odd\" ON comments; DROP POLICY everybody ON users; DROP POLICY issues_visible ON issues;"
           " ALTER TABLE comments DISABLE ROW LEVEL SECURITY; ALTER TABLE sprints NO FORCE ROW LEVEL SECURITY;"
           " ALTER TABLE users ENABLE ROW LEVEL SECURITY; REVOKE SELECT ON other FROM tracker_app", database="earlier")
    tracker.migrate(pg, "down", "--to", "0", database="earlier")
    assert pg.run("SELECT has_table_privilege('tracker_app', 'other', 'SELECT')", database="earlier") == [(False,)]
    pg.run("GRANT SELECT ON other TO tracker_app", database="earlier")
    assert tracker.dump(pg, "earlier") == earlier


def test_a_dba_edits_the_map_before_values_are_changed(pg):
    tracker.create(pg, "mapped")
    pg.run(DIRT, database="mapped")
    tracker.migrate(pg, "up", "--to", "20", database="mapped")
    report = pg.run("SELECT table_name, column_name, value, rows, new_value, rule FROM postern_migration.bad_value",
                    database="mapped")
    assert ("issues", "status", "Open", 10, "open", "case and spacing") in report
    assert ("issues", "status", "wontfix", 10, "closed", "synonym") in report
    assert ("issues", "status", "In Progress", 10, "in_progress", "case and spacing") in report
    assert ("issues", "status", "¿?", 10, "open", "unknown") in report
    assert ("users", "role", "Admin", 1, "user", "unknown") in report, "nobody becomes an administrator by spelling"
    pg.run("INSERT INTO postern_migration.value_map VALUES ('issues', 'status', '¿?', 'in_review')", database="mapped")
    tracker.migrate(pg, "up", "--to", "22", database="mapped")
    assert pg.run("SELECT DISTINCT status FROM issues WHERE id % 6 = 3", database="mapped") == [("in_review",)]
    kept = pg.run("SELECT old_value, new_value, rule, count(*) FROM postern_migration.quarantine"
                  " WHERE column_name = 'status' AND table_name = 'issues' GROUP BY 1, 2, 3", database="mapped")
    assert ("¿?", "in_review", "mapped by hand", 10) in kept


def test_old_versions_of_the_application_go_on_writing_until_the_constraints_stand(pg):
    tracker.create(pg, "compat")
    tracker.migrate(pg, "up", "--to", "21", database="compat")
    pg.run("UPDATE issues SET status = 'WONTFIX' WHERE id = 1; UPDATE users SET role = 'Admin' WHERE id = 3", database="compat")
    assert pg.run("SELECT status FROM issues WHERE id = 1", database="compat") == [("closed",)]
    assert pg.run("SELECT role FROM users WHERE id = 3", database="compat") == [("user",)]
    tracker.migrate(pg, "up", "--to", "25", database="compat")
    assert pg.run("SELECT count(*) FROM pg_trigger WHERE tgname = 'postern_compat'", database="compat") == [(0,)]


def test_a_row_that_somebody_saves_meanwhile_keeps_its_original(pg):
    tracker.create(pg, "saved")
    pg.run("UPDATE issues SET status = 'Fixed' WHERE id = 1", database="saved")
    before = tracker.dump(pg, "saved")
    tracker.migrate(pg, "up", "--to", "21", database="saved")
    pg.run("UPDATE issues SET status = 'Fixed' WHERE id = 1", database="saved")  # as object mappers do, with another column
    assert pg.run("SELECT status FROM issues WHERE id = 1", database="saved") == [("resolved",)]
    tracker.migrate(pg, "up", "--to", "25", database="saved")
    tracker.migrate(pg, "down", "--to", "0", database="saved")
    assert tracker.dump(pg, "saved") == before


def test_what_the_application_has_changed_since_is_not_put_back(pg):
    tracker.create(pg, "since")
    pg.run("UPDATE issues SET status = 'Fixed' WHERE id IN (1, 2)", database="since")
    tracker.migrate(pg, "up", "--to", "25", database="since")
    pg.run("UPDATE issues SET status = 'closed' WHERE id = 1", database="since")
    tracker.migrate(pg, "down", "--to", "0", database="since")
    assert pg.run("SELECT status FROM issues WHERE id IN (1, 2) ORDER BY id", database="since") == [("closed",), ("Fixed",)]


def test_validate_never_holds_access_exclusive(pg):
    """While the transaction of each VALIDATE is open, its locks are looked at, and others write."""
    tracker.create(pg, "locks")
    tracker.migrate(pg, "up", "--to", "23", database="locks")
    text = (tracker.ROOT / "migrations" / "0024_constraints_validated.up.sql").read_text()
    statements = [line.rstrip(";") for line in text.splitlines() if line.startswith("ALTER TABLE")]
    assert len(statements) == 6 and all("VALIDATE CONSTRAINT" in one for one in statements)
    with psycopg2.connect(pg.dsn("locks")) as link, link.cursor() as cursor:
        for one in statements:
            cursor.execute(one)
            cursor.execute("SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = %s::regclass"
                           " AND mode <> 'AccessShareLock'", (one.split()[2],))
            assert cursor.fetchall() == [("ShareUpdateExclusiveLock",)], one
            pg.run("SET statement_timeout = '10s'; UPDATE issues SET position = position + 1 WHERE id = 1;"
                   " UPDATE users SET name = name WHERE id = 1; RESET statement_timeout", database="locks")
            link.rollback()
    link.close()


def test_the_migrations_wait_for_no_lock_longer_than_they_may(pg):
    """A reader that holds its transaction open stops ALTER TABLE; others who come behind it go on after lock_timeout."""
    tracker.create(pg, "held")
    tracker.migrate(pg, "up", "--to", "22", database="held")
    holder = psycopg2.connect(pg.dsn("held"))
    holder.cursor().execute("SELECT count(*) FROM issues")
    done = []
    worker = threading.Thread(target=lambda: done.append(tracker.migrate(pg, "up", "--to", "23", database="held")))
    worker.start()
    try:
        eventually(lambda: pg.run("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'issues'::regclass", database="held"),
                   "the migration's waiting for the reader")
        # Behind the waiting ALTER TABLE: served once that has given up, long before the reader ends.
        assert pg.value("SELECT count(*) FROM issues", database="held") == 60
        assert not done
    finally:
        holder.rollback()
        holder.close()
        worker.join()
    assert done and done[0].returncode == 0


def test_who_holds_one_table_already_does_not_wait_long_for_the_next(pg):
    """Without any limit of its session, each file gives up on the tables that somebody writes to, and lets go of the first."""
    tracker.create(pg, "several")
    tracker.migrate(pg, "up", "--to", "25", database="several")
    folder = tracker.ROOT / "migrations"
    holder, migrating = psycopg2.connect(pg.dsn("several")), psycopg2.connect(pg.dsn("several"))

    def gives_up(sql):
        with holder.cursor() as holding, migrating.cursor() as cursor:
            holding.execute("LOCK TABLE attachments, users, sprints, project_members IN ROW EXCLUSIVE MODE")
            cursor.execute("SET lock_timeout = 0; SET statement_timeout = '5s'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                cursor.execute(sql)
        migrating.rollback()
        holder.rollback()

    try:
        gives_up("SELECT postern_migration.install_compat_triggers()")
        gives_up("SELECT postern_migration.drop_compat_triggers()")
        gives_up((folder / "0010_roles.down.sql").read_text())
        gives_up((folder / "0030_project_columns.up.sql").read_text())
        tracker.migrate(pg, "up", "--to", "34", database="several")
        gives_up((folder / "0030_project_columns.down.sql").read_text())
        gives_up((folder / "0040_search_tables.up.sql").read_text())
        gives_up((folder / "0040_search_tables.down.sql").read_text())
    finally:
        holder.close()
        migrating.close()


def test_no_superuser_is_needed(pg):
    tracker.create(pg, "managed")
    pg.run(DIRT, database="managed")
    before = tracker.dump(pg, "managed")
    pg.run("CREATE ROLE deployer LOGIN CREATEROLE PASSWORD 'deployer-secret'; GRANT tracker_owner TO deployer;"
           " ALTER DATABASE managed OWNER TO deployer")
    login = "user=deployer password=deployer-secret"
    tracker.migrate(pg, "up", database="managed", login=login)
    # FORCE holds for the owner's members: what would pass rows over is refused.
    refused = tracker.migrate(pg, "down", "--to", "0", database="managed", login=login, check=False)
    assert refused.returncode == 1 and "row-level security" in refused.stderr
    tracker.psql(pg, "-f", str(tracker.ROOT / "policies" / "rollback" / "kill_switch.sql"), database="managed")
    tracker.migrate(pg, "down", "--to", "0", database="managed", login=login)
    assert tracker.dump(pg, "managed") == before
