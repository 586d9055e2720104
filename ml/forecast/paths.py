"""Sample paths: from the quantiles of single days to sums over any window.

Belongs here: the dependence of a series' days on each other. A product that sells above its forecast today tends to do so
tomorrow, so the spread of a sum is wider than independent days would give. The dependence template is a Gaussian copula
(Sklar 1959) over the horizon: every two days share `common` of their variance, and neighbouring days `persistence` to the
power of their distance on top:

    corr(z_h, z_k) = common + (1 - common) * persistence^|h - k|                                                   (1)

The two numbers are those with which sums over held-out stretches fall evenly between the sums of drawn paths
(`fit_dependence`). Correlating days would understate them for counts, whose ties hide most of what days have in common.

Between two levels a path is drawn evenly, below the lowest and above the highest the quantiles are continued: upwards as an
exponential tail, for what a sum may reach lies there. A product that sells on fewer than one day in a hundred has nothing but
zeros for quantiles, and yet sells now and then: its tail is what its mean says. Whether a product sells whole units is known
from what it sold: zeros alone do not tell a piece from a kilogram.

Series are independent of each other, and each has a random stream of its own, named by its sku and location: its paths are
the same whatever else is drawn beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ml.forecast.config import LEVELS, QUANTILE_COLUMNS
from ml.forecast.errors import ForecastError
from ml.forecast.segments import are_counts

_BUCKETS = 8192
# Windows in days whose sums are to be right, and the templates compared: coarsely, then around the best.
_WINDOWS = (3, 7, 14, 28, 56)
_COMMON, _PERSISTENCE = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7), (0.0, 0.3, 0.6)
_DRAWS, _PATHS_EACH, _FEWEST = 700_000, 40, 30
_OPEN = 0.1
STRETCHES = 2_000
"""More held-out stretches than this are never used to find the template."""


@dataclass(frozen=True)
class Dependence:
    """The two numbers of equation (1)."""

    common: float = 0.2
    persistence: float = 0.3

    def __post_init__(self):
        if not (0 <= self.common < 1 and 0 <= self.persistence < 1):
            raise ForecastError("Dependence needs common and persistence of at least 0 and below 1.")


@dataclass(frozen=True)
class Paths:
    """`values` [series, n, H] of demand per day; `keys` frame [series] of sku and location; `dates` [H]."""

    keys: pd.DataFrame
    dates: np.ndarray
    values: np.ndarray

    def total(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Demand [series, n] summed over lead days `start` to `stop` (0-based, half open)."""
        return self.values[:, :, start:stop].sum(axis=2)


def sample_paths(
    forecasts: pd.DataFrame, n: int, seed: int, *, dependence: Dependence | None = None, model: str = "blend"
) -> Paths:
    """Draw `n` paths per series from a forecast frame (as `forecast` returns it; every series with the same dates).

    A frame without `whole` has whole units where all quantiles of a series are. A series' paths follow from its own rows, `n`, seed and dependence: other series and the order of rows change nothing.
    """
    if n < 1:
        raise ForecastError(f"sample_paths needs at least one path per series; n was {n}.")
    dependence = dependence or Dependence()
    frame = forecasts[forecasts["model"] == model].sort_values(["sku", "location", "date"], kind="stable")
    dates = np.unique(frame["date"].to_numpy())
    horizon = len(dates)
    if horizon == 0:
        return Paths(frame[["sku", "location"]].reset_index(drop=True), dates, np.zeros((0, n, 0), np.float32))
    if len(frame) % horizon or (frame["date"].to_numpy().reshape(-1, horizon) != dates).any():
        raise ForecastError(f"sample_paths needs a forecast of model {model} for every series and each of its dates.")
    keys = frame[["sku", "location"]].iloc[::horizon].reset_index(drop=True)
    quantiles = frame[list(QUANTILE_COLUMNS)].to_numpy(np.float32).reshape(len(keys), horizon, -1)
    names = list(zip(keys["sku"], keys["location"], strict=True))
    mean = frame["mean"].to_numpy(np.float32).reshape(len(keys), horizon)
    shared = np.zeros(len(keys))
    if "shared" in frame:
        shared = np.nan_to_num(frame["shared"].to_numpy(float)).reshape(-1, horizon).mean(1)
    whole = are_counts(quantiles, (1, 2))
    if "whole" in frame:
        told = frame["whole"].iloc[::horizon].reset_index(drop=True)
        whole = np.where(told.isna(), whole, told.eq(True))
    return Paths(keys, dates, draw(quantiles, names, n, seed, dependence, whole, shared, mean))


def draw(
    quantiles: np.ndarray,
    names: Sequence[tuple[str, str]],
    n: int,
    seed: int,
    dependence: Dependence,
    whole: np.ndarray,
    shared: np.ndarray | None = None,
    mean: np.ndarray | None = None,
) -> np.ndarray:
    """Paths [S, n, H] from quantiles [S, H, len(LEVELS)], filled in slices so that memory stays bounded. `names` [S]
    tell the series' random streams apart. `whole` [S]: those that sell whole units. `shared` [S] of the variance, where it is more than `common` of (1), takes its
    place: the level of a new product is not known, and it is the same on all days. `mean` [S, H] is what products that
    hardly sell have for a tail."""
    series, horizon, _ = quantiles.shape
    days = _Days(quantiles, whole, mean)
    paths = np.empty((series, n, horizon), np.float32)
    step = max(1, 2_000_000 // max(n * horizon, 1))
    common = np.clip(np.zeros(series) if shared is None else shared, dependence.common, 0.99).astype(np.float32)
    for start in range(0, series, step):
        rows = slice(start, min(start + step, series))
        drawn = np.empty((rows.stop - rows.start, horizon + 1, n), np.float32)
        for number, name in enumerate(names[rows]):
            _stream(seed, name).standard_normal(out=drawn[number], dtype=np.float32)
        days.fill(paths[rows], rows, _joined(drawn, common[rows], dependence.persistence))
    return paths


def _joined(drawn: np.ndarray, common: np.ndarray, persistence: float) -> np.ndarray:
    """Normal scores [S, H, n] correlated as in (1), from independent ones [S, H + 1, n], which are used up."""
    keep, fresh = np.float32(persistence), np.float32(np.sqrt(1 - persistence**2))
    noise = drawn[:, 1:]
    for day in range(1, noise.shape[1]):
        noise[:, day] = keep * noise[:, day - 1] + fresh * noise[:, day]
    return np.sqrt(common)[:, None, None] * drawn[:, :1] + np.sqrt(1 - common)[:, None, None] * noise


class _Days:
    """The days of all series as tables from probability to demand."""

    def __init__(self, quantiles: np.ndarray, whole: np.ndarray, mean: np.ndarray | None):
        self.bucket, self.part = _inverse_table()
        # Products counted in units are drawn in units.
        self.whole = whole
        self.knots = _with_tails(quantiles, whole, mean)
        # Where the lowest quantiles are 0 the step up from it lies somewhere between two levels: half-way.
        positive = np.where(quantiles > 0, quantiles, np.inf).min(axis=2)
        self.least = np.where((quantiles[..., 0] == 0) & np.isfinite(positive), positive / 2, 0).astype(np.float32)

    def fill(self, paths: np.ndarray, rows: slice, scores: np.ndarray) -> None:
        """Demand [S, n, H] of the series `rows` at normal `scores` [S, H, n]."""
        place = np.minimum((ndtr(scores) * _BUCKETS).astype(np.int32), _BUCKETS - 1)
        index = np.arange(len(place))[:, None]
        whole, least = self.whole[rows, None], self.least[rows]
        for day in range(place.shape[1]):
            table, at = self.knots[rows, day], place[:, day]
            step = self.bucket[at]
            value = table[index, step]
            value += (table[index, step + 1] - value) * self.part[at]
            paths[:, :, day] = np.where(whole, np.rint(value), np.where(value < least[:, day, None], 0, value))


def _stream(seed: int, name: tuple[str, str]) -> np.random.Generator:
    digest = hashlib.blake2b("\x1f".join((str(seed), *map(str, name))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def fit_dependence(
    quantiles: np.ndarray, actual: np.ndarray, whole: np.ndarray, mean: np.ndarray | None = None
) -> Dependence:
    """The template of held-out stretches: `quantiles` [S, H, len(LEVELS)], `actual` [S, H] (NaN: not observed), `whole` [S],
    `mean` [S, H].

    The rank of an actual sum among the sums of drawn paths is uniform where the template is right. Taken is the template
    that comes nearest to it (`_distance_from_uniform`), over windows of 3, 7, 14, 28 and 56 days.
    """
    horizon = actual.shape[1]
    some = np.flatnonzero(np.isfinite(actual).any(axis=1))
    if len(some) < _FEWEST or horizon < _WINDOWS[0]:
        return Dependence()
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(some)[: min(STRETCHES, max(_DRAWS // (_PATHS_EACH * horizon), _FEWEST))])
    actual = actual[kept]
    days = _Days(quantiles[kept], whole[kept], None if mean is None else mean[kept])
    drawn = rng.standard_normal((len(kept), horizon + 1, _PATHS_EACH), dtype=np.float32)
    ties = rng.random((len(kept), horizon))
    paths = np.empty((len(kept), _PATHS_EACH, horizon), np.float32)

    def distance(common: float, persistence: float) -> float:
        scores = _joined(drawn.copy(), np.full(len(kept), common, np.float32), persistence)
        days.fill(paths, slice(None), scores)
        return _distance_of_sums(paths, actual, ties)

    found = {(common, persistence): distance(common, persistence) for common in _COMMON for persistence in _PERSISTENCE}
    for width in ((0.06, 0.15), (0.03, 0.08)):
        common, persistence = min(found, key=found.get)
        for at in (common - width[0], common, common + width[0]):
            for on in (persistence - width[1], persistence, persistence + width[1]):
                template = (round(float(np.clip(at, 0, 0.9)), 4), round(float(np.clip(on, 0, 0.9)), 4))
                if template not in found:
                    found[template] = distance(*template)
    return Dependence(*min(found, key=found.get))


def _distance_of_sums(paths: np.ndarray, actual: np.ndarray, ties: np.ndarray) -> float:
    """How far the ranks of `actual` sums [S, H] among those of `paths` [S, n, H] are from uniform, mean of the windows."""
    _, count, horizon = paths.shape
    seen = np.isfinite(actual)
    distances = []
    for window in _WINDOWS:
        ranks = []
        for start in range(0, horizon - window + 1, window):
            span = slice(start, start + window)
            some = seen[:, span].any(axis=1)
            total = np.where(seen[:, span], actual[:, span], 0).sum(axis=1)[:, None]
            sums = np.einsum("snh,sh->sn", paths[:, :, span], seen[:, span].astype(np.float32))
            near = 1e-5 * total
            below, upto = (sums < total - near).sum(axis=1), (sums <= total + near).sum(axis=1)
            ranks.append((np.stack([below, upto]) + ties[:, start])[:, some] / (count + 1))
        if ranks:
            distances.append(_distance_from_uniform(np.concatenate(ranks, axis=1), ties.ravel()))
    return float(np.mean(distances))


def _distance_from_uniform(ranks: np.ndarray, ties: np.ndarray) -> float:
    """Of `ranks` [2, n], the lowest and the highest that ties leave each observation: what is lacking at each level a to

        share(highest < a) <= a <= share(lowest < a),

    squared, over a (1 - a); and as far as the ties of counts leave the template open, a tenth of the Anderson-Darling distance
    (1952) of ranks drawn between the two.
    """
    if not ranks.size:
        return 0.0
    level = np.asarray(LEVELS)
    upto, below = ((part[:, None] < level).mean(axis=0) for part in ranks)
    lacking = np.maximum(below - level, 0) + np.maximum(level - upto, 0)
    drawn = np.sort(ranks[0] + (ranks[1] - ranks[0]) * np.resize(ties[::-1], ranks.shape[1])).clip(1e-3, 1 - 1e-3)
    even = (np.arange(len(drawn)) + 0.5) / len(drawn)
    return float(
        np.mean(lacking**2 / (level * (1 - level))) + _OPEN * np.mean((even - drawn) ** 2 / (drawn * (1 - drawn)))
    )


def _with_tails(quantiles: np.ndarray, whole: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Quantiles with an end below, half as far down again, and what the tail above adds in the mean."""
    low = np.maximum(quantiles[..., :1] - 0.5 * (quantiles[..., 1:2] - quantiles[..., :1]), 0.0)
    beyond = (quantiles[..., -1] - quantiles[..., -2]) / np.log((1 - LEVELS[-2]) / (1 - LEVELS[-1]))
    if mean is not None:
        all_there_is = mean / (1 - LEVELS[-1])
        # Rounded to units, an exponential of scale s has the mean 1 / (2 sinh(1 / 2s)).
        in_units = 0.5 / np.arcsinh(0.5 / np.maximum(all_there_is, 1e-6))
        tail = np.where(whole[:, None], in_units, all_there_is)
        beyond = np.where(quantiles[..., -1] == 0, tail, beyond)
    return np.concatenate([low, quantiles, (quantiles[..., -1] + beyond)[..., None]], axis=-1, dtype=np.float32)


def _inverse_table() -> tuple[np.ndarray, np.ndarray]:
    """For `_BUCKETS` equal steps of probability, the knot below and how far on the way to the next; beyond the highest level
    how many times the way, as an exponential tail goes on."""
    levels = np.array([0.0, *LEVELS, 1.0])
    middle = (np.arange(_BUCKETS) + 0.5) / _BUCKETS
    bucket = np.searchsorted(levels, middle, side="right") - 1
    part = (middle - levels[bucket]) / (levels[bucket + 1] - levels[bucket])
    part = np.where(middle > LEVELS[-1], -np.log((1 - middle) / (1 - LEVELS[-1])), part)
    return bucket.astype(np.int32), part.astype(np.float32)
