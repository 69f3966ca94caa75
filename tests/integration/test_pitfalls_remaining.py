"""Conversations in which Postern has been found to differ from PostgreSQL.

One in which it still does is marked: whoever mends it is told to take its mark away. The README of
the project names what it comes to for an application.
"""

import threading

import pytest
from harness.editor import Editor
from harness.reads import marked, warm
from harness.scripts import batch, simple, steps, unnamed
from harness.servers import Postern
from harness.wire import (Client, Closed, Refused, bind, close, copy_data, copy_done, describe,
                          execute, flush, frame, parse, query, sync)
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE item(id int PRIMARY KEY, name text);
INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 20) g;
CREATE TABLE log(id serial, note text);
CREATE TABLE t(a int, b text);
"""

# Without the number of its table, which differs each time it is made.
SHAPE = "select * from shape union all select * from shape where false"
COUNT = "select note, count(*) from log group by note order by note"


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


@pytest.fixture(autouse=True)
def fresh(request):
    """What a conversation that broke off has left."""
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
        with world.client() as client:
            client.run("truncate log, t")
            if world.pg.value("select to_regclass('shape') is not null"):
                client.run("drop table shape")
            if world.postern:
                warm(world, client, marked(COUNT))  # the catalog is read, and the cache in use


def forget(*names):
    return batch(*[close("S", name) for name in names], sync())


NAMES = {
    "the refusal names the name that was meant": steps(
        batch(parse("first", "select 'same'"), parse("second", "select 'same'"),
              parse("third", "select 'same'"), sync()),
        *[batch(parse(name, "select 'other'"), sync()) for name in ("first", "second", "third")],
        forget("first", "second", "third")),
    "an error at bind names the statement that was meant": steps(
        batch(*[parse(name, "select $1::int, 'twins'") for name in ("one", "two", "three")], sync()),
        *[batch(bind("", name), execute(), sync()) for name in ("one", "two", "three")],
        forget("one", "two", "three")),
    "an error about a table named like a statement is left alone": steps(
        batch(*[parse(f"s{n}", f"select {n}") for n in range(12)], sync()),
        simple(*[f"select * from postern_{n}" for n in range(1, 25)]),
        forget(*[f"s{n}" for n in range(12)])),
    "parse in a failed transaction": steps(
        batch(parse("before", "select name from item where id = $1"), sync()),
        simple("begin", "select 1/0"),
        batch(parse("after", "select name from item where id = $1"), sync()),
        batch(bind("", "after", ["1"]), sync()),
        batch(parse("after", "rollback"), bind("", "after"), execute(), sync()), forget("before", "after")),
    "deallocate in the pipeline that prepares": batch(
        parse("d", "select 1"), *unnamed("deallocate d"), bind("", "d"), execute(), sync()),
    "deallocate in a pipeline that fails": steps(
        batch(parse("d", "select 1"), sync()),
        batch(*unnamed("deallocate d"), *unnamed("select 1/0"), sync()),
        batch(bind("", "d"), execute(), sync())),
    "deallocate in a failed transaction": steps(
        batch(parse("d", "select 1"), sync()), simple("begin", "select 1/0", "deallocate d", "rollback"),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "discard all in a pipeline": steps(
        batch(parse("d", "select 1"), sync()),
        batch(*unnamed("select 1"), *unnamed("discard all"), sync()),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "parse of a name that prepare has": steps(
        simple("prepare q as select 2"), batch(parse("q", "select 1"), sync()),
        batch(bind("", "q"), execute(), sync()), simple("deallocate q")),
    "close of a name that prepare has": steps(
        simple("prepare q as select 2"), batch(close("S", "q"), sync()), simple("execute q")),
    "formats that do not fit": steps(
        batch(*unnamed("select 1, 2", results=[0, 1, 0]), sync()),
        batch(*unnamed("select $1::int", ["1"], formats=[0, 0]), sync()),
        batch(*unnamed("select $1::int", [b"\0\0"], formats=[1]), sync()),
        batch(*unnamed("select 1", results=[2]), sync()),
        batch(*unnamed("select $1::int", ["1"], formats=[3]), sync()),
        batch(*unnamed("select 1"), sync())),
    "a column is added in the same transaction": steps(
        simple("create table shape(a int)", "insert into shape values (1)"),
        batch(parse("old", SHAPE), bind("", "old"), execute(), sync()),
        simple("begin", "alter table shape add b int default 2"),
        batch(parse("new", SHAPE), describe("S", "new"), bind("", "new"), execute(), sync()),
        simple("rollback"), simple("drop table shape"), forget("old", "new")),
    "a table is dropped in the same transaction": steps(
        simple("create table shape(a int)"), batch(parse("old", SHAPE), sync()),
        simple("begin", "drop table shape"), batch(parse("new", SHAPE), sync()),
        simple("rollback", "drop table shape"), forget("old")),
    "a column is added in the same pipeline": steps(
        simple("create table shape(a int)", "insert into shape values (1)"),
        batch(parse("old", SHAPE), bind("", "old"), execute(), sync()),
        batch(*unnamed("alter table shape add b int default 2"), parse("new", SHAPE),
              describe("S", "new"), bind("", "new"), execute(), sync()),
        simple("drop table shape"), forget("old", "new")),
}

TEXTS = {
    "begin and a write in one text, then a read, undone": simple(
        "begin; insert into log(note) values ('open')", COUNT, "rollback", COUNT, "truncate log"),
    "a write and begin in one text, then a read, undone": simple(
        "insert into log(note) values ('a'); begin; insert into log(note) values ('b')", COUNT, "rollback",
        COUNT, "truncate log"),
    "a write and begin in one pipeline, then a read, undone": steps(
        batch(*unnamed("insert into log(note) values ('a')"), *unnamed("begin"), sync()),
        simple(COUNT, "rollback", COUNT, "truncate log")),
    "a zero byte within a text": steps(
        batch(frame("Q", b"select 1\0 2\0")), simple("select 1"), batch(frame("Q", b"select 1")), simple("select 1")),
    "a parse without its end": steps(batch(frame("P", b"name"), sync()), simple("select 1")),
    "a message with too much in it": steps(
        batch(frame("E", b"\0\0\0\0\0more"), sync()), batch(frame("C", b"Sx\0more"), sync()),
        batch(frame("D", b"Xx\0"), sync()), simple("select 1")),
    "a sync with too much in it behind an error": steps(
        batch(parse("", "nonsense"), frame("S", b"more")), simple("select 1"),
        batch(frame("C", b"Xx\0"), frame("S", b"more")), batch(*unnamed("select 2"), sync()),
        batch(frame("S", b"more")), simple("select 3")),
    "a sync with too much in it behind an error that a flush has told of": steps(
        batch(parse("", "nonsense"), flush(), ends="E"), batch(frame("S", b"more")),
        batch(*unnamed("select 1"), sync()), simple("begin"),
        batch(parse("", "nonsense"), flush(), ends="E"), batch(frame("S", b"more")),
        batch(*unnamed("select 1"), sync()), simple("rollback", "select 1")),
    "a copy behind and before other statements of one pipeline": steps(
        lambda client: client.send(*unnamed("insert into t values (0, 'before')"), parse("", "copy t from stdin"), bind("", ""),
              execute(), flush()), lambda client: client.until("G"),
        lambda client: client.send(copy_data("1\tx\n"), copy_done(), *unnamed("insert into t values (2, 'behind')"), sync()),
        lambda client: client.until("Z"), simple("select * from t order by a", "truncate t")),
    "a copy, then others, then sync, all sent at once": steps(
        lambda client: client.send(parse("", "copy t from stdin"), bind("", ""), execute(), sync()),
        lambda client: client.until("G"),
        lambda client: client.send(copy_data("1\tx\n"), copy_done(),
                                   *unnamed("insert into t values (2, 'behind')"), sync()),
        lambda client: client.until("Z"), simple("select * from t order by a", "truncate t")),
}

SCRIPTS = {**TEXTS, **NAMES}

MALFORMED = ("a zero byte within a text", "a parse without its end", "a message with too much in it",
             "a sync with too much in it behind an error",
             "a sync with too much in it behind an error that a flush has told of")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_conversation(world, name):
    both_ways(world, SCRIPTS[name], times=2, own_errors=name in MALFORMED)


@pytest.mark.parametrize("begin", [
    simple("begin; insert into log(note) values ('unseen')"),
    simple("insert into log(note) values ('unseen'); begin; select 1"),
    batch(*unnamed("insert into log(note) values ('unseen')"), *unnamed("begin"), sync())],
    ids=["begin first", "begin behind it", "one pipeline"])
def test_what_is_not_committed_is_seen_by_nobody_else(world, begin):
    """Its own transaction reads it; neither that answer nor a later one may serve others."""
    with world.client() as first, world.client() as second:
        begin(first)
        for _ in range(2):
            assert first.rows(COUNT) == [("unseen", "1")]
            if world.postern is None or world.postern.settings["pool"]["size"] > 1:
                assert second.rows(COUNT) == []
        first.run("rollback")
        for client in (first, second):
            assert client.rows(COUNT) == []


# --- what breaks off ---


@pytest.mark.needs_postern
@pytest.mark.parametrize("left", [1, 5, 60, 200])
def test_a_row_that_breaks_off_is_not_completed_with_something_else(world, left):
    """The connection is lost with `left` bytes of a row still to come."""
    value = "v" * 300
    with world.client() as client:
        with world.relay.hold_answer("'breaks off'") as hold:
            client.send(query(f"select '{value}' where 'breaks off' <> ''"))
            hold.wait_answered()
            begin = hold.link.held_answers.index(b"D\0\0")
            end = begin + 1 + int.from_bytes(hold.link.held_answers[begin + 1 : begin + 5], "big")
            hold.pass_on(end - left)
            client.until("T")
            world.relay.cut(hold.link)
        with pytest.raises((Closed, ConnectionError)):
            while True:
                message = client.receive()
                assert message.tag != "D", f"a made-up row: {message.body}"


@pytest.mark.needs_postern
def test_a_row_that_a_stop_breaks_off_is_not_completed_with_something_else():
    value = "v" * 300
    with World(SCHEMA, pool_size=1) as world, world.client() as client:
        with world.relay.hold_answer("'breaks off'") as hold:
            client.send(query(f"select '{value}' where 'breaks off' <> ''"))
            hold.wait_answered()
            begin = hold.link.held_answers.index(b"D\0\0")
            end = begin + 1 + int.from_bytes(hold.link.held_answers[begin + 1 : begin + 5], "big")
            hold.pass_on(end - 5)
            client.until("T")
            stopping = threading.Thread(target=world.postern.stop)
            stopping.start()
            with pytest.raises((Closed, ConnectionError)):
                while True:
                    message = client.receive()
                    assert message.tag != "D", f"a made-up row: {message.body}"
            stopping.join()


# --- startup ---



def test_a_name_of_an_application_is_announced_as_postgresql_spells_it(world):
    both_ways(world, simple("show application_name"), application_name="žluť")


@pytest.mark.parametrize("options", ["--", "-- -c work_mem=5MB"])
def test_options_end_where_they_end_for_postgresql(world, options):
    def told(connect):
        try:
            with connect(options=options) as client:
                return client.value("show work_mem")
        except Refused as refused:
            return refused.code

    assert told(world.client) == told(world.direct)


def test_a_setting_of_ones_own_keeps_its_spelling(world):
    both_ways(world, simple("show my.own", "reset my.own", "show my.own", "set my.own = 'x'", "show my.own"),
              options="-c MY.Own=case")


@pytest.mark.needs_postern
@pytest.mark.parametrize("words", [b"SFATAL\0C53300\0\0", b"\0"], ids=["no message", "no fields"])
def test_a_server_that_refuses_without_a_message_is_told_with_one(world, words):
    def edit(tag, whole):
        return frame("E", words) if tag == "R" else whole

    editor = Editor(world.pg.address, edit)
    postern = Postern(editor.address, {
        "cache": {"enabled": False}, "databases": {"app": {"service": None}}})
    try:
        with pytest.raises(Refused) as refused:
            Client(postern.address)
        assert refused.value.fields["M"]
    finally:
        postern.remove()
        editor.end()
