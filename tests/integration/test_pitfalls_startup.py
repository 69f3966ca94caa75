"""What poolers have got wrong from the first byte to the first answer, on both of their sides."""

import contextlib
import socket
import struct

import pytest
from harness import wire
from harness.editor import Editor
from harness.scripts import simple
from harness.servers import Postern
from harness.waiting import eventually
from harness.wire import (Answer, Client, Closed, Refused, frame, gss_request, ssl_request, startup)
from harness.world import World, both_ways


@pytest.fixture(scope="module")
def world():
    # As the PostgreSQL behind it has it: what is answered to other versions is compared.
    with World("CREATE TABLE t(a int)", settings={"client_protocol": "3.0"}) as one:
        yield one


def packet(version, *pairs):
    body = struct.pack("!i", version)
    body += b"".join(wire.text(name) + wire.text(value) for name, value in pairs) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


WHO = (("user", "app"), ("database", "app"))


def logged_in(connect, data):
    """The tags up to the first SASL message, and all NegotiateProtocolVersion messages."""
    with connect(login=False) as client:
        client.raw(data)
        client.finish_startup()
        assert client.value("select 1") == "1"
        first_asked = next(at for at, one in enumerate(client.transcript) if one.tag == "R")
        return ([one.tag for one in client.transcript[:first_asked]],
                [one for one in client.transcript if one.tag == "v"])


@pytest.mark.parametrize("minor,options", [
    (0, []), (0, [("_pq_.foo", "1")]), (1, []), (2, [("_pq_.foo", "1"), ("_pq_.bar", "")]),
    (9999, [("_pq_.test_protocol_negotiation", "")]), (9999, []),
    (0, [("_pq_.foo", "1"), ("_pq_.foo", "1")])])
def test_a_version_is_negotiated_once_and_before_authentication(world, minor, options):
    data = packet(3 << 16 | minor, *WHO, *options)
    assert logged_in(world.client, data) == logged_in(world.direct, data)


def refusal(connect, **parameters):
    """SQLSTATE of a refused login, None of one that succeeds."""
    try:
        with connect(**parameters) as client:
            return client.query("select 1").code
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize("options", [
    "-c", "-c work_mem", "-cwork_mem", "--work-mem", "-c work_mem=", "-c work_mem=nonsense",
    "-c no_such_setting=1", "--no-such-setting=1", "word", "-c my.own=1", "", " ", "\\", "-c my.own=a\\\\b"])
def test_options_are_refused_where_postgresql_refuses_them(world, options):
    assert refusal(world.client, options=options) == refusal(world.direct, options=options)


@pytest.mark.parametrize("options", [
    r"-c my.own=a\ b", r"-c my.own=a\\b", "  -c   my.own=1   -c  my.own=2 ", "--my.own=x=y",
    "-c my.own=", "-c\tmy.own=tab"])
def test_options_mean_what_they_mean_to_postgresql(world, options):
    both_ways(world, simple("select current_setting('my.own')", "show my.own"), options=options)


@pytest.mark.parametrize("parameters", [
    {"extra_float_digits": "0"}, {"extra_float_digits": "-5"}, {"bytea_output": "escape"}, {"statement_timeout": "5s"}, {"application_name": ""},
    {"application_name": "it's \"quoted\" \\"}, {"search_path": "pg_catalog"},
    {"options": "-c bytea_output=escape", "bytea_output": "hex"}, {"ROLE": "app"},
    {"default_transaction_read_only": "on"}, {"replication": "false"}])
def test_any_setting_may_be_a_startup_parameter(world, parameters):
    both_ways(world, simple(
        "select 0.1::float8 + 0.2::float8, '\\xff'::bytea",
        "show statement_timeout", "show search_path", "show application_name", "create temp table x()",
        "reset extra_float_digits", "select 0.1::float8 + 0.2::float8"), **parameters)


def test_a_large_startup_packet_is_read(world):
    """Two bytes below PostgreSQL's limit of 10 000."""
    fixed = len(packet(196608, *WHO, ("my.own", "")))
    for connect in (world.direct, world.client):
        with connect(login=False) as client:
            client.raw(packet(196608, *WHO, ("my.own", "x" * (9998 - fixed))))
            client.finish_startup()
            assert client.value("select length(current_setting('my.own'))") == str(9998 - fixed)


def test_a_startup_packet_in_single_bytes(world):
    with world.client(login=False) as client:
        for byte in packet(196608, *WHO):
            client.raw(bytes([byte]))
        client.finish_startup()
        assert client.value("select 1") == "1"


@pytest.mark.parametrize("pairs", [
    [], [("database", "app")], [("user", ""), ("database", "app")],
    [("user", "app"), ("database", "")], [("user", "app")]])
def test_a_startup_packet_without_user_or_database(world, pairs):
    def told(connect):
        with connect(login=False) as client:
            client.raw(packet(196608, *pairs))
            try:
                client.finish_startup()
            except Refused as refused:
                return refused.code, client.gone()
            return None, client.value("select current_database()")

    assert told(world.client) == told(world.direct)


@pytest.mark.parametrize("data", [
    b"\0\0\0\x0c\0\3\0\0user", b"\0\0\0\x10\0\3\0\0user\0app", b"\0\0\0\x13\0\3\0\0user\0app\0\0x",
    b"\0\0\0\x08\0\2\0\0", b"\0\0\0\x08\0\4\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\2\0\1\0\1\xfc\3\3"],
    ids=["no end", "no value", "more behind", "version 2", "version 4", "http", "direct tls"])
def test_what_is_no_startup_packet_ends_the_connection(world, data):
    with world.client(login=False) as client:
        client.raw(data)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.gone()
        assert {one.tag for one in client.transcript} <= {"E"}
    with world.client() as other:
        assert other.value("select 1") == "1"


@pytest.mark.parametrize("length", [0, 3, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_password_with_an_impossible_length_ends_the_connection(world, length):
    """At once, without waiting for the bytes that were announced."""
    with world.client(login=False) as client:
        client.raw(startup(user="app", database="app"))
        assert client.receive().tag == "R"
        client.raw(b"p" + struct.pack("!I", length))
        assert client.gone()


@pytest.mark.parametrize("message", [
    frame("Q", b"select 1\0"), frame("p"), frame("p", b"SCRAM-SHA-256\0"), frame("p", b"SCRAM-SHA-1\0\0\0\0\0"),
    frame("p", b"SCRAM-SHA-256\0\0\0\0\x7f"), frame("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
    frame("p", wire.text("SCRAM-SHA-256-PLUS") + struct.pack("!i", 10) + b"p=tls,n=,r"), frame("S"), frame("d")])
def test_what_is_no_answer_to_the_password_request_ends_the_connection(world, message):
    with world.client(login=False) as client:
        client.raw(startup(user="app", database="app"))
        assert client.receive().tag == "R"
        client.raw(message)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.gone()
        assert "Z" not in [one.tag for one in client.transcript]


@pytest.mark.needs_postern
def test_ssl_requests_do_not_go_on_for_ever(world):
    """PostgreSQL answers each kind once; whatever happens, nothing hangs and nobody else is harmed."""
    with world.client(login=False) as client:
        with contextlib.suppress(Closed, ConnectionError):
            for _ in range(20):
                client.raw(ssl_request())
                client.byte()
                client.raw(gss_request())
                client.byte()
    with world.client() as other:
        assert other.value("select 1") == "1"


@pytest.mark.parametrize("change,undo", [
    ("alter role carol connection limit 0", "alter role carol connection limit -1"),
    ("alter role carol nologin", "alter role carol login"),
    ("revoke connect on database app from public", "grant connect on database app to public"),
    ("alter role carol password 'another'", "alter role carol password 'carol-secret'")])
def test_what_keeps_postgresql_from_giving_a_server_is_told_as_postgresql_tells_it(world, change, undo):
    def told(connect):
        try:
            with connect(user="carol", password="carol-secret") as client:
                return client.query("select now()").code
        except Refused as refused:
            return refused.code

    world.pg.run(change)
    try:
        world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'carol'")
        found = told(world.client)
        assert found == told(world.direct)
        assert found is not None
    finally:
        world.pg.run(undo)
    assert eventually(lambda: told(world.client) is None)


# --- what the server may say while Postern logs in ---


NOTICE = frame("N", b"SWARNING\0VWARNING\0C01000\0Mby the way\0\0")
STATUS = frame("S", b"my_reported\0one\0")


@contextlib.contextmanager
def behind(world, edit, **settings):
    """A Postern whose PostgreSQL's messages go through `edit`."""
    editor = Editor(world.pg.address, edit)
    over = {"cache": {"enabled": False}, "databases": {"app": {"service": None}},
            "pool": {"size": 1, "connect_timeout": "5s"}, **settings}
    postern = None
    try:
        postern = Postern(editor.address, over)
        yield postern
    finally:
        if postern:
            postern.remove()
        editor.end()


def works(postern):
    with Client(postern.address) as one, Client(postern.address) as two:
        for number in range(3):
            assert one.value(f"select {number}") == str(number)
            assert two.prepared("select $1::int", [number]).rows == [(str(number),)]


@pytest.mark.needs_postern
def test_notices_and_parameters_may_come_between_all_messages_of_a_login(world):
    with behind(world, lambda tag, whole: NOTICE + STATUS + whole if tag in "RSKZ" else whole) as postern:
        works(postern)


@pytest.mark.needs_postern
def test_a_server_without_backend_key_data_works(world):
    with behind(world, lambda tag, whole: b"" if tag == "K" else whole) as postern:
        works(postern)
        with Client(postern.address) as client:
            client.send(wire.query("select pg_sleep(0.2), 'keyless'"))
            client.cancel()
            assert Answer(client.until("Z")).code is None


REFUSALS = {
    "without sqlstate": frame("E", b"SFATAL\0Mno code at all\0\0"),
    "with unknown fields": frame("E", b"SFATAL\0C53300\0Mtoo many\0zunknown\0Zother\0\0"),
    "cut short": frame("E", b"SFATAL\0C53300\0Mtoo"),
    "of no known severity": frame("E", b"SDOOM\0VDOOM\0C57P03\0Mnot yet\0\0"),
}


@pytest.mark.needs_postern
@pytest.mark.parametrize("stage", ["first", "last"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_that_refuses_in_odd_words_harms_nobody(world, name, stage):
    """The client is refused with an error that is one, and the next login works."""
    refusing = [True]

    def edit(tag, whole):
        at_end = whole[5:9] == b"\0\0\0\0"
        return REFUSALS[name] if refusing[0] and tag == "R" and at_end == (stage == "last") else whole

    with behind(world, edit) as postern:
        with pytest.raises(Refused) as refused:
            Client(postern.address)
        assert refused.value.fields["S"] == "FATAL"
        assert refused.value.code and len(refused.value.code) == 5
        assert refused.value.fields["M"]
        refusing[0] = False
        eventually(lambda: login_works(postern), "a login")
        works(postern)


def login_works(postern):
    try:
        with Client(postern.address) as client:
            return client.value("select 1") == "1"
    except (Refused, Closed, ConnectionError):
        return False


NONSENSE = {
    "a long nonce": lambda tag, whole: frame(
        "R", b"\0\0\0\x0b" + whole[9:].replace(b",s=", b"x" * 60000 + b",s=")),
    "no salt": lambda tag, whole: frame("R", b"\0\0\0\x0br=abc,i=4096"),
    "another nonce": lambda tag, whole: frame("R", b"\0\0\0\x0br=abc,s=QUJD,i=4096"),
    "no iterations": lambda tag, whole: frame("R", whole[5:].replace(b"i=4096", b"i=0")),
    "countless iterations": lambda tag, whole: frame("R", whole[5:].replace(b"i=4096", b"i=2147483647")),
    "an unknown method": lambda tag, whole: frame("R", b"\0\0\0\x63"),
    "a clear password": lambda tag, whole: frame("R", b"\0\0\0\3"),
    "half a message": lambda tag, whole: whole[:7],
    "an impossible length": lambda tag, whole: b"R\x7f\xff\xff\xff",
    "a negative length": lambda tag, whole: b"R\xff\xff\xff\xff",
    "an unknown message": lambda tag, whole: frame("!", b"x"),
    "rows at once": lambda tag, whole: frame("D", b"\0\0"),
}


@pytest.mark.needs_postern
@pytest.mark.parametrize("name", NONSENSE)
def test_a_server_that_talks_nonsense_while_logging_in_is_left(world, name):
    talking = [True]

    def edit(tag, whole):
        return NONSENSE[name](tag, whole) if talking[0] and whole[5:9] == b"\0\0\0\x0b" else whole

    with behind(world, edit, pool={"size": 1, "connect_timeout": "1s"}) as postern:
        try:
            with Client(postern.address):
                raise AssertionError("logged in")
        except Refused as refused:
            assert refused.fields["S"] == "FATAL" and len(refused.code) == 5
        talking[0] = False
        eventually(lambda: login_works(postern), "a login")
        works(postern)


# --- logins that are looked up ---


@pytest.mark.needs_postern
def test_the_lookup_of_a_login_does_not_follow_the_clients_settings():
    """A search_path of the client's own would find its own lookup function."""
    schema = """
        RESET ROLE;
        CREATE FUNCTION lookup(name text) RETURNS TABLE(usename name, passwd text)
            LANGUAGE sql SECURITY DEFINER AS
            $$ SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin $$;
        CREATE SCHEMA evil;
        CREATE FUNCTION evil.lookup(name text) RETURNS TABLE(usename name, passwd text)
            LANGUAGE sql SECURITY DEFINER AS
            $$ SELECT $1::name, rolpassword FROM pg_authid WHERE rolname = 'carol' $$;
        GRANT USAGE ON SCHEMA evil TO PUBLIC;
    """
    settings = {"auth_query": "SELECT usename, passwd FROM public.lookup($1)", "users": {"alice": None}}
    with World(schema, settings=settings) as world:
        for parameters in ({"search_path": "evil"}, {"options": "-c search_path=evil"},
                           {"search_path": "evil, public"}):
            with pytest.raises(Refused) as refused:
                world.client(user="alice", password="carol-secret", **parameters)
            assert refused.value.code == "28P01"
            with world.client(user="alice", password="alice-secret", **parameters) as alice:
                assert alice.value("select current_user") == "alice"


# --- what is announced later ---


@pytest.mark.parametrize("between", [False, True], ids=["alone", "beside another"])
def test_a_setting_that_does_not_change_is_not_announced(world, between):
    def script(client):
        client.query("set application_name = 'same'")
        client.query("set application_name = 'same'")
        if between:
            with world.client(application_name="another") as other:
                other.run("set timezone = 'Asia/Tokyo'", "insert into t values (1)")
        client.query("insert into t values (2)")
        client.query("set application_name = 'same'")
        client.query("reset application_name")
        client.query("set timezone = 'UTC'")
        client.query("delete from t")

    both_ways(world, script, times=2)
