"""Somebody in between who ends the TLS of both sides, with a certificate of his own."""

import contextlib
import select
import socket
import ssl
import threading

from . import wire


class Middle:
    """Listens on a free port; takes TLS from those who connect, and asks `upstream` for it.
    `edit(data)` gives what is passed on in place of what the server has said at once."""

    def __init__(self, upstream, certificate, key, edit=lambda data: data):
        self._upstream = upstream
        self._edit = edit
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
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
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            assert client.recv(8, socket.MSG_WAITALL) == wire.ssl_request()
            client.sendall(b"S")
            client = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            server.sendall(wire.ssl_request())
            assert server.recv(1) == b"S"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            server = context.wrap_socket(server)
            self._sockets += [server]
            self._carry(client, server)

    def _carry(self, client, server):
        """Both ways by one thread: OpenSSL lets only one at a time use a connection."""
        ways = [(client, server, lambda data: data), (server, client, self._edit)]
        with contextlib.suppress(OSError, ValueError):
            while True:
                # What TLS has received already shows on no socket.
                ready = [one for one in (client, server) if one.pending()]
                ready = ready or select.select([client, server], [], [])[0]
                for source, target, edit in ways:
                    if source not in ready:
                        continue
                    source.setblocking(False)
                    try:
                        data = source.recv(1 << 16)
                    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        continue
                    finally:
                        source.setblocking(True)
                    if not data:
                        raise ConnectionResetError
                    target.sendall(edit(data))
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def end(self):
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.close()
