"""Time and memory of forecasting by the number of series and days.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.scale [--cases groceries,wide,long,1000]

    groceries     the 12,221 series of FreshRetailNet-50K's quarter (`benchmarks.datasets.fresh`), 62 days, horizon 14:
                  training under 7 minutes, prediction under 8 s, 5 GB
    wide          50,000 series of 90 days, horizon 14: prediction under 60 s
    long          30,000 series of 1,900 days, horizon 28: training and prediction within 10 GB
    1000, 5000, 20000  so many series of 90 days, horizon 14: what one more series costs

All but the groceries are drawn in the shape of retail demand (`demand`): most sell less than one a day, some a hundred,
with a weekday profile, a season, discounts, and shelves that run dry on days of high demand. What is drawn is no test of
accuracy.
Each case runs in a process of its own, so that its peak memory is its own: the interpreter, the frame handed over and
everything that forecasting needs. The frame is as small as pandas holds it: numbers in 32 bits and codes as categories.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.datasets import data_folder, fresh
from benchmarks.markdown import markdown
from benchmarks.peers import KEY

SERIES_PER_STORE, CATEGORIES = 1_000, 40
_AT_ONCE = 500
_ROLES = {"known_future": ["discount"], "static": ["category"], "availability": "in_stock_share"}
_UNITS = {"train": "s", "predict": "s", "peak": "GB"}
# History, the days to come, and what their columns mean.
Told = tuple[pd.DataFrame, pd.DataFrame, Mapping[str, object]]


@dataclass(frozen=True)
class Case:
    """So many `series` of `days`, forecast for `horizon` days; limits in seconds and in GB, where set; where they come from."""

    series: int
    days: int
    horizon: int
    train: float | None = None
    predict: float | None = None
    gigabytes: float | None = None
    read: Callable[[Case], Told] = lambda case: (*demand(case), _ROLES)

    def limits(self) -> dict[str, float]:
        """Those that are set, by what they limit."""
        limits = {"train": self.train, "predict": self.predict, "peak": self.gigabytes}
        return {what: limit for what, limit in limits.items() if limit is not None}


def groceries(case: Case) -> Told:
    """Read in another process: the hours of each day, which only judges need, take more memory than all of forecasting."""
    with ProcessPoolExecutor(1) as reader:
        return reader.submit(_read_groceries, case).result()


def _read_groceries(case: Case) -> Told:
    data = fresh(data_folder(), None)
    _, history, future = data.split(0)
    return history, future[[*KEY, "date", *data.roles["known_future"]]], data.roles


CASES = {
    "groceries": Case(12_221, 62, 14, train=420, predict=8, gigabytes=5, read=groceries),
    "wide": Case(50_000, 90, 14, predict=60),
    "long": Case(30_000, 1_900, 28, gigabytes=10),
    **{str(series): Case(series, 90, 14) for series in (1_000, 5_000, 20_000)},
}


def demand(case: Case, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History (sku, location, date, quantity, discount, in_stock_share, category) and the days to come, without quantity.

    Sales are Poisson with a Gamma rate around level * weekday * season * discount, cut off where the day's stock ends.
    """
    rng = np.random.default_rng(seed)
    total = case.days + case.horizon
    day = np.arange(total)
    weekday = np.array([0.85, 0.85, 0.9, 0.95, 1.15, 1.3, 1.0], np.float32)[day % 7]
    season = (1 + 0.2 * np.sin(2 * np.pi * day / 365.25)).astype(np.float32)
    level = rng.lognormal(-0.7, 1.3, case.series).astype(np.float32)
    columns = {name: np.empty((case.series, total), np.float32) for name in ("quantity", "discount", "in_stock_share")}
    for start in range(0, case.series, _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, case.series))
        shape = (rows.stop - start, total)
        # A discount holds for a week.
        discount = np.where(rng.random((shape[0], total // 7 + 1)) < 0.1, rng.choice([0.7, 0.8, 0.9]), 1.0)
        discount = np.repeat(discount, 7, axis=1)[:, :total]
        mean = level[rows, None] * weekday * season * (1 + 3 * (1 - discount))
        wanted = rng.poisson(mean * rng.standard_gamma(3.0, shape) / 3.0)
        stock = np.ceil(2.0 * level[rows, None] * rng.standard_gamma(6.0, shape) / 6.0) + 1
        columns["quantity"][rows] = np.minimum(wanted, stock)
        columns["discount"][rows] = discount
        columns["in_stock_share"][rows] = np.minimum(stock / np.maximum(wanted, 1), 1.0)
    return _frame(case, columns, slice(0, case.days)), _frame(case, columns, slice(case.days, total))


def _frame(case: Case, columns: dict[str, np.ndarray], days: slice) -> pd.DataFrame:
    number, span = np.arange(case.series, dtype=np.int32), days.stop - days.start
    dates = np.datetime64("2021-01-04", "s") + np.arange(days.start, days.stop) * np.timedelta64(1, "D")
    codes = {
        "sku": number % SERIES_PER_STORE,
        "location": number // SERIES_PER_STORE,
        "category": number % CATEGORIES,
    }
    frame: dict[str, object] = {name: _category(name, np.repeat(values, span)) for name, values in codes.items()}
    frame["date"] = np.tile(dates, case.series)
    frame |= {name: np.ascontiguousarray(values[:, days]).ravel() for name, values in columns.items()}
    if days.start:
        frame.pop("quantity")
    return pd.DataFrame(frame, copy=False)


def _category(name: str, codes: np.ndarray) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, [f"{name} {number:05d}" for number in range(int(codes.max()) + 1)])


def run(case: Case) -> dict:
    """Seconds by step and peak memory in GB, in this process."""
    from ml.forecast import predict, train

    history, future, roles = case.read(case)
    peak = {"frame": _peak()}
    started, began = time.perf_counter(), time.process_time()
    model = train(
        history, horizon=case.horizon, **roles,
        progress=lambda told: print(f"# {told}, peak {_peak():.1f} GB", file=sys.stderr, flush=True),
    )  # fmt: skip
    trained, busy, peak["train"] = time.perf_counter(), time.process_time(), _peak()
    forecasts, withheld, _ = predict(model, history, future)
    seconds = {**model.timings, "train": trained - started, "predict": time.perf_counter() - trained}
    # What a machine that does nothing else would take at most: of all cores together.
    seconds |= {"train, processor": busy - began, "predict, processor": time.process_time() - busy}
    expected = case.horizon * (case.series - len(withheld))
    if int((forecasts["model"] == "blend").sum()) != expected or forecasts["mean"].isna().any():
        raise SystemExit(f"{expected} forecasts were expected of the blend, without gaps")
    return {"seconds": seconds, "peak": peak | {"predict": _peak()}}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _measured(name: str) -> dict | None:
    """`run` in a process of its own; None where it did not come to its end, which it says itself."""
    command = [sys.executable, "-m", "benchmarks.scale", "--only", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def summary(told: dict[str, dict]) -> pd.DataFrame:
    rows = []
    for name, result in told.items():
        case, seconds, peak = CASES[name], result["seconds"], result["peak"]
        found = {"train": seconds["train"], "predict": seconds["predict"], "peak": peak["predict"]}
        limits = case.limits()
        kept = all(found[what] <= limit for what, limit in limits.items())
        rows.append(
            {
                "series": f"{case.series:,}", "days": f"{case.days:,}", "horizon": case.horizon,
                "train": f"{seconds['train']:.0f} s", "predict": f"{seconds['predict']:.1f} s",
                "train, ms a series": f"{1e3 * seconds['train'] / case.series:.1f}",
                "predict, ms a series": f"{1e3 * seconds['predict'] / case.series:.2f}",
                "frame": f"{peak['frame']:.1f} GB", "peak training": f"{peak['train']:.1f} GB",
                "peak": f"{peak['predict']:.1f} GB", "limit": ", ".join(f"{what} {limit:g} {_UNITS[what]}" for what, limit in limits.items()),
                "held": "" if not limits else "yes" if kept else "NO",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def steps(told: dict[str, dict]) -> pd.DataFrame:
    table = pd.DataFrame({name: result["seconds"] for name, result in told.items()}).rename_axis("step")
    return table.map(lambda seconds: "" if pd.isna(seconds) else f"{seconds:.1f}").reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--only", choices=CASES, help="one case in this process, its figures as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(run(CASES[arguments.only])))
        return
    names = arguments.cases.split(",")
    if "groceries" in names and not os.environ.get("STOCKFLOW_TEST_DATA"):
        names.remove("groceries")
        print("groceries are left out: STOCKFLOW_TEST_DATA names no folder that holds them (see the README).")
    told = {name: _measured(name) for name in names}
    done = {name: result for name, result in told.items() if result}
    print(f"{markdown(summary(done))}\n\nSeconds by step:\n\n{markdown(steps(done))}")
    if failed := sorted(set(told) - set(done)):
        raise SystemExit(f"did not come to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
