"""From the first byte to the first ReadyForQuery: what is asked, answered, announced and refused."""

import contextlib
import re
import socket
import struct
import threading

import psycopg2
import pytest
from harness import wire
from harness.servers import Postern
from harness.waiting import eventually, runs
from harness.wire import Client, Refused, gss_request, query, ssl_request, startup
from harness.world import World, both_ways


@pytest.fixture(scope="module")
def world():
    # As the PostgreSQL behind it has it: what is answered to other versions is compared.
    with World(settings={"client_protocol": "3.0"}) as one:
        yield one


def test_ssl_request_is_answered_with_n_and_startup_goes_on(world):
    with world.client(login=False) as client:
        client.raw(ssl_request())
        assert client.byte() == b"N"
        client.raw(startup(user="app", database="app"))
        client.finish_startup()
        assert client.value("select 1") == "1"


@pytest.mark.needs_postern
def test_gss_request_is_answered_with_n_and_startup_goes_on(world):
    with world.client(login=False) as client:
        client.raw(gss_request())
        assert client.byte() == b"N"
        client.raw(startup(user="app", database="app"))
        client.finish_startup()


@pytest.mark.needs_postern
def test_gss_then_ssl_then_startup_on_one_connection(world):
    with world.client(login=False) as client:
        client.raw(gss_request())
        assert client.byte() == b"N"
        client.raw(ssl_request())
        assert client.byte() == b"N"
        client.raw(startup(user="app", database="app"))
        client.finish_startup()


def test_startup_stuffed_behind_ssl_request_is_not_taken_as_encrypted(world):
    """PostgreSQL and Postern refuse, whether they answered the request first or not."""
    with world.client(login=False) as client:
        client.raw(ssl_request() + startup(user="app", database="app"))
        answer = client.socket.recv(1)
        assert answer in (b"N", b"E")
        client.gone()
        assert not client.parameters


@pytest.mark.parametrize("user,password", [("app", "app-secret"), ("md5_user", "md5-secret"),
                                           ("trust_user", "any")])
def test_users_log_in_by_their_method(world, user, password):
    with world.client(user=user, password=password) as client:
        assert client.value("select current_user") == user


def test_unix_socket(world):
    address = world.postern.socket_address if world.postern else world.pg.socket_address
    with Client(address) as client:
        assert client.value("select current_user") == "app"


def test_wrong_password_is_28P01(world):
    with pytest.raises(Refused) as refused:
        world.client(password="wrong")
    assert refused.value.code == "28P01"
    assert refused.value.fields["S"] == "FATAL"


def test_empty_password_is_28P01(world):
    with pytest.raises(Refused) as refused:
        world.client(password="")
    assert refused.value.code == "28P01"


def test_unknown_user_fails_like_a_wrong_password(world):
    """Nobody learns from the answer whether a login exists."""
    with pytest.raises(Refused) as refused:
        world.client(user="nobody_of_that_name")
    assert refused.value.code == "28P01"
    assert refused.value.fields["M"] == (
        'password authentication failed for user "nobody_of_that_name"')


def test_unknown_database_is_3D000(world):
    with pytest.raises(Refused) as refused:
        world.client(database="no_such_database")
    assert refused.value.code == "3D000"


def test_startup_without_user_is_refused(world):
    with world.client(login=False) as client:
        client.raw(startup(database="app"))
        message = client.receive()
        assert message.tag == "E"
        assert wire.fields_of(message)["C"] == "28000"
        assert client.gone()


def test_announced_parameters_equal_postgresqls(world):
    with world.direct() as direct, world.client() as client:
        assert client.parameters == direct.parameters


def test_announced_parameters_follow_the_startup_packet(world):
    wanted = {"client_encoding": "LATIN1", "DateStyle": "German", "application_name": "a b",
              "TimeZone": "Asia/Tokyo"}
    with world.direct(**wanted) as direct, world.client(**wanted) as client:
        assert client.parameters == direct.parameters
        assert client.value("show timezone") == "Asia/Tokyo"


@pytest.mark.parametrize("options", [
    "-c extra_float_digits=0", "--extra-float-digits=0", "-cextra_float_digits=0",
    r"-c application_name=a\ b", "-c search_path=pg_catalog,public -c work_mem=5MB"])
def test_startup_options_apply(world, options):
    def script(client):
        client.query("show extra_float_digits")
        client.query("show application_name")
        client.query("show search_path")
        client.query("show work_mem")

    both_ways(world, script, options=options)


def test_startup_parameter_that_postgresql_refuses_is_refused(world):
    for parameters in ({"no_such_parameter": "1"}, {"DateStyle": "nonsense"}):
        with pytest.raises(Refused) as direct:
            world.direct(**parameters).query("select 1")
        code = None
        try:
            with world.client(**parameters) as client:
                code = client.query("select 1").code
        except Refused as refused:
            code = refused.code
        assert code == direct.value.code


def test_protocol_minor_version_is_negotiated(world):
    """A client that asks for 3.2 and an unknown protocol option gets one NegotiateProtocolVersion."""
    body = struct.pack("!i", 3 << 16 | 2)
    for name, value in (("user", "app"), ("database", "app"), ("_pq_.nonsense", "1")):
        body += wire.text(name) + wire.text(value)
    packet = struct.pack("!i", len(body) + 5) + body + b"\0"

    answers = []
    for connect in (world.direct, world.client):
        with connect(login=False) as client:
            client.raw(packet)
            client.finish_startup()
            answers.append([one for one in client.transcript if one.tag == "v"])
            assert client.value("select 1") == "1"
    assert len(answers[1]) == 1
    assert answers[1] == answers[0]


@pytest.mark.parametrize("length", [0, 3, 4, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10_001])
def test_startup_with_an_impossible_length_ends_the_connection(world, length):
    with world.client(login=False) as client:
        client.raw(struct.pack("!I", length) + struct.pack("!i", 196608) + b"user\0app\0\0")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.gone()


@pytest.mark.parametrize("length", [0, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_message_with_an_impossible_length_ends_the_connection(world, length):
    with world.client() as client:
        client.raw(b"Q" + struct.pack("!I", length) + b"select 1\0")
        assert client.gone()


def test_unknown_message_type_ends_the_connection(world):
    with world.client() as client:
        client.raw(wire.frame("y", b""))
        message = client.receive()
        assert message.tag == "E"
        assert wire.fields_of(message)["C"] == "08P01"
        assert client.gone()


def test_unknown_protocol_major_version_is_refused(world):
    with world.client(login=False) as client:
        client.raw(struct.pack("!ii", 8, 2 << 16))
        assert client.gone()


def test_second_startup_during_sasl_is_fatal(world):
    with world.client(login=False) as client:
        client.raw(startup(user="app", database="app"))
        assert client.receive().tag == "R"
        client.raw(startup(user="alice", database="app"))
        assert client.gone()
        assert not [one for one in client.transcript if one.tag == "Z"]


@pytest.mark.needs_postern
def test_query_before_login_is_not_run(world):
    with world.relay.counting("'before login'") as passed:
        with world.client(login=False) as client:
            client.raw(startup(user="app", database="app") + query("select 'before login'"))
            assert client.gone()
        assert passed() == 0


def test_version_is_the_servers(world):
    with world.client() as client:
        assert re.match(r"PostgreSQL \d+", client.value("select version()"))


@pytest.mark.needs_postern
def test_users_that_are_not_listed_are_looked_up():
    schema = """
        RESET ROLE;
        CREATE FUNCTION postern_lookup(name text) RETURNS TABLE(usename name, passwd text)
            LANGUAGE sql SECURITY DEFINER AS
            $$ SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin $$;
        REVOKE ALL ON FUNCTION postern_lookup FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION postern_lookup TO postern;
    """
    settings = {"auth_query": "SELECT usename, passwd FROM public.postern_lookup($1)",
                "users": {"alice": None, "bob": None, "md5_user": None}}
    with World(schema, settings=settings) as world:
        for user, password in (("alice", "wrong"), ("nobody", "any"), ("md5_user", "md5-secret")):
            with pytest.raises(Refused) as refused:
                world.client(user=user, password=password)
            assert refused.value.code == "28P01"
        with world.client() as listed:
            assert listed.value("select 1") == "1"
        # What her login has proven is what the pool logs in with.
        with world.client(user="alice", password="alice-secret") as found:
            assert found.value("select current_user") == "alice"


@pytest.mark.needs_postern
def test_required_rls_refuses_whom_policies_do_not_bind():
    schema = """
        RESET ROLE;
        ALTER ROLE bob BYPASSRLS;
        CREATE TABLE guarded(a int);
        ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
        ALTER TABLE guarded OWNER TO carol;
    """
    with World(schema, settings={"rls": "required"}) as world:
        with world.client(user="alice", password="alice-secret") as bound:
            assert bound.value("select 1") == "1"
        for user in ("bob", "carol"):
            with pytest.raises(Refused) as refused:
                world.client(user=user, password=f"{user}-secret")
            assert refused.value.code == "42501"
        world.change_catalog("alter table guarded force row level security")
        with world.client(user="carol", password="carol-secret") as bound:
            assert bound.value("select 1") == "1"


@pytest.mark.needs_postern
@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "never"])
def test_a_login_under_required_rls_waits_for_the_catalog(in_time):
    """It is being read again: whether policies bind the role is not known before."""
    settings = {"rls": "required", "limits": {"login_timeout": "60s" if in_time else "2s"}}
    with World(settings=settings) as world, world.client() as client:
        holder = psycopg2.connect(world.pg.dsn("app"))
        with contextlib.closing(holder), holder.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE pg_policy IN ACCESS EXCLUSIVE MODE")
            client.run("create table later(a int)")
            assert not world.postern.ready()
            if not in_time:
                with pytest.raises(Refused) as refused:
                    world.client(user="alice", password="alice-secret")
                assert refused.value.code == "42501"
                return
            found = []

            def log_in():
                with world.client(user="alice", password="alice-secret") as late:
                    found.append(late.value("select current_user"))

            login = threading.Thread(target=log_in)
            login.start()
            with world.client(database="postern") as console:
                eventually(lambda: [row for row in console.rows("show clients") if row[1] == "alice"], "the login")
                assert not found
            # Not more than a little is kept of what comes before the login is through.
            with world.client(login=False) as hasty:
                hasty.raw(startup(user="trust_user", database="app"))
                hasty.socket.settimeout(2)
                with pytest.raises(TimeoutError):
                    hasty.socket.sendall(query("select 1") * 4_000_000)
            cursor.execute("ROLLBACK")
            login.join(60)
            assert found == ["alice"]


@pytest.mark.needs_postern
def test_a_message_beyond_the_limit_ends_its_session_alone():
    with World(settings={"limits": {"statement_size": "64KiB"}}) as world, world.client() as other:
        with world.client() as client:
            assert client.value("select length('" + "x" * 60000 + "')") == "60000"
            client.send(query("select length('" + "x" * 70000 + "')"))
            assert wire.Answer([client.receive()]).code == "54000"
            assert client.gone()
        with world.client() as client:
            client.send(wire.parse("", "select length($1)"), wire.bind("", "", ["x" * 70000]))
            assert wire.Answer([client.receive()]).code == "54000"
            assert client.gone()
        assert other.value("select 1") == "1"


@pytest.mark.needs_postern
def test_a_pool_without_cache_needs_no_login_of_its_own():
    settings = {"cache": {"enabled": False}, "databases": {"app": {"service": None}}}
    with World("CREATE TABLE t(a int)", pool_size=1, settings=settings) as world:
        with world.client() as one, world.client() as two:
            for client in (one, two, one):
                client.run("insert into t values (1)")
                assert client.value("select count(*) > 0 from t") == "t"


@pytest.mark.needs_postern
def test_unix_sockets_lead_from_the_client_to_postgresql():
    with World("CREATE TABLE t(a int)") as world:
        folder = str(world.pg.folder)
        over = {"databases": {"app": {"host": folder, "port": world.pg.port}}}
        postern = Postern(world.relay.address, over)
        try:
            with Client(postern.socket_address) as client:
                assert client.run("insert into t values (1)") == "INSERT 0 1"
                assert client.value("select inet_client_addr() is null") == "t"
                client.send(query("select pg_sleep(60), 'by socket'"))
                eventually(lambda: runs(world, "by socket"), "the statement running")
                client.cancel()
                assert wire.Answer(client.until("Z")).code == "57014"
        finally:
            postern.remove()
