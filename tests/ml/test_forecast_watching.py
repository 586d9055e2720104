"""The rule by which issued forecasts are found worse than training promised: seldom wrong, quick enough, not nervous."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from ml.forecast import AccuracyConfig
from ml.forecast.watching import judge, trained_quality

CONFIG = AccuracyConfig()
TRAINED = {"m": dict.fromkeys(range(1, 5), (0.4, 0.02))}


def scored(rng, days=14, worse=1.0, bias=0.02, sales=2000.0, model="m", selling=25) -> pd.DataFrame:
    """Days whose errors share a cause: each day's own level moves by 8 %."""
    rows = []
    for day in range(days):
        level = rng.normal(1, 0.08)
        for week in (1, 2):
            sold = sales * rng.uniform(0.8, 1.2)
            rows.append((dt.date(2026, 3, 1) + dt.timedelta(days=day), model, week, sold,
                         sold * (bias + rng.normal(0, 0.06)), sold * 0.9, sold * 0.9 * 0.4 * worse * level,
                         selling))  # fmt: skip
    columns = ["business_date", "model_id", "week", "sales", "error", "sales_in_stock", "absolute_error", "selling"]
    return pd.DataFrame(rows, columns=columns)


def share(rng, **world) -> float:
    return float(np.mean([judge(scored(rng, **world), TRAINED, CONFIG).is_worse for _ in range(60)]))


def test_quality_as_promised_is_almost_never_called_worse():
    rng = np.random.default_rng(1)
    assert share(rng) == 0
    assert share(rng, worse=1.10) < 0.03  # at the margin itself
    assert judge(scored(rng), TRAINED, CONFIG).is_well


@pytest.mark.parametrize("world", [{"worse": 1.3}, {"bias": 0.25}, {"bias": -0.2}])
def test_a_fault_is_found(world):
    assert share(np.random.default_rng(2), **world) > 0.95


def test_within_the_margin_but_uncertain_neither_raises_nor_settles():
    verdict = judge(scored(np.random.default_rng(3), worse=1.13), TRAINED, CONFIG)
    assert not verdict.is_worse
    assert not verdict.is_well
    assert verdict.wape == pytest.approx(0.4 * 1.13, rel=0.1)


@pytest.mark.parametrize("world", [{"days": 4}, {"selling": 2}, {"model": "gone"}])
def test_without_evidence_nothing_is_judged(world):
    verdict = judge(scored(np.random.default_rng(4), worse=3, **world), TRAINED, CONFIG)
    assert not verdict.is_worse
    assert not verdict.is_well
    assert "too few" in verdict.says


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_of_the_quantities_decides_nothing(unit):
    world = scored(np.random.default_rng(6), worse=1.3, selling=3)
    amounts = ["sales", "error", "sales_in_stock", "absolute_error"]
    verdicts = [
        judge(of, TRAINED, CONFIG) for of in (world, world.assign(**{name: world[name] * unit for name in amounts}))
    ]
    assert [verdict.is_worse for verdict in verdicts] == [True, True]
    assert verdicts[1].wape_bound == pytest.approx(verdicts[0].wape_bound)


def test_before_the_first_day_has_come_nothing_is_judged():
    verdict = judge(scored(np.random.default_rng(4), days=0), TRAINED, CONFIG)
    assert (verdict.days, verdict.is_worse, verdict.is_well) == (0, False, False)


def test_only_the_newest_days_count():
    rng = np.random.default_rng(5)
    good, bad = scored(rng, days=14), scored(rng, days=14, worse=2)
    good["business_date"] += dt.timedelta(days=14)
    both = pd.concat([bad, good])
    assert judge(both, TRAINED, CONFIG).is_well


def test_each_week_ahead_is_held_to_its_own_promise():
    rows = [("blend", "all", 0.4, 0.0), ("blend", "week 1", 0.3, 0.01), ("xgboost", "week 2", 0.9, 0.5)]
    found = trained_quality(pd.DataFrame(rows, columns=["model", "segment", "wape_in_stock", "bias_of_sales"]))
    assert found == {1: (0.3, 0.01), 2: (0.4, 0.0), 3: (0.4, 0.0), 4: (0.4, 0.0)}
    assert trained_quality(pd.DataFrame()) == {}
