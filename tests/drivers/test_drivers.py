"""Unmodified clients: each runs one script directly and twice through Postern, in pools of one and of
two servers with the cache on, the second time beside another client of the same pool. What it prints
must be the same every time.
"""

import contextlib
import difflib
import os
import signal
import subprocess
import threading

import clients
import pytest
from harness.waiting import eventually, runs
from harness.wire import Client, bind, execute, parse, row_of, sync
from harness.world import World

TIMEOUT = 180

SCHEMA = """
CREATE TABLE team(id int PRIMARY KEY, name text);
INSERT INTO team VALUES (1, 'red'), (2, 'blue'), (3, 'green');
CREATE TABLE person(id int PRIMARY KEY, name text NOT NULL, score numeric(8, 2), born date,
    tags text[], data jsonb, team_id int REFERENCES team);
INSERT INTO person
    SELECT g, 'person ' || g, g * 1.25, date '1970-01-01' + g * 37, ARRAY['t' || g, NULL],
           jsonb_build_object('n', g), 1 + g % 3
    FROM generate_series(1, 40) g;
CREATE TABLE scratch(id int PRIMARY KEY, note text);
CREATE TYPE mood AS ENUM ('sad', 'happy');
"""

# A statement's name that each of several drivers gives to its first statement.
NAMES = ("__asyncpg_stmt_1__", "S_1", "_pg3_0", "dbdpg_p1_1", "pdo_stmt_00000001", "by-id")


def environment(address):
    """psql takes its connection from here, the others from their arguments."""
    return {
        **os.environ, "PGHOST": address[0], "PGPORT": str(address[1]), "PGDATABASE": "app",
        "PGUSER": "app", "PGPASSWORD": "app-secret", "NODE_PATH": clients.NODE_PATH, "TZ": "UTC",
        "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "ignore", "PGCLIENTENCODING": "UTF8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def transcript(name, address):
    """What the script prints when it talks to this server."""
    driver = clients.DRIVERS[name]
    with Client(address) as client:
        client.run("truncate scratch")
    place = [] if driver.libpq else [address[0], str(address[1]), "app", "app", "app-secret"]
    done = subprocess.run(
        [*driver.command, *place], env=environment(address), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False)
    text = done.stdout.replace(f"port {address[1]}", "port PORT")
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{text}"
    assert len(text.splitlines()) >= 10, text
    return text


@contextlib.contextmanager
def neighbour(address):
    """Another client of the pool, whose settings and statements must stay its own and nobody
    else's: it wears a date style, and its statements have the names that drivers like."""
    done = threading.Event()
    faults = []

    def live():
        with Client(address, timeout=TIMEOUT) as client:
            client.run("set datestyle to 'SQL, DMY'")
            for name in NAMES:
                client.send(parse(name, f"select date '2001-02-03', '{name}'"), sync())
                client.expect("1 Z")
            while not done.is_set() and not faults:
                for name in NAMES:
                    client.send(bind("", name), execute(), sync())
                    row = [one.decode() for one in row_of(client.expect("2 D C Z")[1])]
                    if row != ["03/02/2001", name]:
                        faults.append(row)
                done.wait(0.005)

    def tell():
        try:
            live()
        except Exception as error:  # told by the test, not by the thread
            faults.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not faults, f"the neighbour met {faults}"


@pytest.fixture(scope="module")
def direct():
    """What each driver prints of PostgreSQL itself, by its name."""
    return {}


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request, direct):
    # Compiling asyncpg's look at the types takes longer than running it.
    with World(SCHEMA, pool_size=request.param, settings={"pool": {"wait_timeout": "60s"}},
               postgres={"jit": "off"}) as one:
        yield one
        if direct and one.postern:
            assert one.postern.metrics()["postern_hits_near_total"] > 0, "the cache served nothing"


@pytest.mark.parametrize("name", clients.DRIVERS)
def test_a_driver_gets_what_postgresql_gives(world, direct, name):
    _, missing = clients.version(name)
    if missing:
        pytest.skip(f"{name} is not there: {missing}")
    if name not in direct:
        direct[name] = transcript(name, world.pg.address)
    for turn in (1, 2):
        with neighbour(world.address) if turn == 2 else contextlib.nullcontext():
            found = transcript(name, world.address)
        difference = "\n".join(difflib.unified_diff(
            direct[name].splitlines(), found.splitlines(), "direct", f"postern, run {turn}",
            lineterm="", n=2))
        assert found == direct[name], difference


def test_psql_cancels(world):
    """Control-C in psql."""
    with subprocess.Popen(
            ["psql", "-X", "-c", "SELECT pg_sleep(30) -- interrupted"], text=True,
            env=environment(world.address), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as process:
        eventually(lambda: runs(world, "interrupted"), "psql's statement running")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert "canceling statement due to user request" in out
