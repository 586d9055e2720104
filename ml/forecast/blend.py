"""Which models count where: sparse non-negative weights earned on held-out origins, per demand class and horizon week.

Greedy selection with replacement (Caruana et al. 2004): at each step the model that lowers the loss most gets another
share. It starts from shares won on all segments together, so that a small segment does not go its own way; a model that
never helps is never picked. The loss is half Poisson deviance, which the mean minimises and which counts errors in units,
and half absolute error, each against that of the plain average of the models: on lumpy sales a few days decide the deviance,
and a model that is near on most days must not lose for them.
"""

from __future__ import annotations

import numpy as np

_STEPS = 20
_MOST_ROWS = 60_000
_PRIOR_ROWS = 4_000
_LUCK = 1.5


def greedy_weights(
    actual: np.ndarray, means: np.ndarray, allowed: np.ndarray, prior: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Weights [M] summing to 1 for `means` [M, n] against `actual` [n]; only `allowed` [M] models take part.

    `prior` weights count as many of the steps as their evidence is worth against the number of rows.
    """
    weights = np.zeros(len(means))
    start = 0
    if prior is not None and (prior * allowed).sum() > 0:
        weights = prior * allowed / (prior * allowed).sum()
        start = round(_STEPS * _PRIOR_ROWS / (_PRIOR_ROWS + len(actual)))
        if start == 0:
            weights = np.zeros(len(means))
    if not len(actual):
        return weights if weights.sum() > 0 else allowed / allowed.sum()
    if len(actual) > _MOST_ROWS:
        take = np.random.default_rng(seed).permutation(len(actual))[:_MOST_ROWS]
        actual, means = actual[take], means[:, take]
    means = np.maximum(means, 1e-3 * max(float(actual.mean()), 1e-9)).astype(np.float64)
    average = means[np.asarray(allowed, bool)].mean(0)
    least = _deviance(actual, np.maximum(actual, 1e-12))
    scales = (max(_deviance(actual, average) - least, 1e-12), max(float(np.abs(actual - average).mean()), 1e-12))
    total = weights * start
    current = (total[:, None] * means).sum(0)
    for step in range(start, _STEPS):
        losses = [
            _loss(actual, (current + means[m]) / (step + 1), scales) if allowed[m] else np.inf
            for m in range(len(means))
        ]
        best = int(np.argmin(losses))
        total[best] += 1
        current += means[best]
    # One lucky step is no skill, and every model in the blend costs time each morning.
    weights = np.where(total > _LUCK, total, 0.0)
    return weights / weights.sum()


def _loss(actual: np.ndarray, mean: np.ndarray, scales: tuple[float, float]) -> float:
    return _deviance(actual, mean) / scales[0] + float(np.abs(actual - mean).mean()) / scales[1]


def _deviance(actual: np.ndarray, mean: np.ndarray) -> float:
    """Poisson deviance up to terms without the mean."""
    return float(np.mean(mean - actual * np.log(mean)))
