"""What people were told through another system, so that it is told once and changed from then on.

Belongs here: which notice stands where. Does not belong here: its words, and posting it (both are injected).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Engine

from operations.schema import notice


@dataclass(frozen=True)
class Notice:
    """`status` posting: a process began to post it, and nobody knows yet whether it arrived."""

    notice_key: str
    status: str
    channel: str
    reference: str | None
    content_hash: str | None
    detail: dict[str, Any]
    created_at: dt.datetime


class Wall(Protocol):
    """Where notices are posted. Each method may raise; what was begun is then looked up the next time."""

    def find(self, since: dt.datetime) -> tuple[str, str] | None:
        """(channel, reference) of the notice, where it was posted at or after `since`."""
        ...

    def post(self) -> tuple[str, str]: ...

    def change(self, channel: str, reference: str) -> None: ...


def tell(
    engine: Engine, key: str, channel: str, content_hash: str, wall: Wall, detail: Mapping[str, Any] | None = None
) -> Notice:
    """Posts the notice `key`, or changes the one that stands there when its content is another. Any number of
    processes may do so at once: it is posted once, also when one dies between posting and noting it."""
    with _alone(engine, key):
        known = get(engine, key)
        if known is not None and known.status == "posted":
            if known.content_hash != content_hash:
                # Buttons must mean something from the moment they are shown.
                _note(engine, key, detail=_both(known.detail, detail))
                wall.change(known.channel, known.reference)
                _note(engine, key, content_hash=content_hash, detail=dict(detail or {}))
            return get(engine, key)
        place = None
        if known is None:
            with engine.begin() as db:
                db.execute(notice.insert().values(notice_key=key, channel=channel, detail=dict(detail or {})))
        else:
            _note(engine, key, detail=_both(known.detail, detail))
            place = wall.find(known.created_at)
        is_found = place is not None
        channel, reference = place or wall.post()
        values = {"status": "posted", "channel": channel, "reference": reference, "posted_at": sa.func.now()}
        _note(engine, key, **values, content_hash=None if is_found else content_hash)
    # What was found may be older than what is to be told.
    return tell(engine, key, channel, content_hash, wall, detail) if is_found else get(engine, key)


def get(engine: Engine, key: str) -> Notice | None:
    return _first(engine, notice.c.notice_key == key)


def at(engine: Engine, channel: str, reference: str) -> Notice | None:
    """The notice that stands at this place."""
    return _first(engine, sa.and_(notice.c.channel == channel, notice.c.reference == reference))


def told(engine: Engine, prefix: str, since: dt.datetime) -> dict[str, str]:
    """Status by key of the notices with this prefix begun at or after `since`. What one message told besides its own
    key stands in its detail under `told`, and counts as that message does."""
    query = sa.select(notice.c.notice_key, notice.c.status, notice.c.detail).where(
        notice.c.notice_key.startswith(prefix, autoescape=True), notice.c.created_at >= since
    )
    with engine.connect() as db:
        rows = db.execute(query.order_by(notice.c.notice_key)).all()
    also = {key: row.status for row in rows for key in row.detail.get("told", ()) if row.status == "posted"}
    return {**also, **{row.notice_key: row.status for row in rows}}


def _both(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**before, **(after or {})}


def _note(engine: Engine, key: str, **values: Any) -> None:
    with engine.begin() as db:
        db.execute(notice.update().where(notice.c.notice_key == key).values(**values))


def _first(engine: Engine, where: sa.ColumnElement[bool]) -> Notice | None:
    columns = [notice.c[name] for name in Notice.__dataclass_fields__]
    with engine.connect() as db:
        row = db.execute(sa.select(*columns).where(where).order_by(notice.c.notice_key)).mappings().first()
    return None if row is None else Notice(**row)


@contextlib.contextmanager
def _alone(engine: Engine, key: str) -> Iterator[None]:
    with engine.begin() as db:
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"stockflow.notice:{key}", 0))))
        yield
