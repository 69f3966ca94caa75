"""A client that writes and reads protocol 3 message by message.

    client.send(parse("s", "select $1::int", [23]), bind("", "s", ["1"]), execute(), sync())
    client.expect("1 2 D C Z")

`send` puts all its messages into one write. Everything that is received is also kept in
`client.transcript`, so that a conversation can be compared with the same one held elsewhere.
"""

import base64
import collections
import hashlib
import hmac
import os
import re
import socket
import ssl
import struct

TIMEOUT = 15.0

Message = collections.namedtuple("Message", "tag body")


# --- what a client says ---------------------------------------------------------------------------


def frame(tag, body=b""):
    return tag.encode() + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


def startup(version=196608, **parameters):
    body = struct.pack("!i", version)
    for name, value in parameters.items():
        body += text(name) + text(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def ssl_request():
    return struct.pack("!ii", 8, 80877103)


def gss_request():
    return struct.pack("!ii", 8, 80877104)


def cancel_request(pid, secret):
    """`secret` is a number of four bytes, or bytes as protocol 3.2 has them."""
    secret = secret if isinstance(secret, bytes) else struct.pack("!i", secret)
    return struct.pack("!iii", 12 + len(secret), 80877102, pid) + secret


def query(sql):
    return frame("Q", text(sql))


def parse(name, sql, types=()):
    types = struct.pack(f"!h{len(types)}I", len(types), *types)
    return frame("P", text(name) + text(sql) + types)


def bind(portal, statement, values=(), formats=(), results=()):
    body = text(portal) + text(statement)
    body += struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    body += struct.pack("!h", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
            continue
        data = value if isinstance(value, bytes) else str(value).encode()
        body += struct.pack("!i", len(data)) + data
    body += struct.pack(f"!h{len(results)}h", len(results), *results)
    return frame("B", body)


def describe(kind, name=""):
    return frame("D", kind.encode() + text(name))


def execute(portal="", rows=0):
    return frame("E", text(portal) + struct.pack("!i", rows))


def close(kind, name=""):
    return frame("C", kind.encode() + text(name))


def sync():
    return frame("S")


def flush():
    return frame("H")


def copy_data(data):
    return frame("d", data if isinstance(data, bytes) else data.encode())


def copy_done():
    return frame("c")


def copy_fail(why):
    return frame("f", text(why))


def terminate():
    return frame("X")


# --- what a server says ---------------------------------------------------------------------------


def fields_of(message):
    """An ErrorResponse's or NoticeResponse's fields by their letter."""
    return {
        part[:1].decode(): part[1:].decode()
        for part in message.body.rstrip(b"\0").split(b"\0")
        if part
    }


def row_of(message):
    """A DataRow's values as bytes, None for NULL."""
    (count,) = struct.unpack_from("!h", message.body)
    values, at = [], 2
    for _ in range(count):
        (size,) = struct.unpack_from("!i", message.body, at)
        at += 4
        if size < 0:
            values.append(None)
            continue
        values.append(message.body[at : at + size])
        at += size
    return values


def tag_of(message):
    """A CommandComplete's tag."""
    return message.body.rstrip(b"\0").decode()


def shown(message):
    """One line for people."""
    if message.tag in "EN":
        fields = fields_of(message)
        return f"{message.tag} {fields.get('C')} {fields.get('M')}"
    body = message.body if len(message.body) <= 60 else message.body[:57] + b"..."
    return f"{message.tag} {body!r}"


class Refused(Exception):
    """The server answered the startup with an error."""

    def __init__(self, message):
        self.fields = fields_of(message)
        self.code = self.fields.get("C")
        super().__init__(f"{self.code} {self.fields.get('M')}")


class Failed(Exception):
    """A statement failed that had to succeed."""

    def __init__(self, message):
        self.fields = fields_of(message)
        self.code = self.fields.get("C")
        super().__init__(f"{self.code} {self.fields.get('M')}")


class Closed(Exception):
    """The server closed the connection where a message was awaited."""


class Answer:
    """What one simple query yielded."""

    def __init__(self, messages):
        self.messages = messages
        self.rows = [
            tuple(None if value is None else value.decode() for value in row_of(message))
            for message in messages
            if message.tag == "D"
        ]
        self.tags = [tag_of(message) for message in messages if message.tag == "C"]
        errors = [fields_of(message) for message in messages if message.tag == "E"]
        self.error = errors[0] if errors else None
        self.code = self.error["C"] if self.error else None
        self.notices = [fields_of(message) for message in messages if message.tag == "N"]


class Client:
    """One connection. `address` is (host, port) or the path of a Unix socket."""

    def __init__(self, address, user="app", database="app", password="app-secret", *, login=True,
                 timeout=TIMEOUT, **parameters):
        self.address = address
        self.user = user
        self.password = password
        self.transcript = []
        self.parameters = {}
        self.mechanisms = []
        self.key = None
        self.status = None
        self._input = b""
        self.socket = self._connect(timeout)
        if login:
            self.raw(startup(user=user, database=database, **parameters))
            self.finish_startup()

    def _connect(self, timeout):
        if isinstance(self.address, tuple):
            link = socket.create_connection(self.address, timeout)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(timeout)
            link.connect(self.address)
        link.settimeout(timeout)
        return link

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Leaves as drivers do."""
        try:
            self.socket.sendall(terminate())
        except OSError:
            pass
        self.drop()

    def drop(self):
        """Vanishes without a word."""
        self.socket.close()

    # --- writing ---

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, *messages):
        self.raw(b"".join(messages))

    # --- reading ---

    def _fill(self, size):
        while len(self._input) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                last = [str(one) for one in self.transcript[-1:]]
                raise Closed(f"closed after {len(self._input)} of {size} bytes, behind {last}")
            self._input += data

    def byte(self):
        """The single byte that answers an SSLRequest or GSSENCRequest."""
        self._fill(1)
        one, self._input = self._input[:1], self._input[1:]
        return one

    def receive(self):
        self._fill(5)
        tag = chr(self._input[0])
        (length,) = struct.unpack_from("!i", self._input, 1)
        self._fill(length + 1)
        message = Message(tag, self._input[5 : length + 1])
        self._input = self._input[length + 1 :]
        if tag == "Z":
            self.status = message.body.decode()
        elif tag == "S":
            name, value = message.body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif tag == "K":
            pid, secret = struct.unpack_from("!i", message.body)[0], message.body[4:]
            short = len(secret) == 4
            self.key = (pid, struct.unpack("!i", secret)[0] if short else secret)
        self.transcript.append(message)
        return message

    def until(self, tag="Z"):
        """All messages up to and including the first with this tag."""
        messages = []
        while not messages or messages[-1].tag != tag:
            messages.append(self.receive())
        return messages

    def expect(self, pattern):
        """Reads messages that have exactly these tags; `D*` is any number of DataRows.

        A NoticeResponse, ParameterStatus or NotificationResponse must be named in the pattern too.
        """
        wanted = pattern.split()
        messages = []
        at = 0
        while at < len(wanted):
            message = self.receive()
            messages.append(message)
            while wanted[at].endswith("*") and message.tag != wanted[at][0]:
                at += 1
                assert at < len(wanted), self._differs(pattern, messages)
            assert message.tag == wanted[at][0], self._differs(pattern, messages)
            if not wanted[at].endswith("*"):
                at += 1
        return messages

    @staticmethod
    def _differs(pattern, messages):
        lines = "\n  ".join(shown(message) for message in messages)
        return f"expected {pattern}, got\n  {lines}"

    def silent(self, seconds=0.05):
        """Whether nothing is there to be read for a moment."""
        if self._input:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is None
        except (TimeoutError, socket.timeout):
            return True
        finally:
            self.socket.settimeout(before)

    def gone(self):
        """Reads to the end of the stream; whether the server closed the connection."""
        try:
            while True:
                self.receive()
        except (Closed, ConnectionError):
            return True
        except (TimeoutError, socket.timeout):
            return False

    # --- whole exchanges ---

    def query(self, sql):
        """One simple Query and its whole answer."""
        self.send(query(sql))
        return Answer(self.until("Z"))

    def rows(self, sql):
        """The rows of a query that must succeed."""
        answer = self.query(sql)
        if answer.error:
            raise Failed(next(one for one in answer.messages if one.tag == "E"))
        return answer.rows

    def value(self, sql):
        """The single value of a query that must succeed."""
        rows = self.rows(sql)
        assert len(rows) == 1 and len(rows[0]) == 1, f"{sql}: {rows}"
        return rows[0][0]

    def run(self, *statements):
        """Statements that must succeed, one Query each; the last one's command tag."""
        tag = None
        for sql in statements:
            answer = self.query(sql)
            if answer.error:
                raise Failed(next(one for one in answer.messages if one.tag == "E"))
            tag = answer.tags[-1] if answer.tags else None
        return tag

    def prepared(self, sql, values=(), types=(), formats=(), results=()):
        """One unnamed statement in the extended protocol, described; its whole answer."""
        self.send(
            parse("", sql, types),
            bind("", "", values, formats, results),
            describe("P"),
            execute(),
            sync(),
        )
        return Answer(self.until("Z"))

    def cancel(self):
        """Sends a cancel request for this connection on a connection of its own."""
        with_key = cancel_request(*self.key)
        with self._connect(TIMEOUT) as other:
            other.sendall(with_key)
            while other.recv(64):
                pass

    # --- startup ---

    def begin_tls(self, authority=None, certificate=None, alpn=()):
        """TLS from here on. Without an authority the server is not checked; `certificate` is our
        own, and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = authority is not None
        if authority is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(authority.certificate)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        host = self.address[0] if isinstance(self.address, tuple) else None
        self.socket = context.wrap_socket(self.socket, server_hostname=host)

    def log_in(self, **parameters):
        self.raw(startup(user=self.user, database="app", **parameters))
        self.finish_startup()

    def finish_startup(self, scram=None):
        """The rest of a login; by `scram`, where the server asks for that."""
        while True:
            message = self.receive()
            if message.tag == "E":
                raise Refused(message)
            if message.tag == "Z":
                return
            if message.tag != "R":
                continue
            (kind,) = struct.unpack_from("!i", message.body)
            rest = message.body[4:]
            if kind == 3:
                self.send(frame("p", text(self.password)))
            elif kind == 5:
                self.send(frame("p", text(md5_answer(self.user, self.password, rest))))
            elif kind == 10:
                self.mechanisms = [name.decode() for name in rest.split(b"\0") if name]
                scram = scram or Scram(self.password)
                first = scram.first()
                self.send(
                    frame("p", text(scram.mechanism) + struct.pack("!i", len(first)) + first))
            elif kind == 11:
                self.send(frame("p", scram.final(rest)))
            elif kind == 12:
                scram.check(rest)


def md5_answer(user, password, salt):
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


class Scram:
    """The client's half of SCRAM-SHA-256, RFC 5802 and 7677. `header` is its GS2 header and `bound`
    what the login is bound to."""

    def __init__(self, password, header="n,,", bound=b"", mechanism=None):
        self.password = password.encode()
        self.header = header
        self.bound = bound
        self.mechanism = mechanism or "SCRAM-SHA-256" + ("-PLUS" if header[0] == "p" else "")
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n=,r={self.nonce}"

    def first(self):
        return (self.header + self.bare).encode()

    def final(self, server_first):
        server_first = server_first.decode()
        parts = dict(part.split("=", 1) for part in server_first.split(","))
        assert parts["r"].startswith(self.nonce), "the server's nonce does not continue ours"
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password, base64.b64decode(parts["s"]), int(parts["i"]))
        binding = base64.b64encode(self.header.encode() + self.bound).decode()
        without_proof = f"c={binding},r={parts['r']}"
        signed = ",".join([self.bare, server_first, without_proof]).encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.server_signature = hmac.digest(
            hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final):
        found = re.match(rb"v=([^,]+)", server_final)
        assert found, f"no verifier in {server_final!r}"
        assert base64.b64decode(found[1]) == self.server_signature, "the server lacks the verifier"


# --- comparing conversations ----------------------------------------------------------------------


def comparable(transcript):
    """A transcript without what rightly differs between two connections.

    BackendKeyData is masked; ParameterStatus messages before the first ReadyForQuery are sorted, as
    their order is nobody's promise; the SASL exchange is left out, its nonces being random.
    """
    messages = [message for message in transcript if message.tag != "R"]
    messages = [Message("K", b"") if one.tag == "K" else one for one in messages]
    first_ready = next((at for at, one in enumerate(messages) if one.tag == "Z"), len(messages))
    return sorted(messages[:first_ready]) + messages[first_ready:]


def readable(transcript):
    return "\n".join(shown(message) for message in transcript)
