"""The same conversation with PostgreSQL and through Postern, byte for byte.

Every script runs through pools of one and of two servers, twice each, so that the second run meets
whatever the first one left in cache and servers; a second client interleaves statements of its own.
"""

import socket

import pytest
from harness.scripts import batch, beside_another, simple, steps, unnamed
from harness.waiting import eventually
from harness.wire import Client, bind, close, describe, execute, flush, frame, parse, query, sync, terminate
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE item(id int PRIMARY KEY, name text, price numeric, made timestamptz DEFAULT '2024-02-29');
INSERT INTO item(id, name, price) SELECT g, 'item ' || g, g * 1.5 FROM generate_series(1, 20) g;
CREATE TABLE log(id serial, note text);
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


SIMPLE = {
    "one row": simple("select 1"),
    "several rows of several types": simple(
        "select id, name, price, made, null::text, array[id], row(id, name) from item order by id"),
    "no row": simple("select * from item where false"),
    "no column": simple("select from item"),
    "several statements": simple("select 1; select 'two'; select 3 where false"),
    "a failure among several statements": simple("select 1; select 1/0; select 3"),
    "an implicit transaction is rolled back": simple(
        "insert into log(note) values ('a'); select 1/0", "select count(*) from log where note = 'a'"),
    "commit among several statements": simple(
        "insert into log(note) values ('b') returning note; commit; select 1/0",
        "select count(*) from log where note = 'b'", "delete from log where note = 'b'"),
    "begin among several statements": simple(
        "select 1; begin; select 2", "select 3", "commit; select 4"),
    "an empty query": simple("", ";", " ;; ", "/* nothing */", "-- nothing"),
    "an empty statement among others": simple("select 1;;select 2", ";select 1"),
    "a syntax error": simple("selec 1", "select 1"),
    "an unknown table": simple("select * from no_such_table", "select 1"),
    "errors carry position, detail and hint": simple(
        "insert into item(id) values (1)", "select nme from item", "select 'x'::int"),
    "transaction": simple(
        "begin", "select 1", "insert into log(note) values ('t')", "select note from log", "rollback",
        "select count(*) from log where note = 't'"),
    "failed transaction": simple(
        "begin", "select 1/0", "select 1", "select count(*) from item", "commit", "select 1"),
    "failed transaction rolled back": simple("begin", "nonsense", "select 1", "rollback", "select 2"),
    "savepoints": simple(
        "begin", "savepoint a", "select 1/0", "rollback to a", "select 1", "release a", "commit"),
    "transaction commands outside a transaction": simple("commit", "rollback", "end", "abort"),
    "begin twice": simple("begin", "begin", "select 1", "commit"),
    "empty transactions": simple("begin", "commit", "begin", "rollback", "start transaction", "end"),
    "transaction modes": simple(
        "begin isolation level serializable read only", "show transaction_isolation",
        "insert into log(note) values ('no')", "rollback",
        "begin", "set transaction isolation level repeatable read", "show transaction_isolation",
        "commit"),
    "and chain": simple(
        "begin isolation level repeatable read", "select 1", "commit and chain",
        "show transaction_isolation", "rollback and chain", "select 2", "commit"),
    "savepoint outside a transaction": simple("savepoint a", "select 1"),
    "a notice": simple("do $$ begin raise notice 'hello %', 1; end $$", "select 1"),
    "warnings and info": simple(
        "do $$ begin raise warning 'w'; raise info 'i'; end $$", "set local work_mem = '1MB'"),
    "notices among rows": simple(
        "create function noticing(a int) returns int language plpgsql as "
        "$$ begin raise notice 'row %', a; return a; end $$",
        "select noticing(g) from generate_series(1, 3) g", "drop function noticing"),
    "commands without rows": simple(
        "create table made(a int)", "insert into made values (1), (2)", "update made set a = 3",
        "delete from made", "truncate made", "drop table made"),
    "explain": simple("explain (costs off) select * from item where id = 1", "explain nonsense"),
    "set and show": simple("set work_mem = '3MB'", "show work_mem", "reset work_mem", "show work_mem"),
    "a reported setting is reported": simple(
        "set timezone to 'Asia/Tokyo'", "select made from item where id = 1", "reset timezone",
        "select made from item where id = 1", "set application_name = 'x'",
        "set datestyle = 'German'", "select '2024-02-29'::date", "reset all",
        "select '2024-02-29'::date"),
    "cursors": simple(
        "begin", "declare c cursor for select id from item order by id", "fetch 2 from c",
        "move 3 in c", "fetch next from c", "close c", "fetch next from c", "rollback"),
    "sql prepare": simple(
        "prepare p(int) as select name from item where id = $1", "execute p(3)", "execute p(4)",
        "deallocate p", "execute p(3)", "deallocate all"),
    "declare with hold": simple(
        "begin", "declare h cursor with hold for select id from item order by id", "commit",
        "fetch 3 from h", "close h", "fetch 1 from h"),
    "data-modifying cte": simple(
        "with w as (insert into log(note) values ('cte') returning note) select * from w",
        "select count(*) from log where note = 'cte'",
        "with d as (delete from log where note = 'cte' returning 1) select count(*) from d"),
    "merge": simple(
        "merge into log l using (values ('m')) v(n) on l.note = v.n "
        "when not matched then insert (note) values (v.n)",
        "select note from log where note = 'm'", "delete from log where note = 'm'"),
    "discard all": simple("set work_mem = '7MB'", "discard all", "show work_mem"),
    "discard all inside a transaction": simple("begin", "discard all", "rollback"),
    "vacuum": simple("vacuum log", "begin", "vacuum log", "rollback"),
    "a wide answer": simple("select repeat('x', 300000), g from generate_series(1, 20) g"),
    "many rows": simple("select g, g::text from generate_series(1, 20000) g"),
    "a wide statement": simple("select length('" + "y" * 200_000 + "')"),
    "unicode and quoting": simple("select 'žluťoučký', E'a\\nb', $q$it's$q$, U&'\\0061'"),
    "comments": simple("/* a /* nested */ comment */ select 1 -- end", "select /* ; */ 2"),
    "standard_conforming_strings off": simple(
        "set standard_conforming_strings = off", r"select 'a\'b; select 2 --'",
        "reset standard_conforming_strings"),
    "nextval": simple("select setval('log_id_seq', 41)", "select nextval('log_id_seq')"),
    "set local": simple(
        "begin", "set local work_mem = '9MB'", "show work_mem", "commit", "show work_mem"),
    "set is undone by rollback": simple(
        "begin", "set work_mem = '9MB'", "show work_mem", "rollback", "show work_mem"),
    "set is undone by rollback to": simple(
        "set work_mem = '2MB'", "begin", "savepoint a", "set work_mem = '9MB'", "rollback to a",
        "show work_mem", "commit", "show work_mem"),
    "set fails": simple("set work_mem = 'nonsense'", "set no_such_setting = 1", "show work_mem"),
    "custom setting": simple("set my.setting = 'a'", "show my.setting", "reset my.setting",
                             "select current_setting('my.setting', true)"),
    "set_config": simple(
        "select set_config('my.other', 'v', false)", "select current_setting('my.other')",
        "select set_config('work_mem', '11MB', true)", "show work_mem"),
    "select for update": simple("begin", "select id from item where id = 1 for update", "commit"),
    "advisory locks": simple("select pg_advisory_lock(7)", "select pg_advisory_unlock(7)"),
    "the same read again": simple(*["select name from item where id = 5"] * 3),
}


EXTENDED = {
    "unnamed": batch(*unnamed("select $1::int + 1", ["41"]), sync()),
    "without describe": batch(
        parse("", "select name from item where id = $1"), bind("", "", ["3"]), execute(), sync()),
    "named, bound twice": steps(
        batch(parse("s", "select name from item where id = $1"), sync()),
        batch(bind("", "s", ["1"]), execute(), sync()),
        batch(bind("", "s", ["2"]), describe("P"), execute(), sync()),
        batch(close("S", "s"), sync()),
        batch(bind("", "s", ["3"]), execute(), sync())),
    "describe a statement": batch(
        parse("s", "select id, name from item where id = $1 and name = $2"), describe("S", "s"),
        close("S", "s"), sync()),
    "describe what returns nothing": batch(
        parse("", "insert into log(note) values ($1)"), describe("S"), bind("", "", ["x"]),
        describe("P"), sync()),
    "describe after execute": batch(
        *unnamed("select id from item order by id limit 2"), describe("P"), sync()),
    "describe only": steps(
        batch(parse("d", "select 1"), describe("S", "d"), sync()),
        batch(describe("S", "d"), sync()), batch(close("S", "d"), sync())),
    "binary results": batch(*unnamed(
        "select id, name, price, made, 1.5::float8, true from item where id = $1", ["3"],
        results=[1]), sync()),
    "mixed formats": batch(*unnamed(
        "select id, name from item where id = $1", [b"\0\0\0\3"], [23], [1], [1, 0]), sync()),
    "a null parameter": batch(*unnamed("select $1::text is null, $1::text", [None]), sync()),
    "a parameter that is no number": steps(
        batch(*unnamed("select $1::int", ["x"]), sync()), batch(*unnamed("select 1"), sync())),
    "an empty statement": batch(*unnamed(""), sync()),
    "several statements are refused": batch(parse("", "select 1; select 2"), sync()),
    "a parse error skips until sync": batch(
        parse("", "selec"), bind("", ""), execute(), *unnamed("select 2"), sync()),
    "errors in a pipeline of several syncs": batch(
        *unnamed("select 1"), sync(), *unnamed("select 1/0"), *unnamed("select 2"), sync(),
        *unnamed("select 3"), sync(), count=3),
    "reads around writes in one batch": steps(batch(
        *unnamed("select count(*) from log where note = 'p'"),
        *unnamed("insert into log(note) values ('p')"),
        *unnamed("select count(*) from log where note = 'p'"), sync()),
        simple("delete from log where note = 'p'")),
    "a failure undoes the batch": steps(
        batch(*unnamed("insert into log(note) values ('gone')"), *unnamed("select 1/0"), sync()),
        simple("select count(*) from log where note = 'gone'")),
    "sync alone": batch(sync(), sync(), count=2),
    "the error stands until a late sync": steps(
        lambda client: client.send(parse("", "selec"), flush()),
        lambda client: client.expect("E"),
        lambda client: client.send(*unnamed("select 1"), flush()),
        batch(sync())),
    "flush": steps(
        lambda client: client.send(parse("", "select name from item where id = $1"),
                                   describe("S"), flush()),
        lambda client: client.expect("1 t T"),
        lambda client: client.send(bind("", "", ["4"]), execute(), flush()),
        lambda client: client.expect("2 D C"),
        batch(sync())),
    "flush after a failure": steps(
        lambda client: client.send(
            *unnamed("select 1/(id - 1) from item where id = 1"), flush()),
        lambda client: client.expect("1 2 T E"),
        batch(sync())),
    "query inside an open batch": batch(
        *unnamed("select 1"), query("select 2"), sync(), count=2),
    "query inside a failed batch is skipped": steps(
        batch(parse("", "selec"), query("select 2"), sync()), simple("select 3")),
    "row limits": steps(simple("begin"), batch(
        parse("", "select id from item order by id limit 5"), bind("", ""), execute("", 2),
        execute("", 2), execute("", 2), execute("", 2), sync()), simple("commit")),
    "row limits over several syncs": steps(
        simple("begin"),
        batch(parse("", "select id from item order by id"), bind("p", ""), execute("p", 7), sync()),
        batch(execute("p", 7), sync()), batch(execute("p", 0), sync()),
        batch(close("P", "p"), sync()), batch(execute("p", 1), sync()), simple("rollback")),
    "row limits with flush": steps(
        lambda client: client.send(parse("", "select id from item order by id"), bind("", ""),
                                   execute("", 2), flush()),
        lambda client: client.expect("1 2 D D s"),
        lambda client: client.send(execute("", 3), flush()),
        lambda client: client.expect("D D D s"),
        batch(sync())),
    "a portal dies at sync": steps(
        batch(parse("", "select id from item order by id"), bind("p", ""), execute("p", 1), sync()),
        batch(execute("p", 1), sync())),
    "a limit larger than the answer": batch(
        parse("", "select id from item where id < 3 order by id"), bind("", ""), execute("", 10),
        execute("", 10), sync()),
    "a limit on a write": steps(batch(
        *unnamed("insert into log(note) values ('l1'), ('l2') returning note", rows=1), sync()),
        simple("select count(*) from log where note like 'l_'", "delete from log where note like 'l_'")),
    "executed twice": batch(
        parse("", "select name from item where id = 6"), bind("", ""), execute(), execute(), sync()),
    "bound twice": batch(
        parse("", "select name from item where id = $1"), bind("", "", ["6"]), execute(),
        bind("", "", ["7"]), execute(), sync()),
    "statements and portals have separate names": batch(
        parse("x", "select name from item where id = $1"), bind("x", "x", ["1"]), execute("x"),
        close("P", "x"), bind("x", "x", ["2"]), execute("x"), close("S", "x"), sync()),
    "a name is taken": steps(
        batch(parse("n", "select 1"), sync()), batch(parse("n", "select 2"), sync()),
        batch(bind("", "n"), execute(), sync()),
        batch(close("S", "n"), parse("n", "select 3"), bind("", "n"), execute(), sync()),
        batch(close("S", "n"), sync())),
    "a failed parse leaves its name free": steps(
        batch(parse("q", "select nonsense from item"), sync()),
        batch(parse("q", "select 1"), bind("", "q"), execute(), close("S", "q"), sync())),
    "a failed batch keeps statements parsed before": steps(
        batch(parse("k", "select 5"), *unnamed("select 1/0"), sync()),
        batch(bind("", "k"), execute(), sync()), batch(close("S", "k"), sync())),
    "unknown names": steps(
        batch(bind("", "unknown"), sync()), batch(describe("S", "unknown"), sync()),
        batch(describe("P", "unknown"), sync()), batch(execute("unknown"), sync()),
        batch(close("S", "unknown"), close("P", "unknown"), sync())),
    "close of the unnamed": batch(
        parse("", "select 1"), bind("", ""), execute(), close("P"), close("S"), sync()),
    "the unnamed statement lives on": steps(
        batch(parse("", "select 11"), sync()), batch(bind("", ""), execute(), sync()),
        batch(bind("", ""), describe("P"), execute(), sync())),
    "a simple query drops the unnamed statement": steps(
        batch(parse("", "select 11"), sync()), simple("select 1"),
        batch(bind("", ""), execute(), sync())),
    "transaction control": steps(
        batch(*unnamed("begin"), sync()), batch(*unnamed("select 1"), sync()),
        batch(*unnamed("commit"), sync())),
    "a whole transaction in one batch": steps(batch(
        *unnamed("begin"), *unnamed("insert into log(note) values ('whole')"), *unnamed("commit"),
        *unnamed("select count(*) from log where note = 'whole'"), sync()),
        simple("delete from log where note = 'whole'")),
    "describe of begin": steps(
        batch(parse("", "begin"), describe("S"), sync()), batch(bind("", ""), execute(), sync()),
        simple("rollback")),
    "a failed transaction": steps(
        simple("begin"), batch(*unnamed("select 1/0"), sync()), batch(*unnamed("select 1"), sync()),
        batch(*unnamed("select name from item where id = 1"), sync()),
        batch(*unnamed("rollback"), sync())),
    "set in the extended protocol": steps(
        batch(*unnamed("set work_mem = '4MB'"), sync()), simple("show work_mem"),
        batch(*unnamed("select set_config($1, $2, false)", ["work_mem", "6MB"]), sync()),
        simple("show work_mem"), batch(*unnamed("reset work_mem"), sync()), simple("show work_mem")),
    "prepared before and used inside a transaction": steps(
        batch(parse("t", "select name from item where id = $1"), sync()), simple("begin"),
        batch(bind("", "t", ["1"]), execute(), sync()), simple("rollback"),
        batch(bind("", "t", ["1"]), execute(), sync()), batch(close("S", "t"), sync())),
    "deallocate of a protocol statement": steps(
        batch(parse("z", "select 1"), sync()), simple("deallocate z"),
        batch(bind("", "z"), execute(), sync())),
    "deallocate all": steps(
        batch(parse("y", "select 1"), sync()), simple("deallocate all"),
        batch(bind("", "y"), execute(), sync()),
        batch(parse("y", "select 2"), bind("", "y"), execute(), close("S", "y"), sync())),
    "discard all drops statements": steps(
        batch(parse("w", "select 1"), sync()), simple("discard all"),
        batch(bind("", "w"), execute(), sync())),
    "sql execute of a protocol statement": steps(
        batch(parse("v", "select 'v'", []), sync()), simple("execute v"),
        batch(close("S", "v"), sync())),
    "too few parameters": batch(parse("", "select $1::int"), bind("", ""), execute(), sync()),
    "cached plan must not change result type": steps(
        simple("create table shifting(a int)"),
        batch(parse("c", "select * from shifting"), bind("", "c"), execute(), sync()),
        simple("alter table shifting add b int"),
        batch(bind("", "c"), execute(), sync()), batch(close("S", "c"), sync()),
        simple("drop table shifting")),
    "many statements in one write": batch(
        *[part for number in range(300)
          for part in (*unnamed("select name from item where id = $1", [str(number % 20 + 1)]),
                       sync())], count=300),
    "function call": batch(
        # abs(int4): OID 1397, one text argument, text result.
        frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0")),
    "stray copy messages are ignored": steps(
        lambda client: client.send(frame("d", b"x"), frame("c"), frame("f", b"why\0")),
        simple("select 1")),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_simple_protocol(world, name):
    both_ways(world, SIMPLE[name], times=2)


@pytest.mark.parametrize("name", EXTENDED)
def test_extended_protocol(world, name):
    both_ways(world, EXTENDED[name], times=2)


@pytest.mark.parametrize("name", EXTENDED)
def test_extended_protocol_beside_another_client(world, name):
    """Between the conversation's reads another client uses the same servers."""
    if name == "function call" and world.postern and world.postern.settings["pool"]["size"] == 1:
        pytest.skip("a function called by its number keeps its server: what it does to it is not seen")
    beside_another(world, EXTENDED[name])


def test_terminate_closes(world):
    with world.client() as client:
        client.send(terminate())
        assert client.gone()


def test_half_close_after_a_query_still_gets_the_answer(world):
    with world.client() as client:
        client.send(query("select 'late'"))
        client.socket.shutdown(socket.SHUT_WR)
        assert [one.tag for one in client.until("Z")] == ["T", "D", "C", "Z"]


def test_half_close_behind_an_answer_still_gets_the_rest_of_it(world):
    # A Unix socket holds some 200 KiB, and Postern as much again before it leaves the rest with PostgreSQL.
    size = 350_000
    with Client(world.postern.socket_address) as client:
        client.send(query(f"select repeat('x', {size})"))
        eventually(lambda: world.pg.value(
            "select count(*) from pg_stat_activity where query like 'select repeat%' and state = 'idle'") == 1)
        client.socket.shutdown(socket.SHUT_WR)
        assert [len(one.body) for one in client.until("Z") if one.tag == "D"] == [size + 6]


def test_half_close_still_gets_an_answer_that_its_socket_can_not_hold(world):
    with world.client() as client:
        client.send(query("select repeat('x', 1000000) from generate_series(1, 40)"))
        client.socket.shutdown(socket.SHUT_WR)
        # It begins to read when the server has long sent all that it can.
        eventually(lambda: world.pg.value(
            "select count(*) from pg_stat_activity where query like 'select repeat%' and wait_event = 'ClientWrite'") == 1)
        rows = [one for one in client.until("Z") if one.tag == "D"]
        assert [len(one.body) for one in rows] == [1000006] * 40
