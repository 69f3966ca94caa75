"""psycopg 3: the extended protocol, server-side preparation and its limits, binary results, pipeline
mode, cursors of every kind, COPY, two-phase transactions, notifications, asynchronous connections."""

import asyncio
import logging
import sys
import threading

import psycopg
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

host, port, database, user, password = sys.argv[1:]


# How a pipeline is left after an error depends on when its answers came; psycopg warns of it or not.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def connect(**options):
    return psycopg.connect(
        host=host, port=port, dbname=database, user=user, password=password, **options)


def show(what, value=""):
    print(f"{what}: {value}")


def failing(link, sql, values=None):
    try:
        link.execute(sql, values)
    except psycopg.Error as error:
        show(type(error).__name__, f"{error.sqlstate} {error.diag.message_primary}")


def reads(link):
    for prepare in (None, True, False):
        for number in range(1, 8):
            row = link.execute(
                "SELECT id, name, score, born, tags, data FROM person WHERE id = %s", [number],
                prepare=prepare).fetchone()
            show("row", row)
    with link.cursor(binary=True, row_factory=dict_row) as cursor:
        for _ in range(3):
            cursor.execute("SELECT id, name, score, born FROM person WHERE id < %s ORDER BY id", [4])
            show("binary", cursor.fetchall())
    with link.cursor("on_the_server") as cursor:
        cursor.execute("SELECT id FROM person ORDER BY id LIMIT 10")
        show("server-side cursor", (cursor.fetchmany(3), cursor.fetchall()))
    cursor = link.execute("SELECT 1; SELECT 2 AS two; SELECT 3 WHERE false")
    while True:
        show("several", (cursor.fetchall(), cursor.statusmessage))
        if not cursor.nextset():
            break
    link.commit()


def preparation():
    """Two connections that give the same names to different statements, with room for two each."""
    with connect(prepare_threshold=0, autocommit=True) as link, connect(
            prepare_threshold=1, autocommit=True) as other:
        link.prepared_max = other.prepared_max = 2
        for turn in range(3):
            for one, sign in ((link, "<"), (other, ">")):
                for column in ("name", "born", "score"):
                    show("turns", one.execute(
                        f"SELECT {column} FROM person WHERE id {sign} %s ORDER BY id LIMIT 1",
                        [20 + turn]).fetchone())
    with connect(prepare_threshold=None, cursor_factory=psycopg.ClientCursor) as link:
        cursor = link.cursor()
        show("by the client", cursor.execute("SELECT %s, %s::date", ["it's", "2020-01-02"]).fetchone())
        show("would be", cursor.mogrify("SELECT %s", ["it's"]))


def cursors(link):
    with link.transaction(), link.cursor("scrolling", scrollable=True) as cursor:
        cursor.itersize = 3
        cursor.execute("SELECT id FROM person WHERE id < %s ORDER BY id", [12])
        show("iterated", [row[0] for row in cursor])
        cursor.scroll(2, mode="absolute")
        show("absolute", cursor.fetchone())
        cursor.scroll(-2)
        show("relative", cursor.fetchmany(2))
        show("others meanwhile", link.execute("SELECT count(*) FROM person").fetchone())
    with link.cursor(row_factory=namedtuple_row) as cursor:
        rows = cursor.stream("SELECT id, name FROM person WHERE id > %s ORDER BY id", [37])
        show("single rows", [(row.id, row.name) for row in rows])
    with link.transaction(), link.cursor("binary", binary=True) as cursor:
        cursor.execute("SELECT id, score, born, tags FROM person ORDER BY id")
        show("binary cursor", cursor.fetchmany(2))


def types(link):
    register_enum(EnumInfo.fetch(link, "mood"), link)
    register_composite(CompositeInfo.fetch(link, "scratch"), link)
    values = [Jsonb({"a": [1, None]}), Range(1, 5), b"\0\xff", [[1, 2], [3, 4]], float("inf"), "\u20ac"]
    for binary in (False, True):
        kind = "%b" if binary else "%t"
        cursor = link.cursor(binary=binary)
        cursor.execute(f"SELECT {', '.join([kind] * len(values))}", values)
        show("there and back", cursor.fetchone())
        cursor.execute("SELECT 'happy'::mood, ARRAY['sad']::mood[], (1, 'x')::scratch, '1 day 02:00'::interval,"
                       " '2020-02-03 04:05:06+00'::timestamptz, numrange(1, 2), '127.0.0.1/8'::inet")
        show("read", cursor.fetchone())


def pipelines(link):
    with link.pipeline() as pipeline:
        cursors = [link.execute("SELECT name FROM person WHERE id = %s", [n]) for n in range(1, 6)]
        link.execute("INSERT INTO scratch VALUES (%s, %s)", [100, "piped"])
        count = link.execute("SELECT count(*) FROM scratch WHERE id = 100")
        pipeline.sync()
        show("pipeline", [cursor.fetchone() for cursor in cursors] + [count.fetchone()])
    link.commit()
    try:
        with link.pipeline():
            link.execute("INSERT INTO scratch VALUES (101, 'lost')")
            link.execute("SELECT 1/0")
            link.execute("SELECT 'skipped'")
    except psycopg.Error as error:
        show("failed pipeline", error.sqlstate)
    link.rollback()
    show("after it", link.execute("SELECT count(*) FROM scratch WHERE id = 101").fetchone())
    with link.cursor() as cursor:
        cursor.executemany("INSERT INTO scratch VALUES (%s, %s) RETURNING id",
                           [(n, "many") for n in range(110, 114)], returning=True)
        ids = []
        while True:
            ids.append(cursor.fetchone()[0])
            if not cursor.nextset():
                break
        show("executemany", ids)
    link.execute("DELETE FROM scratch WHERE id >= 100")
    link.commit()


def transactions(link, other):
    with link.transaction():
        link.execute("INSERT INTO scratch VALUES (1, 'one')")
        try:
            with link.transaction():
                link.execute("INSERT INTO scratch VALUES (1, 'twice')")
        except psycopg.errors.UniqueViolation as error:
            show("inner", error.sqlstate)
        show("outer", link.execute("SELECT * FROM scratch").fetchall())
    show("seen elsewhere", other.execute("SELECT * FROM scratch").fetchall())
    try:
        with link.transaction():
            link.execute("DELETE FROM scratch")
            raise KeyError("changed my mind")
    except KeyError:
        show("rolled back", link.execute("SELECT count(*) FROM scratch").fetchone())


def copies(link):
    with link.cursor() as cursor:
        with cursor.copy("COPY scratch FROM STDIN") as copy:
            for number in range(10, 13):
                copy.write_row((number, f"row {number}"))
        with cursor.copy("COPY (SELECT * FROM scratch ORDER BY id) TO STDOUT") as copy:
            show("copy out", list(copy.rows()))
        with cursor.copy("COPY scratch FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((20, "binary"))
        try:
            with cursor.copy("COPY scratch FROM STDIN") as copy:
                copy.write(b"30\tx\n")
                raise KeyError("given up")
        except (KeyError, psycopg.errors.QueryCanceled):
            show("given up", cursor.execute("SELECT max(id) FROM scratch").fetchone())


    with link.cursor() as cursor, cursor.copy("COPY (SELECT id, born FROM person WHERE id < 4) TO STDOUT"
                                              " (FORMAT binary)") as copy:
        copy.set_types(["int4", "date"])
        show("binary out", list(copy.rows()))


def two_phases(link, other):
    for number, end in ((1, "commit"), (2, "rollback")):
        link.tpc_begin(link.xid(7, f"transaction {number}", "branch"))
        link.execute("INSERT INTO scratch VALUES (%s, 'in two phases')", [70 + number])
        link.tpc_prepare()
        show("not yet", other.execute("SELECT count(*) FROM scratch WHERE id > 70").fetchone())
        found = [xid for xid in other.tpc_recover() if xid.gtrid == f"transaction {number}"]
        show("recovered", [(xid.gtrid, xid.bqual, xid.owner, xid.database) for xid in found])
        other.rollback()
        getattr(link if number == 1 else other, f"tpc_{end}")(*(found if number == 2 else ()))
        show(end, other.execute("SELECT id FROM scratch WHERE id > 70").fetchall())
        other.rollback()
    link.tpc_begin("in one phase")
    link.execute("DELETE FROM scratch WHERE id > 70")
    link.tpc_commit()
    show("deleted", other.execute("SELECT count(*) FROM scratch WHERE id > 70").fetchone())
    other.rollback()


def errors(link):
    for sql in ("SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere",
                "INSERT INTO scratch VALUES (1, 'duplicate')"):
        failing(link, sql)
    failing(link, "SELECT %s::int", ["x"])
    notices = []
    link.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
    link.execute("DROP TABLE IF EXISTS no_such_table")
    show("notices", notices)


def cancel(link):
    timer = threading.Timer(0.3, link.cancel)
    timer.start()
    failing(link, "SELECT pg_sleep(30)")
    timer.join()
    show("cancelled", link.execute("SELECT 'alive'").fetchone())


async def asynchronous():
    async with await psycopg.AsyncConnection.connect(
            host=host, port=port, dbname=database, user=user, password=password) as link:
        async with link.pipeline():
            cursors = [await link.execute("SELECT name FROM person WHERE id = %s", [n]) for n in (1, 2, 3)]
            show("asynchronous", [await cursor.fetchone() for cursor in cursors])
        async with link.cursor("several") as cursor:
            await cursor.execute("SELECT id FROM person ORDER BY id LIMIT 5")
            show("asynchronous cursor", [row[0] async for row in cursor])
        asleep = asyncio.create_task(link.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.3)
        link.cancel()
        try:
            await asleep
        except psycopg.errors.QueryCanceled as error:
            show("cancelled", error.sqlstate)


def alone():
    """What makes a session keep its server, so that nobody else could ask in a pool of one."""
    with connect(autocommit=True) as link:
        with link.cursor("held", withhold=True) as cursor:
            cursor.execute("SELECT id FROM person ORDER BY id")
            show("held", (cursor.fetchmany(2), link.execute("SELECT 1").fetchone(), cursor.fetchmany(2)))
        link.execute("CREATE TEMPORARY TABLE mine(n int) ON COMMIT PRESERVE ROWS")
        with link.cursor() as cursor:
            cursor.executemany("INSERT INTO mine VALUES (%s)", [(n,) for n in range(5)])
        show("temporary", link.execute("SELECT sum(n) FROM mine").fetchone())
        heard = []
        link.add_notify_handler(lambda note: heard.append((note.channel, note.payload)))
        link.execute("LISTEN words")
        with link.transaction():
            link.execute("SELECT pg_notify('words', %s)", ["a word"])
        link.execute("NOTIFY words")
        show("notified", heard)
        show("locked", link.execute("SELECT pg_try_advisory_lock(7), pg_advisory_unlock(7)").fetchone())


def main():
    with connect() as link, connect(autocommit=True) as other:
        reads(link)
        types(link)
        cursors(link)
        pipelines(link)
        link.autocommit = True
        transactions(link, other)
        copies(link)
        errors(link)
        cancel(link)
        link.autocommit = False
        other.autocommit = False
        two_phases(link, other)
        link.autocommit = other.autocommit = True
        link.execute("SET TIME ZONE 'Asia/Tokyo'")
        show("timezone", link.info.timezone)
        link.execute("TRUNCATE scratch")
        show("emptied", other.execute("SELECT count(*) FROM scratch").fetchone())
    preparation()
    asyncio.run(asynchronous())
    alone()


main()
