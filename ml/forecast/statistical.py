"""Classical forecasts for all series at once: seasonal naive, moving average, weekday profile, TSB, Croston SBA and ETS.

Belongs here: methods with fixed parameters, and the list of all. Each takes demand [N, T] (NaN: not observed) and a horizon
and returns the mean [N, H]; they need no training, never fail and are what short series fall back to. Does not belong here:
fitting parameters to each series (`ml.forecast.smoothing`).

Sources: Teunter, Syntetos & Babai 2011 (TSB); Syntetos & Boylan 2005 (SBA); Hyndman & Athanasopoulos, Forecasting:
Principles and Practice, 3rd ed., chapters 5 and 8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml.forecast.smoothing import ets

Method = Callable[[np.ndarray, int], np.ndarray]
# What nothing was expected of sells as much: 0 / 0 is 1.
_TINY = float(np.finfo(np.float32).tiny)


def seasonal_naive(demand: np.ndarray, horizon: int) -> np.ndarray:
    """The last observed value of the same weekday, within eight weeks; else the recent mean."""
    week = _last_weeks(demand, 8)
    last = np.full((len(demand), 7), np.nan, np.float32)
    for values in np.moveaxis(week, 1, 0):
        last = np.where(np.isfinite(values), values, last)
    level = moving_average(demand, 7)
    return np.where(np.isfinite(last), last, level)[:, np.arange(horizon) % 7]


def moving_average(demand: np.ndarray, horizon: int, days: int = 28) -> np.ndarray:
    """The mean of the last `days` days, of the whole history where none of them was observed."""
    recent, seen = _sums(demand[:, -days:])
    total, count = _sums(demand)
    mean = np.where(seen > 0, recent / np.maximum(seen, 1), total / np.maximum(count, 1))
    return np.repeat(mean[:, None], horizon, axis=1).astype(np.float32)


def weekday_profile(demand: np.ndarray, horizon: int, smoothing: float = 0.1) -> np.ndarray:
    """Exponentially smoothed level times the weekday profile of the last eight weeks, shrunk to the pooled profile."""
    week = _last_weeks(demand, 8)
    seen = np.isfinite(week)
    sold = np.where(seen, week, 0.0)
    level = sold.sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1)
    expected = seen.sum(1) * level[:, None]
    pooled = (sold.sum((0, 1)) + _TINY) / (expected.sum(0) + _TINY)
    prior = 3 * level[:, None] + _TINY
    profile = (sold.sum(1) + prior * pooled) / (expected + prior)
    profile /= np.maximum(profile.mean(1, keepdims=True), 1e-9)
    usual = profile[:, (np.arange(demand.shape[1]) - demand.shape[1]) % 7]
    # Both smoothed before they are divided: the mean of their ratios would be low where some weekdays hardly sell.
    smooth = _smooth(demand, smoothing) / np.maximum(
        _smooth(np.where(np.isfinite(demand), usual, np.nan), smoothing), 1e-3
    )
    return (smooth[:, None] * profile[:, np.arange(horizon) % 7]).astype(np.float32)


def tsb(demand: np.ndarray, horizon: int, probability: float = 0.05, size: float = 0.1) -> np.ndarray:
    """Teunter-Syntetos-Babai: smoothed probability of a sale times its smoothed size; fades when a product stops."""
    sale = np.where(np.isfinite(demand), (demand > 0).astype(np.float32), np.nan)
    mean = _smooth(sale, probability) * _smooth(np.where(demand > 0, demand, np.nan), size)
    return np.repeat(mean[:, None], horizon, axis=1).astype(np.float32)


def croston_sba(demand: np.ndarray, horizon: int, smoothing: float = 0.1) -> np.ndarray:
    """Croston with the Syntetos-Boylan correction: smoothed size over smoothed interval, times 1 - smoothing / 2."""
    size = _smooth(np.where(demand > 0, demand, np.nan), smoothing)
    interval = np.full(len(demand), np.nan, np.float64)
    since = np.ones(len(demand))
    for column in demand.T:
        seen, sold = np.isfinite(column), np.nan_to_num(column) > 0
        interval = np.where(
            sold, np.where(np.isfinite(interval), interval + smoothing * (since - interval), since), interval
        )
        since = np.where(sold, 1.0, since + seen)
    mean = (1 - smoothing / 2) * size / np.maximum(np.nan_to_num(interval, nan=1.0), 1.0)
    return np.repeat(mean[:, None], horizon, axis=1).astype(np.float32)


METHODS: dict[str, Method] = {
    "seasonal_naive": seasonal_naive,
    "moving_average": moving_average,
    "weekday_profile": weekday_profile,
    "tsb": tsb,
    "croston_sba": croston_sba,
    "ets": ets,
}


def _last_weeks(demand: np.ndarray, weeks: int) -> np.ndarray:
    """[N, weeks, 7], the last column being the last day; a time before the history is NaN."""
    recent = demand[:, -7 * weeks :]
    short = 7 * weeks - recent.shape[1]
    return np.pad(recent, ((0, 0), (short, 0)), constant_values=np.nan).reshape(len(demand), weeks, 7)


def _sums(demand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen = np.isfinite(demand)
    return np.where(seen, demand, 0.0).sum(1), seen.sum(1)


def _smooth(values: np.ndarray, rate: float) -> np.ndarray:
    """Exponentially weighted mean [N] with the bias correction of a short history; 0 where nothing was observed.

    Older than the point where all weights together are below 1e-6 is not read.
    """
    reach = min(values.shape[1], int(np.ceil(np.log(1e-6) / np.log(1 - rate))))
    recent = values[:, values.shape[1] - reach :]
    seen = np.isfinite(recent)
    weight = (1 - rate) ** np.cumsum(seen[:, ::-1], axis=1)[:, ::-1] * seen
    total = weight.sum(1)
    return (np.where(seen, recent, 0.0) * weight).sum(1) / np.maximum(total, 1e-12)
