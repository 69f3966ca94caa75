"""What every benchmark here stands on: private servers in a temporary folder, pgbench, and CPU time.

Servers listen on 127.0.0.1 alone, are children of this process, die with it, and are ended by their
own pid. CPU time is what the kernel charged to a process, all its threads and children.
"""

import contextlib
import dataclasses
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICK = 1 / os.sysconf("SC_CLK_TCK")
POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
SERVICE_USER = "postgres"  # what PostgreSQL and PgBouncer run as when we are root; both refuse root
OWNER = "postgres"         # the superuser of the private PostgreSQL
LOGIN = "bench"            # the ordinary role that pgbench logs in as
SCALE = 10
HOT_ROWS = 1000

SCRIPT = f"""\\set aid random(1, {HOT_ROWS})
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
"""


class Unusable(Exception):
    """Something that the benchmark needs is missing or did not start; said to the person, no trace."""


def say(text):
    """Progress, for a person: stdout belongs to the results."""
    print(text, file=sys.stderr, flush=True)


# ---- CPU time -------------------------------------------------------------------------------------


def _stat(path):
    """Fields of a /proc stat file from the third on: the name before them may hold spaces."""
    return path.read_text().rpartition(") ")[2].split()


def _process_seconds(pid):
    """CPU time of a process: of its living threads to the nanosecond, and of its reaped children."""
    folder = pathlib.Path(f"/proc/{pid}")
    fields = _stat(folder / "stat")
    whole = (int(fields[11]) + int(fields[12])) * TICK
    reaped = (int(fields[13]) + int(fields[14])) * TICK
    precise = 0.0
    for task in (folder / "task").iterdir():
        with contextlib.suppress(OSError):
            precise += int((task / "schedstat").read_text().split()[0]) / 1e9
    # A thread that has ended is in the process's ticks only; schedstat may be compiled out.
    return reaped + (precise if precise > whole - 10 * TICK else whole)


def cpu_seconds(pid):
    """CPU time of a process and everything below it."""
    children = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(folder / "stat")[1]), []).append(int(folder.name))
    total, waiting = 0.0, [pid]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError):
            total += _process_seconds(current)
        waiting += children.get(current, [])
    return total


def machine_seconds():
    """CPU time that the whole machine spent, with what the hypervisor took away from it."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK


# ---- servers --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Server:
    """One running server: where it listens, and the process that CPU time is charged to."""

    name: str
    process: subprocess.Popen
    port: int
    database: str = "bench"

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_port(process, port, log, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise Unusable(f"{pathlib.Path(process.args[-1]).name} did not start listening:\n{tail}")


class Rig:
    """A temporary folder and the servers in it; leaving the context ends them, newest first."""

    def __init__(self, build_folder):
        self.build_folder = pathlib.Path(build_folder)
        self._stack = contextlib.ExitStack()
        self.folder = None
        self.script = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench."))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._own(self.folder)
        self.script = self.folder / "select.sql"
        self.script.write_text(SCRIPT)
        return self

    def __exit__(self, *error):
        self._stack.close()

    @staticmethod
    def _own(path):
        if os.geteuid() == 0:
            user = pwd.getpwnam(SERVICE_USER)
            os.chown(path, user.pw_uid, user.pw_gid)

    @staticmethod
    def _unprivileged(stop=signal.SIGTERM):
        command = ["setpriv", "--pdeathsig", signal.Signals(stop).name[3:]]
        if os.geteuid() == 0:
            command += [f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--clear-groups"]
        return [*command, "--"]

    def _start(self, name, command, stop=signal.SIGTERM, **popen):
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder,
                **{"stdout": output, **popen})
        self._stack.callback(self._end, process, stop)
        return process, log

    @staticmethod
    def _end(process, stop):
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def program(self, name):
        path = self.build_folder / name
        if not path.exists():
            raise Unusable(
                f"{path} is missing: cmake --preset release && cmake --build build/release --target {name}")
        return str(path.resolve())

    def postgres(self):
        """A fresh PostgreSQL with pgbench's tables."""
        data = self.folder / "data"
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": self.folder,
            "max_connections": 200, "shared_buffers": "512MB", "fsync": "off", "autovacuum": "off",
            "wal_level": "minimal", "max_wal_senders": 0, "jit": "off"}
        subprocess.run(
            [*self._unprivileged(), POSTGRES_BIN / "initdb", "-D", data, "-U", OWNER, "-A", "trust",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        process, log = self._start(
            "postgres", [*self._unprivileged(signal.SIGINT), POSTGRES_BIN / "postgres", "-D", data, *options],
            stop=signal.SIGINT)
        _wait_for_port(process, port, log)
        at = ["-h", "127.0.0.1", "-p", str(port), "-U"]
        self._retry([POSTGRES_BIN / "createuser", *at, OWNER, LOGIN])
        self._retry([POSTGRES_BIN / "createdb", *at, OWNER, "-O", LOGIN, "bench"])
        say(f"postgres: pgbench -i -s {SCALE}")
        self._retry([POSTGRES_BIN / "pgbench", *at, LOGIN, "-i", "-q", "-s", str(SCALE), "bench"])
        return Server("postgres", process, port)

    def kept_postgres(self, folder, settings):
        """A PostgreSQL whose data stay in `folder` (of a path that its user may enter), on a Unix socket there."""
        data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self._own(folder)
        if not (data / "PG_VERSION").exists():
            subprocess.run(
                [*self._unprivileged(), POSTGRES_BIN / "initdb", "-D", data, "-U", OWNER, "-A", "trust", "-E", "UTF8",
                 "--locale=C.UTF-8", "--no-sync"],
                check=True, stdout=subprocess.DEVNULL, cwd=folder)
        options = [word for key, value in {**settings, "listen_addresses": "", "unix_socket_directories": folder}.items()
                   for word in ("-c", f"{key}={value}")]
        self._start(
            "postgres", [*self._unprivileged(signal.SIGINT), POSTGRES_BIN / "postgres", "-D", data, *options],
            stop=signal.SIGINT)

    @staticmethod
    def _retry(command, times=50):
        """A server that listens may still be starting up."""
        for attempt in range(times):
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise Unusable(f"{pathlib.Path(command[0]).name}: {done.stderr.strip()}")

    def floor(self):
        process, _log = self._start(
            "floor", [*self._unprivileged(), self.program("floor_server")], stdout=subprocess.PIPE)
        line = process.stdout.readline()
        if not line:
            raise Unusable("floor_server did not start")
        return Server("floor", process, int(line))

    def pgbouncer(self, postgres, clients=1000, verifier=""):
        """Debian's PgBouncer; `bench` pools transactions, `bench_session` sessions. Clients log in
        with SCRAM if there is a `verifier`."""
        program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise Unusable("pgbouncer is not installed")
        port = free_port()
        upstream = f"host=127.0.0.1 port={postgres.port} dbname=bench"
        users = self.folder / "users.txt"
        users.write_text(f'"{LOGIN}" "{verifier}"\n')
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"bench = {upstream} pool_mode=transaction\n"
            f"bench_session = {upstream} pool_mode=session\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = {'scram-sha-256' if verifier else 'trust'}\nauth_file = {users}\n"
            f"default_pool_size = 20\nmax_client_conn = {clients}\n"
            "ignore_startup_parameters = extra_float_digits\n"
            "log_connections = 0\nlog_disconnections = 0\n")
        process, log = self._start("pgbouncer", [*self._unprivileged(), program, config])
        _wait_for_port(process, port, log)
        return Server("pgbouncer", process, port)

    def postern(self, postgres, cache, threads=0, clients=10000, verifier=""):
        """Postern in front of `postgres`, everything in pgbench_accounts cacheable if `cache`. Clients
        log in with SCRAM if there is a `verifier`."""
        port = free_port()
        (self.folder / "rules.yaml").write_text(
            "rules:\n"
            "  - name: accounts\n"
            "    match:\n"
            "      tables: [public.pgbench_accounts]\n"
            "    ttl: 1h\n")
        config = self.folder / "postern.yaml"
        config.write_text(
            f"listen:\n  - address: 127.0.0.1\n    port: {port}\n"
            "databases:\n  bench:\n    host: 127.0.0.1\n"
            f"    port: {postgres.port}\n    dbname: bench\n    service:\n      user: {OWNER}\n"
            "pool:\n  size: 20\n  mode: transaction\n"
            f"users:\n  {LOGIN}:\n" + (f"    verifier: {verifier}\n" if verifier else "    auth: trust\n") +
            f"limits:\n  clients: {clients}\n"
            f"cache:\n  enabled: {'true' if cache else 'false'}\n"
            "rules: rules.yaml\n"
            f"threads: {threads}\n"
            "log:\n  level: warning\n")
        process, log = self._start(
            "postern", ["setpriv", "--pdeathsig", "TERM", "--", self.program("postern"), "serve", "-c", config])
        _wait_for_port(process, port, log)
        return Server("postern", process, port)


# ---- pgbench --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    """How pgbench asks: `prepared-8` is eight clients of one thread, prepared statements."""

    name: str

    @property
    def protocol(self):
        return self.name.split("-")[0]

    @property
    def clients(self):
        return int(self.name.split("-")[1])


@dataclasses.dataclass
class Sample:
    """One run of pgbench against one server; CPU in microseconds a transaction."""

    tps: float
    cpu_us: float
    database_cpu_us: float  # what PostgreSQL spent meanwhile: near 0 when a cache answered
    foreign: float          # share of the machine's CPU time that went to none of ours


def for_case(server, case):
    """PgBouncer pools by database name; the others have one."""
    if server.name == "pgbouncer" and case.name.endswith("-session"):
        return dataclasses.replace(server, database="bench_session")
    return server


def start_pgbench(rig, server, case, seconds):
    return subprocess.Popen(
        [POSTGRES_BIN / "pgbench", "-h", "127.0.0.1", "-p", str(server.port), "-U", LOGIN, "-n",
         "-f", rig.script, "-M", case.protocol, "-c", str(case.clients), "-j", "1", "-T", str(seconds),
         server.database],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_pgbench(load, server, case):
    """The transactions that it counted, and their rate without the time to connect."""
    try:
        output, errors = load.communicate()
    except BaseException:
        load.kill()
        load.wait()
        raise
    counted = re.search(r"transactions actually processed: (\d+)", output)
    failed = re.search(r"number of failed transactions: (\d+)", output)
    rate = re.search(r"tps = ([\d.]+)", output)
    if load.returncode or not counted or not int(counted[1]) or (failed and int(failed[1])):
        raise Unusable(f"pgbench -M {case.protocol} against {server.name}: {(errors or output)[-1000:]}")
    return int(counted[1]), float(rate[1])


def pgbench(rig, server, case, seconds):
    return finish_pgbench(start_pgbench(rig, server, case, seconds), server, case)


def measure(rig, server, case, seconds, postgres):
    """One sample of `server`. Whatever this process started is its own; the rest is foreign."""
    def clocks():
        return (server.cpu_seconds(), postgres.cpu_seconds(), machine_seconds(), cpu_seconds(os.getpid()),
                time.monotonic())

    before = clocks()
    transactions, tps = pgbench(rig, server, case, seconds)
    charged, database, machine, own, elapsed = (b - a for a, b in zip(before, clocks()))
    foreign = max(0.0, machine - own) / (elapsed * os.cpu_count())
    return Sample(tps, charged / transactions * 1e6, database / transactions * 1e6, foreign)
