"""What was published where: the sequence of snapshots, for people and for the next publication."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from operations.schema.stock import publication


def next_sequence(engine: Engine) -> int:
    """One more than any snapshot so far, whether or not its publication was finished."""
    with engine.connect() as db:
        newest = db.execute(
            sa.select(sa.func.max(sa.cast(sa.func.split_part(publication.c.snapshot_id, "-", 2), sa.BigInteger)))
        )
        return (newest.scalar() or 0) + 1


def record(engine: Engine, *, target: str, snapshot_id: str, cycle_date: dt.date, tables: Mapping[str, object]) -> None:
    """Notes that `target` now holds `snapshot_id`; noting it twice is the same as once."""
    with engine.begin() as db:
        db.execute(
            insert(publication)
            .values(target=target, snapshot_id=snapshot_id, cycle_date=cycle_date, tables=dict(tables))
            .on_conflict_do_nothing()
        )
