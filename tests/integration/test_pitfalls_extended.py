"""What poolers have got wrong in the extended protocol: pipelines, names, portals, descriptions.

Every conversation is held with PostgreSQL and through Postern, in pools of one and of two servers,
twice so that the second run meets what the first has prepared, and once beside another client.
"""

import pytest
from harness.scripts import batch, beside_another, said, simple, steps, unnamed
from harness.waiting import eventually, until_one_waits
from harness.wire import (Answer, bind, close, copy_data, copy_done, copy_fail, describe, execute, flush,
                          frame, parse, query, sync, terminate)
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE item(id int PRIMARY KEY, name text);
INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 20) g;
CREATE TABLE log(id serial, note text);
CREATE TYPE mood AS ENUM ('sad', 'happy');
"""

ITEMS = "select id, name from item order by id"


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


def forget(*names):
    return batch(*[close("S", name) for name in names], sync())


PIPELINES = {
    "two batches in one write": batch(
        *unnamed("select name from item where id = 1"), sync(),
        *unnamed("insert into log(note) values ('two') returning note"), sync(),
        *unnamed("delete from log where note = 'two'"), sync(), count=3),
    "a write between hits": steps(simple(*["select name from item where id = 2"] * 2), batch(
        *unnamed("select name from item where id = 2"), sync(),
        *unnamed("update item set name = 'changed' where id = 2"), sync(),
        *unnamed("select name from item where id = 2"), sync(),
        *unnamed("update item set name = 'item 2' where id = 2"), sync(),
        *unnamed("select name from item where id = 2"), sync(), count=5)),
    "a failure does not reach the batch behind it": batch(
        parse("", "selec"), bind("", ""), execute(), parse("", "select 2"), bind("", ""), execute(),
        sync(), *unnamed("select 3"), sync(), *unnamed("select 1/0"), *unnamed("select 4"), sync(),
        *unnamed("select 5"), sync(), count=4),
    "what is known is skipped as well until sync": steps(
        batch(parse("known", "select name from item where id = $1"), sync()),
        said("E", parse("", "selec"), flush()),
        lambda client: client.send(parse("again", "select name from item where id = $1")),
        lambda client: client.send(describe("S", "known"), bind("", "known", ["1"]), flush()),
        lambda client: client.send(execute(), close("S", "known"), flush()),
        said("Z", sync()),
        batch(bind("", "known", ["1"]), execute(), sync()),
        batch(bind("", "again", ["1"]), execute(), sync()), forget("known")),
    "everything is skipped until sync": steps(
        said("1 E", *unnamed("select 1/0")[:2], flush()),
        lambda client: client.send(query("select 1"), copy_data("x"), copy_done(), copy_fail("y")),
        lambda client: client.send(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0")),
        said("Z", sync()), simple("select 2")),
    "an error while executing, then flushes, then sync": steps(
        lambda client: client.send(parse("", "select 1/(id - 3) from item order by id"),
                                   bind("", ""), execute(), flush()),
        lambda client: client.until("E"),
        lambda client: client.send(flush(), execute(), flush(), describe("P"), flush()),
        said("Z", sync())),
    "a failed batch inside a transaction": steps(
        simple("begin"), batch(*unnamed("select 1"), *unnamed("select 1/0"), *unnamed("select 2"), sync()),
        batch(*unnamed("select 3"), sync()), batch(sync()),
        batch(*unnamed("rollback"), *unnamed("select 4"), sync())),
    "transactions that end inside a pipeline": steps(batch(
        *unnamed("begin"), *unnamed("insert into log(note) values ('a')"), *unnamed("commit"),
        *unnamed("begin"), *unnamed("insert into log(note) values ('b')"), *unnamed("rollback"),
        *unnamed("select note from log where note in ('a', 'b')"), sync()),
        simple("delete from log where note = 'a'")),
    "syncs inside a transaction": batch(
        *unnamed("begin"), sync(), *unnamed("select name from item where id = 1"), sync(), sync(),
        *unnamed("select 1/0"), sync(), *unnamed("select 1"), sync(), *unnamed("commit"), sync(), count=6),
    "query in the middle of a batch": steps(
        batch(parse("", "select 1"), bind("", ""), query("select 2"), execute(), sync(), count=2),
        batch(parse("", "select 1"), query("select 2"), bind("", ""), execute(), sync(), count=2)),
    "query behind a flush": steps(
        said("1 2 D C", parse("", "select 'a'"), bind("", ""), execute(), flush()),
        batch(query("select 'b'")), batch(*unnamed("select 'c'"), sync())),
    "query that fails behind a flush": steps(
        said("1 2 C", parse("", "insert into log(note) values ('f')"), bind("", ""), execute(), flush()),
        batch(query("select 1/0")), batch(sync()), simple("select count(*) from log where note = 'f'")),
    "stray copy messages in the middle of a batch": batch(
        parse("", "select 1"), copy_data("x"), bind("", ""), copy_done(), execute(), copy_fail("y"), sync()),
    "empty statements": steps(
        batch(*unnamed(";"), sync()), batch(*unnamed("/* c */"), sync()), batch(*unnamed("-- c"), sync()),
        batch(parse("", ""), describe("S"), bind("", ""), describe("P"), execute(), execute(), sync())),
}

FLUSHES = {
    "described, then bound and run": steps(
        said("1 t T", parse("", "select id from item where id < $1 order by id"), describe("S"), flush()),
        said("2 D D C", bind("", "", ["3"]), execute(), flush()), said("Z", sync())),
    "a portal read in pieces": steps(
        said("1 2 T", parse("s", ITEMS), bind("p", "s"), describe("P", "p"), flush()),
        said("D D s", execute("p", 2), flush()), said("D D D s", execute("p", 3), flush()),
        said("3", close("P", "p"), flush()), said("Z", sync()), forget("s")),
    "two portals in turn": steps(
        said("1 2 2", parse("s", ITEMS), bind("p", "s"), bind("q", "s"), flush()),
        said("D s D D s", execute("p", 1), execute("q", 2), flush()),
        said("D s D s", execute("p", 1), execute("q", 1), flush()), said("Z", sync()), forget("s")),
    "each message on its own": steps(
        said("1", parse("", "select 'x'"), flush()), said("2", bind("", ""), flush()),
        said("T", describe("P"), flush()), said("D C", execute(), flush()), said("3", close("P"), flush()),
        said("3", close("S"), flush()), said("Z", sync())),
    "an error at bind": steps(
        said("1 t T", parse("", "select $1::int"), describe("S"), flush()),
        said("E", bind("", "", ["x"]), execute(), flush()), said("Z", sync()),
        batch(*unnamed("select 1"), sync())),
    "a write, then an error, undone": steps(
        said("1 2 C", parse("", "insert into log(note) values ('flushed')"), bind("", ""), execute(), flush()),
        said("E", parse("", "selec"), flush()), said("Z", sync()),
        simple("select count(*) from log where note = 'flushed'")),
    "a read that is cached": steps(
        simple(*["select name from item where id = 3"] * 2),
        said("1 2 T D C", *unnamed("select name from item where id = 3"), flush()),
        said("1 2 T D C", *unnamed("select name from item where id = 3"), flush()), said("Z", sync())),
    "flush alone": steps(lambda client: client.send(flush(), flush()), simple("select 1"),
                         said("Z", flush(), sync())),
}

NAMES = {
    "a name is taken inside a pipeline": steps(
        batch(parse("n", "select 1"), parse("n", "select 1"), bind("", "n"), execute(), sync()),
        batch(bind("", "n"), execute(), sync()), forget("n")),
    "a failed parse, then its name, then its text": steps(
        batch(parse("f", "select * from comes_later"), sync()),
        batch(parse("f", "select 1"), bind("", "f"), execute(), close("S", "f"), sync()),
        simple("create table comes_later(a int)", "insert into comes_later values (7)"),
        batch(parse("f", "select * from comes_later"), bind("", "f"), execute(), close("S", "f"), sync()),
        simple("drop table comes_later"),
        batch(parse("f", "select * from comes_later"), sync()), batch(bind("", "f"), sync())),
    "unknown names inside a pipeline": steps(
        batch(*unnamed("select 1"), bind("", "unknown"), execute(), *unnamed("select 2"), sync()),
        batch(describe("S", "unknown"), *unnamed("select 2"), sync()),
        batch(execute("unknown"), *unnamed("select 2"), sync()), batch(*unnamed("select 3"), sync())),
    "closing what is unknown": batch(
        close("S", "unknown"), close("P", "unknown"), close("S"), close("P"), *unnamed("select 1"), sync()),
    "the unnamed after its close": steps(
        batch(parse("", "select 1"), close("S"), sync()), batch(bind("", ""), execute(), sync()),
        batch(describe("S"), sync())),
    "a failed parse ends the unnamed": steps(
        batch(parse("", "select 1"), sync()), batch(parse("", "selec"), sync()),
        batch(bind("", ""), execute(), sync())),
    "long names": steps(
        batch(parse("n" * 200, "select 1"), sync()), batch(parse("n" * 200, "select 1"), sync()),
        batch(bind("p" * 200, "n" * 200), execute("p" * 200), sync()), forget("n" * 200)),
    "names with quotes and spaces": steps(
        batch(parse("it's \"a\" name", "select $1::int"), bind("", "it's \"a\" name"), execute(), sync()),
        forget("it's \"a\" name")),
    "one text with two parameter types": steps(
        batch(parse("i", "select $1", [23]), describe("S", "i"), parse("t", "select $1", [25]),
              describe("S", "t"), sync()),
        batch(bind("", "i", ["1"]), describe("P"), execute(), bind("", "t", ["1"]), describe("P"),
              execute(), sync()), forget("i", "t")),
    "close in a failed transaction": steps(
        batch(parse("c", "select 1"), sync()), simple("begin", "select 1/0"),
        batch(close("S", "c"), sync()), simple("rollback"), batch(bind("", "c"), sync())),
}

SQL_NAMES = {
    "deallocate through the protocol": steps(
        batch(parse("d", "select 1"), sync()), batch(*unnamed("deallocate d"), sync()),
        batch(bind("", "d"), execute(), sync()), batch(*unnamed("deallocate d"), sync())),
    "deallocate all through the protocol": steps(
        batch(parse("d", "select 1"), parse("e", "select 2"), sync()),
        batch(*unnamed("deallocate all"), sync()), batch(bind("", "d"), sync()),
        batch(parse("d", "select 3"), bind("", "d"), execute(), close("S", "d"), sync())),
    "deallocate behind a failure": steps(
        batch(parse("d", "select 1"), sync()),
        batch(*unnamed("select 1/0"), *unnamed("deallocate d"), sync()),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "deallocate all behind a failure": steps(
        batch(parse("d", "select 1"), sync()),
        batch(*unnamed("select 1/0"), *unnamed("deallocate all"), sync()),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "deallocate in a transaction that is rolled back": steps(
        batch(parse("d", "select 1"), sync()), simple("begin", "deallocate d", "rollback"),
        batch(bind("", "d"), sync())),
    "discard all through the protocol": steps(
        batch(parse("d", "select 1"), sync()), batch(*unnamed("discard all"), sync()),
        batch(bind("", "d"), execute(), sync())),
    "discard all behind a failure": steps(
        batch(parse("d", "select 1"), sync()),
        batch(*unnamed("select 1/0"), *unnamed("discard all"), sync()),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "discard plans keeps statements": steps(
        batch(parse("d", "select 1"), sync()), simple("discard plans", "discard sequences"),
        batch(bind("", "d"), execute(), sync()), forget("d")),
    "prepare, execute and deallocate through the protocol": steps(
        batch(*unnamed("prepare q(int) as select name from item where id = $1"), sync()),
        batch(*unnamed("execute q(3)"), sync()), batch(bind("", "q", ["4"]), execute(), sync()),
        batch(*unnamed("deallocate q"), sync()), batch(*unnamed("execute q(3)"), sync())),
    "prepare of a name that the protocol has": steps(
        batch(parse("q", "select 1"), sync()), simple("prepare q as select 2"),
        batch(bind("", "q"), execute(), sync()), forget("q")),
}

PORTALS = {
    "row limits of the unnamed portal over several syncs": steps(
        simple("begin"), batch(parse("", ITEMS), bind("", ""), execute("", 2), sync()),
        batch(execute("", 2), sync()), batch(execute("", 0), sync()), batch(execute("", 0), sync()),
        simple("commit"), batch(execute("", 0), sync())),
    "row limits of a cached read": steps(
        simple(ITEMS, ITEMS), batch(parse("", ITEMS), bind("", ""), execute("", 2), execute("", 2),
                                    execute("", 0), sync()),
        batch(parse("", ITEMS), bind("", ""), describe("P"), execute("", 20), execute("", 1), sync()),
        batch(parse("", ITEMS), bind("", ""), describe("P"), execute("", -1), sync())),
    "row limits of what returns nothing": batch(
        parse("", "set work_mem = '4MB'"), bind("", ""), execute("", 1), execute("", 1), sync()),
    "row limits of a write": steps(
        simple("begin"),
        batch(parse("", "insert into log(note) select 'l' from item returning note"), bind("", ""),
              execute("", 2), execute("", 2), sync()),
        batch(execute("", 0), sync()), simple("select count(*) from log where note = 'l'", "rollback")),
    "a portal does not outlive its transaction": steps(
        simple("begin"), batch(parse("", ITEMS), bind("p", ""), execute("p", 1), sync()), simple("commit"),
        batch(execute("p", 1), sync()), batch(describe("P", "p"), sync()), batch(close("P", "p"), sync())),
    "a portal outlives its statement": steps(
        simple("begin"), batch(parse("s", ITEMS), bind("p", "s"), close("S", "s"), execute("p", 1), sync()),
        batch(execute("p", 2), sync()), batch(bind("q", "s"), sync()), simple("rollback")),
    "a portal's name is taken": steps(
        simple("begin"), batch(parse("", ITEMS), bind("p", ""), bind("p", ""), sync()), simple("rollback"),
        batch(parse("", "select 1"), bind("", ""), bind("", ""), execute(), sync())),
    "portals are cursors": steps(
        simple("begin"), batch(parse("", ITEMS), bind("p", ""), execute("p", 1), sync()),
        simple("fetch 2 from p", "close p"), batch(execute("p", 1), sync()), simple("rollback")),
    "cursors are portals": steps(
        simple("begin", "declare c cursor for " + ITEMS), batch(execute("c", 2), sync()),
        simple("fetch 1 from c"), batch(describe("P", "c"), execute("c", 1), close("P", "c"), sync()),
        simple("fetch 1 from c", "rollback")),
    "a cursor through the protocol": steps(
        batch(*unnamed("begin"), *unnamed("declare c cursor for " + ITEMS), *unnamed("fetch 2 from c"), sync()),
        batch(*unnamed("fetch 2 from c", results=[1]), sync()), batch(*unnamed("commit"), sync()),
        batch(*unnamed("fetch 2 from c"), sync())),
    "a cursor with hold through the protocol": steps(
        batch(*unnamed("begin"), *unnamed("declare h cursor with hold for " + ITEMS), *unnamed("commit"), sync()),
        batch(*unnamed("fetch 2 from h"), sync()), batch(*unnamed("close h"), sync())),
    "savepoints end portals": steps(
        simple("begin", "savepoint a"), batch(parse("", ITEMS), bind("p", ""), execute("p", 1), sync()),
        simple("rollback to a"), batch(execute("p", 1), sync()), simple("rollback")),
}

DESCRIPTIONS = {
    "describe of the portal at the end": batch(*unnamed("select id from item where id = 1"), describe("P"), sync()),
    "describe of the statement at the end": steps(
        batch(parse("s", "select name from item where id = $1"), bind("", "s", ["1"]), execute(),
              describe("S", "s"), sync()),
        batch(bind("", "s", ["2"]), describe("P"), execute(), describe("S", "s"), sync()), forget("s")),
    "describe of everything, twice": steps(
        batch(parse("s", "select name from item where id = $1"), describe("S", "s"), describe("S", "s"),
              bind("", "s", ["1"]), describe("P"), describe("P"), execute(), describe("P"), sync()),
        forget("s")),
    "a trailing bind": steps(
        batch(parse("s", "select name from item where id = $1"), bind("", "s", ["1"]), execute(),
              bind("", "s", ["2"]), describe("P"), sync()), forget("s")),
    "describe of transaction control": steps(*[
        batch(parse("", sql), describe("S"), bind("", ""), describe("P"), execute(), sync())
        for sql in ("begin isolation level serializable", "savepoint a", "rollback to a", "commit",
                    "start transaction", "rollback")]),
    "describe of settings": steps(*[
        batch(parse("", sql), describe("S"), bind("", ""), describe("P"), execute(), sync())
        for sql in ("set work_mem = '5MB'", "show work_mem", "reset work_mem", "discard all",
                    "deallocate all", "select set_config('work_mem', '5MB', false)", "reset all")]),
    "describe of a write with returning": batch(
        parse("", "insert into log(note) values ($1) returning id > 0, note"), describe("S"), sync()),
    "describe in a failed transaction": steps(
        batch(parse("rows", "select 1"), parse("none", "rollback"), sync()), simple("begin", "select 1/0"),
        batch(describe("S", "rows"), sync()), batch(describe("S", "none"), sync()),
        batch(bind("", "none"), execute(), sync()), forget("rows", "none")),
}

# These keep their server, so that nobody else gets the only one of a pool while they last: a batch
# that a Flush has left open, PREPARE, cursors WITH HOLD, a failed DEALLOCATE, portals made by SQL.
KEEPING = {
    "pipeline: an error while executing, then flushes, then sync", "pipeline: query behind a flush",
    "pipeline: query that fails behind a flush", "flush: flush alone", "sql names: deallocate behind a failure",
    "sql names: prepare, execute and deallocate through the protocol", "portals: cursors are portals",
    "portals: a cursor with hold through the protocol"}

SCRIPTS = {f"{group}: {name}": script for group, scripts in (
    ("pipeline", PIPELINES), ("flush", FLUSHES), ("names", NAMES), ("sql names", SQL_NAMES),
    ("portals", PORTALS), ("describe", DESCRIPTIONS)) for name, script in scripts.items()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_extended_protocol(world, name):
    both_ways(world, SCRIPTS[name], times=2)


@pytest.mark.parametrize("name", SCRIPTS)
def test_extended_protocol_beside_another_client(world, name):
    if name in KEEPING and world.postern and world.postern.settings["pool"]["size"] == 1:
        pytest.skip("it keeps the only server")
    beside_another(world, SCRIPTS[name])


# Without the numbers of their tables, which differ each time they are made.
SHAPE = "select * from shape union all select * from shape where false"
FIRST = "select * from (select * from item union all select * from item where false) i where id = 1"

DDL = {
    "a temporary table comes to stand in front": steps(
        batch(parse("old", FIRST), bind("", "old"), execute(), sync()),
        simple("create temp table item(id int, other text, more int)", "insert into item values (1, 'temp', 2)"),
        batch(parse("new", FIRST), describe("S", "new"), bind("", "new"),
              execute(), sync()),
        simple("drop table pg_temp.item", "discard all")),
    "a column is added by a text of several statements": steps(
        simple("create table shape(a int)", "insert into shape values (1)"),
        batch(parse("old", SHAPE), bind("", "old"), execute(), sync()),
        simple("alter table shape add b int default 2; select 1"),
        batch(parse("new", SHAPE), describe("S", "new"), bind("", "new"), execute(), sync()),
        simple("drop table shape"), forget("old", "new")),
}


@pytest.mark.parametrize("name", DDL)
def test_a_statement_that_is_parsed_after_ddl(world, name):
    both_ways(world, DDL[name], times=2)


def test_pipelines_of_two_clients_do_not_cross(world):
    """Each has many batches under way at once, of reads and of writes."""
    with world.client() as first, world.client() as second:
        for turn in range(4):
            for name, client in (("first", first), ("second", second)):
                client.send(*[part for n in range(60) for part in (
                    *unnamed(f"select '{name} {turn}', {n}, count(*) >= 0 from log"), sync(),
                    *unnamed("select $1::text", [f"{name} {n}"]), sync())])
            for name, client in (("first", first), ("second", second)):
                for n in range(60):
                    assert Answer(client.until("Z")).rows == [(f"{name} {turn}", str(n), "t")]
                    assert Answer(client.until("Z")).rows == [(f"{name} {n}",)]


def test_a_failed_parse_of_one_client_does_not_harm_anothers(world):
    sql = "select * from made_later"
    with world.client() as first, world.client() as second:
        try:
            for client in (first, second, first, second):
                client.send(parse("s", sql), sync())
                assert Answer(client.until("Z")).code == "42P01"
            first.run("create table made_later(a int)", "insert into made_later values (3)")
            for client in (first, second, first, second):
                client.send(parse("s", sql), bind("", "s"), execute(), close("S", "s"), sync())
                assert Answer(client.until("Z")).rows == [("3",)]
        finally:
            first.query("drop table made_later")


@pytest.mark.needs_postern
def test_a_batch_that_a_flush_has_left_open_keeps_its_server():
    with World(SCHEMA, pool_size=1) as world, world.client() as first, world.client() as second:
        first.send(parse("", "select id from item where id < $1 order by id"), describe("S"), flush())
        first.expect("1 t T")
        second.send(query("select 'second', count(*) from log"))
        until_one_waits(world)
        first.send(bind("p", "", ["4"]), execute("p", 1), flush())
        first.expect("2 D s")
        assert second.silent()
        first.send(execute("p", 0), sync())
        first.expect("D D C Z")
        assert Answer(second.until("Z")).rows == [("second", "0")]


@pytest.mark.needs_postern
@pytest.mark.parametrize("keeps", [0, 1, 2, 3])
def test_statements_are_evicted_in_the_middle_of_a_pipeline(keeps):
    """A server keeps fewer statements than the pipeline has."""
    names = "abcde"
    parsed = [parse(name, f"select '{name}', $1::int") for name in names]
    run = [part for name in names for part in (
        bind("", name, ["1"]), describe("S", name), execute(), bind("", names[0], ["2"]), execute())]
    portals = steps(
        simple("begin"), batch(*[bind(f"p{name}", name, ["3"]) for name in names], sync()),
        batch(*[execute(f"p{name}") for name in names], sync()), simple("rollback"))
    fails = steps(
        batch(bind("", "a", ["1"]), execute(), bind("", "b", ["x"]), bind("", "c", ["1"]), execute(), sync()),
        batch(parse("f", "selec"), *run, sync()), batch(*run, sync()))
    conversation = steps(
        batch(*parsed, *run, sync()), batch(*run, sync()), portals, fails,
        batch(parse("a", "select 1"), sync()), batch(*[close("S", name) for name in "ace"], sync()),
        batch(bind("", "a", ["1"]), sync()), batch(bind("", "b", ["1"]), execute(), sync()))
    with World(SCHEMA, pool_size=1, settings={"pool": {"prepared_statements": keeps}}) as world:
        both_ways(world, conversation, times=2)
        beside_another(world, conversation)


def has_no_server(world, console):
    """Ends the pool's servers; whether there are none, and none is logging in.

    Not while one is lent: a session keeps its server until the catalog has been read, and would be
    ended along with it.
    """
    if any(row[3] != "idle" for row in console.rows("show servers")):
        return False
    world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'")
    sv_login = 12
    coming = any(row[sv_login] != "0" for row in console.rows("show pools"))
    return not coming and console.rows("show servers") == []


def test_a_client_that_leaves_in_the_middle_of_a_batch_commits_nothing(world):
    with world.client() as client:
        client.send(*unnamed("insert into log(note) values ('bye')"), terminate())
        client.gone()
    for _ in range(3):
        with world.client() as other:
            assert other.value("select count(*) from log where note = 'bye'") == "0"


@pytest.mark.needs_postern
def test_statements_follow_to_new_servers(world):
    sql = "select name from item where id = $1"
    with world.client() as first, world.client() as second:
        for client in (first, second):
            client.send(parse("s", sql), parse("t", "select 't'"), bind("", "s", ["1"]), execute(), sync())
            assert Answer(client.until("Z")).rows == [("item 1",)]
        for _ in range(2):
            with world.client(database="postern") as console:
                eventually(lambda: has_no_server(world, console), "the servers' end")
            for client in (first, second, first):
                client.send(bind("", "s", ["2"]), execute(), bind("", "t"), execute(), sync())
                assert Answer(client.until("Z")).rows == [("item 2",), ("t",)]
            second.send(parse("s", "select 1"), sync())
            assert Answer(second.until("Z")).code == "42P05"
            first.send(close("S", "t"), parse("t", "select 't'"), sync())
            first.expect("3 1 Z")
