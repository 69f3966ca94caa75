"""A relay between Postern and PostgreSQL that tests control.

It counts the statements that pass, holds a chosen statement or its answer until it is released, cuts
connections, and delivers bytes one by one. Races are scheduled with it, without any hook in the
product: holding the server's answer to a statement is the same as a slow server.
"""

import contextlib
import socket
import struct
import threading
import time

TIMEOUT = 15.0


class Hold:
    """Something held back at the relay; see Relay.hold_statement and Relay.hold_answer."""

    def __init__(self, relay, needle, answers):
        self._relay = relay
        self.needle = needle
        self.answers = answers
        self.link = None
        self.released = False
        self._answered = False

    def wait(self, timeout=TIMEOUT):
        """Until a statement was caught: for hold_statement it has not reached the server, for
        hold_answer it is on its way there."""
        self._relay._wait(lambda: self.link is not None, timeout, f"no statement with {self.needle!r}")
        return self

    def wait_answered(self, timeout=TIMEOUT):
        """Until the server's whole answer, up to ReadyForQuery, lies at the relay."""
        self._relay._wait(lambda: self._answered, timeout, f"no answer to {self.needle!r}")
        return self

    def release(self):
        self._relay._release(self)

    def pass_on(self, size):
        """Lets the first bytes of a held answer through and keeps the rest."""
        self._relay._pass_on(self.link, size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Link:
    """One connection that the relay carries."""

    def __init__(self, number, client, server):
        self.number = number
        self.client = client
        self.server = server
        self.alive = True
        self.is_cancel = False
        self.is_garbage = False
        self.started = False
        self.requests = b""  # bytes from the client that are not yet a whole message
        self.answer_hold = None
        self.held_answers = b""
        self.statements = {}
        self.portals = {}


class Relay:
    """Listens on a free port of 127.0.0.1 and passes everything on to `upstream`."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._changed = threading.Condition()
        self._holds = []
        self.links = []
        self.executed = []  # (link number, text) in the order in which they were passed on
        self.cancels = 0
        self.refusing = False
        self.slice_answers = 0   # bytes a piece; 0: as they come
        self.slice_requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    # --- what tests use ---

    def count(self, needle):
        """How often a statement whose text contains `needle` was sent to the server."""
        with self._changed:
            return sum(needle in text for _, text in self.executed)

    @contextlib.contextmanager
    def counting(self, needle):
        """`with relay.counting("x") as passed:` … `passed()` statements with x have gone by."""
        before = self.count(needle)
        yield lambda: self.count(needle) - before

    def hold_statement(self, needle):
        """The next statement that contains `needle` stays here, with all that follows it."""
        return self._hold(needle, answers=False)

    def hold_answer(self, needle):
        """The next statement that contains `needle` passes, the server's answer stays here."""
        return self._hold(needle, answers=True)

    def live(self):
        with self._changed:
            return [link for link in self.links if link.alive and not link.is_cancel]

    def cut(self, link=None):
        """Cuts one connection, or all."""
        for one in [link] if link else self.live():
            self._close(one)

    def end(self):
        self.refusing = True
        with self._changed:
            for hold in self._holds:
                hold.released = True
            self._changed.notify_all()
        self._listener.close()
        for link in list(self.links):
            self._close(link)

    # --- holds ---

    def _hold(self, needle, answers):
        hold = Hold(self, needle, answers)
        with self._changed:
            self._holds.append(hold)
        return hold

    def _wait(self, condition, timeout, why):
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                seen = "\n  ".join(text for _, text in self.executed[-10:])
                raise AssertionError(f"{why} within {timeout} s; last passed:\n  {seen}")

    def _release(self, hold):
        with self._changed:
            hold.released = True
            if hold in self._holds:
                self._holds.remove(hold)
            link = hold.link
            if link and link.answer_hold is hold:
                link.answer_hold = None
                held, link.held_answers = link.held_answers, b""
                with contextlib.suppress(OSError):
                    self._deliver(link.client, held, self.slice_answers)
            self._changed.notify_all()

    def _pass_on(self, link, size):
        with self._changed:
            part, link.held_answers = link.held_answers[:size], link.held_answers[size:]
            self._deliver(link.client, part, self.slice_answers)

    def _caught(self, link, text, answers):
        for hold in self._holds:
            if hold.link is None and hold.answers == answers and hold.needle in text:
                hold.link = link
                self._changed.notify_all()
                return hold
        return None

    # --- carrying ---

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                if isinstance(self._upstream, tuple):
                    server = socket.create_connection(self._upstream, TIMEOUT)
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                else:
                    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    server.connect(self._upstream)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                link = Link(len(self.links), client, server)
                self.links.append(link)
            threading.Thread(target=self._carry_requests, args=(link,), daemon=True).start()
            threading.Thread(target=self._carry_answers, args=(link,), daemon=True).start()

    def _close(self, link):
        with self._changed:
            link.alive = False
            self._changed.notify_all()
        for one in (link.client, link.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                one.close()

    def _deliver(self, target, data, piece):
        if not piece:
            target.sendall(data)
            return
        for at in range(0, len(data), piece):
            target.sendall(data[at : at + piece])
            time.sleep(0)

    def _carry_requests(self, link):
        try:
            while data := link.client.recv(1 << 16):
                link.requests += data
                self._pass_requests(link)
        except OSError:
            pass
        # What was half sent goes on as it is: the server is to see the same end as without us.
        with contextlib.suppress(OSError):
            if link.requests:
                link.server.sendall(link.requests)
            link.server.shutdown(socket.SHUT_WR)

    def _pass_requests(self, link):
        ready = b""
        while not link.is_garbage and (message := self._next_request(link)):
            tag, whole = message
            text = self._note(link, tag, whole)
            if text is not None:
                with self._changed:
                    hold = self._caught(link, text, answers=False)
                if hold:
                    self._deliver(link.server, ready, self.slice_requests)
                    ready = b""
                    with self._changed:
                        self._changed.wait_for(lambda: hold.released or not link.alive)
                with self._changed:
                    hold = self._caught(link, text, answers=True)
                    if hold:
                        link.answer_hold = hold
            self._count(link, tag, whole)
            ready += whole
        if link.is_garbage:
            ready, link.requests = ready + link.requests, b""
        if ready:
            self._deliver(link.server, ready, self.slice_requests)

    @staticmethod
    def _next_request(link):
        """Takes one whole message off; the startup packet and its kin have no tag."""
        head = 1 if link.started else 0
        if len(link.requests) < head + 4:
            return None
        (length,) = struct.unpack_from("!i", link.requests, head)
        tag_is_sane = not head or chr(link.requests[0]).isalpha()
        if not (4 if head else 8) <= length <= 1 << 30 or not tag_is_sane:
            link.is_garbage = True  # no framing any more: everything passes as it comes
            return None
        if len(link.requests) < head + length:
            return None
        whole = link.requests[: head + length]
        link.requests = link.requests[head + length :]
        return (chr(whole[0]) if head else "", whole)

    def _note(self, link, tag, whole):
        """Follows statements by name; the text that this message is about to run, if any."""
        if tag == "":
            (code,) = struct.unpack_from("!i", whole, 4)
            if code == 80877102:
                link.is_cancel = True
                with self._changed:
                    self.cancels += 1
            link.started = code >> 16 == 3
        elif tag == "Q":
            return whole[5:-1].decode(errors="replace")
        elif tag == "P":
            name, text = (whole[5:].split(b"\0") + [b""])[:2]  # malformed ones pass as well
            link.statements[name] = text.decode(errors="replace")
            return link.statements[name]
        elif tag == "B":
            portal, name = (whole[5:].split(b"\0") + [b""])[:2]
            link.portals[portal] = link.statements.get(name, "")
            return link.portals[portal]
        return None

    def _count(self, link, tag, whole):
        text = None
        if tag == "Q":
            text = whole[5:-1].decode(errors="replace")
        elif tag == "E":
            text = link.portals.get(whole[5:].split(b"\0")[0], "")
        if text is not None:
            with self._changed:
                self.executed.append((link.number, text))
                self._changed.notify_all()

    def _carry_answers(self, link):
        try:
            while data := link.server.recv(1 << 16):
                with self._changed:
                    if link.answer_hold:
                        link.held_answers += data
                        if ends_ready(link.held_answers):
                            link.answer_hold._answered = True
                            self._changed.notify_all()
                        continue
                self._deliver(link.client, data, self.slice_answers)
        except OSError:
            pass
        with self._changed:
            self._changed.wait_for(lambda: link.answer_hold is None or not link.alive)
        self._close(link)


def ends_ready(data):
    """Whether these bytes end with a ReadyForQuery."""
    return len(data) >= 6 and data[-6:-1] == b"Z\0\0\0\5"
