"""Clients by the thousand, as cheap as Python can make them: raw sockets and protocol 3.

They log in a wave at a time: every one of a wave sends its next message before the answer to the first
is read, so the server finds as many under way as the wave has clients. SCRAM's salted password is
derived once for each salt, as drivers that pool connections do; the same code asks every server.
"""

import base64
import hashlib
import hmac
import os
import resource
import socket
import struct

import harness

TIMEOUT = 60.0
TERMINATE = b"X\0\0\0\4"


def raise_open_files(wanted):
    """Lets this process, and what it starts, have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        raise harness.Unusable(f"{wanted} open files are needed and {hard} allowed: ulimit -Hn {wanted}") from None


def _startup(user, database):
    body = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack("!i", len(body) + 4) + body


def _password(body):
    return b"p" + struct.pack("!i", len(body) + 4) + body


class _Keys:
    """What a password and a salt yield; deriving it is 4096 rounds of HMAC, done once a salt."""

    def __init__(self, password):
        self._password = password.encode()
        self._known = {}

    def of(self, salt, iterations):
        if (salt, iterations) not in self._known:
            salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(salt), iterations)
            client_key = hmac.digest(salted, b"Client Key", "sha256")
            self._known[salt, iterations] = (client_key, hashlib.sha256(client_key).digest())
        return self._known[salt, iterations]


class Connection:
    """One client; each step of its login sends one message."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._bare = ""

    def receive(self):
        """The next message's tag and body."""
        while len(self._unread) < 5 or len(self._unread) < 1 + struct.unpack_from("!i", self._unread, 1)[0]:
            data = self.socket.recv(1 << 16)
            if not data:
                raise harness.Unusable("a server closed the connection of a client")
            self._unread += data
        end = 1 + struct.unpack_from("!i", self._unread, 1)[0]
        tag, body = self._unread[:1], self._unread[5:end]
        self._unread = self._unread[end:]
        if tag == b"E":
            raise harness.Unusable(f"a server refused: {body.decode(errors='replace')}")
        return tag, body

    def until_ready(self):
        while self.receive()[0] != b"Z":
            pass

    def _request(self):
        """What the server wants to know next: the kind and the rest of an authentication message."""
        tag, body = self.receive()
        if tag != b"R":
            raise harness.Unusable(f"a server said {tag!r} in the middle of a login")
        return struct.unpack_from("!i", body)[0], body[4:]

    def scram_first(self):
        """False: nothing is asked, this client is in."""
        kind, _ = self._request()
        if kind == 0:
            return False
        if kind != 10:
            raise harness.Unusable(f"a server asked for authentication {kind}, not for SCRAM")
        self._bare = "n=,r=" + base64.b64encode(os.urandom(18)).decode()
        first = ("n,," + self._bare).encode()
        self.socket.sendall(_password(b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        return True

    def scram_final(self, keys):
        _, body = self._request()
        server_first = body.decode()
        parts = dict(part.split("=", 1) for part in server_first.split(","))
        client_key, stored_key = keys.of(parts["s"], int(parts["i"]))
        without_proof = f"c=biws,r={parts['r']}"
        signed = ",".join([self._bare, server_first, without_proof]).encode()
        signature = hmac.digest(stored_key, signed, "sha256")
        proof = (int.from_bytes(client_key, "big") ^ int.from_bytes(signature, "big")).to_bytes(32, "big")
        self.socket.sendall(_password(f"{without_proof},p={base64.b64encode(proof).decode()}".encode()))

    def ask(self, sql):
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)

    def leave(self):
        self.socket.sendall(TERMINATE)
        self.socket.close()


class Crowd:
    """Logs clients in against one server."""

    def __init__(self, server, password=""):
        self._port = server.port
        self._startup = _startup(harness.LOGIN, server.database)
        self._keys = _Keys(password)

    def log_in(self, count, wave):
        """`count` clients that are ready for a statement, `wave` of them under way at a time."""
        crowd = []
        while len(crowd) < count:
            crowd += self._wave(min(wave, count - len(crowd)))
        return crowd

    def log_in_and_out(self, count, wave):
        left = count
        while left > 0:
            for one in self._wave(min(wave, left)):
                one.leave()
            left -= wave

    def _wave(self, size):
        wave = [Connection(self._port) for _ in range(size)]
        for one in wave:
            one.socket.sendall(self._startup)
        asked = [one for one in wave if one.scram_first()]
        for one in asked:
            one.scram_final(self._keys)
        for one in wave:
            one.until_ready()
        return wave


def ask_each(crowd, sql, wave, row=0):
    """Every client runs the statement once; `{}` in it is a hot row, another for each from `row` on."""
    for at in range(0, len(crowd), wave):
        part = crowd[at : at + wave]
        for number, one in enumerate(part, at):
            one.ask(sql.format((row + number) % harness.HOT_ROWS + 1))
        for one in part:
            one.until_ready()


def verifier(password, salt=b"postern's bench", iterations=4096):
    """What PostgreSQL keeps of a password, pg_authid.rolpassword."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server}"
