"""Forecasts as they were issued, beside the landed facts, so that SQL can score them against what then happened.

    planning.issued_cycle      a morning whose forecasts are scored, and whether the marts have yet to score them anew
    planning.issued_forecast   its forecasts for the lead days that are scored; one row per series, day and model

They come from the inputs that the morning froze, which no later run changes. Belongs here: which mornings are there.
Does not belong here: scoring (dbt's `fct_forecast_accuracy`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from orchestration.warehouse.store import transaction

if TYPE_CHECKING:
    import pyarrow as pa

    from ml.forecast.config import AccuracyConfig


@dataclass(frozen=True)
class Issued:
    """`rows` that were added for `cycles`; `damaged`: one sentence for each morning that could not be read."""

    cycles: int = 0
    rows: int = 0
    damaged: list[str] = field(default_factory=list)


def prepare(db: duckdb.DuckDBPyConnection) -> None:
    """Creates the tables where they are missing."""
    from ml.forecast.config import QUANTILE_COLUMNS

    db.execute("CREATE SCHEMA IF NOT EXISTS planning")
    db.execute(
        "CREATE TABLE IF NOT EXISTS planning.issued_cycle (cycle_date DATE PRIMARY KEY, frozen_hash VARCHAR, "
        "model_id VARCHAR, lead_days VARCHAR, is_new BOOLEAN)"
    )
    quantiles = ", ".join(f"{name} DOUBLE" for name in QUANTILE_COLUMNS)
    db.execute(
        "CREATE TABLE IF NOT EXISTS planning.issued_forecast (cycle_date DATE, item_key VARCHAR, location_key VARCHAR, "
        f"business_date DATE, model VARCHAR, model_id VARCHAR, mean DOUBLE, {quantiles})"
    )


def add_issued(
    db: duckdb.DuckDBPyConnection, cycles: Mapping[dt.date, str], frozen: str, config: AccuracyConfig
) -> Issued:
    """Adds the mornings of `cycles` (date -> hash of its frozen inputs, below `frozen`) that are not there, and forgets
    those before the newest `keep_days`. A morning that cannot be read is left out and tried again the next time."""
    from ml.replenishment.errors import FrozenInputsDamaged
    from ml.replenishment.freezing import issued_by, thaw_table

    prepare(db)
    first = max(cycles) - dt.timedelta(days=config.keep_days) if cycles else dt.date.max
    wanted = {day: content for day, content in cycles.items() if day > first}
    leads = ",".join(map(str, config.lead_days))
    held = dict(db.execute("SELECT cycle_date, frozen_hash || ' ' || lead_days FROM planning.issued_cycle").fetchall())
    with transaction(db):
        for table in ("issued_forecast", "issued_cycle"):
            db.execute(
                f"DELETE FROM planning.{table} WHERE NOT list_contains($days::DATE[], cycle_date)", {"days": [*wanted]}
            )
    rows, done, damaged = 0, 0, []
    for day, content in sorted(wanted.items()):
        if held.get(day) == f"{content} {leads}":
            continue
        try:
            table, by = thaw_table(content, frozen, "forecasts"), issued_by(content, frozen)
        except FrozenInputsDamaged as error:
            damaged.append(str(error))
            continue
        rows += put(db, day, content, table, by, config.lead_days)
        done += 1
    return Issued(done, rows, damaged)


def put(
    db: duckdb.DuckDBPyConnection,
    cycle_date: dt.date,
    frozen_hash: str,
    forecasts: pa.Table,
    issued_by: Mapping[str, str],
    lead_days: Sequence[int],
) -> int:
    """One morning's forecasts, replacing what was there of it; returns the rows."""
    from ml.forecast.config import QUANTILE_COLUMNS

    # A model that had seen the days it speaks of did not forecast them: a past morning, planned for the first time.
    hindsight = issued_by.get("trained_until", "") >= cycle_date.isoformat()
    model_id = issued_by.get("id", "")
    columns = ", ".join(QUANTILE_COLUMNS)
    leads = [] if hindsight else list(lead_days)
    with transaction(db):
        for table in ("issued_forecast", "issued_cycle"):
            db.execute(f"DELETE FROM planning.{table} WHERE cycle_date = $day", {"day": cycle_date})
        db.register("frozen_forecasts", forecasts)
        db.execute(
            f"""
            INSERT INTO planning.issued_forecast
            SELECT $day, sku, location, date, model, $model_id, mean, {columns} FROM frozen_forecasts
            WHERE mean IS NOT NULL AND q50 IS NOT NULL AND list_contains($leads::BIGINT[], date - $day::DATE + 1)
            """,
            {"day": cycle_date, "model_id": model_id, "leads": leads},
        )
        db.unregister("frozen_forecasts")
        db.execute(
            "INSERT INTO planning.issued_cycle VALUES (?, ?, ?, ?, true)",
            [cycle_date, frozen_hash, model_id, ",".join(map(str, lead_days))],
        )
    return db.execute(
        "SELECT count(*) FROM planning.issued_forecast WHERE cycle_date = $day", {"day": cycle_date}
    ).fetchone()[0]


def is_waiting(db: duckdb.DuckDBPyConnection, cycle_date: dt.date) -> bool:
    """Whether marts that are built up to `cycle_date` have mornings to score that they have not."""
    query = "SELECT count(*) FROM planning.issued_cycle WHERE is_new AND cycle_date < ?"
    return db.execute(query, [cycle_date]).fetchone()[0] > 0


def scored(db: duckdb.DuckDBPyConnection) -> None:
    """Notes, within the caller's transaction, that the marts have scored every morning that is here."""
    db.execute("UPDATE planning.issued_cycle SET is_new = false WHERE is_new")
