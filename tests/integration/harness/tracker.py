"""The issue tracker's database, small, and its migrations as `postern migrate` applies them."""

import pathlib
import subprocess

import yaml

from . import wire
from .relay import Relay
from .servers import PostgreSQL, Postern, postern_program
from .waiting import eventually

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "deploy" / "tracker"
TABLES = ("users", "projects", "project_members", "sprints", "issues", "comments", "attachments")

ROLES = """
CREATE ROLE tracker_owner NOLOGIN;
CREATE ROLE tracker_app LOGIN PASSWORD 'tracker-secret';
"""

# Projects 1 and 2 with members, 3 with none. Users: 1 administrator, 2 manages 1, 3 and 4 are members of 1, 5 of 2, 6 of both, 7 of
# none, 8 was deactivated but never taken out of 1.
DATA = """
INSERT INTO users (id, email, name, role, password_hash, is_active, created_at)
SELECT id, 'user' || id || '@example.org', 'User ' || id, CASE id WHEN 1 THEN 'admin' WHEN 2 THEN 'manager' ELSE 'user' END,
       'secret', id <> 8, '2024-01-01' FROM generate_series(1, 8) id;
INSERT INTO projects (id, key, name, owner_id, created_at)
SELECT id, 'P' || id, 'Project ' || id, 1, '2024-01-01' FROM generate_series(1, 3) id;
INSERT INTO project_members (project_id, user_id, role, created_at) VALUES
    (1, 2, 'manager', '2024-01-01'), (1, 3, 'developer', '2024-01-01'), (1, 4, 'developer', '2024-01-01'),
    (2, 5, 'developer', '2024-01-01'), (1, 6, 'developer', '2024-01-01'), (2, 6, 'developer', '2024-01-01'),
    (1, 8, 'developer', '2024-01-01');
INSERT INTO sprints (id, project_id, name, status)
SELECT id, 1 + (id - 1) % 3, 'Sprint ' || id, 'active' FROM generate_series(1, 6) id;
INSERT INTO issues (id, project_id, sprint_id, number, title, reporter_id, assignee_id, created_at, updated_at)
SELECT id, 1 + id % 3, 1 + id % 3, id, 'Issue ' || id, 2 + id % 5, CASE WHEN id % 4 > 0 THEN 2 + id % 4 END, '2024-01-01', '2024-01-01'
FROM generate_series(1, 60) id;
INSERT INTO comments (id, issue_id, author_id, body, created_at, updated_at)
SELECT id, 1 + id % 60, 2 + id % 5, 'Comment ' || id, '2024-01-01', '2024-01-01' FROM generate_series(1, 180) id;
INSERT INTO attachments (id, issue_id, uploader_id, filename, content_type, size_bytes, created_at)
SELECT id, 1 + id % 60, 2 + id % 5, 'file' || id, 'text/plain', 1, '2024-01-01' FROM generate_series(1, 60) id;
"""


def create(pg, database="tracker", data=DATA):
    """The tracker as the application has it before the migrations, in a database of its own."""
    if not pg.run("SELECT 1 FROM pg_roles WHERE rolname = 'tracker_app'"):
        pg.run(ROLES)
    pg.run(f"CREATE DATABASE {database}")
    pg.run("GRANT CREATE ON SCHEMA public TO tracker_owner; SET ROLE tracker_owner", database=database)
    pg.run((SCHEMA / "schema.sql").read_text(), database=database)
    pg.run("RESET ROLE", database=database)
    if data:
        pg.run(data, database=database)
    for table in TABLES:
        if table != "project_members":
            pg.run(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 1)) FROM {table}",
                   database=database)
    pg.run("SET ROLE tracker_owner", database=database)
    pg.run((SCHEMA / "indexes.sql").read_text(), database=database)
    pg.run((ROOT / "policies" / "earlier" / "rls.sql").read_text(), database=database)
    pg.run("RESET ROLE", database=database)


def migrate(pg, *arguments, database="tracker", login="user=postgres", check=True):
    """Runs `postern migrate`; what it said, as one CompletedProcess."""
    done = subprocess.run(
        [str(postern_program()), "migrate", *arguments, "--database", f"{pg.dsn(database)} {login}",
         "--migrations", str(ROOT / "migrations"), "--policies", str(ROOT / "policies")],
        text=True, capture_output=True, check=False, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def psql(pg, *arguments, database="tracker", script=None, check=True):
    """Runs psql as the superuser; what it said, as one CompletedProcess."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", pg.dsn(database), *arguments],
        text=True, capture_output=True, check=False, input=script, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def dump(pg, database="tracker", *arguments):
    """Everything but the migrations' own notes, in an order that does not depend on where rows lie."""
    done = subprocess.run(
        ["pg_dump", "-N", "postern_migration", *arguments, "-d", pg.dsn(database)],
        text=True, capture_output=True, check=True, timeout=120)
    return sorted(line for line in done.stdout.splitlines() if not line.startswith("\\"))


LOGIN = {"user": "tracker_app", "database": "tracker", "password": "tracker-secret"}


def script(pg, name, **variables):
    """What psql makes of a script of policies/, with `variables` set."""
    arguments = [part for key, value in variables.items() for part in ("-v", f"{key}={value}")]
    return psql(pg, *arguments, "-f", str(ROOT / "policies" / f"{name}.sql"), check=False)


def run_script(pg, name, **variables):
    """As an operator does: again, when it did not get a lock in time."""
    def done():
        what = script(pg, name, **variables)
        assert what.returncode in (0, 3), what.stderr
        return what.returncode == 0
    eventually(done, name, 60)


class Tracker:
    """clients → Postern → relay → the tracker's PostgreSQL, migrated or not yet."""

    def __init__(self, *, migrated=True):
        self.postern = self.relay = None
        self.pg = PostgreSQL()
        try:
            create(self.pg)
            if migrated:
                migrate(self.pg, "up")
        except BaseException:
            self.pg.remove()
            raise

    def start_postern(self, **database):
        """With the rules that stand beside the policies; the application sets who is asking. `database`: more of its section."""
        self.relay = Relay(self.pg.address)
        host, port = self.relay.address
        self.postern = Postern(self.relay.address, {
            "databases": {"app": None, "tracker": {
                "host": host, "port": port, "service": {"user": "postern", "password": "postern-secret"}, **database}},
            "users": {"tracker_app": {"auth": "scram", "password": "tracker-secret"}},
            "identity": {"variables": ["app.user_id"], "trust": {"client_set": True}},
            "rls": "required",
        }, rules=yaml.safe_load((ROOT / "policies" / "rules.yaml").read_text()))

    def client(self, user=None):
        """A client of Postern on behalf of a user."""
        return self._on_behalf(wire.Client(self.postern.address, **LOGIN), user)

    def direct(self, user=None):
        """A client of PostgreSQL on behalf of a user."""
        return self._on_behalf(wire.Client(self.pg.address, **LOGIN), user)

    @staticmethod
    def _on_behalf(client, user):
        if user is not None:
            client.run(f"SET app.user_id = '{user}'")
        return client

    def run(self, sql, *values):
        """As the superuser, past Postern and all policies."""
        return self.pg.run(sql, *values, database="tracker")

    def remove(self):
        try:
            if self.postern:
                self.postern.remove()
        finally:
            self.pg.remove()
            if self.relay:
                self.relay.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
