"""TLS towards clients and towards PostgreSQL."""

import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading

import pytest
from harness.certificates import Authority
from harness.servers import PostgreSQL, Postern
from harness.waiting import eventually, runs
from harness.wire import (Answer, Client, Closed, Refused, bind, cancel_request, execute,
                          gss_request, parse, query, ssl_request, sync)
from harness.world import World

pytestmark = pytest.mark.needs_postern

ASKED_DIRECTLY = ("postgresql",)
ENDED = (OSError, Closed)
LOOKUP = """
    create or replace function public.lookup(name, out usename name, out passwd text)
    language sql security definer set search_path = pg_catalog
    begin atomic; select rolname, rolpassword from pg_authid where rolname = $1; end"""


@pytest.fixture(scope="module")
def authority():
    one = Authority()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def own(authority):
    return authority.sign("postern")


def tls(own, **more):
    certificate, key = own
    return {"certificate": str(certificate), "key": str(key), **more}


@pytest.fixture(scope="module")
def world(own):
    with World("CREATE TABLE t(a int, b text)", settings={"tls": tls(own)}) as one:
        yield one


def secured(world, authority=None, certificate=None, **kwargs):
    """A client that has asked for TLS and been given it, not logged in yet."""
    client = Client(world.address, login=False, **kwargs)
    client.raw(ssl_request())
    assert client.byte() == b"S"
    client.begin_tls(authority, certificate)
    return client


# --- towards clients ---


def test_a_client_logs_in_and_works_over_tls(world, authority):
    with secured(world, authority) as client:
        client.log_in()
        assert client.value("select 1") == "1"
        client.send(parse("s", "select $1::text"), bind("", "s", ["ö"]), execute(), sync())
        assert Answer(client.until("Z")).rows == [("ö",)]
        with world.client(database="postern") as console:
            shown = [row for row in console.rows("show clients") if "TLSv1.3" in str(row)]
            assert len(shown) == 1


def test_a_client_that_does_not_ask_works_in_plain_text(world):
    with world.client() as client:
        assert client.value("select 1") == "1"


def test_tls_may_follow_a_refused_gss_request(world):
    with Client(world.address, login=False) as client:
        client.raw(gss_request())
        assert client.byte() == b"N"
        client.raw(ssl_request())
        assert client.byte() == b"S"
        client.begin_tls()
        client.log_in()
        assert client.value("select 1") == "1"


def test_plain_text_behind_the_request_is_never_taken_for_encrypted(world):
    with Client(world.address, login=False) as client:
        client.raw(ssl_request() + query("select 1"))
        (message,) = client.until("E")
        assert b"unencrypted data after SSL request" in message.body
        assert client.gone()


@pytest.mark.parametrize("again", [ssl_request, gss_request])
def test_encryption_is_not_asked_for_within_tls(world, again):
    with secured(world) as client:
        client.raw(again())
        (message,) = client.until("E")
        assert b"unsupported frontend protocol 1234." in message.body


def test_there_is_no_tls_on_a_unix_socket(world):
    with Client(world.postern.socket_address, login=False) as client:
        client.raw(ssl_request())
        assert client.byte() == b"N"


def test_direct_tls_needs_the_application_protocol(world, authority):
    with Client(world.address, login=False) as client:
        client.begin_tls(authority, alpn=ASKED_DIRECTLY)
        assert client.socket.selected_alpn_protocol() == "postgresql"
        client.log_in()
        assert client.value("select 1") == "1"
    with Client(world.address, login=False) as client:
        client.begin_tls(authority)
        with pytest.raises(ENDED):
            client.log_in()
    with Client(world.address, login=False) as client, pytest.raises(ssl.SSLError):
        client.begin_tls(authority, alpn=("http/1.1",))


def test_direct_tls_is_refused_where_there_is_none():
    with World() as plain, Client(plain.address, login=False) as client:
        with pytest.raises(OSError):
            client.begin_tls(alpn=ASKED_DIRECTLY)


def test_large_answers_and_statements_pass_whole(world):
    size = 3_000_000
    with secured(world) as client:
        client.log_in()
        assert len(client.value(f"select repeat('x', {size})")) == size
        assert client.value(f"select length('{'y' * size}')") == str(size)
        rows = client.rows("select g, repeat('z', 100) from generate_series(1, 50000) g")
        assert len(rows) == 50000 and rows[-1][0] == "50000"


def test_what_one_record_holds_is_all_answered(world):
    """More requests than are taken at a time come in few records, and no event tells of the rest."""
    count = 4000
    with secured(world) as client:
        client.log_in()
        # In one thread: Python's own TLS takes one call at a time. The sockets hold the answers.
        client.raw(b"".join(query(f"select {number}") for number in range(count)))
        answers = [Answer(client.until("Z")).rows for _ in range(count)]
        assert answers == [[(str(number),)] for number in range(count)]


def test_a_slow_reader_over_tls_gets_everything(world):
    with secured(world) as slow, world.client() as other:
        slow.log_in()
        slow.send(query("select repeat('x', 1000) from generate_series(1, 100000)"))
        assert other.value("select 1") == "1"
        assert len(Answer(slow.until("Z")).rows) == 100000


def test_a_cancel_of_a_client_comes_by_tls(world):
    with secured(world) as client:
        client.log_in()
        client.send(query("select pg_sleep(60), 'cancelled by tls'"))
        eventually(lambda: runs(world, "cancelled by tls"), "the statement's running")
        with secured(world) as canceller:
            canceller.raw(cancel_request(*client.key))
            assert canceller.gone()
        assert Answer(client.until("Z")).code == "57014"
        assert client.value("select 1") == "1"


def test_required_means_required_but_not_on_unix_sockets(own):
    with World(settings={"tls": tls(own, mode="require")}) as world:
        with pytest.raises(Refused, match="must use TLS"):
            world.client()
        with Client(world.postern.socket_address) as local:
            assert local.value("select 1") == "1"
        with secured(world) as client:
            client.log_in()
            assert client.value("select 1") == "1"


def test_a_handshake_that_is_never_finished_ends_with_the_time_for_logging_in(own):
    with World(settings={"tls": tls(own), "limits": {"login_timeout": "1s"}}) as world:
        with Client(world.address, login=False) as silent:
            silent.raw(struct.pack("!ii", 8, 80877103))
            assert silent.socket.recv(1) == b"S"
            assert silent.socket.recv(1) == b""


def test_clients_show_certificates_where_they_are_asked_to(own, authority):
    stranger = Authority("a stranger")
    try:
        with World(settings={"tls": tls(own, client_ca=str(authority.certificate))}) as world:
            with secured(world, authority, authority.sign("a client")) as client:
                client.log_in()
                assert client.value("select 1") == "1"
            for shown in (None, stranger.sign("a client")):
                with pytest.raises(ENDED), secured(world, authority, shown) as client:
                    client.log_in()
    finally:
        stranger.remove()


def test_a_reload_changes_the_certificate_and_drops_nobody(own, authority):
    with World(settings={"tls": tls(own)}) as world:
        with secured(world, authority) as old:
            old.log_in()
            other = authority.sign("another")
            for new, used in zip(other, own):
                shutil.copy(new, used)
            with world.client(database="postern") as console:
                console.run("reload")
            with secured(world, authority) as new:
                new.log_in()
                assert new.socket.getpeercert()["subject"] == ((("commonName", "another"),),)
            assert old.value("select 1") == "1"


@pytest.mark.parametrize(("host", "wanted"), [
    ("localhost", "encrypted\n"), ("127.0.0.1", "encrypted\n"), ("elsewhere.example", "")])
def test_psql_verifies_the_name(world, authority, host, wanted):
    dsn = (f"port={world.address[1]} user=app password=app-secret dbname=app sslmode=verify-full"
           f" sslrootcert={authority.certificate} hostaddr=127.0.0.1 host={host}")
    done = subprocess.run(["psql", "-XAtc", "select 'encrypted'", dsn],
                          capture_output=True, text=True, check=False)
    assert done.stdout == wanted, done.stderr
    assert (done.returncode == 0) == bool(wanted)


def test_a_wrong_file_is_named_where_it_stands(own, authority):
    with World(settings={"tls": tls(own)}) as world:
        lines = world.postern.configuration.read_text()
        world.postern.configuration.write_text(lines.replace("postern.key", "nowhere.key"))
        with world.client(database="postern") as console:
            answer = console.query("reload")
            assert "nowhere.key" in answer.error["M"] and "postern.yaml:" in answer.error["M"]
        with secured(world, authority) as client:
            client.log_in()
            assert client.value("select 1") == "1"


def test_a_key_that_others_may_read_is_refused(own, authority):
    with World(settings={"tls": tls(own)}) as world:
        key = own[1]
        key.chmod(0o644)
        try:
            with world.client(database="postern") as console:
                answer = console.query("reload")
                assert re.search(r"postern.yaml:.*postern.key.*group or world access", answer.error["M"])
        finally:
            key.chmod(0o600)
        with world.client(database="postern") as console:
            console.run("reload")
        with secured(world, authority) as client:
            client.log_in()
            assert client.value("select 1") == "1"


# --- towards PostgreSQL ---


@pytest.fixture(scope="module")
def encrypted(own):
    """A PostgreSQL that takes TLS alone, over TCP."""
    one = PostgreSQL()
    for source, name in zip(own, ("server.crt", "server.key")):
        target = one.data / name
        shutil.copy(source, target)
        target.chmod(0o600)
        shutil.chown(target, one.data.owner(), one.data.group())
    rules = one.data / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("host ", "hostssl "))
    one.run("alter system set ssl = on")
    one.run("select pg_reload_conf()")
    eventually(lambda: one.value("show ssl") == "on", "PostgreSQL's TLS")
    yield one
    one.remove()


@pytest.fixture
def in_front_of():
    started = []

    def start(upstream, **tls_settings):
        one = Postern(upstream, {"databases": {"app": {"tls": tls_settings, "service": None}},
                                 "cache": {"enabled": False}})
        started.append(one)
        return one

    yield start
    for one in started:
        one.remove()


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_servers_are_reached_by_tls(encrypted, authority, in_front_of, mode):
    root = {"root_ca": str(authority.certificate)} if "verify" in mode else {}
    postern = in_front_of(encrypted.address, mode=mode, **root)
    with Client(postern.address) as client:
        assert client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t"
        assert len(client.value("select repeat('x', 2000000)")) == 2_000_000


def test_a_cancel_goes_by_tls_too(encrypted, in_front_of):
    postern = in_front_of(encrypted.address, mode="require")
    with Client(postern.address) as client:
        client.send(query("select pg_sleep(60), 'to be cancelled'"))
        eventually(lambda: encrypted.value(
            "select count(*) from pg_stat_activity where query like '%%to be cancelled%%'"
            " and pid <> pg_backend_pid()"), "the statement's running")
        client.cancel()
        assert Answer(client.until("Z")).code == "57014"
        assert client.value("select 1") == "1"


class Distrustful(Postern):
    """Ready for the test once its catalog's connection has been refused, by itself."""

    def ready(self):
        return "certificate verify failed" in self.log_text()


def with_own_connections(kind, upstream, **tls_settings):
    """A Postern that reads the catalog and asks PostgreSQL for verifiers."""
    return kind(upstream, {
        "databases": {"app": {"tls": tls_settings}}, "users": {"alice": None},
        "auth_query": "select usename, passwd from public.lookup($1)"})


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_the_catalog_and_auth_query_are_asked_by_tls(encrypted, authority, mode):
    root = {"root_ca": str(authority.certificate)} if "verify" in mode else {}
    encrypted.run(LOOKUP)
    postern = with_own_connections(Postern, encrypted.address, mode=mode, **root)
    try:
        with Client(postern.address, user="alice", password="alice-secret") as client:
            assert client.value("select 1") == "1"
            plain = ("select count(*) from pg_stat_activity join pg_stat_ssl using (pid)"
                     " where usename = 'postern' and ssl = %s")
            assert [encrypted.value(plain, ssl) for ssl in (True, False)] == [2, 0]
    finally:
        postern.remove()


def test_the_catalog_and_auth_query_are_not_asked_where_the_server_is_not_known(encrypted):
    encrypted.run(LOOKUP)
    stranger = Authority("a stranger")
    try:
        postern = with_own_connections(
            Distrustful, encrypted.address, mode="verify-ca", root_ca=str(stranger.certificate))
        try:
            assert b" 503 " in postern.http("/readyz")
            with pytest.raises(Refused):
                Client(postern.address, user="alice", password="alice-secret")
            assert re.search("auth_query: .*certificate verify failed", postern.log_text())
        finally:
            postern.remove()
    finally:
        stranger.remove()


def refusal(address):
    with pytest.raises(Refused) as refused:
        Client(address)
    return str(refused.value)


def test_a_server_that_can_not_be_verified_is_not_used(encrypted, in_front_of):
    stranger = Authority("a stranger")
    try:
        postern = in_front_of(
            encrypted.address, mode="verify-ca", root_ca=str(stranger.certificate))
        assert "TLS with the server failed" in refusal(postern.address)
    finally:
        stranger.remove()


def test_a_server_of_another_name_is_not_used(encrypted, authority, own, in_front_of):
    other = authority.sign("elsewhere", "DNS:elsewhere.example")
    for source, name in zip(other, ("server.crt", "server.key")):
        (encrypted.data / name).write_bytes(source.read_bytes())
    encrypted.run("select pg_reload_conf()")
    try:
        root = str(authority.certificate)
        by_authority = in_front_of(encrypted.address, mode="verify-ca", root_ca=root)
        with Client(by_authority.address) as client:
            assert client.value("select 1") == "1"
        by_name = in_front_of(encrypted.address, mode="verify-full", root_ca=root)
        assert "IP address mismatch" in refusal(by_name.address)
    finally:
        for source, name in zip(own, ("server.crt", "server.key")):
            (encrypted.data / name).write_bytes(source.read_bytes())
        encrypted.run("select pg_reload_conf()")


def test_without_tls_at_the_server_the_mode_decides(world, in_front_of):
    with Client(in_front_of(world.pg.address, mode="prefer").address) as client:
        assert client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "f"
    assert "offers no TLS" in refusal(in_front_of(world.pg.address, mode="require").address)


def test_plain_text_behind_the_servers_answer_is_not_believed(in_front_of):
    """Someone in the middle sends a login's end in plain text behind the S."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                link.recv(8)
                link.sendall(b"S" + b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\5I")
                link.settimeout(5)
                try:
                    while link.recv(1024):
                        pass
                except OSError:
                    pass

    threading.Thread(target=answer, daemon=True).start()
    try:
        postern = in_front_of(listener.getsockname(), mode="require")
        assert "TLS with the server failed" in refusal(postern.address)
    finally:
        listener.close()
