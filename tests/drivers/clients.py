"""The clients under test: how each is run, and whether it is there.

usage: clients.py — lists them with their versions, and says of the missing ones why they are.
"""

import dataclasses
import functools
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = pathlib.Path(__file__).parent / "scripts"
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build" / "release"))
# The registry's modules first: where they are, they are the pinned versions.
NODE_PATH = f"{ROOT / 'build' / 'node' / 'node_modules'}:/usr/share/nodejs"
PYTHON = "/usr/bin/python3"
JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp",
        f"/usr/share/java/postgresql.jar:{BUILD / 'driver_jdbc'}", "RunJdbc")
# Prints the modules' versions, and fails where one of them can't be loaded.
NODE_VERSIONS = """
const fs = require('fs');
const folders = process.env.NODE_PATH.split(':');
console.log(process.argv.slice(1).map((name) => {
  require(name);
  const folder = folders.find((one) => fs.existsSync(`${one}/${name}/package.json`));
  return `${name} ${JSON.parse(fs.readFileSync(`${folder}/${name}/package.json`)).version}`;
}).join(', '));
"""


@dataclasses.dataclass(frozen=True)
class Driver:
    """`command` runs the script and `version` prints the driver's version; what the latter says when
    it fails is why the driver is missing. A script takes host, port, database, user and password as
    arguments, or from libpq's environment variables where `libpq` is set."""

    name: str
    command: tuple
    version: tuple
    libpq: bool = False


def _python(name, modules):
    shown = "; ".join(f"import {one}; print({one}.__version__)" for one in modules)
    return Driver(name, (PYTHON, str(SCRIPTS / f"run_{name}.py")), (PYTHON, "-c", shown))


def _node(name, *modules):
    return Driver(name, ("node", str(SCRIPTS / f"run_{name}.js")),
                  ("node", "-e", NODE_VERSIONS, *modules))


def _built(name, program):
    return Driver(name, (program,), (program, "--version"))


DRIVERS = {one.name: one for one in (
    Driver("psql", ("psql", "-X", "-f", str(SCRIPTS / "psql.sql")), ("psql", "--version"), True),
    Driver("pgbench", (str(SCRIPTS / "run_pgbench"),), ("pgbench", "--version")),
    _built("pqxx", str(BUILD / "driver_pqxx")),
    _built("pgx", str(BUILD / "driver_pgx")),
    _python("psycopg2", ["psycopg2"]),
    _python("psycopg3", ["psycopg"]),
    _python("asyncpg", ["asyncpg"]),
    _python("sqlalchemy", ["sqlalchemy", "psycopg2", "asyncpg"]),
    _python("django", ["django", "psycopg2"]),
    _node("node", "pg"),
    _node("pgstreams", "pg-cursor", "pg-query-stream"),
    _node("postgresjs", "postgres"),
    _node("knex", "knex", "pg"),
    _node("drizzle", "drizzle-orm", "pg"),
    Driver("jdbc", JAVA, (*JAVA, "--version")),
    Driver("perl", ("perl", str(SCRIPTS / "run_dbd_pg.pl")),
           ("perl", "-MDBD::Pg", "-e", r'print "DBD::Pg $DBD::Pg::VERSION\n"')),
    Driver("php", ("php", str(SCRIPTS / "run_pdo.php")),
           ("php", "-r", "new ReflectionExtension('pdo_pgsql'); echo 'PHP ', PHP_VERSION;")),
    Driver("ruby", ("ruby", str(SCRIPTS / "run_pg.rb")),
           ("ruby", "-rpg", "-e", "puts %(ruby-pg #{PG::VERSION})")),
)}


@functools.lru_cache(maxsize=None)
def version(name):
    """What is there of this driver: its version and None, or None and why it is missing."""
    try:
        done = subprocess.run(
            DRIVERS[name].version, env={**os.environ, "NODE_PATH": NODE_PATH},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return None, str(error)
    if done.returncode == 0:
        return ", ".join(done.stdout.split("\n")).strip(", "), None
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
    return None, (said or (done.stdout + done.stderr).splitlines() or ["it fails"])[-1]


def main():
    for name in DRIVERS:
        found, missing = version(name)
        print(f"{name:11} {found}" if found is not None else f"{name:11} MISSING: {missing}")


if __name__ == "__main__":
    main()
