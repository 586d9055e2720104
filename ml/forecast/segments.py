"""Demand classes: which series behave alike.

Classes follow Syntetos, Boylan & Croston (2005): average interval between selling days (1.32) and squared coefficient of
variation of the selling days (0.49); series with fewer observed days than the learned models need are `short`. Apart from that, a
series of whole numbers is a count.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("smooth", "erratic", "intermittent", "lumpy", "short")
SHORT = CLASSES.index("short")
_RECENT = 112
_WEEKS = 4
# From here on float32 holds whole numbers only, of whatever.
_NO_FRACTIONS = 2.0**24


def demand_class(demand: np.ndarray, min_days: int) -> np.ndarray:
    """Index into `CLASSES` for each row of demand [N, T] (NaN: not observed), from its last 16 weeks."""
    recent = demand[:, -_RECENT:]
    seen = np.isfinite(recent)
    sold = np.where(seen, recent, 0.0)
    selling = (sold > 0).sum(1)
    interval = seen.sum(1) / np.maximum(selling, 1)
    mean = sold.sum(1) / np.maximum(selling, 1)
    square = (sold**2).sum(1) / np.maximum(selling, 1)
    variation = np.maximum(square - mean**2, 0) / np.where(mean > 0, mean**2, 1)
    rare, uneven = interval >= 1.32, variation >= 0.49
    classes = np.where(rare, np.where(uneven, 3, 2), np.where(uneven, 1, 0))
    return np.where(np.isfinite(demand).sum(1) < min_days, SHORT, classes)


def are_counts(quantity: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Whether all of `quantity` (NaN: not observed) along `axis` are whole units: told by what float32 tells apart from fractions."""
    quantity = np.nan_to_num(quantity)
    return ((quantity % 1 == 0) & (quantity < _NO_FRACTIONS)).all(axis)


def horizon_week(horizon: int) -> np.ndarray:
    """The week [H] of each lead day, the fourth standing for all later ones."""
    return np.minimum(np.arange(horizon) // 7, _WEEKS - 1)
