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

    @property
    def dispersion(self) -> tuple[float, float]:
        return self.unit, self.shape

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
    exposure = exposed(sales, share)
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


def exposed(sales: np.ndarray, share: np.ndarray | None) -> np.ndarray:
    """The part [N, T] of each day's demand that could be seen: 0 where nothing was observed, 1 without a `share`.

    What sold is compared with a forecast times this. For any rule by which shelves run dry that looks only at past sales,
    the difference has mean zero when the forecast is right (optional stopping), so models learn from it directly.
    """
    seen = np.isfinite(sales)
    if share is None:
        return seen.astype(np.float32)
    part = np.where(seen, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0), 0.0).astype(np.float32)
    return np.where(np.nan_to_num(sales) > 0, np.maximum(part, np.float32(_LEAST_SHARE)), part)


def evidence(exposure: np.ndarray, level: np.ndarray, dispersion: tuple[float, float]) -> np.ndarray:
    """What a day tells about its rate, against a day fully in stock: `exposure` where sales are Poisson, more where rates vary.

    The inverse variance of sales / exposure under (1) and (2), unit * level / exposure + level^2 / shape, relative to that
    of exposure 1: where days differ much, a day that ran out at noon says nearly as much as another, and giving it half
    the weight would lean on the calm days that stayed in stock.
    """
    unit, shape = dispersion
    varied = level / (unit * shape)
    return exposure * (1 + varied) / (1 + varied * exposure)


def share_by_hours(sold: np.ndarray, out: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The demand-weighted in-stock share [n] of n days whose hours are known.

    `sold` [n, H] quantities by hour, `out` [n, H] whether the shelf was empty at some time of the hour, `series` [n] the
    number of the product and location. An hour counts what it usually sells, not sixtieths: being out from eight to ten
    in the evening is not two hours out of sixteen. The profile over the day comes from hours fully in stock, each series
    set against its own level there; the hour in which the shelf ran dry counts the part that such hours sold on average.
    """
    sold, out = np.nan_to_num(np.asarray(sold, np.float64)), np.asarray(out, bool)
    if not sold.sum() > 0:
        return 1 - out.mean(axis=1)
    count = int(series.max()) + 1
    within = np.where(out, 0.0, sold)
    profile = sold.sum(0) / sold.sum()
    for _ in range(_ROUNDS):
        seen = np.bincount(series, (~out) @ profile, count)
        level = np.bincount(series, within.sum(1), count) / np.maximum(seen, 1e-9)
        expected = ((~out) * level[series][:, None]).sum(0)
        profile = np.where(expected > 0, within.sum(0) / np.maximum(expected, 1e-9), 0.0)
        profile /= max(profile.sum(), 1e-12)
    ran_dry = out.copy()
    ran_dry[:, 1:] &= ~out[:, :-1] | (sold[:, 1:] > 0)
    ran_dry[:, 0] &= sold[:, 0] > 0
    expected = float((ran_dry * profile * level[series][:, None]).sum())
    part = min(float(np.where(out, sold, 0.0).sum()) / expected, 1.0) if expected > 0 else 0.0
    return np.minimum((~out) @ profile + part * (ran_dry @ profile), 1.0)


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
    smallest = _smallest(sold[use] if use.any() else sold)
    if not use.any():
        return smallest, 5.0
    sold, mean_sold, days, centre = sold[use], mean_sold[use], days[use], centre[use]
    relative = np.clip((sold - mean_sold) / centre[:, None], -5, 5)
    squared = (relative**2).sum(1) / days
    x, w = 1 / np.maximum(centre, np.quantile(centre, 0.05)), np.minimum(centre, np.quantile(centre, 0.95))
    x_mean, y_mean = np.average(x, weights=w), np.average(squared, weights=w)
    varied = np.average((x - x_mean) ** 2, weights=w)
    slope = np.average((x - x_mean) * (squared - y_mean), weights=w) / varied if varied > 1e-9 * x_mean**2 else 0.0
    unit = max(min(slope, 0.95 * y_mean / x_mean), smallest)
    take = np.random.default_rng(0).permutation(sold.size)[:20_000]
    count, rate = sold.ravel()[take] / unit, mean_sold.ravel()[take] / unit
    count, rate = count[rate > 0], rate[rate > 0]
    shapes = np.geomspace(0.2, 100, 40)
    likelihood = [
        float(np.mean(gammaln(k + count) - gammaln(k) + k * np.log(k) - (k + count) * np.log(k + rate))) for k in shapes
    ]
    return max(unit, 1e-6), float(shapes[int(np.argmax(likelihood))])


def _smallest(sold: np.ndarray) -> float:
    """The smallest usual sale, below which no purchase can be, whatever the quantities are counted in."""
    return float(np.quantile(sold[sold > 0], 0.05)) if (sold > 0).any() else 1.0
