"""What takes longer than it may: whom it ends, in which words, and what others notice of it.

One Postern; each user has one limit, and a pool of one server.
"""

import os
import pathlib
import socket

import pytest
from harness.servers import ROLES, Postern
from harness.tables import table
from harness.waiting import eventually, runs, until_one_waits
from harness.wire import (
    Answer, Client, Closed, Refused, bind, execute, fields_of, flush, parse, query, startup)
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = "CREATE TABLE t(a int); INSERT INTO t VALUES (1); GRANT ALL ON t TO PUBLIC;"
LIMITS = {
    "alice": {"query_timeout": "1s"},
    "bob": {"client_idle_timeout": "500ms"},
    "carol": {"idle_transaction_timeout": "500ms"},
    "md5_user": {"transaction_timeout": "500ms"},
    "trust_user": {"transaction_timeout": "2s"},
}


@pytest.fixture(scope="module")
def world():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        host, port = silent.getsockname()
        settings = {
            "cache": {"enabled": False},
            "limits": {"login_timeout": "3s"},
            "users": {name: {"limits": limits} for name, limits in LIMITS.items()},
            "databases": {
                "mute": {"host": host, "port": port, "pool": {"connect_timeout": "300ms"}}},
        }
        with World(SCHEMA, pool_size=1, settings=settings) as one:
            yield one


@pytest.fixture(autouse=True)
def clean(world):
    world.pg.run("SET ROLE app; DELETE FROM t WHERE a <> 1; RESET ROLE")


def login(world, user):
    return world.client(user=user, password=ROLES[user][0])


def farewell_of(client):
    """The FATAL that is the last thing said to a client: its SQLSTATE and message."""
    before = len(client.transcript)
    assert client.gone(), "it was not disconnected"
    last = client.transcript[-1] if len(client.transcript) > before else None
    assert last is not None and last.tag == "E", last
    fields = fields_of(last)
    assert fields["S"] == "FATAL", fields
    return fields["C"], fields["M"]


def rows_in_t(world):
    with world.client() as other:
        return other.value("select count(*) from t")


# --- one request ---


def test_a_statement_beyond_query_timeout_is_cancelled_and_its_client_goes_on(world):
    with login(world, "alice") as client:
        before = client.value("select pg_backend_pid()")
        answer = client.query("select pg_sleep(60)")
        assert answer.error["S"] == "ERROR"
        assert answer.code == "57014"
        assert answer.error["M"] == "canceling statement due to statement timeout"
        assert client.value("select pg_backend_pid()") == before


def test_query_timeout_fails_the_transaction_as_statement_timeout_does(world):
    with login(world, "alice") as client:
        client.run("begin", "insert into t values (2)")
        assert client.prepared("select pg_sleep(60)").code == "57014"
        assert client.query("select 1").code == "25P02"
        client.run("rollback")
        assert rows_in_t(world) == "1"


def test_a_statement_that_waits_for_a_server_has_not_begun_to_run(world):
    with login(world, "alice") as first, login(world, "alice") as second:
        first.run("begin")
        first.run("select 1")
        second.send(query("select 'in time'"))
        until_one_waits(world)
        for _ in range(3):
            first.run("select pg_sleep(0.4)")
        first.run("commit")
        assert Answer(second.until("Z")).rows == [("in time",)]


def test_where_postgresql_does_not_react_query_timeout_ends_client_and_server(world):
    with login(world, "alice") as client:
        with world.relay.hold_answer("'unheard'"):
            client.send(query("select 'unheard'"))
            assert farewell_of(client) == (
                "57014", "terminating connection due to statement timeout")
            with login(world, "alice") as other:
                assert other.value("select 1") == "1"


# --- idle clients ---


def test_an_idle_client_is_told_as_idle_session_timeout_tells_it(world):
    with login(world, "bob") as client:
        assert farewell_of(client) == (
            "57P05", "terminating connection due to idle-session timeout")


def test_a_client_that_runs_a_statement_is_not_idle(world):
    with login(world, "bob") as client:
        client.send(query("select pg_sleep(1.5)"), query("select 'still there'"))
        client.until("Z")
        assert Answer(client.until("Z")).rows == [("still there",)]


@pytest.mark.parametrize("last", ["set local work_mem = '8MB'", "insert into t values (2)",
                                  "select 1/0"])
def test_a_client_idle_in_transaction_is_rolled_back_and_its_server_goes_on(world, last):
    with login(world, "carol") as client:
        pid = client.value("select pg_backend_pid()")
        client.send(query("begin"), query(last))
        assert farewell_of(client) == (
            "25P03", "terminating connection due to idle-in-transaction timeout")
    assert rows_in_t(world) == "1"
    with login(world, "carol") as other:
        assert other.value("select pg_backend_pid()") == pid


def test_a_transaction_without_any_statement_is_idle_in_transaction(world):
    with login(world, "carol") as client:
        client.send(query("begin"))
        assert farewell_of(client)[0] == "25P03"


def test_a_batch_that_a_flush_left_open_is_idle_in_transaction(world):
    with login(world, "carol") as client:
        client.send(parse("", "insert into t values (2)"), bind("", ""), execute(), flush())
        assert farewell_of(client)[0] == "25P03"
    assert rows_in_t(world) == "1"


# --- whole transactions ---


def test_a_transaction_that_never_idles_ends_at_transaction_timeout(world):
    with login(world, "md5_user") as client:
        with pytest.raises((Closed, ConnectionError)):
            client.run("begin", "insert into t values (2)")
            while True:
                client.run("select pg_sleep(0.01)")
        assert client.transcript[-1].tag == "E"
        assert fields_of(client.transcript[-1])["C"] == "25P04"
    assert rows_in_t(world) == "1"


def test_transaction_timeout_ends_a_statement_under_way(world):
    with login(world, "md5_user") as client:
        client.send(query("select pg_sleep(60), 'under way'"))
        assert farewell_of(client) == (
            "25P04", "terminating connection due to transaction timeout")
    eventually(lambda: not runs(world, "'under way'"), "the statement's end")


def test_transactions_that_follow_each_other_are_counted_each_for_itself(world):
    with login(world, "trust_user") as client:
        for _ in range(2):
            client.run("begin", "select pg_sleep(0.5)", "commit", "select pg_sleep(0.5)")
        client.run("begin", "select pg_sleep(0.5)", "commit and chain", "select 1", "rollback")


# --- logging in ---


def test_who_does_not_log_in_in_time_is_told_so(world):
    with world.client(login=False) as client:
        assert farewell_of(client) == ("57014", "canceling authentication due to timeout")


def test_a_server_that_says_nothing_is_given_up_after_connect_timeout(world):
    with pytest.raises(Refused) as refused:
        world.client(database="mute")
    assert refused.value.code == "08006"


def test_beyond_the_limit_of_clients_there_are_cancels_and_the_console(world):
    few = Postern(world.pg.address, {"cache": {"enabled": False}, "limits": {"clients": 2}})
    try:
        with Client(few.address) as running, Client(few.address) as idle:
            with pytest.raises(Refused) as refused:
                Client(few.address)
            assert (refused.value.code, refused.value.fields["M"]) == (
                "53300", "sorry, too many clients already")
            running.send(query("select pg_sleep(600), 'beyond the limit'"))
            eventually(lambda: runs(world, "beyond the limit"), "the statement's running")
            running.cancel()
            assert Answer(running.until("Z")).code == "57014"
            with Client(few.address, database="postern") as console:
                (pointer,) = [row["ptr"] for row in table(console.query("SHOW CLIENTS"))
                              if row["port"] == str(idle.socket.getsockname()[1])]
                console.run(f"KILL_CLIENT {pointer}")
            assert idle.gone()

        def comes_in():
            try:
                Client(few.address).close()
            except Refused:
                return False
            return True

        eventually(comes_in, "a place again")
    finally:
        few.remove()


class WithFewDescriptors(Postern):
    def _spawn(self, command, **kwargs):
        super()._spawn(["prlimit", "--nofile=48:48", *command], **kwargs)


# UndefinedBehaviorSanitizer looks at an object's memory through a pipe; where it gets none it takes
# the object for invalid.
@pytest.mark.skipif(
    pathlib.Path(os.environ.get("POSTERN_BUILD", "")).name == "asan", reason="it needs descriptors")
def test_out_of_descriptors_clients_wait_and_are_served_once_others_leave(world):
    few = WithFewDescriptors(world.pg.address, {"cache": {"enabled": False}})
    try:
        assert "may open only 48 descriptors" in few.log_text()
        connected = []
        while "no client can be accepted" not in few.log_text(20000):
            link = socket.create_connection(few.address, 30)
            link.sendall(startup(user="app", database="app"))
            connected.append(link)
            assert len(connected) < 100
        late = socket.create_connection(few.address, 30)
        late.sendall(startup(user="app", database="app"))
        for link in connected:
            link.close()
        assert late.recv(1) == b"R"
        late.close()
        with Client(few.address) as client:
            assert client.value("select 1") == "1"
    finally:
        few.remove()
