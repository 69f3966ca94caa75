"""The demo: the same load against PostgreSQL and against Postern, and a table of what it came to.

deploy/demo installs and builds, then runs this. Exit status: 0 well, 1 something was stale or not as the matrix says, 2 usage,
3 anything else.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback

import psycopg2

import data
import load
import people
import plan
from servers import POSTGRES_BIN, Failure, Servers, tail, write_stop_script

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PGBENCH_SCRIPTS = pathlib.Path(__file__).resolve().parent / "pgbench"
# Weights: about one write in a thousand statements.
PGBENCH_WEIGHTS = {"list": 260, "issue": 270, "board": 140, "comments": 140, "counts": 90, "move": 2, "comment": 2}

WARMUP_SEED, FIRST_SEED, SECOND_SEED = 100, 101, 102
# name, statements a write, statements in all, statements in all with --quick
PHASES = (("one write in a thousand statements", 1000, 30_000, 8_000), ("one write in twenty", 20, 12_000, 4_000))
WARMUP_STATEMENTS = 3000

SETTINGS = """\
# What the demo starts Postern with. The application's own SET decides who is asking.
listen:
  - address: 127.0.0.1
    port: {port}
admin:
  users: [postern_admin]
  http:
    address: 127.0.0.1
    port: {http_port}
databases:
  tracker:
    host: 127.0.0.1
    port: {postgres_port}
    dbname: tracker
    service:
      user: postern
      password_env: POSTERN_DEMO_PASSWORD
pool:
  size: 20
users:
  tracker_app:
    auth: scram
    password_env: POSTERN_DEMO_PASSWORD
  postern_admin:
    auth: scram
    password_env: POSTERN_DEMO_PASSWORD
identity:
  variables: [app.user_id]
  trust:
    client_set: true
rls: required
cache:
  memory: 256MiB
{store}
rules: rules.yaml
"""
MEMORY_STORE = "  store: memory"
REDIS_STORE = "  store: redis\n  redis:\n    host: 127.0.0.1\n    port: {redis_port}"
RULES = REPOSITORY / "policies" / "rules.yaml"


class Reporter:
    """Progress on standard error; the table and the JSON object on standard output."""

    def __init__(self):
        self.begun = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.last = 0.0

    def say(self, text):
        clear = "\r\033[K" if self.terminal else ""
        print(f"{clear}[{time.monotonic() - self.begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    def progress(self, text):
        """A line that changes on a terminal; elsewhere a line now and then."""
        now = time.monotonic()
        if now - self.last < (0.5 if self.terminal else 15):
            return
        self.last = now
        if self.terminal:
            print(f"\r\033[K[{now - self.begun:6.1f} s] {text}", end="", file=sys.stderr, flush=True)
        else:
            self.say(text)


class Target:
    """One of the two ways to the database."""

    def __init__(self, name, servers, database, port, backend_port, has_postern):
        self.name = name
        self.servers = servers
        self.database = database
        self.port = port
        self.url = servers.app_url(port, database)
        self.backend_port = backend_port
        self.has_postern = has_postern
        self.checks = load.Checks()

    def database_time(self, role="tracker_app"):
        """(milliseconds that PostgreSQL has spent executing this role's statements, their number)."""
        connection = psycopg2.connect(self.servers.superuser_dsn("postgres"))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(s.total_exec_time), 0), coalesce(sum(s.calls), 0)::bigint FROM pg_stat_statements s"
                " JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid"
                " WHERE d.datname = %s AND r.rolname = %s",
                (self.database, role),
            )
            row = cursor.fetchone()
        connection.close()
        return float(row[0]), int(row[1])

    def counters(self):
        return self.servers.postern_metrics() if self.has_postern else {}


def difference(before, after, name):
    """How far a counter of Postern's went; its exposition may or may not end in _total."""
    for key in (f"postern_{name}_total", f"postern_{name}"):
        if key in after:
            return after[key] - before.get(key, 0.0)
    return 0.0


class Phase:
    """What one phase came to on one target."""

    def __init__(self, totals, database_ms, calls, before, after):
        self.totals = totals
        self.database_ms = database_ms
        self.calls = calls
        self.hits_near = difference(before, after, "hits_near")
        self.hits_redis = difference(before, after, "hits_redis")
        self.postern_reads = difference(before, after, "reads")
        self.misses = difference(before, after, "misses")
        self.fills_dropped = difference(before, after, "fills_dropped")
        self.reasons = reasons(before, after)

    @property
    def hit_ratio(self):
        return (self.hits_near + self.hits_redis) / max(1, self.totals.reads)

    @property
    def database_ms_a_statement(self):
        return self.database_ms / max(1, self.totals.statements)

    def milliseconds(self, share):
        return load.percentile(self.totals.latencies, share) * 1000

    @property
    def statements_a_second(self):
        return self.totals.statements / self.totals.seconds


def reasons(before, after):
    """Statements by Postern's reason code, most frequent first."""
    found = {}
    for key, value in after.items():
        if 'reason="' in key:
            more = value - before.get(key, 0.0)
            if more:
                found[key.split('reason="', 1)[1].split('"', 1)[0]] = int(more)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def run_phase(target, operations, what, reporter):
    database_before, calls_before = target.database_time()
    before = target.counters()

    def progress(done, seconds):
        reporter.progress(f"{target.name}, {what}: {done} of {len(operations)} requests, {seconds:.0f} s")

    totals = asyncio.run(load.run_phase(target.backend_port, target.url, operations, target.checks, progress))
    time.sleep(0.3)  # transactions that only read end after their answer
    database_after, calls_after = target.database_time()
    return Phase(totals, database_after - database_before, calls_after - calls_before, before, target.counters())


# pgbench


class Bench:
    def __init__(self, tps, latencies, database_ms_a_transaction):
        self.tps = tps
        self.latencies = latencies
        self.database_ms_a_transaction = database_ms_a_transaction


def run_pgbench(target, seconds, clients=8):
    folder = target.servers.folder / f"pgbench-{target.name.replace(' ', '-')}"
    folder.mkdir(exist_ok=True)
    arguments = [POSTGRES_BIN / "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", seconds,
                 "--random-seed", 7, "--log", "--log-prefix", folder / "log"]
    for name, weight in PGBENCH_WEIGHTS.items():
        arguments += ["-f", f"{PGBENCH_SCRIPTS / name}.sql@{weight}"]
    arguments.append(target.url)
    before, _ = target.database_time()
    done = subprocess.run([str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tps = [line for line in done.stdout.splitlines() if line.startswith("tps = ")]
    failed = [line for line in done.stdout.splitlines()
              if line.startswith("number of failed transactions") and ": 0 " not in line]
    if done.returncode != 0 or not tps or failed:
        raise Failure(f"pgbench against {target.name} failed:\n{done.stdout[-2000:]}")
    after, _ = target.database_time()
    latencies = []
    for log in folder.glob("log.*"):
        latencies += [int(line.split(" ", 3)[2]) / 1e6 for line in log.read_text().splitlines()]
    return Bench(float(tps[0].split()[2]), latencies, (after - before) / max(1, len(latencies)))


# The table


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
        if index == 0:
            lines.append("-" * len(lines[0]))
    return "\n".join(lines)


def saved(direct, through):
    return 1 - through / direct if direct else 0.0


def print_results(results, benches, targets):
    names = [f"  {target.name}" for target in targets]
    rows = [["", "p50 ms", "p95 ms", "p99 ms", "statements/s", "hit ratio", "db ms/statement", "db time saved"]]
    for (what, *_), (direct, through) in zip(PHASES, results):
        rows.append([what] + [""] * 7)
        for name, phase in zip(names, (direct, through)):
            is_direct = phase is direct
            rows.append(
                [name]
                + [f"{phase.milliseconds(share):.1f}" for share in (0.50, 0.95, 0.99)]
                + [
                    f"{phase.statements_a_second:.0f}",
                    "" if is_direct else f"{phase.hit_ratio:.3f}",
                    f"{phase.database_ms_a_statement:.3f}",
                    "" if is_direct else
                    f"{saved(direct.database_ms_a_statement, phase.database_ms_a_statement):.1%}",
                ]
            )
    print("\n" + table(rows))
    rows = [["pgbench, prepared, 8 clients", "p50 ms", "p95 ms", "p99 ms", "transactions/s", "db ms/transaction"]]
    for name, bench in zip(names, benches):
        rows.append(
            [name]
            + [f"{load.percentile(bench.latencies, share) * 1000:.2f}" for share in (0.50, 0.95, 0.99)]
            + [f"{bench.tps:.0f}", f"{bench.database_ms_a_transaction:.3f}"]
        )
    print("\n" + table(rows))


def summary(results, benches, targets, matrix, stores):
    (direct, through), (direct_5pct, through_5pct) = results
    checks = [target.checks for target in targets]
    return {
        "hit_ratio": round(through.hit_ratio, 4),
        "db_time_saved": round(saved(direct.database_ms_a_statement, through.database_ms_a_statement), 4),
        "p95_direct_ms": round(direct.milliseconds(0.95), 3),
        "p95_postern_ms": round(through.milliseconds(0.95), 3),
        "hit_ratio_5pct": round(through_5pct.hit_ratio, 4),
        "db_time_saved_5pct": round(
            saved(direct_5pct.database_ms_a_statement, through_5pct.database_ms_a_statement), 4
        ),
        "reads": through.totals.reads + through_5pct.totals.reads,
        "writes": through.totals.writes + through_5pct.totals.writes,
        "stale_reads": sum(check.stale for check in checks),
        "checked_reads": checks[1].checked,
        "checked_reads_direct": checks[0].checked,
        "postern": targets[1].has_postern,
        "stores": stores,
        "p95_direct_5pct_ms": round(direct_5pct.milliseconds(0.95), 3),
        "p95_postern_5pct_ms": round(through_5pct.milliseconds(0.95), 3),
        "write_share": round(through.totals.writes / through.totals.statements, 5),
        "write_share_5pct": round(through_5pct.totals.writes / through_5pct.totals.statements, 5),
        "conflicts": sum(phase.totals.conflicts for pair in results for phase in pair),
        "denied": sum(phase.totals.denied for pair in results for phase in pair),
        "unexpected": sum(check.unexpected for check in checks),
        "matrix_checked": matrix.checked,
        "matrix_wrong": matrix.wrong,
        "pgbench_tps_direct": round(benches[0].tps, 1),
        "pgbench_tps_postern": round(benches[1].tps, 1),
        "pgbench_db_time_saved": round(
            saved(benches[0].database_ms_a_transaction, benches[1].database_ms_a_transaction), 4
        ),
        "postern_own_db_ms": round(targets[1].database_time("postern")[0], 1),
        "postern_reads": through.postern_reads + through_5pct.postern_reads,
        "reasons": through.reasons,
        "reasons_5pct": through_5pct.reasons,
    }


# The run


def say_migrated(reporter, text):
    """What took its time stays to be read, the rest is progress."""
    took = re.search(r"\((\d+) ms", text)
    tell = reporter.say if took and int(took[1]) >= 1000 else reporter.progress
    tell("  " + text)


def prepare(servers, options, reporter):
    program = options.postern.resolve()
    if not os.access(program, os.X_OK):
        raise Failure(f"no program {program}: build it, or leave out --no-build")
    reporter.say(f"starting PostgreSQL in {servers.folder}")
    servers.start_postgres()
    servers.run_sql("postgres", "CREATE EXTENSION pg_stat_statements", "CREATE DATABASE tracker")
    reporter.say("creating and loading the issue tracker")
    issues, comments = data.ISSUES, data.COMMENTS
    data.load(servers.superuser_dsn("tracker"), data.find_csv(REPOSITORY), issues, comments, lambda text: reporter.say("  " + text))
    reporter.say("migrating it: migrations/, then policies/")
    servers.migrate(program, "up", "tracker", lambda text: say_migrated(reporter, text))
    servers.run_sql("tracker", "VACUUM ANALYZE")
    reporter.say("copying it")
    # The same data once more, so that neither way finds what the other one wrote. A copy has all but the privileges on the database itself.
    servers.run_sql(
        "postgres",
        "CREATE DATABASE tracker_direct TEMPLATE tracker STRATEGY file_copy",
        "REVOKE CREATE, TEMPORARY ON DATABASE tracker_direct FROM PUBLIC, tracker_app",
        "CHECKPOINT",
    )
    for database in ("tracker", "tracker_direct"):
        servers.migrate(program, "verify", database, lambda text: None)
    direct_backend = servers.start_backend("backend-direct", servers.app_url(servers.postgres_port, "tracker_direct"))
    direct = Target("direct", servers, "tracker_direct", servers.postgres_port, direct_backend, False)
    port = servers.postgres_port
    if not options.without_postern:
        store = MEMORY_STORE
        if options.store == "redis":
            servers.start_redis()
            store = REDIS_STORE.format(redis_port=servers.redis_port)

        def configuration(port, http_port):
            return SETTINGS.format(port=port, http_port=http_port, postgres_port=servers.postgres_port, store=store), RULES.read_text()

        servers.start_postern(program, configuration)
        port = servers.postern_port
        reporter.say(f"Postern listens on 127.0.0.1:{port}")
    backend = servers.start_backend("backend-postern", servers.app_url(port, "tracker"))
    name = "direct again" if options.without_postern else "postern"
    through = Target(name, servers, "tracker", port, backend, not options.without_postern)
    reporter.say("the backends are up")
    return direct, through


def measure(servers, targets, options, reporter):
    connection = psycopg2.connect(servers.superuser_dsn("tracker_direct"))
    with connection.cursor() as cursor:
        try:
            world = plan.World(cursor)
        except ValueError as error:
            raise Failure(f"no load for this data: {error}") from error
    connection.close()
    warmup = plan.draw(world, WARMUP_SEED, WARMUP_STATEMENTS, 0)
    phases = [[], []]
    for target in targets:
        run_phase(target, warmup, "warming up", reporter)
        for index, (what, statements_a_write, statements, quick) in enumerate(PHASES):
            seed = (FIRST_SEED, SECOND_SEED)[index]
            operations = plan.draw(world, seed, quick if options.quick else statements, statements_a_write)
            reporter.say(f"{target.name}, {what}: {len(operations)} requests")
            phase = run_phase(target, operations, what, reporter)
            phases[index].append(phase)
            reporter.say(
                f"{target.name}, {what}: {phase.totals.reads} reads, {phase.totals.writes} writes in {phase.totals.seconds:.1f} s,"
                f" {target.checks.checked} checked so far, {target.checks.stale} stale"
            )
    return phases


def run_benches(targets, options, reporter):
    seconds = 3 if options.quick else 12
    benches = []
    for target in targets:
        reporter.say(f"pgbench, {target.name}: {seconds} s")
        benches.append(run_pgbench(target, seconds))
    return benches


def say_how_to_reach(servers, targets, options):
    print(f"\nEverything is left running in {servers.folder}.")
    print(f"  PostgreSQL, superuser   psql '{servers.superuser_dsn('tracker')}'")
    print(f"  PostgreSQL, application psql {servers.app_url(servers.postgres_port, 'tracker')}")
    if not options.without_postern:
        print(f"  Postern                 psql {servers.app_url(servers.postern_port, 'tracker')}")
        console = servers.app_url(servers.postern_port, "postern").replace("tracker_app", "postern_admin")
        print(f"  Postern's console       psql {console}")
        print(f"  its metrics             http://127.0.0.1:{servers.postern_http_port}/metrics")
    for target in targets:
        where = f"http://127.0.0.1:{target.backend_port}"
        print(f"  backend, {target.name:14} curl -H 'X-User-Id: 1' {where}/projects/1/board")
    print(f"  end it                  {write_stop_script(servers)}")


def parse_options():
    parser = argparse.ArgumentParser(prog="deploy/demo", description="An issue tracker with and without Postern, side by side.")
    parser.add_argument("--json", action="store_true", help="the results as one JSON object on the last line, too")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, and say how to reach it")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load: shows that it works, measures little")
    parser.add_argument("--store", choices=("memory", "redis"), default="memory", 
                        help="where Postern keeps entries (default: memory)")
    parser.add_argument("--postern", type=pathlib.Path, default=REPOSITORY / "build/release/postern", help="the program to run")
    parser.add_argument("--without-postern", action="store_true",
                        help="both sides at PostgreSQL: what differs is noise")
    return parser.parse_args()


stopped_by = 0


def stop_on(number, frame):
    global stopped_by
    stopped_by = number
    raise SystemExit(128 + number)


def main():
    options = parse_options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_on)
    reporter = Reporter()
    servers = Servers(options.keep)
    status = 3
    kept = False
    try:
        targets = prepare(servers, options, reporter)
        results = measure(servers, targets, options, reporter)
        benches = run_benches(targets, options, reporter)
        reporter.say(f"who sees and may what, {targets[1].name}")
        matrix, rows = people.check_people(targets[1], servers.superuser_dsn(targets[1].database))
        print_results(results, benches, targets)
        print("\n" + table(rows))
        outcome = summary(results, benches, targets, matrix, "none" if options.without_postern else options.store)
        print(f"\nstale reads: {outcome['stale_reads']} of {outcome['checked_reads'] + outcome['checked_reads_direct']} checked"
              f" ({outcome['checked_reads']} of them: {targets[1].name})")
        print(f"writes that the matrix denies: {outcome['denied']} tried, not answered as it says: {outcome['unexpected']};"
              f" what four people see and may: {outcome['matrix_checked']} compared, {outcome['matrix_wrong']} otherwise")
        for name, examples in [(target.name, target.checks.examples) for target in targets] + [("matrix", matrix.examples)]:
            for example in examples:
                print(f"  {name}: {example}")
        status = 1 if outcome["stale_reads"] or outcome["unexpected"] or outcome["matrix_wrong"] else 0
        if options.keep:
            say_how_to_reach(servers, targets, options)
            kept = True
        if options.json:
            print(json.dumps(outcome), flush=True)
    except KeyboardInterrupt:
        reporter.say("interrupted")
        status = 130
    except Exception as failure:
        if stopped_by:  # in the middle of a COPY it arrives as the COPY's failure
            return 128 + stopped_by
        # Not 1, Python's own status for this: that one says that something was stale, or not as the matrix says.
        if not isinstance(failure, (Failure, load.RequestFailed)):
            traceback.print_exc()
        reporter.say(f"failed: {failure}")
        for child in servers.children:
            ended = child.process.poll()
            state = "runs" if ended is None else f"has ended with status {ended}"
            print(f"--- {child.name} {state}; its log ends:\n{tail(child.log)}", file=sys.stderr)
    finally:
        if not kept:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            servers.stop()
            servers.remove()
    return status


if __name__ == "__main__":
    sys.exit(main())
