"""psycopg2: the simple protocol, as most Python applications speak it."""

import io
import sys
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras

host, port, database, user, password = sys.argv[1:]


def connect():
    return psycopg2.connect(host=host, port=port, dbname=database, user=user, password=password)


def show(what, value=""):
    print(f"{what}: {value}")


def failing(cursor, sql, values=None):
    try:
        cursor.execute(sql, values)
    except psycopg2.Error as error:
        show(type(error).__name__, f"{error.pgcode} {error.diag.message_primary}")


def reads(link):
    with link.cursor() as cursor:
        for turn in range(3):
            cursor.execute("SELECT * FROM person WHERE id = %s", (turn + 1,))
            show("row", cursor.fetchone())
            cursor.execute("SELECT id, name FROM person WHERE id IN %s ORDER BY id", ((2, 4, 6),))
            show("rows", cursor.fetchall())
        cursor.execute("SELECT id, tags, born, score, data FROM person ORDER BY id LIMIT 3")
        show("columns", [(column.name, column.type_code) for column in cursor.description])
        show("rows", cursor.fetchall())
        cursor.execute("SELECT id FROM person WHERE false")
        show("none", (cursor.fetchone(), cursor.rowcount, cursor.statusmessage))
    with link.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT count(*) AS persons FROM person")
        show("dict", dict(cursor.fetchone()))
    with link.cursor("on_the_server") as cursor:
        cursor.itersize = 3
        cursor.execute("SELECT id FROM person ORDER BY id LIMIT 10")
        show("server-side cursor", [row[0] for row in cursor])
    link.commit()


def transactions(link, other):
    with link, link.cursor() as cursor:
        cursor.execute("INSERT INTO scratch VALUES (1, 'one') RETURNING id, note")
        show("returned", cursor.fetchone())
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO scratch VALUES %s", [(n, f"n{n}") for n in range(2, 6)])
        cursor.executemany("UPDATE scratch SET note = %s WHERE id = %s", [("x", 2), ("y", 3)])
        show("updated", cursor.rowcount)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM scratch ORDER BY id")
        show("seen elsewhere", cursor.fetchall())
    try:
        with link, link.cursor() as cursor:
            cursor.execute("DELETE FROM scratch")
            cursor.execute("SELECT count(*) FROM scratch")
            show("own deletes", cursor.fetchone())
            raise KeyError("changed my mind")
    except KeyError:
        pass
    with link, link.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM scratch")
        show("after rollback", cursor.fetchone())
    link.set_session(isolation_level="SERIALIZABLE", readonly=True)
    with link, link.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        show("isolation", cursor.fetchone())
        failing(cursor, "INSERT INTO scratch VALUES (99, 'no')")
    link.set_session(isolation_level="DEFAULT", readonly=False)
    with link, link.cursor() as cursor:
        cursor.execute("SAVEPOINT a")
        failing(cursor, "SELECT 1/0")
        failing(cursor, "SELECT 1")
        cursor.execute("ROLLBACK TO a")
        cursor.execute("SELECT 'back'")
        show("savepoint", cursor.fetchone())


def copies(link):
    with link, link.cursor() as cursor:
        cursor.copy_expert("COPY scratch FROM STDIN", io.StringIO("10\tten\n11\t\\N\n"))
        show("copied", cursor.rowcount)
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM scratch ORDER BY id) TO STDOUT CSV", out)
        show("copy out", out.getvalue())
    try:
        with link, link.cursor() as cursor:
            cursor.copy_expert("COPY scratch FROM STDIN", io.StringIO("x\ty\n"))
    except psycopg2.Error as error:
        show("copy failed", error.pgcode)


def errors(link):
    link.autocommit = True
    with link.cursor() as cursor:
        for sql in ("SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere",
                    "INSERT INTO scratch VALUES (1, 'duplicate')"):
            failing(cursor, sql)
        cursor.execute("DROP TABLE IF EXISTS no_such_table")
        show("notices", link.notices)
        cursor.execute("SELECT 'after'")
        show("then", cursor.fetchone())
    show("encoding", link.encoding)
    link.set_client_encoding("LATIN1")
    with link.cursor() as cursor:
        cursor.execute("SHOW client_encoding")
        show("encoding", cursor.fetchone())
        cursor.execute("RESET client_encoding")
        cursor.execute("SET application_name = 'renamed'")
        show("parameter", link.get_parameter_status("application_name"))


def cancel(link):
    timer = threading.Timer(0.3, link.cancel)
    timer.start()
    with link.cursor() as cursor:
        failing(cursor, "SELECT pg_sleep(30)")
        timer.join()
        cursor.execute("SELECT 'alive'")
        show("cancelled", cursor.fetchone())


def main():
    link, other = connect(), connect()
    reads(link)
    reads(other)
    transactions(link, other)
    copies(link)
    errors(link)
    cancel(link)
    link.reset()
    with link, link.cursor() as cursor:
        cursor.execute("TRUNCATE scratch")
    with other, other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM scratch")
        show("emptied", cursor.fetchone())
    link.close()
    other.close()


main()
