"""What is written for PgBouncer's console works on Postern's: columns, psql, drivers, an exporter."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import psycopg
import psycopg2
import pytest
from harness.servers import Process, free_port
from harness.tables import columns
from harness.waiting import eventually
from harness.wire import Client
from harness.world import World

pytestmark = pytest.mark.needs_postern

# Whatever 1.18 shows, but for HELP, which it says in a notice.
SHOWN = [
    "STATS", "STATS_TOTALS", "STATS_AVERAGES", "TOTALS", "SERVERS", "CLIENTS", "POOLS", "LISTS",
    "USERS", "DATABASES", "FDS", "SOCKETS", "ACTIVE_SOCKETS", "CONFIG", "MEM", "DNS_HOSTS",
    "DNS_ZONES", "VERSION"]
# What later ones show besides.
SHOWN_LATER = {
    "STATE": [("key", 25), ("value", 25)],
    "PEERS": [("peer_id", 23), ("host", 25), ("port", 23), ("pool_size", 23)],
    "PEER_POOLS": [
        ("peer_id", 23), ("cl_active_cancel_req", 23), ("cl_waiting_cancel_req", 23),
        ("sv_active_cancel", 23), ("sv_login", 23)],
}
PATH = os.environ.get("PATH", "") + ":/usr/sbin"


@pytest.fixture(scope="module")
def world():
    # trust_user logs in without a password, as exporters do.
    with World("CREATE TABLE t(a int)", settings={"admin": {"stats_users": ["trust_user"]}}) as one:
        with one.client() as client:
            client.run("select 1")
        yield one


class Private(Process):
    """A program on a port of its own."""

    def __init__(self, what, command, environment=None, user=None):
        super().__init__(pathlib.Path(tempfile.mkdtemp(prefix=f"postern-{what}-")))
        self.port = free_port()
        self.folder.chmod(0o755)
        as_user = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        self._spawn(
            ["setpriv", *as_user, "--pdeathsig", "KILL", *command(self)],
            env={**os.environ, **(environment or {})}, cwd=self.folder)
        self._await(self._listens, what)

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        except OSError:
            return False

    def remove(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def pgbouncer():
    program = shutil.which("pgbouncer", path=PATH)
    if not program:
        pytest.skip("pgbouncer is not installed")

    def command(own):
        (own.folder / "users").write_text('"app" ""\n')
        (own.folder / "ini").write_text(
            "[databases]\napp = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {own.port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {own.folder}/users\nadmin_users = app\n")
        return [program, own.folder / "ini"]

    # It refuses to run as root.
    one = Private("pgbouncer", command, user="postgres" if os.geteuid() == 0 else None)
    yield one
    one.remove()


@pytest.mark.parametrize("what", SHOWN)
def test_a_show_begins_with_pgbouncers_columns(world, pgbouncer, what):
    with Client(("127.0.0.1", pgbouncer.port), database="pgbouncer") as theirs:
        wanted = columns(theirs.query(f"SHOW {what}"))
    with world.client(database="pgbouncer") as ours:
        found = columns(ours.query(f"SHOW {what}"))
    assert found[: len(wanted)] == wanted


@pytest.mark.parametrize("what", SHOWN_LATER)
def test_a_show_of_later_ones_has_their_columns(world, what):
    with world.client(database="pgbouncer") as ours:
        assert columns(ours.query(f"SHOW {what}")) == SHOWN_LATER[what]


def test_psql_shows_everything(world):
    commands = [part for what in [*SHOWN, *SHOWN_LATER, "HELP"] for part in ("-c", f"SHOW {what}")]
    done = subprocess.run(
        ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(world.postern.port),
         "-U", "app", "-d", "pgbouncer", *commands],
        env={**os.environ, "PGPASSWORD": "app-secret"}, capture_output=True, text=True, timeout=60,
        check=False)
    assert done.returncode == 0, done.stderr
    assert "total_xact_count" in done.stdout and "memtotal" in done.stdout


@pytest.mark.parametrize("driver", [psycopg, psycopg2], ids=["psycopg3", "psycopg2"])
def test_drivers_show_everything(world, driver):
    login = f"host=127.0.0.1 port={world.postern.port} user=app password=app-secret dbname=pgbouncer"
    link = driver.connect(login)
    link.autocommit = True
    with link.cursor() as cursor:
        for what in [*SHOWN, *SHOWN_LATER, "HELP"]:
            cursor.execute(f"SHOW {what}")
            assert len(cursor.fetchall()) >= 0
        cursor.execute("SHOW POOLS")
        names = [column[0] for column in cursor.description]
        (pool,) = [dict(zip(names, row)) for row in cursor.fetchall()]
        assert (pool["database"], pool["user"], pool["pool_size"]) == ("app", "app", 2)
    link.close()


def scrape(port):
    """The body of /metrics, None while it can't be had."""
    try:
        with socket.create_connection(("127.0.0.1", port), 15) as link:
            link.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b""
            while data := link.recv(1 << 16):
                answer += data
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode() if b" 200 " in head.split(b"\r\n")[0] else None


def test_debians_exporter_scrapes_without_an_error(world):
    program = shutil.which("prometheus-pgbouncer-exporter", path=PATH)
    if not program:
        pytest.skip("prometheus-pgbouncer-exporter is not installed")
    exporter = Private("exporter", lambda own: [
        sys.executable, program,
        "--host", "127.0.0.1", "--port", str(own.port), "--pgbouncer-host", "127.0.0.1",
        "--pgbouncer-port", str(world.postern.port), "--pgbouncer-user", "trust_user"])
    try:
        body = eventually(lambda: scrape(exporter.port), "the exporter's answer", 30)
        assert 'pgbouncer_requests_total{database="app"}' in body
        assert 'pgbouncer_active_clients{database="app",user="app"}' in body
        assert 'pgbouncer_pool_size{database="app"} 2.0' in body
        assert "pgbouncer_databases 1.0" in body
        log = exporter.log_text()
        assert "Traceback" not in log and "ERROR" not in log, log
    finally:
        exporter.remove()
