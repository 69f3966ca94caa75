"""Who sees and does what: the backend's answers to four people, and an application's login on their behalf, against the matrix.

The oracle reads the tables as a superuser and applies the words of policies/matrix.yaml to their rows. The people and their
project are strangers to the load, so their first reads are answered by PostgreSQL; the same again has to come from the cache.
"""

import http.client
import json
import time

import psycopg2
import yaml

import data
import plan
from servers import REPOSITORY, Failure

TABLES = ("projects", "issues", "comments")
UNKNOWN = 999_999
# One value for all rows that are seen: their number, and their ids.
SEEN = "SELECT count(*), md5(coalesce(string_agg(id::text, ',' ORDER BY id), '')) FROM {}"
CACHED_WITHIN_SECONDS = 10


class Person:
    def __init__(self, name, user, role, projects, managed):
        self.name = name
        self.user = user
        self.role = role
        self.projects = projects
        self.managed = managed


class Oracle:
    """All that is true, and the matrix's words as conditions on it."""

    PROJECT = {"projects": "t.id", "issues": "t.project_id", "comments": "t.project_id"}
    OWNER = {"issues": "t.reporter_id", "comments": "t.author_id"}

    def __init__(self, dsn):
        self.matrix = yaml.safe_load((REPOSITORY / "policies" / "matrix.yaml").read_text())
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True

    def rows(self, sql, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def person(self, name, found):
        if not found:
            raise Failure(f"the data has nobody who could be the {name}")
        user = found[0][0]
        ((role,),) = self.rows("SELECT role FROM users WHERE id = %s", user)
        memberships = self.rows("SELECT project_id, role FROM project_members WHERE user_id = %s ORDER BY 1", user)
        return Person(name, user, role, [project for project, _ in memberships],
                      [project for project, role in memberships if role == "manager"])

    def condition(self, person, command, table):
        """SQL that is true for the rows `t` of the table that the matrix opens to this person."""
        cells = self.matrix[table][command]
        words = [self._word(word, person, table, person.projects) for word in cells["user"]]
        words += [self._word(word, person, table, person.managed) for word in cells["manager"]]
        if person.role == "admin":
            words += [self._word(word, person, table, person.projects) for word in cells["admin"]]
        return "(" + " OR ".join(words) + ")"

    def _word(self, word, person, table, projects):
        inside = f"{self.PROJECT[table]} = ANY ('{{{','.join(map(str, projects))}}}'::int[])"
        return {
            "all": lambda: "true",
            "none": lambda: "false",
            "project": lambda: inside,
            "own": lambda: f"({inside} AND {self.OWNER[table]} = {person.user})",
            "assigned": lambda: f"({inside} AND t.assignee_id = {person.user})",
        }[word]()

    def seen(self, person, table):
        return self.rows(SEEN.format(f"{table} t") + " WHERE " + self.condition(person, "select", table))[0]

    def ids(self, person, command, table, where, *values):
        found = self.rows(f"SELECT t.id FROM {table} t WHERE {self.condition(person, command, table)} AND {where} ORDER BY 1", *values)
        return [row[0] for row in found]


class Check:
    """What was compared, and what was otherwise than the oracle says."""

    def __init__(self, target, oracle):
        self.target = target
        self.oracle = oracle
        self.checked = 0
        self.wrong = 0
        self.examples = []
        self.backend = http.client.HTTPConnection("127.0.0.1", target.backend_port, timeout=30)

    def equal(self, where, found, wanted):
        self.checked += 1
        if found != wanted:
            self.wrong += 1
            if len(self.examples) < 10:
                self.examples.append(f"{where}: {str(found)[:200]}, should be {str(wanted)[:200]}")

    def ask(self, user, method, path, body=None):
        """(status, the answer, SELECT statements that it took)."""
        headers = {"X-User-Id": str(user), "Content-Type": "application/json"}
        self.backend.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.backend.getresponse()
        text = answer.read()
        if answer.status >= 500:
            raise Failure(f"{method} {path} as user {user} answered {answer.status}: {text[:300].decode(errors='replace')}")
        return answer.status, json.loads(text), int(answer.getheader("x-db-statements", "0 0").split()[0])

    def cold_and_cached(self, where, read, wanted):
        """`read` yields what is to be compared and its number of SELECTs: PostgreSQL answers the first time, the cache then."""
        self.equal(f"{where}, cold", read()[0], wanted)
        if not self.target.has_postern:
            return
        deadline = time.monotonic() + CACHED_WITHIN_SECONDS
        while True:
            before = self.hits()
            found, statements = read()
            from_cache = self.hits() - before >= statements
            if from_cache or found != wanted or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.equal(f"{where}, from the cache", (found, from_cache), (wanted, True))

    def hits(self):
        counters = self.target.counters()
        return sum(counters.get(f"postern_hits_{store}_total", counters.get(f"postern_hits_{store}", 0)) for store in ("near", "redis"))


# Reading


def check_tables(check, person):
    """The application's login on the person's behalf: all rows of three tables."""
    connection = psycopg2.connect(check.target.url)
    shown = []
    for table in TABLES:
        wanted = check.oracle.seen(person, table)
        shown.append(wanted[0])

        def read():
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT set_config('app.user_id', %s, true)", (str(person.user),))
                cursor.execute(SEEN.format(table))
                return cursor.fetchone(), 1

        check.cold_and_cached(f"{table} as the {person.name}", read, wanted)
    connection.close()
    return shown


def check_pages(check, person, project, issue):
    """The backend's pages of one project, and of an issue of it."""
    oracle, user = check.oracle, person.user
    check.cold_and_cached(
        f"GET /projects as the {person.name}", lambda: listed(*check.ask(user, "GET", "/projects")),
        (200, oracle.ids(person, "select", "projects", "true")))
    issues = oracle.ids(person, "select", "issues", "t.project_id = %s", project)
    comments = oracle.ids(person, "select", "comments", "t.issue_id = %s", issue)
    status = 200 if issue in issues else 404
    for path, member, wanted in (
        (f"/projects/{project}/issues", "total", len(issues)),
        (f"/issues/{issue}", "comments", len(comments)),
        (f"/issues/{issue}/comments", "total", len(comments)),
    ):
        def read():
            answered, shown, statements = check.ask(user, "GET", path)
            return (answered, shown.get(member)), statements

        check.cold_and_cached(f"GET {path} as the {person.name}", read, (status, wanted if status == 200 else None))
    return status


def listed(status, rows, statements):
    return (status, sorted(row["id"] for row in rows)), statements


# Writing


def check_edits(check, person, project, issues):
    """What each edit and move is answered, and whether it was done."""
    answers = []
    for what, issue in issues.items():
        visible = check.oracle.ids(person, "select", "issues", "t.id = %s", issue)
        allowed = check.oracle.ids(person, "update", "issues", "t.id = %s", issue)
        wanted = 200 if allowed else 409 if visible else 404
        for method, path, body in (
            ("PATCH", f"/issues/{issue}", {"title": f"{what}, edited by the {person.name}"}),
            ("POST", f"/issues/{issue}/move", {"status": "in_review", "position": person.user}),
        ):
            where = f"{method} {path} ({what}) as the {person.name}"
            before = issue_row(check.oracle, issue)
            status, shown, _ = check.ask(person.user, method, path, body)
            check.equal(where, status, wanted)
            after = issue_row(check.oracle, issue)
            if status == 200:
                check.equal(f"{where}, its answer", {name: shown[name] for name in after}, after)
            wanted_after = dict(before, **body, version=before["version"] + 1) if allowed else before
            check.equal(f"{where}, what became of it", after, wanted_after)
            if visible:
                shown = check.ask(person.user, "GET", f"/issues/{issue}")[1]
                check.equal(f"{where}, read by him", {name: shown[name] for name in after}, after)
        answers.append(status)
    return answers


def issue_row(oracle, issue):
    names = ("title", "status", "position", "version")
    return dict(zip(names, oracle.rows(f"SELECT {', '.join(names)} FROM issues WHERE id = %s", issue)[0]))


def check_additions(check, person, project, issue):
    """A comment and an issue are added, or not; an issue with a priority that there is not, never."""
    oracle, user = check.oracle, person.user
    visible = project in oracle.ids(person, "select", "projects", "t.id = %s", project)
    answers = []
    for path, body, table, where, key, good in (
        (f"/issues/{issue}/comments", {"body": f"by the {person.name}"}, "comments", "t.issue_id = %s", issue, 201),
        (f"/projects/{project}/issues", {"title": f"by the {person.name}"}, "issues", "t.project_id = %s", project, 201),
        (f"/projects/{project}/issues", {"title": "no", "priority": "none"}, "issues", "t.project_id = %s", project, 409),
    ):
        def count():
            return oracle.rows(f"SELECT count(*) FROM {table} t WHERE {where}", key)[0][0]

        before = count()
        status = check.ask(user, "POST", path, body)[0]
        wanted = good if visible else 404
        check.equal(f"POST {path} {body} as the {person.name}", status, wanted)
        check.equal(f"POST {path} {body} as the {person.name}, rows", count(), before + (wanted == 201))
        answers.append(status)
    return answers


# All of it


def choose(oracle, after_project, after_user):
    """A project, four people, and issues of it that are the member's own, assigned to him, and neither."""
    found = oracle.rows(
        "SELECT m.project_id, m.user_id, b.user_id, o.id, a.id, n.id FROM project_members m"
        " JOIN project_members b ON b.project_id = m.project_id AND b.role = 'manager'"
        " JOIN users u ON u.id = m.user_id AND u.role = 'user' AND u.is_active"
        " JOIN users v ON v.id = b.user_id AND v.role <> 'admin' AND v.is_active"
        " JOIN issues o ON o.project_id = m.project_id AND o.reporter_id = m.user_id AND o.assignee_id IS DISTINCT FROM m.user_id"
        " JOIN issues a ON a.project_id = m.project_id AND a.assignee_id = m.user_id AND a.reporter_id <> m.user_id"
        " JOIN issues n ON n.project_id = m.project_id AND n.reporter_id <> m.user_id AND n.assignee_id IS DISTINCT FROM m.user_id"
        " WHERE m.role = 'developer' AND b.user_id NOT IN (n.reporter_id, o.reporter_id, a.reporter_id)"
        " AND m.project_id > %s AND m.user_id > %s ORDER BY m.project_id DESC, m.user_id, o.id, a.id, n.id LIMIT 1",
        after_project, after_user)
    if not found:
        raise Failure("the data has no project with a member, a manager and issues of others")
    project, member, manager, own, assigned, other = found[0]
    outside = ("SELECT u.id FROM users u WHERE u.role = %s AND u.is_active AND u.id > %s AND NOT EXISTS"
               " (SELECT FROM project_members m WHERE m.user_id = u.id AND m.project_id = %s) ORDER BY 1 LIMIT 1")
    people = [
        oracle.person("member", [(member,)]),
        oracle.person("manager", [(manager,)]),
        oracle.person("administrator", oracle.rows(outside, "admin", after_user, project)),
        oracle.person("stranger", oracle.rows(outside, "user", after_user, project)),
    ]
    return project, people, {"the member's": own, "assigned to him": assigned, "of neither": other}


def check_people(target, dsn, after_project=plan.ACTIVE_PROJECTS, after_user=data.PROJECTS * plan.USERS_A_PROJECT):
    """(the check, rows of a table that says what each may). The load has no project and nobody with a number above those."""
    oracle = Oracle(dsn)
    check = Check(target, oracle)
    project, people, issues = choose(oracle, after_project, after_user)
    edits = [f"edits {what}" for what in issues]
    rows = [[f"project {project}: who sees, and is answered", *(f"{table} seen" for table in TABLES), *edits, "comments", "reports"]]
    seen = {}
    for person in people:
        seen[person.name] = check_tables(check, person)
        check_pages(check, person, project, issues["of neither"])
    for person in people:
        edits = check_edits(check, person, project, issues)
        comment, issue, _ = check_additions(check, person, project, issues["of neither"])
        rows.append([f"  {person.name} (user {person.user})", *map(str, (*seen[person.name], *edits, comment, issue))])
    check.equal("an unknown user", check.ask(UNKNOWN, "GET", "/projects")[0], 401)
    return check, rows
