"""Tables of errors: ours against the best peer, the mean's bias at every origin, the blend against its own models.

Belongs here: measures of forecasts over all rows of an origin and what they are held to. Does not belong here: running
models, calibration (`benchmarks.calibration`).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from benchmarks.datasets import DataSet
from benchmarks.peers import KEY
from benchmarks.rolling import FEW, OURS, WITHOUT_LSTM, Origin
from ml.forecast import LEVELS, QUANTILE_COLUMNS
from ml.forecast.segments import CLASSES, horizon_week

BIAS_LIMIT, BIAS_MARGIN = 0.03, 0.02
LEARNED_MARGIN = 0.005


def scores(data: DataSet, origins: list[Origin]) -> pd.DataFrame:
    """One row per origin, horizon and model with all measures of the data set."""
    rows = []
    for origin in origins:
        for horizon in data.horizons:
            last = origin.end + pd.Timedelta(days=horizon)
            future = origin.future[origin.future["date"] <= last]
            for name, part in origin.told.items():
                found = data.measures(part[part["date"] <= last], future)
                rows.append({"horizon": horizon, "model": name, "origin": f"{origin.end:%Y-%m-%d}", **found})
    return pd.DataFrame(rows).set_index(["horizon", "model", "origin"])


def means(scored: pd.DataFrame) -> pd.DataFrame:
    """One row per horizon and model, averaged over the origins."""
    return scored.groupby(["horizon", "model"], sort=False).mean()


def against_the_best(table: pd.DataFrame) -> pd.DataFrame:
    """For each horizon and measure of error: ours, the best peer over all series, and the ratio."""
    rows = []
    for horizon in table.index.unique("horizon"):
        part = table.loc[horizon]
        rivals = part.loc[_rivals(part.index)]
        for measure in _errors(part):
            mine = part.loc[[name for name in ("blend", "sales") if name in part.index], measure]
            best, least = rivals[measure].idxmin(), rivals[measure].min()
            rows.append((horizon, measure, mine.idxmin(), mine.min(), best, least, mine.min() / least))
    return pd.DataFrame(rows, columns=["horizon", "measure", "ours", "value", "best peer", "its value", "ratio"])


def bias_by_origin(scored: pd.DataFrame) -> pd.DataFrame:
    """Bias of the blend's mean at every origin beside that of the peer whose bias is smallest there.

    `held`: at an origin, not more than `BIAS_MARGIN` further from 0 than that peer; of the mean, within `BIAS_LIMIT`.
    """
    rows = []
    measures = [name for name in scored.columns if name.startswith("bias")]
    for measure, horizon in product(measures, scored.index.unique("horizon")):
        table = scored[measure].loc[horizon].unstack("origin")
        rivals = table.loc[_rivals(table.index)]
        for origin in table.columns:
            mine, best = table.loc["blend", origin], rivals[origin].abs().idxmin()
            worse = abs(mine) - abs(rivals.loc[best, origin])
            held = _held(worse <= BIAS_MARGIN)
            rows.append((measure, horizon, origin, mine, best, rivals.loc[best, origin], worse, held))
        mean = table.loc["blend"].mean()
        best = rivals.mean(axis=1).abs().idxmin()
        other, held = rivals.mean(axis=1)[best], _held(abs(mean) <= BIAS_LIMIT)
        rows.append((measure, horizon, "mean", mean, best, other, abs(mean) - abs(other), held))
    columns = ["measure", "horizon", "origin", "bias", "best peer", "its bias", "further from 0", "held"]
    return pd.DataFrame(rows, columns=columns)


def against_its_models(table: pd.DataFrame) -> pd.DataFrame:
    """The blend against the better of its two learned models, measure by measure."""
    rows = []
    for horizon in table.index.unique("horizon"):
        part = table.loc[horizon]
        learned = part.loc[[name for name in ("xgboost", "lstm") if name in part.index]]
        for measure in _errors(part) if len(learned) else ():
            mine, better = part.loc["blend", measure], learned[measure].idxmin()
            ratio = mine / learned.loc[better, measure]
            held = _held(ratio <= 1 + LEARNED_MARGIN)
            rows.append((horizon, measure, mine, better, learned.loc[better, measure], ratio, held))
    return pd.DataFrame(rows, columns=["horizon", "measure", "blend", "better model", "its value", "ratio", "held"])


def lstm_gains(data: DataSet, origins: list[Origin]) -> pd.DataFrame:
    """The LSTM's mean weight, and by how much the blend errs less than one that has no LSTM to choose from.

    Per demand class and horizon week, on the test days on which the blend is judged.
    """
    if WITHOUT_LSTM not in origins[0].told:
        return pd.DataFrame()
    rows = []
    for origin in origins:
        weights = origin.weights[origin.weights["model"] == "lstm"].set_index(["segment", "week"])["weight"]
        losses = _losses(data, origin, "blend").join(_losses(data, origin, WITHOUT_LSTM), rsuffix=" without")
        rows.append(losses.assign(weight=[weights.get(segment, 0.0) for segment in losses.index]))
    table = pd.concat(rows).groupby(level=["class", "week"])
    total, weight = table.sum(), table["weight"].mean()
    gains = pd.DataFrame(
        {
            "series-days": total["rows"].astype(int).map("{:,}".format),
            "LSTM's weight": weight,
            "pinball gained": 1 - total["pinball"] / total["pinball without"],
            "absolute error gained": 1 - total["error"] / total["error without"],
        }
    )
    return gains.reindex([(kind, week) for kind in CLASSES for week in (1, 2, 3, 4) if (kind, week) in gains.index])


def _losses(data: DataSet, origin: Origin, model: str) -> pd.DataFrame:
    """Summed losses [class, week] of one model at one origin."""
    joined = data.truth("blend", origin.told[model], origin.future).merge(origin.classes, on=KEY)
    joined = joined[~joined["ran_out"]]
    lead = (joined["date"] - origin.end).dt.days.to_numpy()
    actual, quantiles = joined["y"].to_numpy(float), joined[list(QUANTILE_COLUMNS)].to_numpy(float)
    frame = pd.DataFrame(
        {
            "class": joined["class"], "week": horizon_week(int(lead.max(initial=1)))[lead - 1] + 1, "rows": 1,
            "pinball": _pinball(actual, quantiles),
            "error": np.abs(actual - joined["q50"]),
        }
    )  # fmt: skip
    return frame.groupby(["class", "week"]).sum()


def _pinball(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Pinball loss [n], summed over the levels."""
    gap, level = actual[:, None] - quantiles, np.asarray(LEVELS)
    return np.maximum(level * gap, (level - 1) * gap).sum(axis=1)


def _errors(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if "WAPE" in name or "pinball" in name]


def _rivals(names) -> list[str]:
    """Peers that forecast all series."""
    return [name for name in names if name not in OURS and name != "AutoETS" and not name.endswith(FEW)]


def _held(fact: bool) -> str:
    return "yes" if fact else "NO"
