"""The routes. Reads and writes alike run in the request's transaction (database.py)."""

from typing import Optional

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, defer, joinedload, selectinload
from sqlalchemy.orm.exc import StaleDataError

from . import views
from .database import (
    StatementCount,
    check_member,
    get_report_session,
    get_report_user,
    get_session,
    get_user,
    require_member,
    statement_count,
)
from .models import Comment, Issue, Project, ProjectMember, Sprint, User

PAGE = 25
COMMENT_PAGE = 20
OPEN_STATUSES = ("open", "in_progress", "in_review")

app = FastAPI(title="Tracker")


class CountStatements:
    """Says in a response header how many statements the request took: "reads writes"."""

    def __init__(self, app):
        self.inner = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.inner(scope, receive, send)
        count = StatementCount()
        statement_count.set(count)

        async def send_with_count(message):
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-db-statements", b"%d %d" % (count.reads, count.writes)))
            await send(message)

        await self.inner(scope, receive, send_with_count)


app.add_middleware(CountStatements)


@app.get("/healthz")
async def health():
    return {"status": "ok"}


# Reads


@app.get("/projects")
async def list_projects(user: User = Depends(get_user), session: AsyncSession = Depends(get_session)):
    projects = (await session.execute(select(Project).order_by(Project.name))).scalars().all()
    return JSONResponse([views.project_row(project) for project in projects])


@app.get("/projects/{project_id}/issues")
async def list_issues(
    project_id: int,
    page: int = 1,
    status: Optional[str] = None,
    assignee: Optional[int] = None,
    q: Optional[str] = None,
    user: User = Depends(get_user),
    session: AsyncSession = Depends(get_session),
):
    await require_member(session, user, project_id)
    project = await session.get(Project, project_id)
    conditions = [Issue.project_id == project_id]
    if status is not None:
        conditions.append(Issue.status == status)
    if assignee is not None:
        conditions.append(Issue.assignee_id == assignee)
    if q is not None:
        conditions.append(Issue.title.ilike(f"%{q}%"))
    issues = (
        await session.execute(
            select(Issue)
            .where(*conditions)
            .options(joinedload(Issue.assignee), defer(Issue.description))
            .order_by(Issue.created_at.desc(), Issue.id.desc())
            .limit(PAGE)
            .offset((page - 1) * PAGE)
        )
    ).scalars().all()
    total = (await session.execute(select(func.count()).select_from(Issue).where(*conditions))).scalar_one()
    comments = await count_comments(session, [issue.id for issue in issues])
    rows = [
        dict(views.issue_row(issue), assignee=views.person(issue.assignee), comments=comments.get(issue.id, 0))
        for issue in issues
    ]
    return JSONResponse({"project": views.project_row(project), "total": total, "page": page, "items": rows})


async def count_comments(session, issue_ids):
    """How many comments each of these issues has, in one statement."""
    if not issue_ids:
        return {}
    counted = select(Comment.issue_id, func.count()).where(Comment.issue_id.in_(issue_ids)).group_by(Comment.issue_id)
    return dict((await session.execute(counted)).all())


@app.get("/issues/{issue_id}")
async def get_issue(issue_id: int, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)):
    issue = await load_issue(
        session,
        user,
        issue_id,
        joinedload(Issue.project),
        joinedload(Issue.sprint),
        joinedload(Issue.reporter),
        joinedload(Issue.assignee),
        selectinload(Issue.attachments),
    )
    comments = (
        await session.execute(select(func.count()).select_from(Comment).where(Comment.issue_id == issue_id))
    ).scalar_one()
    return JSONResponse(
        dict(
            views.issue_row(issue),
            description=issue.description,
            project=views.project_row(issue.project),
            sprint=views.sprint_row(issue.sprint),
            reporter=views.person(issue.reporter),
            assignee=views.person(issue.assignee),
            attachments=[views.attachment_row(attachment) for attachment in issue.attachments],
            comments=comments,
        )
    )


async def load_issue(session, user, issue_id, *options):
    """The issue, or 404 where it does not exist or this user may not see it."""
    issue = (await session.execute(select(Issue).where(Issue.id == issue_id).options(*options))).scalar_one_or_none()
    if issue is None:
        raise HTTPException(404, "no such issue")
    await require_member(session, user, issue.project_id)
    return issue


@app.get("/issues/{issue_id}/comments")
async def list_comments(
    issue_id: int, page: int = 1, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)
):
    issue = await load_issue(session, user, issue_id, defer(Issue.description))
    comments = (
        await session.execute(
            select(Comment)
            .where(Comment.issue_id == issue_id)
            .options(joinedload(Comment.author))
            .order_by(Comment.created_at, Comment.id)
            .limit(COMMENT_PAGE)
            .offset((page - 1) * COMMENT_PAGE)
        )
    ).scalars().all()
    total = (
        await session.execute(select(func.count()).select_from(Comment).where(Comment.issue_id == issue_id))
    ).scalar_one()
    return JSONResponse(
        {"issue": views.issue_row(issue), "total": total, "items": [views.comment_row(comment) for comment in comments]}
    )


@app.get("/projects/{project_id}/board")
async def get_board(project_id: int, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)):
    """The active sprint's issues by status."""
    await require_member(session, user, project_id)
    project = await session.get(Project, project_id)
    sprint = (
        await session.execute(select(Sprint).where(Sprint.project_id == project_id, Sprint.status == "active").limit(1))
    ).scalar_one_or_none()
    columns = {}
    if sprint is not None:
        issues = (
            await session.execute(
                select(Issue)
                .where(Issue.project_id == project_id, Issue.sprint_id == sprint.id)
                .options(selectinload(Issue.assignee), defer(Issue.description))
                .order_by(Issue.status, Issue.position, Issue.id)
            )
        ).scalars()
        for issue in issues:
            row = dict(views.issue_row(issue), assignee=views.person(issue.assignee))
            columns.setdefault(issue.status, []).append(row)
    return JSONResponse({"project": views.project_row(project), "sprint": views.sprint_row(sprint), "columns": columns})


@app.get("/projects/{project_id}/counts")
async def get_counts(project_id: int, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)):
    """The numbers of the project's dashboard."""
    await require_member(session, user, project_id)
    project = await session.get(Project, project_id)
    in_project = Issue.project_id == project_id
    is_open = Issue.status.in_(OPEN_STATUSES)
    by_status = await session.execute(select(Issue.status, func.count()).where(in_project).group_by(Issue.status))
    by_priority = await session.execute(
        select(Issue.priority, func.count()).where(in_project, is_open).group_by(Issue.priority)
    )
    busiest = await session.execute(
        select(User.id, User.name, func.count(Issue.id).label("issues"))
        .join(Issue, Issue.assignee_id == User.id)
        .where(in_project, is_open)
        .group_by(User.id, User.name)
        .order_by(func.count(Issue.id).desc(), User.id)
        .limit(10)
    )
    return JSONResponse(
        {
            "project": views.project_row(project),
            "by_status": dict(by_status.all()),
            "by_priority": dict(by_priority.all()),
            "busiest": [{"id": row.id, "name": row.name, "issues": row.issues} for row in busiest],
        }
    )


@app.get("/me/issues")
async def my_issues(user: User = Depends(get_user), session: AsyncSession = Depends(get_session)):
    """What is on the user's own desk, over all projects."""
    issues = (
        await session.execute(
            select(Issue)
            .where(Issue.assignee_id == user.id, Issue.status.in_(OPEN_STATUSES))
            .options(joinedload(Issue.project), defer(Issue.description))
            .order_by(Issue.updated_at.desc(), Issue.id.desc())
            .limit(PAGE)
        )
    ).scalars().all()
    return JSONResponse([dict(views.issue_row(issue), project=views.project_row(issue.project)) for issue in issues])


@app.get("/projects/{project_id}/report")
def get_report(
    project_id: int, user: User = Depends(get_report_user), session: Session = Depends(get_report_session)
):
    """Issues opened a week and points by sprint, as the spreadsheet export takes them."""
    check_member(user, session.get(ProjectMember, (project_id, user.id)))
    week = func.date_trunc("week", Issue.created_at).label("week")
    opened = session.execute(
        select(week, func.count()).where(Issue.project_id == project_id).group_by(week).order_by(week.desc()).limit(12)
    ).all()
    points = session.execute(
        select(Sprint.name, func.count(Issue.id), func.coalesce(func.sum(Issue.story_points), 0))
        .join(Issue, Issue.sprint_id == Sprint.id)
        .where(Sprint.project_id == project_id)
        .group_by(Sprint.id, Sprint.name)
        .order_by(Sprint.id.desc())
        .limit(8)
    ).all()
    return JSONResponse(
        {
            "opened": [{"week": views.when(row[0]), "issues": row[1]} for row in opened],
            "sprints": [{"name": row[0], "issues": row[1], "points": int(row[2])} for row in points],
        }
    )


# Writes


class NewIssue(BaseModel):
    title: str = Field(..., min_length=1, max_length=500)
    description: Optional[str] = None
    priority: str = "medium"
    issue_type: str = "task"
    assignee_id: Optional[int] = None


class IssueEdit(BaseModel):
    title: Optional[str] = Field(None, min_length=1, max_length=500)
    priority: Optional[str] = None
    story_points: Optional[int] = None


class IssueMove(BaseModel):
    status: str
    position: int


class NewComment(BaseModel):
    body: str = Field(..., min_length=1)


@app.post("/projects/{project_id}/issues")
async def create_issue(
    project_id: int, new: NewIssue, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)
):
    await require_member(session, user, project_id)
    last = select(func.coalesce(func.max(Issue.number), 0)).where(Issue.project_id == project_id)
    issue = Issue(
        project_id=project_id,
        number=last.scalar_subquery() + 1,
        reporter_id=user.id,
        status="open",
        **new.dict(),
    )
    session.add(issue)
    await commit(session)
    return JSONResponse({"id": issue.id, "version": issue.version}, status_code=201)


@app.patch("/issues/{issue_id}")
async def edit_issue(
    issue_id: int, edit: IssueEdit, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)
):
    issue = await load_issue(session, user, issue_id)
    for name, value in edit.dict(exclude_unset=True).items():
        setattr(issue, name, value)
    await commit(session)
    return JSONResponse(views.issue_row(issue))


@app.post("/issues/{issue_id}/move")
async def move_issue(
    issue_id: int, move: IssueMove, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)
):
    issue = await load_issue(session, user, issue_id)
    issue.status = move.status
    issue.position = move.position
    await commit(session)
    return JSONResponse(views.issue_row(issue))


@app.post("/issues/{issue_id}/comments")
async def add_comment(
    issue_id: int, new: NewComment, user: User = Depends(get_user), session: AsyncSession = Depends(get_session)
):
    await load_issue(session, user, issue_id, defer(Issue.description))
    comment = Comment(issue_id=issue_id, author_id=user.id, body=new.body)
    session.add(comment)
    await commit(session)
    return JSONResponse({"id": comment.id}, status_code=201)


async def commit(session):
    """Commits before the answer leaves; who lost a race against another writer is told so."""
    try:
        await session.commit()
    except (StaleDataError, IntegrityError) as error:
        await session.rollback()
        raise HTTPException(409, "someone else was faster") from error
