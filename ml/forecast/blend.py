"""Which models count where: sparse non-negative weights earned on held-out origins, per demand class and horizon week.

Held-out days are many and their lessons few: neighbouring origins share their days, and all series share the weather. What
fits them best is mostly what fitted their accidents, and combinations that ask little of the evidence forecast better
(Claeskens et al. 2016, The forecast combination puzzle). So a segment starts from the shares of the one above it, and a
model takes a share there only where that lowers the loss by `_MARGIN`; and the learned models, from which all segments
start, share as evenly as the evidence leaves open. A model that never helps is never picked.

The loss is half Poisson deviance, which the mean minimises and which counts errors in units, and half absolute error, each
against that of the plain average of the models: on lumpy sales a few days decide the deviance, and a model that is near on
most days must not lose for them. Between the learned models the absolute error of weeks counts as much as either: orders
cover several days, of which errors that do not cancel are what is bought too much or too little. The level of all series
together is taken out of the weeks, origin by origin, for it is one draw for each; and segments hold too few weeks to be judged
by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_MARGIN = 0.1
_OPEN = 0.004
_SHARES = (0.25, 0.5, 1.0)
_MOVES = 3
_MOST_ROWS, _LEAST_ROWS = 60_000, 200

Loss = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Judged:
    """Held-out days: what sold, `actual` [n], and what M models said, `means` [M, n]; `origin` [n] of the forecasts; `week`
    [n] numbers the weeks ahead of the series at their origins."""

    actual: np.ndarray
    means: np.ndarray
    origin: np.ndarray
    week: np.ndarray

    def take(self, days: np.ndarray) -> Judged:
        return Judged(self.actual[days], self.means[:, days], self.origin[days], self.week[days])


def even_weights(judged: Judged, learned: np.ndarray, seed: int = 0) -> np.ndarray:
    """Shares [M] of the one or two `learned` [M] models: the most even ones, in tenths, whose loss is within `_OPEN` of the
    least."""
    weights = np.zeros(len(judged.means))
    first, *second = np.flatnonzero(learned)
    weights[first] = 1.0
    if not second:
        return weights
    judged = _usable(judged, seed)
    loss = _loss(judged, learned)
    shares = np.arange(11) / 10
    blends = ((1 - share) * judged.means[first] + share * judged.means[second[0]] for share in shares)
    losses = np.array([loss(mean) for mean in blends])
    open_ones = shares[losses <= losses.min() + _OPEN * abs(losses.min())]
    share = open_ones[np.abs(open_ones - 0.5).argmin()]
    weights[first], weights[second[0]] = 1 - share, share
    return weights


def earned_weights(judged: Judged, allowed: np.ndarray, start: np.ndarray, seed: int = 0) -> np.ndarray:
    """Weights [M] summing to 1, from those of the segment above, `start`; only `allowed` [M] models take a share, and only for
    `_MARGIN` less loss."""
    weights = np.array(start, np.float64)
    if len(judged.actual) < _LEAST_ROWS:
        return weights
    judged = _usable(judged, seed)
    means, loss = judged.means, _loss_of_days(judged, np.asarray(allowed, bool))
    current = weights @ means
    least = loss(current)
    for _ in range(_MOVES):
        moves = {
            (number, share): loss((1 - share) * current + share * means[number])
            for number in np.flatnonzero(allowed)
            for share in _SHARES
        }
        (number, share), best = min(moves.items(), key=lambda move: move[1])
        if best > least - _MARGIN * abs(least):
            break
        weights *= 1 - share
        weights[number] += share
        current, least = weights @ means, best
    return weights


def relative_loss(judged: Judged, seed: int = 0) -> float:
    """The loss by which `even_weights` shares, of the second of two models, that of the first being 1."""
    judged = _usable(judged, seed)
    loss = _loss(judged, np.array([True, False]))
    return loss(judged.means[1]) / loss(judged.means[0])


def _usable(judged: Judged, seed: int) -> Judged:
    """As many whole weeks as are needed, against what sold on a day, and no mean so small that one sale would decide everything."""
    if len(judged.actual) > _MOST_ROWS:
        lot = np.random.default_rng(seed).random(int(judged.week.max()) + 1)
        judged = judged.take(np.flatnonzero(lot[judged.week] < _MOST_ROWS / len(judged.actual)))
    usual = float(judged.actual.mean(dtype=np.float64)) or 1.0
    means = np.maximum(judged.means.astype(np.float64) / usual, 1e-3)
    return replace(judged, actual=judged.actual.astype(np.float64) / usual, means=means)


def _loss(judged: Judged, models: np.ndarray) -> Loss:
    """The loss of a mean [n] by days and by weeks, 3 for the average of `models` [M]."""
    of_days, of_weeks = _loss_of_days(judged, models), _loss_of_weeks(judged, models)
    return lambda mean: of_days(mean) + of_weeks(mean)


def _loss_of_days(judged: Judged, models: np.ndarray) -> Loss:
    """The loss of a mean [n], 2 for the average of `models` [M] and 0 for what sold itself."""
    actual, average = judged.actual, judged.means[models].mean(0)
    least = _deviance(actual, np.maximum(actual, 1e-12))
    deviance = max(_deviance(actual, average) - least, 1e-12)
    absolute = max(float(np.abs(actual - average).mean()), 1e-12)
    return lambda mean: (_deviance(actual, mean) - least) / deviance + float(np.abs(actual - mean).mean()) / absolute


def _loss_of_weeks(judged: Judged, models: np.ndarray) -> Loss:
    """The loss of a mean [n], 1 for the average of `models` [M] and 0 for what sold itself."""
    _, first, week = np.unique(judged.week, return_index=True, return_inverse=True)
    origin = np.unique(judged.origin[first], return_inverse=True)[1]
    sold = np.bincount(week, judged.actual)

    def error(mean: np.ndarray) -> float:
        told = np.bincount(week, mean)
        level = np.bincount(origin, sold) / np.bincount(origin, told)
        return float(np.abs(sold - level[origin] * told).mean())

    average = max(error(judged.means[models].mean(0)), 1e-12)
    return lambda mean: error(mean) / average


def _deviance(actual: np.ndarray, mean: np.ndarray) -> float:
    """Poisson deviance up to terms without the mean."""
    return float(np.mean(mean - actual * np.log(mean)))
