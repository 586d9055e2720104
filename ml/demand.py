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

What stops, though, is not what was sold but what was asked for: who wants four and gets the last two has emptied the shelf,
and the sale says nothing of the other two. By how much a sum of lines Q passes a level that it reaches is, whatever the level
beyond the first few lines, the stationary excess of renewal theory (Feller, An Introduction to Probability Theory, vol. II,
section XI.4); lines and levels that are multiples of a `step` (1 where whole pieces are sold, near 0 for weights) count from
the step. As purchases of (2) that differ in size have unit = E[Q^2] / E[Q],

    E[rest] = (E[Q^2] / E[Q] - step) / 2 = (unit - step) / 2,   asked_t = sales_t + E[rest] where the shelf ran dry   (5)

which is 0 for lines of one step each, and exact at any level for geometric sizes. `asked_t` takes the place of `sales_t` in
(2) to (4). A day that ran out is taken to have done so by a sale if anything was sold on it.

`mu` of a day, its level and weekday, is where the score of (2) is zero over the other days around it. With asked_t and mu_t
in units, n_t and r_t = mu_t * share_t, the variance that (3) leaves and what it explains make up that of g:

    E[((n_t - r_t)^2 + n_t - 2 r_t - r_t^2 / k) / (k + r_t)^2] = 0                                                     (6)

for any stopping rule, of which both dispersion parameters are found over all series at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FULL = 0.999
_ROUNDS = 6
# Rounds after which the dispersion is estimated: the last one leaves it, so that rates belong to it.
_ESTIMATED = range(5)
# Sales on a day recorded as having had no stock happened in some hours: without a floor one such day would say that the
# rate is unbounded.
_LEAST_SHARE = 0.05
_STEP_DAYS = 364
# Series-days that the dispersion is estimated on.
_CELLS = 2_000_000
_WILDEST, _CALMEST = 0.2, 100.0
# A rate is no less than this part of a step, for weekdays are told by what was expected, which must not be 0.
_LEAST_RATE = np.float32(1e-6)
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Demand:
    """Recovered demand of N series over T days.

    `expected`: [N, T] expected demand, NaN where nothing was observed, equal to sales on days fully in stock.
    `spread`: [N, T] standard deviation of the part that was not seen, 0 on days fully in stock.
    `asked`: [N, T] what was asked for while there was stock: sales and, on days that ran dry, (5). NaN as `expected`.
    `unit`, `shape`: the dispersion of (1) and (2), pooled over the series.
    """

    expected: np.ndarray
    spread: np.ndarray
    asked: np.ndarray
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
        shape = np.maximum(mean / spread, 1e-3) ** 2
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
        return Demand(sales.copy(), np.zeros_like(sales), sales.copy(), 1.0, np.inf)
    share = np.where(seen, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0), 0.0).astype(np.float32)
    sold = np.where(seen, sales, np.float32(0))
    censored = seen & (share < _FULL)
    ran_dry = censored & (sold > 0)
    exposure = exposed(sales, share)
    step = _step(sold)
    least = _LEAST_RATE * step[:, None]
    if dispersion and not np.isfinite(dispersion[1]):
        # Found where nothing had ever run dry.
        dispersion = None
    # Before the first round: one rate for each series, purchases of one step.
    unit, shape = dispersion or (float(np.median(step)), 5.0)
    rest = _rest(sold, unit, step)
    asked = sold + ran_dry * rest[:, None]
    mean = np.repeat(_ratio(sold.sum(1), exposure.sum(1))[:, None], sales.shape[1], axis=1)
    profile = np.ones((len(sales), 7), np.float32)
    # No rate is above the one that the highest day alone shows.
    highest = np.divide(asked, exposure, out=np.zeros_like(asked), where=asked > 0).max(1, keepdims=True)
    for turn in range(_ROUNDS):
        mean, profile = _weekday_mean(asked, exposure, mean, profile, (unit, shape), least)
        mean = np.maximum(np.minimum(mean, highest), least)
        if dispersion is None and turn in _ESTIMATED:
            found, shape_found = _dispersion(asked, mean, exposure, step, rest, (unit, shape))
            # Half the way: of a few days rates and dispersion may swing each other up.
            unit, shape = found, float(np.sqrt(shape * shape_found))
            rest = _rest(sold, unit, step)
            asked = sold + ran_dry * rest[:, None]
    weight = shape + mean * exposure / unit
    rate = mean * (shape + asked / unit) / weight
    unseen = (1 - share) * rate
    # Gamma uncertainty of the rate, Poisson noise of what would still have come, and the rest.
    variance = unit * unseen + unseen**2 / (shape + asked / unit)
    variance += ran_dry * _rest_variance(rest, step)[:, None]
    expected = np.where(seen, np.where(censored, asked + unseen, sold), np.nan).astype(np.float32)
    spread = np.where(censored, np.sqrt(variance), 0.0).astype(np.float32)
    return Demand(expected, spread, np.where(seen, asked, np.nan).astype(np.float32), float(unit), float(shape))


def exposed(sales: np.ndarray, share: np.ndarray | None) -> np.ndarray:
    """The part [N, T] of each day's demand that could be seen: 0 where nothing was observed, 1 without a `share`.

    What was asked for (`Demand.asked`) is compared with a forecast times this. For any rule by which shelves run dry that looks
    only at what was asked for before, the difference has mean zero when the forecast is right (optional stopping), so models
    learn from it directly.
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
    set against its own level there; the hour in which the shelf ran dry counts the part that such hours sold on average,
    which is 0 where an hour is called out only when it was so throughout. It counts half at most: of slow products what such
    an hour sold is far more than an hour's usual sales, for the sale is what it was chosen by.
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
        profile = np.where(expected > 0, within.sum(0) / np.maximum(expected, _TINY), 0.0)
        profile /= max(profile.sum(), 1e-12)
    ran_dry = out.copy()
    ran_dry[:, 1:] &= ~out[:, :-1] | (sold[:, 1:] > 0)
    ran_dry[:, 0] &= sold[:, 0] > 0
    expected = float((ran_dry * profile * level[series][:, None]).sum())
    part = min(float(np.where(out, sold, 0.0).sum()) / expected, 0.5) if expected > 0 else 0.0
    return np.minimum((~out) @ profile + part * (ran_dry @ profile), 1.0)


def usual_step(sales: np.ndarray) -> float:
    """What a purchase of most series of `sales` [N, T] (NaN: not observed) is a multiple of; see `_step`."""
    return float(np.median(_step(np.nan_to_num(sales)))) if sales.size else 1.0


def _weekday_mean(
    asked: np.ndarray,
    exposure: np.ndarray,
    mean: np.ndarray,
    profile: np.ndarray,
    dispersion: tuple[float, float],
    least: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The next estimate of the expected rate [N, T] and its weekday profile [N, 7]: a slowly moving level (28 days on either
    side) times a profile shrunk to the pool's.

    Each is a sum of `asked` over one of what was expected, days weighed by `evidence`, which makes the score of (2) zero. `least` [N, 1]
    is a rate of next to nothing.
    """
    unit, shape = dispersion
    days = asked.shape[1]
    weekday = np.arange(days) % 7
    varied = mean / np.float32(unit * shape)
    weight = (1 + varied) / (1 + varied * exposure)
    top, low = weight * asked, weight * exposure
    level = _moving_ratio(top, low * profile[:, weekday], 28)
    low *= level
    tops, lows = (np.stack([part[:, day::7].sum(1) for day in range(7)], axis=1) for part in (top, low))
    pooled = (tops.sum(0) + least.mean()) / (lows.sum(0) + least.mean())
    prior = 4 * np.maximum(lows.sum(1, keepdims=True) / max(days, 1), least)
    profile = (tops + prior * pooled) / (lows + prior)
    level *= profile[:, weekday]
    return level, profile


def _moving_ratio(top: np.ndarray, low: np.ndarray, half: int) -> np.ndarray:
    """Moving sums [N, T] of `top` over those of `low` on either side of each day, drawn by seven days towards the ratio of the
    whole series. The day itself is left out: (3) adds what it says, which would otherwise count twice."""
    days = top.shape[1]
    start = np.maximum(np.arange(days) - half, 0)
    end = np.minimum(np.arange(days) + half + 1, days)
    tops, lows = (np.pad(np.cumsum(part, axis=1, dtype=np.float64), ((0, 0), (1, 0))) for part in (top, low))
    overall = _ratio(tops[:, -1:], lows[:, -1:])
    around, expected = tops[:, end] - tops[:, start] - top, lows[:, end] - lows[:, start] - low
    # What is left of a sum without its only day may be below 0 by rounding.
    ratio = (np.maximum(around, 0) + 7 * overall) / (np.maximum(expected, 0) + 7)
    return ratio.astype(np.float32)


def _ratio(top: np.ndarray, low: np.ndarray) -> np.ndarray:
    return top / np.maximum(low, 1e-6)


def _dispersion(
    asked: np.ndarray,
    mean: np.ndarray,
    exposure: np.ndarray,
    step: np.ndarray,
    rest: np.ndarray,
    before: tuple[float, float],
) -> tuple[float, float]:
    """`unit` and `shape` of (1) and (2), pooled over the series; `before` is the estimate that days are weighed by.

    By (6) a series' squared errors over its expected sales, ratio = unit + level / shape: `unit` is where that line meets a
    level of 0. Errors are winsorised at some usual selling days, so that one spike does not decide what all series look
    like, while the few sales of a slow product, each many times its mean, count in full. Series count by what they have
    been out of stock: it is their demand that is recovered. `shape` then solves (6).
    """
    some = np.sort(np.random.default_rng(0).permutation(len(asked))[: max(_CELLS // asked.shape[1], 1)])
    asked, exposure, step = asked[some], exposure[some], step[some]
    unknown = _rest_variance(rest[some], step)[:, None] * ((asked > 0) & (exposure < _FULL))
    mean = np.where(exposure > 0, mean[some], 0)
    told = mean * exposure
    unit, shape = before
    weight = 1 / (1 + told / (unit * shape)) ** 2
    selling = asked.sum(1) / np.maximum((asked > 0).sum(1), 1)
    asked = np.minimum(asked, told + 5 * selling[:, None])
    total = (weight * (2 * told - asked)).sum(1)
    days, short = (exposure > 0).sum(1), (mean - told).sum(1) / np.maximum(mean.sum(1), _TINY)
    use = (days >= 5) & (selling > 0) & (total > 1e-4 * days * step) & (short > 0)
    if not use.any():
        return float(np.median(step)), before[1]
    error = (asked - told) ** 2 + unknown
    ratio = (weight * error).sum(1)[use] / total[use]
    level = (weight * told**2).sum(1)[use] / total[use]
    counts = (days * short)[use] / (level + np.quantile(level, 0.05))
    level_mean, ratio_mean = np.average(level, weights=counts), np.average(ratio, weights=counts)
    varied = np.average((level - level_mean) ** 2, weights=counts)
    slope = np.average((level - level_mean) * (ratio - ratio_mean), weights=counts)
    slope = slope / varied if varied > 1e-9 * level_mean**2 else ratio_mean / level_mean
    # No purchase is smaller than a step, and rates always vary a little.
    unit = max(min(ratio_mean - slope * level_mean, 0.95 * ratio_mean), float(np.median(step[use])))
    count, rate = asked[use] / unit, told[use] / unit
    part, squared, excess = short[use, None] * mean[use], rate**2, error[use] / unit**2 + count - 2 * rate
    for _ in range(_ROUNDS):
        weight = part / (shape + rate) ** 2
        calm, varied = float((weight * squared).sum()), float((weight * excess).sum())
        shape = min(max(calm / varied, _WILDEST), _CALMEST) if varied > 0 else _CALMEST
    return unit, shape


def _rest(sold: np.ndarray, unit: float, step: np.ndarray) -> np.ndarray:
    """The expected rest [N] of (5). `unit` is of all series: where one sells less a day than that, its lines are smaller."""
    largest = np.einsum("nt,nt->n", sold, sold) / np.maximum(sold.sum(1), _TINY)
    return (np.maximum(np.minimum(unit, largest) - step, 0) / 2).astype(np.float32)


def _rest_variance(rest: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Of rests [N] with these means, as sizes that are geometric in steps leave them."""
    return rest * (rest + step)


def _step(sold: np.ndarray) -> np.ndarray:
    """What the purchases of each series are multiples of, [N]: how far apart the different quantities of its newest days
    usually lie, and no less than the smallest usual sale of all series, below which no purchase can be.

    The lower quartile of these gaps, so that neither a few odd quantities nor busy days without a neighbour decide.
    """
    ordered = np.sort(sold[:, -_STEP_DAYS:], axis=1)
    gaps = np.diff(ordered, axis=1, prepend=0)
    # Sums of decimals differ by rounding where they are the same.
    apart = gaps > 1e-5 * ordered[:, -1:]
    gaps = np.sort(np.where(apart, gaps, np.inf), axis=1)
    count = apart.sum(1)
    step = np.where(count > 0, gaps[np.arange(len(gaps)), np.maximum(count - 1, 0) // 4], 0.0)
    positive = ordered[ordered > 0]
    return np.maximum(step, np.quantile(positive, 0.05) if len(positive) else 1.0).astype(np.float32)
