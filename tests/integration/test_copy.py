"""COPY both ways, in both protocols, ended well and badly."""

import pytest
from harness.reads import marked, warm
from harness.waiting import eventually
from harness.wire import (Answer, bind, copy_data, copy_done, copy_fail, execute, flush, parse, query, sync)
from harness.world import World, both_ways


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    schema = "CREATE TABLE t(a int, b text); CREATE TABLE strict(a int PRIMARY KEY)"
    with World(schema, pool_size=request.param) as one:
        yield one


def copy_in(sql, *parts):
    def script(client):
        client.send(query(sql))
        client.until("G")
        client.send(*parts)
        client.until("Z")
        client.query("select * from t order by a")
        client.query("select * from strict order by a")
        client.query("truncate t, strict")

    return script


SCRIPTS = {
    "in": copy_in("copy t from stdin", copy_data("1\tone\n"), copy_data("2\ttwo\n3\t\\N\n"), copy_done()),
    "in, rows cut anywhere": copy_in(
        "copy t from stdin", *[copy_data(bytes([byte])) for byte in b"1\tone\n2\ttwo\n"], copy_done()),
    "in, nothing": copy_in("copy t from stdin", copy_done()),
    "in, csv": copy_in("copy t from stdin csv header", copy_data("a,b\n5,\"x,y\"\n"), copy_done()),
    "in, given up": copy_in("copy t from stdin", copy_data("1\tone\n"), copy_fail("changed my mind")),
    "in, a bad row": copy_in("copy t from stdin", copy_data("1\tone\nx\ty\n"), copy_done()),
    "in, a duplicate": copy_in("copy strict from stdin", copy_data("1\n1\n"), copy_done()),
    "in, flush and sync are ignored": copy_in(
        "copy t from stdin", copy_data("1\tone\n"), flush(), sync(), copy_data("2\ttwo\n"), copy_done()),
    "in, a foreign message ends the connection": lambda client: (
        client.send(query("copy t from stdin")), client.until("G"),
        client.send(copy_data("1\tone\n"), query("select 1")), client.gone()),
    "in, the server fails long before the end": copy_in(
        "copy t from stdin", copy_data("x\ty\n"), *[copy_data("1\t" + "z" * 8000 + "\n")] * 200,
        copy_done()),
    "in, large": copy_in(
        "copy t from stdin", *[copy_data("7\t" + "w" * 50_000 + "\n")] * 40, copy_done()),
    "late messages": lambda client: (
        client.send(query("copy t from stdin")), client.until("G"), client.send(copy_done()),
        client.until("Z"), client.send(copy_data("1\tx\n"), copy_done(), copy_fail("no")),
        client.query("select * from t")),
    "to an unknown table": lambda client: (
        client.query("copy no_such_table from stdin"), client.query("select 1")),
    "out": lambda client: (
        client.query("insert into t values (1, 'one'), (2, null)"),
        client.query("copy t to stdout"), client.query("copy (select 1, 'x') to stdout csv header"),
        client.query("copy t to stdout binary"), client.query("truncate t")),
    "out, large": lambda client: client.query(
        "copy (select g, repeat('x', 1000) from generate_series(1, 3000) g) to stdout"),
    "out, fails midway": lambda client: (
        client.query("copy (select 1/(1000 - g) from generate_series(1, 2000) g) to stdout"),
        client.query("select 1")),
    "among several statements": lambda client: (
        client.send(query("select 1; copy t from stdin; select 2")), client.until("G"),
        client.send(copy_data("1\tone\n"), copy_done()), client.until("Z"),
        client.query("select * from t; copy t to stdout; truncate t")),
    "in a transaction": lambda client: (
        client.query("begin"), client.send(query("copy t from stdin")), client.until("G"),
        client.send(copy_data("1\tone\n"), copy_done()), client.until("Z"),
        client.query("select count(*) from t"), client.query("rollback"),
        client.query("select count(*) from t")),
    "in, extended": lambda client: (
        client.send(parse("", "copy t from stdin"), bind("", ""), execute(), sync()),
        client.expect("1 2 G"), client.send(copy_data("1\tone\n"), copy_done(), sync()),
        client.until("Z"), client.query("select * from t"), client.query("truncate t")),
    "in, extended with flush": lambda client: (
        client.send(parse("", "copy t from stdin"), bind("", ""), execute(), flush()),
        client.expect("1 2 G"), client.send(copy_data("1\tone\n"), copy_done(), sync()),
        client.until("Z"), client.query("select * from t"), client.query("truncate t")),
    "in, extended, given up": lambda client: (
        client.send(parse("", "copy t from stdin"), bind("", ""), execute(), sync()),
        client.expect("1 2 G"), client.send(copy_fail("no"), sync()), client.until("Z"),
        client.query("select 1")),
    "out, extended": lambda client: (
        client.send(parse("", "copy (select 1) to stdout"), bind("", ""), execute(), sync()),
        client.until("Z")),
    "in, all in one write": lambda client: (
        client.send(query("copy t from stdin"), copy_data("1\tone\n"), copy_done(),
                    query("select * from t"), query("truncate t")),
        client.until("Z"), client.until("Z"), client.until("Z")),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_copy(world, name):
    both_ways(world, SCRIPTS[name], times=2)


def test_the_servers_error_comes_before_the_client_is_done(world):
    """The client learns of it at once, and what it goes on sending is thrown away."""
    with world.client() as client:
        client.send(query("copy t from stdin"))
        client.until("G")
        client.send(copy_data("x\ty\n"), *[copy_data("1\tz\n" * 1000)] * 20)
        client.until("E")
        client.send(copy_data("2\tz\n"), copy_done())
        client.until("Z")
        assert client.value("select count(*) from t") == "0"


def test_a_client_that_leaves_in_the_middle_of_copy_in_leaves_nothing(world):
    client = world.client()
    client.send(query("copy t from stdin"))
    client.until("G")
    client.send(copy_data("1\tone\n"))
    client.drop()
    for _ in range(3):
        with world.client() as other:
            assert other.value("select count(*) from t") == "0"


def test_a_client_that_leaves_in_the_middle_of_copy_out_leaves_a_usable_pool(world):
    client = world.client()
    client.send(query("copy (select repeat('x', 10000) from generate_series(1, 20000)) to stdout"))
    client.until("d")
    client.drop()
    for _ in range(3):
        with world.client() as other:
            assert other.value("select 1") == "1"


@pytest.mark.needs_postern
def test_what_a_flushed_copy_has_written_is_seen(world):
    sql = marked("select count(*) from t where a > 900")
    with world.client() as client, world.client() as reader:
        for number in range(901, 904):
            warm(world, reader, sql)
            before = int(reader.value(sql))
            client.send(parse("", "copy t from stdin"), bind("", ""), execute(), flush())
            client.expect("1 2 G")
            client.send(copy_data(f"{number}\tx\n"), copy_done(), sync())
            client.until("Z")
            assert int(reader.value(sql)) == before + 1
        client.run("delete from t where a > 900")


@pytest.mark.parametrize("begin", [False, True])
def test_a_sync_long_after_the_copys_end(world, begin):
    with world.client() as client, world.client() as other:
        if begin:
            client.run("begin")
        client.send(parse("", "copy t from stdin"), bind("", ""), execute(), flush())
        client.expect("1 2 G")
        client.send(copy_data("951\tx\n"), copy_done(), flush())
        client.expect("C")
        client.send(sync())
        client.expect("Z")
        if begin:
            client.run("commit")
        for number in range(3):
            assert client.value(f"select {number}") == str(number)
            assert other.value(f"select {number} + 10") == str(number + 10)
        client.run("delete from t where a = 951")


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("begin", [False, True])
def test_a_copy_that_fails_before_a_large_message_has_gone(world, begin, extended):
    with world.client() as client, world.client() as other:
        if begin:
            client.run("begin")
        if extended:
            client.send(parse("", "copy t from stdin"), bind("", ""), execute(), sync())
            client.expect("1 2 G")
        else:
            client.send(query("copy t from stdin"))
            client.expect("G")
        large = copy_data("1\t" + "x" * (4 << 20) + "\n")
        client.send(copy_data("nonsense\n"), large[: 3 << 20])
        eventually(lambda: not client.silent(), "the error")
        client.raw(large[3 << 20 :])
        client.send(copy_done(), *([sync()] if extended else []))
        assert Answer(client.until("Z")).code == "22P02"
        if begin:
            client.query("rollback")
        for number in range(3):
            assert client.value(f"select {number}") == str(number)
            assert other.value(f"select {number} + 10") == str(number + 10)
