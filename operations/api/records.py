"""Codes that wait for a match, posted stock movements, alerts, and the audit log."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from operations import alerts, audit, identity, movements
from operations.api import models
from operations.api.caller import Caller, Database
from operations.api.problems import RESPONSES

router = APIRouter(prefix="/v1", tags=["records"], responses=RESPONSES)
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/unmatched")
def list_unmatched(
    _: Caller,
    database: Database,
    kind: Literal["item", "location", "party"] | None = None,
    source: str | None = None,
) -> list[models.Unmatched]:
    """Codes that match nothing of ours yet."""
    return [models.Unmatched(**row) for row in identity.waiting(database, kind, source)]


@router.post("/unmatched/match", status_code=204)
def match(who: Caller, database: Database, body: models.Match) -> None:
    """Says what a code means: from a date on, or, without one, since ever."""
    who.need("planner")
    identity.match(
        database, body.kind, body.source, body.source_id, body.key, actor=who.actor, valid_from=body.valid_from
    )


@router.post("/unmatched/ignore", status_code=204)
def ignore(who: Caller, database: Database, body: models.UnmatchedCode) -> None:
    """Says that a code is nothing of ours."""
    who.need("planner")
    identity.ignore(database, body.kind, body.source, body.source_id, actor=who.actor)


@router.post("/movements", status_code=201)
def post_movement(who: Caller, database: Database, body: models.Movement) -> models.PostedMovement:
    """Posts a count, a write-off or a correction."""
    return models.PostedMovement(**movements.post(database, who, **body.model_dump()))


@router.get("/movements")
def list_movements(
    _: Caller, database: Database, item_key: str | None = None, location_key: str | None = None, limit: Limit = 100
) -> list[models.PostedMovement]:
    """Movements posted here, in the order they were posted."""
    rows = movements.find(database, item_key=item_key, location_key=location_key, limit=limit)
    return [models.PostedMovement(**row) for row in rows]


@router.get("/audit")
def list_audit(
    who: Caller,
    database: Database,
    subject: str | None = None,
    subject_id: str | None = None,
    actor: str | None = None,
    before: int | None = None,
    limit: Limit = 100,
) -> list[models.AuditEntry]:
    """Who did what, newest first; for administrators. `before` is the last page's last audit_id."""
    who.need("admin")
    rows = audit.entries(database, subject=subject, subject_id=subject_id, actor=actor, before=before, limit=limit)
    return [models.AuditEntry(**row) for row in rows]


@router.get("/alerts")
def list_alerts(
    _: Caller, database: Database, status: Literal["open", "acknowledged", "resolved"] = "open", limit: Limit = 200
) -> list[models.Alert]:
    """What people should look at, newest first."""
    return [models.Alert(**row) for row in alerts.find(database, status=status, limit=limit)]


@router.post("/alerts/{alert_key:path}/{status}", status_code=204)
def settle_alert(who: Caller, database: Database, alert_key: str, status: Literal["acknowledged", "resolved"]) -> None:
    """Says that somebody is at it, or that it is gone."""
    who.need("planner")
    alerts.settle(database, alert_key, status, actor=who.actor)
