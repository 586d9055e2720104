"""Which mornings' forecasts are there to be scored: as they were frozen, each once, and none made in hindsight."""

from __future__ import annotations

import dataclasses
import datetime as dt

import duckdb
import pytest

from ml.forecast.config import AccuracyConfig
from ml.replenishment import freeze
from orchestration.warehouse.issued import add_issued, scored
from tests.ml.replenishment_shop import MONDAY, forecast, shop

CONFIG = AccuracyConfig(lead_days=(7, 1))


def frozen(folder, morning: dt.date, trained_until: str = "2026-02-28", mean: float = 10) -> str:
    inputs = shop(forecasts=forecast("A", mean=mean, start=morning))
    return freeze(dataclasses.replace(inputs, issued_by={"id": "m1", "trained_until": trained_until}), str(folder))


def held(db) -> dict[dt.date, tuple[int, bool]]:
    """Rows of each morning, and whether it is yet to be scored."""
    query = """
        SELECT c.cycle_date, count(f.item_key), any_value(c.is_new) FROM planning.issued_cycle AS c
        LEFT JOIN planning.issued_forecast AS f USING (cycle_date) GROUP BY ALL
    """
    return {day: (rows, is_new) for day, rows, is_new in db.execute(query).fetchall()}


@pytest.fixture
def db():
    with duckdb.connect() as connection:
        yield connection


def test_each_morning_is_taken_once_and_old_ones_are_forgotten(db, tmp_path):
    cycles = {MONDAY + dt.timedelta(days=n): frozen(tmp_path, MONDAY + dt.timedelta(days=n)) for n in range(2)}
    assert add_issued(db, cycles, str(tmp_path), CONFIG).rows == 4
    assert held(db) == dict.fromkeys(cycles, (2, True))
    scored(db)
    assert add_issued(db, cycles, str(tmp_path), CONFIG).cycles == 0
    assert held(db) == dict.fromkeys(cycles, (2, False))
    later = MONDAY + dt.timedelta(days=CONFIG.keep_days)
    add_issued(db, cycles | {later: frozen(tmp_path, later)}, str(tmp_path), CONFIG)
    assert held(db) == {MONDAY + dt.timedelta(days=1): (2, False), later: (2, True)}


def test_other_lead_days_are_taken_anew(db, tmp_path):
    cycles = {MONDAY: frozen(tmp_path, MONDAY)}
    add_issued(db, cycles, str(tmp_path), CONFIG)
    scored(db)
    assert add_issued(db, cycles, str(tmp_path), AccuracyConfig(lead_days=(1, 2, 3))).rows == 3
    assert held(db) == {MONDAY: (3, True)}


def test_a_model_that_had_seen_the_days_did_not_forecast_them(db, tmp_path):
    add_issued(db, {MONDAY: frozen(tmp_path, MONDAY, trained_until=MONDAY.isoformat())}, str(tmp_path), CONFIG)
    assert held(db) == {MONDAY: (0, True)}


def test_a_morning_that_cannot_be_read_is_told_and_taken_once_it_is_restored(db, tmp_path):
    cycles = {MONDAY: frozen(tmp_path, MONDAY)}
    (index,) = (tmp_path / "cycles").iterdir()
    away = index.rename(tmp_path / "away")
    told = add_issued(db, cycles, str(tmp_path), CONFIG)
    assert told.rows == 0
    assert "are gone" in told.damaged[0]
    away.rename(index)
    assert add_issued(db, cycles, str(tmp_path), CONFIG).rows == 2
