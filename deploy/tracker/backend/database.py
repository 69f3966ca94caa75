"""Engines, sessions, and who is asking.

Every request runs in one transaction. Its first statement puts the user's id into the setting app.user_id for
the length of the transaction: row-level security decides by it what the other statements see.
"""

import contextvars
import os

from fastapi import Depends, Header, HTTPException
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from .models import ProjectMember, User

DATABASE_URL = make_url(os.environ.get("DATABASE_URL", "postgresql://tracker_app@127.0.0.1/tracker"))

engine = create_async_engine(DATABASE_URL.set(drivername="postgresql+asyncpg"), pool_size=6, max_overflow=4)
AsyncSessionLocal = sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)

# Reports run in worker threads on the blocking driver.
report_engine = create_engine(DATABASE_URL.set(drivername="postgresql+psycopg2"), pool_size=2, max_overflow=2)
ReportSession = sessionmaker(report_engine, expire_on_commit=False)

SET_USER = text("SELECT set_config('app.user_id', :user_id, true)")


class StatementCount:
    """How many statements one request issued; set_config and transaction control are not counted."""

    __slots__ = ("reads", "writes")

    def __init__(self):
        self.reads = 0
        self.writes = 0


statement_count = contextvars.ContextVar("statement_count", default=None)


def count_statement(connection, cursor, statement, parameters, context, executemany):
    count = statement_count.get()
    if count is None or "set_config" in statement:
        return
    if statement.startswith("SELECT"):
        count.reads += 1
    else:
        count.writes += 1


event.listen(engine.sync_engine, "before_cursor_execute", count_statement)
event.listen(report_engine, "before_cursor_execute", count_statement)


async def get_session():
    async with AsyncSessionLocal() as session:
        yield session


async def get_user(x_user_id: int = Header(...), session: AsyncSession = Depends(get_session)) -> User:
    """The user that the request is made by. The gateway in front of us has authenticated the header."""
    await session.execute(SET_USER, {"user_id": str(x_user_id)})
    return check_user(await session.get(User, x_user_id))


def get_report_session(x_user_id: int = Header(...)):
    with ReportSession() as session:
        session.execute(SET_USER, {"user_id": str(x_user_id)})
        yield session


def get_report_user(x_user_id: int = Header(...), session: Session = Depends(get_report_session)) -> User:
    return check_user(session.get(User, x_user_id))


def check_user(user):
    if user is None or not user.is_active:
        raise HTTPException(401, "unknown user")
    return user


async def require_member(session: AsyncSession, user: User, project_id: int):
    check_member(user, await session.get(ProjectMember, (project_id, user.id)))


def check_member(user, member):
    if member is None and user.role != "admin":
        raise HTTPException(404, "no such project")
