"""psycopg 3: the extended protocol, server-side preparation, binary results, pipeline mode."""

import logging
import sys
import threading

import psycopg
from psycopg.rows import dict_row

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


def main():
    with connect() as link, connect(autocommit=True) as other:
        reads(link)
        pipelines(link)
        link.autocommit = True
        transactions(link, other)
        copies(link)
        errors(link)
        cancel(link)
        link.execute("SET TIME ZONE 'Asia/Tokyo'")
        show("timezone", link.info.timezone)
        link.execute("TRUNCATE scratch")
        show("emptied", other.execute("SELECT count(*) FROM scratch").fetchone())


main()
