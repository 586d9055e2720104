"""Measures of a forecast against what happened: WAPE, pinball loss, bias and coverage.

Formulas: WAPE = sum|y - f| / sum y; pinball at level a = max(a (y - q), (a - 1) (y - q)) (Koenker & Bassett 1978); bias =
sum(f) / sum(y) - 1; coverage of a level = the share of observations at or below its quantile.
"""

from __future__ import annotations

import numpy as np

from ml.forecast.config import LEVELS

MEDIAN = LEVELS.index(0.5)


def wape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Sum of absolute errors over the sum of actuals; NaN if nothing was sold."""
    total = float(np.sum(actual))
    return float(np.sum(np.abs(actual - forecast))) / total if total > 0 else float("nan")


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> float:
    """Mean pinball loss over observations and all levels, per unit sold. `actual` [n], `quantiles` [n, len(LEVELS)]."""
    total = float(np.sum(actual))
    if total <= 0:
        return float("nan")
    loss = 0.0
    for position, level in enumerate(LEVELS):
        gap = actual - quantiles[:, position]
        loss += float(np.sum(np.maximum(level * gap, (level - 1) * gap)))
    return loss / len(LEVELS) / total


def bias(actual: np.ndarray, forecast: np.ndarray) -> float:
    total = float(np.sum(actual))
    return float(np.sum(forecast)) / total - 1 if total > 0 else float("nan")


def coverage(actual: np.ndarray, quantiles: np.ndarray, low: float = 0.1, high: float = 0.9) -> float:
    """Share of observations within the closed interval between two levels."""
    if not len(actual):
        return float("nan")
    below, above = quantiles[:, LEVELS.index(low)], quantiles[:, LEVELS.index(high)]
    return float(np.mean((actual >= below) & (actual <= above)))
