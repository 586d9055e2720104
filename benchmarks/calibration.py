"""Whether quantiles hold what they promise, day by day and over several days, for counts too.

A quantile q at level a is right where

    share(y < q) <= a <= share(y <= q)                                                                             (1)

which for a continuous y is share(y <= q) = a, and for counts does not ask an integer to split the days that are equal to
it. The deviation is what is lacking to (1): above 0 where more fell below the quantile than a promises (it is too high),
below 0 where too few did. It is held to `POOLED` over all days and over sums, to `SEGMENT` by demand class and horizon week.

Days fully in stock are the calm ones, and demand on them is below any right forecast of demand. Where days ran out, demand
is therefore checked twice: `in stock` on the other days alone, and `censored` on all of them, a day that ran out saying that
its demand was at least what was sold (Kaplan & Meier 1958, with the levels as steps). That takes the stock of a day for
independent of its demand: where shelves are filled for what will be wanted, right quantiles are found too low, by 5 points
already where stock follows the 0.3rd power of demand (tests/benchmarks/test_calibration.py).

Intervals are of the deviation at the level where it is largest, from origins drawn with replacement: days of one origin
share what happened then.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.datasets import DataSet
from benchmarks.peers import KEY
from benchmarks.rolling import Origin
from ml.forecast import LEVELS, QUANTILE_COLUMNS, sample_paths
from ml.forecast.segments import CLASSES, horizon_week

POOLED, SEGMENT = 0.02, 0.06
WINDOWS = (3, 7, 14)
PATHS = 500
_DRAWS = 1_000


def calibration(data: DataSet, origins: list[Origin]) -> pd.DataFrame:
    """One row per model and part: the largest deviation over all levels, at which level, its interval, and the limit."""
    rows = []
    parts = ["all days", *CLASSES, *(f"week {week}" for week in (1, 2, 3, 4))]
    for model in data.calibrated:
        found = [_days(data, origin, model) for origin in origins]
        for name in found[0]:
            rows += [_row(name, part, [f[name][part] for f in found if part in f[name]]) for part in parts]
    for model in data.summed:
        for days in (days for days in WINDOWS if days <= max(data.horizons)):
            rows.append(_row(model, f"sums of {days} days", [_sums(data, origin, model, days) for origin in origins]))
    return pd.DataFrame([row for row in rows if row])


def _days(data: DataSet, origin: Origin, model: str) -> dict[str, dict[str, np.ndarray]]:
    """Counts of every part of one origin's days, by the name of what is checked."""
    joined = data.truth(model, origin.told[model], origin.future).merge(origin.classes, on=KEY)
    if not joined["ran_out"].any():
        return {model: _parts(joined, origin)}
    return {
        f"{model}, in stock": _parts(joined[~joined["ran_out"]], origin),
        f"{model}, censored": _parts(joined, origin),
    }


def _parts(joined: pd.DataFrame, origin: Origin) -> dict[str, np.ndarray]:
    lead = (joined["date"] - origin.end).dt.days.to_numpy()
    week = horizon_week(int(lead.max(initial=1)))[lead - 1] + 1
    found = {"all days": _counts_of(joined)}
    found |= {name: _counts_of(part) for name, part in joined.groupby("class")}
    return found | {f"week {number}": _counts_of(joined[week == number]) for number in np.unique(week)}


def _counts_of(joined: pd.DataFrame) -> np.ndarray:
    quantiles = joined[list(QUANTILE_COLUMNS)].to_numpy(float)
    return counts(joined["y"].to_numpy(float), quantiles, joined["ran_out"].to_numpy(bool))


def _sums(data: DataSet, origin: Origin, model: str, days: int) -> np.ndarray:
    """Counts of the sums over the first `days` days, each over the days on which the series is judged."""
    told = origin.told[model]
    told = told[told["date"] <= origin.end + pd.Timedelta(days=days)].assign(model=model)
    paths = sample_paths(told, PATHS, seed=0, dependence=origin.dependence[model], model=model)
    actual = data.truth(model, told, origin.future).pivot(index=KEY, columns="date", values="y")
    actual = actual.reindex(index=pd.MultiIndex.from_frame(paths.keys), columns=paths.dates).to_numpy(float)
    judged = np.isfinite(actual)
    total = np.einsum("snh,sh->sn", paths.values, judged)
    quantiles = np.quantile(total, LEVELS, axis=1, method="inverted_cdf").T
    some = judged.any(axis=1)
    return counts(np.nansum(actual, axis=1)[some], quantiles[some])


def counts(actual: np.ndarray, quantiles: np.ndarray, ran_out: np.ndarray | None = None) -> np.ndarray:
    """[2, 2, len(LEVELS) + 1]: for `<` and for `<=`, how many of `actual` [n] are seen, and are lower bounds, between two
    neighbouring of their `quantiles` [n, len(LEVELS)]."""
    ran_out = np.zeros(len(actual), bool) if ran_out is None else ran_out
    found = []
    for passed in ((quantiles <= actual[:, None]).sum(1), (quantiles < actual[:, None]).sum(1)):
        found.append([np.bincount(passed[mine], minlength=len(LEVELS) + 1) for mine in (~ran_out, ran_out)])
    return np.array(found)


def deviations(counted: np.ndarray) -> np.ndarray:
    """What is lacking to equation (1) [..., len(LEVELS)], of counts [..., 2, 2, len(LEVELS) + 1]."""
    seen, bounds = counted[..., 0, :], counted[..., 1, :]
    left = np.cumsum((seen + bounds)[..., ::-1], axis=-1)[..., ::-1]
    # A lower bound between two levels was there for half of the way.
    hazard = seen / np.maximum(left - bounds / 2, 1e-9)
    below, upto = np.moveaxis(1 - np.cumprod(1 - np.clip(hazard, 0, 1), axis=-1)[..., :-1], -2, 0)
    level = np.asarray(LEVELS)
    return np.maximum(below - level, 0) - np.maximum(level - upto, 0)


def _row(model: str, part: str, found: list[np.ndarray]) -> dict[str, object]:
    if not found:
        return {}
    counted = np.stack(found)
    at = deviations(counted.sum(0))
    worst = int(np.abs(at).argmax())
    drawn = np.random.default_rng(0).integers(0, len(counted), (_DRAWS, len(counted)))
    low, high = np.quantile(deviations(counted[drawn].sum(1))[:, worst], [0.025, 0.975])
    limit = POOLED if part.startswith(("all", "sums")) else SEGMENT
    return {
        "model": model, "part": part, "n": f"{int(counted[:, 0].sum()):,}", "largest deviation": f"{at[worst]:+.4f}",
        "at": QUANTILE_COLUMNS[worst], "95 % interval": f"{low:+.4f} to {high:+.4f}", "limit": limit,
        "held": "yes" if abs(at[worst]) <= limit else "NO",
    }  # fmt: skip
