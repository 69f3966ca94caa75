"""Replication connections: PostgreSQL's own tools through Postern, and what such a connection may do
to the cache, to the pool and to those who wait."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading

import pytest
from harness.reads import marked, mark_of, warm
from harness.servers import PostgreSQL, Postern, _postgres_bin
from harness.tables import table
from harness.waiting import eventually, runs, until_one_waits
from harness.wire import (Answer, Client, Refused, copy_data, copy_done, execute, fields_of,
                          flush, parse, query, sync, terminate)
from harness.world import World, both_ways

pytestmark = pytest.mark.needs_postern

WHO = {"user": "alice", "password": "alice-secret"}
REPLICATES = {"users": {"alice": {"replication": True}, "bob": {"replication": False}}}
SANITIZED = pathlib.Path(os.environ.get("POSTERN_BUILD", "")).name in ("asan", "tsan")
START = "START_REPLICATION SLOT {} LOGICAL 0/0"


def prepared_for_replication(pg):
    for name in ("alice", "bob"):
        pg.run(f"alter role {name} replication")
        pg.run(f"grant all on all tables in schema public to {name}")
    rules = pg.data / "pg_hba.conf"
    rules.write_text(rules.read_text() + "host replication all 127.0.0.1/32 scram-sha-256\n")
    pg.run("select pg_reload_conf()")


@contextlib.contextmanager
def replicating(settings=None, **more):
    with World("create table t(a int, b text)", postgres={"wal_level": "logical"},
               settings={**REPLICATES, **(settings or {})}, **more) as world:
        prepared_for_replication(world.pg)
        yield world


@pytest.fixture(scope="module")
def world():
    with replicating(pool_size=4) as one:
        yield one


def logical(world, **more):
    return world.client(**WHO, replication="database", **more)


def physical(world, **more):
    return world.client(**WHO, database="replication", replication="true", **more)


def tool(world, name, *arguments, database=None, **more):
    """One of PostgreSQL's programs as a client of Postern."""
    where = ["-h", "127.0.0.1", "-p", str(world.address[1]), "-U", "alice"]
    if database:
        where += ["-d", database]
    return subprocess.Popen(
        [str(_postgres_bin() / name), *where, *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "PGPASSWORD": "alice-secret"}, **more)


def walsenders(world):
    return world.pg.value("select count(*) from pg_stat_activity where backend_type = 'walsender'")


@pytest.fixture
def slot(world):
    world.pg.run("select pg_create_logical_replication_slot('s', 'test_decoding')")
    yield "s"
    eventually(lambda: walsenders(world) == 0, "the walsender's end")
    world.pg.run("select pg_drop_replication_slot('s')")


# --- who may ---


def refusal(world, **kwargs):
    with pytest.raises(Refused) as refused:
        world.client(**kwargs).close()
    return refused.value


def test_a_user_has_to_be_allowed_to_replicate(world):
    for how in ("true", "database"):
        for user in ("bob", "carol"):
            refused = refusal(world, user=user, password=f"{user}-secret", replication=how)
            assert refused.code == "42501" and "replication: true" in refused.fields["M"]
    wrong = refusal(world, user="alice", password="wrong", replication="database")
    assert wrong.code == "28P01"


def test_what_is_no_value_of_the_parameter_is_refused(world):
    assert refusal(world, **WHO, replication="some").code == "22023"
    with world.client(**WHO, replication="off") as client:
        assert client.value("select 1") == "1"


@pytest.mark.parametrize("parameters", [
    {"options": "-c database=postgres"}, {"options": "-c user=postgres"}, {"options": "--Replication=on"},
    {"options": "-c options=-cdatabase=postgres"}, {"USER": "postgres"}, {"Database": "postgres"}])
def test_words_of_the_startup_packet_are_no_settings(world, parameters):
    """They would stand in the packet that PostgreSQL is sent, behind those that were checked."""
    for how in ({"replication": "database"}, {}):
        refused = refusal(world, **WHO, **how, **parameters)
        assert refused.code == "42704" and "unrecognized configuration parameter" in refused.fields["M"]
        with pytest.raises(Refused) as theirs, Client(world.pg.address, **WHO, **how, **parameters):
            pass
        assert theirs.value.code == refused.code


def test_what_a_client_says_as_it_leaves_reaches_postgresql(world):
    with logical(world) as client:
        client.raw(query("insert into t values (-7, 'said last')") + terminate())
        assert client.gone()
    eventually(lambda: world.pg.value("select count(*) from t where a = -7") == 1)


def test_sql_whose_client_has_vanished_is_ended(world):
    def running():
        return world.pg.value("select count(*) from pg_stat_activity where query like 'select pg_sleep%' "
                              "and backend_type = 'walsender' and state = 'active'")

    client = logical(world)
    client.send(query("select pg_sleep(600)"))
    eventually(lambda: running() == 1)
    client.drop()
    eventually(lambda: running() == 0)


def test_rules_by_host_take_physical_replication_by_its_own_word():
    everybody = {"type": "host", "addresses": ["loopback"], "method": "scram"}
    with replicating(settings={"access": [everybody]}) as world:
        with logical(world) as client:
            assert client.rows("IDENTIFY_SYSTEM")
        assert "no entry of Postern's access rules" in refusal(
            world, **WHO, database="replication", replication="true").fields["M"]
    with replicating(settings={"access": [everybody, {**everybody, "databases": ["replication"]}]}) as world:
        with physical(world) as client:
            assert client.rows("IDENTIFY_SYSTEM")


def test_row_level_security_that_is_required_forbids_it():
    with replicating(settings={"rls": "required"}) as world:
        assert "row-level security" in refusal(world, **WHO, replication="database").fields["M"]


# --- what passes ---


@pytest.mark.parametrize("how", [{"replication": "database"},
                                 {"replication": "on", "database": "replication"}])
def test_the_conversation_is_postgresqls_own(world, how):
    def script(client):
        for sql in ("IDENTIFY_SYSTEM", "SHOW wal_segment_size", "SHOW application_name", "NONSENSE 1",
                    "TIMELINE_HISTORY 77"):
            client.query(sql)
        client.send(parse("", "select 1"), execute(), flush(), sync())
        client.until("Z")
        if how["replication"] == "database":
            for sql in ("select 1; select 2", "begin", "select current_database()", "nonsense",
                        "rollback", "show my.own"):
                client.query(sql)

    both_ways(world, script, **WHO, **how, application_name="standby", options="-c MY.Own=1")


def test_psql_identifies_the_system(world):
    done = tool(world, "psql", "-XAtc", "IDENTIFY_SYSTEM", database="dbname=app replication=database")
    words = done.communicate(timeout=60)[0].decode()
    assert done.returncode == 0, words
    system = world.pg.value("select system_identifier from pg_control_system()")
    assert words.startswith(f"{system}|1|") and words.endswith("|app\n")


def test_pg_basebackup_streams_the_log_beside_it(world, tmp_path):
    """On two connections at once."""
    world.pg.run("insert into t select g, repeat('b', 1000) from generate_series(1, 5000) g")
    done = tool(world, "pg_basebackup", "-D", tmp_path / "copy", "-X", "stream", "-c", "fast", "--no-sync")
    words = done.communicate(timeout=120)[0].decode()
    assert done.returncode == 0, words
    verified = subprocess.run([str(_postgres_bin() / "pg_verifybackup"), str(tmp_path / "copy")],
                              capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    eventually(lambda: walsenders(world) == 0, "the walsenders' end")


def test_pg_receivewal_has_the_log_as_it_is_written(world, tmp_path):
    receiving = tool(world, "pg_receivewal", "-D", tmp_path, "--no-sync", "--no-loop")
    try:
        eventually(lambda: world.pg.value("select count(*) from pg_stat_replication where state = 'streaming'"),
                   "the log's streaming", 60)
        world.pg.run("insert into t select g, 'logged' from generate_series(1, 1000) g")
        segment = world.pg.value("select pg_walfile_name(pg_current_wal_insert_lsn())")
        world.pg.run("select pg_switch_wal()")
        eventually((tmp_path / segment).exists, "the log's first segment", 60)
        wanted = (world.pg.data / "pg_wal" / segment).read_bytes()
        assert (tmp_path / segment).read_bytes() == wanted
    finally:
        receiving.send_signal(signal.SIGINT)
        words = receiving.communicate(timeout=60)[0].decode()
    assert receiving.returncode == 0, words
    eventually(lambda: walsenders(world) == 0, "the walsender's end")


def test_pg_recvlogical_has_the_changes_of_others(world, slot, tmp_path):
    changes = tmp_path / "changes"
    receiving = tool(world, "pg_recvlogical", "--slot", slot, "--start", "--no-loop", "-F", "0", "-f", changes,
                     database="app")
    try:
        with world.client() as writer:
            for number in range(50):
                writer.run(f"insert into t values ({number}, 'decoded')")
        eventually(lambda: changes.exists() and changes.read_text().count("'decoded'") == 50,
                   "the decoded changes", 60)
    finally:
        receiving.send_signal(signal.SIGINT)
        words = receiving.communicate(timeout=60)[0].decode()
    assert receiving.returncode == 0, words


def test_a_stream_can_be_ended_from_either_side_and_the_connection_goes_on(world, slot):
    with logical(world) as client:
        client.send(query(START.format(slot)))
        client.until("W")
        client.send(copy_done())
        # PostgreSQL's keepalives may come behind its CopyDone too.
        assert [one.tag for one in client.until("Z") if one.tag != "d"] == ["c", "C", "C", "Z"]
        assert client.rows("IDENTIFY_SYSTEM")
    with logical(world) as client:
        client.send(query(START.format(slot)))
        client.until("W")
        eventually(lambda: world.pg.run(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where active"),
            "the walsender's end")
        errors = [fields_of(one)["C"] for one in client.until("E") if one.tag == "E"]
        assert errors == ["57P01"]
        assert client.gone()


def test_a_cancel_reaches_what_runs(world):
    with logical(world) as client:
        client.send(query("select pg_sleep(60), 'cancelled replication'"))
        eventually(lambda: runs(world, "cancelled replication"), "the statement's running")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert client.value("select 1") == "1"


# --- the cache ---


def test_what_is_written_there_is_never_hidden_by_the_cache(world):
    sql = marked("select count(*) from t where b = 'by a walsender'")
    with world.client() as reader, logical(world) as writer:
        for number in range(3):
            assert warm(world, reader, sql).rows == [(str(number),)]
            writer.run("insert into t values (1, 'by a walsender')")
            assert reader.value(sql) == str(number + 1)
        warm(world, reader, sql)
        writer.run("begin", "delete from t where b = 'by a walsender'")
        assert reader.value(sql) == "3"
        warm(world, reader, sql)
        writer.run("commit")
        assert reader.value(sql) == "0"


def test_nothing_is_served_while_sql_runs_there_and_commands_disturb_nobody(world):
    sql = marked("select count(*) from t where b = 'nobody'")
    with world.client() as reader, logical(world) as writer:
        warm(world, reader, sql)
        writer.query("IDENTIFY_SYSTEM")
        with world.relay.counting(mark_of(sql)) as passed:
            reader.value(sql)
            assert passed() == 0
            with world.relay.hold_answer("'it may write'") as hold:
                writer.send(query("select 'it may write'"))
                hold.wait_answered()
                reader.value(sql)
                assert passed() == 1
                hold.release()
            writer.until("Z")
        warm(world, reader, sql)


def test_a_write_whose_outcome_nobody_heard_is_seen(world):
    sql = marked("select count(*) from t where b = 'unheard'")
    with world.client() as reader:
        writer = logical(world)
        warm(world, reader, sql)
        with world.relay.hold_answer("'unheard'") as hold:
            writer.send(query("insert into t values (1, 'unheard')"))
            hold.wait_answered()
            writer.drop()
            assert reader.value(sql) == "1"
            hold.release()
        assert warm(world, reader, sql, 30).rows == [("1",)]


# --- the pool ---


def test_it_takes_the_place_of_a_server_and_is_lent_to_nobody():
    with replicating(settings={"pool": {"wait_timeout": "300ms"}}, pool_size=1) as world:
        with world.client(**WHO) as client:
            assert client.value("select 1") == "1"  # its server lies idle, and goes for this:
        with logical(world) as owner:
            pid = owner.value("select pg_backend_pid()")
            with world.client(**WHO) as client:
                answer = client.query("select 1 from pg_sleep(0)")
                assert answer.code == "53300"
                assert refusal(world, **WHO, replication="database").code == "53300"
            with world.client(database="postern") as console:
                (pool,) = [row for row in table(console.query("show pools")) if row["user"] == "alice"]
                assert (pool["sv_active"], pool["cl_active"]) == ("1", "1"), pool
                (server,) = [row for row in table(console.query("show servers")) if row["user"] == "alice"]
                assert server["remote_pid"] == pid
        with world.client(**WHO) as client:
            assert eventually(lambda: not (answer := client.query("select pg_backend_pid() from pg_sleep(0)")).error
                              and answer.rows, "the place's return") != [(pid,)]


def test_who_waits_for_a_place_is_served_in_his_turn():
    with replicating(pool_size=1) as world:
        with world.client(**WHO) as client:
            client.run("begin", "select 1")
            found = []
            waiting = threading.Thread(target=lambda: found.append(logical(world)))
            waiting.start()
            until_one_waits(world)
            client.run("commit")
            waiting.join(30)
            (owner,) = found
            with owner:
                assert owner.value("select current_user") == "alice"


def test_a_server_that_refuses_is_told_in_its_own_words():
    with replicating() as world:
        world.pg.run("alter role alice noreplication")
        assert refusal(world, **WHO, replication="database").fields["M"] == (
            "must be superuser or replication role to start walsender")
        world.pg.run("alter role alice replication")
        with logical(world) as client:
            assert client.rows("IDENTIFY_SYSTEM")


# --- memory ---


def memory(postern, what="VmHWM"):
    status = pathlib.Path(f"/proc/{postern.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def test_either_side_may_be_slow_and_little_is_kept():
    pg = PostgreSQL()
    postern = None
    try:
        pg.run("create table t(b text)")
        prepared_for_replication(pg)
        postern = Postern(pg.address, REPLICATES)
        before = memory(postern)
        with Client(postern.address, **WHO, replication="database", timeout=60) as client:
            client.send(query("copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout"))
            client.until("d")
            eventually(lambda: pg.value(
                "select wait_event from pg_stat_activity where backend_type = 'walsender'") == "ClientWrite"
                or pg.value("select wait_event from pg_stat_activity where backend_type = 'walsender'")
                == "WalSenderWriteData", "a walsender that waits")
            assert SANITIZED or memory(postern) - before < 30
            assert sum(len(one.body) for one in client.until("Z") if one.tag == "d") > 99_000_000
            client.transcript.clear()
            client.send(query("copy t from stdin"))
            client.until("G")
            backend = pg.value("select pid from pg_stat_activity where backend_type = 'walsender'")
            os.kill(backend, signal.SIGSTOP)
            try:
                piece = copy_data("y" * 1023 + "\n") * 64
                client.socket.settimeout(3)
                sent = 0
                with contextlib.suppress(TimeoutError):
                    while sent < 100_000_000:
                        sent += client.socket.send(piece[sent % len(piece):])
                assert sent < 100_000_000
                assert SANITIZED or memory(postern) - before < 30
            finally:
                os.kill(backend, signal.SIGCONT)
            client.socket.settimeout(60)
            client.raw(piece[sent % len(piece):] + copy_done())
            client.until("Z")
            rows = (sent // len(piece) + 1) * 64
            assert client.value("select count(*) from t") == str(rows)
    finally:
        if postern:
            postern.remove()
        pg.remove()


# --- the operator ---


def told(client):
    """The last that it hears is an error: its code."""
    assert client.gone()
    return fields_of(client.transcript[-1])["C"]


def test_a_kill_ends_it_and_a_pause_waits_for_it():
    with replicating() as world, world.client(database="postern") as console, logical(world) as client:
        client.run("select 1")
        pausing = threading.Thread(target=console.run, args=("pause app",))
        pausing.start()
        assert client.value("select 2") == "2"
        assert pausing.is_alive()
        with world.client(database="postern") as other:
            other.run("kill app")
            assert told(client) == "57P01"
            pausing.join(30)
            assert not pausing.is_alive()
            other.run("resume app")
        with logical(world) as again:
            assert again.rows("IDENTIFY_SYSTEM")


def test_a_stop_waits_for_what_has_an_end_and_not_for_a_stream():
    with replicating(settings={"limits": {"drain_timeout": "60s"}}) as world:
        world.pg.run("select pg_create_logical_replication_slot('s', 'test_decoding')")
        streaming, running = logical(world), logical(world)
        streaming.send(query(START.format("s")))
        streaming.until("W")
        running.send(query("select 'to its end' from pg_sleep(1)"))
        eventually(lambda: runs(world, "to its end"), "the statement's running")
        stopping = threading.Thread(target=world.postern.stop)
        stopping.start()
        assert told(streaming) == "57P01"
        assert Answer(running.until("Z")).rows == [("to its end",)]
        assert told(running) == "57P01"
        stopping.join(30)
        assert not stopping.is_alive()
