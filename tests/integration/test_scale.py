"""Many clients, large rows, slow readers, lost servers: everybody is answered, and nothing is left over."""

import contextlib
import os
import pathlib
import re
import resource
import socket
import struct
import threading

import pytest
from harness.servers import PostgreSQL, Postern
from harness.waiting import eventually, runs
from harness.wire import (Answer, Client, Closed, Refused, bind, copy_data, execute, fields_of, frame, parse, query,
                          row_of, startup, sync, text)
from harness.world import World

pytestmark = pytest.mark.needs_postern

CROWD = 1500
FILES = 4 * CROWD
# MiB that the allocator keeps of what it may need again.
MEMORY_ROOM = 150
# A sanitizer keeps what was freed: how much memory is taken says nothing there.
SANITIZED = pathlib.Path(os.environ.get("POSTERN_BUILD", "")).name in ("asan", "tsan")


@pytest.fixture(scope="module", autouse=True)
def many_open_files():
    """This process and the Posterns that it starts have a descriptor for everybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"{FILES} open files are needed and {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def world():
    with World("CREATE TABLE t(a int, b text); GRANT ALL ON t TO trust_user", pool_size=4) as one:
        yield one


def memory(postern, what="VmRSS"):
    """MiB: VmRSS now, VmHWM the most that there has ever been."""
    status = pathlib.Path(f"/proc/{postern.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def descriptors(postern):
    return len(os.listdir(f"/proc/{postern.process.pid}/fd"))


def at_rest(world):
    """Nobody is left but who asks, and every server waits for the next."""
    with world.client(database="postern") as console:
        eventually(lambda: len(console.rows("show clients")) <= 1, "the clients' end", 60)
        eventually(lambda: all(row[3] == "idle" for row in console.rows("show servers")), "idle servers", 60)
        return len(console.rows("show servers"))


def trusted(world):
    return world.client(user="trust_user", password="")


# --- many clients ---


def test_a_crowd_on_four_servers_is_answered_each_its_own(world):
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(trusted(world)) for _ in range(CROWD)]
        for again in range(2):
            for number, client in enumerate(crowd):
                if number % 2:
                    client.send(query(f"select {number}, 'time {again}' from pg_sleep(0)"))
                else:
                    client.send(parse("s", "select $1::int, $2 from pg_sleep(0)") if not again else b"",
                                bind("", "s", [number, f"time {again}"]), execute(), sync())
            for number, client in enumerate(crowd):
                assert Answer(client.until("Z")).rows == [(str(number), f"time {again}")]
        servers = world.pg.value("select count(*) from pg_stat_activity where usename = 'trust_user'")
        assert servers <= 4
    at_rest(world)


def begun_scram(client):
    client.raw(startup(user="app", database="app"))
    client.until("R")
    client.send(frame("p", text("SCRAM-SHA-256") + struct.pack("!i", 20) + b"n,,n=,r=abcdefghijkl"))


STAGES = {
    "connected": (False, lambda client: None),
    "half a startup packet": (False, lambda client: client.raw(startup(user="app", database="app")[:11])),
    "a startup packet": (False, lambda client: client.raw(startup(user="app", database="app"))),
    "in the middle of scram": (False, begun_scram),
    "logged in": (True, lambda client: None),
    "half a message": (True, lambda client: client.raw(query("select 1")[:8])),
    "a batch without its end": (True, lambda client: client.send(parse("", "select 1"), bind("", ""), execute())),
    "in a transaction": (True, lambda client: client.run("begin", "insert into t values (1, 'storm')")),
    "in the middle of a query": (True, lambda client: client.send(query("select pg_sleep(0.05)"))),
    "in the middle of copy": (True, lambda client: (
        client.send(query("copy t from stdin")), client.until("G"), client.send(copy_data("1\tstorm\n")))),
    "half-closed": (True, lambda client: (
        client.send(query("select 1")), client.socket.shutdown(socket.SHUT_WR))),
}


def storm(world, times):
    """Clients that come and go at every stage; two at most hold a server that others need."""
    for number in range(times):
        here = []
        for name, (logged_in, reach) in STAGES.items():
            client = trusted(world) if logged_in else world.client(login=False)
            reach(client)
            here.append(client)
        for at, client in enumerate(here):
            if (at + number) % 2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.drop()


def test_a_storm_of_clients_that_come_and_go_leaves_nothing_behind(world):
    storm(world, 5)
    assert at_rest(world) <= 8
    before = memory(world.postern)
    open_before = eventually(lambda: descriptors(world.postern), "descriptors")
    storm(world, 60)
    assert at_rest(world) <= 8
    # A pool's servers may have been fewer before.
    eventually(lambda: descriptors(world.postern) <= open_before + 8, "closed descriptors")
    assert SANITIZED or memory(world.postern) - before < MEMORY_ROOM
    assert world.pg.value("select count(*) from t where b = 'storm'") == 0
    with trusted(world) as client:
        assert client.value("select 'after the storm'") == "after the storm"


def growth(postern, ask, first, then):
    """MiB by which Postern has grown while `then` was asked, once it has got used to such questions."""
    ask(first)
    before = memory(postern)
    ask(then)
    return memory(postern) - before


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
def test_texts_that_come_once_leave_nothing_behind():
    """Neither their plans are kept nor what was prepared: hardly anybody asks with the same constants again."""
    with World("CREATE TABLE t(a int)", settings={"cache": {"memory": "1MiB"}}) as own, own.client() as client:
        kinds = [
            lambda n: query(f"select {n}; select 'of two statements', {n}"),
            lambda n: query(f"set my.number = 'number {n}'"),
            lambda n: parse("", f"select 'prepared', {n}") + bind("", "") + execute() + sync()]

        def ask(numbers):
            for first in range(numbers.start, numbers.stop, 50):
                for kind in kinds:
                    client.raw(b"".join(kind(first + i) for i in range(50)))
                    for _ in range(50):
                        client.until("Z")
                client.transcript.clear()

        assert growth(own.postern, ask, range(1_000), range(1_000, 12_000)) < 12


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
def test_a_text_that_had_to_wait_for_a_server_has_come_once():
    """It is looked at anew when there is one."""
    with World("CREATE TABLE t(a int)", pool_size=1, settings={"cache": {"memory": "1MiB"}}) as own, \
            contextlib.ExitStack() as stack:
        clients = [stack.enter_context(own.client()) for _ in range(8)]

        def ask(numbers):
            for n in numbers:
                for number, client in enumerate(clients):
                    client.send(query(f"select {n}; select 'for client {number}', {n}"))
                for client in clients:
                    client.until("Z")
                    client.transcript.clear()

        assert growth(own.postern, ask, range(300), range(300, 1_800)) < 8


# --- slow readers ---


def test_clients_that_stop_reading_cost_little_and_hold_up_nobody(world):
    """Three times 300 MB are asked for and not read: all but a little stays with PostgreSQL."""
    before = memory(world.postern, "VmHWM")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(trusted(world)) for _ in range(3)]
        for number, client in enumerate(slow):
            client.send(query(f"select repeat('x', 100000), {number} from generate_series(1, 3000) -- not read"))
            client.until("T")
        with trusted(world) as other:
            for number in range(200):
                assert other.value(f"select {number} from pg_sleep(0)") == str(number)
        assert runs(world, "-- not read") == 3
        assert SANITIZED or memory(world.postern, "VmHWM") - before < MEMORY_ROOM
        for client in slow:
            client.drop()
    eventually(lambda: runs(world, "-- not read") == 0, "the end of what nobody reads")
    at_rest(world)


@pytest.mark.parametrize("largest", ["1MiB", "256MiB"], ids=["too large to be kept", "to be kept"])
def test_nobody_waits_for_an_answer_that_another_does_not_read(largest):
    sql = "select repeat('y', 30000), 3 from generate_series(1, 1000)"
    rules = {"rules": [{"name": "everything", "ttl": "10min", "max_size": largest}]}
    with World(rules=rules) as world, world.client() as slow, world.client() as other:
        slow.send(query(sql))
        slow.until("T")
        assert len(other.rows(sql)) == 1000
        assert len(Answer(slow.until("Z")).rows) == 1000


# --- large rows ---


LARGE_TIMEOUT = 600
SIZES = [64 << 20]
if os.environ.get("POSTERN_SLOW_TESTS"):
    # The largest parameter: its Bind, of 16 bytes more, is 1 GiB - 2, PostgreSQL's limit of a message.
    SIZES.append((1 << 30) - 18)


@pytest.fixture(scope="module")
def straight():
    """PostgreSQL and Postern with no relay between them, which would hold whole messages."""
    with contextlib.ExitStack() as parts:
        pg = PostgreSQL()
        parts.callback(pg.remove)
        postern = Postern(pg.address, {"pool": {"size": 1}})
        parts.callback(postern.remove)
        yield postern


def large(postern):
    return Client(postern.address, user="trust_user", password="", timeout=LARGE_TIMEOUT)


def count_value(client):
    """Reads one DataRow of one value without keeping it; its size, and whether it is all `x`."""
    while client._input[:1] != b"D":
        client._fill(5)
        if client._input[:1] != b"D":
            message = client.receive()
            assert message.tag != "E", fields_of(message)
    client._fill(11)
    (size,) = struct.unpack_from("!i", client._input, 7)
    rest, client._input = client._input[11:], b""
    assert len(rest) <= size
    left, other = size - len(rest), rest.count(b"x") != len(rest)
    buffer = bytearray(1 << 20)
    while left:
        got = client.socket.recv_into(buffer, min(left, len(buffer)))
        assert got, "closed in the middle of a row"
        other |= buffer.count(b"x", 0, got) != got
        left -= got
    return size, not other


@pytest.mark.parametrize("size", SIZES)
def test_a_large_row_streams_to_its_client(straight, size):
    before = memory(straight, "VmHWM")
    with large(straight) as client:
        client.send(query(f"select repeat('x', {size}) from pg_sleep(0)"))
        assert count_value(client) == (size, True)
        assert [one.tag for one in client.until("Z")] == ["C", "Z"]
        assert client.value("select 'and on'") == "and on"
    assert SANITIZED or memory(straight, "VmHWM") - before < 48


@pytest.mark.parametrize("size", SIZES)
def test_a_large_parameter_reaches_postgresql_and_its_memory_is_given_back(straight, size):
    before = memory(straight)
    with large(straight) as client:
        head = parse("", "select length($1), left($1, 1), right($1, 1) from pg_sleep(0)", [25])
        body = text("") + text("") + struct.pack("!hhi", 0, 1, size)
        client.raw(head + b"B" + struct.pack("!i", 4 + len(body) + size + 2) + body)
        piece = b"y" * (1 << 20)
        for at in range(0, size, len(piece)):
            client.raw(piece[: min(len(piece), size - at)])
        client.raw(struct.pack("!h", 0))
        client.send(execute(), sync())
        assert Answer(client.until("Z")).rows == [(str(size), "y", "y")]
        # Received whole before it is looked at, composed, and kept until the server has taken it.
        assert SANITIZED or memory(straight, "VmHWM") - before < 4 * size / (1 << 20) + MEMORY_ROOM
    eventually(lambda: SANITIZED or memory(straight) - before < MEMORY_ROOM, "the memory's return")


# --- PostgreSQL goes, and comes back ---


LOST = {"08006", "08001", "57P01", "57P02", "57P03"}


class Worker(threading.Thread):
    """Statements without end, each checked; a lost connection is made anew."""

    def __init__(self, world, number, over):
        super().__init__()
        self.world, self.number, self.over = world, number, over
        self.answered = self.failed = 0
        self.wrong = []

    def run(self):
        while not self.over.is_set():
            try:
                with trusted(self.world) as client:
                    self.work(client)
            except (Closed, ConnectionError):
                self.failed += 1
            except Refused as error:
                self.note(error.code)
            except Exception as error:  # told by the test
                self.wrong.append(repr(error))
                return

    def work(self, client):
        while not self.over.is_set():
            wanted = f"{self.number} {self.answered}"
            answer = client.query(f"select '{wanted}' from pg_sleep(0.001)")
            client.transcript.clear()
            if answer.error:
                self.note(answer.code)
                continue
            if answer.rows != [(wanted,)]:
                self.wrong.append(f"{wanted} was answered {answer.rows}")
            self.answered += 1

    def note(self, code):
        self.failed += 1
        if code not in LOST:
            self.wrong.append(code)


def test_postgresql_restarts_under_load_and_everybody_goes_on(world):
    over = threading.Event()
    workers = [Worker(world, number, over) for number in range(12)]
    for one in workers:
        one.start()

    def each_is_answered(since):
        return all(one.answered > then or one.wrong for one, then in zip(workers, since))

    try:
        eventually(lambda: each_is_answered([0] * len(workers)), "the first answers", 60)
        for _ in range(2):
            world.pg.stop()
            world.pg.start()
            since = [one.answered for one in workers]
            eventually(lambda: each_is_answered(since), "answers after the restart", 60)
    finally:
        over.set()
        for one in workers:
            one.join(60)
    assert not any(one.is_alive() for one in workers)
    assert [fault for one in workers for fault in one.wrong] == []
    assert at_rest(world) <= 8
    assert world.pg.value("select count(*) from pg_stat_activity where usename = 'trust_user'") <= 4
