"""Waiting for a condition, never for a length of time."""

import time


def eventually(condition, what="it", seconds=15):
    """Looks again and again until `condition()` is true; its value. `what` is for the failure."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)
    return value


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
