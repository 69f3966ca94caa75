"""`postern migrate` against a real PostgreSQL, with toy folders.

Where it is interrupted is no matter of luck: the test holds a lock on what the statement needs, sees
PostgreSQL wait for it, and kills the tool there and then.
"""

import contextlib
import json
import os
import random
import signal
import subprocess

import psycopg2
import pytest
from harness.servers import PostgreSQL, _postgres_bin, postern_program
from harness.waiting import eventually
from harness.world import World

pytestmark = pytest.mark.needs_postern


@pytest.fixture(scope="module")
def pg():
    server = PostgreSQL()
    yield server
    server.remove()


class Place:
    """A database, and the folders `migrations` and `policies` for it."""

    def __init__(self, pg, folder, name):
        self.pg = pg
        self.folder = folder
        self.name = name
        self.dsn = pg.dsn(name)
        for sub in ("migrations", "policies"):
            (folder / sub).mkdir()

    def write(self, name, text, sub="migrations"):
        (self.folder / sub / name).write_text(text, encoding="utf-8")

    def sql(self, text, *values):
        return self.pg.run(text, *values, database=self.name)

    def value(self, text, *values):
        return self.pg.value(text, *values, database=self.name)

    def start(self, *arguments, dsn=None):
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(postern_program()), "migrate", *arguments,
             "--database", dsn or self.dsn],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments, status=0, dsn=None):
        """Standard output and error together, once the exit status is what it should be."""
        process = self.start(*arguments, dsn=dsn)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return out + err

    def json(self, *arguments, status=0):
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def states(self):
        return {one["version"]: one["state"] for one in self.json("status")["migrations"]}

    def dump(self):
        """The schema, without what the tool keeps there itself."""
        text = subprocess.run(
            [str(_postgres_bin() / "pg_dump"), "-s", "-N", "postern_migration", "-d", self.dsn],
            check=True, capture_output=True, text=True).stdout
        # Newer versions of pg_dump put a random word there.
        return "".join(line for line in text.splitlines(True) if "restrict " not in line)

    @contextlib.contextmanager
    def transaction(self, *statements):
        """A transaction of another client's, open while the block runs."""
        link = psycopg2.connect(self.dsn)
        try:
            with link.cursor() as cursor:
                for one in statements:
                    cursor.execute(one)
                yield link
        finally:
            link.close()

    def waits(self, needle):
        """The backend of the tool that waits for a lock in a statement with this text."""
        found = self.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'postern migrate'"
            " AND datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s",
            f"%{needle}%")
        return found[0][0] if found else None

    def until_it_waits(self, needle):
        return eventually(lambda: self.waits(needle), f"waiting in {needle}", 60)

    def kill(self, process, backend):
        """The tool as by the kernel, and the connection that it leaves behind."""
        process.kill()
        process.communicate()
        self.sql("SELECT pg_terminate_backend(%s)", backend)
        eventually(lambda: not self.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", backend),
                   "the end of the backend", 60)


@pytest.fixture
def place(pg, tmp_path):
    """The server's one database, emptied: making a new one for each test would take most of the time."""
    made = Place(pg, tmp_path, "app")
    yield made
    made.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
             " WHERE datname = current_database() AND pid <> pg_backend_pid()")
    schemas = made.value("SELECT string_agg(format('%I', nspname), ', ') FROM pg_namespace"
                         " WHERE nspname !~ '^(pg_|information_schema)'")
    made.sql(f"DROP SCHEMA {schemas} CASCADE; CREATE SCHEMA public;"
             " GRANT USAGE ON SCHEMA public TO PUBLIC")


def three(place):
    """Three versions that can be undone, one of them statement by statement, and a function."""
    place.write("0001_t.up.sql", "CREATE TABLE t (id int PRIMARY KEY, v text);\n"
                                 "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20) g;")
    place.write("0001_t.down.sql", "DROP TABLE t;")
    place.write("0001_t.verify.sql", "SELECT id, v FROM t LIMIT 0;")
    place.write("0002_i.up.sql", "-- postern: transaction=off requires=0001\n"
                                 "CREATE INDEX CONCURRENTLY t_v ON t (v);\nVACUUM t;")
    place.write("0002_i.down.sql", "-- postern: transaction=off\nDROP INDEX CONCURRENTLY t_v;")
    place.write("0003_c.up.sql", "ALTER TABLE t ADD CONSTRAINT c CHECK (v <> '') NOT VALID;")
    place.write("0003_c.down.sql", "ALTER TABLE t DROP CONSTRAINT c;")
    place.write("00_f.sql", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql"
                            " BEGIN ATOMIC SELECT 1; SELECT 2; END;", "policies")


def test_up_and_down_and_up_again_leave_the_same_schema(place):
    three(place)
    empty = place.dump()
    assert "apply_repeatable" in place.run("up")
    full = place.dump()
    assert "t_v" in full and "CONSTRAINT c" in full
    assert "nothing to do" in place.run("up")
    place.run("down", "--to", "0001")
    assert set(place.states().values()) == {"applied", "pending", "stale"}
    place.run("up")
    assert place.dump() == full
    place.run("down", "--to", "0")
    place.sql("DROP FUNCTION f()")
    assert place.dump() == empty
    place.run("up")
    assert place.dump() == full


def test_the_history_says_what_was_applied_by_whom_and_when(place):
    three(place)
    place.run("up", "--to", "2")
    rows = place.sql("SELECT version, name, kind, state, length(sha256), applied_by,"
                     " applied_at > now() - interval '1 hour', duration_ms >= 0, tool_version <> ''"
                     " FROM postern_migration.history ORDER BY version")
    assert rows == [("0001", "t", "versioned", "applied", 64, "postgres", True, True, True),
                    ("0002", "i", "versioned", "applied", 64, "postgres", True, True, True)]
    assert place.states() == {"0001": "applied", "0002": "applied", "0003": "pending",
                              "00_f.sql": "pending"}
    place.run("status", "--exit-code", status=2)
    place.run("up")
    place.run("status", "--exit-code")


def test_every_command_speaks_json(place):
    three(place)
    plan = place.json("plan", "--exit-code", status=2)
    assert [one["kind"] for one in plan["steps"]] == ["apply"] * 3 + ["apply_repeatable"]
    assert plan["steps"][1]["statements"][0]["line"] == 2
    assert place.json("baseline", "1")["steps"][0]["version"] == "0001"
    assert place.json("repair", "1", "--forget")["steps"][0]["kind"] == "repair"
    up = place.json("up")
    assert up["ok"] and [one["done"] for one in up["steps"]] == [True] * 4
    assert place.json("status")["migrations"][0]["state"] == "applied"
    assert place.json("verify")["steps"][0]["file"] == "migrations/0001_t.verify.sql"
    assert [one["kind"] for one in place.json("redo")["steps"]] == [
        "revert", "apply", "apply_repeatable"]
    assert len(place.json("down", "--to", "0")["steps"]) == 3
    dry = place.json("up", "--dry-run")
    assert dry["steps"][0]["sql"][0].startswith("-- apply") and not dry["steps"][0]["done"]
    place.write("0004_x.up.sql", "SELECT 1;\nSELECT 1 / 0;")
    error = place.json("up", status=1)["error"]
    assert (error["kind"], error["file"], error["line"], error["statement"], error["sqlstate"]) == (
        "sql", "migrations/0004_x.up.sql", 2, 2, "22012")


def test_a_dry_run_changes_nothing_and_its_sql_is_what_up_does(place):
    three(place)
    before = place.dump()
    script = place.run("up", "--dry-run")
    assert place.dump() == before
    assert place.value("SELECT to_regnamespace('postern_migration') IS NULL")
    place.run("up", "--to", "1")
    place.run("down", "--to", "0", "--dry-run")
    assert place.states()["0001"] == "applied"
    place.run("down", "--to", "0")
    # The script runs as it stands once the history's table is there.
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", place.dsn], input=script,
                   check=True, text=True, capture_output=True)
    assert set(place.states().values()) == {"applied"}
    assert "nothing to do" in place.run("up")


# Each statement needs its own gate, so that the test can hold the tool in front of any of them.
GATED = [
    ("CREATE TABLE first AS SELECT 1 AS id FROM gate_1", "gate_1", "ACCESS EXCLUSIVE"),
    ("INSERT INTO log SELECT 2 FROM gate_2", "gate_2", "ACCESS EXCLUSIVE"),
    ("CREATE INDEX CONCURRENTLY gate_3_id ON gate_3 (id)", "gate_3", "ROW EXCLUSIVE"),
    ("INSERT INTO log SELECT 4 FROM gate_4", "gate_4", "ACCESS EXCLUSIVE"),
    ("VACUUM gate_5", "gate_5", "SHARE UPDATE EXCLUSIVE"),
    ("DROP INDEX CONCURRENTLY gate_6_old", "gate_6", "ROW EXCLUSIVE"),
    ("REINDEX TABLE CONCURRENTLY gate_7", "gate_7", "ROW EXCLUSIVE"),
    ("ALTER TABLE gate_8 DETACH PARTITION gate_8a CONCURRENTLY", "gate_8", "ROW EXCLUSIVE"),
    ("ALTER TABLE gate_9 ADD COLUMN more int", "gate_9", "ACCESS SHARE"),
]


def gated(place, directives):
    place.sql("CREATE TABLE log (n int)")
    for n in range(1, 8):
        place.sql(f"CREATE TABLE gate_{n} (id int); INSERT INTO gate_{n} VALUES (1)")
    place.sql("CREATE INDEX gate_6_old ON gate_6 (id)")
    place.sql("CREATE INDEX gate_7_id ON gate_7 (id)")
    place.sql("CREATE TABLE gate_8 (id int) PARTITION BY LIST (id)")
    place.sql("CREATE TABLE gate_8a PARTITION OF gate_8 FOR VALUES IN (1)")
    place.sql("CREATE TABLE gate_9 (id int)")
    place.write("1_before.up.sql", "INSERT INTO log VALUES (0)")
    statements = [one for one, _, _ in GATED] if "off" in directives else [
        one for one, _, _ in GATED if "CONCURRENTLY" not in one and "VACUUM" not in one]
    place.write("2_gated.up.sql", f"-- postern: {directives}\n" + ";\n".join(statements) + ";\n")
    return statements


def check_gated(place, whole):
    assert [n for n, in place.sql("SELECT n FROM log ORDER BY n")] == [0, 2, 4]
    assert place.value("SELECT count(*) FROM first") == 1
    assert place.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'gate_9'::regclass"
                       " AND attname = 'more'") == 1
    assert place.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert set(place.states().values()) == {"applied"}
    if whole:
        return
    assert place.value("SELECT count(*) FROM pg_index WHERE indexrelid = 'gate_3_id'::regclass") == 1
    assert place.value("SELECT count(*) FROM pg_index WHERE indrelid = 'gate_7'::regclass") == 1
    assert place.value("SELECT to_regclass('gate_6_old') IS NULL")
    assert place.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'gate_8'::regclass") == 0


@pytest.mark.parametrize("number", range(1, len(GATED) + 1))
def test_killed_at_any_statement_by_itself_up_finishes_the_work(place, number):
    gated(place, "transaction=off lock_timeout=0")
    text, gate, mode = GATED[number - 1]
    with place.transaction(f"LOCK TABLE {gate} IN {mode} MODE"):
        process = place.start("up")
        backend = place.until_it_waits(text)
        place.kill(process, backend)
        assert place.value("SELECT statements_done FROM postern_migration.history"
                           " WHERE version = '2' UNION ALL SELECT 0 LIMIT 1") == number - 1
    place.run("up")
    check_gated(place, whole=False)


@pytest.mark.parametrize("number", [2, 3, 5, 6, 7, 8])
def test_killed_between_a_statement_and_its_counting_it_is_not_done_twice(place, number):
    """The worst moment: the work is done and the history does not know yet."""
    gated(place, "transaction=off lock_timeout=0")
    text, gate, mode = GATED[number - 1]
    with place.transaction(f"LOCK TABLE {gate} IN {mode} MODE") as gatekeeper:
        process = place.start("up")
        place.until_it_waits(text)
        with place.transaction("LOCK TABLE postern_migration.history IN SHARE MODE"):
            gatekeeper.rollback()
            place.kill(process, place.until_it_waits("INSERT INTO postern_migration.history"))
    place.run("up")
    check_gated(place, whole=False)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_at_any_statement_of_a_transaction_up_does_it_all(place, number):
    statements = gated(place, "transaction=on lock_timeout=0")
    text = statements[number - 1]
    gate, mode = next((gate, mode) for one, gate, mode in GATED if one == text)
    with place.transaction(f"LOCK TABLE {gate} IN {mode} MODE"):
        process = place.start("up")
        backend = place.until_it_waits(text)
        place.kill(process, backend)
    assert place.states() == {"1": "applied", "2": "pending"}
    place.run("up")
    check_gated(place, whole=True)


def test_killed_at_random_moments_nothing_is_applied_twice(place):
    """Without ending the backend: the next one waits for it."""
    gated(place, "transaction=off lock_timeout=0")
    random.seed(7)
    for _ in range(12):
        process = place.start("up", "--lock-wait", "60s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.01, 0.15))
        process.kill()
        process.communicate()
    place.run("up", "--lock-wait", "60s")
    check_gated(place, whole=False)


def test_a_killed_tools_backend_gives_up_the_lock_by_itself(place):
    place.sql("CREATE TABLE gate (id int)")
    place.write("1_a.up.sql", "-- postern: lock_timeout=0\nALTER TABLE gate ADD COLUMN more int;")
    with place.transaction("LOCK TABLE gate IN ACCESS SHARE MODE"):
        process = place.start("up")
        place.until_it_waits("ALTER TABLE gate")
        process.kill()
        process.communicate()
        eventually(lambda: not place.waits("ALTER TABLE gate"), "the backend's end", 60)
    place.run("up")


def test_an_interrupted_down_is_finished_and_undone_by_up(place):
    three(place)
    place.run("up")
    full = place.dump()
    place.write("0002_i.down.sql", "-- postern: transaction=off lock_timeout=0\n"
                                   "CREATE TABLE traces (id int);\nDROP INDEX CONCURRENTLY t_v;\n"
                                   "DROP TABLE traces;")
    with place.transaction("LOCK TABLE t IN ROW EXCLUSIVE MODE"):
        process = place.start("down", "--to", "1", "--lock-timeout", "0")
        place.until_it_waits("t DROP CONSTRAINT")
        place.kill(process, place.waits("t DROP CONSTRAINT"))
    place.run("down", "--to", "2")
    with place.transaction("LOCK TABLE t IN ROW EXCLUSIVE MODE"):
        process = place.start("down", "--to", "1")
        place.kill(process, place.until_it_waits("DROP INDEX CONCURRENTLY"))
    assert place.states()["0002"] == "reverting"
    place.run("up")
    assert place.dump() == full


def test_two_at_once_wait_for_each_other(place):
    place.sql("CREATE TABLE gate (id int)")
    place.write("1_a.up.sql", "-- postern: transaction=off lock_timeout=0\n"
                              "CREATE TABLE made (id int);\nALTER TABLE gate ADD COLUMN more int;")
    with place.transaction("LOCK TABLE gate IN ACCESS SHARE MODE"):
        first = place.start("up")
        backend = place.until_it_waits("ALTER TABLE gate")
        refused = place.run("up", "--lock-wait", "0", status=1)
        assert f"another migration is running: pid {backend}" in refused
        assert "ALTER TABLE gate" in refused
        second = place.start("up", "--lock-wait", "60s")
        assert f"waiting for another migration: pid {backend}" in second.stderr.readline()
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    assert second.stdout.read() == "nothing to do\n"
    for process in (first, second):
        process.communicate()


def test_a_concurrent_index_is_not_kept_waiting_by_who_waits_for_the_lock(place):
    """A session waiting in pg_advisory_lock() would hold a snapshot, and both would wait for ever."""
    place.sql("CREATE TABLE t (id int)")
    place.write("1_a.up.sql", "-- postern: transaction=off\nCREATE INDEX CONCURRENTLY i ON t (id);")
    with place.transaction("LOCK TABLE t IN ROW EXCLUSIVE MODE"):
        first = place.start("up")
        place.until_it_waits("CREATE INDEX")
        second = place.start("up", "--lock-wait", "60s")
        second.stderr.readline()
        # Meanwhile the first one tells how far the index is.
        assert "waiting for writers before build" in first.stderr.readline()
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    for process in (first, second):
        process.communicate()


def test_a_file_that_gives_up_the_lock_is_the_last_one(place):
    place.write("1_a.up.sql", "SELECT pg_advisory_unlock_all();")
    place.write("2_b.up.sql", "CREATE TABLE b (id int);")
    assert "the lock that keeps a second migration away is gone" in place.run("up", status=1)
    assert place.states() == {"1": "applied", "2": "pending"}
    place.run("up")


def test_a_lost_connection_is_told_and_up_goes_on(place):
    gated(place, "transaction=off lock_timeout=0")
    with place.transaction("LOCK TABLE gate_4 IN ACCESS EXCLUSIVE MODE"):
        process = place.start("up")
        place.sql("SELECT pg_terminate_backend(%s)", place.until_it_waits("INSERT INTO log SELECT 4"))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "2_gated.up.sql:5: statement 4: the connection to PostgreSQL was lost" in err
    assert place.states() == {"1": "applied", "2": "dirty"}
    place.run("up")
    check_gated(place, whole=False)


def test_a_changed_file_is_refused_with_both_checksums_until_it_is_accepted(place):
    three(place)
    place.run("up")
    old = place.value("SELECT sha256 FROM postern_migration.history WHERE version = '0001'")
    place.write("0001_t.up.sql", "CREATE TABLE other ();")
    for arguments in (["up"], ["down", "--to", "0"], ["redo"], ["plan"]):
        refused = place.run(*arguments, status=1)
        assert "migrations/0001_t.up.sql: version 0001 is not what was applied" in refused
        assert f"applied: sha256 {old}; file: sha256 " in refused
    drifted = place.json("status", "--exit-code", status=2)["migrations"][0]
    assert drifted["state"] == "drifted" and drifted["sha256_applied"] == old
    place.run("repair")
    place.run("up")


def test_what_was_applied_and_has_no_file_is_refused_until_it_is_forgotten(place):
    three(place)
    place.run("up")
    (place.folder / "migrations" / "0003_c.up.sql").unlink()
    (place.folder / "migrations" / "0003_c.down.sql").unlink()
    assert "version 0003 (c) is applied, but there is no file for it" in place.run("up", status=1)
    assert "--forget" in place.run("repair", status=1)
    place.run("repair", "3", "--forget")
    place.run("up")


def test_a_version_below_an_applied_one_is_refused_unless_that_is_asked_for(place):
    three(place)
    place.run("up")
    place.write("0002_5.up.sql", "SELECT 1")
    assert "also that of" in place.run("up", status=1)
    (place.folder / "migrations" / "0002_5.up.sql").unlink()
    for name in ("0001_t.up.sql", "0001_t.down.sql", "0001_t.verify.sql"):
        os.rename(place.folder / "migrations" / name, place.folder / name)
    place.run("repair", "1", "--forget")
    for name in ("0001_t.up.sql", "0001_t.down.sql", "0001_t.verify.sql"):
        os.rename(place.folder / name, place.folder / "migrations" / name)
    place.write("0001_t.up.sql", "SELECT 1;")
    assert "--out-of-order" in place.run("up", status=1)
    place.run("up", "--out-of-order")


def test_a_failed_statement_leaves_a_dirty_file_that_can_be_mended_behind_it(place):
    head = "-- postern: transaction=off\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n"
    place.write("1_a.up.sql", head + "INSERT INTO nowhere VALUES (1);\n")
    failed = place.run("up", status=1)
    assert 'migrations/1_a.up.sql:4: statement 3: relation "nowhere" does not exist' in failed
    assert "SQLSTATE 42P01" in failed
    assert place.states() == {"1": "dirty"}
    assert "2 of 3 statements done" in place.run("status")
    place.write("1_a.up.sql", head.replace("(1)", "(2)") + "INSERT INTO a VALUES (3);\n")
    assert "the first 2 statements are done already" in place.run("up", status=1)
    place.write("1_a.up.sql", head + "INSERT INTO a VALUES (3);\n")
    place.run("up")
    assert place.sql("SELECT id FROM a ORDER BY id") == [(1,), (3,)]
    assert place.states() == {"1": "applied"}


def test_repair_says_how_far_a_half_done_file_is(place):
    place.write("1_a.up.sql", "-- postern: transaction=off\nCREATE TABLE a (id int);\n"
                              "SELECT 1 / 0;\nINSERT INTO a VALUES (3);")
    place.run("up", status=1)
    assert "--done" in place.run("repair", status=1)
    assert "has 3 statements, not 4" in place.run("repair", "1", "--done", "4", status=1)
    place.run("repair", "1", "--done", "2")
    place.run("up")
    assert place.value("SELECT id FROM a") == 3
    assert "--done is for what is half done" in place.run("repair", "1", "--done", "1", status=1)


def test_a_failed_transaction_leaves_nothing_and_names_the_very_line(place):
    place.write("1_a.up.sql", "CREATE TABLE a (id int);\n\n-- About é.\nINSERT INTO a\n"
                              "    SELECT 'é' || 'ü',\n           missing\n    FROM a;\n")
    failed = place.run("up", status=1)
    assert 'migrations/1_a.up.sql:6: statement 2: column "missing" does not exist' in failed
    assert "STATEMENT: INSERT INTO a SELECT" in failed
    assert place.states() == {"1": "pending"}
    assert place.value("SELECT to_regclass('a') IS NULL")


@pytest.mark.parametrize("text,line,words", [
    ("SELECT 1;\n\\i other.sql\n", 2, "\\i is a command of psql"),
    ("SELECT 1;\nSELEC 2;\n", 2, "syntax error"),
    ("CREATE TABLE a ();\nVACUUM a;", 2, "transaction=off"),
    ("-- postern: lock_timeout=soon\nSELECT 1", 1, "a duration such as"),
    ("SELECT 1;\nCOMMIT;\nSELECT 2;", 2, "COMMIT is not for a migration"),
    ("COPY t FROM STDIN;", 1, "COPY from or to the client"),
])
def test_what_can_not_be_run_is_refused_before_anything_runs(place, text, line, words):
    place.write("1_a.up.sql", "CREATE TABLE before ()")
    place.write("2_b.up.sql", text)
    refused = place.run("up", status=1)
    assert f"migrations/2_b.up.sql:{line}:" in refused and words in refused
    assert place.value("SELECT to_regclass('before') IS NULL")


def test_an_invalid_index_is_dropped_and_built_again(place):
    place.sql("CREATE SCHEMA \"S x\"; CREATE TABLE \"S x\".t (id int);"
              "INSERT INTO \"S x\".t VALUES (1), (1)")
    place.write("1_a.up.sql", "-- postern: transaction=off\nSET search_path = \"S x\";\n"
                              "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I x\" ON t (id);")
    failed = place.run("up", status=1)
    assert "could not create unique index" in failed and "Key (id)=(1) is duplicated" in failed
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert place.value(invalid) == 1
    place.sql("DELETE FROM \"S x\".t WHERE ctid = (SELECT min(ctid) FROM \"S x\".t)")
    assert "left over, invalid: it is dropped" in place.run("up")
    assert place.value(invalid) == 0
    assert place.value("SELECT indisvalid FROM pg_index WHERE indrelid = '\"S x\".t'::regclass")


def test_blocked_by_a_lock_it_lets_others_through_and_tries_again(place):
    place.sql("CREATE TABLE gate (id int)")
    place.write("1_a.up.sql", "-- postern: lock_timeout=300ms retry=1000\n"
                              "CREATE TABLE a (id int);\nALTER TABLE gate ADD COLUMN more int;")
    with place.transaction("LOCK TABLE gate IN ACCESS SHARE MODE") as blocker:
        process = place.start("up")
        place.until_it_waits("ALTER TABLE gate")
        # A reader who comes behind the ALTER TABLE gets through: the tool gives up its place.
        assert place.value("SELECT count(*) FROM gate") == 0
        said = process.stderr.readline()
        assert "canceling statement due to lock timeout" in said and "attempt 2 of 1001" in said
        blocker_pid = blocker.info.backend_pid
        eventually(lambda: f"blocked by pid {blocker_pid}" in process.stderr.readline(),
                   "who blocks", 60)
    process.communicate(timeout=60)
    assert process.returncode == 0
    place.write("2_b.up.sql", "-- postern: lock_timeout=50ms retry=1\nALTER TABLE gate ADD b int;")
    with place.transaction("LOCK TABLE gate IN ACCESS SHARE MODE"):
        failed = place.json("up", status=1)["error"]
    assert failed["sqlstate"] == "55P03" and "after 2 attempts" in failed["message"]
    assert place.states() == {"1": "applied", "2": "pending"}


BATCH = """-- postern: transaction=off batch=on lock_timeout=0
-- postern: progress=SELECT count(*) FROM t WHERE n = 0
UPDATE t SET n = n + 1 WHERE id IN (SELECT id FROM t WHERE n = 0 ORDER BY id LIMIT 10);
WITH moved AS (DELETE FROM waste WHERE id IN (SELECT id FROM waste LIMIT 3) RETURNING 1)
SELECT count(*) FROM moved;
"""


def batches(place):
    place.sql("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); CREATE TABLE waste"
              " AS SELECT generate_series(1, 7) AS id; INSERT INTO t SELECT generate_series(1, 95)")
    place.write("1_fill.up.sql", BATCH)


def check_batches(place):
    assert place.value("SELECT count(*) FROM t WHERE n = 1") == 95
    assert place.value("SELECT count(*) FROM waste") == 0
    assert place.sql("SELECT state, rows_done FROM postern_migration.history") == [("applied", 102)]


def test_batches_commit_each_and_say_how_far_they_are(place):
    batches(place)
    said = place.run("up")
    assert "0 rows done, 0 a second, 95 left" in said and "95 rows done" in said and "102 rows" in said
    check_batches(place)


def test_a_signal_stops_between_two_batches_and_up_goes_on(place):
    batches(place)
    with place.transaction("SELECT FROM t WHERE id = 45 FOR UPDATE"):
        process = place.start("up")
        place.until_it_waits("UPDATE t SET n")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: "a second signal cancels it" in process.stderr.readline(), "notice", 60)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3 and "stopped by a signal" in err
    assert place.value("SELECT count(*) FROM t WHERE n = 1") == 50
    assert place.sql("SELECT state, rows_done FROM postern_migration.history") == [("dirty", 50)]
    place.run("up")
    check_batches(place)


def test_a_batch_that_is_killed_is_made_again(place):
    batches(place)
    with place.transaction("SELECT FROM t WHERE id = 45 FOR UPDATE"):
        process = place.start("up")
        place.kill(process, place.until_it_waits("UPDATE t SET n"))
    assert place.value("SELECT count(*) FROM t WHERE n = 1") == 40
    place.run("up")
    check_batches(place)


def test_a_second_signal_cancels_the_statement(place):
    place.sql("CREATE TABLE gate (id int)")
    place.write("1_a.up.sql", "-- postern: lock_timeout=0\nALTER TABLE gate ADD COLUMN more int;")
    with place.transaction("LOCK TABLE gate IN ACCESS SHARE MODE"):
        process = place.start("up")
        place.until_it_waits("ALTER TABLE gate")
        process.send_signal(signal.SIGINT)
        eventually(lambda: "a second signal" in process.stderr.readline(), "notice", 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3 and "cancelled by a second signal" in err
    assert place.states() == {"1": "pending"}


def test_a_procedure_that_commits_runs_outside_and_is_asked_about_when_it_is_killed(place):
    place.sql("CREATE TABLE log (n int); CREATE TABLE gate (id int); CREATE PROCEDURE fill()"
              " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (1); COMMIT;"
              " INSERT INTO log SELECT 2 FROM gate; COMMIT; INSERT INTO log VALUES (3); END $$;")
    place.write("1_a.up.sql", "-- postern: transaction=off lock_timeout=0\nCALL fill();\n"
                              "INSERT INTO log VALUES (4);")
    with place.transaction("LOCK TABLE gate IN ACCESS EXCLUSIVE MODE"):
        process = place.start("up")
        place.kill(process, place.until_it_waits("CALL fill"))
    refused = place.run("up", status=1)
    assert "1_a.up.sql:2: statement 1: an interruption left it unknown" in refused
    assert "repair 1 --done 1" in refused
    place.run("repair", "1", "--done", "1")
    place.run("up")
    assert place.sql("SELECT n FROM log ORDER BY n") == [(1,), (4,)]


def test_what_a_file_sets_holds_for_it_alone_and_again_after_an_interruption(place):
    place.sql("CREATE SCHEMA other AUTHORIZATION app; CREATE TABLE gate (id int);"
              "GRANT SELECT ON gate TO app")
    place.write("1_a.up.sql", "-- postern: transaction=off lock_timeout=0\nSET ROLE app;\n"
                              "SET search_path = other, public;\nCREATE TABLE a (id int);\n"
                              "INSERT INTO a SELECT id FROM gate;\nVACUUM a;\n"
                              "CREATE INDEX CONCURRENTLY a_id ON a (id);")
    place.write("2_b.up.sql", "SET ROLE app;\nCREATE TABLE other.b (id int);")
    place.write("3_c.up.sql", "CREATE TABLE c (id int);")
    with place.transaction("LOCK TABLE gate IN ACCESS EXCLUSIVE MODE"):
        process = place.start("up")
        place.kill(process, place.until_it_waits("INSERT INTO a"))
    place.run("up")
    tables = place.sql("SELECT schemaname, tablename, tableowner FROM pg_tables"
                       " WHERE tablename IN ('a', 'b', 'c') ORDER BY tablename")
    assert tables == [("other", "a", "app"), ("other", "b", "app"), ("public", "c", "postgres")]


def test_repeatable_files_are_applied_again_when_they_change(place):
    three(place)
    place.run("up")
    assert place.value("SELECT f()") == 2
    place.write("00_f.sql", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 3';",
                "policies")
    assert place.states()["00_f.sql"] == "changed"
    assert place.run("up").startswith("apply_repeatable  policies/00_f.sql")
    assert place.value("SELECT f()") == 3
    place.write("00_f.verify.sql", "SELECT 1 / (f() = 4)::int;", "policies")
    failed = place.json("verify", status=1)
    assert failed["error"]["kind"] == "verify" and failed["error"]["sqlstate"] == "22012"
    assert [one["done"] for one in failed["steps"]] == [True, False]


def test_a_statement_has_its_time_and_verbose_tells_each(place):
    place.write("1_a.up.sql", "CREATE TABLE a (id int);\nCREATE TABLE b (id int);")
    place.write("2_b.up.sql", "-- postern: statement_timeout=50ms\nSELECT pg_sleep(60);")
    said = place.run("up", "--verbose", status=1)
    assert "migrations/1_a.up.sql:2: CREATE TABLE b (id int): " in said
    assert "2_b.up.sql:2: statement 1: canceling statement due to statement timeout" in said


def test_what_a_verify_file_does_is_rolled_back_and_its_failure_stops_up(place):
    place.write("1_a.up.sql", "CREATE TABLE a (id int);")
    place.write("1_a.verify.sql", "INSERT INTO a VALUES (1);")
    place.write("2_b.up.sql", "CREATE TABLE b (id int);")
    place.write("2_b.verify.sql", "SELECT 1 FROM b;\nDO $$ BEGIN RAISE EXCEPTION 'no'; END $$;")
    place.write("3_c.up.sql", "CREATE TABLE c (id int);")
    assert "migrations/2_b.verify.sql:2: statement 2: no" in place.run("up", status=1)
    assert place.value("SELECT count(*) FROM a") == 0
    assert place.states() == {"1": "applied", "2": "applied", "3": "pending"}
    place.run("up", "--no-verify")


def test_a_baseline_is_not_undone(place):
    three(place)
    place.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    place.run("baseline", "1")
    place.run("up")
    refused = place.run("down", "--to", "0", status=1)
    assert "0001 was there before this tool" in refused
    place.run("down", "--to", "1")


def test_a_loss_of_data_is_asked_for(place):
    place.write("1_a.up.sql", "-- postern: reversible=data-loss\nCREATE TABLE a (id int);")
    place.write("1_a.down.sql", "DROP TABLE a;")
    place.run("up")
    assert "--allow-data-loss" in place.run("down", "--to", "0", status=1)
    place.run("down", "--to", "0", "--allow-data-loss")


def test_the_database_can_be_taken_from_postern_yaml_but_not_through_postern(place):
    three(place)
    with World() as world:
        through = f"host=127.0.0.1 port={world.postern.port} dbname=app user=app password=app-secret"
        assert "goes through a pooler" in place.run("status", status=1, dsn=through)
        command = [str(postern_program()), "migrate", "status", "--json", "-c",
                   str(world.postern.configuration), "--name", "app"]
        found = subprocess.run(command, cwd=place.folder, check=True, capture_output=True, text=True)
        assert json.loads(found.stdout)["migrations"][0]["state"] == "pending"
