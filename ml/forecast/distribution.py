"""From a mean to a distribution: one family for every model, calibrated on held-out origins per segment.

Belongs here: variances, quantiles and their calibration. Does not belong here: models, weights.

A day's demand is taken as Gamma with mean m and variance `unit * m + m^2 / shape`, times a factor of the series' own
(its past variance against that expectation, shrunk). The family is only a frame: the level at which it is read is
calibrated. With u_i = F_i(y_i) over held-out days, the quantile reported for level a is F^-1(a') where a' is the
a-quantile of u (probability integral transform; Gneiting, Balabdaoui & Raftery 2007). Whole-unit series get randomised u
and rounded quantiles, so that the coverage is right for counts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc, gammaincinv

from ml.forecast.config import LEVELS

_GRID = np.geomspace(0.02, 5_000, 160)
_LOG_GRID = np.log(_GRID)
_FEWEST = 300
_LEAST = 1e-6
# The sales of neighbouring days move together, so that n days tell less about the level than n independent ones would.
_LEVEL_DAYS = 7


@dataclass(frozen=True)
class Spread:
    """Variance `unit * m + m^2 / shape` of demand with mean m, pooled over a segment."""

    unit: float
    shape: float

    def variance(self, mean: np.ndarray) -> np.ndarray:
        return self.unit * mean + mean**2 / self.shape


def fit_spread(actual: np.ndarray, mean: np.ndarray) -> Spread:
    """Regress squared errors on mean and mean^2 (both coefficients at least 0), each row weighing 1 / mean^2."""
    use = mean > 1e-6
    if use.sum() < 10:
        return Spread(1.0, 2.0)
    m = np.maximum(mean[use], np.quantile(mean[use], 0.05)).astype(np.float64)
    relative = np.clip((actual[use] - m) / m, -8, 8) ** 2
    x = 1 / m
    w = np.sqrt(m)
    x_mean, y_mean = np.average(x, weights=w), np.average(relative, weights=w)
    varied = np.average((x - x_mean) ** 2, weights=w)
    slope = (
        np.average((x - x_mean) * (relative - y_mean), weights=w) / varied if varied > 1e-12 else y_mean / x_mean / 2
    )
    slope = float(np.clip(slope, 0.02 * y_mean / x_mean, 0.98 * y_mean / x_mean))
    return Spread(max(slope, 1e-9), 1 / max(y_mean - slope * x_mean, 1e-3))


def own_factor(demand: np.ndarray, fitted: np.ndarray, spread: Spread) -> np.ndarray:
    """Each series' variance [N] around `fitted` [N, W] against what `spread` expects, shrunk towards 1.

    The level of a series with few observed days is itself uncertain: its variance over their number is added.
    """
    return own_ratio(demand, fitted, spread) * (1 + _LEVEL_DAYS / np.maximum(np.isfinite(demand).sum(1), 1))


def own_ratio(demand: np.ndarray, fitted: np.ndarray, spread: Spread) -> np.ndarray:
    """`own_factor` without what the level's uncertainty adds to it."""
    seen = np.isfinite(demand)
    expected = np.maximum(spread.variance(np.maximum(fitted, _LEAST)), 1e-9)
    ratio = np.where(seen, np.minimum((np.nan_to_num(demand) - fitted) ** 2 / expected, 25), 0.0)
    return np.clip((ratio.sum(1) + 20) / (seen.sum(1) + 20), 0.3, 4.0)


def gamma_shape(mean: np.ndarray, spread: Spread, factor: np.ndarray) -> np.ndarray:
    """Gamma shape m^2 / variance, of the same form as `mean`; `factor` is broadcast against it."""
    m = np.maximum(mean, _LEAST)
    return np.clip(m * m / (spread.variance(m) * factor), _GRID[0], _GRID[-1])


def transform(
    actual: np.ndarray, mean: np.ndarray, shape: np.ndarray, whole: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Probability integral transform u [n] of observations; randomised between the edges of a whole unit."""
    rate = shape / np.maximum(mean, _LEAST)
    upper = gammainc(shape, (actual + 0.5 * whole) * rate)
    lower = np.where(whole, gammainc(shape, np.maximum(actual - 0.5, 0) * rate), upper)
    return lower + (upper - lower) * rng.random(len(actual))


def calibrated_levels(u: np.ndarray, pooled: np.ndarray | None = None) -> np.ndarray:
    """The levels a' [len(LEVELS)] at which to read the family; drawn towards `pooled` where `u` holds few days."""
    prior = np.asarray(LEVELS) if pooled is None else pooled
    if not len(u):
        return prior
    own = np.quantile(u, LEVELS)
    weight = len(u) / (len(u) + _FEWEST)
    return np.clip(np.maximum.accumulate(weight * own + (1 - weight) * prior), 0.0, 1 - 1e-7)


def quantiles(mean: np.ndarray, shape: np.ndarray, levels: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quantiles [..., len(LEVELS)] of Gamma(mean, shape) read at calibrated `levels`, rounded for whole-unit series."""
    table = gammaincinv(_GRID[:, None], levels[None, :]) / _GRID[:, None]
    where = np.clip((np.log(shape) - _LOG_GRID[0]) / (_LOG_GRID[1] - _LOG_GRID[0]), 0, len(_GRID) - 1.000001)
    low = where.astype(np.int32)
    part = (where - low)[..., None].astype(np.float32)
    table = table.astype(np.float32)
    values = (table[low] * (1 - part) + table[low + 1] * part) * mean[..., None].astype(np.float32)
    rounded = (
        whole
        if np.ndim(whole) == np.ndim(values)
        else np.reshape(whole, whole.shape + (1,) * (values.ndim - whole.ndim))
    )
    return np.where(rounded, np.rint(values), values)
