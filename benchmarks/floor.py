"""How near any forecast could come: what can be said of a day by who knows all the other days, also those after it.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.floor [--series 1000] [--origins 4]

On the fresh groceries of `benchmarks.datasets`, one week ahead. A forecast knows the days before its origin. `interpolated`
knows for each day of that week also the day before and the day after it, the same weekday of the weeks around it, and what its
store and its product elsewhere sold around it: trees that minimise the absolute error, learned on the days of the history in
the same way. `and the same day elsewhere` knows besides what sold that very day of the same product in all other stores and in
the same store of all other products. Neither is a forecast: a forecast that came as near as the first would know of the days to
come as much as their neighbours tell. Other trees and more series would come a little nearer, so that this is no proof.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks import peers
from benchmarks.datasets import DataSet, data_folder, fresh
from benchmarks.markdown import markdown
from benchmarks.peers import KEY
from ml.forecast import ForecastConfig, forecast, scoring

DAYS = 7
_COVARIATES = ("discount", "activity_flag", "holiday_flag", "precpt", "avg_temperature")
_PARAMETERS = {
    "objective": "reg:absoluteerror", "max_depth": 8, "learning_rate": 0.05, "subsample": 0.7, "colsample_bytree": 0.5,
    "min_child_weight": 20, "max_bin": 128, "seed": 0,
}  # fmt: skip
_ROUNDS = 250
# The first days have too little before them to be learned from.
_FIRST = 14


class Around:
    """The days of N series as tables [N, T], and what the other days say of each."""

    def __init__(self, frame: pd.DataFrame):
        table = frame.pivot(index=KEY, columns="date")
        self.keys, self.dates = table.index.to_frame(index=False), table["quantity"].columns
        self.sold = table["quantity"].to_numpy(np.float32)
        self.full_day = table["full_day"].to_numpy(float) == 1
        self.covariates = {name: table[name].to_numpy(np.float32) for name in _COVARIATES}
        self.level = np.maximum(_mean(self.sold, range(-28, 29)), 1e-3)

    def known(self, same_day: bool) -> np.ndarray:
        """What is known of every day [N, T, F]; with `same_day` also of what else sold on it."""
        # Divided only where it is told: the level of another day holds this one.
        level = self.level
        found = [np.log(level), np.broadcast_to(np.arange(self.sold.shape[1]) % 7, self.sold.shape)]
        found += [_mean(self.sold, range(-days, days + 1)) / level for days in (1, 2, 3, 7, 14)]
        found += [_mean(self.sold, range(-7 * weeks, 7 * weeks + 1, 7)) / level for weeks in (1, 2, 4)]
        found += [_shifted(self.sold, day) / level for day in (-14, -8, -7, -6, -3, -2, -1, 1, 2, 3, 6, 7, 8, 14)]
        full = self.full_day.astype(np.float32)
        found += [_shifted(full, day) for day in (-7, -1, 1, 7)]
        found += [_mean(full, range(-7, 8)), _mean(full, range(-28, 29, 7))]
        for values in self.covariates.values():
            found += [_shifted(values, -1), values, _shifted(values, 1), values - _mean(values, range(-28, 29))]
        for name in KEY:
            found += [self._elsewhere(self.keys[name], day) for day in (-7, -1, 1, 7, *([0] if same_day else []))]
        return np.stack(found, axis=-1).astype(np.float32)

    def _elsewhere(self, group: pd.Series, day: int) -> np.ndarray:
        """Sales [N, T] so many days later of the other series of a group against their levels; NaN where there is none."""
        codes = pd.factorize(group)[0]
        sold = _shifted(self.sold, day)
        sums = []
        for values in (np.nan_to_num(sold), np.where(np.isfinite(sold), self.level, 0)):
            total = np.zeros((codes.max() + 1, values.shape[1]))
            np.add.at(total, codes, values)
            sums.append(total[codes] - values)
        return np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1e-9), np.nan)

    def interpolated(self, known: np.ndarray, start: int) -> np.ndarray:
        """The median [N, DAYS] of the days from `start`, learned from those before."""
        import xgboost

        seen = np.isfinite(self.sold)
        seen[:, :_FIRST], seen[:, start:] = False, False
        data = xgboost.QuantileDMatrix(
            known[seen], (self.sold / self.level)[seen], weight=self.level[seen], max_bin=_PARAMETERS["max_bin"]
        )
        booster = xgboost.train(_PARAMETERS, data, _ROUNDS)
        week = known[:, start : start + DAYS]
        said = booster.inplace_predict(week.reshape(-1, week.shape[-1])).reshape(week.shape[:2])
        return said * self.level[:, start : start + DAYS]


def _shifted(values: np.ndarray, days: int) -> np.ndarray:
    """The values [N, T] of so many days later; NaN beyond the ends."""
    padded = np.pad(values.astype(np.float32), ((0, 0), (max(-days, 0), max(days, 0))), constant_values=np.nan)
    return padded[:, max(days, 0) : max(days, 0) + values.shape[1]]


def _mean(values: np.ndarray, days: range) -> np.ndarray:
    """Mean [N, T] of the values so many days later, the day itself left out; NaN where none is known."""
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    for day in days:
        if day:
            other = _shifted(values, day)
            total += np.nan_to_num(other)
            count += np.isfinite(other)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def measured(data: DataSet, origins: int) -> Iterator[dict[str, object]]:
    """WAPE on all days and in stock of each model at each origin, all of the same days."""
    around = Around(data.frame)
    known = {"interpolated": around.known(False), "and the same day elsewhere": around.known(True)}
    for number in range(origins):
        end, history, future = data.split(number)
        start = int((end - around.dates[0]).days) + 1
        roles = data.roles
        light = peers.foreign("lightgbm", history, future, DAYS, roles["known_future"], roles["static"])
        ours = forecast(history, future, horizon=DAYS, config=ForecastConfig(), sales=True, **roles).forecasts
        told = {"LightGBM L1": light["LightGBM L1"], "sales": ours[ours["model"] == "sales"]}
        told = {name: _table(part, around, start) for name, part in told.items()}
        told |= {name: around.interpolated(values, start) for name, values in known.items()}
        week = slice(start, start + DAYS)
        sold, full = around.sold[:, week], around.full_day[:, week]
        for name, median in told.items():
            yield {
                "model": name, "origin": end,
                "WAPE": scoring.wape(sold.ravel(), median.ravel()), "WAPE in stock": scoring.wape(sold[full], median[full]),
            }  # fmt: skip


def _table(told: pd.DataFrame, around: Around, start: int) -> np.ndarray:
    table = told.pivot(index=KEY, columns="date", values="q50")
    return table.reindex(pd.MultiIndex.from_frame(around.keys))[around.dates[start : start + DAYS]].to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--origins", type=int, default=4)
    arguments = parser.parse_args()
    rows = pd.DataFrame(measured(fresh(data_folder(), arguments.series), arguments.origins))
    table = rows.groupby("model", sort=False)[["WAPE", "WAPE in stock"]].mean()
    ratios = (table / table.loc["LightGBM L1"]).add_suffix(", ratio")
    print(markdown(table.join(ratios)))


if __name__ == "__main__":
    main()
