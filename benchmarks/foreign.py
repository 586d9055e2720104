"""Peers that live in environments of their own, made by make targets and run by `benchmarks.peers`.

    .venv-peers/bin/python benchmarks/foreign.py lightgbm REQUEST.json          make bench-accuracy
    .venv-autogluon/bin/python benchmarks/foreign.py autogluon REQUEST.json     make bench-autogluon

They would disturb ours: mlforecast installs a package called `tests`, AutoGluon pins half of what we use. REQUEST.json
names the files `history`, `future` and `out` (Parquet), `horizon`, `levels`, `known`, `static` and, for AutoGluon,
`seconds`. Written are sku, location, date, model, mean and one column per level, named as the level.
"""

from __future__ import annotations

import json
import sys
import tempfile

import numpy as np
import pandas as pd

KEY = ["sku", "location"]
LAGS = [1, 2, 3, 7, 14, 21, 28]
WINDOWS = 2


def lightgbm(request: dict) -> pd.DataFrame:
    """LightGBM through mlforecast with an L1 and a Tweedie loss, and mlforecast's conformal intervals.

    500 trees, learning rate 0.05, 96 leaves; lags 1 2 3 7 14 21 28, rolling means of 7 and 28 days, expanding mean,
    calendar features, the known-future covariates and the static ones.
    """
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import ExpandingMean, RollingMean
    from mlforecast.utils import PredictionIntervals

    horizon, known, static = request["horizon"], request["known"], request["static"]
    long, ahead, keys = _frames(request)
    for name in static:
        long[name] = long[name].astype("category")
    options = {"n_estimators": 500, "learning_rate": 0.05, "num_leaves": 96, "verbosity": -1, "random_state": 0}
    models = {
        "LightGBM L1": LGBMRegressor(objective="l1", n_jobs=request["threads"], **options),
        "LightGBM Tweedie": LGBMRegressor(objective="tweedie", n_jobs=request["threads"], **options),
    }
    forecaster = MLForecast(
        models=models,
        freq="D",
        lags=LAGS,
        lag_transforms={1: [RollingMean(7, min_samples=1), RollingMean(28, min_samples=1), ExpandingMean()]},
        date_features=["dayofweek", "day", "month", "week"],
    )
    intervals = PredictionIntervals(n_windows=WINDOWS, h=horizon)
    # mlforecast drops the days whose lags reach before the history, unless that would leave it nothing to learn from.
    enough = long["ds"].nunique() >= 2 * max(LAGS) + WINDOWS * horizon
    forecaster.fit(long, static_features=static, prediction_intervals=intervals, dropna=enough)
    widths = [round(100 * (1 - 2 * level), 1) for level in request["levels"] if level < 0.5]
    told = forecaster.predict(horizon, X_df=ahead if known else None, level=widths)
    parts = []
    for name in models:
        part = told[["unique_id", "ds"]].assign(model=name, mean=told[name])
        for level in request["levels"]:
            side, width = ("lo", 1 - 2 * level) if level < 0.5 else ("hi", 2 * level - 1)
            part[str(level)] = told[name if level == 0.5 else f"{name}-{side}-{round(100 * width, 1)}"]
        parts.append(part)
    return _named(pd.concat(parts), keys)


def autogluon(request: dict) -> pd.DataFrame:
    """AutoGluon-TimeSeries in `seconds`, with everything it can train here: no downloaded weights."""
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor

    long, ahead, keys = _frames(request)
    statics = long.groupby("unique_id")[request["static"]].last().reset_index() if request["static"] else None
    columns = {"unique_id": "item_id", "ds": "timestamp"}
    data = TimeSeriesDataFrame.from_data_frame(
        long.drop(columns=request["static"]).rename(columns=columns),
        static_features_df=None if statics is None else statics.rename(columns=columns),
    )
    with tempfile.TemporaryDirectory() as folder:
        predictor = TimeSeriesPredictor(
            target="y", prediction_length=request["horizon"], freq="D", eval_metric="WQL", path=folder, verbosity=1,
            known_covariates_names=request["known"], quantile_levels=request["levels"],
        )  # fmt: skip
        predictor.fit(data, time_limit=request["seconds"], excluded_model_types=["Chronos", "Chronos2", "Toto"])
        future = TimeSeriesDataFrame.from_data_frame(ahead.rename(columns=columns)) if request["known"] else None
        told = predictor.predict(data, known_covariates=future).reset_index()
    told.columns = [str(name) for name in told.columns]
    return _named(told.rename(columns={"item_id": "unique_id", "timestamp": "ds"}).assign(model="AutoGluon"), keys)


def _frames(request: dict) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """History as unique_id, ds, y and covariates, a day without a row being one without a sale; the days ahead; the keys."""
    history, future = pd.read_parquet(request["history"]), pd.read_parquet(request["future"])
    keys = history[KEY].drop_duplicates().reset_index(drop=True).rename_axis("unique_id").reset_index()
    history, future = history.merge(keys, on=KEY), future.merge(keys, on=KEY)
    days = pd.date_range(history["date"].min(), history["date"].max())
    # Shorter series than the intervals' windows need are given days without a sale before their first.
    longest_start = days[-1] - pd.Timedelta(days=WINDOWS * request["horizon"] + 1)
    first = history.groupby("unique_id")["date"].min().clip(upper=longest_start)
    grid = keys[["unique_id"]].merge(pd.DataFrame({"ds": days}), how="cross")
    grid = grid[grid["ds"] >= grid["unique_id"].map(first)]
    known, static = request["known"], request["static"]
    wanted = history.rename(columns={"date": "ds", "quantity": "y"})[["unique_id", "ds", "y", *known]]
    long = grid.merge(wanted, how="left").fillna({"y": 0.0})
    for name in static:
        long[name] = long["unique_id"].map(history.groupby("unique_id")[name].last())
    coming = pd.date_range(days[-1], periods=request["horizon"] + 1)[1:]
    ahead = keys[["unique_id"]].merge(pd.DataFrame({"ds": coming}), how="cross")
    if known:
        ahead = ahead.merge(future.rename(columns={"date": "ds"})[["unique_id", "ds", *known]], how="left")
    return long.sort_values(["unique_id", "ds"]), ahead, keys


def _named(told: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    return told.merge(keys, on="unique_id").rename(columns={"ds": "date"}).drop(columns="unique_id")


def main() -> None:
    name, path = sys.argv[1:]
    with open(path, encoding="utf-8") as opened:
        request = json.load(opened)
    np.random.seed(0)
    {"lightgbm": lightgbm, "autogluon": autogluon}[name](request).to_parquet(request["out"], index=False)


if __name__ == "__main__":
    main()
