"""Every model at every origin: what each said of the same days, seeing only the history before them.

Belongs here: training and asking ours and the peers. Does not belong here: data, measures, tables.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pandas as pd

from benchmarks import peers
from benchmarks.datasets import DataSet
from benchmarks.peers import KEY
from ml.forecast import Dependence, ForecastConfig, RecurrentConfig, forecast
from ml.forecast.segments import CLASSES, demand_class

WITHOUT_LSTM = "blend without LSTM"
OURS = ("blend", "sales", "xgboost", "lstm", WITHOUT_LSTM)
FEW = " (AutoETS's series)"


@dataclass(frozen=True)
class Origin:
    """`end`: the last day known. `told`: by model, sku, location, date, mean and quantiles of the days after it, of the
    series that we forecast. `future`: the rows to come. `classes`: sku, location and the demand class of what was sold.
    `dependence`: by model, of those whose sums are judged; `weights`: of our blend."""

    end: pd.Timestamp
    told: dict[str, pd.DataFrame]
    future: pd.DataFrame
    classes: pd.DataFrame
    dependence: dict[str, Dependence]
    weights: pd.DataFrame


def roll(
    data: DataSet, origins: int, others: set[str], ets_series: int, config: ForecastConfig, lstm_gain: bool = False
) -> list[Origin]:
    """The newest `origins`, newest first; `lstm_gain` adds the blend as it is without an LSTM to choose from."""
    return [_at(data, number, others, ets_series, config, lstm_gain) for number in range(origins)]


def _at(
    data: DataSet, number: int, others: set[str], ets_series: int, config: ForecastConfig, lstm_gain: bool
) -> Origin:
    horizon, took = max(data.horizons), []
    end, history, future = data.split(number)
    started = time.perf_counter()
    ours = forecast(history, future, horizon=horizon, config=config, sales=True, **data.roles)
    took.append(f"ours {time.perf_counter() - started:.0f} s")
    told = {name: part for name, part in ours.forecasts.groupby("model") if name in OURS}
    if lstm_gain and config.recurrent.enabled:
        alone = config.model_copy(update={"recurrent": RecurrentConfig(enabled=False)})
        without = forecast(history, future, horizon=horizon, config=alone, **data.roles).forecasts
        told[WITHOUT_LSTM] = without[without["model"] == "blend"]
    for name in sorted(others):
        started = time.perf_counter()
        told |= _peer(name, history, future, horizon, data.roles, ets_series)
        took.append(f"{name} {time.perf_counter() - started:.0f} s")
    # Series that are withheld by us are left out for everybody.
    covered = told["blend"][KEY].drop_duplicates()
    if "AutoETS" in told:
        told["blend" + FEW] = told["blend"].merge(told["AutoETS"][KEY].drop_duplicates())
    last = end + pd.Timedelta(days=horizon)
    told = {name: part[part["date"] <= last].merge(covered) for name, part in told.items()}
    print(f"# {data.name} {end:%Y-%m-%d}: {', '.join(took)}", flush=True)
    dependence = {"blend": ours.dependence}
    if ours.sales_dependence is not None:
        dependence["sales"] = ours.sales_dependence
    return Origin(end, told, future[future["date"] <= last], _classes(history, config), dependence, ours.weights)


def _classes(history: pd.DataFrame, config: ForecastConfig) -> pd.DataFrame:
    table = peers.wide(history)
    kind = demand_class(table.to_numpy(float), config.min_days)
    return table.index.to_frame(index=False).assign(**{"class": [CLASSES[k] for k in kind]})


def _peer(name: str, history, future, horizon: int, roles, ets_series: int) -> dict[str, pd.DataFrame]:
    if name in ("lightgbm", "autogluon"):
        return peers.foreign(name, history, future, horizon, roles.get("known_future", []), roles.get("static", []))
    if name == "ets":
        # AutoETS refuses series of a few days.
        begun = history.groupby(KEY, as_index=False)["date"].min()
        keys = begun.loc[begun["date"] <= history["date"].max() - pd.Timedelta(days=28), KEY]
        return peers.auto_ets(history.merge(keys.sample(min(ets_series, len(keys)), random_state=2)), horizon)
    return peers.naive(history, horizon)
