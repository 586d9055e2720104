"""Who did what to which thing, when: appended in the transaction of the deed itself, never changed.

An actor is `user:<name>` for a person, `system:<part>` for the scheduler and its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations.schema import audit_log


def record(
    db: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    subject_ids: Iterable[str],
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Appends one entry per subject id, within the caller's transaction."""
    rows = [
        {"actor": actor, "action": action, "subject": subject, "subject_id": one, "detail": dict(detail or {})}
        for one in subject_ids
    ]
    if rows:
        db.execute(audit_log.insert(), rows)


def entries(
    engine: Engine,
    *,
    subject: str | None = None,
    subject_id: str | None = None,
    actor: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Entries newest first; `before` (an audit_id) asks for the page that follows one that ended there."""
    query = sa.select(audit_log).order_by(audit_log.c.audit_id.desc()).limit(limit)
    for column, value in ((audit_log.c.subject, subject), (audit_log.c.subject_id, subject_id),
                          (audit_log.c.actor, actor)):  # fmt: skip
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(audit_log.c.audit_id < before)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]
