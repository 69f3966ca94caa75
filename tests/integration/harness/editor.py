"""A server that says what a test wants it to say: PostgreSQL behind a relay that edits its messages."""

import contextlib
import socket
import struct
import threading


class Editor:
    """Listens on a free port and passes everything on to `upstream`. `edit(tag, whole)`, with
    `whole` the message and its header, gives the bytes to be said in place of each message of the
    server; messages are counted a connection in `said`, so that an edit can tell the first ones."""

    def __init__(self, upstream, edit):
        self._upstream = upstream
        self.edit = edit
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
            threading.Thread(target=self._carry_edited, args=(server, client), daemon=True).start()

    @staticmethod
    def _carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _carry_edited(self, source, target):
        waiting = b""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                waiting += data
                while len(waiting) >= 5:
                    size = 1 + struct.unpack_from("!i", waiting, 1)[0]
                    if len(waiting) < size:
                        break
                    whole, waiting = waiting[:size], waiting[size:]
                    target.sendall(self.edit(chr(whole[0]), whole))
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def end(self):
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.close()
