"""Parameters of the learned models for one history, found on rolling origins inside it in a stated time.

Belongs here: which parameters are tried and what decides between them. Does not belong here: the models, reading and
writing of configurations.

A trial is trained on what was known at the oldest of some held-out origins and judged on the days after them by what the blend
goes by (`ml.forecast.blend.relative_loss`), against the parameters in use. Of hundreds of trials the best is partly the
luckiest, so it is judged once more on the days after a later origin, which no trial has seen, trained on what was known
there; and it takes the place of the parameters in use only if it is better by `_EARNED` there too. Trials are suggested by Optuna's
tree-structured Parzen estimator (Bergstra et al. 2011), the parameters in use being the first of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ml.demand import exposed, recover_demand
from ml.forecast import heldout
from ml.forecast.backtest import as_of
from ml.forecast.blend import Judged, relative_loss
from ml.forecast.boosted import fit_boosted
from ml.forecast.config import BoostedConfig, ForecastConfig, RecurrentConfig
from ml.forecast.errors import ForecastError
from ml.forecast.features import FeatureBuilder
from ml.forecast.model import check_horizon
from ml.forecast.panel import Columns, Panel, build_panel
from ml.forecast.recurrent import fit_recurrent
from ml.forecast.sample import draw_sample
from ml.wording import how_many

Progress = Callable[[str], None]

SECTIONS = {"xgboost": "boosted", "lstm": "recurrent"}
"""The section of `ForecastConfig` of each model that is tuned."""
_SPACE = {
    "xgboost": {
        "depth": IntDistribution(3, 10),
        "learning_rate": FloatDistribution(0.015, 0.15, log=True),
        "rounds": IntDistribution(100, 800, step=50),
        "min_child_weight": FloatDistribution(2.0, 200.0, log=True),
        "subsample": FloatDistribution(0.3, 1.0),
        "columns": FloatDistribution(0.15, 1.0),
    },
    "lstm": {
        "hidden": CategoricalDistribution((32, 64, 128)),
        "layers": IntDistribution(1, 2),
        "steps": IntDistribution(150, 1200, step=50),
        "batch": CategoricalDistribution((128, 256, 512)),
        "window": CategoricalDistribution((14, 28, 56)),
        "learning_rate": FloatDistribution(1e-3, 2e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
    },
}
# How the time of a trial grows with its parameters, rather too much than too little.
_WORK = {
    "xgboost": lambda tried: tried["rounds"] * tried["depth"] * tried["columns"] * tried["subsample"],
    "lstm": lambda tried: tried["steps"] * tried["batch"] * tried["window"] * tried["layers"] * tried["hidden"],
}
# What the best trial must gain on days that no trial was judged on.
_EARNED = 0.005
_MOST_TRIALS = 500
# More series than this judge no better, and take longer.
_JUDGES = 3_000


@dataclass(frozen=True)
class Choice:
    """What came of one model: the parameters tried that did best, `found`; their loss against those in use, which is 1, on the
    days that trials were judged on, `loss`, and on days that none was, `confirmed` (NaN where nothing was better); and whether
    they are to be used."""

    model: str
    trials: int
    found: dict[str, float | int]
    loss: float
    confirmed: float

    @property
    def is_better(self) -> bool:
        return self.confirmed <= 1 - _EARNED

    def says(self) -> str:
        if not self.trials:
            return f"{self.model}: the time was too short for a trial beside the parameters in use"
        if not self.loss < 1:
            return f"{self.model}: none of {self.trials} trials did better than the parameters in use"
        gained = f"{1 - self.loss:.1%} on the days that chose it and {1 - self.confirmed:.1%} on days kept apart"
        end = "it is better" if self.is_better else "the parameters in use stay"
        return f"{self.model}: the best of {self.trials} trials gained {gained}; {end}"


@dataclass(frozen=True)
class Tuned:
    """`config` with what earned its place; `choices` by model; `trials`: model, trial, loss, seconds and what was tried."""

    config: ForecastConfig
    choices: tuple[Choice, ...]
    trials: pd.DataFrame

    @property
    def changed(self) -> dict[str, dict[str, float | int]]:
        """By section of the configuration, the parameters that are better than those in use."""
        return {SECTIONS[choice.model]: choice.found for choice in self.choices if choice.is_better}

    def as_yaml(self) -> str:
        """`changed`, as it stands in a configuration file."""
        return yaml.safe_dump(self.changed, sort_keys=False)


def tune(
    history: pd.DataFrame,
    *,
    horizon: int,
    seconds: float,
    known_future: Iterable[str] = (),
    past_only: Iterable[str] = (),
    static: Iterable[str] = (),
    availability: str | None = None,
    config: ForecastConfig | None = None,
    trials: int = _MOST_TRIALS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tuned:
    """Look for better parameters of the learned models for at most `seconds`, or `trials` of each model if they end before.

    Half of the time is the trees'. The same history, seed and number of trials give the same result; how many fit into a time
    depends on the machine. Raises `ForecastError` for a frame or a parameter that cannot be used and where the history is too
    short to keep days apart.
    """
    check_horizon(horizon)
    config = config or ForecastConfig()
    columns = Columns(tuple(known_future), tuple(past_only), tuple(static), availability)
    panel = build_panel(history, None, 0, columns, config)
    choosing, confirming = _stages(panel, horizon, config, seed)
    enabled = [name for name, section in SECTIONS.items() if getattr(config, section).enabled]
    started, choices, tried = time.perf_counter(), [], []
    for number, name in enumerate(enabled):
        until = started + seconds * (number + 1) / len(enabled)
        search = _Search(name, getattr(config, SECTIONS[name]), choosing, seed, progress or (lambda _: None))
        choice = search.run(until, trials, confirming)
        choices.append(choice)
        tried += search.rows
        if choice.is_better:
            section = SECTIONS[name]
            config = config.model_copy(update={section: _with(getattr(config, section), choice.found)})
    return Tuned(config, tuple(choices), pd.DataFrame(tried))


def _with(section: BoostedConfig | RecurrentConfig, parameters: dict) -> BoostedConfig | RecurrentConfig:
    """The section with other parameters, checked as if they had been read from a file."""
    return type(section)(**section.model_dump() | parameters)


def _stages(panel: Panel, horizon: int, config: ForecastConfig, seed: int) -> tuple[_Stage, _Stage]:
    """The origins that trials are judged at, and the later one for the best of them, whose days no trial sees."""
    days = panel.days
    ahead = heldout.days_ahead(days, horizon)
    last = days - ahead
    judged = [last - ahead - number * config.origin_step for number in range(config.origins or heldout.USUAL_ORIGINS)]
    judged = [origin for origin in judged if origin >= max(config.min_days, days // 2)]
    if not judged or not float(np.nansum(panel.sales)) > 0:
        raise ForecastError(
            f"Tuning {how_many(horizon, 'day')} ahead needs more history: {how_many(days, 'day is', 'days are')} too few to train on,"
            " to choose on and to confirm on."
            f" With {max(4 * horizon, config.min_days + 2 * horizon)} days or more it can be done; the defaults serve until then."
        )
    recovered = recover_demand(panel.sales, panel.share)
    told = (recovered.asked, exposed(panel.sales, panel.share))
    return tuple(_Stage(panel, told, origins, ahead, horizon, config, seed) for origins in (judged, [last]))


class _Stage:
    """Held-out origins: the sample to train on, from what was known at the oldest, and the days after each to be judged by."""

    def __init__(
        self,
        panel: Panel,
        told: tuple[np.ndarray, np.ndarray],
        origins: list[int],
        ahead: int,
        horizon: int,
        config: ForecastConfig,
        seed: int,
    ):
        asked, share = told
        rows = np.sort(np.random.default_rng(seed).permutation(len(panel.keys))[:_JUDGES])
        self.horizon, self.seed, self.views, parts = horizon, seed, [], []
        dispersion = None
        # The oldest first: no more is known at the others of how demand varies.
        for origin in reversed(origins):
            then, known = as_of(panel, origin, dispersion)
            builder = FeatureBuilder(then, known.expected, known.asked)
            if dispersion is None:
                dispersion = known.dispersion
                self.before, self.expected = then, known.expected
                self.sample = draw_sample(builder, config.boosted, horizon, seed, dispersion)
            block = builder.block(origin, ahead, rows)
            series, lead = np.nonzero(panel.seen[rows, origin : origin + ahead] & (panel.first[rows] < origin)[:, None])
            self.views.append((then.select(rows), known.expected[rows], origin, block, (series, lead)))
            at = rows[series], origin + lead
            parts.append((asked[at], share[at], np.full(len(series), origin), series, lead // 7))
        self.actual, self.share, self.origin, whose, week = map(np.concatenate, zip(*parts, strict=True))
        self.week = np.unique(np.stack([self.origin, whose, week]), axis=1, return_inverse=True)[1].ravel()

    def means(self, name: str, section: BoostedConfig | RecurrentConfig) -> np.ndarray | None:
        """What the model with these parameters would have said [R] of the days judged; None where it cannot be trained."""
        if self.sample is None:
            return None
        if name == "xgboost":
            model = fit_boosted(self.sample, section, self.seed)
        else:
            model = fit_recurrent(self.before, self.expected, self.sample, self.horizon, section, self.seed)
        if model is None:
            return None
        said = []
        for panel, expected, origin, block, days in self.views:
            mean = model.predict(block) if name == "xgboost" else model.predict(panel, expected, origin, block)
            said.append(mean[days])
        return np.concatenate(said) * self.share

    def loss(self, means: np.ndarray, in_use: np.ndarray) -> float:
        """The loss of `means` [R], 1 for those of the parameters in use."""
        return relative_loss(Judged(self.actual, np.stack([in_use, means]), self.origin, self.week), self.seed)


class _Search:
    """Trials of one model."""

    def __init__(
        self, name: str, section: BoostedConfig | RecurrentConfig, stage: _Stage, seed: int, progress: Progress
    ):
        self.name, self.section, self.stage, self.progress = name, section, stage, progress
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self.rows: list[dict[str, object]] = []

    def run(self, until: float, most: int, confirming: _Stage) -> Choice:
        """Trials until the clock says `until`, the time to confirm the best one kept free."""
        work, parameters = _WORK[self.name], self.section.model_dump()
        # First, for the first training of a process loads libraries, and the time of the second is what others are told by.
        confirmed_by = confirming.means(self.name, self.section)
        started = time.perf_counter()
        in_use = self.stage.means(self.name, self.section)
        if in_use is None or confirmed_by is None:
            raise ForecastError(
                f"There is too little history to train {self.name}; nothing can be tuned. Set it to enabled: false to tune the other."
            )
        unit, best = time.perf_counter() - started, parameters

        def takes(tried: dict) -> float:
            """Seconds for a trial of these parameters; small models take as long as those in use, for reading and judging."""
            return unit * max(work(tried) / work(parameters), 1)

        self._start_from_those_in_use()
        while len(self.rows) < most:
            # To confirm the best one it is trained once more.
            left = until - time.perf_counter()
            if unit + takes(best) > left:
                break
            trial = self.study.ask(_SPACE[self.name])
            tried = parameters | trial.params
            if takes(tried) + max(takes(tried), takes(best)) > left:
                self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                continue
            started = time.perf_counter()
            loss = self.stage.loss(self.stage.means(self.name, _with(self.section, trial.params)), in_use)
            took = time.perf_counter() - started
            unit = max(unit, unit * took / takes(tried))
            self.study.tell(trial, loss)
            best = parameters | self.study.best_params
            self.rows.append({"model": self.name, "trial": trial.number, "loss": loss, "seconds": took, **trial.params})
            self.progress(f"{self.name}, trial {len(self.rows)}: loss {loss:.4f} ({took:.1f} s)")
        if not self.rows or self.study.best_value >= 1:
            return Choice(self.name, len(self.rows), {}, float("nan"), float("nan"))
        # As they will stand in a file.
        found = {
            name: float(f"{value:.3g}") if isinstance(value, float) else value
            for name, value in self.study.best_params.items()
        }
        confirmed = confirming.loss(confirming.means(self.name, _with(self.section, found)), confirmed_by)
        return Choice(self.name, len(self.rows), found, self.study.best_value, confirmed)

    def _start_from_those_in_use(self) -> None:
        """The parameters in use, as the first trial, where they lie within what is tried."""
        space = _SPACE[self.name]
        parameters = {name: getattr(self.section, name) for name in space}
        with contextlib.suppress(ValueError):
            self.study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, value=1.0))
