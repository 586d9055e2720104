"""Our exponential smoothing against AutoETS: `STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.smoothing [--series 100]`.

Both see what was recorded as sold, of series of four weeks and more, and nothing else; ours fits them all at once. Means
are judged, for the longest horizon of each data set at its newest origins, beside the weekday profile's, whose parameters
are fixed. `RMSE` is over what a day sells in the mean. Seconds are for the series of one origin, on one core.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from benchmarks import peers
from benchmarks.datasets import DATA_SETS, DataSet, data_folder, names_among, weekly_wape
from benchmarks.markdown import markdown
from benchmarks.peers import KEY
from ml.forecast import scoring, statistical

OURS = ("ets", "weekday_profile")


def compare(data: DataSet, origins: int) -> pd.DataFrame:
    """Errors and seconds by model, averaged over the origins."""
    horizon = max(data.horizons)
    rows = []
    for number in range(origins):
        end = data.frame["date"].max() - pd.Timedelta(days=horizon + data.step * number)
        history, future = data.frame[data.frame["date"] <= end], data.frame[data.frame["date"] > end]
        begun = history.groupby(KEY)["date"].transform("min")
        told = forecasts(history[begun <= end - pd.Timedelta(days=28)], horizon)
        for name, (frame, seconds) in told.items():
            joined = data.truth("sales", frame, future[future["date"] <= end + pd.Timedelta(days=horizon)])
            actual, mean = joined["y"].to_numpy(float), joined["mean"].to_numpy(float)
            rows.append({
                "model": name, "WAPE": scoring.wape(actual, mean), "weekly WAPE": weekly_wape(joined),
                "RMSE": float(np.sqrt(np.mean((actual - mean) ** 2)) / actual.mean()),
                "bias": scoring.bias(actual, mean), "seconds": seconds,
            })  # fmt: skip
    return pd.DataFrame(rows).groupby("model", sort=False).mean()


def forecasts(history: pd.DataFrame, horizon: int) -> dict[str, tuple[pd.DataFrame, float]]:
    """By model: sku, location, date and mean, and how many seconds that took."""
    started = time.perf_counter()
    auto = peers.auto_ets(history, horizon)["AutoETS"]
    told = {"AutoETS": (auto[[*KEY, "date", "mean"]], time.perf_counter() - started)}
    table = peers.wide(history)
    demand = table.to_numpy(np.float32)
    dates = pd.date_range(table.columns[-1], periods=horizon + 1, name="date")[1:]
    for name in OURS:
        started = time.perf_counter()
        mean = statistical.METHODS[name](demand, horizon)
        seconds = time.perf_counter() - started
        told[name] = (pd.DataFrame(mean, table.index, dates).stack().rename("mean").reset_index(), seconds)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=names_among(DATA_SETS), default="fresh,gifts,stores,countries")
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--origins", type=int, default=3)
    arguments = parser.parse_args()
    sets = {name: DATA_SETS[name](data_folder(), arguments.series) for name in arguments.data}
    tables = {name: compare(data, arguments.origins) for name, data in sets.items()}
    print(markdown(pd.concat(tables, names=["data"])))


if __name__ == "__main__":
    main()
