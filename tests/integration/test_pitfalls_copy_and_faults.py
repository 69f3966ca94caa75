"""What poolers have got wrong with COPY, cancels, large messages, slow clients and lost connections."""

import pathlib
import socket
import threading

import pytest
from harness.scripts import batch, beside_another, said, simple, steps, unnamed
from harness.waiting import eventually, runs
from harness.wire import (Answer, Client, Closed, bind, cancel_request, close, copy_data, copy_done, copy_fail,
                          describe, execute, flush, parse, query, sync, terminate)
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE t(a int, b text);
CREATE TABLE late(a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE log(note text);
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


def sends(*messages):
    return lambda client: client.send(*messages)


def awaits(tag):
    return lambda client: client.until(tag)


ROWS = simple("select * from t order by a", "truncate t")

COPIES = {
    "prepared by name": steps(
        batch(parse("c", "copy t from stdin"), describe("S", "c"), sync()),
        *[steps(said("2 G", bind("", "c"), execute(), flush()), sends(copy_data("1\tx\n"), copy_done(), sync()),
                awaits("Z")) for _ in range(2)],
        batch(parse("o", "copy t to stdout"), bind("", "o"), execute(), sync()),
        batch(close("S", "c"), close("S", "o"), sync()), ROWS),
    "an error after the end": steps(
        sends(query("copy late from stdin")), awaits("G"), sends(copy_data("1\n1\n"), copy_done()), awaits("Z"),
        simple("select count(*) from late")),
    "an error after the end, extended": steps(
        sends(parse("", "copy late from stdin"), bind("", ""), execute(), sync()), awaits("G"),
        sends(copy_data("1\n1\n"), copy_done(), sync()), awaits("Z"), simple("select count(*) from late")),
    "an error long before the end, extended": steps(
        sends(parse("", "copy t from stdin"), bind("", ""), execute(), flush()), awaits("G"),
        sends(copy_data("x\ty\n"), *[copy_data("1\t" + "z" * 5000 + "\n")] * 50), awaits("E"),
        sends(copy_data("1\tz\n"), copy_done(), *unnamed("select 1"), sync()), awaits("Z"), ROWS),
    "an error before any data, extended": steps(
        batch(parse("", "copy no_such_table from stdin"), bind("", ""), execute(), copy_data("1\tx\n"),
              copy_done(), sync()), ROWS),
    "sync in the middle, extended": steps(
        sends(parse("", "copy t from stdin"), bind("", ""), execute(), sync()), awaits("G"),
        sends(copy_data("1\tone\n"), sync(), flush(), copy_data("2\ttwo\n"), copy_done(), sync()), awaits("Z"),
        ROWS),
    "two copies in one text": steps(
        sends(query("copy t from stdin; select 1; copy t from stdin; copy t to stdout")), awaits("G"),
        sends(copy_data("1\tone\n"), copy_done()), awaits("G"), sends(copy_data("2\ttwo\n"), copy_done()),
        awaits("Z"), ROWS),
    "the second of two copies fails": steps(
        sends(query("copy t from stdin; copy t from stdin; select 1")), awaits("G"),
        sends(copy_data("1\tone\n"), copy_done()), awaits("G"), sends(copy_fail("no")), awaits("Z"), ROWS),
    "begin held back, then a copy": steps(
        simple("begin"), sends(query("copy t from stdin")), awaits("G"),
        sends(copy_data("1\tone\n"), copy_done()), awaits("Z"), simple("rollback"), ROWS),
    "a copy in a failed transaction": steps(
        simple("begin", "select 1/0", "copy t from stdin", "copy t to stdout", "rollback"), ROWS),
    "a copy that fails fails the transaction": steps(
        simple("begin"), sends(query("copy t from stdin")), awaits("G"), sends(copy_fail("no")), awaits("Z"),
        simple("select 1", "rollback"), ROWS),
    "rows of one message in pieces and many in one": steps(
        sends(query("copy t from stdin")), awaits("G"),
        sends(copy_data(b"1\tx\n" * 20000), *[copy_data(b"2"), copy_data(b"\t"), copy_data(b""),
                                              copy_data(b"y\n")] * 500, copy_done()), awaits("Z"),
        simple("select a, count(*) from t group by a order by a", "truncate t")),
    "binary": steps(
        sends(query("copy t from stdin binary")), awaits("G"),
        sends(copy_data(b"PGCOPY\n\xff\r\n\0" + b"\0" * 8 + b"\0\2\0\0\0\4\0\0\0\7\0\0\0\1x\xff\xff"), copy_done()),
        awaits("Z"), ROWS),
    "late messages inside a transaction": steps(
        simple("begin", "select 1/0"), sends(copy_data("x"), copy_done(), copy_fail("y")),
        simple("rollback", "select 1")),
    "late messages behind a failed extended copy": steps(
        sends(parse("", "copy t from stdin"), bind("", ""), execute(), sync()), awaits("G"),
        sends(copy_data("x\n"), copy_done(), sync()), awaits("Z"),
        sends(copy_data("1\tx\n"), copy_done(), copy_fail("y"), copy_data("z")), batch(sync()), ROWS),
    "a foreign message in the middle, extended": steps(
        sends(parse("", "copy t from stdin"), bind("", ""), execute(), sync()), awaits("G"),
        sends(copy_data("1\tone\n"), parse("", "select 1")), lambda client: client.gone()),
    "out, with a row limit": batch(
        parse("", "copy (select generate_series(1, 5)) to stdout"), bind("", ""), execute("", 2), sync()),
    "out, behind another of one pipeline": batch(
        *unnamed("select 1"), parse("", "copy (select generate_series(1, 5)) to stdout"), bind("", ""),
        execute(), *unnamed("select 2"), sync()),
    "out, fails after rows, extended": batch(
        parse("", "copy (select 1/(3 - g) from generate_series(1, 9) g) to stdout"), bind("", ""), execute(),
        *unnamed("select 2"), sync()),
}


@pytest.mark.parametrize("name", COPIES)
def test_copy(world, name):
    both_ways(world, COPIES[name], times=2)


@pytest.mark.parametrize("name", COPIES)
def test_copy_beside_another_client(world, name):
    beside_another(world, COPIES[name])


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_client_that_says_farewell_in_the_middle_of_copy_leaves_nothing(world, extended):
    with world.client() as client:
        client.send(*(unnamed("copy t from stdin")[:2] + (execute(), flush()) if extended
                      else (query("copy t from stdin"),)))
        client.until("G")
        client.send(copy_data("1\tone\n"), terminate())
        assert client.gone()
    for _ in range(3):
        with world.client() as other:
            assert other.value("select count(*) from t") == "0"


def ended(world, pattern):
    world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                 " where query like %s and pid <> pg_backend_pid()", pattern)


def closes_with_an_error(client):
    """The answer breaks off with PostgreSQL's farewell, or with the loss of the connection."""
    messages = []
    try:
        while True:
            messages.append(client.receive())
    except (Closed, ConnectionError):
        codes = [Answer([one]).code for one in messages if one.tag == "E"]
        return codes[-1:] in (["57P01"], ["08006"])


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_the_server_dies_in_the_middle_of_copy_in(world, extended):
    with world.client() as client:
        if extended:
            client.send(parse("", "copy t from stdin -- dies"), bind("", ""), execute(), flush())
        else:
            client.send(query("copy t from stdin -- dies"))
        client.until("G")
        client.send(copy_data("1\tx\n"))
        ended(world, "copy t from stdin -- dies%")
        assert closes_with_an_error(client)
    with world.client() as other:
        assert other.value("select count(*) from t") == "0"


def test_the_server_dies_in_the_middle_of_copy_out(world):
    with world.client() as client:
        client.send(query("copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout -- dies"))
        client.until("d")
        ended(world, "copy (select%-- dies")
        assert closes_with_an_error(client)
    with world.client() as other:
        assert other.value("select 1") == "1"


# --- cancels ---


def test_a_flood_of_cancels_ends_one_statement(world):
    with world.client() as client, world.client() as other:
        client.send(query("select pg_sleep(60), 'flooded'"))
        eventually(lambda: runs(world, "'flooded'"))
        links = []
        for number in range(200):
            link = socket.create_connection(world.address, 15)
            key = client.key if number % 2 else (client.key[0], client.key[1] ^ number)
            link.sendall(cancel_request(*key))
            links.append(link)
        for link in links:
            assert link.recv(64) == b""
            link.close()
        assert Answer(client.until("Z")).code == "57014"
        for number in range(3):
            assert client.value(f"select {number}") == str(number)
            assert other.value(f"select {number} + 10") == str(number + 10)


@pytest.mark.parametrize("key", [b"", b"\0\0\0\0", b"\0\0\0\1\0\0\0", b"\0\0\0\1" + b"x" * 300],
                         ids=["none", "no secret", "three bytes", "too long"])
def test_a_malformed_cancel_is_ignored_in_silence(world, key):
    with world.client(login=False) as client:
        client.raw((8 + len(key)).to_bytes(4, "big") + (80877102).to_bytes(4, "big") + key)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.gone()
    with world.client() as other:
        assert other.value("select 1") == "1"


def test_a_cancel_of_the_first_of_several_batches_spares_the_others(world):
    with world.client() as client:
        client.send(*unnamed("select pg_sleep(60), 'first'"), sync(), *unnamed("select 2"), sync(),
                    query("select 3"))
        eventually(lambda: runs(world, "'first'"))
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert Answer(client.until("Z")).rows == [("2",)]
        assert Answer(client.until("Z")).rows == [("3",)]


# --- large messages, slow clients ---


LARGE = 9_000_000

SIZES = {
    "a large row": simple(f"select repeat('x', {LARGE}), 1"),
    "a large statement": simple(f"select length('{'y' * LARGE}')"),
    "a large parameter": batch(*unnamed("select length($1)", ["z" * LARGE]), sync()),
    "a large parameter there and back": batch(*unnamed("select $1::text, 2", ["z" * LARGE]), sync()),
    "a large error": simple(f"do $$ begin raise exception '%', repeat('e', {LARGE // 10}); end $$", "select 1"),
    "a large notice": simple(f"do $$ begin raise notice '%', repeat('n', {LARGE // 10}); end $$", "select 1"),
    "many columns": simple("select " + ", ".join(str(n) for n in range(1600))),
    "many parameters": batch(*unnamed(
        "select " + " + ".join(f"${n}::int" for n in range(1, 1000)), [1] * 999), sync()),
    "rows about as large as buffers": simple(
        "select repeat('b', g) from generate_series(65530, 65545) g",
        "select repeat('b', g) from generate_series(4090, 4100) g"),
    "a large copy row": steps(
        sends(query("copy t from stdin")), awaits("G"), sends(copy_data("1\t" + "c" * LARGE + "\n"), copy_done()),
        awaits("Z"), simple("select length(b) from t", "copy t to stdout", "truncate t")),
}


@pytest.mark.parametrize("name", SIZES)
def test_messages_larger_than_buffers(world, name):
    both_ways(world, SIZES[name])


# MiB: far below the 300 that pass, and with room for what AddressSanitizer keeps of what was freed.
MEMORY_MAX = 150


def memory_peak(world):
    """The most memory that Postern has ever had, in MiB."""
    status = pathlib.Path(f"/proc/{world.postern.process.pid}/status").read_text(encoding="utf-8")
    (line,) = [one for one in status.splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.needs_postern
def test_an_answer_larger_than_memory_streams_through_and_waits_for_its_reader():
    """Meanwhile others are served, and what nobody reads is left with PostgreSQL."""
    with World(SCHEMA, pool_size=2) as world, world.client() as slow, world.client() as other:
        before = memory_peak(world)
        slow.send(query("select repeat('x', 100000) from generate_series(1, 3000) -- streams"))
        slow.until("T")
        for number in range(50):
            assert other.value(f"select {number}") == str(number)
        assert runs(world, "-- streams") == 1  # it waits
        rows = sum(one.tag == "D" for one in slow.until("Z"))
        assert rows == 3000
        slow.transcript.clear()
        assert memory_peak(world) - before < MEMORY_MAX


@pytest.mark.needs_postern
def test_copied_data_larger_than_memory_streams_through():
    with World(SCHEMA, pool_size=1) as world, world.client() as client:
        before = memory_peak(world)
        client.send(query("copy t from stdin"))
        client.until("G")
        piece = copy_data("1\t" + "x" * 1_000_000 + "\n")
        for _ in range(150):
            client.send(piece)
        client.send(copy_fail("enough"))
        assert Answer(client.until("Z")).code == "57014"
        assert memory_peak(world) - before < MEMORY_MAX


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_client_that_writes_and_reads_at_once_is_never_stuck(world, extended):
    """More is on its way in both directions than all buffers hold."""
    count, wide = 300, 60_000
    with world.client() as client:
        def write():
            for number in range(count):
                text = f"select {number}, repeat('r', {wide}), length('{'w' * wide}')"
                client.send(*(unnamed(text) + (sync(),) if extended else (query(text),)))

        writer = threading.Thread(target=write)
        writer.start()
        for number in range(count):
            (row,) = Answer(client.until("Z")).rows
            assert row[0] == str(number) and row[2] == str(wide)
            client.transcript.clear()
        writer.join()


# --- lost connections ---


@pytest.mark.needs_postern
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_statement_whose_answer_is_lost_is_not_sent_again(world, extended):
    sql = "insert into log values ('once') returning note"
    with world.client() as client, world.relay.counting(sql) as passed:
        with world.relay.hold_answer(sql) as hold:
            client.send(*(unnamed(sql) + (sync(),) if extended else (query(sql),)))
            hold.wait_answered()
            world.relay.cut(hold.link)
        assert closes_with_an_error(client)
        assert passed() == 1
    with world.client() as other:
        assert other.value("select count(*) from log where note = 'once'") == "1"
        other.run("truncate log")


@pytest.mark.needs_postern
def test_a_pipeline_of_which_a_part_was_answered_is_not_sent_again(world):
    with world.client() as client, world.relay.counting("into log") as passed:
        with world.relay.hold_answer("'second'") as hold:
            client.send(*unnamed("insert into log values ('first')"), sync())
            client.until("Z")
            client.send(*unnamed("insert into log values ('second')"), sync(),
                        *unnamed("insert into log values ('third')"), sync())
            hold.wait_answered()
            world.relay.cut(hold.link)
        assert closes_with_an_error(client)
        assert passed() <= 3
    with world.client() as other:
        notes = [note for note, in other.rows("select note from log order by note")]
        assert notes in (["first", "second"], ["first", "second", "third"])
        other.run("truncate log")


@pytest.mark.needs_postern
def test_rows_before_the_loss_of_a_connection_reach_the_client(world):
    with world.client() as client:
        with world.relay.hold_answer("'whole rows'") as hold:
            client.send(query("select g, 'whole rows' from generate_series(1, 3) g"))
            hold.wait_answered()
            held = hold.link.held_answers
            hold.pass_on(held.rindex(b"D\0\0\0"))
            client.until("D")
            client.until("D")
            world.relay.cut(hold.link)
        assert closes_with_an_error(client)


@pytest.mark.needs_postern
def test_a_statement_that_waits_for_a_dead_server_is_run_on_another(world):
    """Nothing of it was sent yet; what stands in a transaction can't be carried on."""
    with world.client() as client:
        client.run("select 1 from pg_sleep(0)")
        for link in world.relay.live():
            world.relay.cut(link)
        eventually(lambda: Client(world.address).value("select 1 from pg_sleep(0)") == "1")
        assert client.value("select 2 from pg_sleep(0)") == "2"


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_half_close_behind_a_pipeline_gets_every_answer(world, extended):
    with world.client() as client:
        for number in range(20):
            client.send(*(unnamed(f"select {number}") + (sync(),) if extended else (query(f"select {number}"),)))
        client.send(query("select 'last' from pg_sleep(0.01)"))
        client.socket.shutdown(socket.SHUT_WR)
        for number in range(20):
            assert Answer(client.until("Z")).rows == [(str(number),)]
        assert Answer(client.until("Z")).rows == [("last",)]
        assert client.gone()


def test_half_close_in_a_transaction_undoes_it(world):
    with world.client() as client:
        client.send(query("begin"), query("insert into log values ('half')"), query("select count(*) from log"))
        client.socket.shutdown(socket.SHUT_WR)
        client.until("Z")
        client.until("Z")
        client.until("Z")
        assert client.gone()
    with world.client() as other:
        assert other.value("select count(*) from log where note = 'half'") == "0"
