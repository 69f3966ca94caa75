"""Private servers: PostgreSQL, Redis and Postern, each in a temporary folder on loopback.

None of them outlives the test run: they are told to end with this process, however it ends.
"""

import contextlib
import fcntl
import getpass
import hashlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import psycopg2
import yaml

from .waiting import eventually

START_TIMEOUT = 60.0

# Roles of every test cluster: name, password, attributes. `postern` is Postern's own.
ROLES = {
    "app": ("app-secret", ""),
    "alice": ("alice-secret", ""),
    "bob": ("bob-secret", ""),
    "carol": ("carol-secret", ""),
    "postern": ("postern-secret", "IN ROLE pg_monitor, pg_signal_backend"),
    "md5_user": ("md5-secret", ""),
    "trust_user": ("trust-secret", ""),
}


_ports = []  # locks of the ports in use, held for as long as this process lives


def free_port():
    """A port that is nobody else's: below those that the kernel gives to outgoing connections, and
    locked, so that another test run beside this one takes another."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"postern-ports-{getpass.getuser()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    for port in random.sample(range(20000, 32000), 1000):
        lock = open(folder / str(port), "w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _ports.append(lock)
        return port
    raise RuntimeError("no free port between 20000 and 32000")


def _postgres_bin():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    with_path = shutil.which("initdb")
    if not found and not with_path:
        raise RuntimeError("PostgreSQL's server programs are not installed")
    return found[-1].parent if found else pathlib.Path(with_path).parent


def _as_server_user():
    """PostgreSQL refuses to run as root: then it runs as the user that its package made."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "QUIT"]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
            "--pdeathsig", "QUIT"]


def _hand_over(folder):
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")


def _folder(prefix):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"postern-{prefix}-"))
    folder.chmod(0o755)
    return folder


class Process:
    """A server process with a log."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.process = None

    def _spawn(self, command, **kwargs):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **kwargs)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def _await(self, ready, what):
        def started():
            if not self.running():
                raise RuntimeError(f"{what} ended at its start:\n{self.log_text()}")
            return ready()

        try:
            eventually(started, what, START_TIMEOUT)
        except AssertionError:
            raise RuntimeError(f"{what} did not start in time:\n{self.log_text()}") from None

    def log_text(self, size=8000):
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def _end(self, how, timeout=30):
        if not self.running():
            return self.process.returncode if self.process else None
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {timeout} s:\n{self.log_text()}") from None


class PostgreSQL(Process):
    """One cluster with the database `app`, owned by the role `app`, and the roles above."""

    def __init__(self, **settings):
        super().__init__(_folder("pg"))
        _hand_over(self.folder)
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.socket_address = str(self.folder / f".s.PGSQL.{self.port}")
        self.data = self.folder / "data"
        subprocess.run(["cp", "-a", str(template()), str(self.data)], check=True)
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")
        self._admins = {}
        self.start()

    def start(self):
        self._spawn(_as_server_user() + [
            str(_postgres_bin() / "postgres"), "-D", str(self.data), "-p", str(self.port),
            "-k", str(self.folder)], cwd=self.folder)
        self._await(self._answers, "PostgreSQL")

    def _answers(self):
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(self.dsn("postgres")).close()
            return True
        return False

    def dsn(self, database, user="postgres"):
        return f"host={self.folder} port={self.port} dbname={database} user={user}"

    def admin(self, database="app"):
        """A superuser's connection that commits each statement and does not pass through Postern."""
        if database not in self._admins or self._admins[database].closed:
            link = psycopg2.connect(self.dsn(database))
            link.autocommit = True
            self._admins[database] = link
        return self._admins[database]

    def run(self, sql, *values, database="app"):
        """Runs SQL as the superuser; rows, if there are any."""
        with self.admin(database).cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, *values, database="app"):
        return self.run(sql, *values, database=database)[0][0]

    def stop(self, how=signal.SIGINT):
        """SIGINT disconnects all and shuts down cleanly; SIGQUIT is a crash."""
        for link in self._admins.values():
            link.close()
        self._admins = {}
        self._end(how)

    def remove(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def template():
    """A finished data folder to copy, made once for this user, version and recipe."""
    recipe = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:12]
    base = pathlib.Path(tempfile.gettempdir()) / f"postern-tests-{getpass.getuser()}"
    base.mkdir(mode=0o755, exist_ok=True)
    if base.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{base} belongs to someone else")
    data = base / f"cluster-{_postgres_bin().parent.name}-{recipe}"
    with open(base / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (data / "ready").exists():
            shutil.rmtree(data, ignore_errors=True)
            _make_template(data)
            (data / "ready").touch()
    return data / "data"


def _make_template(base):
    base.mkdir(mode=0o755)
    _hand_over(base)
    data = base / "data"
    subprocess.run(
        _as_server_user() + [
            str(_postgres_bin() / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust",
            "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, cwd=base)
    (data / "pg_hba.conf").write_text(
        "local all postgres trust\n"
        "local all all scram-sha-256\n"
        "host all md5_user 127.0.0.1/32 md5\n"
        "host all trust_user 127.0.0.1/32 trust\n"
        "host all all 127.0.0.1/32 scram-sha-256\n")
    with open(data / "postgresql.conf", "a", encoding="utf-8") as file:
        file.write(
            "listen_addresses = '127.0.0.1'\nfsync = off\nfull_page_writes = off\n"
            "autovacuum = off\nmax_connections = 100\nmax_prepared_transactions = 10\n"
            "shared_buffers = 64MB\nlogging_collector = off\ntimezone = 'UTC'\n"
            "log_timezone = 'UTC'\nlc_messages = 'C'\n")
    lines = []
    for name, (password, attributes) in ROLES.items():
        if name == "md5_user":
            lines.append("SET password_encryption = md5;")
        else:
            lines.append("SET password_encryption = 'scram-sha-256';")
        lines.append(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {attributes};")
    lines.append("CREATE DATABASE app OWNER app;")
    setup = "\n".join(lines)
    done = subprocess.run(
        _as_server_user() + [
            str(_postgres_bin() / "postgres"), "--single", "-j", "-D", str(data), "postgres"],
        input=setup.replace(";\n", ";\n\n") + "\n\n", text=True, capture_output=True, cwd=base,
        check=False)
    if done.returncode != 0 or "ERROR" in done.stderr:
        raise RuntimeError(f"the template cluster failed:\n{done.stderr}")


class Redis(Process):
    """A Redis that keeps nothing on disk."""

    def __init__(self, *arguments):
        super().__init__(_folder("redis"))
        self.port = free_port()
        self.arguments = arguments
        self.start()

    def start(self):
        self._spawn([
            "setpriv", "--pdeathsig", "KILL", "redis-server", "--port", str(self.port),
            "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder),
            "--daemonize", "no", *self.arguments])
        self._await(lambda: self.command("PING") == b"+PONG\r\n", "Redis")

    def command(self, *words):
        """One command; the raw reply, None when Redis does not answer."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        data = b"*%d\r\n" % len(parts) + b"".join(
            b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as link:
                link.sendall(data)
                return link.recv(1 << 20)
        except OSError:
            return None

    def keys(self):
        reply = self.command("KEYS", "*")
        return [line for line in reply.split(b"\r\n")[2::2] if line]

    def stop(self, how=signal.SIGTERM):
        self._end(how)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        if self.running():
            self.process.send_signal(signal.SIGCONT)
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def postern_program():
    """The program under test: $POSTERN, or the release build of this tree."""
    given = os.environ.get("POSTERN")
    if given:
        return pathlib.Path(given).resolve()
    return pathlib.Path(__file__).resolve().parents[3] / "build" / "release" / "postern"


class Postern(Process):
    """One Postern in front of `upstream` (host, port), with settings merged over the defaults."""

    def __init__(self, upstream, settings=None, rules=None, environment=None):
        super().__init__(_folder("proxy"))
        self.port = free_port()
        self.http_port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.socket_address = str(self.folder / f".s.PGSQL.{self.port}")
        self.environment = environment or {}
        self.settings = merged(defaults(self, upstream), settings or {})
        self.rules = rules or {"rules": [{"name": "everything", "ttl": "10min"}]}
        self.configuration = self.folder / "postern.yaml"
        self.write_configuration()
        self.start()

    def write_configuration(self):
        self.configuration.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(self.rules, sort_keys=False))

    def start(self):
        self._spawn(
            ["setpriv", "--pdeathsig", "KILL", str(postern_program()), "serve", "-c",
             str(self.configuration)],
            cwd=self.folder, env={**os.environ, **self.environment})
        self._await(self.ready, "Postern")

    def ready(self):
        """Listening, and its catalog read: from then on what can be cached is."""
        return b" 200 " in self.http("/readyz").split(b"\r\n")[0]

    def http(self, path):
        """The raw HTTP answer, empty when nothing listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.http_port), 5) as link:
                link.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                answer = b""
                while data := link.recv(1 << 16):
                    answer += data
                return answer
        except OSError:
            return b""

    def metrics(self):
        """Every sample of /metrics: name with labels, value."""
        body = self.http("/metrics").partition(b"\r\n\r\n")[2].decode()
        samples = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def stop(self):
        """Ends it as an operator does; a crash, or a sanitizer's finding, fails the test."""
        if self.process is None:
            return
        code = self._end(signal.SIGTERM)
        self.process = None
        text = self.log_text(20000)
        assert code == 0, f"postern ended with {code}:\n{text}"
        assert "Sanitizer" not in text and "runtime error:" not in text, text

    def remove(self):
        try:
            self.stop()
        finally:
            if os.environ.get("POSTERN_KEEP_LOGS"):
                print(f"kept {self.folder}", file=sys.stderr)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)


def defaults(postern, upstream):
    """A configuration for tests: one database, all the cluster's roles, no long waits."""
    host, port = upstream if isinstance(upstream, tuple) else (upstream, 5432)
    return {
        "listen": [
            {"address": "127.0.0.1", "port": postern.port},
            {"address": str(postern.folder), "port": postern.port},
        ],
        "admin": {"users": ["app"], "http": {"address": "127.0.0.1", "port": postern.http_port}},
        "databases": {
            "app": {
                "host": host,
                "port": port,
                "service": {"user": "postern", "password": "postern-secret"},
            }
        },
        "pool": {"size": 2, "wait_timeout": "10s"},
        "users": {
            name: {"auth": "trust", "upstream_password": password}
            if name == "trust_user"
            else {"auth": "scram", "password": password}
            for name, (password, _) in ROLES.items()
            if name != "postern"
        },
        "rules": "rules.yaml",
        "threads": 2,
        "limits": {"drain_timeout": "0s"},
        "catalog": {"poll_interval": "500ms"},
    }


def merged(base, over):
    """`over` laid over `base`, folder by folder; None takes a key away."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    both = dict(base)
    for key, value in over.items():
        if value is None:
            both.pop(key, None)
        else:
            both[key] = merged(base.get(key), value) if key in base else value
    return both
