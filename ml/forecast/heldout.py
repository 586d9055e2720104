"""Rolling origins inside the history: what each model would have said, set beside what happened.

Belongs here: the held-out rows and what is learned from them (weights, spreads, calibrated levels, dependence, scores).
Does not belong here: the models themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.demand import usual_step
from ml.forecast import distribution, scoring
from ml.forecast.blend import Judged, earned_weights, even_weights
from ml.forecast.config import ForecastConfig
from ml.forecast.distribution import Spread
from ml.forecast.launch import LAUNCH
from ml.forecast.paths import STRETCHES, Dependence, fit_dependence
from ml.forecast.segments import CLASSES, SHORT

WEEKS = 4
# Calibration is apart for days on which a series is expected to sell little, as usual and much, for itself.
BANDS = 3
BASELINE = "seasonal_naive"
BLEND = "blend"
LEARNED = ("xgboost", "lstm")
USUAL_ORIGINS = 4
# Of a year and a half, at half a horizon of four weeks: more tell of days that are gone.
_MOST_ORIGINS = 12
_CALIBRATION_ROWS = 120_000
_SCORE_ROWS = 250_000
_FULL = 0.999
# How far the level of all series together moves between two fortnights, and how far a model errs for good.
_LEVEL_NOISE, _MODEL_BIAS = 0.05, 0.03
# Of that error, what is corrected: none of the baseline's, which stays what people know it as, and half of a learned
# model's, whose level belongs to the days it was trained on, for the one in use is trained on later days than the one
# judged here. Fixed rules err alike from origin to origin.
_LASTING = {BASELINE: 0.0, **dict.fromkeys(LEARNED, 0.5)}


@dataclass(frozen=True)
class HeldOut:
    """R held-out series-days with what M models said about them.

    `means` [M, R]; `sales` [R] as observed; `asked` [R] with the unfilled rest of what emptied the shelf (`ml.demand`); `drawn`
    [R] one random completion; `share` [R] of the day's demand that could be seen; `origin`, `series`, `lead`, `kind` (index into
    CLASSES), `week` [R]; `whole` [R]; `factor` [R] on the variance of the day; `size` [R] of the series' usual selling day, NaN
    where it has had none.
    """

    means: np.ndarray
    sales: np.ndarray
    asked: np.ndarray
    drawn: np.ndarray
    share: np.ndarray
    origin: np.ndarray
    series: np.ndarray
    lead: np.ndarray
    kind: np.ndarray
    week: np.ndarray
    whole: np.ndarray
    factor: np.ndarray
    size: np.ndarray

    def take(self, rows: np.ndarray) -> HeldOut:
        return HeldOut(
            self.means[:, rows], *(getattr(self, name)[rows] for name in list(self.__dataclass_fields__)[1:])
        )

    @property
    def rows(self) -> int:
        return len(self.sales)

    @property
    def stretch(self) -> np.ndarray:
        """A number [R], from 0 without a gap, for each series at each origin: days that hang together."""
        origin = np.unique(self.origin, return_inverse=True)[1]
        return np.unique(origin * (int(self.series.max(initial=0)) + 1) + self.series, return_inverse=True)[1]

    @property
    def series_week(self) -> np.ndarray:
        """A number [R] for each week ahead of each series at each origin."""
        week = self.lead // 7
        return self.stretch * (int(week.max(initial=0)) + 1) + week

    def some(self, stretches: int, seed: int) -> HeldOut:
        """The rows of at most so many stretches, drawn by chance: no week and no sum of days is torn."""
        stretch = self.stretch
        drawn = np.random.default_rng(seed).permutation(int(stretch.max(initial=-1)) + 1)[:stretches]
        return self.take(np.flatnonzero(np.isin(stretch, drawn)))


@dataclass
class Lessons:
    """What the held-out days teach, for each model (the blend last), demand class and horizon week.

    `correction` [M] multiplies each model's mean; `weights` [C, W, M]; `units`, `shapes` [M + 1, C, W]; `levels`
    [M + 1, C, B, len(LEVELS)] by band of the mean over the series' usual selling day, the bands parted at `edges`
    [M + 1, C, B - 1]; `chances` [M + 1, C, 3] of a sale (`distribution`, equation 1).
    """

    correction: np.ndarray
    weights: np.ndarray
    units: np.ndarray
    shapes: np.ndarray
    levels: np.ndarray
    edges: np.ndarray
    chances: np.ndarray

    def band(self, model: int, kind: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """The band [n] of days of class `kind` whose mean is `ratio` usual selling days."""
        return (ratio[:, None] > self.edges[model, kind]).sum(1)

    def blend(self, means: np.ndarray, kind: np.ndarray, week: np.ndarray) -> np.ndarray:
        """The blended mean of `means` [M, ...]; `kind` and `week` broadcast to the rest of its shape."""
        weights = self.weights[kind, week]
        return np.einsum("m...,...m->...", means, weights).astype(np.float32)


def days_ahead(days: int, horizon: int) -> int:
    """How many days held-out origins look ahead, given `days` of history."""
    return min(horizon, max(days // 3, 1))


def origins(days: int, series: int, horizon: int, config: ForecastConfig) -> tuple[list[int], int]:
    """The held-out origins, newest first, and how many days ahead they look, given `days` of history of so many `series`.

    As many as `config` asks for, as far as half of the history is left; where it asks for none, `USUAL_ORIGINS` or more. What
    origins share, the level and the weather of all series, is one draw for each of them: where few series say little, more
    origins do, up to `_MOST_ORIGINS`. They lie so far apart that two neighbours share half of their days at most, and leave two
    thirds of the history to be learned from.
    """
    ahead = days_ahead(days, horizon)

    def before_the_end(number: int, step: int, least: int) -> list[int]:
        found = (days - ahead - origin * step for origin in range(number))
        return [origin for origin in found if origin >= least]

    least = max(7, days // 2)
    found = before_the_end(config.origins or USUAL_ORIGINS, config.origin_step, least)
    if config.origins:
        return found, ahead
    wanted = math.ceil(config.held_out_days / max(series * ahead, 1))
    more = before_the_end(min(wanted, _MOST_ORIGINS), max(config.origin_step, ahead // 2), max(least, 2 * days // 3))
    return max(found, more, key=len), ahead


def allowed_models(names: tuple[str, ...], kind: int) -> np.ndarray:
    """Which models may serve a class: the learned ones do not serve series too short to have taught them, and what similar
    products sell serves none but these."""
    return np.array([name not in LEARNED if kind == SHORT else name != LAUNCH for name in names])


def learn(held: HeldOut, names: tuple[str, ...], seed: int, correction: np.ndarray | None = None) -> Lessons:
    """Weights and spreads per class and week, calibrated levels per class and band, each drawn towards what all rows together say.

    `correction` [M] is learned from `held` unless it is given, as it is where other rows tell it.
    """
    classes, models = len(CLASSES), len(names)
    weights = np.zeros((classes, WEEKS, models))
    units = np.ones((models + 1, classes, WEEKS))
    shapes = np.full((models + 1, classes, WEEKS), 2.0)
    levels = np.zeros((models + 1, classes, BANDS, len(distribution.LEVELS)))
    edges = np.zeros((models + 1, classes, BANDS - 1))
    regular = held.kind != SHORT
    if correction is None:
        correction = np.array([learn_correction(held, model, name) for model, name in enumerate(names)])
    held = replace(held, means=held.means * correction[:, None].astype(np.float32))
    # What a model says would be asked for while there was stock: that judges demand without recovering it.
    judged = Judged(held.asked, held.means * held.share, held.origin, held.series_week)
    learned = np.array([name in LEARNED for name in names])
    everywhere = _default_weights(names, 0)
    if regular.any() and learned.any():
        everywhere = even_weights(judged.take(regular), learned, seed)
    for kind in range(classes):
        allowed = allowed_models(names, kind)
        if not allowed.any():
            continue
        start = _default_weights(names, kind) if kind == SHORT else everywhere
        of_kind = held.kind == kind
        start = earned_weights(judged.take(of_kind), allowed, start, seed)
        for week in range(WEEKS):
            mine = of_kind & (held.week == week)
            weights[kind, week] = earned_weights(judged.take(mine), allowed, start, seed)
    rng = np.random.default_rng(seed)
    # Quantiles are of single days, of which those of many stretches tell more than the neighbours of one.
    few = held.take(np.sort(rng.permutation(held.rows)[:_CALIBRATION_ROWS]))
    chances = np.tile(distribution.ALWAYS, (models + 1, classes, 1))
    lessons = Lessons(correction, weights, units, shapes, levels, edges, chances)
    stacked = np.concatenate([few.means, lessons.blend(few.means, few.kind, few.week)[None]])
    for model in range(models + 1):
        # The baseline forecasts sales, as people do who recover nothing: it is calibrated on them.
        of_sales = model < models and names[model] == BASELINE
        _learn_distribution(lessons, model, stacked[model], few, few.sales if of_sales else few.drawn, rng)
    return lessons


def learn_correction(held: HeldOut, model: int, name: str) -> float:
    """Factor on the mean of the `model`, called `name`, for a bias that held from origin to origin, shrunk by how much it varied."""
    logs = []
    for origin in np.unique(held.origin):
        mine = held.origin == origin
        logs.append(np.log(_ratio(held.drawn[mine], held.means[model, mine])))
    # Neighbouring origins share most of their days: they count as one and a half.
    noise = max(float(np.var(logs)), _LEVEL_NOISE**2) / min(len(logs), 1.5)
    bias = np.mean(logs) * _MODEL_BIAS**2 / (_MODEL_BIAS**2 + noise)
    return float(np.exp(_LASTING.get(name, 1.0) * bias))


def _ratio(actual: np.ndarray, mean: np.ndarray) -> float:
    sold, told = float(actual.sum()), float(mean.sum())
    return float(np.clip(sold / told, 0.5, 2.0)) if sold > 0 and told > 0 else 1.0


def _ratio_by_origin(origin: np.ndarray, actual: np.ndarray, mean: np.ndarray) -> np.ndarray:
    ratio = np.ones(len(mean), np.float32)
    for day in np.unique(origin):
        mine = origin == day
        ratio[mine] = _ratio(actual[mine], mean[mine])
    return ratio


def _learn_distribution(lessons: Lessons, model: int, mean: np.ndarray, held: HeldOut, actual: np.ndarray, rng) -> None:
    """Spread and calibrated levels of one model, pooled and then per segment."""
    # How wide and how skewed, apart from how high: the level of a few origins is one draw, shared by all series. Half of
    # it is taken out, which is what can be trusted neither to stay nor to go.
    mean = mean * np.sqrt(_ratio_by_origin(held.origin, actual, mean))
    scaled = mean + (actual - mean) / np.sqrt(held.factor)
    pooled = distribution.fit_spread(scaled, mean)
    shape, chance = np.empty_like(mean, dtype=np.float64), np.ones(len(mean))
    ratio, parted = _of_usual(mean, held.size), ~held.whole
    overall = distribution.fit_chance(actual[parted] > 0, ratio[parted]) if parted.any() else distribution.ALWAYS
    for kind in range(len(CLASSES)):
        mine = (held.kind == kind) & parted
        lessons.chances[model, kind] = (
            distribution.fit_chance(actual[mine] > 0, ratio[mine], overall) if mine.any() else overall
        )
        chance[mine] = distribution.chance_of_sale(ratio[mine], lessons.chances[model, kind], held.whole[mine])
        for week in range(WEEKS):
            mine = (held.kind == kind) & (held.week == week)
            spread = distribution.fit_spread(scaled[mine], mean[mine]) if mine.sum() >= 500 else pooled
            lessons.units[model, kind, week], lessons.shapes[model, kind, week] = spread.unit, spread.shape
            shape[mine] = distribution.gamma_shape(mean[mine], spread, held.factor[mine], chance[mine])
    u = distribution.transform(actual, mean, shape, held.whole, rng, chance)
    everything = distribution.calibrated_levels(u)
    for kind in range(len(CLASSES)):
        of_kind = held.kind == kind
        by_kind = distribution.calibrated_levels(u[of_kind], everything)
        if of_kind.any():
            lessons.edges[model, kind] = np.quantile(ratio[of_kind], np.arange(1, BANDS) / BANDS)
        band = lessons.band(model, held.kind, ratio)
        for number in range(BANDS):
            mine = of_kind & (band == number)
            lessons.levels[model, kind, number] = distribution.calibrated_levels(u[mine], by_kind)


def quantiles_of(
    lessons: Lessons,
    model: int,
    mean: np.ndarray,
    kind: np.ndarray,
    week: np.ndarray,
    factor: np.ndarray,
    whole: np.ndarray,
    size: np.ndarray,
    baseline: int = 0,
) -> np.ndarray:
    """Quantiles [n, len(LEVELS)] of one model's means [n], segment by segment; `size` of the series' usual selling day, NaN
    where it is not known; `baseline` is the seasonal naive's number."""
    ratio = _of_usual(mean, size)
    chance = distribution.chance_of_sale(ratio, lessons.chances[model, kind], whole)
    spread = Spread(lessons.units[model, kind, week], lessons.shapes[model, kind, week])
    shape = distribution.gamma_shape(mean, spread, factor, chance)
    band = lessons.band(model, kind, ratio)
    result = np.empty((len(mean), len(distribution.LEVELS)), np.float32)
    for code in np.unique(kind * BANDS + band):
        of_kind, of_band = divmod(int(code), BANDS)
        mine = (kind == of_kind) & (band == of_band)
        levels = lessons.levels[model, of_kind, of_band]
        result[mine] = distribution.quantiles(mean[mine], shape[mine], levels, whole[mine], chance[mine])
    if model == baseline:
        return _centred(result, mean)
    return result


def _of_usual(mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Means [n] over the usual selling day; 1 where that is not known."""
    return np.where(np.isfinite(size), mean / np.where(size > 0, size, 1.0), 1.0)


def _centred(quantiles: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The baseline's median is the value it repeats, whatever calibration would make of it."""
    middle = scoring.MEDIAN
    quantiles[:, :middle] = np.minimum(quantiles[:, :middle], value[:, None])
    quantiles[:, middle] = value
    quantiles[:, middle + 1 :] = np.maximum(quantiles[:, middle + 1 :], value[:, None])
    return quantiles


def learn_dependence(held: HeldOut, lessons: Lessons) -> Dependence:
    """The dependence template under which sums of the blend's paths are right at the held-out origins."""
    # No more than are used.
    held = held.some(STRETCHES, seed=0)
    stretch = held.stretch
    mean = lessons.blend(held.means * lessons.correction[:, None].astype(np.float32), held.kind, held.week)
    told = quantiles_of(lessons, held.means.shape[0], mean, held.kind, held.week, held.factor, held.whole, held.size)
    form = (int(stretch.max(initial=-1)) + 1, int(held.lead.max(initial=0)) + 1)
    actual, means = np.full(form, np.nan, np.float32), np.zeros(form, np.float32)
    quantiles, whole = np.zeros((*form, told.shape[1]), np.float32), np.zeros(form[0], bool)
    whole[stretch] = held.whole
    actual[stretch, held.lead], means[stretch, held.lead], quantiles[stretch, held.lead] = held.drawn, mean, told
    return fit_dependence(quantiles, actual, whole, means)


def default_lessons(names: tuple[str, ...], spread: Spread) -> Lessons:
    """Without any held-out day: the weekday profile with intervals of this `spread`."""
    classes, models = len(CLASSES), len(names)
    weights = np.stack([np.tile(_default_weights(names, kind), (WEEKS, 1)) for kind in range(classes)])
    levels = np.tile(np.asarray(distribution.LEVELS), (models + 1, classes, BANDS, 1))
    edges, chances = np.zeros((models + 1, classes, BANDS - 1)), np.tile(distribution.ALWAYS, (models + 1, classes, 1))
    shape = (models + 1, classes, WEEKS)
    units, shapes = np.full(shape, spread.unit), np.full(shape, spread.shape)
    return Lessons(np.ones(models), weights, units, shapes, levels, edges, chances)


def wide_spread(sales: np.ndarray) -> Spread:
    """What intervals of `sales` [N, T] are made of where nothing was held out: days vary by their mean, and by half as much
    again as purchases of the smallest usual size would let them."""
    return Spread(1.5 * usual_step(sales), 1.0)


def _default_weights(names: tuple[str, ...], kind: int) -> np.ndarray:
    default = LAUNCH if kind == SHORT and LAUNCH in names else "weekday_profile"
    return np.array([float(name == default) for name in names])


def score(held: HeldOut, names: tuple[str, ...], learn: Callable[[HeldOut], Lessons]) -> pd.DataFrame:
    """Measures per model and demand class, and per model and week ahead, on held-out days.

    `learn` is how lessons are drawn that forecasts are made with. Where there are two origins or more, what scores an origin
    was learned on the others, so that the blend is not judged on the days it was chosen on. Columns: model, segment, days,
    wape, wape_in_stock (median against sales, all days and days fully in stock), wape_mean, pinball (per unit sold, days
    fully in stock), bias_in_stock (mean times in-stock share against what was asked for then), bias_of_sales (the same
    against what was sold then, as issued forecasts are scored), coverage_80 (days fully in stock).
    """
    which = np.unique(held.origin)
    blends = np.zeros(held.rows, np.float32)
    means = np.zeros_like(held.means)
    quantiles = np.zeros((len(names) + 1, held.rows, len(distribution.LEVELS)), np.float32)
    for origin in which:
        mine = held.origin == origin
        lessons = learn(held.take(~mine) if len(which) > 1 else held)
        part = held.take(mine)
        part = replace(part, means=part.means * lessons.correction[:, None].astype(np.float32))
        means[:, mine] = part.means
        blends[mine] = lessons.blend(part.means, part.kind, part.week)
        stacked = np.concatenate([part.means, blends[mine][None]])
        for model in range(len(names) + 1):
            quantiles[model, mine] = quantiles_of(
                lessons, model, stacked[model], part.kind, part.week, part.factor, part.whole, part.size
            )
    rows = []
    parts = [("all", np.ones(held.rows, bool))]
    parts += [(name, held.kind == kind) for kind, name in enumerate(CLASSES)]
    parts += [(f"week {week + 1}", held.week == week) for week in range(WEEKS)]
    for segment, mine in parts:
        if not mine.any():
            continue
        full = mine & (held.share >= _FULL)
        for model, name in enumerate((*names, BLEND)):
            mean = blends if name == BLEND else means[model]
            median = quantiles[model, :, scoring.MEDIAN]
            rows.append(
                {
                    "model": name,
                    "segment": segment,
                    "days": int(mine.sum()),
                    "wape": scoring.wape(held.sales[mine], median[mine]),
                    "wape_in_stock": scoring.wape(held.sales[full], median[full]),
                    "wape_mean": scoring.wape(held.sales[mine], mean[mine]),
                    "pinball": scoring.pinball(held.sales[full], quantiles[model][full]),
                    "bias_in_stock": scoring.bias(held.asked[mine], mean[mine] * held.share[mine]),
                    "bias_of_sales": scoring.bias(held.sales[mine], mean[mine] * held.share[mine]),
                    "coverage_80": scoring.coverage(held.sales[full], quantiles[model][full]),
                }
            )
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


SCORE_COLUMNS = [
    "model", "segment", "days", "wape", "wape_in_stock", "wape_mean", "pinball", "bias_in_stock", "bias_of_sales", "coverage_80",
]  # fmt: skip


def sample(held: HeldOut, seed: int) -> HeldOut:
    """About as many rows as scoring needs: learning anew for each origin, it judges whole weeks, too."""
    if held.rows <= _SCORE_ROWS:
        return held
    stretches = int(held.stretch.max()) + 1
    return held.some(max(stretches * _SCORE_ROWS // held.rows, 1), seed)
