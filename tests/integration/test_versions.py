"""Versions of the protocol: what clients are given, and what servers are asked for."""

import contextlib
import socket
import struct
import threading

import pytest
from harness import wire
from harness.scripts import simple
from harness.servers import Postern
from harness.waiting import eventually, runs
from harness.wire import Answer, Client, Refused, cancel_request, frame, query, startup
from harness.world import World

pytestmark = pytest.mark.needs_postern

V30, V31, V32, GREASE = 3 << 16, 3 << 16 | 1, 3 << 16 | 2, 3 << 16 | 9999


@pytest.fixture(scope="module")
def world():
    with World() as one:
        yield one


def ask(address, version, **more):
    client = Client(address, login=False)
    client.raw(startup(version, user="app", database="app", **more))
    client.finish_startup()
    return client


def negotiated(client):
    """Every NegotiateProtocolVersion that has come: version, and the options that are unknown."""
    found = []
    for message in client.transcript:
        if message.tag == "v":
            version, count = struct.unpack_from("!ii", message.body)
            names = message.body[8:].split(b"\0")[:-1]
            assert len(names) == count
            found.append((version, names))
    return found


# --- towards clients ---


@pytest.mark.parametrize(("version", "size", "answer"), [
    (V30, 4, []), (V31, 4, []), (V32, 32, []), (V32 + 1, 32, [(V32, [])]),
    (GREASE, 32, [(V32, [])])])
def test_a_client_gets_what_it_asks_for_up_to_the_newest(world, version, size, answer):
    """As PostgreSQL 18, which takes 3.1 at its word though it never was."""
    with ask(world.address, version) as client:
        assert negotiated(client) == answer
        key = client.key[1]
        assert (len(key) if isinstance(key, bytes) else 4) == size
        assert client.value("select 1") == "1"


@pytest.mark.parametrize("version", [V30, V31, V32])
def test_unknown_options_are_listed_under_the_version_in_force(world, version):
    with ask(world.address, version, **{"_pq_.one": "1", "_pq_.two": ""}) as client:
        assert negotiated(client) == [(version, [b"_pq_.one", b"_pq_.two"])]
        assert client.transcript[0].tag == "v"
        assert client.value("select 1") == "1"


def test_the_newest_version_is_configured(world):
    with contextlib.closing(restricted(world, client_protocol="3.0")) as postern:
        for version in (V32, GREASE):
            with ask(postern.address, version) as client:
                assert negotiated(client) == [(V30, [])]
                assert not isinstance(client.key[1], bytes)


def restricted(upstream, **settings):
    one = Postern(upstream.relay.address, settings)
    one.close = one.remove
    return one


def test_a_long_key_cancels(world):
    with ask(world.address, V32) as client:
        pid, secret = client.key
        client.send(query("select pg_sleep(60), 'by its long key'"))
        eventually(lambda: runs(world, "by its long key"), "the statement's running")
        # Neither another of its length, nor a part of it, nor more than it.
        for wrong in (bytes(32), secret[:4], secret[:31], secret + b"x", secret + bytes(224)):
            with Client(world.address, login=False) as canceller:
                canceller.raw(cancel_request(pid, wrong))
                assert canceller.gone()
        assert runs(world, "by its long key")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert client.value("select 1") == "1"


def test_the_console_has_long_keys_too(world):
    client = Client(world.address, login=False)
    with client:
        client.raw(startup(V32, user="app", database="postern"))
        client.finish_startup()
        assert len(client.key[1]) == 32
        assert client.rows("show version")


# --- towards PostgreSQL ---


class Newer:
    """In front of PostgreSQL 15: a server of protocol 3.2, whose keys are long. `answer` is what is
    said to the version that is asked for."""

    def __init__(self, upstream, answer=b"", key=bytes(range(32))):
        self._upstream = upstream
        self._answer = answer
        self.key = key
        self.asked = []
        self.cancels = []
        self._pids = {}
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client:
            self._sockets.append(client)
            (size,) = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
            packet = client.recv(size - 4, socket.MSG_WAITALL)
            (code,) = struct.unpack_from("!i", packet)
            with socket.create_connection(self._upstream) as server:
                self._sockets.append(server)
                if code == 80877102:
                    (pid,) = struct.unpack_from("!i", packet, 4)
                    self.cancels.append(packet[8:])
                    if packet[8:] == self.key:
                        server.sendall(struct.pack("!iii", 16, code, pid) + self._pids[pid])
                        server.recv(1)
                    return
                self.asked.append(code)
                client.sendall(self._answer)
                server.sendall(struct.pack("!ii", size, V30) + packet[4:])
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
                self._carry_back(server, client)

    @staticmethod
    def _carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _carry_back(self, server, client):
        waiting, keyed = b"", False
        while data := server.recv(1 << 16):
            waiting += data
            while not keyed and len(waiting) >= 5:
                size = 1 + struct.unpack_from("!i", waiting, 1)[0]
                if len(waiting) < size:
                    break
                whole, waiting = waiting[:size], waiting[size:]
                if whole[:1] == b"K":
                    keyed = True
                    self._pids[struct.unpack_from("!i", whole, 5)[0]] = whole[9:]
                    whole = frame("K", whole[5:9] + self.key)
                client.sendall(whole)
            if keyed:
                client.sendall(waiting)
                waiting = b""

    def end(self):
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.close()


@contextlib.contextmanager
def newer(world, protocol, answer=b"", **more):
    server = Newer(world.pg.address, answer, **more)
    try:
        postern = Postern(server.address, {
            "cache": {"enabled": False},
            "databases": {"app": {"service": None, "protocol": protocol}}})
        try:
            yield server, postern
        finally:
            postern.remove()
    finally:
        server.end()


def negotiate(version, *names):
    return frame("v", struct.pack("!ii", version, len(names)) + b"".join(map(wire.text, names)))


@pytest.mark.parametrize("size", [4, 32, 256])
def test_a_server_of_3_2_is_cancelled_by_its_long_key(world, size):
    key = bytes(number % 256 for number in range(size))
    with newer(world, "latest", key=key) as (server, postern), Client(postern.address) as client:
        client.send(query(f"select pg_sleep(60), 'by the key of {size}'"))
        eventually(lambda: runs(world, f"by the key of {size}"), "the statement's running")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert server.asked == [V32]
        assert server.cancels == [key]


def test_a_server_is_asked_for_3_0_unless_the_configuration_says_more(world):
    with newer(world, None) as (server, postern), Client(postern.address) as client:
        simple("select 1")(client)
        assert server.asked == [V30]


def test_postgresql_15_answers_that_it_has_3_0():
    with World(settings={"databases": {"app": {"protocol": "3.2"}}}) as one:
        with ask(one.address, V32) as client:
            assert client.value("select 1") == "1"
            client.send(query("select pg_sleep(60), 'negotiated down'"))
            eventually(lambda: runs(one, "negotiated down"), "the statement's running")
            client.cancel()
            assert Answer(client.until("Z")).code == "57014"


@pytest.mark.parametrize(("protocol", "answer"), [
    ("3.2", negotiate(V32)),
    ("3.2", negotiate(V31)),
    ("3.2", negotiate(GREASE)),
    ("3.2", negotiate(2 << 16)),
    ("3.2", negotiate(0)),
    ("3.2", negotiate(V30, "_pq_.never_asked")),
    ("3.2", negotiate(V30) + negotiate(V30)),
    ("3.2", negotiate(V30)[:-1] + b"\1"),
    ("3.0", negotiate(V30)),
], ids=["no less", "3.1", "more", "2.0", "0", "an option", "twice", "cut", "3.0 was asked"])
def test_an_answer_that_is_none_ends_the_login(world, protocol, answer):
    with newer(world, protocol, answer) as (_, postern):
        with pytest.raises(Refused, match="08P01 the server's answer to the protocol version"):
            Client(postern.address)


@pytest.mark.parametrize("size", [3, 257])
def test_a_key_of_an_impossible_length_is_no_key(world, size):
    """As with a server that has sent none: its statements can't be cancelled."""
    with newer(world, "latest", key=bytes(size)) as (server, postern):
        with Client(postern.address) as client:
            assert client.value("select 1") == "1"
            client.send(query("select pg_sleep(0.2)"))
            client.cancel()
            assert Answer(client.until("Z")).code is None
            assert server.key not in server.cancels
