"""The unit that quantities are told in, tonnes or grams, changes nothing but the unit of what is forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ml.forecast import BoostedConfig, ForecastConfig, ForecastResult, RecurrentConfig, explain, sample_paths
from ml.forecast import forecast as run
from ml.forecast.config import QUANTILE_COLUMNS

HORIZON = 14
SMALL = ForecastConfig(
    boosted=BoostedConfig(rounds=40, rows=20_000, rows_least=20_000, depth=5, learning_rate=0.1),
    recurrent=RecurrentConfig(enabled=False),
)
ROLES = {"known_future": ["discount"], "static": ["category"]}
NUMBERS = ["mean", *QUANTILE_COLUMNS]
NEW = pd.DataFrame({"sku": ["N"], "location": ["A"], "category": ["C1"]})
SELDOM, NEVER, SMALLEST, YOUNG = slice(0, 5), 6, 7, {8: 12, 9: 3}
# Powers of 2, so that nothing is rounded otherwise: on features that differ in their last digit, other trees may grow. Of the
# largest, float32 holds whole numbers only, which make no counts of them.
UNITS = (2.0**-13, 2.0**30)


def shop(days: int = 112, series: int = 26, whole: bool = False) -> pd.DataFrame:
    """What is weighed (or counted), with promotions and stock-outs: products that sell all days, seldom, never, next to nothing,
    and since a few days."""
    rng = np.random.default_rng(3)
    level = rng.gamma(1.5, 2.0, series) + 0.2
    level[SELDOM] = 0.04, 0.06, 0.1, 0.2, 0.3
    discount = (rng.random((series, days)) < 0.15) * 0.3
    weekday = np.array([0.7, 0.8, 0.9, 1, 1.2, 1.5, 0.9])[np.arange(days) % 7]
    lines = rng.poisson(level[:, None] * weekday * (1 + 1.7 * discount))
    demand = lines if whole else np.where(lines, rng.gamma(np.maximum(4 * lines, 1), 0.25), 0.0)
    stock = level[:, None] * rng.uniform(1, 4, demand.shape) + 0.5
    stock = np.ceil(stock) if whole else stock
    share = np.where(demand > stock, rng.beta(4, 4, demand.shape), 1.0)
    sold = np.minimum(demand, stock)
    sold[NEVER] = 0
    if not whole:
        sold[SMALLEST] *= 1e-3
    index = pd.MultiIndex.from_product(
        [[f"P{i:02d}" for i in range(series)], pd.date_range("2025-01-01", periods=days)], names=["sku", "date"]
    )
    age = np.full(series, days)
    age[list(YOUNG)] = list(YOUNG.values())
    frame = index.to_frame(index=False).assign(
        location=np.where(np.repeat(np.arange(series), days) % 2, "A", "B"),
        category=np.repeat([f"C{i % 4}" for i in range(series)], days),
        quantity=sold.ravel(), discount=discount.ravel(), share=share.ravel(),
    )  # fmt: skip
    return frame[(np.arange(days) >= days - age[:, None]).ravel()]


def to_come(history: pd.DataFrame) -> pd.DataFrame:
    days = pd.date_range(history["date"].max() + pd.Timedelta(days=1), periods=HORIZON)
    future = history[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days}), how="cross")
    return future.assign(discount=np.arange(len(future)) % 5 * 0.1)


@dataclass(frozen=True)
class Told:
    """What is said of a history in another unit, in its first unit again."""

    result: ForecastResult
    forecasts: pd.DataFrame
    paths: np.ndarray
    parts: pd.DataFrame


def told(history: pd.DataFrame, unit: float, **options) -> Told:
    history = history.assign(quantity=history["quantity"] * unit)
    future = to_come(history)
    result = run(history, future, horizon=HORIZON, newcomers=NEW, config=SMALL, seed=1, **ROLES, **options)
    paths = sample_paths(result.forecasts, 30, 1, dependence=result.dependence).values / unit
    parts = explain(result.model, history, future, newcomers=NEW)
    parts = parts.assign(contribution=parts["contribution"] / unit)
    frame = result.forecasts.assign(**{name: result.forecasts[name].astype(float) / unit for name in NUMBERS})
    return Told(result, frame, paths, parts)


def check_same(one: Told, other: Told) -> None:
    """Up to rounding. A quantile just above 0 is the steeper the less a series sells, so that numbers are compared with the largest
    that is said of a series."""
    keys = ["model", "sku", "location"]
    pd.testing.assert_frame_equal(one.forecasts[[*keys, "date"]], other.forecasts[[*keys, "date"]])
    numbers, others = (of.forecasts[NUMBERS].to_numpy() for of in (one, other))
    largest = one.forecasts[NUMBERS].max(axis=1).groupby([one.forecasts[name] for name in keys]).transform("max")
    assert np.isfinite(others).all()
    off = np.abs(numbers - others) / np.where(largest > 0, largest, 1).astype(float)[:, None]
    assert off.max() < 1e-3, one.forecasts.loc[np.unique(np.nonzero(off > 1e-3)[0]), keys].drop_duplicates()
    for name in ("shared", "similar"):
        assert other.forecasts[name].to_numpy() == pytest.approx(one.forecasts[name].to_numpy(), abs=1e-5)
    # Drawn just where a sale begins, a day of a path may fall on the other side.
    assert (np.abs(one.paths - other.paths) > 1e-4 * one.paths.max()).mean() < 1e-3
    pd.testing.assert_frame_equal(one.parts.drop(columns="contribution"), other.parts.drop(columns="contribution"))
    # Next to nothing is said instead of 0 where it is a product that is taken apart.
    parts, other_parts = (of.parts["contribution"].to_numpy() for of in (one, other))
    assert other_parts == pytest.approx(parts, rel=1e-3, abs=1e-5)
    for of_one, of_other in (
        (one.result.weights, other.result.weights),
        (one.result.withheld, other.result.withheld),
        (one.result.newcomers, other.result.newcomers),
        (one.result.scores, other.result.scores),
    ):
        pd.testing.assert_frame_equal(of_one, of_other, rtol=1e-3)
    assert one.result.notes == other.result.notes
    assert one.result.dependence == other.result.dependence
    assert one.result.sales_dependence == other.result.sales_dependence


@pytest.fixture(scope="module")
def weighed() -> tuple[pd.DataFrame, Told]:
    history = shop()
    return history, told(history, 1.0, availability="share", sales=True)


@pytest.mark.parametrize("unit", UNITS)
def test_demand_and_sales_of_all_kinds_of_series_are_forecast_alike_in_every_unit(weighed, unit):
    history, one = weighed
    assert {"smooth", "erratic", "intermittent", "lumpy"} <= set(one.result.scores["segment"])
    assert set(one.forecasts.loc[one.forecasts["similar"] > 0, "sku"]) == {"N", "P08", "P09"}
    check_same(one, told(history, unit, availability="share", sales=True))


@pytest.mark.parametrize(("days", "products"), [(3, 1), (6, 26), (20, 26)])
def test_so_is_a_history_too_short_to_hold_days_out_or_to_learn_from(days, products):
    history = shop()
    history = history[history["date"] > history["date"].max() - pd.Timedelta(days=days)]
    history = history[history["sku"].isin(np.sort(history["sku"].unique())[-products:])]
    one = told(history, 1.0)
    for unit in UNITS:
        check_same(one, told(history, unit))


def test_counts_in_thousands_are_forecast_nearly_as_counts_in_ones():
    """Rounding to one is nothing among thousands, so that they need not be quite the same."""
    history = shop(whole=True)
    one, thousands = (told(history, unit).forecasts for unit in (1.0, 1000.0))
    mine = one["model"] == "blend"
    assert np.isfinite(thousands[NUMBERS].to_numpy()).all()
    for name in ("mean", "q50", "q90"):
        ones, others = (frame[mine].groupby("sku")[name].sum() for frame in (one, thousands))
        assert np.abs(ones - others).sum() < 0.1 * ones.sum(), name
