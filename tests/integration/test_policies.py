"""The tracker under its policies: the cache stays true, tables are switched off and on under load, the backend works on unchanged."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import types

import psycopg2
import pytest
from harness import tracker
from harness.reads import assert_hits, mark_of, marked, warm
from harness.servers import free_port, postern_program
from harness.tracker import run_script
from harness.waiting import Crowd, eventually

pytestmark = pytest.mark.needs_postern


@pytest.fixture(scope="module")
def world():
    with tracker.Tracker() as one:
        one.start_postern()
        yield one


def ids(rows):
    return {int(row[0]) for row in rows}


# The cache


@pytest.mark.parametrize("sql", [
    "SELECT id, title FROM issues WHERE project_id = 1 ORDER BY created_at DESC, id DESC LIMIT 25",
    "SELECT i.id, u.name FROM issues i LEFT JOIN users u ON u.id = i.assignee_id WHERE i.id = 6",
    "SELECT count(*) FROM comments WHERE issue_id = 6",
    "SELECT * FROM attachments WHERE issue_id = 6 ORDER BY id",
    "SELECT * FROM projects ORDER BY name",
    "SELECT role FROM project_members WHERE project_id = 1 AND user_id = 3",
    "SELECT status, count(*) FROM sprints GROUP BY 1",
])
def test_reads_under_policies_are_cached_for_each_person(world, sql):
    sql = marked(sql)
    with world.client(3) as member, world.client(5) as other, world.direct(3) as direct, world.direct(5) as direct_other:
        first = assert_hits(world, member, sql)
        assert first.rows == direct.rows(sql)
        assert other.rows(sql) == direct_other.rows(sql)
        assert member.rows(sql) == direct.rows(sql)


def test_who_leaves_a_project_loses_what_was_cached_for_him(world):
    sql = marked("SELECT id FROM issues ORDER BY id")
    with world.client(4) as member, world.client(2) as manager:
        assert ids(warm(world, member, sql).rows) == {id for id in range(1, 61) if id % 3 == 0}
        manager.run("DELETE FROM project_members WHERE project_id = 1 AND user_id = 4")
        assert member.rows(sql) == []
        manager.run("INSERT INTO project_members (project_id, user_id, role, created_at) VALUES (1, 4, 'developer', '2024-01-01')")
        assert len(member.rows(sql)) == 20


def test_an_administrator_who_is_none_any_more_loses_what_was_cached_for_him(world):
    sql = marked("SELECT id FROM comments ORDER BY id")
    with world.client(1) as administrator, world.client(50) as second:
        administrator.run("INSERT INTO users (id, email, name, role, password_hash, created_at)"
                          " VALUES (50, 'second@example.org', 'Second', 'admin', 'x', now())")
        assert len(warm(world, second, sql).rows) == 180
        administrator.run("UPDATE users SET role = 'user' WHERE id = 50")
        assert second.rows(sql) == []
        administrator.run("DELETE FROM users WHERE id = 50")


def test_a_change_of_an_issue_leaves_what_is_cached_of_comments(world):
    sql = marked("SELECT count(*) FROM comments WHERE issue_id = 6")
    with world.client(3) as member:
        before = warm(world, member, sql).rows
        member.run("UPDATE issues SET title = 'Edited' WHERE id = 6")
        with world.relay.counting(mark_of(sql)) as passed:
            assert member.rows(sql) == before
            assert passed() == 0
        member.run("INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (6, 3, 'x', now(), now())")
        assert int(member.rows(sql)[0][0]) == int(before[0][0]) + 1
        member.run("DELETE FROM comments WHERE issue_id = 6 AND body = 'x'")


def test_nobody_is_served_what_was_cached_for_somebody(world):
    sql = marked("SELECT id FROM issues ORDER BY id")
    with world.client(1) as administrator, world.client() as nobody:
        warm(world, administrator, sql)
        assert nobody.rows(sql) == []
        assert len(administrator.rows(sql)) == 60


@pytest.mark.parametrize("sql,rule", [
    ("SELECT * FROM postern.search('issue', '{\"project\": 1}', 20, 0)", "search"), ("SELECT id FROM issues", "everything")])
def test_a_search_is_not_kept_as_long_as_other_reads(world, sql, rule):
    """Its answer may be the newest alone, because the time was up."""
    done = subprocess.run(
        [str(postern_program()), "explain", "-c", str(world.postern.configuration), "--database", "tracker", "--role", "tracker_app",
         "--json", sql], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert told["cacheable"] and told["rule"]["name"] == rule, told


def test_a_page_of_a_projects_issues_is_read_in_its_order(world):
    """There is a way with nothing to sort, so that a page's issues are fetched and no more. It is the cheapest for more than 60 rows."""
    with world.direct(3) as member:
        for setting in ("enable_sort", "enable_incremental_sort"):
            member.run(f"SET {setting} = off")  # sorts all the same where there is no other way
        plan = "\n".join(line for line, in member.rows(
            "EXPLAIN SELECT id, title FROM issues WHERE project_id = 1 ORDER BY created_at DESC, id DESC LIMIT 25"))
    assert "Sort" not in plan and "Limit" in plan, plan


# Switching off and on


class Readers(Crowd):
    """Logins of the application that read without end, and note what they saw."""

    def __init__(self, pg):
        super().__init__()
        self.pg = pg
        self.seen = set()
        for user in ("3", "5", "6"):
            self.add(self._read, user)

    def _read(self, user):
        link = psycopg2.connect(host="127.0.0.1", port=self.pg.port, dbname="tracker", user="tracker_app", password="tracker-secret")
        with contextlib.closing(link), link.cursor() as cursor:
            while not self.stopping.is_set():
                cursor.execute("SELECT set_config('app.user_id', %s, true)", (user,))
                cursor.execute("SELECT count(*), count(DISTINCT project_id) FROM issues")
                self.seen.add((user, *cursor.fetchone()))
                cursor.execute("UPDATE issues SET position = position WHERE id = (SELECT min(id) FROM issues WHERE reporter_id = %s)", (user,))
                link.commit()


def switched_on(world):
    return {name for (name,) in world.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity AND relforcerowsecurity")}


def test_tables_are_switched_off_and_on_under_load(world):
    own = {("3", 20, 1), ("5", 20, 1), ("6", 40, 2)}
    all_rows = {(user, 60, 3) for user in ("3", "5", "6")}
    with Readers(world.pg) as readers:
        eventually(lambda: readers.seen >= own, "the readers")
        assert readers.seen == own
        run_script(world.pg, "rollback/table_off", table="issues")
        eventually(lambda: readers.seen >= own | all_rows, "what is seen without policies on issues")
        assert switched_on(world) == set(tracker.TABLES) - {"issues"}
        run_script(world.pg, "rollback/table_on", table="issues")
        assert switched_on(world) == set(tracker.TABLES)

        run_script(world.pg, "rollback/kill_switch")
        assert switched_on(world) == set()
        tracker.migrate(world.pg, "up")
        assert switched_on(world) == set(), "what was switched off by hand stays off"
        for (table,) in world.run("SELECT table_name FROM postern_migration.rollout ORDER BY position"):
            run_script(world.pg, "rollback/table_on", table=table)
        assert switched_on(world) == set(tracker.TABLES)
        readers.seen.clear()
        eventually(lambda: readers.seen >= own, "policies in force again")
        assert readers.seen == own
    assert readers.seen == own


# The backend


@pytest.fixture(scope="module")
def backend(world):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    host, port = world.postern.address
    url = f"postgresql://tracker_app:tracker-secret@{host}:{port}/tracker"
    listening = free_port()
    log = world.postern.folder / "backend.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "uvicorn", "backend.app:app", "--app-dir", str(tracker.SCHEMA),
             "--host", "127.0.0.1", "--port", str(listening), "--log-level", "warning", "--no-access-log"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, "DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        def asks(user, method, path, body=None):
            connection = http.client.HTTPConnection("127.0.0.1", listening, timeout=60)
            with contextlib.closing(connection):
                headers = {"X-User-Id": str(user), "Content-Type": "application/json"}
                connection.request(method, path, json.dumps(body) if body is not None else None, headers)
                answer = connection.getresponse()
                text = answer.read()
                return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode()

        def up():
            with contextlib.suppress(OSError):
                return asks(1, "GET", "/healthz")[0] == 200
            return False

        eventually(up, "the backend", 60)
        asks.port = listening
        yield asks
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("user,projects", [(1, [1, 2, 3]), (2, [1]), (3, [1]), (5, [2]), (6, [1, 2]), (7, [])])
def test_the_backend_shows_each_person_what_the_matrix_says(backend, user, projects):
    for _ in range(2):  # the second time from the cache
        status, shown = backend(user, "GET", "/projects")
        assert status == 200 and [row["id"] for row in shown] == projects
        for project in (1, 2, 3):
            wanted = 200 if project in projects else 404
            for path in ("issues", "board", "counts", "report"):
                assert backend(user, "GET", f"/projects/{project}/{path}")[0] == wanted, (project, path)
            issue = {1: 6, 2: 4, 3: 5}[project]
            assert backend(user, "GET", f"/issues/{issue}")[0] == wanted
            assert backend(user, "GET", f"/issues/{issue}/comments")[0] == wanted
        assert backend(user, "GET", "/me/issues")[0] == 200


def test_the_backend_knows_nobody_that_the_policies_do_not(backend):
    assert backend(99, "GET", "/projects")[0] == 401
    assert backend(8, "GET", "/projects")[0] == 401  # not active


def test_the_backend_writes_what_the_matrix_allows(backend):
    issue = 6  # of project 1, reported by 3, worked on by 4
    assert backend(3, "POST", f"/issues/{issue}/comments", {"body": "mine"})[0] == 201
    assert backend(5, "POST", f"/issues/{issue}/comments", {"body": "not mine to see"})[0] == 404
    status, page = backend(3, "GET", f"/issues/{issue}/comments")
    assert status == 200 and page["items"][-1]["body"] == "mine" and page["items"][-1]["author"]["id"] == 3
    assert backend(3, "PATCH", f"/issues/{issue}", {"title": "by its reporter"})[0] == 200
    assert backend(4, "POST", f"/issues/{issue}/move", {"status": "closed", "position": 1})[0] == 200
    assert backend(2, "PATCH", f"/issues/{issue}", {"title": "by the manager"})[0] == 200
    assert backend(1, "PATCH", f"/issues/{issue}", {"title": "by the administrator"})[0] == 200
    assert backend(6, "PATCH", f"/issues/{issue}", {"title": "by anybody"})[0] == 409
    assert backend(6, "GET", f"/issues/{issue}")[1]["title"] == "by the administrator"
    status, made = backend(6, "POST", "/projects/2/issues", {"title": "new"})
    assert status == 201
    assert backend(5, "GET", f"/issues/{made['id']}")[1]["title"] == "new"
    assert backend(3, "GET", f"/issues/{made['id']}")[0] == 404
    assert backend(3, "POST", "/projects/1/issues", {"title": "bad", "priority": "nonsense"})[0] == 409  # the constraint


# The demo's own check. Last: it edits and adds.


def check_people(world, backend):
    host, port = world.postern.address

    def counters():
        return {name.split("{")[0]: value for name, value in world.postern.metrics().items()}

    sys.path.insert(0, str(tracker.SCHEMA))
    try:
        import people
    finally:
        sys.path.pop(0)
    url = f"postgresql://tracker_app:tracker-secret@{host}:{port}/tracker"
    target = types.SimpleNamespace(backend_port=backend.port, url=url, has_postern=True, counters=counters)
    return people.check_people(target, f"{world.pg.dsn('tracker')} user=postgres", 0, 0)


def test_the_demo_finds_that_everybody_sees_and_may_what_the_matrix_says(world, backend):
    check, rows = check_people(world, backend)
    assert not check.wrong, check.examples
    assert check.checked > 100
    answers = {row[0].split()[0]: row[4:] for row in rows[1:]}
    assert answers == {"member": ["200", "200", "409", "201", "201"], "manager": ["200", "200", "200", "201", "201"],
                       "administrator": ["200", "200", "200", "201", "201"], "stranger": ["404"] * 5}


def test_the_demo_finds_that_a_table_is_without_its_policies(world, backend):
    run_script(world.pg, "rollback/table_off", table="issues")
    try:
        check, _ = check_people(world, backend)
        assert check.wrong
        assert any("stranger" in example for example in check.examples), check.examples
    finally:
        run_script(world.pg, "rollback/table_on", table="issues")
