"""Demand recovery: what would have been sold had the shelf never been empty.

Belongs here: the statistics of censored sales. Does not belong here: forecasting, stock, the reading of files.

Sales of a day that ran out are a lower bound, and they are not a random one: days run out *because* demand was high, so
dropping them, or scaling all days alike, biases demand low. The model is a Poisson process whose daily rate varies:

    rate_t = mu * profile[weekday(t)] * g_t,   g_t ~ Gamma(shape k, mean 1)                                        (1)
    sales_t / unit ~ Poisson(rate_t * share_t / unit)                                                              (2)

where `share_t` is the part of the trading day with stock and `unit` the quantity of one purchase. Running out is a
stopping time of that process, and a stopping rule that looks only at past sales drops out of the likelihood, so (2) holds
as it stands although stock-outs depend on demand. The posterior of the rate is Gamma again (Gelman et al., Bayesian Data
Analysis, 3rd ed., section 2.6, with exposure):

    E[rate_t | sales_t] = mu_t * (k + sales_t / unit) / (k + mu_t * share_t / unit)                                (3)
    E[demand_t | sales_t] = sales_t + (1 - share_t) * E[rate_t | sales_t]                                          (4)

`mu`, the weekday profile and the two dispersion parameters are found by expectation-maximisation over all series at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

_FULL = 0.999
_ROUNDS = 8
# Sales on a day recorded as having had no stock happened in some hours: without a floor one such day would say that the
# rate is unbounded.
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Demand:
    """Recovered demand of N series over T days.

    `expected`: [N, T] expected demand, NaN where nothing was observed, equal to sales on days fully in stock.
    `spread`: [N, T] standard deviation of the part that was not seen, 0 on days fully in stock.
    `rest`: [N, T] shape of the Gamma distribution of the unseen part, 0 where there is none.
    `unit`, `shape`: the dispersion of (1) and (2), pooled over the series.
    """

    expected: np.ndarray
    spread: np.ndarray
    unit: float
    shape: float

    def draw(self, sales: np.ndarray, seed: int) -> np.ndarray:
        """One random completion [N, T] of the censored days, for learning quantiles: expectations alone are too narrow."""
        unseen = self.expected - sales
        censored = self.spread > 0
        drawn = self.expected.copy()
        mean, spread = unseen[censored], self.spread[censored]
        shape = np.maximum(mean / np.maximum(spread, 1e-12), 1e-3) ** 2
        rng = np.random.default_rng(seed)
        drawn[censored] = sales[censored] + rng.standard_gamma(shape) * mean / shape
        return drawn


def recover_demand(
    sales: np.ndarray, share: np.ndarray | None = None, dispersion: tuple[float, float] | None = None
) -> Demand:
    """Recover demand from daily `sales` [N, T] (NaN: not observed) and the in-stock `share` [N, T] of each day (0..1).

    A day without stock and without sales says nothing: it gets the series' rate for that weekday. Days that are not
    fully in stock keep at least what was sold. Without `share`, demand is sales. `dispersion` (unit, shape) is estimated
    unless it is given, as it is when a trained model predicts.
    """
    sales = np.asarray(sales, dtype=np.float32)
    seen = np.isfinite(sales)
    if share is None or sales.size == 0 or not (seen & (share < _FULL)).any():
        return Demand(sales.copy(), np.zeros_like(sales), 1.0, np.inf)
    share = np.where(seen, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0), 0.0).astype(np.float32)
    sold = np.where(seen, sales, 0.0)
    exposure = np.where(sold > 0, np.maximum(share, _LEAST_SHARE), share)
    start = sold.sum(1) / np.maximum(exposure.sum(1), 1e-6)
    mean = np.repeat(start[:, None], sales.shape[1], axis=1).astype(np.float32)
    unit, shape = dispersion or _dispersion(sold, mean, exposure)
    for turn in range(_ROUNDS):
        rate = mean * (shape + sold / unit) / (shape + np.maximum(mean * exposure, 1e-9) / unit)
        mean = _weekday_mean(rate, seen)
        if dispersion is None and turn % 3 == 1:
            unit, shape = _dispersion(sold, mean, exposure)
    weight = shape + np.maximum(mean * exposure, 1e-9) / unit
    rate = mean * (shape + sold / unit) / weight
    unseen = (1 - share) * rate
    # Gamma uncertainty of the rate plus Poisson noise of what would still have come.
    spread = np.sqrt(unit * unseen + unseen**2 / np.maximum(shape + sold / unit, 1e-6))
    censored = seen & (share < _FULL)
    expected = np.where(seen, np.where(censored, sold + unseen, sold), np.nan).astype(np.float32)
    return Demand(expected, np.where(censored, spread, 0.0).astype(np.float32), float(unit), float(shape))


def _weekday_mean(rate: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Expected rate [N, T]: a slowly moving level (28 days on either side) times a weekday profile shrunk to the pool's."""
    series, days = rate.shape
    weekday = np.arange(days) % 7
    value = np.where(seen, rate, 0.0)
    level = _moving_mean(value, seen, 28)
    ratio_top = np.zeros((series, 7), np.float32)
    ratio_low = np.zeros((series, 7), np.float32)
    for day in range(7):
        at = weekday == day
        ratio_top[:, day] = value[:, at].sum(1)
        ratio_low[:, day] = (level[:, at] * seen[:, at]).sum(1)
    pooled = (ratio_top.sum(0) + 1e-6) / (ratio_low.sum(0) + 1e-6)
    prior = 4 * np.maximum(ratio_low.sum(1, keepdims=True) / max(days, 1), 1e-6)
    profile = (ratio_top + prior * pooled) / (ratio_low + prior)
    return np.maximum(level * profile[:, weekday], 1e-6).astype(np.float32)


def _moving_mean(value: np.ndarray, seen: np.ndarray, half: int) -> np.ndarray:
    """Centred moving mean [N, T] over the observed days, drawn a little towards the mean of the whole series."""
    days = value.shape[1]
    low = np.maximum(np.arange(days) - half, 0)
    high = np.minimum(np.arange(days) + half + 1, days)
    totals = np.pad(np.cumsum(value, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    counts = np.pad(np.cumsum(seen, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    overall = totals[:, -1:] / np.maximum(counts[:, -1:], 1)
    top = totals[:, high] - totals[:, low] + 7 * overall
    return (top / (counts[:, high] - counts[:, low] + 7)).astype(np.float32)


def _dispersion(sold: np.ndarray, mean: np.ndarray, exposure: np.ndarray) -> tuple[float, float]:
    """`unit` and `shape` of (1) and (2), pooled over the series.

    `unit` is the slope of Var(sales) = unit * mean + mean^2 / shape on 1 / mean (squared relative errors, winsorised so
    that one spike does not decide what all series look like), over all days: fully stocked days alone are the calm ones.
    `shape` then maximises the likelihood of (1) and (2), from which the stopping rule has dropped out.
    """
    mean_sold = np.where(exposure > 0, mean * exposure, 0.0)
    days = (exposure > 0).sum(1)
    centre = mean_sold.sum(1) / np.maximum(exposure.sum(1), 1e-6)
    use = (days >= 5) & (centre > 1e-4)
    if not use.any():
        return 1.0, 5.0
    sold, mean_sold, days, centre = sold[use], mean_sold[use], days[use], centre[use]
    relative = np.clip((sold - mean_sold) / centre[:, None], -5, 5)
    squared = (relative**2).sum(1) / days
    x, w = 1 / np.maximum(centre, np.quantile(centre, 0.05)), np.minimum(centre, np.quantile(centre, 0.95))
    x_mean, y_mean = np.average(x, weights=w), np.average(squared, weights=w)
    varied = np.average((x - x_mean) ** 2, weights=w)
    slope = np.average((x - x_mean) * (squared - y_mean), weights=w) / varied if varied > 1e-9 else 0.0
    smallest = float(np.quantile(sold[sold > 0], 0.05)) if (sold > 0).any() else 1.0
    unit = max(min(slope, 0.95 * y_mean / x_mean), smallest)  # nobody buys less than the smallest usual sale
    take = np.random.default_rng(0).permutation(sold.size)[:20_000]
    count, rate = sold.ravel()[take] / unit, mean_sold.ravel()[take] / unit
    count, rate = count[rate > 0], rate[rate > 0]
    shapes = np.geomspace(0.2, 100, 40)
    likelihood = [
        float(np.mean(gammaln(k + count) - gammaln(k) + k * np.log(k) - (k + count) * np.log(k + rate))) for k in shapes
    ]
    return max(unit, 1e-6), float(shapes[int(np.argmax(likelihood))])
