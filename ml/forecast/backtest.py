"""All models at the held-out origins, by the rules by which they forecast.

Belongs here: what each model says of the days after an origin, and collecting it for `ml.forecast.heldout`. Does not belong
here: what is learned from it, training, the forecast frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ml.demand import Demand, exposed, recover_demand
from ml.forecast import distribution, newcomers, segments, statistical
from ml.forecast.distribution import Spread
from ml.forecast.features import FeatureBuilder
from ml.forecast.heldout import BASELINE, LEARNED, HeldOut
from ml.forecast.launch import LAUNCH, OTHER_ORDER, Similar, study
from ml.forecast.panel import Panel

_FACTOR_DAYS = 56
# A forecast this many times above the highest day on record is a fault of a model, not demand.
_MEAN_LIMIT = 2.0


def as_of(panel: Panel, origin: int, dispersion: tuple[float, float] | None = None) -> tuple[Panel, Demand]:
    """The panel and its recovered demand as they were after `origin` days; `dispersion` is found there unless it is given."""
    known = panel.known.shape[2]
    before = panel.until(origin, known - origin)
    return before, recover_demand(before.sales, before.share, dispersion)


def means_at(
    panel: Panel,
    demand: Demand,
    origin: int,
    horizon: int,
    trees,
    network,
    names: tuple[str, ...],
    needed: Iterable[str],
    similar: Similar | None = None,
) -> np.ndarray:
    """What each model says: [M, N, H], never negative nor NaN; 0 for models that are not needed."""
    means = np.zeros((len(names), len(panel.keys), horizon), np.float32)
    level = statistical.moving_average(demand.expected, horizon)
    if set(needed) & set(LEARNED) & set(names):
        block = FeatureBuilder(panel, demand.expected).block(origin, horizon)
    for number, name in enumerate(names):
        if name not in needed:
            continue
        if name == "xgboost":
            means[number] = trees.predict(block)
        elif name == "lstm":
            means[number] = network.predict(panel, demand.expected, origin, block)
        elif name == LAUNCH:
            if similar is not None:
                means[number] = similar.forecast(np.arange(len(panel.keys)), horizon)[0]
        else:
            # The baseline is what people do without recovering anything.
            past = panel.sales if name == BASELINE else demand.expected
            means[number] = statistical.METHODS[name](past[:, :origin], horizon)
        means[number] = np.where(np.isfinite(means[number]), np.maximum(means[number], 0), level)
    of_own, of_similar = highest_means(panel, demand)
    limit = np.where(np.array([name == LAUNCH for name in names])[:, None], of_similar, of_own)
    return np.minimum(means, limit[:, :, None])


def highest_means(panel: Panel, demand: Demand) -> tuple[np.ndarray, np.ndarray]:
    """The most [N] that a model of a series' own days may say of a day, and that similar products may: what these sell is
    known apart from a series' own few days, but for the order of magnitude, if it sold at all."""
    demanded = np.nan_to_num(demand.expected).max(axis=1, initial=0)
    return _MEAN_LIMIT * demanded, np.where(_on_shelf(panel) & (demanded > 0), OTHER_ORDER * demanded, np.inf)


def _on_shelf(panel: Panel) -> np.ndarray:
    """Series [N] that have been in stock for half a day in all: less says nothing of their order of magnitude."""
    return exposed(panel.sales, panel.share).sum(1) >= 0.5


def spread_factor(
    expected: np.ndarray, spread: Spread, kind: np.ndarray, horizon: int, similar: Similar | None
) -> np.ndarray:
    """Factor [N, horizon] on the variance that `spread` gives: of the series' own, by its `expected` demand [N, T], or of what
    is not known of a short one."""
    own = _own_ratio(expected, spread)
    factor = own * distribution.level_doubt(expected[:, -_FACTOR_DAYS:])
    factor = np.repeat(factor[:, None], horizon, axis=1)
    short = np.flatnonzero(kind == segments.SHORT)
    if similar is not None and len(short):
        mean, squared = similar.forecast(short, horizon)
        factor[short] = newcomers.widened(squared, mean, spread, own[short, None])
    return factor


def _own_ratio(expected: np.ndarray, spread: Spread) -> np.ndarray:
    """The variance [N] of each series around its weekday profile against what `spread` expects."""
    recent = expected[:, -_FACTOR_DAYS:]
    position = (np.arange(recent.shape[1]) - recent.shape[1]) % 7
    fitted = statistical.weekday_profile(expected, 7)[:, position]
    return distribution.own_ratio(recent, fitted, spread)


@dataclass(frozen=True)
class _AtOrigin:
    """What was known after `origin` days, `expected` demand [N, origin] and the class `kind` [N] of the series among it, and the
    R days after it that are judged, by `series` and `lead` [R], with what the models said of them, `means` [M, R]."""

    origin: int
    before: Panel
    expected: np.ndarray
    similar: Similar
    kind: np.ndarray
    series: np.ndarray
    lead: np.ndarray
    means: np.ndarray

    def of(self, table: np.ndarray) -> np.ndarray:
        """The judged days [R] of a `table` [N, T]."""
        return table[self.series, self.origin + self.lead]


def hold_out(
    panel: Panel, recovered: Demand, found, ahead, dispersion, config, trees, network, names, seed
) -> tuple[HeldOut, Spread, list[newcomers.Pretended]]:
    """All models' forecasts at the held-out origins, beside what happened; the spread of the weekday profile; and the same
    for series taken for new."""
    drawn_demand = recovered.draw(panel.sales, seed)
    share = exposed(panel.sales, panel.share)
    parts = []
    for origin in found:
        before, demand = as_of(panel, origin, dispersion)
        similar = study(before, demand.asked)
        means = means_at(before, demand, origin, ahead, trees, network, names, names, similar)
        # A series that has not begun has nothing to be judged by.
        series, lead = np.nonzero(panel.seen[:, origin : origin + ahead] & (panel.first < origin)[:, None])
        # After fewer days than learned models ask for, they are judged by the series that have all of these.
        kind = segments.demand_class(demand.expected, min(config.min_days, origin))
        parts.append(_AtOrigin(origin, before, demand.expected, similar, kind, series, lead, means[:, series, lead]))

    def together(of) -> np.ndarray:
        return np.concatenate([of(part) for part in parts], axis=-1)

    means, drawn = together(lambda part: part.means), together(lambda part: part.of(drawn_demand))
    base = distribution.fit_spread(drawn, means[names.index("weekday_profile")])
    pretended = [
        newcomers.pretend(
            part.before, part.similar, partial(_simple, names=names, spread=base), dispersion, names,
            tuple(
                table[:, part.origin : part.origin + ahead]
                for table in (panel.sales, recovered.asked, drawn_demand, share)
            ),
            base, seed,
        )
        for part in parts
    ]  # fmt: skip
    lead, series = together(lambda part: part.lead), together(lambda part: part.series)
    held = HeldOut(
        means=means,
        sales=together(lambda part: part.of(panel.sales)),
        asked=together(lambda part: part.of(recovered.asked)),
        drawn=drawn,
        share=together(lambda part: part.of(share)),
        origin=together(lambda part: np.full(len(part.series), part.origin)),
        series=series,
        lead=lead,
        kind=together(lambda part: part.kind[part.series]),
        week=segments.horizon_week(int(lead.max(initial=0)) + 1)[lead],
        whole=together(lambda part: part.before.whole[part.series]),
        factor=together(
            lambda part: spread_factor(part.expected, base, part.kind, ahead, part.similar)[part.series, part.lead]
        ),
        size=together(lambda part: distribution.selling_day(part.expected)[part.series]),
    )
    return held, base, pretended


def _simple(panel: Panel, demand: Demand, told: np.ndarray, names: tuple[str, ...], spread: Spread):
    """What the models that need no training say, [M, N, H], 0 for the learned ones, and `told` [N, H] by similar products, as
    far as it may be believed; and the series' own variance [N] against `spread`."""
    means = means_at(panel, demand, panel.days, told.shape[1], None, None, names, statistical.METHODS)
    means[names.index(LAUNCH)] = np.minimum(told, highest_means(panel, demand)[1][:, None])
    return means, _own_ratio(demand.expected, spread)
