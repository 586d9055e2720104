"""Documents on their way out, each once, whatever dies on the way.

Belongs here: who sends what when, and what an answer or its absence means. Does not belong here: talking to any system;
a delivery target does that and is injected.

What is known and what is not
    A row is marked `sending` and committed BEFORE the target is called. Whoever dies after that leaves a row whose fate
    nobody knows: when its lease has ended it is `unknown`. So is one whose answer was lost.
    An unknown document is looked up once the target can no longer be processing it, never resent blindly:
      found        -> sent
      not found    -> sent again, under the same key (targets that are effectively once)
      cannot tell  -> a person looks (targets that are at least once, or that keep failing to answer)
    What certainly did not arrive is tried again with backoff; what was refused, or tried too often, waits for a person.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations import alerts
from operations.access import Principal
from operations.errors import Conflict, NotFound
from operations.orders import on_delivery
from operations.schema import outbox
from operations.transitions import OUTBOX, move

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
MAX_LOOKUPS = 8
_BACKOFF = dt.timedelta(seconds=30)
_LONGEST_BACKOFF = dt.timedelta(hours=1)
_LEASE_MARGIN = dt.timedelta(seconds=30)


class Outcome(Protocol):
    """What became of a document. `reference` is the target's own number for it; `reason` a sentence for a person.

    delivered   the target has it                       rejected    the target refuses it: sending again cannot help
    not_sent    it certainly did not arrive             unknown     it may or may not have arrived
    """

    @property
    def status(self) -> str: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...


class DeliveryTarget(Protocol):
    """A system that documents are sent to.

    `guarantee`: effectively once, where the idempotency key or a searchable reference finds what has arrived; at least
    once, where nothing does. `longest_processing_seconds`: how long after a call began, time-outs included, the target
    may still be about to create the document.
    """

    name: str
    guarantee: Literal["effectively_once", "at_least_once"]
    longest_processing_seconds: float

    def send(self, document: dict[str, Any], idempotency_key: str) -> Outcome:
        """Hands the document over; lines carry keys of their own (`line_key`)."""
        ...

    def find(self, idempotency_key: str) -> Outcome | None:
        """What the target knows of the document; None: certainly nothing."""
        ...


@dataclass(frozen=True)
class Delivered:
    """How many documents reached each state in one `deliver`: sent, pending (to be tried again), unknown, failed."""

    sent: int = 0
    pending: int = 0
    unknown: int = 0
    failed: int = 0


@dataclass(frozen=True)
class _Claim:
    outbox_id: int
    document_key: str
    kind: str
    document: dict[str, Any]
    status: str
    attempts: int
    lookups: int
    lease: str


def utc_now() -> dt.datetime:
    """The clock that callers may replace."""
    return dt.datetime.now(dt.UTC)


def deliver(
    engine: Engine,
    targets: Iterable[DeliveryTarget],
    *,
    clock: Callable[[], dt.datetime] = utc_now,
    limit: int = 1000,
) -> Delivered:
    """Sends what is due and looks up what is unknown, up to `limit` documents. Any number of processes may do so."""
    outcome: Counter[str] = Counter()
    for target in targets:
        _expire(engine, target, clock())
        while sum(outcome.values()) < limit:
            claim = _claim(engine, target, clock())
            if claim is None:
                break
            outcome[_handle(engine, target, claim, clock)] += 1
    return Delivered(**outcome)


def retry(engine: Engine, who: Principal, key: str) -> None:
    """A person lets a failed document be tried again; it is the same document, under the same key."""
    who.need("approver")
    now = utc_now()
    with engine.begin() as db:
        row = _locked(db, key)
        if row.status != "failed":
            raise Conflict(f"Document {key} is {row.status}: only a failed one can be tried again.")
        _to(db, row, "pending", who.actor, now, available_at=now, attempts=0, reason=None)
        alerts.resolve(db, f"delivery:{key}")


def settle(
    engine: Engine, who: Principal, key: str, *, arrived: bool, reference: str | None = None, reason: str
) -> None:
    """A person has looked whether the target has a document whose fate is unknown: it is sent, or sent again."""
    who.need("approver")
    now = utc_now()
    with engine.begin() as db:
        row = _locked(db, key)
        if row.status != "unknown" or row.lease is not None:
            raise Conflict(f"Document {key} is {row.status}: only one whose fate is unknown can be settled.")
        values = {"needs_person": False, "lookups": 0, "reason": reason}
        if arrived:
            _to(db, row, "sent", who.actor, now, reference=reference, **values)
        else:
            _to(db, row, "pending", who.actor, now, available_at=now, **values)
        alerts.resolve(db, f"delivery:{key}")


def find(
    engine: Engine, *, status: str | None = None, target: str | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """Outbox rows without their documents, newest first."""
    query = sa.select(*(c for c in outbox.c if c.name != "document")).order_by(outbox.c.outbox_id.desc()).limit(limit)
    if status is not None:
        query = query.where(outbox.c.status == status)
    if target is not None:
        query = query.where(outbox.c.target == target)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def due(engine: Engine, now: dt.datetime) -> list[str]:
    """What `deliver` would work on now: document key, state and tries of each, so that any progress changes the list."""
    rows = sa.select(outbox.c.document_key, outbox.c.status, outbox.c.attempts, outbox.c.lookups).where(
        outbox.c.status.in_(["pending", "sending", "unknown"]), outbox.c.available_at <= now, ~outbox.c.needs_person
    )
    with engine.connect() as db:
        return [":".join(map(str, row)) for row in db.execute(rows.order_by(outbox.c.document_key))]


# -- One document ------------------------------------------------------------------------------------------------------


def _expire(engine: Engine, target: DeliveryTarget, now: dt.datetime) -> None:
    """Rows whose sender died become unknown: to be looked up once the target can no longer be at it."""
    with engine.begin() as db:
        dead = db.execute(
            sa.select(outbox)
            .where(
                outbox.c.target == target.name, outbox.c.leased_until < now, outbox.c.status.in_(["sending", "unknown"])
            )
            .with_for_update(skip_locked=True)
        ).all()
        for row in dead:
            if row.status == "sending":
                due = row.leased_until + _processing(target)
                _to(
                    db, row, "unknown", "system:outbox", now, available_at=due,
                    reason="The process that was sending it died before an answer came.",
                )  # fmt: skip
            else:
                db.execute(
                    outbox.update().where(outbox.c.outbox_id == row.outbox_id).values(lease=None, leased_until=None)
                )


def _claim(engine: Engine, target: DeliveryTarget, now: dt.datetime) -> _Claim | None:
    """Takes the next due row for this process alone, and commits that before anything leaves the house."""
    lease = uuid.uuid4().hex
    until = now + _processing(target) + _LEASE_MARGIN
    with engine.begin() as db:
        row = db.execute(
            sa.select(outbox)
            .where(
                outbox.c.target == target.name,
                outbox.c.status.in_(["pending", "unknown"]),
                outbox.c.lease.is_(None),
                outbox.c.available_at <= now,
                ~outbox.c.needs_person,
            )
            .order_by(outbox.c.available_at, outbox.c.outbox_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if row is None:
            return None
        values = {"lease": lease, "leased_until": until}
        if row.status == "pending":
            _to(db, row, "sending", "system:outbox", now, attempts=row.attempts + 1, **values)
        else:
            db.execute(
                outbox.update().where(outbox.c.outbox_id == row.outbox_id).values(lookups=row.lookups + 1, **values)
            )
        return _Claim(
            row.outbox_id, row.document_key, row.kind, row.document, row.status,
            row.attempts + (row.status == "pending"), row.lookups + (row.status == "unknown"), lease,
        )  # fmt: skip


def _handle(engine: Engine, target: DeliveryTarget, claim: _Claim, clock: Callable[[], dt.datetime]) -> str:
    """Calls the target and records what it said; returns the row's new state."""
    is_lookup = claim.status == "unknown"
    try:
        if is_lookup:
            answer: Outcome | None = target.find(claim.document_key)
        else:
            answer = target.send(claim.document, claim.document_key)
        status = "absent" if answer is None else answer.status
        reference = None if answer is None else answer.reference
        reason = None if answer is None else answer.reason
    except Exception as error:
        # Whatever went wrong in the call, the document may have arrived.
        log.warning("%s: %s of %s failed", target.name, "lookup" if is_lookup else "sending", claim.document_key)
        status, reference, reason = "unknown", None, f"{type(error).__name__}: {error}"
    if is_lookup and status == "absent" and target.guarantee != "effectively_once":
        status, reason = "untold", f"{target.name} cannot tell whether it has the document."
    with engine.begin() as db:
        return _record(db, target, claim, status, reference, reason, clock())


def _record(
    db: Connection,
    target: DeliveryTarget,
    claim: _Claim,
    status: str,
    reference: str | None,
    reason: str | None,
    now: dt.datetime,
) -> str:
    row = _locked(db, claim.document_key)
    is_ours = row.lease == claim.lease
    if status == "delivered" and row.status == "cancelled":
        message = (
            f"{target.name} has {claim.document_key} ({reference}), which was cancelled here: cancel it there too."
        )
        alerts.raise_alert(db, f"delivery:{claim.document_key}", message, at=now)
        return "failed"
    if status == "delivered" and row.status != "sent":
        # True whoever holds the row by now: an answer that comes late is still an answer.
        if row.status == "pending":
            row = _through_sending(db, row, now, claim)
        _to(db, row, "sent", "system:outbox", now, reference=reference, reason=None, needs_person=False)
        alerts.resolve(db, f"delivery:{claim.document_key}")
        return "sent"
    if not is_ours:
        return row.status if row.status in ("sent", "pending", "failed") else "unknown"
    if status == "rejected":
        return _fail(db, row, f"{target.name} refused it: {reason or 'no reason given'}", now)
    if status in ("not_sent", "absent"):
        if claim.attempts >= MAX_ATTEMPTS:
            return _fail(db, row, f"{target.name} could not be reached {claim.attempts} times: {reason}", now)
        wait = dt.timedelta(0) if status == "absent" else _backoff(claim.attempts)
        _to(db, row, "pending", "system:outbox", now, available_at=now + wait, reason=reason, lookups=0)
        return "pending"
    needs_person = status == "untold" or claim.lookups >= MAX_LOOKUPS
    wait = _backoff(claim.lookups) if row.status == "unknown" else _processing(target)
    values = {"available_at": now + wait, "reason": reason, "needs_person": needs_person}
    if row.status == "sending":
        _to(db, row, "unknown", "system:outbox", now, **values)
    else:
        db.execute(
            outbox.update().where(outbox.c.outbox_id == row.outbox_id).values(lease=None, leased_until=None, **values)
        )
    if needs_person:
        message = f"Nobody knows whether {target.name} has {claim.document_key}: look there and settle it."
        alerts.raise_alert(db, f"delivery:{claim.document_key}", message, detail={"reason": reason}, at=now)
    return "unknown"


def _fail(db: Connection, row: sa.Row, reason: str, now: dt.datetime) -> str:
    _to(db, row, "failed", "system:outbox", now, reason=reason)
    message = f"{row.document_key} was not delivered. {reason} Correct the cause, then retry or cancel it."
    alerts.raise_alert(db, f"delivery:{row.document_key}", message, at=now)
    return "failed"


def _to(db: Connection, row: sa.Row, to: str, actor: str, now: dt.datetime, **values: Any) -> None:
    """Moves the row and what it carries; whoever held it holds it no longer, unless it is just being taken."""
    values = {"lease": None, "leased_until": None, **values}
    detail = {name: values[name] for name in ("reason", "reference") if values.get(name)}
    if not move(db, OUTBOX, [row.document_key], to, actor=actor, at=now, detail=detail, **values):
        raise Conflict(f"Document {row.document_key} is {row.status} and cannot become {to}.")
    on_delivery(db, row.document_key, row.kind, to, actor=actor, at=now, reference=values.get("reference"))


def _through_sending(db: Connection, row: sa.Row, now: dt.datetime, claim: _Claim) -> sa.Row:
    _to(db, row, "sending", "system:outbox", now, lease=claim.lease, leased_until=now)
    return _locked(db, claim.document_key)


def _locked(db: Connection, key: str) -> sa.Row:
    row = db.execute(sa.select(outbox).where(outbox.c.document_key == key).with_for_update()).first()
    if row is None:
        raise NotFound(f"There is no document {key}.")
    return row


def _processing(target: DeliveryTarget) -> dt.timedelta:
    return dt.timedelta(seconds=target.longest_processing_seconds)


def _backoff(attempts: int) -> dt.timedelta:
    return min(_BACKOFF * 2 ** max(attempts - 1, 0), _LONGEST_BACKOFF)
