"""Clients and servers that vanish at any moment leave everybody else as they were."""

import socket

import pytest
from harness.waiting import eventually, runs
from harness.wire import (Answer, Closed, bind, copy_data, execute, frame, parse, query, sync)
from harness.world import World


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World("CREATE TABLE t(a int)", pool_size=request.param) as one:
        yield one


def healthy(world):
    """Nothing that was not committed is there, in the database or in the cache, and every server of
    the pool answers the question that it was asked, in a clean state."""
    assert world.pg.value("select count(*) from t") == 0
    for number in range(4):
        with world.client() as client:
            assert client.rows(f"select {number}, count(*) from t") == [(str(number), "0")]
            assert client.status == "I"
            client.run("set work_mem = '5MB'", "begin", "select 1", "rollback")


LEAVINGS = {
    "half a message": lambda client: client.raw(query("select 1")[:7]),
    "half a header": lambda client: client.raw(b"Q\0"),
    "half a parse": lambda client: client.raw(parse("s", "select 1")[:9]),
    "between parse and sync": lambda client: client.send(
        parse("", "select 1"), bind("", ""), execute()),
    "a pipeline of which nothing is read": lambda client: client.send(
        *[query(f"select {n}") for n in range(200)]),
    "in the middle of a query": lambda client: client.send(query("select pg_sleep(0.3)")),
    "in a transaction": lambda client: client.run("begin", "insert into t values (1)"),
    "in a failed transaction": lambda client: (
        client.run("begin", "insert into t values (1)"), client.query("select 1/0")),
    "in the middle of a large answer": lambda client: (
        client.send(query("select repeat('x', 10000) from generate_series(1, 5000)")),
        client.until("T")),
    "in the middle of copy": lambda client: (
        client.send(query("copy t from stdin")), client.until("G"),
        client.send(copy_data("1\n"))),
    "half a row of copy": lambda client: (
        client.send(query("copy t from stdin")), client.until("G"),
        client.raw(frame("d", b"1\n2\n")[:7])),
    "after a failed parse": lambda client: client.send(parse("", "nonsense")),
    "write not yet synced": lambda client: client.send(
        parse("", "insert into t values (1)"), bind("", ""), execute(), frame("H")),
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("name", LEAVINGS)
def test_a_client_vanishes(world, name, reset):
    client = world.client()
    LEAVINGS[name](client)
    if reset:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.drop()
    healthy(world)


def test_a_client_that_vanishes_during_login(world):
    for data in (b"\0", b"\0\0\0\x20\0\3\0\0user\0"):
        client = world.client(login=False)
        client.raw(data)
        client.drop()
    healthy(world)


def test_a_long_query_of_a_vanished_client_is_cancelled(world):
    if world.postern is None:
        pytest.skip("PostgreSQL itself does not look")
    client = world.client()
    client.send(query("select pg_sleep(600), 'abandoned'"))
    eventually(lambda: runs(world, "abandoned") == 1)
    client.drop()
    eventually(lambda: runs(world, "abandoned") == 0)
    healthy(world)


def test_a_server_that_dies_in_the_middle_of_a_query(world):
    with world.client() as client:
        client.send(query("select pg_sleep(600), 'doomed'"))
        eventually(lambda: runs(world, "doomed") == 1)
        world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                     " where query like '%doomed%' and pid <> pg_backend_pid()")
        client.until("E")
        assert Answer(client.transcript[-1:]).code in ("57P01", "08006")
    healthy(world)


def test_a_connection_that_breaks_in_the_middle_of_an_answer(world):
    with world.client() as client:
        with world.relay.hold_answer("'broken'") as hold:
            client.send(query("select 'broken'"))
            hold.wait_answered()
            world.relay.cut(hold.link)
        try:
            message = client.receive()
            assert message.tag == "E"
            assert Answer([message]).code == "08006"
        except (Closed, ConnectionError):
            assert world.postern is None
    healthy(world)


@pytest.mark.needs_postern
def test_servers_that_died_while_idle_are_not_lent(world):
    with world.client() as client, world.client(database="postern") as console:
        client.run("select 1")

        def none_is_left():
            """A login under way when the others are ended brings one more. None is ended while it is
            lent, as it is to who has run something while the catalog is being read."""
            if any(row[3] != "idle" for row in console.rows("show servers")):
                return False
            world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'")
            return console.rows("show servers") == []

        eventually(none_is_left, "Postern's noticing")
        assert client.value("select 2") == "2"
    healthy(world)


@pytest.mark.needs_postern
def test_a_server_that_dies_before_a_statement_was_sent_to_it_is_replaced(world):
    """It was being given the session's settings: nothing of the client's had reached it."""
    if world.postern.settings["pool"]["size"] > 1:
        pytest.skip("with a second server none need be dressed anew")
    with world.client() as client, world.client() as other:
        client.run("set work_mem = '7MB'")
        other.run("select 1 from pg_sleep(0)")
        with world.relay.hold_answer("7MB") as hold:
            client.send(query("select current_setting('work_mem') from pg_sleep(0)"))
            hold.wait_answered()
            world.relay.cut(hold.link)
            assert Answer(client.until("Z")).rows == [("7MB",)]
    healthy(world)


@pytest.mark.needs_postern
def test_a_dead_servers_transaction_is_not_carried_on_elsewhere(world):
    with world.client() as client:
        client.run("begin", "insert into t values (9)")
        world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'")
        try:
            answer = client.query("insert into t values (10)")
            assert answer.code in ("57P01", "08006", "25P02")
        except (Closed, ConnectionError):
            pass
    healthy(world)


@pytest.mark.needs_postern
def test_postgresql_restarts(world):
    with world.client() as client:
        client.run("select 1")
        world.pg.stop()
        try:
            assert client.query("select 2 from t").code in ("08006", "57P01", "57P03", "08001")
        except (Closed, ConnectionError):
            pass
    world.pg.start()
    eventually(lambda: usable(world))
    healthy(world)


@pytest.mark.needs_postern
def test_no_client_waits_longer_than_its_pool_lets_it():
    settings = {"pool": {"wait_timeout": "300ms"}}
    with World(pool_size=1, settings=settings) as small:
        with small.client() as holder, small.client() as waiting:
            holder.run("begin", "select 1")
            answer = waiting.query("select 2, 'waits'")
            assert answer.error, "a wait without end"
            holder.run("rollback")


def usable(world):
    try:
        with world.client() as client:
            return client.query("select 1").rows == [("1",)]
    except Exception:  # whatever it is, it is not usable yet
        return False
