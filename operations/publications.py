"""Which snapshot of the marts each target shows, written by the publisher after it has switched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from operations.schema import publication


def record(
    engine: Engine,
    target: str,
    snapshot_id: str,
    *,
    cycle_date: dt.date | None = None,
    tables: Mapping[str, Any] | None = None,
) -> bool:
    """Notes that `target` (postgres, parquet, duckdb) shows this snapshot; False when that was noted before."""
    with engine.begin() as db:
        added = db.execute(
            insert(publication)
            .values(target=target, snapshot_id=snapshot_id, cycle_date=cycle_date, tables=dict(tables or {}))
            .on_conflict_do_nothing()
            .returning(publication.c.publication_id)
        )
        return added.first() is not None


def current(engine: Engine) -> dict[str, dict[str, Any]]:
    """The newest publication of each target: snapshot_id, cycle_date, tables, published_at."""
    query = (
        sa.select(publication)
        .distinct(publication.c.target)
        .order_by(publication.c.target, publication.c.publication_id.desc())
    )
    with engine.connect() as db:
        return {row["target"]: dict(row) for row in db.execute(query).mappings()}


def next_sequence(engine: Engine) -> int:
    """A number above that of any snapshot so far, and never given twice: a publication that was killed before it was
    recorded may still have reached a target."""
    drawn = sa.func.nextval(sa.func.pg_get_serial_sequence("operations.publication", "publication_id"))
    with engine.begin() as db:
        return db.execute(sa.select(drawn)).scalar_one()
