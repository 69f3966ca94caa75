"""Private servers of the demo: PostgreSQL, Redis, Postern and the backend, on loopback, in one folder.

Each is a child of this process, ended by its own pid: in order when the demo ends, by the kernel when the demo
is killed.
"""

import contextlib
import ctypes
import http.client
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psycopg2

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PYTHON = "/usr/bin/python3"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """Something that keeps the demo from going on; its text is for the user."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tail(path, lines=15):
    try:
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


class Child:
    """A server process with its log."""

    def __init__(self, name, arguments, log, *, keep, user=None, env=None, stop_signal=signal.SIGTERM):
        self.name = name
        self.log = log
        self.stop_signal = stop_signal

        def die_with_parent():
            if not keep:
                LIBC.prctl(PR_SET_PDEATHSIG, stop_signal)

        identity = {}
        if user is not None:
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(os.environ, **(env or {})),
                cwd="/",
                start_new_session=True,
                preexec_fn=die_with_parent,
                **identity,
            )
        self.pid = self.process.pid

    def wait_until(self, ready, seconds=30):
        """Calls ready() until it is true; fails when the process ends or time is up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with status {self.process.returncode}; its log:\n{tail(self.log)}")
            if ready():
                return
            time.sleep(0.05)
        raise Failure(f"{self.name} is not ready after {seconds} s; its log:\n{tail(self.log)}")

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a disk ends after it
                self.process.wait(20)

    def cpu_seconds(self):
        """User and system time of the process and of its children that have been waited for."""
        try:
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return sum(int(fields[index]) for index in (11, 12)) / os.sysconf("SC_CLK_TCK")


class Servers:
    """All that runs, and the folder that it runs in."""

    def __init__(self, keep):
        self.keep = keep
        self.children = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-demo-"))
        self.folder.chmod(0o755)
        self.password = secrets.token_hex(16)
        self.postgres_port = None

    def _child(self, name, arguments, **options):
        child = Child(name, arguments, self.folder / f"{name}.log", keep=self.keep, **options)
        self.children.append(child)
        return child

    def stop(self):
        for child in reversed(self.children):
            child.stop()
        self.children.clear()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    # PostgreSQL

    def start_postgres(self):
        if not (POSTGRES_BIN / "postgres").exists():
            raise Failure(f"no PostgreSQL 15 in {POSTGRES_BIN}: run deploy/install demo")
        user = None
        if os.getuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
        home = self.folder / "postgres"
        home.mkdir(0o700)
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        data = home / "data"
        self._initdb(data, user)
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": home,
            "shared_preload_libraries": "pg_stat_statements",
            "pg_stat_statements.max": 5000,
            "max_connections": 100,
            "shared_buffers": "512MB",
            "effective_cache_size": "2GB",
            "work_mem": "16MB",
            "random_page_cost": "1.1",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
        }
        arguments = [POSTGRES_BIN / "postgres", "-D", data]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        self.postgres_socket = home
        self.postgres_port = port
        self.postgres = self._child("postgres", arguments, user=user, stop_signal=signal.SIGINT)
        self.postgres.wait_until(self._postgres_answers)
        self.run_sql(
            "postgres",
            f"CREATE ROLE tracker_app LOGIN PASSWORD '{self.password}'",
            "CREATE ROLE tracker_owner NOLOGIN",
            f"CREATE ROLE postern LOGIN PASSWORD '{self.password}'",
        )

    def _initdb(self, data, user):
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(
            [POSTGRES_BIN / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
             "--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", **identity,
        )
        if done.returncode != 0:
            raise Failure(f"initdb failed:\n{done.stdout}")

    def _postgres_answers(self):
        try:
            psycopg2.connect(self.superuser_dsn("postgres")).close()
            return True
        except psycopg2.OperationalError:
            return False

    def superuser_dsn(self, database):
        return f"host={self.postgres_socket} port={self.postgres_port} user=postgres dbname={database}"

    def run_sql(self, database, *statements):
        connection = psycopg2.connect(self.superuser_dsn(database))
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()

    def migrate(self, binary, command, database, say):
        """`postern migrate`, as a DBA runs it: past Postern, as a superuser. `say` is given what it says of its progress."""
        # A private server's commits need not be waited for; indexes are made in memory, as data.py makes its own.
        dsn = self.superuser_dsn(database) + " options='-c synchronous_commit=off -c maintenance_work_mem=256MB'"
        arguments = [binary, "migrate", command, "--database", dsn,
                     "--migrations", REPOSITORY / "migrations", "--policies", REPOSITORY / "policies"]
        log = self.folder / "migrate.log"
        child = self._child("migrate", arguments)
        told = 0
        while child.process.poll() is None:
            time.sleep(0.2)
            told = self._tell_new_lines(log, told, say)
        self.children.remove(child)
        self._tell_new_lines(log, told, say)
        if child.process.returncode != 0:
            raise Failure(f"postern migrate {command} of {database} ended with status {child.process.returncode}:\n{tail(log)}")

    @staticmethod
    def _tell_new_lines(log, told, say):
        text = log.read_text(errors="replace")
        whole = text.rfind("\n") + 1
        for line in text[told:whole].splitlines():
            if line and not line.lstrip().startswith("NOTICE:"):
                say(line.replace(f"{REPOSITORY}/", ""))
        return whole

    def app_url(self, port, database):
        """The DSN that the application gets."""
        return f"postgresql://tracker_app:{self.password}@127.0.0.1:{port}/{database}"

    # Redis

    def start_redis(self):
        binary = shutil.which("redis-server")
        if binary is None:
            raise Failure("no redis-server: run deploy/install demo")
        home = self.folder / "redis"
        home.mkdir(0o700)
        self.redis_port = free_port()
        redis = self._child(
            "redis",
            [binary, "--bind", "127.0.0.1", "--port", self.redis_port, "--dir", home, "--save", "", "--appendonly", "no",
             "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"],
        )
        redis.wait_until(lambda: self._port_answers(self.redis_port))

    @staticmethod
    def _port_answers(port):
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return True
        except OSError:
            return False

    # Postern

    def start_postern(self, binary, configuration):
        """`configuration(port, http_port)` yields the texts of postern.yaml and rules.yaml."""
        home = self.folder / "config"
        home.mkdir(0o700)
        self.postern_port, self.postern_http_port = free_port(), free_port()
        settings, rules = configuration(self.postern_port, self.postern_http_port)
        (home / "postern.yaml").write_text(settings)
        (home / "rules.yaml").write_text(rules)
        self.postern = self._child(
            "postern", [binary, "serve", "-c", home / "postern.yaml"], env={"POSTERN_DEMO_PASSWORD": self.password}
        )
        self.postern.wait_until(self._postern_answers)

    def _postern_answers(self):
        try:
            connection = psycopg2.connect(self.app_url(self.postern_port, "tracker"), connect_timeout=5)
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.close()
            return True
        except psycopg2.OperationalError as error:
            self.last_error = error
            return False

    def postern_metrics(self):
        """Prometheus samples by name, labels summed up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.postern_http_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        samples = {}
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            samples[name] = samples.get(name, 0.0) + float(value)
            plain = name.split("{", 1)[0]
            if plain != name:
                samples[plain] = samples.get(plain, 0.0) + float(value)
        return samples

    # The backend

    def start_backend(self, name, url, workers=2):
        port = free_port()
        backend = self._child(
            name,
            [PYTHON, "-m", "uvicorn", "backend.app:app", "--app-dir", HERE, "--host", "127.0.0.1", "--port", port,
             "--workers", workers, "--log-level", "warning", "--no-access-log", "--timeout-keep-alive", 600],
            env={"DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(HERE)},
        )
        backend.wait_until(lambda: self._backend_answers(port))
        return port

    @staticmethod
    def _backend_answers(port):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
            connection.close()
            return status == 200
        except OSError:
            return False


def write_stop_script(servers):
    """For --keep: ends what was left running, by pid, and removes the folder."""
    path = servers.folder / "stop"
    lines = ["#!/bin/sh", "# Ends the demo's servers and removes their folder."]
    for child in reversed(servers.children):
        name = signal.Signals(child.stop_signal).name[3:]
        lines.append(f"kill -{name} {child.pid} 2>/dev/null # {child.name}")
        lines.append(f"while kill -0 {child.pid} 2>/dev/null; do sleep 0.1; done")
    lines.append(f"rm -rf '{servers.folder}'")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


if sys.version_info < (3, 9):
    raise SystemExit("the demo needs Python 3.9 or later")
