"""Sample paths: from the quantiles of single days to sums over any window.

Belongs here: the dependence of a series' days on each other. A product that sells above its forecast today tends to do so
tomorrow, so the spread of a sum is wider than independent days would give. The dependence template is a Gaussian copula
(Sklar 1959) over the horizon: every two days share `common` of their variance, and neighbouring days `persistence` to the
power of their distance on top:

    corr(z_h, z_k) = common + (1 - common) * persistence^|h - k|                                                   (1)

Series are independent of each other, and each has a random stream of its own, named by its sku and location: its paths are
the same whatever else is drawn beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ml.forecast.config import LEVELS, QUANTILE_COLUMNS
from ml.forecast.errors import ForecastError

_BUCKETS = 8192


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

    A series' paths follow from its own rows, `n`, seed and dependence: other series and the order of rows change nothing.
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
    shared = np.zeros(len(keys))
    if "shared" in frame:
        shared = np.nan_to_num(frame["shared"].to_numpy(float)).reshape(-1, horizon).mean(1)
    return Paths(keys, dates, draw(quantiles, names, n, seed, dependence, shared))


def draw(
    quantiles: np.ndarray,
    names: Sequence[tuple[str, str]],
    n: int,
    seed: int,
    dependence: Dependence,
    shared: np.ndarray | None = None,
) -> np.ndarray:
    """Paths [S, n, H] from quantiles [S, H, len(LEVELS)], filled in slices so that memory stays bounded. `names` [S]
    tell the series' random streams apart. `shared` [S] of the variance, where it is more than `common` of (1), takes its
    place: the level of a new product is not known, and it is the same on all days."""
    series, horizon, _ = quantiles.shape
    bucket, part = _inverse_table()
    knots = _with_tails(quantiles)
    # Products counted in units are drawn in units.
    whole = (quantiles % 1 == 0).all(axis=(1, 2))
    paths = np.empty((series, n, horizon), np.float32)
    step = max(1, 2_000_000 // max(n * horizon, 1))
    keep = np.float32(dependence.persistence)
    fresh = np.float32(np.sqrt(1 - dependence.persistence**2))
    common = np.clip(np.zeros(series) if shared is None else shared, dependence.common, 0.99).astype(np.float32)
    jointly, single = np.sqrt(common)[:, None, None], np.sqrt(1 - common)[:, None, None]
    for start in range(0, series, step):
        rows = slice(start, min(start + step, series))
        count = rows.stop - rows.start
        drawn = np.empty((count, horizon + 1, n), np.float32)
        for number, name in enumerate(names[rows]):
            _stream(seed, name).standard_normal(out=drawn[number], dtype=np.float32)
        noise = drawn[:, 1:]
        for day in range(1, horizon):
            noise[:, day] = keep * noise[:, day - 1] + fresh * noise[:, day]
        noise = jointly[rows] * drawn[:, :1] + single[rows] * noise
        place = np.minimum((ndtr(noise) * _BUCKETS).astype(np.int32), _BUCKETS - 1)
        index = np.arange(count)[:, None]
        for day in range(horizon):
            table = knots[rows, day]
            at = place[:, day]
            low = table[index, bucket[at]]
            value = low + (table[index, bucket[at] + 1] - low) * part[at]
            paths[rows, :, day] = np.where(whole[rows, None], np.rint(value), value)
    return paths


def _stream(seed: int, name: tuple[str, str]) -> np.random.Generator:
    digest = hashlib.blake2b("\x1f".join((str(seed), *map(str, name))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def fit_dependence(u: np.ndarray) -> Dependence:
    """The template from probability integral transforms u [n, H] of whole held-out stretches (NaN: not observed)."""
    seen = np.isfinite(u)
    z = np.where(seen, ndtri(np.clip(np.nan_to_num(u, nan=0.5), 0.002, 0.998)), 0.0)
    horizon = u.shape[1]
    if len(u) < 30 or horizon < 3:
        return Dependence()
    mean = z.sum(0) / np.maximum(seen.sum(0), 1)
    z = np.where(seen, z - mean, 0.0)
    both = seen.T.astype(np.float64) @ seen
    covariance = z.T @ z / np.maximum(both, 1)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-9))
    correlation = covariance / np.outer(deviation, deviation)
    by_lag = np.array([np.mean(np.diag(correlation, lag)) for lag in range(1, horizon)])
    common = float(np.clip(by_lag[len(by_lag) // 2 :].mean(), 0.0, 0.9))
    persistence = float(np.clip((by_lag[0] - common) / (1 - common), 0.0, 0.9))
    return Dependence(round(common, 4), round(persistence, 4))


def _with_tails(quantiles: np.ndarray) -> np.ndarray:
    """Quantiles with an end below and above: the lowest goes on half as far down, the highest as far up again."""
    low = np.maximum(quantiles[..., :1] - 0.5 * (quantiles[..., 1:2] - quantiles[..., :1]), 0.0)
    high = quantiles[..., -1:] + (quantiles[..., -1:] - quantiles[..., -2:-1])
    return np.concatenate([low, quantiles, high], axis=-1)


def _inverse_table() -> tuple[np.ndarray, np.ndarray]:
    """For `_BUCKETS` equal steps of probability, the knot below and how far on the way to the next."""
    levels = np.array([0.0, *LEVELS, 1.0])
    middle = (np.arange(_BUCKETS) + 0.5) / _BUCKETS
    bucket = np.searchsorted(levels, middle, side="right") - 1
    part = (middle - levels[bucket]) / (levels[bucket + 1] - levels[bucket])
    return bucket.astype(np.int32), part.astype(np.float32)
