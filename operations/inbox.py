"""Events that other systems push to us: verified, stored, acknowledged; processed afterwards, each once.

Belongs here: keeping an event until it has been processed. Does not belong here: what a signature looks like (a
verifier is injected) or what an event means (so is a handler).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from operations import alerts
from operations.errors import NotFound
from operations.outbox import utc_now
from operations.schema import inbox

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
_BACKOFF = dt.timedelta(seconds=30)


class Event(Protocol):
    """A verified event. `payload` holds no personal data: it is kept."""

    @property
    def event_id(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> Any: ...


class Verifier(Protocol):
    """Knows one source's signatures: the event that a request carries, or None when it is not authentic.

    `headers` have lower-case names, `body` is the raw request body, `url` the address it was sent to.
    """

    def __call__(self, headers: Mapping[str, str], body: bytes, url: str) -> Event | None: ...


Handler = Callable[[Connection, str, Any], None]
"""Given the transaction that also marks the event processed, its topic and its payload: what a handler writes through
that connection happens exactly once. Other effects may be repeated after a crash and must bear it."""


@dataclass(frozen=True)
class Processed:
    """How many events were processed, and how many failed for now (retried) or for good."""

    processed: int = 0
    retried: int = 0
    failed: int = 0


def receive(engine: Engine, source: str, event: Event, *, at: dt.datetime | None = None) -> bool:
    """Stores a verified event; False when it is here already, as when a source delivers twice."""
    now = at or utc_now()
    with engine.begin() as db:
        added = db.execute(
            insert(inbox)
            .values(
                source=source, event_id=event.event_id, topic=event.topic, payload=event.payload, available_at=now,
                received_at=now,
            )
            .on_conflict_do_nothing()
            .returning(inbox.c.event_id)
        )  # fmt: skip
        return added.first() is not None


def process(
    engine: Engine,
    handlers: Mapping[str, Handler],
    *,
    clock: Callable[[], dt.datetime] = utc_now,
    limit: int = 1000,
) -> Processed:
    """Hands due events to their source's handler, oldest first; any number of processes may do so.

    An event whose handler raises is tried again with backoff, and after eight times waits for a person; the others go
    on. Events of sources without a handler wait.
    """
    counts = {"processed": 0, "retried": 0, "failed": 0}
    for _ in range(limit):
        outcome = _process_one(engine, handlers, clock())
        if outcome is None:
            break
        counts[outcome] += 1
    return Processed(**counts)


def due(engine: Engine, sources: Collection[str], now: dt.datetime) -> list[str]:
    """What `process` would work on now: source, event and tries of each, so that any progress changes the list."""
    rows = sa.select(inbox.c.source, inbox.c.event_id, inbox.c.attempts).where(
        inbox.c.status == "received", inbox.c.available_at <= now, inbox.c.source.in_(list(sources))
    )
    with engine.connect() as db:
        return [":".join(map(str, row)) for row in db.execute(rows.order_by(inbox.c.source, inbox.c.event_id))]


def retry(engine: Engine, source: str, event_id: str) -> None:
    """A person lets a failed event be tried again."""
    with engine.begin() as db:
        done = db.execute(
            inbox.update()
            .where(inbox.c.source == source, inbox.c.event_id == event_id, inbox.c.status == "failed")
            .values(status="received", attempts=0, available_at=utc_now())
        )
        if not done.rowcount:
            raise NotFound(f"There is no failed event {event_id} of {source}.")
        alerts.resolve(db, f"inbox:{source}:{event_id}")


def _process_one(engine: Engine, handlers: Mapping[str, Handler], now: dt.datetime) -> str | None:
    with engine.begin() as db:
        row = db.execute(
            sa.select(inbox)
            .where(inbox.c.status == "received", inbox.c.available_at <= now, inbox.c.source.in_(list(handlers)))
            .order_by(inbox.c.available_at, inbox.c.source, inbox.c.event_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if row is None:
            return None
        this = (inbox.c.source == row.source, inbox.c.event_id == row.event_id)
        attempts = row.attempts + 1
        try:
            with db.begin_nested():
                handlers[row.source](db, row.topic, row.payload)
        except Exception as error:
            log.warning("event %s of %s failed (attempt %d)", row.event_id, row.source, attempts)
            reason = f"{type(error).__name__}: {error}"
            final = attempts >= MAX_ATTEMPTS
            db.execute(
                inbox.update()
                .where(*this)
                .values(
                    status="failed" if final else "received", attempts=attempts, reason=reason,
                    available_at=now + _BACKOFF * 2 ** (attempts - 1),
                )
            )  # fmt: skip
            if final:
                message = f"Event {row.event_id} of {row.source} could not be processed: {reason}. Correct, then retry."
                alerts.raise_alert(db, f"inbox:{row.source}:{row.event_id}", message, at=now)
            return "failed" if final else "retried"
        db.execute(
            inbox.update().where(*this).values(status="processed", attempts=attempts, processed_at=now, reason=None)
        )
        return "processed"
