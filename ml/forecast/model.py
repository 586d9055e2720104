"""Training and prediction: the models, what the held-out days taught, and the forecast frame.

Belongs here: the order of the steps. Does not belong here: how any one step works (each has its module).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd

from ml.demand import Demand, recover_demand
from ml.forecast import heldout, newcomers, segments, statistical
from ml.forecast.backtest import as_of, hold_out, means_at, spread_factor
from ml.forecast.boosted import Boosted, fit_boosted
from ml.forecast.config import ForecastConfig
from ml.forecast.distribution import Spread
from ml.forecast.errors import ForecastError
from ml.forecast.features import FeatureBuilder
from ml.forecast.frame import empty_frame, forecast_frame, withhold
from ml.forecast.heldout import BASELINE, BLEND, LEARNED, Lessons
from ml.forecast.launch import LAUNCH, Similar, study
from ml.forecast.panel import Columns, Panel, build_panel, read_future
from ml.forecast.paths import Dependence
from ml.forecast.recurrent import Recurrent, fit_recurrent
from ml.forecast.sample import draw_sample
from ml.wording import how_many

Progress = Callable[[str], None]

LONGEST_HORIZON = 364
_WRITTEN = (BLEND, *LEARNED, BASELINE)
SALES = "sales"


@dataclass
class Model:
    """A trained forecaster. `names` are its models in the order of the weights; the blend comes last in `lessons`."""

    columns: Columns
    horizon: int
    config: ForecastConfig
    seed: int
    missing_days: str
    dispersion: tuple[float, float]
    categories: dict[str, list[str]]
    names: tuple[str, ...]
    lessons: Lessons
    base_spread: Spread
    dependence: Dependence
    scores: pd.DataFrame
    newcomers: Lessons
    boosted: Boosted | None = None
    recurrent: Recurrent | None = None
    notes: tuple[str, ...] = ()
    data_hash: str = ""
    trained_until: str = ""
    timings: dict[str, float] = field(default_factory=dict)

    def weights(self) -> pd.DataFrame:
        """Blend weights as a frame: segment, week, model, weight (only those above 0)."""
        rows = [
            (segments.CLASSES[kind], week + 1, name, float(self.lessons.weights[kind, week, number]))
            for kind in range(len(segments.CLASSES))
            for week in range(heldout.WEEKS)
            for number, name in enumerate(self.names)
            if self.lessons.weights[kind, week, number] > 0
        ]
        return pd.DataFrame(rows, columns=["segment", "week", "model", "weight"])

    def save(self, folder) -> None:
        """Write the model and its manifest to `folder`; see `ml.forecast.artefacts`."""
        from ml.forecast.artefacts import save

        save(self, folder)


@dataclass(frozen=True)
class ForecastResult:
    """What a forecast run gives.

    `forecasts`: sku, location, date, model, mean, q01 ... q99, `similar` (how many series a new product was judged by, 0 for others), `shared` (the part of a day's variance that all
    its days share) and `whole` (whether the series sells whole units). `scores`: held-out measures per model and segment. `weights`: what each model counts for. `withheld`: sku, location, reason. `newcomers`: sku, location,
    first_day, `similar`, and what those have in common, `alike`. `notes`: what was cleaned or assumed.
    `parameters`: everything the run used. `timings`: seconds per step. `dependence`: of the blend's days, for `sample_paths`;
    `sales_dependence`: of the model `sales`, None where there is none.
    """

    forecasts: pd.DataFrame
    scores: pd.DataFrame
    weights: pd.DataFrame
    withheld: pd.DataFrame
    newcomers: pd.DataFrame
    notes: tuple[str, ...]
    parameters: dict
    timings: dict[str, float]
    dependence: Dependence
    model: Model
    sales_dependence: Dependence | None = None


class _Clock:
    def __init__(self, progress: Progress | None):
        self.seconds: dict[str, float] = {}
        self.progress = progress or (lambda _: None)
        self._last = time.perf_counter()

    def mark(self, step: str, detail: str = "") -> None:
        now = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._last, 3)
        self._last = now
        self.progress(f"{step}{': ' + detail if detail else ''} ({self.seconds[step]:.1f} s)")


def train(
    history: pd.DataFrame,
    *,
    horizon: int,
    known_future: Iterable[str] = (),
    past_only: Iterable[str] = (),
    static: Iterable[str] = (),
    availability: str | None = None,
    config: ForecastConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Learn all models, their blend and their calibration from `history` (sku, location, date, quantity, covariates).

    Nothing after the history is read; the blend and the calibration come from rolling origins inside it. Raises
    `ForecastError` for a frame or a parameter that cannot be used; odd series are mended or withheld, never an error.
    """
    check_horizon(horizon)
    columns = Columns(tuple(known_future), tuple(past_only), tuple(static), availability)
    return _train(history, horizon, columns, config or ForecastConfig(), seed, progress)


def _train(
    history: pd.DataFrame, horizon: int, columns: Columns, config: ForecastConfig, seed: int, progress: Progress | None
) -> Model:
    clock = _Clock(progress)
    panel = build_panel(history, None, 0, columns, config)
    clock.mark("read", f"{len(panel.keys)} series, {how_many(panel.days, 'day')}")
    recovered = recover_demand(panel.sales, panel.share)
    dispersion = recovered.dispersion
    clock.mark("recover demand")
    usable = np.flatnonzero(panel.seen.any(1))
    found, ahead = heldout.origins(panel.days, len(usable), horizon, config)
    learnable = len(usable) > 0 and panel.days >= config.min_days and float(np.nansum(panel.sales)) > 0
    notes = list(panel.notes)
    boosted_model, recurrent_model = None, None
    held_boosted, held_recurrent = None, None
    # At held-out origins no more is known of how demand varies than at the oldest of them.
    dispersion_then = dispersion
    if learnable and found:
        before, demand = as_of(panel, found[-1])
        dispersion_then = demand.dispersion
        sample = draw_sample(
            FeatureBuilder(before, demand.expected, demand.asked), config.boosted, horizon, seed, dispersion_then
        )
        clock.mark("features for held-out days")
        if config.boosted.enabled and sample:
            held_boosted = fit_boosted(sample, config.boosted, seed)
            clock.mark("xgboost for held-out days")
        if config.recurrent.enabled and sample:
            held_recurrent = fit_recurrent(before, demand.expected, sample, horizon, config.recurrent, seed)
            clock.mark("lstm for held-out days")
        del sample, before, demand
    names = (
        *statistical.METHODS,
        *(["xgboost"] if held_boosted else []),
        *(["lstm"] if held_recurrent else []),
        LAUNCH,
    )
    held = None
    if found and len(usable):
        held, base_spread, pretended = hold_out(
            panel, recovered, found, ahead, dispersion_then, config, held_boosted, held_recurrent, names, seed
        )
        clock.mark("held-out forecasts", f"{held.rows} series-days from {how_many(len(found), 'origin')}")
    # None, too, where all that is sold today began within the days that were held out.
    if held and held.rows:
        learn = partial(newcomers.learn, pretended=pretended, names=names, seed=seed)
        lessons = learn(held)
        of_newcomers = newcomers.learn_without_a_day(pretended, panel.sales, seed)
        clock.mark("blend and calibration")
        scores = heldout.score(heldout.sample(held, seed), names, learn)
        dependence = heldout.learn_dependence(held, lessons)
        clock.mark("scores")
    else:
        notes.append(
            "the history is too short to hold days out: similar products for series of few days and the weekday profile for"
            " others are used with wide intervals"
        )
        base_spread = heldout.wide_spread(panel.sales)
        lessons, of_newcomers = (heldout.default_lessons(told, base_spread) for told in (names, (LAUNCH,)))
        scores, dependence = pd.DataFrame(columns=heldout.SCORE_COLUMNS), Dependence()
    earned = lessons.weights.sum((0, 1))
    if held_boosted or held_recurrent:
        sample = draw_sample(
            FeatureBuilder(panel, recovered.expected, recovered.asked), config.boosted, horizon, seed, dispersion
        )
        clock.mark("features on all days")
    if held_boosted:
        boosted_model = fit_boosted(sample, config.boosted, seed) or held_boosted
        clock.mark("xgboost on all days")
    if held_recurrent:
        if earned[names.index("lstm")] > 0:
            fitted = fit_recurrent(panel, recovered.expected, sample, horizon, config.recurrent, seed)
            recurrent_model = fitted or held_recurrent
            clock.mark("lstm on all days")
        else:
            recurrent_model = held_recurrent
            notes.append("the LSTM earned no weight on held-out days")
    from ml.forecast.artefacts import snapshot_hash

    return Model(
        columns, horizon, config, seed, panel.missing_days, dispersion, panel.categories, names, lessons, base_spread,
        dependence, scores, of_newcomers, boosted_model, recurrent_model, tuple(notes), snapshot_hash(panel),
        str(panel.dates[panel.days - 1]) if len(panel.dates) else "", clock.seconds,
    )  # fmt: skip


def predict(
    model: Model,
    history: pd.DataFrame,
    future: pd.DataFrame | None = None,
    horizon: int | None = None,
    *,
    models: Iterable[str] = _WRITTEN,
    newcomers: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Forecast the days after `history` with a trained model: (forecasts, withheld, notes).

    `history` may hold more days and other series than the model was trained on. `models` are those written out. `newcomers`
    are products without a day of history (sku, location, static columns, first_day; see `newcomers.read_newcomers`): they
    have rows of the blend alone.
    """
    forecasts, withheld, notes, _ = _predict(model, history, future, horizon, models, newcomers, progress)
    return forecasts, withheld, notes


def _predict(
    model: Model, history, future, horizon: int | None, models: Iterable[str], new: pd.DataFrame | None, progress
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...], pd.DataFrame]:
    """What `predict` gives, and the list of newcomers."""
    horizon = horizon or model.horizon
    check_horizon(horizon)
    if horizon > model.horizon:
        raise ForecastError(
            f"This model was trained for a horizon of {how_many(model.horizon, 'day')} and {horizon} were asked for; train it for"
            f" {horizon}."
        )
    panel = build_panel(history, future, horizon, model.columns, model.config, model.categories, model.missing_days)
    panel, withheld = withhold(panel, model.config)
    wanted = tuple(dict.fromkeys(models))
    unknown = set(wanted) - {BLEND, *model.names, *LEARNED}
    if unknown:
        raise ForecastError(
            f"There is no model named {', '.join(sorted(unknown))}; there are {', '.join(model.names)}."
        )
    told = pd.DataFrame(columns=newcomers.COLUMNS)
    if not len(panel.keys):
        notes = panel.notes
        if new is not None:
            _, withheld, told, more = newcomers.append(
                empty_frame(), withheld, panel, None, new, model.newcomers, model.base_spread, horizon, False
            )
            notes = (*notes, *more)
        return empty_frame(), withheld, notes, told
    demand = recover_demand(panel.sales, panel.share, model.dispersion)
    kind = segments.demand_class(demand.expected, model.config.min_days)
    similar = (
        study(panel, demand.asked) if new is not None or (kind == segments.SHORT).any() or LAUNCH in wanted else None
    )
    means = means_of(model, panel, demand, horizon, wanted, similar)
    factor = spread_factor(demand.expected, model.base_spread, kind, horizon, similar)
    frame = forecast_frame(model, panel, demand, means, kind, factor, horizon, wanted, similar)
    notes = panel.notes
    if new is not None:
        frame, withheld, told, more = newcomers.append(
            frame, withheld, panel, similar, new, model.newcomers, model.base_spread, horizon, BLEND in wanted
        )
        notes = (*notes, *more)
    if progress:
        progress(f"{len(panel.keys) + len(told)} series, {how_many(horizon, 'day')}")
    return frame, withheld, notes, told


def means_of(
    model: Model,
    panel: Panel,
    demand: Demand,
    horizon: int,
    wanted: tuple[str, ...] = (BLEND,),
    similar: Similar | None = None,
) -> np.ndarray:
    """What each model of `model` says of the days after the panel's: [M, N, H]; 0 for models that nothing needs.

    `similar` is what `study` learned from the panel, where a series is short or the model `launch` is wanted.
    """
    used = model.lessons.weights.sum((0, 1)) > 0
    needed = {name for number, name in enumerate(model.names) if used[number] or name in wanted}
    if BLEND not in wanted:
        needed = set(wanted)
    means = means_at(panel, demand, panel.days, horizon, model.boosted, model.recurrent, model.names, needed, similar)
    return means * model.lessons.correction[:, None, None].astype(np.float32)


def forecast(
    history: pd.DataFrame,
    future: pd.DataFrame | None = None,
    *,
    horizon: int,
    known_future: Iterable[str] = (),
    past_only: Iterable[str] = (),
    static: Iterable[str] = (),
    availability: str | None = None,
    newcomers: pd.DataFrame | None = None,
    config: ForecastConfig | None = None,
    sales: bool = False,
    artefacts=None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ForecastResult:
    """Train on `history` and forecast the `horizon` days after it; with `artefacts` (a folder), save the model there.

    With `availability` the forecasts are of demand, more than was sold; `sales` adds a model of that name that says what
    will be recorded as sold if shelves are as full as they have been: what revenue is planned and tills are compared by,
    never what is ordered by. `newcomers` are products without a day of history. See `train` and `predict` for the frames
    and the errors.
    """
    columns = Columns(tuple(known_future), tuple(past_only), tuple(static), availability)
    check_ahead(future, horizon, columns, newcomers, artefacts)
    model = train(
        history, horizon=horizon, known_future=columns.known_future, past_only=columns.past_only, static=columns.static,
        availability=availability, config=config, seed=seed, progress=progress,
    )  # fmt: skip
    started = time.perf_counter()
    forecasts, withheld, notes, told = _predict(
        model, history, future, horizon, _WRITTEN, newcomers, progress
    )  # fmt: skip
    timings = {**model.timings, "predict": round(time.perf_counter() - started, 3)}
    sales_dependence = None
    if sales and availability:
        recorded, sales_dependence = _of_sales(
            history, future, horizon, replace(columns, recorded=True), newcomers, config, seed
        )
        forecasts = pd.concat([forecasts, recorded], ignore_index=True)
        timings["sales"] = round(time.perf_counter() - started - timings["predict"], 3)
    if artefacts is not None:
        model.save(artefacts)
    parameters = {
        "horizon": horizon,
        "seed": seed,
        "known_future": list(columns.known_future),
        "past_only": list(columns.past_only),
        "static": list(columns.static),
        "availability": availability,
        "missing_days": model.missing_days,
        "config": model.config.model_dump(mode="json"),
    }
    every_note = tuple(dict.fromkeys((*model.notes, *notes)))
    return ForecastResult(
        forecasts,
        model.scores,
        model.weights(),
        withheld,
        told,
        every_note,
        parameters,
        timings,
        model.dependence,
        model,
        sales_dependence,
    )


def _of_sales(
    history, future, horizon: int, columns: Columns, new, config: ForecastConfig | None, seed: int
) -> tuple[pd.DataFrame, Dependence]:
    """The blend of models that take recorded sales as they are, with the in-stock share as one more thing to know; and how
    its days hang together."""
    model = _train(history, horizon, columns, config or ForecastConfig(), seed, None)
    told = predict(model, history, future, horizon, models=[BLEND], newcomers=new)[0].assign(model=SALES)
    return told, model.dependence


def check_ahead(future, horizon: int, columns: Columns, new: pd.DataFrame | None, artefacts) -> None:
    """Raises `ForecastError` for what is needed only after minutes of training: the table of the days ahead, that of
    newcomers and the folder for the model."""
    from ml.forecast.artefacts import new_folder

    check_horizon(horizon)
    if columns.known_future:
        read_future(future, columns, horizon)
    if new is not None:
        newcomers.with_days(new)
    if artefacts is not None:
        new_folder(artefacts)


def check_horizon(horizon: int) -> None:
    """Raises `ForecastError` for a number of days that cannot be forecast."""
    if not 1 <= horizon <= LONGEST_HORIZON:
        raise ForecastError(f"The horizon must be between 1 and {LONGEST_HORIZON} days; it was {horizon}.")
