"""Exponential smoothing fitted to each series: level, damped trend or none, weekly season or none, for all series at once.

Belongs here: `ets`. Does not belong here: methods with fixed parameters (`ml.forecast.statistical`).

With the level l, the trend b and the factor s of the weekday, the forecast h days ahead and its update by the error are

    f(h) = (l + (d + ... + d^h) b) s     l' = l + d b + a/B' e     b' = d b + a c e     B' = B + a (s - B)         (1)

(Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing; Gardner & McKenzie 1985 for the damping d).
B is what a series' days so far weigh: dividing by it makes the level of a young series the weighted mean of its days and
lets a weekday on which little sells say little. A day that was not observed moves nothing but the trend's share of the
level. The season is smoothed as a ratio, which zeros do not upset, and drawn to that of all series, p, by k weeks of the
level:

    s = (D + k l p) / (E + k l)     D' = g D + y     E' = g E + l     of the same weekday                          (2)

Each series is run through every combination of a, trend and season. A combination that errs by the mean square v over n
days, each in units of the variance to be expected there, has the likelihood v^(-n/2). How often each combination is the
right one is learned from all series (expectation-maximisation of the mixture; Dempster, Laird & Rubin 1977), and that is
the prior of each: a long, clear series gets its own combination, a short or noisy one those that serve the others. The
forecast is the mean over the combinations by posterior weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMOOTHING = np.array([0.02, 0.05, 0.12, 0.3, 0.7], np.float32)
"""a of equation 1, in even ratios: the level is that of the last seven weeks, or of yesterday."""
_TRENDED = slice(1, 4)
"""Those with which a trend is tried too: with the first it would take a year to show, with the last it would be noise."""
_GAIN, _DAMPING = np.float32(0.1), np.float32(0.95)
PRIOR_WEEKS = (2.0, 20.0)
"""k of equation 2: a season of the series' own, and one that stays near that of all."""
_KEPT = np.float32(0.98)
# Judged are the errors of tomorrow, where most of the evidence is, and of so many days ahead (whole weeks), which level and
# trend must reach.
_AHEAD = 14
# Errors of neighbouring days hang together and a few are huge: they tell half of what so many independent normal ones would.
_EVIDENCE = 0.5
# In units of a series' mean: below it the variance of sales is not thought to fall.
_LEAST_VARIANCE = np.float32(0.1)
_LEAST_MASS = np.float32(0.3)
# Beyond a year the slowest combination has forgotten all but a thousandth.
_REACH = 364
_WARM_UP = 7
_FLAT_WEEKS = 3.0
_ROUNDS = 10
# Series at once: enough that numpy's calls do not count, few enough that they need some megabytes.
_AT_ONCE = 2048
_TINY = np.float32(1e-6)
_MIDDLE = 2
_LEVELS = len(SMOOTHING) + len(SMOOTHING[_TRENDED])


@dataclass
class _Run:
    """What n series came to, in units of their own mean: `error` [S, L, n] weighted mean squares over `days` [n],
    `level` [S, L, n], `trend` [S, trended, n] and `season` [7, S, n] of the days to come."""

    error: np.ndarray
    days: np.ndarray
    level: np.ndarray
    trend: np.ndarray
    season: np.ndarray


def ets(demand: np.ndarray, horizon: int) -> np.ndarray:
    """Exponential smoothing with parameters and form weighed for each series: the mean [N, horizon], never negative.

    `demand` [N, T], NaN where it was not observed, never negative; the newest year is read. A series of which nothing was
    observed is forecast to be 0.
    """
    recent = np.asarray(demand[:, max(demand.shape[1] - _REACH, 0) :], np.float32)
    seen = np.isfinite(recent)
    values = np.where(seen, recent, np.float32(0))
    usual = values.sum(1, dtype=np.float64) / np.maximum(seen.sum(1), 1)
    usual = usual.astype(np.float32)  # of next to nothing that is 0, too
    usual = np.where(usual > 0, usual, np.float32(1))
    values = np.ascontiguousarray((values / usual[:, None]).T)
    seen = np.ascontiguousarray(seen.T)
    pooled = _pooled_season(values, seen, np.sqrt(usual))
    parts = [slice(start, start + _AT_ONCE) for start in range(0, max(len(usual), 1), _AT_ONCE)]
    runs = [_smooth(values[:, part], seen[:, part], pooled) for part in parts]
    weights = _weigh(np.concatenate([run.error for run in runs], axis=2), np.concatenate([run.days for run in runs]))
    mean = [_forecast(run, weights[:, :, part], horizon) for run, part in zip(runs, parts, strict=True)]
    return np.concatenate(mean) * usual[:, None]


def _pooled_season(values: np.ndarray, seen: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Weekday factors of all series [T + 1, 7] as they were known before each day; weekday 0 is that of the day after the last.

    `values` and `seen` [T, N]; a series counts by the `root` [N] of what it sells, between as one and by units. One
    series alone is drawn to a flat week.
    """
    days = len(values)
    factors = np.ones((days + 1, 7), np.float32)
    sold, expected, rate = np.zeros(7), np.zeros(7), SMOOTHING[_MIDDLE]
    total, weight = np.zeros_like(root), np.zeros_like(root)
    for day in range(days):
        weekday, now = (day - days) % 7, seen[day]
        level = total / np.maximum(weight, _TINY)
        known = now & (weight > 0)
        factors[day + 1] = factors[day]
        if known.any():
            least = float(level[known] @ root[known])
            sold[weekday] = _KEPT * sold[weekday] + float(values[day][known] @ root[known])
            expected[weekday] = _KEPT * expected[weekday] + least
            flat = _FLAT_WEEKS * least / known.sum() + 1e-9
            factors[day + 1] = (sold + flat) / (expected + flat)
            factors[day + 1] /= factors[day + 1].mean()
        total += rate * now * (values[day] - total)
        weight += rate * now * (factors[day, weekday] - weight)
    return factors


def _smooth(values: np.ndarray, seen: np.ndarray, pooled: np.ndarray) -> _Run:
    """Every combination of `values` [T, n] day by day. The first season is none, the first levels are without trend."""
    days, series = values.shape
    seasons, plain = 1 + len(PRIOR_WEEKS), len(SMOOTHING)
    rate, prior = SMOOTHING[:, None], np.array(PRIOR_WEEKS, np.float32)[:, None]
    push = _GAIN * SMOOTHING[_TRENDED, None]
    level, error = np.zeros((2, seasons, _LEVELS, series), np.float32)
    trend = np.zeros((seasons, _LEVELS - plain, series), np.float32)
    mass = np.zeros((seasons, plain, series), np.float32)
    sold, expected = np.zeros((2, 7, seasons - 1, series), np.float32)
    factor = np.ones((seasons, 1, series), np.float32)
    squared, off, gain = np.empty_like(level), np.empty_like(level), np.empty_like(mass)
    judged, known = np.zeros((2, series), np.float32)
    ahead = np.zeros((_AHEAD, *level.shape), np.float32)
    ready = np.zeros((_AHEAD, series), bool)
    further = _damped(_AHEAD)[-1]

    def season(weekday: int, day: int) -> None:
        """Equation 2, into `factor`."""
        drawn = prior * (level[1:, _MIDDLE] + _TINY)
        factor[1:, 0] = (sold[weekday] + drawn * pooled[day, weekday]) / (expected[weekday] + drawn)

    def judge(which: np.ndarray, worth: np.ndarray) -> None:
        """Add the errors `off` of the series `which`, each day counting by its `worth`."""
        np.multiply(off, off, out=squared)
        np.multiply(squared, which * worth, out=squared)
        np.add(error, squared, out=error)
        np.add(judged, which, out=judged)

    for day in range(days):
        weekday, now, value, slot = (day - days) % 7, seen[day], values[day], day % _AHEAD
        every = bool(now.all())
        season(weekday, day)
        # The variance of sales grows with their mean: the closed weekday that was forecast to sell is an error, too.
        worth = 1 / (level[-1, _MIDDLE] * factor[-1, 0] + _LEAST_VARIANCE)
        if ready[slot].any():
            np.subtract(value, ahead[slot], out=off)
            judge(ready[slot] & now, worth)
        trend *= _DAMPING
        level[:, plain:] += trend
        np.maximum(level[:, plain:], 0, out=level[:, plain:])
        np.multiply(level, factor, out=off)
        np.subtract(value, off, out=off)
        if not every:
            off *= now
        # The first day makes the level: it is no step up from nothing, nor a weekday above the others.
        begun = known > 0
        step = off[:, plain:] if begun.all() else off[:, plain:] * begun
        which = now & (known >= _WARM_UP)
        if which.any():
            judge(which, worth)
        middle = level[1:, _MIDDLE]
        compared = now & begun
        sold[weekday] = np.where(compared, _KEPT * sold[weekday] + value, sold[weekday])
        expected[weekday] = np.where(compared, _KEPT * expected[weekday] + middle, expected[weekday])
        np.subtract(factor, mass, out=gain)
        gain *= rate if every else rate * now
        mass += gain
        # A first day on which little is expected must not speak for ten.
        np.maximum(mass, _LEAST_MASS * rate, out=gain)
        np.divide(rate, gain, out=gain)
        trend += push * step
        off[:, :plain] *= gain
        off[:, plain:] *= gain[:, _TRENDED]
        level += off
        np.maximum(level[:, plain:], 0, out=level[:, plain:])
        known += now
        # The same weekday in two weeks.
        season(weekday, day + 1)
        np.multiply(level, factor, out=ahead[slot])
        path = level[:, plain:] + further * trend
        np.multiply(np.maximum(path, 0, out=path), factor, out=ahead[slot][:, plain:])
        np.greater_equal(known, _WARM_UP, out=ready[slot])
    coming = np.empty((7, seasons, series), np.float32)
    for weekday in range(7):
        season(weekday, days)
        coming[weekday] = factor[:, 0]
    return _Run(error / np.maximum(judged, 1), judged / 2, level, trend, coming)


def _weigh(error: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Posterior weights [S, L, N] of the combinations, the prior being how often each is the right one among the series."""
    shape, combinations = error.shape, error.shape[0] * error.shape[1]
    logs = np.log(error.reshape(combinations, -1).astype(np.float64) + 1e-9)
    likelihood = -0.5 * _EVIDENCE * days * (logs - logs.min(0))
    prior = np.full(combinations, 1 / combinations)
    for _ in range(_ROUNDS):
        weights = likelihood + np.log(prior)[:, None]
        weights = np.exp(weights - weights.max(0))
        weights /= weights.sum(0)
        # As if one more series had been torn between all.
        prior = (weights.sum(1) + 1 / combinations) / (weights.shape[1] + 1)
    return weights.reshape(shape).astype(np.float32)


def _forecast(run: _Run, weights: np.ndarray, horizon: int) -> np.ndarray:
    """The weighted mean of the combinations [n, horizon], in units of each series' own mean."""
    level = (weights * run.level).sum(1)
    trend = (weights[:, len(SMOOTHING) :] * run.trend).sum(1)
    weekday, lead = np.arange(horizon) % 7, _damped(horizon)
    mean = np.zeros((level.shape[1], horizon), np.float32)
    for number in range(len(level)):
        path = level[number][:, None] + trend[number][:, None] * lead
        mean += np.maximum(path, 0) * run.season[weekday, number].T
    return mean


def _damped(horizon: int) -> np.ndarray:
    """d + ... + d^h for h = 1 to `horizon`."""
    return np.cumsum(_DAMPING ** np.arange(1, horizon + 1)).astype(np.float32)
