"""What a retailer would pick instead: forecasts of other libraries as frames of the same shape as ours.

Belongs here: peers, with the settings their documentation suggests. Does not belong here: data, measures, our own models.

Each function takes a history (sku, location, date, quantity, covariates) and a horizon and returns, by name, frames with
sku, location, date, mean and q01 ... q99. Peers see sales as they are recorded, which is what people feed them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ml.forecast import LEVELS, QUANTILE_COLUMNS

KEY = ["sku", "location"]
PYTHONS = {
    "lightgbm": Path(os.environ.get("STOCKFLOW_PEERS_PYTHON", ".venv-peers/bin/python")),
    "autogluon": Path(os.environ.get("STOCKFLOW_AUTOGLUON_PYTHON", ".venv-autogluon/bin/python")),
}
"""The Python of each foreign peer's own environment, and the target that makes it."""
SET_UP = {"lightgbm": "make bench-accuracy", "autogluon": "make bench-autogluon"}
AUTOGLUON_SECONDS = 600


def wide(history: pd.DataFrame) -> pd.DataFrame:
    """Quantities [series, day]; a day without a row after a series' first is a day without a sale."""
    table = history.pivot(index=KEY, columns="date", values="quantity")
    table = table.reindex(columns=pd.date_range(history["date"].min(), history["date"].max()))
    begun = table.notna().cummax(axis=1)
    return table.fillna(0.0).where(begun)


def naive(history: pd.DataFrame, horizon: int) -> dict[str, pd.DataFrame]:
    """Seasonal naive and the 28-day moving average, with the empirical quantiles of each series' own past errors."""
    table = wide(history)
    values = table.to_numpy(float)
    lead = np.arange(horizon)
    repeated = np.nan_to_num(values[:, -7:])[:, lead % 7]
    average = np.repeat(np.nanmean(values[:, -28:], axis=1)[:, None], horizon, axis=1)
    errors = {"SeasonalNaive": (values[:, 7:] - values[:, :-7])[:, -91:]}
    errors["MovingAverage28"] = (values - np.nanmean(values[:, -91:], axis=1, keepdims=True))[:, -91:]
    result = {}
    for name, mean in (("SeasonalNaive", repeated), ("MovingAverage28", average)):
        known = np.where(np.isfinite(errors[name]).any(axis=1, keepdims=True), errors[name], 0.0)
        spread = np.nanquantile(known, LEVELS, axis=1).T
        result[name] = _frame(table, mean, np.maximum(mean[:, :, None] + spread[:, None, :], 0), horizon)
    result["SeasonalNaive"]["q50"] = result["SeasonalNaive"]["mean"]
    return result


def auto_ets(history: pd.DataFrame, horizon: int) -> dict[str, pd.DataFrame]:
    """AutoETS of statsforecast with weekly season and its own intervals."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    table = wide(history)
    long = table.reset_index(drop=True).rename_axis(index="unique_id").melt(
        ignore_index=False, var_name="ds", value_name="y"
    ).dropna().reset_index()  # fmt: skip
    levels = [round(100 * (1 - 2 * level), 1) for level in LEVELS if level < 0.5]
    sf = StatsForecast(models=[AutoETS(season_length=7)], freq="D", n_jobs=1)
    told = sf.forecast(df=long, h=horizon, level=levels).sort_values(["unique_id", "ds"])
    lows = [told[f"AutoETS-lo-{level}"].to_numpy() for level in levels]
    highs = [told[f"AutoETS-hi-{level}"].to_numpy() for level in reversed(levels)]
    mean = np.maximum(told["AutoETS"].to_numpy(), 0)
    quantiles = np.maximum(np.stack([*lows, mean, *highs], axis=1), 0)
    return {"AutoETS": _frame(table, mean.reshape(-1, horizon), quantiles.reshape(len(table), horizon, -1), horizon)}


def foreign(
    name: str, history: pd.DataFrame, future: pd.DataFrame, horizon: int, known: list[str], static: list[str]
) -> dict[str, pd.DataFrame]:
    """Peers of `benchmarks.foreign`, run by the Python of their own environment: `lightgbm` or `autogluon`."""
    with tempfile.TemporaryDirectory() as folder:
        request = {name: f"{folder}/{name}.parquet" for name in ("history", "future", "out")}
        history[[*KEY, "date", "quantity", *known, *static]].to_parquet(request["history"], index=False)
        future[[*KEY, "date", *known]].to_parquet(request["future"], index=False)
        threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count()
        request |= {"horizon": horizon, "levels": list(LEVELS), "known": known, "static": static}
        request |= {"seconds": AUTOGLUON_SECONDS, "threads": threads}
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        script = Path(__file__).with_name("foreign.py")
        done = subprocess.run(
            [str(PYTHONS[name]), str(script), name, str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} failed in {PYTHONS[name]}:\n{done.stderr[-2000:]}")
        told = pd.read_parquet(request["out"])
    columns = dict(zip(map(str, LEVELS), QUANTILE_COLUMNS, strict=True))
    told = told.rename(columns=columns)
    told[["mean", *QUANTILE_COLUMNS]] = told[["mean", *QUANTILE_COLUMNS]].clip(lower=0)
    return {model: part.drop(columns="model") for model, part in told.groupby("model")}


def _frame(table: pd.DataFrame, mean: np.ndarray, quantiles: np.ndarray, horizon: int) -> pd.DataFrame:
    keys = table.index.to_frame(index=False).loc[lambda f: f.index.repeat(horizon)].reset_index(drop=True)
    dates = np.tile(pd.date_range(table.columns[-1], periods=horizon + 1)[1:], len(table))
    frame = keys.assign(date=dates, mean=mean.ravel())
    return frame.assign(**dict(zip(QUANTILE_COLUMNS, quantiles.reshape(-1, len(LEVELS)).T, strict=True)))
