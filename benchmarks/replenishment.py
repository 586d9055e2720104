"""Seconds and memory of one cycle's proposals: 12,221 series at 898 stores, 200 scenarios of 28 days."""

from __future__ import annotations

import datetime as dt
import gc
import resource
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from ml.forecast import sample_paths
from ml.replenishment import FrozenInputs, Parameters, explain, freeze, propose, thaw
from ml.replenishment.inputs import QUANTILE_COLUMNS, QUANTILES

CYCLE = dt.date(2026, 3, 2)


def series_of(count: int, stores: int, seed: int) -> pd.DataFrame:
    """item, location, and the mean of gamma-like daily demand: every item at some of the stores."""
    rng = np.random.default_rng(seed)
    items = max(1, count // 14)
    pairs = pd.DataFrame({"item": rng.integers(items, size=2 * count), "store": rng.integers(stores, size=2 * count)})
    pairs = pairs.drop_duplicates().iloc[:count]
    return pd.DataFrame(
        {
            "item": [f"I{number:05d}" for number in pairs["item"]],
            "location": [f"S{number:04d}" for number in pairs["store"]],
            "mean": rng.gamma(2.0, 4.0, size=len(pairs)),
        }
    )


def inputs_of(series: pd.DataFrame, seed: int) -> FrozenInputs:
    """A shop around the series: daily forecasts with a weekly shape, stock of some days, open orders, perishables."""
    rng = np.random.default_rng(seed)
    count, days = len(series), 28
    dates = np.tile(pd.date_range(CYCLE, periods=days), count)
    shape = 1 + 0.3 * np.sin(np.arange(days) * 2 * np.pi / 7)
    mean = (series["mean"].to_numpy()[:, None] * shape).ravel()
    spread = np.sort(rng.gamma(3.0, 1 / 3.0, size=4000))
    factors = np.quantile(spread, QUANTILES)
    forecasts = pd.DataFrame(
        {
            "sku": np.repeat(series["item"].to_numpy(), days),
            "location": np.repeat(series["location"].to_numpy(), days),
            "date": dates,
            "model": "blend",
            "mean": mean,
            **{name: mean * factor for name, factor in zip(QUANTILE_COLUMNS, factors, strict=True)},
        }
    )
    items = pd.DataFrame({"item": sorted(series["item"].unique()), "base_unit": "each"})
    items["price"] = rng.uniform(1, 20, len(items)).round(2)
    items["shelf_life_days"] = np.where(rng.random(len(items)) < 0.5, rng.integers(3, 12, len(items)), np.nan)
    suppliers = pd.DataFrame(
        {
            "supplier": ["North", "South", "East", "West"],
            "currency": "EUR",
            "lead_time_days": [1.0, 2.0, 4.0, 7.0],
            "lead_time_sd_days": [0.0, 0.5, 1.0, 2.0],
            "order_weekdays": ["", "", "1,3,5", "1"],
        }
    )
    offers = pd.DataFrame({"item": np.repeat(items["item"].to_numpy(), 2)})
    first = rng.integers(4, size=len(items))
    offers["supplier"] = suppliers["supplier"].to_numpy()[np.stack([first, (first + 1) % 4], axis=1).ravel()]
    offers["unit_price"] = (np.repeat(items["price"].to_numpy(), 2) * rng.uniform(0.5, 0.7, len(offers))).round(4)
    offers = offers.assign(currency="EUR", unit="each", pack_quantity=rng.choice([1, 6, 12], len(offers)))
    position = series[["item", "location"]].assign(
        on_hand=(series["mean"] * rng.uniform(0, 6, count)).round(), unit="each", stock_value=0
    )
    late = series[["item", "location"]].sample(frac=0.2, random_state=seed)
    open_orders = late.assign(
        document="PO", supplier="North", quantity=12, unit="each",
        expected_on=pd.Timestamp(CYCLE) + pd.to_timedelta(rng.integers(-2, 5, len(late)), unit="D"),
    )  # fmt: skip
    return FrozenInputs(
        position=position, offers=offers, suppliers=suppliers, items=items, forecasts=forecasts,
        open_orders=open_orders, parameters=Parameters(),
    )  # fmt: skip


def sample(forecasts: pd.DataFrame, n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    paths = sample_paths(forecasts, n, seed)
    return paths.keys, paths.values


def main() -> None:
    rows = []

    def timed(what: str, call):
        started = time.perf_counter()
        result = call()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (10 if sys.platform == "linux" else 20))
        rows.append((what, time.perf_counter() - started, peak))
        return result

    series = series_of(12_221, 898, seed=7)
    inputs = timed("canonical inputs", lambda: inputs_of(series, seed=7))
    with tempfile.TemporaryDirectory() as folder:
        name = timed("freeze", lambda: freeze(inputs, folder))
        del inputs
        gc.collect()
        inputs = timed("thaw", lambda: thaw(name, folder))
        timed("of which sampling", lambda: sample(inputs.forecasts, 200, 1)[1].shape)
        found = timed("propose", lambda: propose(inputs, name, CYCLE, sample, 1))
        row = found.proposals.iloc[0]
        told = timed("thaw and explain one", lambda: explain(row, thaw(name, folder, {row["item"]}), sample))
    if not told.matches:
        raise SystemExit("the explanation does not match the proposal")

    print(f"{len(series):,} series, {len(inputs.items):,} items, 200 scenarios x 28 days")
    print(
        f"{len(found.proposals):,} proposals, {len(found.withheld):,} withheld, {len(found.risk):,} risk rows, "
        f"{len(found.purchase_plan):,} planned purchases"
    )
    print(f"{'step':<24}{'seconds':>10}{'peak MB':>10}")
    for what, seconds, peak in rows:
        print(f"{what:<24}{seconds:>10.2f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
