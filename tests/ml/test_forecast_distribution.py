"""Quantiles and paths: days without a sale, closed days, tails of products that hardly sell, sums over days."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gamma

from ml.forecast import LEVELS, QUANTILE_COLUMNS, BoostedConfig, ForecastConfig, RecurrentConfig, sample_paths
from ml.forecast import forecast as run
from ml.forecast.distribution import ALWAYS, Spread, chance_of_sale, fit_chance, gamma_shape, quantiles, transform
from ml.forecast.paths import Dependence, draw

HORIZON = 14
SIMPLE = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))


def closing_shops(sell_by_weight: bool, series: int = 60, days: int = 210) -> pd.DataFrame:
    """Closed on Sundays; on other days a sale has the chance 0.6, and amounts vary; levels are the series' own."""
    rng = np.random.default_rng(4)
    dates = pd.date_range("2025-01-06", periods=days)
    level = rng.gamma(4, 5, series)[:, None]
    sold = (rng.random((series, days)) < 0.6) & (dates.weekday != 6)
    amount = sold * level * rng.gamma(4, 0.25, (series, days))
    return pd.DataFrame(
        {
            "sku": np.repeat([f"W{i:02d}" for i in range(series)], days), "location": "S1", "date": np.tile(dates, series),
            "quantity": (amount if sell_by_weight else np.rint(amount)).ravel(),
        }
    )  # fmt: skip


def judged(frame: pd.DataFrame) -> tuple[pd.DataFrame, object]:
    end = frame["date"].max() - pd.Timedelta(days=HORIZON)
    result = run(frame[frame["date"] <= end], horizon=HORIZON, config=SIMPLE)
    return result.forecasts[result.forecasts["model"] == "blend"].merge(frame), result


@pytest.fixture(scope="module")
def weighed():
    return judged(closing_shops(sell_by_weight=True))


def off(actual: np.ndarray, told: np.ndarray) -> np.ndarray:
    """How far each level [len(LEVELS)] is from between the shares of `actual` [n] below and up to `told` [n, len(LEVELS)]."""
    below, upto = (actual[:, None] < told).mean(0), (actual[:, None] <= told).mean(0)
    return np.maximum(below - LEVELS, 0) + np.maximum(LEVELS - upto, 0)


def test_amounts_that_are_no_whole_units_are_zero_as_often_as_their_quantiles_say(weighed):
    told, _ = weighed
    open_days = told[told["date"].dt.weekday != 6]
    asked = open_days[list(QUANTILE_COLUMNS)].to_numpy()
    assert (open_days["quantity"] == 0).mean() == pytest.approx(0.4, abs=0.05)
    assert (asked[:, LEVELS.index(0.3)] == 0).mean() > 0.95
    assert (asked[:, LEVELS.index(0.5)] > 0).mean() > 0.95
    assert off(open_days["quantity"].to_numpy(), asked).max() < 0.06


def test_closed_days_are_zero_at_every_level_and_on_every_path(weighed):
    told, result = weighed
    closed = told["date"].dt.weekday == 6
    assert (told.loc[closed, list(QUANTILE_COLUMNS[:-2])] == 0).all(axis=None)
    assert (told.loc[closed, "q99"] < 0.05 * told.loc[~closed, "q99"].mean()).all()
    paths = sample_paths(result.forecasts, 200, seed=1, dependence=result.dependence)
    sundays = pd.DatetimeIndex(paths.dates).weekday == 6
    assert paths.values[:, :, sundays].max() < 0.1 * paths.values[:, :, ~sundays].max()
    assert (paths.values[:, :, ~sundays] == 0).mean() == pytest.approx(0.4, abs=0.05)


def test_counts_get_their_zeros_from_rounding():
    told, _ = judged(closing_shops(sell_by_weight=False))
    asked = told[list(QUANTILE_COLUMNS)].to_numpy()
    assert (asked % 1 == 0).all()
    assert off(told["quantity"].to_numpy(), asked).max() < 0.04


def test_the_chance_of_a_sale_is_found_and_drawn_towards_what_is_known():
    rng = np.random.default_rng(0)
    ratio = rng.gamma(2, 0.4, 40_000)
    truth = chance_of_sale(ratio, np.array([0.5, 1.5, 0.8]), np.zeros(len(ratio), bool))
    sold = rng.random(len(ratio)) < truth
    assert fit_chance(sold, ratio) == pytest.approx([0.5, 1.5, 0.8], abs=0.15)
    known = np.array([3.0, 1.0, 1.0])
    assert fit_chance(sold[:2], ratio[:2], known) == pytest.approx(known, abs=0.3)
    assert np.isfinite(fit_chance(ratio > 0.5, ratio)).all()  # told apart without an error
    assert fit_chance(np.zeros(0, bool), np.zeros(0), known) == pytest.approx(known)
    assert (chance_of_sale(ratio, np.array(ALWAYS), np.zeros(len(ratio), bool)) == 1).all()
    assert (chance_of_sale(ratio, known, np.ones(len(ratio), bool)) == 1).all()


def test_the_chance_of_a_sale_leaves_mean_and_variance_of_a_day_as_they_are():
    mean, spread, chance = np.full(200_000, 6.0), Spread(4.0, 2.0), np.full(200_000, 0.72)
    shape = gamma_shape(mean, spread, np.ones(200_000), chance)
    rng = np.random.default_rng(0)
    demand = (rng.random(200_000) < chance) * rng.gamma(shape, mean / chance / shape)
    assert demand.mean() == pytest.approx(6.0, rel=0.01)
    assert demand.var() == pytest.approx(spread.variance(6.0), rel=0.02)
    u = transform(demand, mean, shape, np.zeros(200_000, bool), rng, chance)
    assert np.quantile(u, LEVELS) == pytest.approx(LEVELS, abs=0.005)
    told = quantiles(mean[:3], shape[:3], np.asarray(LEVELS), np.zeros(3, bool), chance[:3])
    assert told[0] == pytest.approx(np.quantile(demand, LEVELS), rel=0.02, abs=0.06)


def test_a_product_that_hardly_sells_does_so_on_its_paths():
    mean = np.full((200, 14), 0.006, np.float32)
    none = np.zeros((200, 14, len(LEVELS)), np.float32)
    names = [(f"P{number}", "S1") for number in range(200)]
    whole = np.arange(200) < 100
    paths = draw(none, names, 500, 0, Dependence(0, 0), whole, mean=mean)
    assert paths[whole].mean() == pytest.approx(0.006, rel=0.1)
    assert paths[~whole].mean() == pytest.approx(0.006, rel=0.1)
    assert set(np.unique(paths[whole])) <= {0, 1, 2, 3, 4}
    assert not draw(none, names, 10, 0, Dependence(0, 0), whole, mean=0 * mean).any()


def test_what_hardly_sells_is_drawn_in_whole_units_only_where_it_sells_them():
    """Kilograms as their grams would be, of which the quantiles are all zeros, too."""
    days = pd.date_range("2025-01-01", periods=14)
    frame = pd.MultiIndex.from_product(
        [[f"P{number}" for number in range(100)], ["S1"], days], names=["sku", "location", "date"]
    )
    frame = frame.to_frame(index=False)
    frame = frame.assign(model="blend", mean=0.002, **dict.fromkeys(QUANTILE_COLUMNS, 0.0))
    grams, kilograms = (
        sample_paths(frame.assign(whole=False, mean=0.002 * unit), 500, seed=1).values for unit in (1000, 1)
    )
    np.testing.assert_allclose(grams, 1000 * kilograms, rtol=1e-4, atol=1e-6)
    assert kilograms.mean() == pytest.approx(0.002, rel=0.1)
    pieces = sample_paths(frame.assign(whole=True), 500, seed=1).values
    assert (pieces % 1 == 0).all()
    # Forecasts that were kept before it was said: as their quantiles look.
    for told in (frame, frame.assign(whole=None)):
        assert np.array_equal(sample_paths(told, 500, seed=1).values, pieces)


def test_sums_of_counts_with_common_shocks_are_calibrated():
    rng = np.random.default_rng(2)
    series, days = 500, 154
    level = rng.gamma(1.5, 0.4, series)[:, None]
    fortnight = np.repeat(rng.gamma(3, 1 / 3, (series, days // 14)), 14, axis=1)  # what all days of a fortnight share
    quantity = rng.poisson(level * fortnight).astype(float)
    frame = pd.DataFrame(
        {
            "sku": np.repeat([f"P{i:03d}" for i in range(series)], days), "location": "S1",
            "date": np.tile(pd.date_range("2025-01-06", periods=days), series), "quantity": quantity.ravel(),
        }
    )  # fmt: skip
    end = frame["date"].max() - pd.Timedelta(days=HORIZON)
    result = run(frame[frame["date"] <= end], horizon=HORIZON, config=SIMPLE)
    worst = {}
    for name, dependence in (("learned", result.dependence), ("none", Dependence(0, 0))):
        paths = sample_paths(result.forecasts, 300, seed=1, dependence=dependence)
        for window in (3, 7, 14):
            actual = quantity[:, -HORIZON : days - HORIZON + window].sum(1)
            asked = np.quantile(paths.total(0, window), LEVELS, axis=1, method="inverted_cdf").T
            worst[name, window] = off(actual, asked)[12:].max()
    assert max(worst["learned", window] for window in (3, 7, 14)) < 0.05, worst
    assert worst["learned", 14] < 0.5 * worst["none", 14], worst


def test_tails_of_paths_go_on_as_those_of_the_distribution():
    asked = gamma.ppf(np.asarray(LEVELS), 1.0)[None, None].repeat(2000, 0).astype(np.float32)
    paths = draw(
        asked, [(f"P{number}", "S1") for number in range(2000)], 200, 0, Dependence(0, 0), np.zeros(2000, bool)
    )
    assert paths.mean() == pytest.approx(1.0, rel=0.01)
    assert np.quantile(paths, 0.999) == pytest.approx(gamma.ppf(0.999, 1.0), rel=0.04)


@pytest.mark.parametrize("unit", [0.0, 1e-30, 0.4])
def test_a_shape_is_a_number_where_nothing_is_expected_and_nothing_varies(unit):
    with np.errstate(all="raise"):
        shape = gamma_shape(np.array([0.0, 1e-30, 5.0], np.float32), Spread(unit, 2.0), np.ones(3))
    assert np.isfinite(shape).all()
    assert shape[2] == pytest.approx(1 / (unit / 5 + 1 / 2))
