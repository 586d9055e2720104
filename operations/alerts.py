"""What people should look at. The same trouble again raises a count, not another alert."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from operations import audit
from operations.errors import NotFound
from operations.schema import alert


def raise_alert(
    db: Connection,
    key: str,
    message: str,
    *,
    severity: str = "error",
    detail: Mapping[str, Any] | None = None,
    at: dt.datetime | None = None,
) -> bool:
    """Opens the alert `key`, or counts it once more; part of the caller's transaction.

    True when people should be told: it is new, or had been resolved. An acknowledged one counts on in silence.
    """
    now = at or dt.datetime.now(dt.UTC)
    added = insert(alert).values(
        alert_key=key, severity=severity, message=message, detail=dict(detail or {}), first_at=now, last_at=now
    )
    resolved = alert.c.status == "resolved"
    row = db.execute(
        added.on_conflict_do_update(
            index_elements=["alert_key"],
            set_={
                "severity": added.excluded.severity,
                "message": added.excluded.message,
                "detail": added.excluded.detail,
                "last_at": added.excluded.last_at,
                "first_at": sa.case((resolved, added.excluded.first_at), else_=alert.c.first_at),
                "count": sa.case((resolved, 1), else_=alert.c.count + 1),
                "status": sa.case((resolved, "open"), else_=alert.c.status),
                "settled_by": sa.case((resolved, None), else_=alert.c.settled_by),
            },
        ).returning(alert.c.count, alert.c.status)
    ).one()
    return row.count == 1 and row.status == "open"


def settle(engine: Engine, key: str, status: str, *, actor: str) -> None:
    """A person acknowledges an alert (they are at it) or resolves it (it is gone)."""
    with engine.begin() as db:
        done = db.execute(alert.update().where(alert.c.alert_key == key).values(status=status, settled_by=actor))
        if not done.rowcount:
            raise NotFound(f"There is no alert {key}.")
        audit.record(db, actor=actor, action=status, subject="alert", subject_ids=[key])


def resolve(db: Connection, key: str) -> None:
    """The trouble went away by itself; part of the caller's transaction."""
    db.execute(
        alert.update()
        .where(alert.c.alert_key == key, alert.c.status != "resolved")
        .values(status="resolved", settled_by="system:itself")
    )


def find(engine: Engine, *, status: str | None = "open", limit: int = 200) -> list[dict[str, Any]]:
    """Alerts, newest first; `status` None: all of them."""
    query = sa.select(alert).order_by(alert.c.last_at.desc(), alert.c.alert_key).limit(limit)
    if status is not None:
        query = query.where(alert.c.status == status)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]
