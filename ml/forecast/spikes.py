"""Quantities that cannot be true: a wrong decimal point, a bulk order that was cancelled, another unit.

Belongs here: what is too much for the series itself and, where that has too few days to tell, for all others. Does not
belong here: reading the file (`ml.forecast.panel`), what is made of the days that stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of fewer selling days than this the median alone tells, and where all of them are mistyped, nothing of the series' own.
_FEW = 4
_BEYOND_OTHERS = 1_000.0


@dataclass(frozen=True)
class Usual:
    """Of each series: `days` [N] that sold, the `mean` [N] of these without the largest tenth and their (lower) `median` [N];
    both 0 where nothing sold."""

    days: np.ndarray
    mean: np.ndarray
    median: np.ndarray


def usual_days(sales: np.ndarray, factor: float) -> Usual:
    """What a selling day of each series of `sales` [N, T] (NaN: not observed) usually is. A wrong decimal point must not be
    usual where there are several: the mean is `factor` times the median at most."""
    positive = np.where(sales > 0, sales, np.nan)
    count = np.isfinite(positive).sum(1)
    mean, median = np.zeros(len(sales)), np.zeros(len(sales))
    some = np.flatnonzero(count)
    if len(some):
        ordered = np.sort(positive[some].astype(np.float64), axis=1)  # NaN last
        kept = np.maximum(count[some] - np.maximum(1, count[some] // 10), 1)
        totals = np.cumsum(np.nan_to_num(ordered), axis=1)
        row = np.arange(len(some))
        median[some] = ordered[row, (count[some] - 1) // 2]
        mean[some] = np.minimum(totals[row, kept - 1] / kept, factor * median[some])
    return Usual(count, mean, median)


def cut_spikes(sales: np.ndarray, usual: Usual, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """`sales` [N, T] with the days above `factor` times the usual selling day cut to that, and which days [N, T] those were.

    A cancelled bulk order must not set the level of a product that sells 0 to 4. Of fewer than four selling days the median
    alone tells; one alone is judged by what all series sell (`beyond_others`).
    """
    limit = factor * np.where(usual.days >= _FEW, usual.mean, usual.median)
    # What sells whole units is still seen to do so after the cut: its quantiles are whole, and 0 where most days are.
    limit = np.where((np.nan_to_num(sales) % 1 == 0).all(1), np.rint(limit), limit)
    limit = np.where(usual.days >= 2, limit, np.inf)
    high = sales > limit[:, None]
    return np.where(high, limit[:, None].astype(np.float32), sales), high


def beyond_others(usual: Usual, factor: float) -> tuple[np.ndarray, float]:
    """Series [N] that sold on fewer than four days, and then more than a thousand times (or `factor` times, if that is more)
    what any series sells on a usual selling day; and that usual day.

    Any is one with four selling days or more. Where there is none, three in four of those that sold at all have their say.
    In a file of one series nothing is beyond others, nor in one in which all is large.
    """
    known, some = usual.days >= _FEW, usual.days > 0
    sold = np.sort(usual.median[some])
    if known.any():
        largest = float(usual.median[known].max())
    elif len(sold) > 1:
        largest = float(sold[3 * (len(sold) - 1) // 4])
    else:
        return np.zeros(len(some), bool), np.inf
    return some & ~known & (usual.median > max(_BEYOND_OTHERS, factor) * largest), largest
