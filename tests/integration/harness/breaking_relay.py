"""A relay that breaks connections, in a process of its own.

    breaking_relay.py PORT SEED          passes 127.0.0.1:PORT on; prints its own port

What becomes of a connection is drawn from the seed and the connection's number: most pass untouched,
others arrive byte by byte, or slowly, or stand still for a while, or are cut in the middle of a message,
with a reset or without. Words on standard input: `cut` ends every connection there is, `stall` holds
everything for a moment, `calm` breaks nothing any more. It ends with its standard input.
"""

import asyncio
import contextlib
import dataclasses
import logging
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys

CHUNK = 1 << 16
STALL_SECONDS = 0.4
PIECES_BYTES = 2000  # of a read that are delivered in pieces; the rest of a large answer passes whole


@dataclasses.dataclass
class Fate:
    """What happens to one direction of a connection once `after` bytes have passed."""

    kind: str = "pass"  # pass, bytes, slow, stall, cut
    after: int = 0
    amount: float = 0.0  # bytes a piece, or seconds
    resets: bool = False


def fates_of(seed, number):
    """The fates of both directions: towards the server, towards the client."""
    chance = random.Random(f"{seed}/link/{number}")
    kinds = ["pass"] * 11 + ["bytes"] * 3 + ["slow", "stall", "stall", "cut", "cut", "cut"]
    fates = []
    for _ in range(2):
        kind = chance.choice(kinds)
        amount = {"bytes": chance.randint(1, 9), "slow": chance.uniform(0.001, 0.01),
                  "stall": chance.uniform(0.05, 1.0)}.get(kind, 0)
        after = int(chance.expovariate(1 / 6000))
        fates.append(Fate(kind, after, amount, chance.random() < 0.5))
    return fates


class Network:
    """Every connection there is."""

    def __init__(self, port, seed):
        self.port = port
        self.seed = seed
        self.links = 0
        self.writers = set()
        self.calm = False
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def accept(self, reader, writer):
        fates = fates_of(self.seed, self.links)
        self.links += 1
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return writer.close()
        for one in (writer, upstream):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = (writer, upstream)
        self.writers |= set(ends)
        try:
            await asyncio.gather(
                self.pump(reader, upstream, fates[0], ends), self.pump(upstream_reader, writer, fates[1], ends))
        finally:
            self.writers -= set(ends)
            for one in ends:
                one.close()

    async def pump(self, reader, writer, fate, ends):
        passed = 0
        try:
            while data := await reader.read(CHUNK):
                await self.flowing.wait()
                untouched = len(data) if self.calm or fate.kind == "pass" else max(0, fate.after - passed)
                if writer.is_closing():
                    return
                writer.write(data[:untouched])
                passed += len(data)
                if untouched < len(data) and not await self.suffer(fate, writer, data[untouched:]):
                    self.end(ends, fate.resets)
                    return
                await writer.drain()
            # The other direction goes on: a half-closed connection stays one.
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            self.end(ends, True)  # a reset of one side is one of the other

    async def suffer(self, fate, writer, data):
        """Delivers `data` as the fate has it; False: the connection is cut."""
        if fate.kind == "cut":
            return False
        if fate.kind == "bytes":
            piece = int(fate.amount)
            head = data[:PIECES_BYTES]
            for at in range(0, len(head), piece):
                if writer.is_closing():
                    return False
                writer.write(head[at : at + piece])
                await asyncio.sleep(0)
            writer.write(data[PIECES_BYTES:])
            return True
        await asyncio.sleep(fate.amount)
        if fate.kind == "stall":
            fate.kind = "pass"
        writer.write(data)
        return True

    def end(self, ends, resets):
        for one in ends:
            if resets:
                with contextlib.suppress(OSError):
                    one.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.transport.abort()

    async def obey(self, word):
        if word == "calm":
            self.calm = True
        elif word == "cut":
            self.end(list(self.writers), False)
        elif word == "stall":
            self.flowing.clear()
            await asyncio.sleep(STALL_SECONDS)
            self.flowing.set()


async def main(port, seed):
    network = Network(port, seed)
    server = await asyncio.start_server(network.accept, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := await words.readline():
        await network.obey(word.decode().strip())


class BreakingRelay:
    """The process, from a test's side."""

    def __init__(self, upstream, seed):
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(pathlib.Path(__file__).resolve()), str(upstream[1]), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    def tell(self, word):
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def end(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # that connections break is what they are for
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
