"""Unmodified clients: each runs one script directly and twice through Postern, in pools of one and of
four servers with the cache on. What it prints must be the same every time.
"""

import difflib
import os
import pathlib
import signal
import subprocess

import pytest
from harness.waiting import eventually, runs
from harness.wire import Client
from harness.world import World

SCRIPTS = pathlib.Path(__file__).parent / "scripts"
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", SCRIPTS.parents[2] / "build" / "release"))
PYTHON = "/usr/bin/python3"
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

COMMANDS = {
    "psql": ["psql", "-X", "-f", str(SCRIPTS / "psql.sql")],
    "pgbench": [str(SCRIPTS / "run_pgbench")],
    "psycopg2": [PYTHON, str(SCRIPTS / "run_psycopg2.py")],
    "psycopg3": [PYTHON, str(SCRIPTS / "run_psycopg3.py")],
    "asyncpg": [PYTHON, str(SCRIPTS / "run_asyncpg.py")],
    "sqlalchemy": [PYTHON, str(SCRIPTS / "run_sqlalchemy.py")],
    "node": ["node", str(SCRIPTS / "run_node.js")],
    "jdbc": ["java", "-cp", "/usr/share/java/postgresql.jar", str(SCRIPTS / "RunJdbc.java")],
    "pqxx": [str(BUILD / "driver_pqxx")],
}


def environment(address):
    """psql takes its connection from here, the others from their arguments."""
    modules = [str(SCRIPTS.parents[2] / "build" / "node" / "node_modules"), "/usr/share/nodejs"]
    return {
        **os.environ, "PGHOST": address[0], "PGPORT": str(address[1]), "PGDATABASE": "app",
        "PGUSER": "app", "PGPASSWORD": "app-secret", "NODE_PATH": ":".join(modules), "TZ": "UTC",
        "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "ignore", "PGCLIENTENCODING": "UTF8",
    }


def transcript(name, address):
    """What the script prints when it talks to this server."""
    with Client(address) as client:
        client.run("truncate scratch")
    command = list(COMMANDS[name])
    if name != "psql":
        command += [address[0], str(address[1]), "app", "app", "app-secret"]
    done = subprocess.run(
        command, env=environment(address), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False)
    text = done.stdout.replace(f"port {address[1]}", "port PORT")
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{text}"
    assert len(text.splitlines()) >= 10, text
    return text


@pytest.fixture(scope="module", params=[1, 4], ids=["pool-1", "pool-4"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


@pytest.mark.parametrize("name", COMMANDS)
def test_a_driver_gets_what_postgresql_gives(world, name):
    wanted = transcript(name, world.pg.address)
    for turn in (1, 2):
        found = transcript(name, world.address)
        difference = "\n".join(difflib.unified_diff(
            wanted.splitlines(), found.splitlines(), "direct", f"postern, run {turn}", lineterm="",
            n=2))
        assert found == wanted, difference


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
