"""Demand scenarios from forecasts: which model speaks for a series, its paths, and days beyond the forecast.

Belongs here: reading forecasts. Does not belong here: making them (`ml.forecast`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ml.replenishment.errors import InvalidInputs
from ml.replenishment.inputs import QUANTILE_COLUMNS

SamplePaths = Callable[[pd.DataFrame, int, int], tuple[pd.DataFrame, np.ndarray]]
"""`sample_paths(forecasts, n, seed) -> (keys, paths)`: forecast rows of one model per series, consecutive days; keys
has columns sku and location, paths is [series, n, days], days ascending. A series' rows and the seed give the same paths
whatever other series are drawn with it."""

PREFERRED = ("blend", "xgboost", "lstm")
LAST_RESORT = "seasonal_naive"


def usable_forecasts(forecasts: pd.DataFrame, cycle_date: np.datetime64) -> tuple[pd.DataFrame, pd.Series]:
    """The forecast rows to plan from, one model per series, and what is wrong with the series that have none usable.

    Returns rows from the cycle date on, and a Series of problems indexed by (sku, location). The blend speaks where
    there is one; else xgboost, lstm, any other model by name, the seasonal naive last.
    """
    rows = forecasts[forecasts["date"].to_numpy().astype("datetime64[D]") >= cycle_date]
    models = sorted(rows["model"].unique(), key=lambda name: (name == LAST_RESORT, name))
    order = [name for name in PREFERRED if name in models] + [name for name in models if name not in PREFERRED]
    rank = rows["model"].map({name: place for place, name in enumerate(order)}).to_numpy()
    series = rows.groupby(["sku", "location"], sort=True).ngroup().to_numpy()
    best = np.full(series.max() + 1 if len(series) else 0, len(order))
    np.minimum.at(best, series, rank)
    rows = rows[rank == best[series]] if len(rows) else rows

    day = (rows["date"].to_numpy().astype("datetime64[D]") - cycle_date).astype("int64")
    values = rows[["mean", *QUANTILE_COLUMNS]].to_numpy()
    checked = rows[["sku", "location"]].assign(
        day=day,
        broken=~np.isfinite(values).all(axis=1)
        | (values < -1e-9).any(axis=1)
        | (np.diff(values[:, 1:]) < -1e-6).any(axis=1),
    )
    found = checked.groupby(["sku", "location"], sort=True).agg(
        first=("day", "min"),
        last=("day", "max"),
        days=("day", "size"),
        distinct=("day", "nunique"),
        broken=("broken", "any"),
    )
    gaps = (found["first"] != 0) | (found["last"] != found["days"] - 1) | (found["distinct"] != found["days"])
    problems = pd.Series(None, index=found.index, dtype=object)
    problems[gaps] = "its forecast does not cover every day once from the cycle date on"
    problems[found["broken"]] = "its forecast has missing, negative or crossing values"
    problems = problems.dropna()
    bad = pd.MultiIndex.from_frame(rows[["sku", "location"]]).isin(problems.index)
    return rows[~bad].reset_index(drop=True), problems


def scenarios(
    forecasts: pd.DataFrame, series: pd.DataFrame, days: int, n: int, seed: int, sample_paths: SamplePaths
) -> np.ndarray:
    """Demand [days, S, n] of `series` (columns item, location); zero where a series has no forecast.

    Beyond the forecast each scenario repeats its own last week, so what makes a scenario high stays with it and the
    spread over long intervals is not understated.
    """
    demand = np.zeros((days, len(series), n))
    if not len(forecasts):
        return demand
    place = pd.Series(np.arange(len(series)), index=pd.MultiIndex.from_frame(series[["item", "location"]]))
    length = forecasts.groupby(["sku", "location"], sort=False)["date"].transform("size").to_numpy()
    for horizon in np.unique(length):
        keys, paths = sample_paths(forecasts[length == horizon].reset_index(drop=True), n, seed)
        if paths.shape != (len(keys), n, horizon):
            raise InvalidInputs(f"sample_paths gave {paths.shape} where {(len(keys), n, int(horizon))} was due.")
        rows = place.loc[pd.MultiIndex.from_frame(keys[["sku", "location"]])].to_numpy()
        week = min(7, horizon)
        day = np.arange(days)
        day = np.where(day < horizon, day, horizon - week + (day - horizon) % week)
        demand[:, rows, :] = np.maximum(paths.transpose(2, 0, 1)[day], 0.0)
    return demand
