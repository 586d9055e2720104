"""Quantities that cannot be true: a wrong decimal point, a bulk order that was cancelled, another unit.

Belongs here: what is too much for the series itself and, where that has too few days to tell, for all others. Does not
belong here: reading the file (`ml.forecast.panel`), what is made of the days that stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of fewer selling days than this the median alone tells, and where all of them are mistyped, nothing of the series' own.
_FEW = 4
_BEYOND, _BEYOND_ALL = 1_000.0, 100_000.0


@dataclass(frozen=True)
class Usual:
    """Of each series: `days` [N] that sold, the `mean` [N] of these without the largest tenth and their (lower) `median` [N];
    both 0 where nothing sold."""

    days: np.ndarray
    mean: np.ndarray
    median: np.ndarray


def usual_days(sales: np.ndarray, factor: float) -> Usual:
    """What a selling day of each series of `sales` [N, T] (NaN: not observed) usually is. A wrong decimal point must not be
    usual where there are several: the mean is `factor` times the median at most, and of no day a thousand times the median."""
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
        kept = np.minimum(kept, (ordered <= _BEYOND * median[some][:, None]).sum(1))
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
    """Series [N] whose usual selling day is more than a thousand times (or `factor` times, if that is more) what any other
    usually sells, and that largest of the others.

    A series of four selling days or more can be so large, and others are judged by these: it is beyond them only where it is a
    hundred thousand times as large as a majority of them. Where there is none, three in four of the series that sold at all have
    their say. In a file of one series nothing is beyond others, nor in one in which all is large.
    """
    known, some = usual.days >= _FEW, usual.days > 0
    sold = np.sort(usual.median[known if known.any() else some])
    if len(sold) < 2 and not known.any():
        return np.zeros(len(some), bool), np.inf
    apart = np.flatnonzero(sold[1:] > max(_BEYOND_ALL, factor) * sold[:-1])
    apart = apart[2 * (apart + 1) > len(sold)]
    if not known.any():
        largest = float(sold[3 * (len(sold) - 1) // 4])
    elif len(apart):
        largest = float(sold[apart[0]])
    else:
        largest = float(sold[-1])
    times = np.where(known, max(_BEYOND_ALL, factor), max(_BEYOND, factor))
    return some & (usual.median > times * largest), largest
