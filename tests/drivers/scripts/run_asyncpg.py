"""asyncpg: named prepared statements, binary everywhere, row limits, its own pool."""

import asyncio
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


async def pooled():
    async with asyncpg.create_pool(min_size=1, max_size=3, **DSN) as pool:
        names = await asyncio.gather(*[
            pool.fetchval("SELECT name FROM person WHERE id = $1", number) for number in range(1, 10)])
        show("pooled", names)
        async with pool.acquire() as link:
            await link.execute("SET work_mem = '9MB'")
        async with pool.acquire() as link:
            show("reset", await link.fetchval("SHOW work_mem"))


async def main():
    link, other = await asyncpg.connect(**DSN), await asyncpg.connect(**DSN)
    await reads(link)
    await reads(other)
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
    await pooled()


asyncio.run(main())
