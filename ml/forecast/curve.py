"""The launch curve: what launches sell at an age against what they settle at.

Belongs here: learning it from the series that began inside the history. Does not belong here: the level of a product
(`ml.forecast.launch`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ml.forecast.distribution import Spread
from ml.forecast.effects import pooled, shrunk, variance_between

SETTLED = 28
"""Days after which a launch is over."""
_LEAST_SETTLED = 14
_LEAST_LAUNCHES = 5
# Launches that differ by more than twice what they settle at are not told apart.
_MOST_BETWEEN = 4.0
_BINS = np.array([0, 1, 2, 4, 7, 10, 14, 21, SETTLED])


@dataclass(frozen=True)
class Curve:
    """What launches sell at an age [SETTLED] against what they settle at, `mean`, and the `variance` of it between
    launches, in general and by the codes of each static column; from `launches` that were seen to settle."""

    mean: np.ndarray
    variance: np.ndarray
    by_column: tuple[np.ndarray, ...]
    launches: int

    def at(self, age: np.ndarray, static: np.ndarray) -> np.ndarray:
        """[n, D] for ages [n, D] (below 0 or beyond `SETTLED`: 1) and static codes [S, n]."""
        inside = (age >= 0) & (age < SETTLED)
        when = np.clip(age, 0, SETTLED - 1)
        value = self.mean[when]
        for ratios, code in zip(self.by_column, static, strict=True):
            value = value * np.where(code[:, None] >= 0, ratios[np.maximum(code, 0)[:, None], when], 1.0)
        return np.where(inside, value, 1.0)

    def variance_at(self, age: np.ndarray) -> np.ndarray:
        inside = (age >= 0) & (age < SETTLED)
        return np.where(inside, self.variance[np.clip(age, 0, SETTLED - 1)], 0.0)


def learn_curve(sold, exposure, age, static, sizes, spread: Spread, lasting: float) -> Curve:
    """The launch curve from series that began inside the history and were seen to settle.

    At each span of ages, the ratios of the launches to what they settled at are pooled by random effects, which gives
    their mean, its error and the variance between launches; the mean is then drawn to 1.
    """
    after = age >= SETTLED
    total, days = np.where(after, sold, 0.0).sum(1), np.where(after, exposure, 0.0).sum(1)
    known = (age[:, 0] < SETTLED) & (days >= _LEAST_SETTLED) & (total > 0)
    flat = Curve(np.ones(SETTLED), np.zeros(SETTLED), tuple(np.ones((max(n, 1), SETTLED)) for n in sizes), 0)
    rows = np.flatnonzero(known)
    if len(rows) < _LEAST_LAUNCHES:
        return flat
    level = total[rows] / days[rows]
    phi = lasting * (spread.unit + level / spread.shape)
    ratio, noise = np.zeros((len(rows), len(_BINS) - 1)), np.full((len(rows), len(_BINS) - 1), np.inf)
    for span, (low, high) in enumerate(pairwise(_BINS)):
        inside = (age[rows] >= low) & (age[rows] < high)
        top = np.where(inside, sold[rows], 0.0).sum(1)
        mean = np.where(inside, exposure[rows], 0.0).sum(1) * level
        use = mean > 0
        ratio[use, span] = np.minimum(top[use] / mean[use], 10.0)
        # Both the days and the level that they are set against err.
        noise[use, span] = phi[use] / mean[use] + phi[use] / total[rows][use]
    mean, error, between = _of_launches(ratio, noise)
    mean = np.maximum(1 + shrunk(mean - 1, error), 0.05)
    by_column = []
    for column, size in zip(static, sizes, strict=True):
        ratios = np.ones((max(size, 1), len(_BINS) - 1))
        own = column[rows]
        deviation, error_of = np.zeros_like(ratios), np.full_like(ratios, np.inf)
        for code in np.unique(own[own >= 0]):
            mine = own == code
            if mine.sum() >= _LEAST_LAUNCHES:
                part, part_error, _ = _of_launches(ratio[mine], noise[mine])
                deviation[code], error_of[code] = part / mean - 1, part_error / mean**2
        ratios = np.maximum(1 + shrunk(deviation, error_of), 0.05)
        by_column.append(np.repeat(ratios, np.diff(_BINS), axis=1))
        ratio = ratio / np.where(own[:, None] >= 0, ratios[np.maximum(own, 0)], 1.0)
    spans = np.diff(_BINS)
    return Curve(np.repeat(mean, spans), np.repeat(between / mean**2, spans), tuple(by_column), len(rows))


def _of_launches(ratio: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the ratios of launches [L, A] at each age: their mean, 1 where none tells, its error variance and the variance between
    launches."""
    between = np.minimum(variance_between(ratio.T, noise.T), _MOST_BETWEEN)
    mean, error = pooled(ratio.T, noise.T, between)
    return np.where(np.isfinite(error), mean, 1.0), error, between
