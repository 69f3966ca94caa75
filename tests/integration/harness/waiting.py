"""Waiting for a condition, never for a length of time."""

import threading
import time


def eventually(condition, what="it", seconds=15):
    """Looks again and again until `condition()` is true; its value. `what` is for the failure."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)
    return value


class Crowd:
    """Threads that work until the block ends. What one of them raises is told then, by the thread that can fail the test."""

    def __init__(self):
        self.stopping = threading.Event()
        self.failures = []
        self.threads = []

    def add(self, what, *arguments):
        """Before the block begins."""
        self.threads.append(threading.Thread(target=self._keep, args=(what, *arguments)))

    def _keep(self, what, *arguments):
        try:
            what(*arguments)
        except Exception as error:
            self.failures.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures


def runs(world, needle):
    """How many statements with `needle` in their text PostgreSQL runs at this moment."""
    return world.pg.value(
        "select count(*) from pg_stat_activity where state = 'active' and query like %s"
        " and pid <> pg_backend_pid()", f"%{needle}%")


def until_one_waits(world):
    """Until a client of Postern waits for a server, for Redis or for another's flight."""
    with world.client(database="postern") as console:
        eventually(lambda: any("waiting" in row for row in console.rows("show clients")),
                   "a client's waiting")
