"""Which batches have landed and how far each stream was pulled: the operational store's side of landing.

Takes and gives plain mappings with the fields of a landed file (batch_id, source, entity, path, accepted, unchanged,
quarantined, reasons, sequence), so that neither side imports the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from operations.schema import landing_cursor, landing_manifest

_FIELDS = ("batch_id", "source", "entity", "path", "accepted", "unchanged", "quarantined", "reasons")
_COLUMNS = [landing_manifest.c[name] for name in (*_FIELDS, "sequence")]


class PostgresManifest:
    """The manifest in the operational database; safe to share between threads and processes."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def commit(
        self,
        *,
        source: str,
        stream: str,
        batch_id: str,
        files: Sequence[dict[str, Any]],
        cursor_before: str | None,
        cursor_after: str | None,
        landed_at: dt.datetime,
    ) -> bool:
        """One transaction: the manifest rows and the cursor.

        False, with nothing written, when the stream's cursor is no longer `cursor_before`: another pull was faster.
        """
        with self._engine.begin() as db:
            # One commit at a time: sequences become visible in their order, so that a reader who asks for what came
            # after the last one it saw never misses a lower one that was committed late. It also makes the compare
            # and set below safe for a stream's first cursor, when there is no row yet to lock.
            db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.manifest', 0))"))
            if _cursor(db, source, stream) != cursor_before:
                return False
            if files:
                rows = [{name: file[name] for name in _FIELDS} for file in files]
                db.execute(
                    landing_manifest.insert(),
                    [{**row, "batch_id": batch_id, "stream": stream, "landed_at": landed_at} for row in rows],
                )
            if cursor_after != cursor_before:
                moved = {"cursor": cursor_after, "updated_at": landed_at}
                db.execute(
                    insert(landing_cursor)
                    .values(source=source, stream=stream, **moved)
                    .on_conflict_do_update(index_elements=["source", "stream"], set_=moved)
                )
        return True

    def cursor(self, source: str, stream: str) -> str | None:
        """Where the last committed step of a stream ended, None before the first."""
        with self._engine.connect() as db:
            return _cursor(db, source, stream)

    def files(self, *, source: str | None = None, entity: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Manifest rows with `sequence > after`, in order of `sequence`, which is the order of their commits."""
        query = sa.select(*_COLUMNS).where(landing_manifest.c.sequence > after).order_by(landing_manifest.c.sequence)
        if source is not None:
            query = query.where(landing_manifest.c.source == source)
        if entity is not None:
            query = query.where(landing_manifest.c.entity == entity)
        with self._engine.connect() as db:
            return [dict(row) for row in db.execute(query).mappings()]


def _cursor(db: sa.Connection, source: str, stream: str) -> str | None:
    return db.execute(
        sa.select(landing_cursor.c.cursor).where(landing_cursor.c.source == source, landing_cursor.c.stream == stream)
    ).scalar()
