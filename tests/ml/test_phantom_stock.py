"""Phantom stock on generated demand: improbable runs of days without a sale are no demand of nothing, plausible ones are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.forecast import BoostedConfig, ForecastConfig, RecurrentConfig
from ml.forecast import forecast as run
from ml.phantom import phantom_days, probability

WEEKDAY = np.array([0.7, 0.8, 0.9, 1, 1.2, 1.5, 0.9])
SIMPLE = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))


def demand(series: int, days: int, level: float, seed: int = 1, uneven: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mean = level * rng.gamma(4, 0.25, series)[:, None] * WEEKDAY[np.arange(days) % 7]
    return rng.poisson(mean * rng.gamma(1 / uneven, uneven, (series, days))).astype(np.float32)


def flags(sales: np.ndarray, most: int = 28, stores: int = 10) -> np.ndarray:
    return phantom_days(sales, np.ones_like(sales), np.arange(len(sales)) % stores, most)


def test_the_probability_is_that_of_the_beta_binomial():
    rng = np.random.default_rng(0)
    selling, before, days = 30, 80, 6
    share = rng.beta(selling + 0.5, before - selling + 0.5, 400_000)
    assert probability(np.array(days), np.array(selling), np.array(before)) == pytest.approx(
        ((1 - share) ** days).mean(), rel=0.03
    )


@pytest.mark.parametrize("level", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("uneven", [0.2, 1.0])
def test_at_most_one_series_in_a_thousand_is_taken_for_phantom_stock_where_there_is_none(level, uneven):
    assert flags(demand(20_000, 112, level, uneven=uneven)).any(1).mean() <= 0.001


def test_runs_at_the_end_and_in_the_middle_are_found_and_slow_movers_left_alone():
    sales = demand(200, 112, 4.0, uneven=0.2)
    sales[0, -10:] = 0
    sales[1, 60:75] = 0
    sales[2] = 0
    sales[2, ::20] = 1  # sells every third week
    found = flags(sales)
    assert found[0, -10:].all()
    assert found[1, 60:75].all()
    assert found.sum() <= 10 + 15 + 3
    assert not found[2].any()


def test_days_on_which_the_location_sold_nothing_are_no_products():
    sales = demand(60, 112, 4.0, uneven=0.2)
    sales[::10, -12:] = 0  # all of one of ten stores
    assert not flags(sales).any()


def test_days_out_of_stock_by_the_books_are_none_and_a_run_counts_no_longer_than_it_may():
    sales = demand(50, 112, 4.0, uneven=0.2)
    sales[0, -50:] = 0
    found = flags(sales, most=28)
    assert found[0, -50:-22].all()
    assert not found[0, -22:].any()
    share = np.ones_like(sales)
    share[0, -50:] = 0.0
    assert not phantom_days(sales, share, np.arange(50) % 10, 28)[0].any()
    assert not phantom_days(np.full((3, 30), np.nan), np.ones((3, 30)), np.zeros(3, int), 28).any()


def frame(sales: np.ndarray) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([range(len(sales)), pd.date_range("2025-01-06", periods=sales.shape[1])])
    told = index.to_frame(index=False, name=["number", "date"]).assign(quantity=sales.ravel(), in_stock_share=1.0)
    return told.assign(sku="P" + told["number"].astype(str), location="S" + (told.pop("number") % 10).astype(str))


def level_of(sales: np.ndarray, **options) -> tuple[np.ndarray, tuple[str, ...]]:
    result = run(
        frame(sales), None, horizon=14, availability="in_stock_share", config=SIMPLE.model_copy(update=options)
    )
    blend = result.forecasts[result.forecasts["model"] == "blend"]
    means = blend.groupby("sku")["mean"].mean()
    return means.reindex([f"P{i}" for i in range(len(sales))]).to_numpy(), result.notes


def test_the_level_is_kept_where_a_tenth_of_the_series_are_phantom_and_slow_movers_stay_as_they_are():
    fast, slow = demand(200, 112, 6.0, uneven=0.1), demand(200, 112, 0.05, seed=2, uneven=0.1)
    clean = np.concatenate([fast, slow])
    hit = np.arange(400) < 40  # of the 400
    broken = clean.copy()
    broken[hit, -10:] = 0
    without, _ = level_of(clean, phantom_stock=False)
    ignored, _ = level_of(broken, phantom_stock=False)
    kept, notes = level_of(broken)
    assert ignored[hit].sum() < 0.75 * without[hit].sum()
    assert kept[hit].sum() == pytest.approx(without[hit].sum(), rel=0.05)
    assert kept[40:200].sum() == pytest.approx(without[40:200].sum(), rel=0.02)
    assert kept[200:] == pytest.approx(ignored[200:], rel=0.1, abs=0.01)
    # One of the forty sells on half of its days only, for which ten quiet ones in 400 series prove nothing.
    assert any("days of 39 series taken to be without stock" in note for note in notes)


def test_a_product_that_is_no_longer_offered_fades():
    sales = demand(100, 150, 6.0, uneven=0.1)
    levels = []
    for gone in (10, 28, 42, 58):
        broken = sales.copy()
        broken[:5, -gone:] = 0
        levels.append(level_of(broken)[0][:5].sum())
    assert levels[1] == pytest.approx(levels[0], rel=0.15)
    assert levels[2] < 0.6 * levels[1]
    assert levels[3] < 0.1 * levels[1]
