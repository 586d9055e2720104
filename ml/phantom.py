"""Phantom stock: days on which the books say that a product is on the shelf and nothing sells, as only an empty shelf does.

Belongs here: which runs of days without a sale are that improbable. Does not belong here: recovering demand (`ml.demand`),
what to count first (the mart `rpt_stock_count`, which judges the run up to today by the same probability).

Of the `d` days fully in stock in the `BEFORE` days before a run, `s` sold. With a Beta(1/2, 1/2) prior (Jeffreys) on the
share of selling days, the posterior predictive probability that none of the run's `n` days fully in stock sells is

    P(n | s, d) = Gamma(d - s + 1/2 + n) Gamma(d + 1) / (Gamma(d - s + 1/2) Gamma(d + 1 + n))                         (1)

(Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4). By days and not by units, so that one large sale promises
nothing. A run is phantom stock if P is below 0.001 and below 0.1 over the number of runs that are looked at, those of no day
among them, so that one panel in ten has one by mistake (Bonferroni). Runs up to the end of the history, one a series, and runs
that ended, after a count or a delivery, one between any two sales, are two such families.

Days are taken for alike, and the quiet ones of a week stand together: runs of fewer than `LEAST` days, which move no level
either, are left alone. A day on which nothing sold at the whole location is the location's, closed or not recorded, and no product's: it does not
count. And no run counts for longer than `most` days: what has been on the list of what to count for weeks and still does not
sell is no error of the books but no longer wanted. From there on days are taken as they are, and as the newest days they let
the forecast fade.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

BEFORE = 84
LIKELY, MISTAKEN = 0.001, 0.1
LEAST = 4
_FULL = 0.999


def probability(days: np.ndarray, selling: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Equation (1): that none of `days` sells where `selling` of the `before` days did."""
    idle = before - selling + 0.5
    return np.exp(gammaln(idle + days) - gammaln(idle) + gammaln(before + 1) - gammaln(before + 1 + days))


def phantom_days(sales: np.ndarray, share: np.ndarray, location: np.ndarray, most: int) -> np.ndarray:
    """Which days [N, T] are phantom stock, of `sales` (NaN: not observed) and in-stock `share` [N, T] of series at `location`
    [N] codes; at most the first `most` days of each run."""
    flags = np.zeros(sales.shape, bool)
    sold = np.nan_to_num(sales) > 0
    if not sold.any():
        return flags
    trading = np.zeros((int(location.max()) + 1, sales.shape[1]), bool)
    np.logical_or.at(trading, location, sold)
    counts = np.isfinite(sales) & (share >= _FULL) & trading[location]
    counted, selling = (np.pad(np.cumsum(a, axis=1, dtype=np.int32), ((0, 0), (1, 0))) for a in (counts, counts & sold))
    # Each sale begins a run, which ends with the next one or with the history.
    series, at = np.nonzero(sold)
    last = np.append(series[1:] != series[:-1], True)
    start, end = at + 1, np.where(last, sales.shape[1], np.append(at[1:], 0))
    days = counted[series, end] - counted[series, start]
    first = np.maximum(start - BEFORE, 0)
    before = counted[series, start] - counted[series, first]
    improbable = probability(days, selling[series, start] - selling[series, first], before)
    for family in (last, ~last):
        bound = min(LIKELY, MISTAKEN / max(int(family.sum()), 1))
        for run in np.flatnonzero(family & (days >= LEAST) & (improbable < bound)):
            row, stretch = series[run], slice(start[run], min(end[run], start[run] + most))
            flags[row, stretch] = counts[row, stretch]
    return flags
