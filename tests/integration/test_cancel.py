"""Cancel requests hit their own client's query, and never another's."""

import threading

import pytest
from harness.reads import mark_of, marked
from harness.waiting import eventually, runs, until_one_waits
from harness.wire import Answer, Client, cancel_request, query
from harness.world import World


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World("CREATE TABLE t(a int)", pool_size=request.param) as one:
        yield one


def running(world, needle):
    """Until PostgreSQL runs a statement that contains `needle`."""
    eventually(lambda: runs(world, needle), f"{needle} running")


def test_a_running_query_is_cancelled(world):
    with world.client() as client:
        client.send(query("select pg_sleep(60), 'own'"))
        running(world, "'own'")
        client.cancel()
        answer = Answer(client.until("Z"))
        assert answer.code == "57014"
        assert client.value("select 1") == "1"


def test_a_cancelled_transaction_has_failed(world):
    with world.client() as client:
        client.run("begin", "insert into t values (5)")
        client.send(query("select pg_sleep(60), 'tx'"))
        running(world, "'tx'")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert client.status == "E"
        assert client.query("select 1").code == "25P02"
        client.run("rollback")
        assert client.value("select count(*) from t where a = 5") == "0"


def test_a_wrong_secret_is_ignored_in_silence(world):
    with world.client() as client:
        client.send(query("select pg_sleep(0.5), 'kept'"))
        running(world, "'kept'")
        with Client(world.address, login=False) as other:
            other.raw(cancel_request(client.key[0], client.key[1] ^ 1))
            assert other.gone() and not other.transcript
        assert not Answer(client.until("Z")).error


def test_a_cancel_of_an_idle_client_hits_nobody(world):
    with world.client() as idle, world.client() as busy:
        idle.run("select 1")
        busy.send(query("select pg_sleep(0.4), 'busy'"))
        running(world, "'busy'")
        for _ in range(3):
            idle.cancel()
        assert not Answer(busy.until("Z")).error
        assert idle.value("select 2") == "2"


@pytest.mark.needs_postern
def test_a_client_that_waits_for_a_server_is_taken_out_of_the_queue(world):
    size = world.postern.settings["pool"]["size"]
    holders = [world.client() for _ in range(size)]
    with world.client() as waiting:
        for holder in holders:
            holder.run("begin", "insert into t values (1)")
        waiting.send(query("select 'waited'"))
        assert waiting.silent(0.1)
        waiting.cancel()
        answer = Answer(waiting.until("Z"))
        assert answer.code == "57014"
        for holder in holders:
            holder.run("rollback")
        assert waiting.value("select 1") == "1"
    for holder in holders:
        holder.close()


def test_late_cancels_never_hit_the_next_client(world):
    """One client cancels at the moment its query ends, the other must never notice."""
    rounds = 300
    with world.client() as victim, world.client() as canceller:
        codes = []

        def run_victim():
            for number in range(rounds):
                codes.append(victim.query(f"select {number} from generate_series(1, 200)").code)

        other = threading.Thread(target=run_victim)
        other.start()
        for number in range(rounds):
            canceller.send(query(f"select 'c{number}'"))
            canceller.cancel()
            assert Answer(canceller.until("Z")).code in (None, "57014")
        other.join()
        assert set(codes) == {None}


def test_cancel_during_copy_out(world):
    with world.client() as client:
        client.send(query("copy (select g, pg_sleep(0.001) from generate_series(1, 100000) g) to stdout"))
        client.until("d")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert client.value("select 1") == "1"


@pytest.mark.needs_postern
def test_a_cancelled_wait_for_anothers_flight_ends_and_hits_no_later_statement(world):
    """The second client waits for the first one's answer to the same read."""
    sql = marked("select count(*) from t")
    with world.client() as leader, world.client() as follower:
        with world.relay.hold_answer(mark_of(sql)) as hold:
            leader.send(query(sql))
            hold.wait_answered()
            follower.send(query(sql))
            until_one_waits(world)
            follower.cancel()
            assert Answer(follower.until("Z")).code == "57014"
        assert not Answer(leader.until("Z")).error
        for _ in range(3):
            assert follower.value("select 1") == "1"
            assert follower.value(sql) == leader.value(sql)


@pytest.mark.needs_postern
def test_a_cancelled_wait_inside_a_transaction_fails_the_transaction():
    with World("CREATE TABLE t(a int)", pool_size=1) as world:
        with world.client() as holder, world.client() as waiting:
            holder.run("begin", "select 1")
            waiting.run("begin")
            waiting.send(query("insert into t values (1)"))
            until_one_waits(world)
            waiting.cancel()
            holder.run("commit")
            assert Answer(waiting.until("Z")).code == "57014"
            assert waiting.status == "E"
            assert waiting.run("commit") == "ROLLBACK"
            assert waiting.value("select count(*) from t") == "0"
