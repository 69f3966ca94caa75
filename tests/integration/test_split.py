"""A recorded session, cut at every byte, in both directions: the answers are always the same."""

import socket
import threading

import pytest
from harness import wire
from harness.wire import (bind, close, copy_data, copy_done, describe, execute, flush, parse, query,
                          startup, sync, terminate)
from harness.world import World

SCHEMA = "CREATE TABLE t(a int, b text); INSERT INTO t VALUES (1, 'one'), (2, 'two')"

# All that a client says in its life. It logs in without a password, so that its bytes never differ.
SESSION = b"".join([
    startup(user="trust_user", database="app", application_name="recorded"),
    query("select a, b from t order by a"),
    parse("s", "select b from t where a = $1", [23]), describe("S", "s"),
    bind("", "s", ["1"]), execute(), sync(),
    bind("p", "s", [b"\0\0\0\2"], [1], [1]), describe("P", "p"), execute("p"), flush(), sync(),
    query("begin"), query("select 1/0"), query("rollback"),
    parse("", "selec"), bind("", ""), execute(), sync(),
    query("set application_name = 'x'"),
    query("copy t from stdin"), copy_data("3\tthree\n"), copy_done(),
    query("delete from t where a = 3"),
    close("S", "s"), sync(), query(""), query("select 1; select 2"),
    terminate(),
])


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA, settings={"cache": {"enabled": True}}) as one:
        one.pg.run("GRANT ALL ON t TO trust_user")
        yield one


def held(address, pieces):
    """One connection that says these pieces and reads to the end."""
    link = socket.create_connection(address, 30)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.settimeout(30)
    client = wire.Client.__new__(wire.Client)
    client.socket, client.transcript, client.parameters = link, [], {}
    client.key = client.status = None
    client._input = b""
    for number, piece in enumerate(pieces):
        if number:
            threading.Event().wait(0.001)  # gives the piece before a segment of its own
        link.sendall(piece)
    assert client.gone()
    link.close()
    return wire.comparable(client.transcript)


@pytest.fixture(scope="module")
def wanted(world):
    return held(world.pg.address, [SESSION])


def check(found, wanted, what):
    assert wire.readable(found) == wire.readable(wanted), what
    assert found == wanted, what


def test_the_session_in_one_piece(world, wanted):
    assert len([one for one in wanted if one.tag == "Z"]) == 14
    check(held(world.address, [SESSION]), wanted, "in one piece")


def test_requests_cut_at_every_byte(world, wanted):
    for cut in range(1, len(SESSION)):
        check(held(world.address, [SESSION[:cut], SESSION[cut:]]), wanted, f"cut at {cut}")


def test_requests_byte_by_byte(world, wanted):
    pieces = [SESSION[at : at + 1] for at in range(len(SESSION))]
    check(held(world.address, pieces), wanted, "byte by byte")


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7])
def test_answers_in_small_pieces(world, wanted, piece):
    world.relay.slice_answers = piece
    try:
        for _ in range(3):
            check(held(world.address, [SESSION]), wanted, f"{piece} bytes at a time")
    finally:
        world.relay.slice_answers = 0


def test_both_directions_byte_by_byte(world, wanted):
    world.relay.slice_answers = world.relay.slice_requests = 1
    try:
        pieces = [SESSION[at : at + 1] for at in range(len(SESSION))]
        check(held(world.address, pieces), wanted, "both byte by byte")
    finally:
        world.relay.slice_answers = world.relay.slice_requests = 0
