"""Rows as the JSON that clients get."""


def when(moment):
    return moment.isoformat() if moment is not None else None


def person(user):
    return {"id": user.id, "name": user.name} if user is not None else None


def project_row(project):
    return {"id": project.id, "key": project.key, "name": project.name}


def sprint_row(sprint):
    return {"id": sprint.id, "name": sprint.name, "status": sprint.status} if sprint is not None else None


def issue_row(issue):
    """What lists and boards show."""
    return {
        "id": issue.id,
        "project_id": issue.project_id,
        "number": issue.number,
        "title": issue.title,
        "status": issue.status,
        "priority": issue.priority,
        "type": issue.issue_type,
        "story_points": issue.story_points,
        "position": issue.position,
        "version": issue.version,
        "created_at": when(issue.created_at),
        "updated_at": when(issue.updated_at),
    }


def comment_row(comment):
    return {"id": comment.id, "author": person(comment.author), "body": comment.body, "created_at": when(comment.created_at)}


def attachment_row(attachment):
    return {"id": attachment.id, "filename": attachment.filename, "size": attachment.size_bytes}
