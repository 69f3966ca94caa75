"""asyncpg: named prepared statements and the limits of their cache, binary everywhere, a look at every
new type, row limits, COPY, tables that change under it, notifications, its own pool and that pool's
reset."""

import asyncio
import datetime
import io
import json
import sys

import asyncpg

host, port, database, user, password = sys.argv[1:]
DSN = {"host": host, "port": int(port), "database": database, "user": user, "password": password}


def show(what, value=""):
    print(f"{what}: {value}")


async def failing(link, sql, *values):
    try:
        await link.fetch(sql, *values)
    except asyncpg.PostgresError as error:
        show(type(error).__name__, f"{error.sqlstate} {error.message}")


async def reads(link):
    for number in (1, 2, 1, 3):
        row = await link.fetchrow(
            "SELECT id, name, score, born, tags, data FROM person WHERE id = $1", number)
        show("row", dict(row))
    rows = await link.fetch("SELECT id FROM person WHERE id = ANY($1::int[]) ORDER BY id", [3, 5])
    show("rows", [row["id"] for row in rows])
    show("value", await link.fetchval("SELECT count(*) FROM person"))
    statement = await link.prepare("SELECT name FROM person WHERE id = $1")
    show("parameters", [one.name for one in statement.get_parameters()])
    show("attributes", [(one.name, one.type.name) for one in statement.get_attributes()])
    show("prepared", [await statement.fetchval(number) for number in (4, 5, 4)])
    async with link.transaction():
        cursor = await link.cursor("SELECT id FROM person ORDER BY id")
        show("cursor", [row["id"] for row in await cursor.fetch(3)])
        await cursor.forward(2)
        show("cursor", [row["id"] for row in await cursor.fetch(3)])
        ids = [row["id"] async for row in link.cursor("SELECT id FROM person ORDER BY id LIMIT 7",
                                                      prefetch=2)]
        show("iterated", ids)
    show("enumerated", await link.fetch("SELECT 'happy'::mood AS mood, ARRAY['sad', 'happy']::mood[]"))


async def caches():
    """Two connections with the same statement names; room for two statements, for one, for none."""
    for size in (2, 1, 0):
        link = await asyncpg.connect(**DSN, statement_cache_size=size)
        other = await asyncpg.connect(**DSN, statement_cache_size=size)
        for turn in (1, 2):
            for one, sign in ((link, "<"), (other, ">")):
                show("turns", [await one.fetchval(
                    f"SELECT {column} FROM person WHERE id {sign} $1 ORDER BY id LIMIT 1", 20 + turn)
                    for column in ("name", "born", "score")])
        await link.close()
        await other.close()


async def types(link):
    await link.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    show("decoded", await link.fetchval("SELECT data FROM person WHERE id = 1"))
    show("there and back", await link.fetchrow(
        "SELECT $1::jsonb, $2::mood[], $3::int4range, $4::bytea, $5::numeric, $6::interval, $7::text[]",
        {"a": [1, None]}, ["sad", None], asyncpg.Range(1, 5), b"\0\xff", 10, datetime.timedelta(days=1), []))
    show("composite", await link.fetchval("SELECT t FROM team t WHERE id = $1", 2))
    show("nested", await link.fetchval("SELECT array_agg(t ORDER BY id) FROM team t"))
    await link.reset_type_codec("jsonb", schema="pg_catalog")
    show("plain again", await link.fetchval("SELECT data FROM person WHERE id = 2"))


async def changing_tables(link, other):
    """Statements prepared for a table as it was: asyncpg prepares anew, but not in a transaction."""
    await link.execute("CREATE TABLE changing(id int); INSERT INTO changing VALUES (1)")
    show("before", await link.fetch("SELECT * FROM changing WHERE id = $1", 1))
    show("before", await other.fetch("SELECT * FROM changing WHERE id = $1", 1))
    await other.execute("ALTER TABLE changing ADD COLUMN more text DEFAULT 'x'")
    show("after", await link.fetch("SELECT * FROM changing WHERE id = $1", 1))
    await link.execute("ALTER TABLE changing DROP COLUMN more")
    try:
        async with link.transaction():
            show("inside", await link.fetch("SELECT * FROM changing WHERE id = $1", 1))
    except asyncpg.exceptions.InvalidCachedStatementError as error:
        show("cached", type(error).__name__)
    show("then", await link.fetch("SELECT * FROM changing WHERE id = $1", 1))
    show("then", await other.fetch("SELECT * FROM changing WHERE id = $1", 1))
    await link.execute("DROP TABLE changing")


async def transactions(link, other):
    async with link.transaction():
        await link.execute("INSERT INTO scratch VALUES (1, 'one')")
        try:
            async with link.transaction():
                await link.execute("INSERT INTO scratch VALUES (1, 'twice')")
        except asyncpg.UniqueViolationError as error:
            show("inner", error.sqlstate)
        show("outer", await link.fetch("SELECT * FROM scratch"))
    show("seen elsewhere", await other.fetch("SELECT * FROM scratch"))
    async with link.transaction(isolation="repeatable_read", readonly=True):
        show("isolation", await link.fetchval("SHOW transaction_isolation"))
        await failing(link, "INSERT INTO scratch VALUES (2, 'no')")
    await link.executemany("INSERT INTO scratch VALUES ($1, $2)", [(n, "many") for n in range(5, 9)])
    show("status", await link.execute("UPDATE scratch SET note = 'x' WHERE id > 5"))
    show("count", await other.fetchval("SELECT count(*) FROM scratch"))


async def copies(link):
    show("copy in", await link.copy_records_to_table(
        "scratch", records=[(n, f"row {n}") for n in range(20, 23)]))
    parts = []

    async def keep(data):
        parts.append(data)

    show("copy out", await link.copy_from_query(
        "SELECT * FROM scratch ORDER BY id", output=keep, format="csv"))
    show("data", b"".join(parts))
    show("copy in", await link.copy_to_table("scratch", source=io.BytesIO(b"30,a\n31,\n"), format="csv"))
    for kind in ("text", "csv", "binary"):
        out = io.BytesIO()
        show("copy out", await link.copy_from_table("scratch", columns=["id"], output=out, format=kind))
        show("data", out.getvalue())
    show("with values", await link.copy_from_query(
        "SELECT id FROM person WHERE id < $1", 4, output=keep, format="binary"))
    try:
        await link.copy_records_to_table("scratch", records=[(20, "duplicate")])
    except asyncpg.PostgresError as error:
        show("copy failed", error.sqlstate)


async def errors(link):
    for sql in ("SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere",
                "INSERT INTO scratch VALUES (1, 'duplicate')"):
        await failing(link, sql)
    messages = []
    link.add_log_listener(lambda _, message: messages.append(message.message))
    await link.execute("DROP TABLE IF EXISTS no_such_table")
    await asyncio.sleep(0)
    show("notices", messages)


async def cancel(link):
    try:
        await link.execute("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        show("cancelled", await link.fetchval("SELECT 'alive'"))


async def listening():
    """By itself: who listens keeps its server."""
    link = await asyncpg.connect(**DSN)
    heard = asyncio.Queue()
    await link.add_listener("words", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
    await link.execute("SELECT pg_notify('words', $1)", "a word")
    show("notified", await asyncio.wait_for(heard.get(), 10))
    await link.close()


async def pooled():
    async with asyncpg.create_pool(min_size=1, max_size=3, **DSN) as pool:
        names = await asyncio.gather(*[
            pool.fetchval("SELECT name FROM person WHERE id = $1", number) for number in range(1, 10)])
        show("pooled", names)
        async with pool.acquire() as link:
            await link.execute("SET work_mem = '9MB'")
        async with pool.acquire() as link:
            show("reset", await link.fetchval("SHOW work_mem"))
            show("locked", await link.fetchval("SELECT pg_try_advisory_lock(7)"))
    # The pool's reset gave the lock back.
    async with asyncpg.create_pool(min_size=1, max_size=1, max_queries=3, **DSN) as pool:
        for number in range(1, 8):
            async with pool.acquire() as link, link.transaction():
                show("new from time to time", await link.fetchval("SELECT name FROM person WHERE id = $1", number))
        show("not locked", await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))


async def main():
    link, other = await asyncpg.connect(**DSN), await asyncpg.connect(**DSN)
    await reads(link)
    await reads(other)
    await types(link)
    await changing_tables(link, other)
    await transactions(link, other)
    await copies(link)
    await errors(link)
    await cancel(link)
    await link.execute("SET timezone = 'Asia/Tokyo'")
    show("setting", link.get_settings().TimeZone)
    await link.reset()
    await link.execute("TRUNCATE scratch")
    show("emptied", await other.fetchval("SELECT count(*) FROM scratch"))
    await link.close()
    await other.close()
    await caches()
    await listening()
    await pooled()


asyncio.run(main())
