"""Races and wrong answers of result caches, one test each, made to happen by the relay.

The numbers are those of the table of races that the design was checked against; where a race needs
several instances it is not here.
"""

import threading

import pytest
from harness.reads import assert_hits, assert_never_hits, mark_of, marked, warm
from harness.waiting import until_one_waits
from harness.wire import (Answer, Closed, bind, copy_data, copy_done, describe, execute, parse, query,
                          sync)
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
CREATE TABLE t(id int PRIMARY KEY, v text);
CREATE TABLE u(id int PRIMARY KEY, v text);
CREATE SEQUENCE seq;
CREATE MATERIALIZED VIEW frozen AS SELECT 1 AS a;
CREATE SCHEMA one;
CREATE SCHEMA two;
CREATE TABLE one.place(a text);
CREATE TABLE two.place(a text);
INSERT INTO one.place VALUES ('one');
INSERT INTO two.place VALUES ('two');
CREATE FUNCTION hidden_write() RETURNS void LANGUAGE sql AS $$ UPDATE t SET v = 'hidden' WHERE id = 1 $$;
CREATE FUNCTION not_so_immutable() RETURNS text IMMUTABLE LANGUAGE sql AS
    $$ SELECT v FROM t WHERE id = 1 $$;
CREATE PROCEDURE inner_commit() LANGUAGE plpgsql AS
    $$ BEGIN UPDATE t SET v = 'call 1' WHERE id = 1; COMMIT;
             UPDATE t SET v = 'call 2' WHERE id = 1; COMMIT; END $$;
CREATE FUNCTION go_to(path text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('search_path', path, false); END $$;
CREATE FUNCTION noisy(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'noise'; RETURN a; END $$;
CREATE FUNCTION steady(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN a; END $$;
"""

RULES = {
    "rules": [{"name": "everything", "ttl": "10min"}],
    "functions": [{"name": "public.noisy", "cacheable": True},
                  {"name": "public.steady", "cacheable": True}],
}


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA, pool_size=4, rules=RULES) as one:
        yield one


@pytest.fixture(autouse=True)
def fresh(world):
    with world.client() as client:
        client.run("truncate t, u", "insert into t values (1, 'old'), (2, 'two')",
                   "insert into u values (1, 'u')")


@pytest.fixture
def reader(world):
    with world.client() as one:
        yield one


@pytest.fixture
def writer(world):
    with world.client() as one:
        yield one


@pytest.fixture
def third(world):
    with world.client() as one:
        yield one


def read():
    return marked("select v from t where id = 1")


# --- 1: the old snapshot that is stored after the write ---


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_row_01_a_read_that_a_write_overtakes_is_not_stored(world, reader, writer, third, extended):
    sql = read()
    with world.relay.hold_answer(mark_of(sql)) as hold:
        if extended:
            reader.send(parse("", sql), bind("", ""), execute(), sync())
        else:
            reader.send(query(sql))
        hold.wait_answered()
        writer.run("update t set v = 'new' where id = 1")
    assert Answer(reader.until("Z")).rows == [("old",)]
    for one in (third, reader, writer):
        assert one.value(sql) == "new"


def test_row_01_the_overtaking_write_is_a_transaction(world, reader, writer, third):
    sql = read()
    with world.relay.hold_answer(mark_of(sql)) as hold:
        reader.send(query(sql))
        hold.wait_answered()
        writer.run("begin", "update t set v = 'new' where id = 1", "commit")
    reader.until("Z")
    assert third.value(sql) == "new"


def test_row_01_the_write_began_before_the_read_and_ends_within_it(world, reader, writer, third):
    sql = read()
    writer.run("begin", "update t set v = 'new' where id = 1")
    with world.relay.hold_answer(mark_of(sql)) as hold:
        reader.send(query(sql))
        hold.wait_answered()
        writer.run("commit")
    assert Answer(reader.until("Z")).rows == [("old",)]
    assert third.value(sql) == "new"


# --- 3: the acknowledgement that comes before the invalidation ---


def test_row_03_whoever_reads_after_the_acknowledgement_sees_the_write(world, reader, writer):
    sql = read()
    for number in range(500):
        writer.run(f"update t set v = '{number}' where id = 1")
        assert reader.value(sql) == str(number)
        assert reader.value(sql) == str(number)


# --- 4: committed inside the server, not yet answered ---


def slow_ack(world, write, finish, reader, needle):
    """Runs a write whose answer is held: meanwhile nobody may be served from the cache."""
    sql = read()
    warm(world, reader, sql)
    with world.relay.hold_answer(needle) as hold:
        write()
        hold.wait_answered()
        with world.relay.counting(mark_of(sql)) as passed:
            for _ in range(2):
                assert reader.value(sql) == "new", "the write has happened"
            assert passed() == 2, "a fence stands from before the write was sent"
    finish()
    for _ in range(2):
        assert reader.value(sql) == "new"


def test_row_04_autocommit(world, reader, writer):
    slow_ack(world, lambda: writer.send(query("update t set v = 'new' where id = 1")),
             lambda: writer.expect("C Z"), reader, "update t")


def test_row_04_extended_autocommit(world, reader, writer):
    slow_ack(world, lambda: writer.send(parse("", "update t set v = $1 where id = 1"),
                                        bind("", "", ["new"]), execute(), sync()),
             lambda: writer.expect("1 2 C Z"), reader, "update t")


def test_row_04_commit(world, reader, writer):
    writer.run("begin", "update t set v = 'new' where id = 1")
    slow_ack(world, lambda: writer.send(query("commit")), lambda: writer.expect("C Z"), reader,
             "commit")


def test_row_04_extended_commit(world, reader, writer):
    writer.run("begin", "update t set v = 'new' where id = 1")
    slow_ack(world, lambda: writer.send(parse("", "commit"), bind("", ""), execute(), sync()),
             lambda: writer.expect("1 2 C Z"), reader, "commit")


def test_row_04_several_statements(world, reader, writer):
    slow_ack(world, lambda: writer.send(query("select 1; update t set v = 'new' where id = 1")),
             lambda: writer.until("Z"), reader, "update t")


def test_row_04_copy(world, reader, writer):
    """The commit of a COPY comes with CopyDone, long after its text."""
    count = marked("select count(*) from t")
    before = warm(world, reader, count).rows
    writer.send(query("copy t from stdin"))
    writer.until("G")
    writer.send(copy_data("9\tnine\n"))
    assert reader.query(count).rows == before
    writer.send(copy_done())
    writer.until("Z")
    for _ in range(2):
        assert reader.value(count) == "3"


def test_row_04_a_write_in_a_batch_that_is_synced_late(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.send(parse("", "update t set v = 'new' where id = 1"), bind("", ""), execute(),
                b"H\0\0\0\4")
    writer.expect("1 2 C")
    assert reader.value(sql) == "old", "not committed before Sync"
    assert reader.value(sql) == "old"
    writer.send(sync())
    writer.until("Z")
    assert reader.value(sql) == "new"


# --- 5: invalidated before the write only ---


def test_row_05_a_refill_between_invalidation_and_write_does_not_stay(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    with world.relay.hold_statement("update t") as hold:
        writer.send(query("update t set v = 'new' where id = 1"))
        hold.wait()
        for _ in range(2):
            assert reader.value(sql) == "old"
    writer.until("Z")
    assert reader.value(sql) == "new"


def test_row_05_commit_is_held(world, reader, writer):
    sql = read()
    writer.run("begin", "update t set v = 'new' where id = 1")
    with world.relay.hold_statement("commit") as hold:
        writer.send(query("commit"))
        hold.wait()
        for _ in range(3):
            assert reader.value(sql) == "old"
    writer.until("Z")
    assert reader.value(sql) == "new"


# --- 6: the own rows of an open transaction ---


def test_row_06_a_writing_transaction_sees_its_own_rows_and_nobody_else_does(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.run("begin", "update t set v = 'mine' where id = 1")
    for _ in range(2):
        assert writer.value(sql) == "mine"
        assert reader.value(sql) == "old"
    writer.run("rollback")
    assert writer.value(sql) == "old"
    assert reader.value(sql) == "old"


def test_row_06_a_transaction_that_wrote_by_a_function_sees_it(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.run("begin", "select hidden_write()")
    assert writer.value(sql) == "hidden"
    writer.run("commit")
    assert reader.value(sql) == "hidden"


# --- 7: rollback and savepoints ---


def test_row_07_a_rollback_lifts_without_a_miss(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.run("begin", "update t set v = 'no' where id = 1", "rollback")
    with world.relay.counting(mark_of(sql)) as passed:
        assert reader.value(sql) == "old"
        assert passed() == 0


def test_row_07_savepoints_keep_what_was_written(world, reader, writer):
    sql, other = read(), marked("select v from u where id = 1")
    warm(world, reader, sql)
    warm(world, reader, other)
    writer.run("begin", "savepoint a", "update t set v = 'undone' where id = 1", "rollback to a",
               "update u set v = 'kept' where id = 1", "savepoint b",
               "update t set v = 'kept' where id = 1", "release b")
    assert writer.value(sql) == "kept"
    writer.run("commit")
    assert reader.value(sql) == "kept"
    assert reader.value(other) == "kept"


def test_row_07_a_commit_that_turns_into_a_rollback(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.run("begin", "update t set v = 'no' where id = 1")
    writer.query("select 1/0")
    assert writer.run("commit") == "ROLLBACK"
    assert reader.value(sql) == "old"


def test_row_07_commit_and_chain_goes_on_writing(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.run("begin", "update t set v = 'first' where id = 1", "commit and chain")
    assert reader.value(sql) == "first"
    writer.run("update t set v = 'second' where id = 1")
    assert writer.value(sql) == "second"
    assert reader.value(sql) == "first"
    writer.run("commit")
    assert reader.value(sql) == "second"


# --- 8: several statements, and pipelines up to Sync ---


def test_row_08_reads_and_writes_in_one_query(world, reader, writer):
    sql = read()
    warm(world, writer, sql)
    answer = writer.query(
        "select v from t where id = 1; update t set v = 'new' where id = 1; select v from t where id = 1")
    assert answer.rows == [("old",), ("new",)]
    assert reader.value(sql) == "new"


def test_row_08_a_pipeline_answers_in_order_and_sees_its_own_writes(world, reader, writer):
    sql = read()
    warm(world, writer, sql)
    one_read = (parse("", sql), bind("", ""), execute())
    writer.send(*one_read, parse("", "update t set v = 'new' where id = 1"), bind("", ""), execute(),
                *one_read, sync(), *one_read, sync())
    assert Answer(writer.until("Z")).rows == [("old",), ("new",)]
    assert Answer(writer.until("Z")).rows == [("new",)]
    assert reader.value(sql) == "new"


def test_row_08_a_failing_pipeline_writes_nothing(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    writer.send(parse("", "update t set v = 'no' where id = 1"), bind("", ""), execute(),
                parse("", "select 1/0"), bind("", ""), execute(), parse("", sql), bind("", ""),
                execute(), sync())
    assert [one.tag for one in writer.until("Z")][-2:] == ["E", "Z"]
    assert reader.value(sql) == "old"
    assert writer.value(sql) == "old"


# --- 9: writes that do not look like one ---

HIDDEN = {
    "call with inner commits": ("call inner_commit()", "call 2"),
    "do": ("do $$ begin update t set v = 'do' where id = 1; end $$", "do"),
    "a function": ("select hidden_write()", "hidden"),
    "a function in a from list": ("select * from hidden_write() x", "hidden"),
    "a data-modifying cte": (
        "with w as (update t set v = 'cte' where id = 1 returning v) select v from w", "cte"),
    "a cte under a select": (
        "with a as (select 1), w as (update t set v = 'deep' where id = 1 returning v)"
        " select * from a", "deep"),
    "explain analyze": ("explain analyze update t set v = 'explained' where id = 1", "explained"),
    "merge": ("merge into t using (values (1)) x(id) on t.id = x.id"
              " when matched then update set v = 'merged'", "merged"),
    "on conflict": ("insert into t values (1, 'x') on conflict (id) do update set v = 'upserted'",
                    "upserted"),
    "prepare and execute": (
        "prepare p as update t set v = 'prepared' where id = 1; execute p; deallocate p", "prepared"),
    "a comment in front": ("/* select */ update t set v = 'commented' where id = 1", "commented"),
    "a rule": (
        "create or replace view tv as select * from t; update tv set v = 'by view' where id = 1",
        "by view"),
    "returning": ("update t set v = 'returned' where id = 1 returning v", "returned"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_row_09_a_hidden_write_is_a_write(world, reader, writer, name):
    sql = read()
    warm(world, reader, sql)
    statement, wanted = HIDDEN[name]
    assert not writer.query(statement).error
    assert reader.value(sql) == wanted


@pytest.mark.parametrize("statement", [
    "select v into made from t", "create table made as select v from t",
    "create table made(a) as table t with no data"])
def test_row_09_a_table_made_by_a_query_is_there(world, reader, writer, statement):
    count = marked("select count(*) from made")
    assert reader.query(count).code == "42P01"
    writer.query(statement)
    assert not reader.query(count).error
    writer.run("drop table made")
    assert reader.query(count).code == "42P01"


# --- 13: what nobody tells about ---


@pytest.mark.parametrize("sql", [
    "select * from frozen", "select last_value from seq", "select relname from pg_class limit 1",
    "select count(*) from pg_stat_activity", "select count(*) from pg_largeobject_metadata"])
def test_row_13_what_changes_unseen_is_not_cached(world, reader, sql):
    assert_never_hits(world, reader, marked(sql))


def test_row_13_a_temporary_table_is_not_cached(world, reader):
    reader.run("create temp table mine(a int)", "insert into mine values (1)")
    assert_never_hits(world, reader, marked("select a from mine"))


# --- 14: names that mean something else ---


def test_row_14_one_text_two_schemas(world, reader, writer):
    sql = marked("select a from place")
    reader.run("set search_path = one")
    writer.run("set search_path = two")
    for _ in range(3):
        assert reader.value(sql) == "one"
        assert writer.value(sql) == "two"


def test_row_14_a_search_path_for_one_transaction(world, reader):
    sql = marked("select a from place")
    reader.run("set search_path = one")
    warm(world, reader, sql)
    reader.run("begin", "set local search_path = two")
    assert reader.value(sql) == "two"
    reader.run("rollback")
    assert reader.value(sql) == "one"


def test_row_14_a_search_path_that_rollback_takes_back(world, reader):
    sql = marked("select a from place")
    reader.run("set search_path = one", "begin", "set search_path = two")
    assert reader.value(sql) == "two"
    reader.run("rollback")
    for _ in range(2):
        assert reader.value(sql) == "one"


def test_row_14_a_search_path_set_inside_a_function(world, reader):
    sql = marked("select a from place")
    reader.run("set search_path = one, public")
    warm(world, reader, sql)
    reader.run("select go_to('two, public')")
    assert reader.value(sql) == "two"
    assert reader.value(sql) == "two"


def test_row_14_a_temporary_table_shadows(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    reader.run("create temp table t(id int, v text)", "insert into t values (1, 'shadow')")
    for _ in range(2):
        assert reader.value(sql) == "shadow"
        assert writer.value(sql) == "old"


def test_row_14_a_table_that_comes_to_stand_in_front(world, reader, writer):
    reader.run("set search_path = front, public")
    sql = read()
    warm(world, reader, sql)
    writer.run("create schema front", "create table front.t(id int, v text)",
               "insert into front.t values (1, 'front')")
    assert reader.value(sql) == "front"
    writer.run("drop schema front cascade")
    assert reader.value(sql) == "old"


# --- 15: settings that shape the answer ---

SETTINGS = {
    "timezone": ["'Asia/Tokyo'", "'America/Lima'"],
    "datestyle": ["'German'", "'SQL, DMY'"],
    "intervalstyle": ["'iso_8601'", "'sql_standard'"],
    "client_encoding": ["'LATIN1'", "'UTF8'"],
    "extra_float_digits": ["0", "-5"],
    "bytea_output": ["'escape'", "'hex'"],
    "xmlbinary": ["'hex'", "'base64'"],
    "lc_monetary": ["'C'", "'C.UTF-8'"],
    "lc_numeric": ["'C'", "'C.UTF-8'"],
    "lc_time": ["'C'", "'C.UTF-8'"],
    "default_text_search_config": ["'simple'", "'german'"],
    "transform_null_equals": ["on", "off"],
    "search_path": ["one, public", "two, public"],
    "row_security": ["on", "off"],
    "array_nulls": ["on", "off"],
    "quote_all_identifiers": ["on", "off"],
    "xmloption": ["content", "document"],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_row_15_every_setting_gets_the_bytes_that_postgresql_gives(world, reader, writer, name):
    """Two sessions that differ in one setting only, and PostgreSQL itself under the same one."""
    sql = marked(
        "select timestamptz '2024-02-29 12:00+00' + (id - 1) * interval '1 hour', date '2024-02-29',"
        " id * interval '1 day 02:03:04', id / 3.0::float8, '\\xff00'::bytea, v || 'é',"
        " 12.5::money * id, to_tsvector(v), (v = null), array[id, null] from t order by id")
    with world.direct() as direct:
        for value in SETTINGS[name] * 2:
            for one in (reader, direct):
                one.run(f"set {name} = {value}")
            wanted = direct.query(sql)
            assert reader.query(sql).messages == wanted.messages, value
            assert reader.query(sql).messages == wanted.messages, value
        for value in SETTINGS[name]:
            writer.run(f"set {name} = {value}")
            direct.run(f"set {name} = {value}")
            assert writer.query(sql).messages == direct.query(sql).messages


def test_row_15_a_role_is_part_of_the_key(world, reader):
    sql = read()
    warm(world, reader, sql)
    world.pg.run("GRANT alice TO app")
    reader.run("set role alice")
    assert reader.query(sql).code == "42501"
    reader.run("reset role")
    assert reader.value(sql) == "old"


# --- 16: what the client asked shapes the bytes ---


def test_row_16_formats_types_and_limits_do_not_mix(world, reader):
    sql = marked("select id, v from t where id >= $1 order by id")
    with world.direct() as direct:
        for _ in range(2):
            for types, value, formats in (([23], "1", []), ([23], b"\0\0\0\1", [1]),
                                          ([20], b"\0\0\0\0\0\0\0\1", [1]), ([], "1", [0])):
                for results in ([], [1], [1, 0]):
                    for rows in (0, 1, 2, 3):
                        for with_description in (True, False):
                            messages = [parse("", sql, types), bind("", "", [value], formats, results)]
                            messages += [describe("P")] if with_description else []
                            messages += [execute("", rows), sync()]
                            answers = []
                            for one in (direct, reader):
                                one.send(*messages)
                                answers.append(one.until("Z"))
                            assert answers[0] == answers[1]


# --- 17: what depends on more than the data ---


@pytest.mark.parametrize("sql", [
    "select now()", "select current_date", "select random()", "select nextval('seq')",
    "select pg_sleep(0)", "select statement_timestamp()", "select 'now'::timestamptz",
    "select not_so_immutable()", "select pg_try_advisory_xact_lock(1)", "select txid_current()"])
def test_row_17_what_depends_on_the_moment_is_not_cached(world, reader, sql):
    assert_never_hits(world, reader, marked(sql))


def test_row_17_a_function_that_lies_about_its_volatility_is_not_believed(world, reader, writer):
    sql = marked("select not_so_immutable()")
    assert reader.value(sql) == "old"
    writer.run("update t set v = 'new' where id = 1")
    assert reader.value(sql) == "new"


# --- 18: rows without an order ---


def test_row_18_rows_without_an_order_are_cacheable(world, reader):
    assert_hits(world, reader, marked("select id from t limit 1"))


# --- 19: locks, cursors, isolation ---


def test_row_19_a_lock_is_taken(world, reader, writer):
    sql = marked("select v from t where id = 1 for update")
    reader.run("begin")
    reader.query(sql)
    writer.run("set lock_timeout = '50ms'")
    assert writer.query("update t set v = 'x' where id = 1").code == "55P03"
    reader.run("rollback")
    assert_never_hits(world, reader, sql)


def test_row_19_cursors_read_from_postgresql(world, reader, writer):
    for value in ("a", "b"):
        writer.run(f"update t set v = '{value}' where id = 1")
        reader.run("begin", "declare c cursor for select v from t where id = 1")
        assert reader.rows("fetch all from c") == [(value,)]
        reader.run("commit")


def test_row_19_repeatable_read_keeps_its_snapshot(world, reader, writer):
    sql = read()
    warm(world, reader, sql)
    reader.run("begin isolation level repeatable read")
    assert reader.value("select v from t where id = 2") == "two"
    writer.run("update t set v = 'new' where id = 1")
    assert writer.value(sql) == "new"
    assert writer.value(sql) == "new"
    for _ in range(2):
        assert reader.value(sql) == "old"
    reader.run("commit")
    assert reader.value(sql) == "new"


def test_row_19_serializable_finds_write_skew(world, reader, writer):
    """Both read from what the other writes: PostgreSQL must see both reads to refuse one."""
    both = marked("select count(*) from t where v = 'on'")
    with world.client() as setup:
        setup.run("update t set v = 'on'")
        warm(world, setup, both)
    for one in (reader, writer):
        one.run("begin isolation level serializable")
    for one in (reader, writer):
        assert one.value(both) == "2"
    codes = [reader.query("update t set v = 'off' where id = 1").code,
             writer.query("update t set v = 'off' where id = 2").code,
             reader.query("commit").code, writer.query("commit").code]
    assert "40001" in codes
    for one in (reader, writer):
        if one.status != "I":
            one.query("rollback")


def test_row_19_the_default_isolation_level_counts(world, reader, writer):
    sql = read()
    reader.run("set default_transaction_isolation = 'serializable'")
    warm(world, writer, sql)
    reader.run("begin")
    assert_never_hits(world, reader, sql)
    reader.run("commit")


# --- 30: the follower that comes after the write ---


def test_row_30_a_follower_does_not_get_an_answer_from_before_its_own_arrival(
        world, reader, writer, third):
    sql = read()
    with world.relay.hold_answer(mark_of(sql)) as hold:
        reader.send(query(sql))
        hold.wait_answered()
        writer.run("update t set v = 'new' where id = 1")
        third.send(query(sql))
        third.silent(0.05)  # whether it waits for the flight to land or goes by itself
    assert Answer(third.until("Z")).rows == [("new",)]
    assert Answer(reader.until("Z")).rows == [("old",)]
    assert third.value(sql) == "new"


def test_row_30_a_writer_does_not_follow_an_older_flight(world, reader, writer):
    sql = read()
    with world.relay.hold_answer(mark_of(sql)) as hold:
        reader.send(query(sql))
        hold.wait_answered()
        writer.run("update t set v = 'new' where id = 1")
        writer.send(query(sql))
        writer.silent(0.05)
    assert Answer(writer.until("Z")).rows == [("new",)]
    reader.until("Z")


def test_row_30_followers_share_one_flight_when_nothing_was_written(world, reader, third):
    sql = read()
    with world.relay.counting(mark_of(sql)) as passed:
        with world.relay.hold_answer(mark_of(sql)) as hold:
            reader.send(query(sql))
            hold.wait_answered()
            third.send(query(sql))
            assert third.silent(0.1)
        assert Answer(reader.until("Z")).rows == [("old",)]
        assert Answer(third.until("Z")).rows == [("old",)]
        assert passed() == 1


def test_row_30_who_has_a_server_does_not_follow_one_who_waits_for_it():
    sql = marked("select count(*) from t")
    with World(SCHEMA, pool_size=1, settings={"pool": {"wait_timeout": "3s"}}) as small:
        with small.client() as holder, small.client() as leader:
            holder.run("begin", "select now()")
            leader.send(query(sql))
            until_one_waits(small)
            assert holder.value(sql) == "0"
            holder.run("commit")
            assert Answer(leader.until("Z")).rows == [("0",)]


def test_row_30_a_follower_survives_its_leader(world, reader, third):
    sql = read()
    with world.relay.hold_answer(mark_of(sql)) as hold:
        reader.send(query(sql))
        hold.wait_answered()
        third.send(query(sql))
        assert third.silent(0.05)
        world.relay.cut(hold.link)
    assert Answer(third.until("Z")).rows == [("old",)]


# --- 31: nothing found, then inserted ---


def test_row_31_an_empty_answer_ends_with_the_first_row(world, reader, writer):
    sql = marked("select v from t where id = 3")
    assert warm(world, reader, sql).rows == []
    writer.run("insert into t values (3, 'three')")
    assert reader.rows(sql) == [("three",)]
    writer.run("delete from t where id = 3")
    assert reader.rows(sql) == []


# --- 32: keys that run into each other ---


def test_row_32_parameters_do_not_run_into_each_other(world, reader):
    sql = marked("select $1::text, $2::text, $3::text from t where id = 1")
    values = [("ab", "c", ""), ("a", "bc", ""), ("", "abc", ""), ("abc", "", ""), ("a", "b", "c"),
              (None, "abc", ""), ("", None, "abc"), ("abc", None, None), (None, None, "abc"),
              ("null", "", ""), ("a\1b", "c", ""), ("a", "\1bc", "")]
    for _ in range(3):
        for one in values:
            assert reader.prepared(sql, one).rows == [one]


def test_row_32_statements_that_differ_in_a_constant_or_a_blank(world, reader):
    mark = mark_of(marked(""))
    for _ in range(3):
        for text, wanted in (("select 'a b' from t", "a b"), ("select 'a  b' from t", "a  b"),
                             ("select 'A b' from t", "A b"), ("select 'a' 'b' from t", None),
                             ("select 12 from t", "12"), ("select 1.2 from t", "1.2"),
                             ("select '12' from t", "12"), ("select -12 from t", "-12"),
                             ('select v as "12" from t', "old")):
            answer = reader.query(f"{text} where id = 1 -- {mark}")
            assert (answer.rows[0][0] if answer.rows else None) == wanted
    for _ in range(2):
        first = reader.query(f"select id as a from t where id = 1 -- {mark}").messages
        second = reader.query(f"select id as b from t where id = 1 -- {mark}").messages
        assert first != second


# --- 34: answers that are not whole ---


def test_row_34_an_answer_that_ends_in_an_error_is_not_kept(world, reader):
    sql = marked("select 10 / (2 - id) from t order by id")
    with world.relay.counting(mark_of(sql)) as passed:
        for _ in range(3):
            assert reader.query(sql).code == "22012"
        assert passed() == 3


def test_row_34_an_answer_with_a_notice_is_not_kept(world, reader):
    assert_hits(world, reader, marked("select steady(id) from t"))
    sql = marked("select noisy(id) from t")
    for _ in range(3):
        answer = reader.query(sql)
        assert len(answer.notices) == 2 and len(answer.rows) == 2
    assert_never_hits(world, reader, sql)


@pytest.mark.parametrize("size", [1, 4, 5, 6, 20, 40, 60])
def test_row_34_an_answer_that_breaks_off_is_not_kept(world, third, size):
    sql = marked("select v from t order by id")
    with world.client() as client:
        with world.relay.hold_answer(mark_of(sql)) as hold:
            client.send(query(sql))
            hold.wait_answered()
            hold.pass_on(size)
            world.relay.cut(hold.link)
        try:
            assert client.until("E")
        except (Closed, ConnectionError):
            pass
    assert third.rows(sql) == [("old",), ("two",)]
    assert third.rows(sql) == [("old",), ("two",)]


def test_row_34_a_cancelled_read_is_not_kept(world, reader, third):
    sql = marked("select count(*) from generate_series(1, 200000000) g, t")
    reader.send(query(sql))
    world.relay._wait(lambda: any(mark_of(sql) in text for _, text in world.relay.executed), 10, sql)
    threading.Event().wait(0.05)
    reader.cancel()
    assert Answer(reader.until("Z")).code == "57014"
    third.send(query(sql))
    assert third.silent(0.1)
    third.cancel()
    assert Answer(third.until("Z")).code == "57014"


def test_row_34_a_reader_that_leaves_midway_leaves_no_half_answer(world, third):
    sql = marked("select v, repeat('x', 5000) from t, generate_series(1, 100) g order by id, g")
    for size in (10, 3000, 100_000):
        client = world.client()
        with world.relay.hold_answer(mark_of(sql)) as hold:
            client.send(query(sql))
            hold.wait_answered()
            hold.pass_on(size)
            client.drop()
        assert len(third.rows(sql)) == 200
        assert len(third.rows(sql)) == 200
        third.run("update t set v = v")
