"""The level that all series share, and how far its past drifts may teach where it goes next.

Belongs here: the common drift and its damping. Does not belong here: what any single series does.

Between an origin and the days after it, all series together rise or fall with weather, season and holidays. A short history
has seen that a few times only, and in one direction: a model that learns from it forecasts that the spring goes on. With
`n` stretches of the horizon's length in the history, the drift `c_t` of each origin is taken out of what a model learns by
its power `d`, and the drift up to now, `g` (the last fortnight against the level), is put in its place:

    target / c_t^d,   forecast * g^d,   d = 3 / (3 + n)                                                                (1)

so that a model that has seen little forecasts the level that is, and one that has seen years what they taught it.
"""

from __future__ import annotations

import numpy as np

RECENT = 14
_STRETCHES = 3.0
_LEAST, _MOST = 0.2, 5.0


def damping(days: int, horizon: int) -> float:
    """`d` of (1), of a history of `days`."""
    return _STRETCHES / (_STRETCHES + max(days - 28, 0) / max(horizon, 7))


def stretch(origin: int, horizon: int, days: int) -> slice:
    """The days after `origin` that its drift is measured on: whole weeks, the last ones where none has passed since."""
    weeks = 7 * max(min(horizon, days - origin) // 7, 1)
    start = max(min(origin, days - weeks), 0)
    return slice(start, start + weeks)


def common_drift(asked: np.ndarray, exposure: np.ndarray, level: np.ndarray) -> float:
    """`c_t`: what was asked for of all series, `asked` [N, H], against their `level` [N] over the part `exposure` [N, H] of the days."""
    return _ratio(float(asked.sum()), float((exposure * level[:, None]).sum()))


def drift_so_far(total: np.ndarray, seen: np.ndarray, level: np.ndarray) -> float:
    """`g`: demand `total` [N] of the last `RECENT` days, of which `seen` [N] were observed, against the `level` [N]."""
    return _ratio(float(total.sum()), float((seen * level).sum()))


def _ratio(actual: float, expected: float) -> float:
    return float(np.clip(actual / expected, _LEAST, _MOST)) if actual > 0 and expected > 0 else 1.0
