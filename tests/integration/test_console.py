"""What an operator asks a running Postern: console, RELOAD, explain, metrics."""

import json
import os
import subprocess

import pytest
from harness.reads import assert_hits, assert_never_hits, marked
from harness.servers import postern_program
from harness.tables import table
from harness.waiting import eventually
from harness.wire import Refused
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
CREATE TABLE t(id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'one');
"""


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA) as one:
        yield one


@pytest.fixture(params=["postern", "pgbouncer"])
def console(world, request):
    with world.client(database=request.param) as one:
        yield one


@pytest.mark.parametrize("what,column", [
    ("stats", "total_query_count"), ("pools", "cl_active"), ("clients", "application_name"),
    ("servers", "state"), ("cache", None), ("rules", None), ("version", "version"),
    ("cache why", None)])
def test_show_answers_in_both_protocols(world, console, what, column):
    with world.client() as client:
        client.value("select v from t where id = 1")
        simple = table(console.query(f"SHOW {what.upper()}"))
        extended = table(console.prepared(f"show {what}"))
    assert simple and simple[0].keys() == extended[0].keys()
    if column:
        assert column in simple[0]


def test_the_console_counts_what_passes(world):
    with world.client(database="postern") as console, world.client() as client:
        def queries():
            return sum(int(row["total_query_count"]) for row in table(console.query("show stats"))
                       if row["database"] == "app")

        before = queries()
        for _ in range(10):
            client.run("select 1")
        assert queries() >= before + 10


def test_show_fds_has_the_sockets_that_clients_connect_to(world):
    with world.client(database="postern") as console:
        listening = [row for row in table(console.query("show fds")) if row["task"] == "pooler"]
    port = str(world.address[1])
    assert {(row["addr"], row["port"]) for row in listening} == {("127.0.0.1", port), ("unix", port)}
    for row in listening:
        descriptor = f"/proc/{world.postern.process.pid}/fd/{row['fd']}"
        assert os.readlink(descriptor).startswith("socket:")


def test_show_clients_names_the_cause_of_a_pin(world):
    with world.client(database="postern") as console, world.client(application_name="pinned") as one:
        one.run("create temp table mine(a int)")
        rows = [row for row in table(console.query("show clients"))
                if row["application_name"] == "pinned"]
        assert len(rows) == 1
        assert "temporary" in rows[0]["pin"]


def test_only_admins_reach_the_console(world):
    with pytest.raises(Refused):
        world.client(user="alice", password="alice-secret", database="postern")


def test_an_unknown_command_is_an_error_and_the_console_stays(console):
    assert console.query("show nonsense").error
    assert not console.query("show version").error


def test_reload_takes_new_rules_over_and_keeps_the_old_ones_when_they_are_wrong(world):
    sql = marked("select v from t where id = 1")
    good = world.postern.rules
    with world.client(database="postern") as console, world.client() as client:
        assert_hits(world, client, sql)
        world.postern.rules = {"rules": [{"name": "none", "mode": "disabled"}]}
        world.postern.write_configuration()
        assert not console.query("RELOAD").error
        assert_never_hits(world, client, sql)
        world.postern.rules = {"rules": [{"name": "none", "no_such_key": 1}]}
        world.postern.write_configuration()
        refused = console.query("RELOAD")
        assert refused.error and "rules.yaml" in refused.error["M"]
        assert_never_hits(world, client, sql)
        world.postern.rules = good
        world.postern.write_configuration()
        assert not console.query("RELOAD").error
        assert_hits(world, client, sql)


@pytest.mark.parametrize("sql,reason", [
    ("select v from t where id = 1", "none"), ("select now()", "time_dependent"),
    ("select 'today'::date", "time_dependent_constant"), ("select v from t for update", "locking_clause"),
    ("update t set v = v", "not_a_select"), ("select random()", "volatile_function"),
    ("select * from nowhere", "unknown_relation"), ("select * from pg_class", "system_catalog"),
    ("select ctid from t", "system_column"), ("selec", "not_understood"),
    ("select current_user", "session_dependent")])
def test_explain_gives_a_stable_reason(world, sql, reason):
    done = subprocess.run(
        [str(postern_program()), "explain", "-c", str(world.postern.configuration), "--role", "app",
         "--json", sql], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert told["reason"] == reason, told
    assert told["cacheable"] == (reason == "none")
    assert told["sentence"]


def test_health_and_metrics(world):
    assert b" 200 " in world.postern.http("/healthz").split(b"\r\n")[0]
    assert b" 200 " in world.postern.http("/readyz").split(b"\r\n")[0]
    assert b" 404 " in world.postern.http("/nonsense").split(b"\r\n")[0]
    counter = 'postern_statements_by_reason_total{reason="time_dependent"}'
    with world.client() as client:
        def counted():
            client.run("select now()")  # another reason counts while the catalog is being read
            return world.postern.metrics()[counter] >= 1

        eventually(counted, "the reason's being counted")
    samples = world.postern.metrics()
    assert any(name.startswith("postern_latency_seconds_bucket") for name in samples)


def test_a_wrong_configuration_is_refused_with_its_place(world, tmp_path):
    wrong = tmp_path / "postern.yaml"
    wrong.write_text(world.postern.configuration.read_text().replace("threads: 2", "threads: many"))
    done = subprocess.run([str(postern_program()), "serve", "-c", str(wrong)], capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "postern.yaml:" in done.stderr + done.stdout
    assert "threads" in done.stderr + done.stdout
