"""PostgreSQL, a relay and Postern put together, with clients for both ways."""

import difflib
import os

from . import wire
from .relay import Relay
from .servers import PostgreSQL, Postern, Redis, postern_program
from .waiting import eventually

# POSTERN_TARGET=direct runs the tests against PostgreSQL itself: what they say of PostgreSQL must
# hold there too, and only what they say of Postern is skipped.
CATALOG_RELOADS = "postern_catalog_reloads_total"
DIRECT_ONLY = os.environ.get("POSTERN_TARGET") == "direct"


class World:
    """clients → Postern → relay → PostgreSQL. Postern's own catalog connection takes the relay too;
    none of its statements contains a test's needle."""

    def __init__(self, schema="", *, pool_size=2, settings=None, rules=None, redis=False,
                 postgres=None, environment=None):
        self.parts = []
        try:
            self.pg = self._own(PostgreSQL(**(postgres or {})))
            if schema:
                self.pg.run("SET ROLE app; " + schema + "; RESET ROLE")
            self.relay = Relay(self.pg.address)
            self.redis = self._own(Redis()) if redis else None
            if DIRECT_ONLY:
                self.postern = None
                self.address = self.relay.address
                return
            overlay = dict(settings or {})
            overlay["pool"] = {"size": pool_size, **overlay.get("pool", {})}
            if self.redis:
                overlay["cache"] = {
                    "store": "redis",
                    "redis": {"port": self.redis.port, "timeout": "200ms"},
                    **overlay.get("cache", {}),
                }
            self.postern = self._own(Postern(self.relay.address, overlay, rules, environment))
            self.address = self.postern.address
        except BaseException:
            self.remove()
            raise

    def _own(self, part):
        self.parts.append(part)
        return part

    def client(self, **kwargs):
        """A client of Postern."""
        return wire.Client(self.address, **kwargs)

    def direct(self, **kwargs):
        """A client of PostgreSQL, past relay and Postern."""
        return wire.Client(self.pg.address, **kwargs)

    def change_catalog(self, sql):
        """DDL that does not pass through Postern, and the wait until its catalog poll has seen it."""
        if self.postern is None:
            return self.pg.run(sql)
        before = self.postern.metrics()[CATALOG_RELOADS]
        self.pg.run(sql)
        return eventually(
            lambda: self.postern.metrics()[CATALOG_RELOADS] > before and self.postern.ready(),
            "Postern's reading of the catalog")

    def remove(self):
        failure = None
        for part in reversed(self.parts):
            try:
                part.remove()
            except BaseException as error:  # every part must go, the first failure is told
                failure = failure or error
        if getattr(self, "relay", None):
            self.relay.end()
        if failure:
            raise failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def missing_program():
    """Why Postern can't be started, None when it can."""
    if DIRECT_ONLY or postern_program().exists():
        return None
    return f"there is no {postern_program()}: build it, or set POSTERN"


def both_ways(world, script, times=1, own_errors=False, **login):
    """Holds one conversation with PostgreSQL and `times` times through Postern; both must be equal.

    `script(client)` sends and reads; it may assert too, which then holds on both sides. Errors that
    are Postern's own (`own_errors`) do not say where in PostgreSQL's source they were found.
    """
    with world.direct(**login) as client:
        script(client)
        wanted = wire.comparable(client.transcript)
    for time_through in range(times):
        with world.client(**login) as client:
            script(client)
            found = wire.comparable(client.transcript)
        difference = "\n".join(difflib.unified_diff(
            wire.readable(wanted).splitlines(), wire.readable(found).splitlines(), "direct",
            f"postern, run {time_through + 1}", lineterm="", n=3))
        assert not difference, difference
        assert own_errors or found == wanted, f"run {time_through + 1} differs in bytes that are not shown"
    return wanted
