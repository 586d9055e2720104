"""From a mean to a distribution: one family for every model, calibrated on held-out origins per segment.

Belongs here: variances, quantiles and their calibration. Does not belong here: models, weights.

A day's demand is taken as Gamma with mean m and variance `unit * m + m^2 / shape`, times a factor of the series' own
(its past variance against that expectation, shrunk). The family is only a frame: the level at which it is read is
calibrated. With u_i = F_i(y_i) over held-out days, the quantile reported for level a is F^-1(a') where a' is the
a-quantile of u (probability integral transform; Gneiting, Balabdaoui & Raftery 2007). Whole-unit series get randomised u
and rounded quantiles, so that the coverage is right for counts too.

Rounding lets counts be 0. Other series (weights, revenue) get the chance of a sale for that, a Gamma holding given a sale:

    P(demand > 0) = 1 / (1 + exp(-a - b min(x, 0) - c max(x, 0))),    x = log(3 m / size)                          (1)

with `size` the mean of the series' own selling days and neither slope below 0: what sells a third of a usual selling day or
more is told apart from what hardly sells. A day on which the place is closed has a mean of next to nothing, and
is 0 at every level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, gammainc, gammaincinv, ndtr, ndtri

from ml.forecast.config import LEVELS

_GRID = np.geomspace(0.02, 5_000, 160)
_LOG_GRID = np.log(_GRID)
_FEWEST = 300
# A mean of less than this part of a purchase, `Spread.unit`, is read as so much: the shape of its day is the smallest anyway.
_LEAST = 1e-6
_TINY = np.finfo(np.float32).tiny
# The sales of neighbouring days move together, so that n days tell less about the level than n independent ones would.
_LEVEL_DAYS = 7
# A series' own variance counts as much as the pool's once this many days tell of it: squared errors are so skewed that a few
# days decide their mean.
_OWN_DAYS = 56
_RECENT = 112
# Coefficients of (1) where no day without a sale is known, and how firmly few days are held to what is known before them.
ALWAYS = (20.0, 0.0, 0.0)
_PROPORTIONAL, _LOOSE, _FIRM = np.array([-0.7, 1.0, 1.0]), 0.5, 5.0
_LEAST_CHANCE, _SURE = 1e-4, 0.9999
_RATIOS = (-8.0, 1.0)
_CELLS = 200
_THIRD = np.log(1 / 3)
# Given a sale, a day is at least this part as uncertain, in squared coefficients of variation, as without knowing of one.
_LEAST_LEFT = 0.3
_NORMAL = np.linspace(-4.5, 5.0, 191)


@dataclass(frozen=True)
class Spread:
    """Variance `unit * m + m^2 / shape` of demand with mean m, pooled over a segment; or of several, day by day."""

    unit: float | np.ndarray
    shape: float | np.ndarray

    def variance(self, mean: np.ndarray) -> np.ndarray:
        return self.unit * mean + mean**2 / self.shape


def fit_spread(actual: np.ndarray, mean: np.ndarray) -> Spread:
    """Regress squared errors on mean and mean^2 (both coefficients at least 0), each row weighing 1 / mean^2."""
    use = mean > _LEAST * mean.mean() if len(mean) else np.zeros(0, bool)
    if use.sum() < 10:
        # As if a day with a sale had a few purchases.
        sold = actual[actual > 0]
        return Spread(float(sold.mean()) / 3 if len(sold) else 1.0, 2.0)
    m = np.maximum(mean[use], np.quantile(mean[use], 0.05)).astype(np.float64)
    relative = np.clip((actual[use] - m) / m, -8, 8) ** 2
    x = 1 / m
    w = np.sqrt(m)
    x_mean, y_mean = np.average(x, weights=w), np.average(relative, weights=w)
    varied = np.average((x - x_mean) ** 2, weights=w)
    slope = (
        np.average((x - x_mean) * (relative - y_mean), weights=w) / varied
        if varied > 1e-12 * x_mean**2
        else y_mean / x_mean / 2
    )
    slope = float(np.clip(slope, 0.02 * y_mean / x_mean, 0.98 * y_mean / x_mean))
    # Plain numbers: a NumPy one would make float32 arrays float64, and a saved model would forecast other roundings.
    return Spread(max(slope, 1e-9 / float(x_mean)), float(1 / max(y_mean - slope * x_mean, 1e-3)))


def own_ratio(demand: np.ndarray, fitted: np.ndarray, spread: Spread) -> np.ndarray:
    """Each series' variance [N] around `fitted` [N, W] against what `spread` expects, shrunk towards 1."""
    seen = np.isfinite(demand)
    expected = spread.variance(np.maximum(fitted, _LEAST * spread.unit))
    ratio = np.where(seen, np.minimum((np.nan_to_num(demand) - fitted) ** 2 / expected, 25), 0.0)
    return np.clip((ratio.sum(1) + _OWN_DAYS) / (seen.sum(1) + _OWN_DAYS), 0.3, 4.0)


def level_doubt(demand: np.ndarray) -> np.ndarray:
    """Factor [N] on the variance of series of which few days of `demand` [N, W] were observed: their level is itself uncertain,
    by the variance of a day over their number."""
    return 1 + _LEVEL_DAYS / np.maximum(np.isfinite(demand).sum(1), 1)


def selling_day(demand: np.ndarray) -> np.ndarray:
    """Mean [N] of the days with a sale among the last 16 weeks of demand [N, T]; NaN where there is none."""
    recent = np.nan_to_num(demand[:, -_RECENT:])
    days = (recent > 0).sum(1)
    return np.where(days > 0, recent.sum(1) / np.maximum(days, 1), np.nan)


def fit_chance(sold: np.ndarray, ratio: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """The coefficients (a, b, c) of (1) from whether days [n] sold and their `ratio` m / size, drawn towards `prior`.

    Newton's method on the penalised likelihood, the days counted in cells of equal ratio.
    """
    cell = np.rint((_log_ratio(ratio) - _RATIOS[0]) / (_RATIOS[1] - _RATIOS[0]) * _CELLS).astype(np.int64)
    days = np.bincount(cell, minlength=_CELLS + 1)
    sales = np.bincount(cell, weights=sold, minlength=_CELLS + 1)
    x = _terms(np.linspace(*_RATIOS, _CELLS + 1))
    start = _PROPORTIONAL if prior is None else prior
    penalty = np.eye(3) * (_LOOSE if prior is None else _FIRM)
    found = start.copy()
    for _ in range(30):
        chance = expit(x @ found)
        slope = x.T @ (sales - days * chance) - penalty @ (found - start)
        curvature = (x * (days * chance * (1 - chance))[:, None]).T @ x + penalty
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        found = found + step
        found[1:] = np.maximum(found[1:], 0)
        if np.abs(step).max() < 1e-6:
            break
    return found


def _log_ratio(ratio: np.ndarray) -> np.ndarray:
    return np.clip(np.log(np.maximum(ratio, 1e-12)), *_RATIOS)


def _terms(log_ratio: np.ndarray) -> np.ndarray:
    x = log_ratio - _THIRD
    return np.stack([np.ones_like(x), np.minimum(x, 0), np.maximum(x, 0)], axis=-1)


def chance_of_sale(ratio: np.ndarray, coefficients: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Equation (1) for days [n] of `ratio` m / size, with `coefficients` [3] or [n, 3]; 1 for whole-unit series, which
    rounding lets be 0."""
    if whole.all():
        return np.ones(len(ratio))
    chance = np.maximum(expit((_terms(_log_ratio(ratio)) * coefficients).sum(-1)), _LEAST_CHANCE)
    return np.where(whole | (chance > _SURE), 1.0, chance)


def gamma_shape(mean: np.ndarray, spread: Spread, factor: np.ndarray, chance: np.ndarray | float = 1.0) -> np.ndarray:
    """Gamma shape, mean^2 / variance given a sale, of the same form as `mean`; `factor` is broadcast against it.

    Given a sale, which has this `chance`, the mean is m / chance, and the variance what makes that of the day right:
    variance / chance - (1 - chance) (m / chance)^2.
    """
    # Both sides multiplied by chance^2 / m^2, which neither a unit nor a mean of 0, nor their squares, may make 0 / 0.
    m = np.maximum(mean, np.maximum(_LEAST * spread.unit, _TINY))
    squared = (spread.unit / m + 1 / spread.shape) * factor
    given = np.maximum(squared * chance - (1 - chance), _LEAST_LEFT * squared)
    return np.clip(1 / given, _GRID[0], _GRID[-1])


def transform(
    actual: np.ndarray,
    mean: np.ndarray,
    shape: np.ndarray,
    whole: np.ndarray,
    rng: np.random.Generator,
    chance: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Probability integral transform u [n] of observations; randomised between the edges of a whole unit, and of no sale."""
    rate = shape * chance / np.maximum(mean, _TINY)
    upper = gammainc(shape, (actual + 0.5 * whole) * rate)
    lower = np.where(whole, gammainc(shape, np.maximum(actual - 0.5, 0) * rate), upper)
    lower, upper = np.where(actual > 0, 1 - chance + chance * lower, 0.0), 1 - chance + chance * upper
    return lower + (upper - lower) * rng.random(len(actual))


def calibrated_levels(u: np.ndarray, pooled: np.ndarray | None = None) -> np.ndarray:
    """The levels a' [len(LEVELS)] at which to read the family; drawn towards `pooled` where `u` holds few days."""
    prior = np.asarray(LEVELS) if pooled is None else pooled
    if not len(u):
        return prior
    own = np.quantile(u, LEVELS)
    weight = len(u) / (len(u) + _FEWEST)
    return np.clip(np.maximum.accumulate(weight * own + (1 - weight) * prior), 0.0, 1 - 1e-7)


def quantiles(
    mean: np.ndarray, shape: np.ndarray, levels: np.ndarray, whole: np.ndarray, chance: np.ndarray | None = None
) -> np.ndarray:
    """Quantiles [n, len(LEVELS)] of days [n], read at calibrated `levels`, rounded for whole-unit series.

    Given a sale, which has this `chance`, a day is Gamma(mean / chance, shape); else it is 0.
    """
    where = np.clip((np.log(shape) - _LOG_GRID[0]) / (_LOG_GRID[1] - _LOG_GRID[0]), 0, len(_GRID) - 1.000001)
    low = where.astype(np.int32)
    part = (where - low)[:, None].astype(np.float32)
    table = (gammaincinv(_GRID[:, None], levels[None, :]) / _GRID[:, None]).astype(np.float32)
    values = (table[low] * (1 - part) + table[low + 1] * part) * mean[:, None].astype(np.float32)
    values = np.where(whole[:, None], np.rint(values), values)
    unsure = np.flatnonzero(chance < 1) if chance is not None else ()
    if len(unsure):
        values[unsure] = _with_zeros(low[unsure], part[unsure], levels, mean[unsure], chance[unsure])
    return values


def _with_zeros(low: np.ndarray, part: np.ndarray, levels: np.ndarray, mean, chance) -> np.ndarray:
    """`quantiles` where a sale is not sure: every day reads the Gamma at levels of its own."""
    within = (levels - (1 - chance)[:, None]) / chance[:, None]
    place = (ndtri(np.clip(within, 1e-9, 1 - 1e-9)) - _NORMAL[0]) / (_NORMAL[1] - _NORMAL[0])
    place = np.clip(place, 0, len(_NORMAL) - 1.000001).astype(np.float32)
    column = place.astype(np.int32)
    along = place - column
    table, width = _gamma_table(), len(_NORMAL)
    at = low[:, None] * width + column
    above = at + width
    values = (table[at] * (1 - along) + table[at + 1] * along) * (1 - part)
    values += (table[above] * (1 - along) + table[above + 1] * along) * part
    return np.where(within > 0, values * (mean / chance)[:, None].astype(np.float32), np.float32(0))


@lru_cache(maxsize=1)
def _gamma_table() -> np.ndarray:
    """Quantiles of Gamma(mean 1) of each shape of the grid at normal scores `_NORMAL`, row by row in one line."""
    return (gammaincinv(_GRID[:, None], ndtr(_NORMAL)[None, :]) / _GRID[:, None]).astype(np.float32).ravel()
