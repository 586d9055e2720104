"""Which models count where: sparse non-negative weights earned on held-out origins, per demand class and horizon week.

Held-out days are many and their lessons few: neighbouring origins share their days, and all series share the weather. What
fits them best is mostly what fitted their accidents, and combinations that ask little of the evidence forecast better
(Claeskens et al. 2016, The forecast combination puzzle). So a segment starts from the shares of the one above it, and a
model takes a share there only where that lowers the loss by `_MARGIN`; and the learned models, from which all segments
start, share as evenly as the evidence leaves open. A model that never helps is never picked.

The loss is half Poisson deviance, which the mean minimises and which counts errors in units, and half absolute error, each
against that of the plain average of the models: on lumpy sales a few days decide the deviance, and a model that is near on
most days must not lose for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_MARGIN = 0.02
_OPEN = 0.004
_SHARES = (0.25, 0.5, 1.0)
_MOVES = 3
_MOST_ROWS, _LEAST_ROWS = 60_000, 200

Loss = Callable[[np.ndarray], float]


def even_weights(actual: np.ndarray, means: np.ndarray, learned: np.ndarray, seed: int = 0) -> np.ndarray:
    """Shares [M] of the one or two `learned` [M] models: the most even ones, in tenths, whose loss on `actual` [n] is within
    `_OPEN` of the least. `means` [M, n]."""
    weights = np.zeros(len(means))
    first, *second = np.flatnonzero(learned)
    weights[first] = 1.0
    if not second:
        return weights
    actual, means = _usable(actual, means, seed)
    loss = _loss(actual, means[learned].mean(0))
    shares = np.arange(11) / 10
    losses = np.array([loss((1 - share) * means[first] + share * means[second[0]]) for share in shares])
    open_ones = shares[losses <= losses.min() + _OPEN * abs(losses.min())]
    share = open_ones[np.abs(open_ones - 0.5).argmin()]
    weights[first], weights[second[0]] = 1 - share, share
    return weights


def earned_weights(
    actual: np.ndarray, means: np.ndarray, allowed: np.ndarray, start: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Weights [M] summing to 1 for `means` [M, n] against `actual` [n], from those of the segment above, `start`; only
    `allowed` [M] models take a share, and only for `_MARGIN` less loss."""
    weights = np.array(start, np.float64)
    if len(actual) < _LEAST_ROWS:
        return weights
    actual, means = _usable(actual, means, seed)
    loss = _loss(actual, means[np.asarray(allowed, bool)].mean(0))
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


def _usable(actual: np.ndarray, means: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many rows as are needed, and no mean so small that one sale would decide everything."""
    if len(actual) > _MOST_ROWS:
        take = np.random.default_rng(seed).permutation(len(actual))[:_MOST_ROWS]
        actual, means = actual[take], means[:, take]
    return actual, np.maximum(means, 1e-3 * max(float(actual.mean()), 1e-9)).astype(np.float64)


def _loss(actual: np.ndarray, average: np.ndarray) -> Loss:
    """The loss of a mean [n], 2 for `average` [n] and 0 for `actual` [n] itself."""
    least = _deviance(actual, np.maximum(actual, 1e-12))
    deviance = max(_deviance(actual, average) - least, 1e-12)
    absolute = max(float(np.abs(actual - average).mean()), 1e-12)

    def loss(mean: np.ndarray) -> float:
        return (_deviance(actual, mean) - least) / deviance + float(np.abs(actual - mean).mean()) / absolute

    return loss


def _deviance(actual: np.ndarray, mean: np.ndarray) -> float:
    """Poisson deviance up to terms without the mean."""
    return float(np.mean(mean - actual * np.log(mean)))
