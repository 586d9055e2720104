"""What all series together do on days of which something is known ahead: that the place is closed, a holiday, a discount.

Belongs here: one factor for each value of a known-future column, for series with too few days to show how they answer.
Does not belong here: how a series with a history answers (`ml.forecast.features`).

Column by column, what is sold on the days with a value is set against level times weekday. The days of one value are pooled by
random effects, with the variance between days of the usual value, for a day is one draw that all series share: a holiday seen
once says less than a discount seen daily. The factors are then drawn to 1 as far as their evidence is thin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.forecast.distribution import Spread
from ml.forecast.effects import pooled, shrunk, variance_between

# A column of more values is a measure such as a temperature, of which a factor for each would be noise.
_MOST_VALUES = 12
_MOST_SERIES = 3_000
_HIGHEST = 5.0
_HALF = 14
# So much more than what varies must have been expected where nothing sold, for that to be no chance (e^-7 < 0.001).
_NO_CHANCE = 7.0
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Responses:
    """For each of K columns its `values`, sorted, and the `factors` of these, of the same length; both empty for a column that
    tells nothing by its values."""

    values: tuple[np.ndarray, ...]
    factors: tuple[np.ndarray, ...]

    def at(self, known: np.ndarray) -> np.ndarray:
        """Factors [K, n, D] for `known` [K, n, D]; 1 where the value is not known or was not seen."""
        out = np.ones(known.shape)
        for number, (values, factors) in enumerate(zip(self.values, self.factors, strict=True)):
            if len(values):
                out[number] = _look_up(known[number], values, factors)
        return out

    def apart(self, known: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Factors [n, D] of all columns together against those of all series on that day, weighed by what is `expected` [n, D]
        of each: what days that all share, such as a holiday, do not hold."""
        own = np.ones(known.shape[1:])
        for column, values, factors in zip(known, self.values, self.factors, strict=True):
            if len(values):
                own = own * _look_up(column, values, factors)
        top, low = (own * expected).sum(0), expected.sum(0)
        return np.where(top > 0, own * (low / np.maximum(top, _TINY)), 1.0)


def learn(
    known: np.ndarray,
    sold: np.ndarray,
    exposure: np.ndarray,
    level: np.ndarray,
    season: np.ndarray,
    common: np.ndarray,
    spread: Spread,
    lasting: float,
) -> Responses:
    """From `known` [K, N, D], what was `sold` over the `exposure` [N, D], the `level` [N] of the series, the `season` [D] and what
    all series did besides on each day, `common` [D], of which the slow part counts as their level."""
    rows = np.arange(len(sold))
    if len(rows) > _MOST_SERIES:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_MOST_SERIES])
    sold, level = sold[rows], level[rows]
    mean = level[:, None] * (season * _slow(common)) * exposure[rows]
    per_unit = lasting * (spread.unit + level / spread.shape)[:, None]
    values, factors = [], []
    for column in known:
        column = column[rows]
        use = np.isfinite(column) & (mean > 0)
        found = np.unique(column[use])
        if not 2 <= len(found) <= _MOST_VALUES:
            values.append(found[:0])
            factors.append(np.ones(0))
            continue
        tables = [
            np.stack([np.where(use & (column == value), part, 0.0).sum(0) for value in found])
            for part in (sold, mean, per_unit * mean)
        ]
        factor = _factors(*tables)
        values.append(found)
        factors.append(factor)
        mean = mean * _look_up(column, found, factor)
    return Responses(tuple(values), tuple(factors))


def _factors(top: np.ndarray, low: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Factors [V] from what was sold, `top`, and expected, `low`, by value and day [V, D], and the variance of the former."""
    days = low > 0
    ratio = np.where(days, top / np.maximum(low, _TINY), 0.0)
    noise = np.where(days, error / np.maximum(low, _TINY) ** 2, np.inf)
    usual = int(low.sum(1).argmax())
    mean, error_of = pooled(ratio, noise, variance_between(ratio[usual], noise[usual]))
    drawn = 1 + shrunk(mean - 1, error_of)
    expected = low.sum(1)
    never = (top.sum(1) == 0) & (expected**2 > _NO_CHANCE * error.sum(1))
    return np.where(never, 0.0, np.clip(drawn, 0.0, _HIGHEST))


def _look_up(column: np.ndarray, values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(values, column), len(values) - 1)
    return np.where(values[at] == column, factors[at], 1.0)


def _slow(common: np.ndarray) -> np.ndarray:
    """Moving mean [D] over four weeks."""
    window = np.ones(2 * _HALF + 1)
    days = np.convolve(np.ones(len(common)), window)[_HALF : _HALF + len(common)]
    return np.convolve(common, window)[_HALF : _HALF + len(common)] / days
