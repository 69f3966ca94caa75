"""SQLAlchemy as backends use it: sessions, loaders, tables made and reflected, rows in bulk, rows streamed,
two-phase transactions; by a sync engine and an async one."""

import asyncio
import sys

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext import asyncio as sa_asyncio

host, port, database, user, password = sys.argv[1:]
PLACE = f"{user}:{password}@{host}:{port}/{database}"
Base = orm.declarative_base()


class Person(Base):
    __tablename__ = "person"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text)
    score = sa.Column(sa.Numeric)
    born = sa.Column(sa.Date)
    team_id = sa.Column(sa.ForeignKey("team.id"))
    team = orm.relationship("Team", back_populates="persons")


class Team(Base):
    __tablename__ = "team"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text)
    persons = orm.relationship("Person", back_populates="team", order_by=Person.id)


class Scratch(Base):
    __tablename__ = "scratch"
    id = sa.Column(sa.Integer, primary_key=True)
    note = sa.Column(sa.Text)


def show(what, value=""):
    print(f"{what}: {value}")


def reads(make):
    for _ in range(3):
        with make() as session:
            one = session.get(Person, 3)
            show("get", (one.id, one.name, one.score, one.born, one.team.name))
            teams = session.query(Team).options(orm.joinedload(Team.persons)).order_by(Team.id).all()
            show("joined", [(team.name, [person.id for person in team.persons]) for team in teams])
            teams = session.query(Team).options(orm.selectinload(Team.persons)).order_by(Team.id).all()
            show("select in", [(team.name, len(team.persons)) for team in teams])
            show("count", session.query(Person).filter(Person.name.like("person 1%")).count())
            page = session.query(Person).order_by(Person.born.desc(), Person.id).offset(2).limit(3)
            show("page", [person.id for person in page])
            show("group", session.execute(
                sa.select(Team.name, sa.func.count(Person.id)).join(Person).group_by(Team.name)
                .order_by(Team.name)).all())


def writes(make):
    with make() as session, session.begin():
        session.add_all([Scratch(id=n, note=f"n{n}") for n in range(1, 5)])
    with make() as session:
        show("written", [(one.id, one.note) for one in session.query(Scratch).order_by(Scratch.id)])
    with make() as session:
        session.get(Scratch, 1).note = "changed"
        session.flush()
        show("flushed", session.query(Scratch.note).filter_by(id=1).scalar())
        session.rollback()
        show("rolled back", session.get(Scratch, 1).note)
    with make() as session, session.begin():
        try:
            with session.begin_nested():
                session.add(Scratch(id=1, note="twice"))
        except sa.exc.IntegrityError as error:
            show("integrity", error.orig.pgcode)
        session.get(Scratch, 2).note = "kept"
    with make() as session:
        show("kept", session.get(Scratch, 2).note)
        show("returned", session.execute(
            sa.insert(Scratch).values(id=9, note="r").returning(Scratch.id)).all())
        session.commit()
        show("deleted", session.query(Scratch).filter(Scratch.id > 3).delete())
        session.commit()
        show("left", session.query(sa.func.count(Scratch.id)).scalar())


def tables(engine):
    """What it makes is what it finds again."""
    metadata = sa.MetaData()
    sa.Table("made", metadata, sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
             sa.Column("kind", sa.Enum("a", "b", name="made_kind"), server_default="a", index=True),
             sa.Column("team_id", sa.ForeignKey("team.id", ondelete="CASCADE")),
             sa.Column("keys", postgresql.ARRAY(sa.Text)), sa.Column("data", postgresql.JSONB),
             sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
             sa.UniqueConstraint("kind", "team_id", name="once"), sa.CheckConstraint("id > 0"))
    sa.Table("team", metadata, sa.Column("id", sa.Integer, primary_key=True))
    for _ in range(2):
        metadata.create_all(engine)
    found = sa.MetaData()
    table = sa.Table("made", found, autoload_with=engine)
    show("columns", [(column.name, str(column.type), column.nullable) for column in table.columns])
    show("constraints", sorted(type(one).__name__ for one in table.constraints))
    show("indexes", [index.name for index in table.indexes])
    with engine.begin() as link:
        statement = sa.insert(table).values(kind=sa.bindparam("k"), team_id=sa.bindparam("t"))
        link.execute(statement, [{"k": "ab"[n % 2], "t": 1 + n // 2} for n in range(6)])
        upsert = postgresql.insert(table).values(kind="a", team_id=1, data={"a": [1, None]}, keys=["x", None])
        upsert = upsert.on_conflict_do_update(constraint="once", set_={"data": upsert.excluded.data, "keys": ["y"]})
        show("upserted", link.execute(upsert.returning(table.c.id, table.c.data, table.c["keys"])).all())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as link:
        link.execute(sa.text("VACUUM made"))
        show("autocommitted", link.scalar(sa.select(sa.func.count()).select_from(table)))
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as link:
        show("isolation", link.scalar(sa.text("SHOW transaction_isolation")))
    metadata.tables["made"].drop(engine)
    metadata.tables["made"].c.kind.type.drop(engine, checkfirst=True)
    show("dropped", sa.inspect(engine).has_table("made"))


def bulk(make, engine):
    for mode in ("values_only", "values_plus_batch"):
        other = sa.create_engine(
            "postgresql+psycopg2://" + PLACE, executemany_mode=mode, poolclass=sa.pool.NullPool)
        with orm.Session(other) as session, session.begin():
            session.bulk_insert_mappings(Scratch, [{"id": n, "note": f"n{n}"} for n in range(1000, 1250)])
            session.bulk_update_mappings(Scratch, [{"id": n, "note": "new"} for n in range(1000, 1020)])
        with make() as session:
            show("bulk", session.query(sa.func.count(), sa.func.max(Scratch.note)).filter(Scratch.id >= 1000).one())
            with session.begin_nested():
                show("locked", len(session.query(Scratch).filter(Scratch.id > 1240).with_for_update(skip_locked=True).all()))
            show("gone", session.query(Scratch).filter(Scratch.id >= 1000).delete(synchronize_session=False))
            session.commit()
    with engine.connect() as link:
        rows = link.execution_options(yield_per=7).execute(sa.select(Person.id).order_by(Person.id))
        show("partitions", [len(part) for part in rows.partitions()])
        show("streamed", sum(row.id for row in link.execution_options(stream_results=True, max_row_buffer=3)
                             .execute(sa.select(Person.id))))
    with engine.connect() as link:
        two_phase = link.begin_twophase("transaction of two phases")
        link.execute(sa.insert(Scratch.__table__).values(id=900, note="two phases"))
        two_phase.prepare()
        two_phase.commit()
    with engine.connect() as link:
        show("in two phases", link.execute(sa.delete(Scratch.__table__).where(Scratch.id == 900).returning(Scratch.note)).all())
        link.execute(sa.text("COMMIT"))


def errors(make):
    for sql in ("SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere"):
        with make() as session:
            try:
                session.execute(sa.text(sql))
            except sa.exc.DBAPIError as error:
                show(type(error).__name__, error.orig.pgcode)


async def asynchronous():
    engine = sa_asyncio.create_async_engine("postgresql+asyncpg://" + PLACE, pool_size=2)
    make = orm.sessionmaker(engine, class_=sa_asyncio.AsyncSession, expire_on_commit=False)
    for _ in range(2):
        async with make() as session:
            one = await session.get(Person, 5)
            show("async get", (one.id, one.name, one.born))
            teams = await session.execute(
                sa.select(Team).options(orm.selectinload(Team.persons)).order_by(Team.id))
            show("async teams", [(team.name, len(team.persons)) for team in teams.scalars()])
        async with make() as session, session.begin():
            session.add(Scratch(id=50, note="async"))
        async with make() as session:
            show("async written", (await session.get(Scratch, 50)).note)
            await session.execute(sa.delete(Scratch).where(Scratch.id == 50))
            await session.commit()
            show("async deleted", await session.get(Scratch, 50))
        async with engine.connect() as link:
            rows = await link.stream(sa.select(Person.id).where(Person.id < 30).order_by(Person.id))
            show("async streamed", [row.id async for row in rows][::7])
            async with link.begin_nested():
                show("async nested", await link.scalar(sa.select(sa.func.count(Team.id))))
    await engine.dispose()
    engine = sa_asyncio.create_async_engine(
        "postgresql+asyncpg://" + PLACE + "?prepared_statement_cache_size=0", poolclass=sa.pool.NullPool)
    for number in (1, 2, 3):
        async with engine.connect() as link:
            show("not cached", await link.scalar(sa.select(Person.name).where(Person.id == number)))


def main():
    engine = sa.create_engine("postgresql+psycopg2://" + PLACE, pool_size=2, pool_pre_ping=True)
    make = orm.sessionmaker(engine)
    inspector = sa.inspect(engine)
    show("reflected", [(one["name"], str(one["type"])) for one in inspector.get_columns("person")])
    show("tables", sorted(inspector.get_table_names()))
    reads(make)
    writes(make)
    errors(make)
    tables(engine)
    bulk(make, engine)
    reads(make)
    with engine.begin() as link:
        link.execute(sa.text("TRUNCATE scratch"))
    engine.dispose()
    asyncio.run(asynchronous())


main()
