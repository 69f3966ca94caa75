"""Who may do what with which rows: every cell of policies/matrix.yaml, against an oracle that knows the data.

The tracker is migrated and asked as the application's role. The oracle reads the tables as a superuser and applies the
matrix's words to each row; then each row is read, changed, removed and copied by each person.
"""

import contextlib
import random

import psycopg2
import pytest
import yaml
from harness import tracker
from harness.servers import PostgreSQL

MATRIX = yaml.safe_load((tracker.ROOT / "policies" / "matrix.yaml").read_text())
PEOPLE = {
    "nobody": None, "unknown": "99", "stranger": "7", "inactive": "8", "member": "3", "other member": "4",
    "member of another": "5", "member of both": "6", "manager": "2", "administrator": "1",
}
REFUSED = "42501"


@pytest.fixture(scope="module")
def pg():
    server = PostgreSQL()
    try:
        tracker.create(server)
        tracker.migrate(server, "up")
        yield server
    finally:
        server.remove()


class Person:
    """A login of the application on behalf of somebody; every statement is undone."""

    def __init__(self, pg, user):
        self.link = psycopg2.connect(host="127.0.0.1", port=pg.port, dbname="tracker", user="tracker_app",
                                     password="tracker-secret")
        self.user = user

    @contextlib.contextmanager
    def transaction(self):
        with self.link.cursor() as cursor:
            if self.user is not None:
                cursor.execute("SELECT set_config('app.user_id', %s, true)", (self.user,))
            try:
                yield cursor
            finally:
                self.link.rollback()

    def rows(self, sql, *values):
        with self.transaction() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def outcome(self, sql, *values):
        """The number of rows, or the SQLSTATE."""
        with self.transaction() as cursor:
            return attempt(cursor, sql, values)


def attempt(cursor, sql, values=None):
    cursor.execute("SAVEPOINT here")
    try:
        cursor.execute(sql, values or None)
        return cursor.rowcount
    except psycopg2.Error as error:
        return error.pgcode
    finally:
        cursor.execute("ROLLBACK TO here")


@pytest.fixture(scope="module")
def people(pg):
    logins = {name: Person(pg, user) for name, user in PEOPLE.items()}
    yield logins
    for login in logins.values():
        login.link.close()


class Oracle:
    """All rows, and the matrix's words applied to them."""

    OWNERS = {"issues": "reporter_id", "comments": "author_id", "attachments": "uploader_id"}

    def __init__(self, pg):
        self.rows = {}
        for table in MATRIX:
            with pg.admin("tracker").cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table}")
                names = [column.name for column in cursor.description]
                self.rows[table] = [dict(zip(names, row)) for row in cursor.fetchall()]
        self.roles = {row["id"]: row["role"] for row in self.rows["users"] if row["is_active"]}
        self.members = {(row["project_id"], row["user_id"]): row["role"] for row in self.rows["project_members"]}
        self.issue_project = {row["id"]: row["project_id"] for row in self.rows["issues"]}

    @staticmethod
    def key(table, row):
        return (row["project_id"], row["user_id"]) if table == "project_members" else row["id"]

    def project(self, table, row):
        if table == "projects":
            return row["id"]
        return row["project_id"] if "project_id" in row else self.issue_project.get(row.get("issue_id"))

    def allows(self, user, command, table, row):
        me = int(user) if user else None
        cells = MATRIX[table][command]
        if me is None:
            return False
        if me not in self.roles:  # unknown, or not active: sees himself at most
            return command == "select" and self.word("self", me, table, row)
        allowed = any(self.word(word, me, table, row) for word in cells["user"])
        if self.members.get((self.project(table, row), me)) == "manager":
            allowed = allowed or any(self.word(word, me, table, row) for word in cells["manager"])
        if self.roles[me] == "admin":
            allowed = allowed or any(self.word(word, me, table, row) for word in cells["admin"])
        return allowed

    def word(self, word, me, table, row):
        project = self.project(table, row)
        inside = (project, me) in self.members
        if word in ("all", "none"):
            return word == "all"
        if word == "self":
            return table == "users" and row["id"] == me
        if word == "colleague":
            return any((where, me) in self.members for where, who in self.members if who == row["id"])
        if word == "project":
            return inside
        if word == "own":
            return inside and row[self.OWNERS[table]] == me
        assert word == "assigned", word
        return inside and row["assignee_id"] == me

    def keys(self, user, command, table):
        wanted = {self.key(table, row) for row in self.rows[table] if self.allows(user, command, table, row)}
        if command in ("update", "delete"):
            wanted &= self.keys(user, "select", table)
        return wanted


@pytest.fixture(scope="module")
def oracle(pg):
    return Oracle(pg)


def key_columns(table):
    return "project_id, user_id" if table == "project_members" else "id"


def as_keys(rows):
    return {row if len(row) > 1 else row[0] for row in rows}


def test_matrix_and_tables_agree_on_what_there_is(pg):
    tables = {name for (name,) in pg.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
        database="tracker")}
    assert tables == set(MATRIX)
    policies = pg.run(
        "SELECT tablename, cmd, permissive, count(*) FROM pg_policies WHERE 'tracker_app' = ANY (roles)"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", database="tracker")
    expected = {(table, command, "PERMISSIVE", 1) for table in MATRIX for command in ("SELECT", "INSERT", "UPDATE", "DELETE")}
    assert set(policies) == expected | {(table, "ALL", "RESTRICTIVE", 1) for table in MATRIX}
    forced = pg.run("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
                    " AND relnamespace = 'public'::regnamespace", database="tracker")
    assert {name for (name,) in forced} == set(MATRIX)


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("table", MATRIX)
def test_who_sees_which_rows(people, oracle, table, who):
    seen = as_keys(people[who].rows(f"SELECT {key_columns(table)} FROM {table}"))
    assert seen == oracle.keys(PEOPLE[who], "select", table)


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("table", MATRIX)
def test_who_changes_which_rows(people, oracle, table, who):
    for column in MATRIX[table]["columns"]:
        changed = people[who].rows(f"UPDATE {table} SET {column} = {column} RETURNING {key_columns(table)}")
        assert as_keys(changed) == oracle.keys(PEOPLE[who], "update", table), column
    others = set(oracle.rows[table][0]) - set(MATRIX[table]["columns"])
    for column in others:
        assert people[who].outcome(f"UPDATE {table} SET {column} = {column}") == REFUSED, column


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("table", MATRIX)
def test_who_removes_which_rows(people, oracle, table, who):
    keys = oracle.keys(PEOPLE[who], "delete", table)
    names = key_columns(table)
    with people[who].transaction() as cursor:
        for row in oracle.rows[table]:
            key = oracle.key(table, row)
            values = key if isinstance(key, tuple) else (key,)
            got = attempt(cursor, f"DELETE FROM {table} WHERE ({names}) = ({', '.join(['%s'] * len(values))})", values)
            assert got == 0 if key not in keys else got in (1, "23503"), (key, got)


def new_rows(oracle, table):
    """Rows like those that there are, under keys of their own."""
    if table == "project_members":
        for project in (1, 2, 3):
            for user in range(1, 9):
                if (project, user) not in oracle.members:
                    yield {"project_id": project, "user_id": user, "role": "developer", "created_at": "2024-01-01"}
        return
    for row in oracle.rows[table]:
        fresh = {name: value for name, value in row.items() if name != "id"}
        if table in ("comments", "attachments"):
            fresh["project_id"] = 2  # whatever is given: the issue's project counts
        for name in ("email", "key"):
            if name in fresh:
                fresh[name] = "new-" + fresh[name]
        if "number" in fresh:
            fresh["number"] += 1000
        yield fresh


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("table", MATRIX)
def test_who_adds_which_rows(people, oracle, table, who):
    with people[who].transaction() as cursor:
        for row in new_rows(oracle, table):
            marks = ", ".join(["%s"] * len(row))
            got = attempt(cursor, f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
            meant = dict(row, id=None)
            if "issue_id" in row:
                meant["project_id"] = oracle.issue_project[row["issue_id"]]
            allowed = oracle.allows(PEOPLE[who], "insert", table, meant)
            assert got == (1 if allowed else REFUSED), row


def test_columns_that_only_an_administrator_changes(people):
    assert people["member"].outcome("UPDATE users SET role = 'admin' WHERE id = 3") == REFUSED
    assert people["manager"].outcome("UPDATE users SET role = 'admin' WHERE id = 2") == REFUSED
    assert people["member"].outcome("UPDATE users SET is_active = false WHERE id = 3") == REFUSED
    assert people["manager"].outcome("UPDATE projects SET owner_id = 2 WHERE id = 1") == REFUSED
    assert people["administrator"].outcome("UPDATE users SET role = 'admin' WHERE id = 3") == 1
    assert people["administrator"].outcome("UPDATE projects SET owner_id = 2 WHERE id = 1") == 1


def test_nobody_writes_himself_into_a_project(people):
    add = "INSERT INTO project_members (project_id, user_id, role, created_at) VALUES (%s, %s, %s, now())"
    assert people["stranger"].outcome(add, 1, 7, "developer") == REFUSED
    assert people["member"].outcome(add, 2, 3, "developer") == REFUSED
    assert people["manager"].outcome(add, 2, 2, "manager") == REFUSED
    assert people["member"].outcome("UPDATE project_members SET role = 'manager' WHERE user_id = 3") == 0
    assert people["manager"].outcome(add, 1, 7, "developer") == 1


@pytest.mark.parametrize("given", ["", " ", "abc", "-1", "0", "1.0", "01", "1 ", "2147483648", "99999999999999999999", "1;2",
                                   "1\n", "\u0661", "NULL", "{1}"])
def test_a_malformed_identity_is_none_and_no_error(pg, given):
    person = Person(pg, given)
    try:
        assert person.rows("SELECT postern.user_id(), postern.role(), postern.is_admin(), postern.project_ids(),"
                           " postern.managed_project_ids()") == [(None, None, False, [], [])]
        for table in MATRIX:
            assert person.rows(f"SELECT * FROM {table}") == []
    finally:
        person.link.close()


def test_what_the_application_can_not_do_at_all(people):
    for sql in ("TRUNCATE comments", "CREATE TEMP TABLE t (a int)", "CREATE TABLE t (a int)", "CREATE SCHEMA mine",
                "SELECT * FROM postern_migration.rollout", "ALTER TABLE issues DISABLE ROW LEVEL SECURITY",
                "CREATE POLICY p ON issues USING (true)", "SELECT postern.given_user_id()",
                "SET ROLE postern_owner", "SET ROLE tracker_owner",
                "CREATE OR REPLACE FUNCTION postern.user_id() RETURNS integer LANGUAGE sql AS 'SELECT 1'"):
        assert people["administrator"].outcome(sql) == REFUSED, sql
    with people["administrator"].transaction() as cursor:
        cursor.execute("SET LOCAL row_security = off")
        assert attempt(cursor, "SELECT * FROM issues") == REFUSED


def test_what_is_hidden_and_what_is_not_there_are_refused_alike(people):
    comment = "INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (%s, 3, 'x', now(), now())"
    sprint = "UPDATE issues SET sprint_id = %s WHERE id = (SELECT min(id) FROM issues WHERE reporter_id = 3)"
    hidden, absent = 1, 100000  # issue 1 is project 2's
    assert people["member"].outcome(comment, hidden) == people["member"].outcome(comment, absent) == REFUSED
    assert people["member"].outcome(sprint, 2) == people["member"].outcome(sprint, absent) == REFUSED
    assert people["member"].outcome(sprint, 4) == 1


def test_an_issue_does_not_leave_its_comments_behind(pg):
    """Of somebody who is past all policies: the tables themselves keep project_id true."""
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        pg.run("UPDATE issues SET project_id = 3 WHERE id = 1", database="tracker")
    pg.run("BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE issues SET project_id = 3, sprint_id = NULL, number = 999 WHERE id = 1;"
           " UPDATE comments SET project_id = 1 WHERE issue_id = 1; UPDATE attachments SET project_id = 1 WHERE issue_id = 1;"
           " SET CONSTRAINTS ALL IMMEDIATE", database="tracker")
    try:
        assert pg.run("SELECT DISTINCT project_id FROM comments WHERE issue_id = 1", database="tracker") == [(3,)]
    finally:
        pg.run("ROLLBACK", database="tracker")


# Rows under row-level security against rows of the explicit predicate, for queries that nobody has thought of.

PREDICATES = {
    "users": "u.id = {me} OR {admin} OR EXISTS (SELECT FROM project_members a JOIN project_members b USING (project_id)"
             " WHERE a.user_id = {me} AND b.user_id = u.id AND {active})",
    "projects": "{in}", "project_members": "{in}", "sprints": "{in}", "issues": "{in}", "comments": "{in}", "attachments": "{in}",
}


def visible(table, user):
    """The table as a subquery with what `user` may see of it."""
    me = user if user is not None else "NULL"
    admin = f"EXISTS (SELECT FROM users x WHERE x.id = {me} AND x.is_active AND x.role = 'admin')"
    active = f"EXISTS (SELECT FROM users x WHERE x.id = {me} AND x.is_active)"
    project = "id" if table == "projects" else "project_id"
    inside = (f"({admin} OR {active} AND u.{project} IN (SELECT m.project_id FROM project_members m"
              f" WHERE m.user_id = {me}))")
    text = PREDICATES[table].format(**{"me": me, "admin": admin, "active": active, "in": inside})
    return f"(SELECT u.* FROM {table} u WHERE {text})"


class Query:
    """One random SELECT over {tables}, as text with a place for each table."""

    JOINS = [("issues i", "projects p", "p.id = i.project_id"), ("issues i", "users w", "w.id = i.assignee_id"),
             ("comments c", "issues i", "i.id = c.issue_id"), ("comments c", "users w", "w.id = c.author_id"),
             ("sprints s", "issues i", "i.sprint_id = s.id"), ("project_members m", "users w", "w.id = m.user_id"),
             ("attachments a", "issues i", "i.id = a.issue_id")]
    FILTERS = {"i": ["i.status = 'open'", "i.id % 3 = 1", "i.assignee_id IS NULL", "i.title LIKE '%1%'", "i.project_id = 1"],
               "c": ["c.id < 90", "c.author_id = 3", "c.body LIKE '%7%'"], "w": ["w.id > 2", "w.is_active"],
               "p": ["p.key <> 'P1'"], "s": ["s.id > 1"], "m": ["m.role = 'developer'"], "a": ["a.uploader_id > 3"]}

    def __init__(self, rng):
        left, right, on = rng.choice(self.JOINS)
        kind = rng.choice(["JOIN", "LEFT JOIN", "FULL JOIN", "alone", "EXISTS", "IN"])
        table, alias = left.split()
        other, short = right.split()
        where = " AND ".join(rng.sample(self.FILTERS[alias], rng.randint(0, min(2, len(self.FILTERS[alias]))))) or "true"
        shown = f"{alias}.*" if table != "users" else f"{alias}.id"
        if kind == "alone":
            body = f"FROM {{{table}}} {alias} WHERE {where}"
        elif kind in ("EXISTS", "IN"):
            extra = rng.choice(self.FILTERS[short])
            negated = rng.choice(["", "NOT "])
            body = f"FROM {{{table}}} {alias} WHERE {where} AND {negated}EXISTS (SELECT FROM {{{other}}} {short} WHERE {on} AND {extra})"
        else:
            body = f"FROM {{{table}}} {alias} {kind} {{{other}}} {short} ON {on} WHERE {where}"
            shown += f", {short}.id" if other != "project_members" else ""
        if rng.random() < 0.3:
            self.text = f"SELECT count(*) {body}"
        elif rng.random() < 0.2:
            key = "user_id" if alias == "m" else "id"
            self.text = f"WITH one AS MATERIALIZED (SELECT {alias}.{key} {body}) SELECT count(*) FROM one"
        else:
            self.text = f"SELECT {shown} {body}"

    def plain(self):
        return self.text.format(**{table: table for table in MATRIX})

    def explicit(self, user):
        return self.text.format(**{table: visible(table, user) for table in MATRIX})


@pytest.mark.parametrize("who", [name for name in PEOPLE if name != "unknown"])
def test_rows_under_row_level_security_are_those_of_the_explicit_predicate(pg, people, who):
    rng = random.Random(f"matrix {who}")
    for _ in range(60):
        query = Query(rng)
        under = people[who].rows(query.plain())
        explicit = pg.run(query.explicit(PEOPLE[who]), database="tracker")
        assert sorted(map(repr, under)) == sorted(map(repr, explicit)), query.plain()
