"""What many clients cost: to log them in (`login`), and to have them (`clients`)."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

import harness
import many_clients

PASSWORD = "bench's password"
SIDES = ("pgbouncer", "postern")
WAVE = 16           # clients that log in at a time
ACTIVE = 100        # of the clients of `clients`
POOL = 20           # servers of each side, harness.py
STATEMENT = "SELECT abalance FROM pgbench_accounts WHERE aid = {}"
SPARE_FILES = 1000  # beyond a descriptor for every client


def start(rig, name, postgres, options, password):
    verifier = many_clients.verifier(password) if password else ""
    room = options.clients + 2 * ACTIVE
    if name == "pgbouncer":
        return rig.pgbouncer(postgres, clients=room, verifier=verifier)
    return rig.postern(postgres, cache=False, threads=options.threads, clients=room, verifier=verifier)


def show(rows, options):
    if options.json:
        for row in rows:
            print(json.dumps(row), flush=True)
        return
    print(f"{'case':<22} {'metric':<18} {'Postern':>12} {'PgBouncer':>12} {'ratio':>7}")
    for row in rows:
        print(f"{row['case']:<22} {row['metric']:<18} {row['postern']:>12} {row['other']:>12} {row['ratio'] or '–':>7}")


def compared(bench, case, metric, postern, other, **more):
    return {"bench": bench, "case": case, "metric": metric, "postern": round(postern, 2), "against": "pgbouncer",
            "other": round(other, 2), "ratio": round(postern / other, 3) if other else None, **more}


# ---- login ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Logins:
    """One round's logins against one side."""

    cpu_us: float
    rate: float
    foreign: float


def measure_logins(server, crowd, count):
    def clocks():
        return (server.cpu_seconds(), time.monotonic(), harness.machine_seconds(),
                harness.cpu_seconds(os.getpid()))

    before = clocks()
    crowd.log_in_and_out(count, WAVE)
    charged, elapsed, machine, own = (b - a for a, b in zip(before, clocks()))
    foreign = max(0.0, machine - own) / (elapsed * os.cpu_count())
    return Logins(charged / count * 1e6, count / elapsed, foreign)


def login(options):
    """Rounds of logins, the sides in turns; every login derives nothing but its proof."""
    many_clients.raise_open_files(SPARE_FILES)
    each = max(WAVE, options.clients // options.rounds)
    samples = {name: [] for name in SIDES}
    with harness.Rig(options.build_folder) as rig:
        postgres = rig.postgres()
        servers = {name: start(rig, name, postgres, options, PASSWORD) for name in SIDES}
        crowds = {name: many_clients.Crowd(server, PASSWORD) for name, server in servers.items()}
        for crowd in crowds.values():
            crowd.log_in_and_out(10 * WAVE, WAVE)
        for number in range(options.rounds):
            for name in SIDES:
                samples[name].append(measure_logins(servers[name], crowds[name], each))
            harness.say(f"round {number + 1} of {options.rounds}: " + ", ".join(
                f"{name} {runs[-1].cpu_us:.0f} µs {runs[-1].rate:.0f}/s" for name, runs in samples.items()))
    noisy = sum(one.foreign * 100 > options.foreign_max for runs in samples.values() for one in runs)
    rows = []
    for metric, of in (("cpu_us_per_login", "cpu_us"), ("logins_per_second", "rate")):
        mine, other = ([getattr(one, of) for one in samples[name]] for name in ("postern", "pgbouncer"))
        by_round = [a / b for a, b in zip(mine, other)]
        rows.append(compared(
            "login", "scram", metric, statistics.median(mine), statistics.median(other),
            spread=[round(min(by_round), 3), round(max(by_round), 3)], rounds=options.rounds,
            logins=each * options.rounds, noisy=noisy))
    show(rows, options)


# ---- clients --------------------------------------------------------------------------------------


def resident_bytes(server):
    """What the process alone has in memory: its share of what it shares, and all that is its own."""
    text = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024


@dataclasses.dataclass
class Crowded:
    """One side with everybody connected."""

    empty: float       # bytes of the process before anybody came
    idle: float        # bytes a client, of those that have only logged in
    used: float        # the same after each has run a statement
    tps: float
    p50_ms: float
    p99_ms: float
    failed: int


def active_load(rig, server, seconds):
    """ACTIVE clients of pgbench beside the idle ones: rate, latencies in milliseconds."""
    for old in rig.folder.glob("latency.*"):
        old.unlink()
    command = [
        harness.POSTGRES_BIN / "pgbench", "-h", "127.0.0.1", "-p", str(server.port), "-U", harness.LOGIN, "-n",
        "-f", rig.script, "-M", "simple", "-c", str(ACTIVE), "-j", "1", "-T", str(seconds), "-l",
        "--log-prefix", rig.folder / "latency", server.database]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={
        **os.environ, "PGPASSWORD": PASSWORD})
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if done.returncode or not rate:
        raise harness.Unusable(f"pgbench against {server.name}: {(done.stderr or done.stdout)[-1000:]}")
    latencies = sorted(
        int(line.split()[2]) / 1000
        for log in rig.folder.glob("latency.*") for line in log.read_text().splitlines())
    return (float(rate[1]), latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100],
            int(failed[1]) if failed else 0)


def crowded(rig, name, postgres, options, password):
    server = start(rig, name, postgres, options, password)
    crowd = many_clients.Crowd(server, password)
    idle = options.clients - ACTIVE
    with contextlib.ExitStack() as stack:
        # The pool's servers and what is made once belong to the empty process.
        warm = crowd.log_in(2 * POOL, WAVE)
        for at in range(0, harness.HOT_ROWS, len(warm)):
            many_clients.ask_each(warm, STATEMENT, len(warm), at)
        for one in warm:
            one.leave()
        time.sleep(1)
        empty = resident_bytes(server)
        clients = crowd.log_in(idle, WAVE)
        stack.callback(lambda: [one.socket.close() for one in clients])
        harness.say(f"{name}: {idle} clients are there")
        logged_in = resident_bytes(server)
        many_clients.ask_each(clients, STATEMENT, WAVE)
        used = resident_bytes(server)
        load = active_load(rig, server, options.seconds)
        return Crowded(empty, (logged_in - empty) / idle, (used - empty) / idle, *load)


def clients(options):
    """Each side by itself: 10 000 sockets of either would be in the other's way."""
    if options.clients < 2 * ACTIVE:
        raise harness.Unusable(f"clients needs --clients {2 * ACTIVE} at least")
    many_clients.raise_open_files(options.clients + SPARE_FILES)
    rows = []
    with harness.Rig(options.build_folder) as rig:
        postgres = rig.postgres()
        for case, password in (("trust", ""), ("scram", PASSWORD)):
            found = {name: crowded(rig, name, postgres, options, password) for name in SIDES}
            mine, other = found["postern"], found["pgbouncer"]
            more = {"clients": options.clients, "active": ACTIVE, "failed": mine.failed + other.failed}
            for metric, of in (
                    ("bytes_idle", "idle"), ("bytes_after_use", "used"), ("bytes_empty", "empty"), ("tps", "tps"),
                    ("p50_ms", "p50_ms"), ("p99_ms", "p99_ms")):
                rows.append(compared("clients", case, metric, getattr(mine, of), getattr(other, of), **more))
    show(rows, options)
