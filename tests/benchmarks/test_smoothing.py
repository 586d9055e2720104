"""That every model of the comparison speaks of the same series and days."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.datasets import DataSet
from benchmarks.peers import KEY
from benchmarks.smoothing import compare, forecasts


def sold() -> pd.DataFrame:
    """Three series, each at its own height, more on every seventh day; the last is new."""
    dates = pd.date_range("2025-01-06", periods=84)
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"sku": sku, "location": "S", "date": dates, "quantity": height * (1 + (np.arange(84) % 7 == 5))})
        for sku, height in (("B", 30.0), ("A", 5.0), ("N", 9.0))
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["quantity"] += rng.normal(0, 0.1, len(frame))
    return frame[(frame["sku"] != "N") | (frame["date"] > dates[-30])]


def test_all_models_forecast_the_same_series_and_days_each_at_its_height():
    frame = sold()
    history = frame[(frame["date"] <= frame["date"].max() - pd.Timedelta(days=14)) & (frame["sku"] != "N")]
    told = forecasts(history, 14)
    assert set(told) == {"AutoETS", "ets", "weekday_profile"}
    for name, (part, _) in told.items():
        joined = part.merge(frame, on=[*KEY, "date"])
        assert len(joined) == len(part) == 28, name
        assert (joined["mean"] / joined["quantity"]).between(0.8, 1.2).all(), name


def test_errors_are_of_the_newest_days_and_new_series_are_left_out():
    def truth(_: str, told: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
        assert set(told["sku"]) == {"A", "B"}
        return told.merge(future, on=[*KEY, "date"]).assign(y=lambda f: f["quantity"])

    table = compare(DataSet("three", sold(), (7, 14), 7, lambda *_: {}, truth, {}), 1)
    assert list(table.index) == ["AutoETS", "ets", "weekday_profile"]
    assert table["WAPE"].max() < 0.1
    assert table["bias"].abs().max() < 0.1
    assert (table["seconds"] > 0).all()
