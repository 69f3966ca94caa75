"""SQLAlchemy as backends use it: sessions, joined loads, both a sync and an async engine."""

import asyncio
import sys

import sqlalchemy as sa
from sqlalchemy import orm
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
    await engine.dispose()


def main():
    engine = sa.create_engine("postgresql+psycopg2://" + PLACE, pool_size=2, pool_pre_ping=True)
    make = orm.sessionmaker(engine)
    inspector = sa.inspect(engine)
    show("reflected", [(one["name"], str(one["type"])) for one in inspector.get_columns("person")])
    show("tables", sorted(inspector.get_table_names()))
    reads(make)
    writes(make)
    errors(make)
    reads(make)
    with engine.begin() as link:
        link.execute(sa.text("TRUNCATE scratch"))
    engine.dispose()
    asyncio.run(asynchronous())


main()
