"""What the learned models learn from: windows of (series, origin) with features and targets, drawn once for all of them.

Belongs here: which windows and lead days are drawn, their targets and what each weighs. Does not belong here: what the
features are, the models.

The target is what was asked for while there was stock over that part of the day, relative to the series' level and to where all
series together went (`ml.forecast.drift`, equation 1). A day weighs what it tells of its rate (`ml.demand.evidence`), and
errors count in units: it also weighs what its series sells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.demand import evidence
from ml.forecast.config import BoostedConfig
from ml.forecast.drift import damping
from ml.forecast.features import FeatureBuilder

# What is learned of a single day, relative to the series' level, and what is ever said of one: further out lie the few days of
# slow products that would be learned by heart.
LARGEST = 20.0
# What such a day counts at most in the total that predictions are matched to. With all of it the mean is right over a history
# whose one bulk order comes again, and each week's total further off where it does not.
_COUNTED = 2 * LARGEST
# Variance power of the Tweedie deviance, the loss: in the middle between counts (1) and sizes (2). It suits non-negative
# demand with many zeros and estimates the mean.
POWER = 1.5
# Neighbouring lead days of one window say nearly the same: of a long horizon more windows teach more than more days.
_LEADS = 14


@dataclass(frozen=True)
class Sample:
    """W windows with L lead days each.

    `series`, `origin` [W]; `values` [W, L, F] features, named by `names`; `target` [W, L] relative to the level; `weight`
    [W, L], 0 where nothing was observed, else 1 on average; `damping`: the power of the common drift that was taken out.
    """

    series: np.ndarray
    origin: np.ndarray
    values: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    names: tuple[str, ...]
    damping: float


def draw_sample(
    builder: FeatureBuilder, config: BoostedConfig, horizon: int, seed: int, dispersion: tuple[float, float]
) -> Sample | None:
    """Windows whose lead days lie within the builder's panel, at most `config.rows` days; None where there is none.

    `dispersion` is what `ml.demand` found.
    """
    rng = np.random.default_rng(seed)
    until = builder.demand.shape[1]
    origins = _origins(until)
    wanted = max(config.rows_least, config.rows_per_series * len(builder.first))
    per_origin = max(1, min(config.rows, wanted) // max(len(origins), 1))
    damped = damping(until, horizon)
    leads = min(horizon, _LEADS)
    parts, names = [], ()
    for origin in origins:
        ahead = min(horizon, until - origin)
        alive = np.flatnonzero(builder.first <= origin - min(7, origin))
        count = max(1, per_origin // min(ahead, leads))
        rows = np.sort(rng.permutation(alive)[:count]) if len(alive) > count else alive
        if not len(rows):
            continue
        block = builder.block(origin, ahead, rows)
        names = block.names
        lead = np.broadcast_to(np.arange(ahead), (len(rows), ahead))
        if ahead > leads:
            lead = np.sort(rng.random((len(rows), ahead)).argsort(1)[:, :leads], axis=1)
        exposure = builder.exposure[rows[:, None], origin + lead] * (block.level > builder.least)[:, None]
        level = block.level[:, None] * builder.drift(origin, horizon) ** damped
        rate = builder.asked[rows[:, None], origin + lead] / np.where(exposure > 0, exposure * level, 1)
        weight = block.level[:, None] * evidence(exposure, block.level[:, None], dispersion)
        told = (block.values[np.arange(len(rows))[:, None], lead], rate, weight)
        short = ((0, 0), (0, leads - lead.shape[1]))
        parts.append((rows, np.full(len(rows), origin), *(_padded(values, short) for values in told), block.level))
    if not parts:
        return None
    series, origin, values, target, weight, level = (np.concatenate(column) for column in zip(*parts, strict=True))
    most = np.quantile(level, 0.995)
    weight *= (np.minimum(level, most) / level)[:, None]
    total = weight.sum()
    if total <= 0:
        return None
    weight *= np.count_nonzero(weight) / total
    return Sample(series, origin, values, target, weight, names, damped)


def matching(target: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """The factor after which predictions sum to their targets, both weighted.

    Learning in small steps from a skewed target, cut at its largest days, stops below its mean, the further the more of it a
    few days hold.
    """
    told, sold = float((weight * predicted).sum()), float((weight * np.minimum(target, _COUNTED)).sum())
    return float(np.clip(sold / told, 0.5, 2.0)) if told > 0 and sold > 0 else 1.0


def _padded(values: np.ndarray, short: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Windows that reach the end of the history have fewer lead days; what is missing weighs 0."""
    return np.pad(values, (*short, *[(0, 0)] * (values.ndim - 2))).astype(np.float32)


def _origins(until: int) -> list[int]:
    """Origins to learn from: the last ten weeks every second day, before that every week, never the first week."""
    earliest = 7 if until < 84 else 28
    recent = list(range(until - 1, max(until - 70, earliest) - 1, -2))
    older = list(range(recent[-1] - 7, earliest - 1, -7)) if recent and recent[-1] > earliest + 7 else []
    return sorted(recent + older)
