"""What poolers have got wrong in the simple protocol: texts of several statements, transactions, and
what of a session's state stays behind on a server."""

import os
import subprocess

import pytest
from harness.scripts import batch, beside_another, simple, steps, unnamed
from harness.waiting import eventually
from harness.wire import Answer, Closed, Refused, frame, query, sync
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE t(a int);
CREATE TABLE log(id serial, note text);
CREATE SCHEMA one;
CREATE TABLE late(a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION quietly(v text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'set work_mem = ' || quote_literal(v); END $$;
CREATE FUNCTION hides_a_table() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN CREATE TEMP TABLE hidden(a int); END $$;
CREATE FUNCTION hides_a_lock() RETURNS boolean LANGUAGE sql AS $$ SELECT pg_try_advisory_lock(43) $$;
CREATE FUNCTION with_its_own_setting() RETURNS text LANGUAGE sql SET work_mem = '21MB' AS
    $$ SELECT current_setting('work_mem') $$;
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


COUNT = "select note, count(*) from log group by note order by note"

TEXTS = {
    "a commit in the middle keeps what was before it": simple(
        "insert into log(note) values ('kept'); commit; insert into log(note) values ('lost'); select 1/0",
        COUNT, "truncate log"),
    "begin and the write's tags in their order": simple(
        "begin; insert into log(note) values ('x') returning note; commit", COUNT, "truncate log"),
    "a whole failed transaction": simple(
        "begin; insert into log(note) values ('x'); select 1/0; commit", COUNT, "commit", COUNT),
    "rollback in the middle": simple(
        "insert into log(note) values ('gone'); rollback; insert into log(note) values ('here')", COUNT,
        "truncate log"),
    "two transactions": simple(
        "begin; insert into log(note) values ('1'); commit; begin; insert into log(note) values ('2'); rollback",
        COUNT, "truncate log"),
    "chained": simple(
        "begin isolation level repeatable read; select 1; commit and chain; show transaction_isolation",
        "rollback and chain; show transaction_isolation", "rollback", "show transaction_isolation"),
    "begin held back, then several statements": simple(
        "begin", "insert into log(note) values ('x'); select 1; rollback; select 2", COUNT),
    "begin held back, then an error": simple("begin", "select 1/0", "select 1", "rollback", "select 2"),
    "begin held back, then a syntax error": simple("begin", "selec", "commit", "select 2"),
    "begin held back, then a text that ends it": simple(
        "begin", "commit; insert into log(note) values ('after'); select 1/0", COUNT),
    "begin held back, then its modes": simple(
        "begin", "set transaction isolation level serializable, read only", "show transaction_isolation",
        "insert into log(note) values ('no')", "rollback", COUNT),
    "begin held back, then a savepoint": simple(
        "begin", "savepoint a", "insert into log(note) values ('x')", "rollback to a", COUNT, "commit", COUNT),
    "begin held back, then another begin": simple("begin", "begin", "begin; select 1", "commit"),
    "begin read only": simple("begin read only", "insert into log(note) values ('x')", "select 1", "end"),
    "begin with modes that are refused": simple(
        "begin isolation level nonsense", "select 1", "begin read only, read write", "rollback",
        "start transaction isolation level serializable read write deferrable", "show transaction_isolation",
        "rollback"),
    "begin held back, then vacuum": simple("begin", "vacuum t", "rollback", "vacuum t"),
    "begin held back, then prepare transaction": simple(
        "begin", "insert into log(note) values ('2pc')", "prepare transaction 'pit'", COUNT,
        "commit prepared 'pit'", COUNT, "truncate log"),
    "an error at commit": simple(
        "insert into late values (1)", "begin", "insert into late values (1)", "commit", "select count(*) from late",
        "begin; insert into late values (1); commit; select 1", "select count(*) from late",
        "insert into late values (1); select 1", "truncate late"),
    "vacuum among several": simple("select 1; vacuum t", "vacuum t; select 1", "select 2"),
    "nothing but semicolons and comments": simple(
        "", " ", "\n", ";", ";;", "/* c */", "-- c", "/* c */ ; -- d", "/* /* nested */ */", "begin; ; commit"),
    "comments that are not closed": simple("/* c", "select 1 /* c", "select 'x", 'select "x', "select $q$x"),
    "a text that is no utf-8": lambda client: (
        client.send(frame("Q", b"select '\xff\xfe'\0")), client.until("Z"), client.query("select 1")),
    "savepoints and settings": simple(
        "set work_mem = '2MB'; begin; savepoint a; set work_mem = '9MB'; rollback to a; show work_mem; commit",
        "show work_mem", "begin; set work_mem = '8MB'; savepoint a; set local work_mem = '9MB'; release a",
        "show work_mem", "commit", "show work_mem", "reset work_mem"),
    "set local outside a transaction": simple(
        "set local work_mem = '9MB'", "show work_mem", "set local work_mem = '9MB'; show work_mem",
        "show work_mem", "begin; set local work_mem = '9MB'; commit; show work_mem"),
    "a function with a setting of its own": simple(
        "select with_its_own_setting()", "show work_mem", "begin", "select with_its_own_setting()",
        "show work_mem", "rollback"),
    "discard in parts": simple(
        "discard plans", "discard sequences", "discard temp", "discard plans; select 1", "discard all; select 1",
        "begin", "discard temp", "rollback"),
    "reset of what was given at login": simple(
        "set datestyle = 'German'", "select '2024-02-29'::date", "reset datestyle", "select '2024-02-29'::date"),
}

KEEPING = {"discard in parts", "a function with a setting of its own"}  # their server while they last


def has_one_server(world):
    return world.postern is not None and world.postern.settings["pool"]["size"] == 1


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_transactions(world, name):
    both_ways(world, TEXTS[name], times=2)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_transactions_beside_another_client(world, name):
    if name in KEEPING and has_one_server(world):
        pytest.skip("it keeps the only server")
    beside_another(world, TEXTS[name])


FUNCTIONS = {
    "a function with a null": batch(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\xff\xff\xff\xff\0\0")),
    "an unknown function": steps(
        batch(frame("F", (999999).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0")), simple("select 1")),
    "a function that fails": steps(
        batch(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\1x\0\0")), simple("select 1")),
    "too few arguments": steps(
        batch(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\0\0\0")), simple("select 1")),
    "in a failed transaction": steps(
        simple("begin", "select 1/0"),
        batch(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0")), simple("rollback")),
    "begin held back, then a function": steps(
        simple("begin"), batch(frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0")),
        simple("commit")),
    "behind an open batch": batch(
        *unnamed("select 1"), frame("F", (1397).to_bytes(4, "big") + b"\0\0\0\1\0\0\0\2-5\0\0"), sync(), count=2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_called_by_number(world, name):
    both_ways(world, FUNCTIONS[name], times=2)


def function_call(oid, *arguments):
    """In binary, both ways."""
    body = oid.to_bytes(4, "big") + b"\0\1\0\1" + len(arguments).to_bytes(2, "big")
    body += b"".join(len(one).to_bytes(4, "big") + one for one in arguments)
    return frame("F", body + b"\0\1")


def test_large_objects_by_function_calls(world):
    """As JDBC and libpq read and write them."""
    oids = dict(world.pg.run("select proname, oid::int from pg_proc where proname in "
                             "('lo_open', 'lowrite', 'loread', 'lo_close', 'lo_lseek')"))
    number = world.pg.value("select lo_create(0)::int")
    world.pg.run(f"alter large object {number} owner to app")

    def whole(value):
        return value.to_bytes(4, "big")

    def script(client):
        client.query("begin")
        for call in (function_call(oids["lo_open"], whole(number), whole(0x60000)),
                     function_call(oids["lowrite"], whole(0), b"many bytes" * 10000),
                     function_call(oids["lo_lseek"], whole(0), whole(5), whole(0)),
                     function_call(oids["loread"], whole(0), whole(90000)),
                     function_call(oids["lo_close"], whole(0))):
            client.send(call)
            client.until("Z")
        client.query("commit")
        client.query("select 1")

    both_ways(world, script, times=2)


# --- what stays behind ---


STATE = """
select (select string_agg(name || '=' || setting, ',') from pg_settings where source = 'session'
          and name not in ('application_name', 'transaction_isolation', 'transaction_read_only',
                           'transaction_deferrable')),
       current_user, session_user, current_setting('work_mem'), current_setting('search_path'),
       (select count(*) from pg_listening_channels()), (select count(*) from pg_cursors where name <> ''),
       (select count(*) from pg_prepared_statements where from_sql),
       (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'),
       to_regclass('pg_temp.hidden') is null, to_regclass('pg_temp.mine') is null
"""

TRACES = {
    "set": ["set work_mem = '9MB'"],
    "set session": ["set session work_mem = '9MB'"],
    "set_config": ["select set_config('work_mem', '9MB', false)"],
    "set_config of rows": ["select set_config(name, '9MB', false) from (values ('work_mem')) v(name)"],
    "set_config in a cte": ["with s as (select set_config('work_mem', '9MB', false)) select * from s"],
    "set_config in a where": ["select 1 where set_config('work_mem', '9MB', false) <> ''"],
    "set_config in an insert": ["insert into t select 1 where set_config('work_mem', '9MB', false) = ''"],
    "set_config with a computed name": ["select set_config('work' || '_mem', '9MB', false)"],
    "a function": ["select quietly('9MB')"],
    "a function in from": ["select * from quietly('9MB')"],
    "do": ["do $$ begin perform set_config('work_mem', '9MB', false); end $$"],
    "do that executes": ["do $$ begin execute 'set work_mem = ''9MB'''; end $$"],
    "among several": ["select 1; set work_mem = '9MB'; select 2"],
    "in a transaction": ["begin", "set work_mem = '9MB'", "commit"],
    "before an error": ["set work_mem = '9MB'; commit; select 1/0"],
    "prepared": ["prepare p as select set_config('work_mem', '9MB', false)", "execute p"],
    "search_path": ["set search_path = one"],
    "search_path as pg_dump": ["select pg_catalog.set_config('search_path', '', false)"],
    "explain analyze": ["explain analyze select set_config('work_mem', '9MB', false)"],
    "statement_timeout": ["set statement_timeout = '1h'"],
    "read only": ["set default_transaction_read_only = on"],
    "session characteristics": ["set session characteristics as transaction read only"],
    "temporary table": ["create temp table mine(a int)"],
    "temporary table, quoted": ["create table pg_temp.mine(a int)"],
    "select into temp": ["select 1 as a into temp mine"],
    "temporary view": ["create temp view mine as select 1"],
    "temporary sequence": ["create temp sequence mine"],
    "temporary table in a function": ["select hides_a_table()"],
    "advisory lock": ["select pg_advisory_lock(41)"],
    "advisory lock, tried": ["select pg_try_advisory_lock(42)"],
    "advisory lock in a function": ["select hides_a_lock()"],
    "listen": ["listen mine"],
    "listen in a transaction": ["begin", "listen mine", "commit"],
    "cursor with hold": ["begin", "declare mine cursor with hold for select 1", "commit"],
    "prepare": ["prepare mine as select 1"],
    "pg_settings": ["update pg_settings set setting = '9216' where name = 'work_mem'"],
}


@pytest.mark.parametrize("name", TRACES)
def test_what_a_session_leaves_reaches_nobody_else(world, name):
    """Neither while it lasts, where there is a second server, nor after it."""
    with world.client() as second:
        clean = second.rows(STATE)
        with world.client() as first:
            for sql in TRACES[name]:
                first.query(sql)
            assert first.rows(STATE) != clean or name.startswith("before")
            if not has_one_server(world):
                assert second.rows(STATE) == clean
        for _ in range(3):
            with world.client() as third:
                assert third.rows(STATE) == clean
            assert second.rows(STATE) == clean
    world.pg.run("truncate t")


@pytest.fixture
def powerful(world):
    """carol as a superuser."""
    world.pg.run("alter role carol superuser")
    yield {"user": "carol", "password": "carol-secret"}
    world.pg.run("alter role carol nosuperuser")


@pytest.mark.parametrize("name,change", [
    ("session authorization", ["set session authorization alice"]),
    ("role", ["set role alice"]),
    ("both", ["set session authorization alice", "set role bob"]),
    ("session replication role", ["set session_replication_role = replica"]),
    ("row security", ["set row_security = off"]),
    ("load", ["load 'auto_explain'", "set auto_explain.log_min_duration = 0"])])
def test_what_a_superuser_leaves_reaches_nobody_else(world, powerful, name, change):
    world.pg.run("grant bob to alice")
    look = ("select current_user, session_user, current_setting('session_replication_role'),"
            " current_setting('row_security'), current_setting('auto_explain.log_min_duration', true)")
    with world.client(**powerful) as first:
        clean = first.rows(look)
    with world.client(**powerful) as first:
        first.run(*change)
        assert first.rows(look) != clean
        first.run("select 1")
        assert first.rows(look) != clean
    for _ in range(3):
        with world.client(**powerful) as second:
            assert second.rows(look) == clean
    world.pg.run("revoke bob from alice")


def test_a_dump_is_the_same_and_leaves_nothing_behind(world):
    def dump(address):
        environment = {**os.environ, "PGPASSWORD": "app-secret"}
        text = subprocess.run(
            ["pg_dump", "-h", address[0], "-p", str(address[1]), "-U", "app", "-d", "app"],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=60).stdout
        return [line for line in text.splitlines() if "restrict" not in line]

    with world.client() as client:
        clean = client.rows(STATE)
    wanted = dump(world.pg.address)
    for _ in range(2):
        assert dump(world.address) == wanted
        with world.client() as client:
            assert client.rows(STATE) == clean


def test_a_setting_that_is_announced_while_nobody_asks_reaches_the_client():
    with World(SCHEMA, pool_size=1) as world, world.client() as client:
        client.run("select now()")
        try:
            world.pg.run("alter system set intervalstyle = 'iso_8601'")
            world.pg.run("select pg_reload_conf()")
            eventually(lambda: client.value("select '1 day'::interval + (now() - now())") == "P1D",
                       "the new default")
            eventually(lambda: client.run("select now()") and client.parameters["IntervalStyle"] == "iso_8601",
                       "the announcement", 3)
        finally:
            world.pg.run("alter system reset intervalstyle")


# --- time limits, refusals ---


def test_a_transaction_that_postgresql_ends_for_idling_is_told_with_the_next_statement(world):
    def script(client):
        client.query("set idle_in_transaction_session_timeout = '50ms'")
        client.query("begin")
        pid = client.value("select pg_backend_pid() -- idles")
        eventually(lambda: world.pg.value("select count(*) from pg_stat_activity where pid = %s", int(pid)) == 0)
        del client.transcript[-4:]  # the process id differs
        try:
            client.send(query("select 1"))
        except ConnectionError:
            pass
        assert client.gone()
        assert [one.tag for one in client.transcript[-1:]] == ["E"]

    both_ways(world, script, times=2)
    with world.client() as other:
        assert other.value("select 1") == "1"


@pytest.mark.needs_postern
def test_a_session_limit_that_ends_an_idle_server_harms_nobody(world):
    with world.client() as first, world.client() as second:
        first.run("set idle_session_timeout = '3s'")  # longer than a busy machine may hold us up
        pid = first.value("select pg_backend_pid()")
        eventually(lambda: world.pg.value(
            "select count(*) from pg_stat_activity where pid = %s", int(pid)) == 0)
        for client in (first, second, first):
            assert client.value("select 1 from pg_sleep(0)") == "1"
        assert second.value("show idle_session_timeout") == "0"


def test_a_statement_timeout_ends_the_statement_alone(world):
    def script(client):
        client.query("set statement_timeout = '20ms'")
        client.query("select pg_sleep(10)")
        client.query("begin")
        client.query("select pg_sleep(10)")
        client.query("rollback")
        client.query("reset statement_timeout")
        client.query("select pg_sleep(0.03)")

    both_ways(world, script)
    beside_another(world, script)


@pytest.mark.needs_postern
def test_without_a_server_the_error_is_one_that_drivers_retry_on():
    """The connection is told to be broken, or too many; never a plain error of the statement."""
    with World(SCHEMA, pool_size=1) as world:
        with world.client() as client:
            client.run("insert into t values (1)")
            world.pg.stop()
            found = None
            try:
                answer = client.query("insert into t values (2)")
                found = answer.error
            except (Closed, ConnectionError):
                if errors := [one for one in client.transcript if one.tag == "E"]:
                    found = Answer(errors[-1:]).error
            assert found and found["S"] == "FATAL"
            assert found["C"][:2] in ("08", "57") or found["C"] == "53300", found
        try:
            with world.client(application_name="never seen", timezone="Asia/Tokyo"):
                raise AssertionError("logged in")
        except Refused as refused:
            assert refused.code[:2] in ("08", "57"), refused
        world.pg.start()
        eventually(lambda: logs_in(world))


def logs_in(world):
    try:
        with world.client() as client:
            return not client.query("insert into t values (3)").error
    except (Refused, Closed, ConnectionError):
        return False


UNKNOWN_TAGS = ["y", "A", "1", "p", "z", "\0", "~"]


@pytest.mark.parametrize("tag", UNKNOWN_TAGS)
def test_an_unknown_message_ends_the_connection(world, tag):
    def told(connect):
        with connect() as client:
            client.query("select 1")
            client.send(frame(tag, b""))
            messages = []
            try:
                while True:
                    messages.append(client.receive())
            except (Closed, ConnectionError):
                return [(Answer([one]).code, Answer([one]).error["S"]) for one in messages]

    assert told(world.client) == told(world.direct)
