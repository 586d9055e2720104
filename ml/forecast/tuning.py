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
from ml.forecast.panel import Columns, Panel, build_panel
from ml.forecast.recurrent import fit_recurrent
from ml.forecast.sample import draw_sample

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
    depends on the machine. Raises `ForecastError` where the history is too short to keep days apart.
    """
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
    ahead = heldout.origins(days, horizon, config)[1]
    last = days - ahead
    judged = [last - ahead - number * config.origin_step for number in range(config.origins)]
    judged = [origin for origin in judged if origin >= max(config.min_days, days // 2)]
    if not judged or not float(np.nansum(panel.sales)) > 0:
        raise ForecastError(
            f"Tuning {horizon} days ahead needs more history: {days} days are too few to train on, to choose on and to confirm on."
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
        self.before, demand = as_of(panel, origins[-1])
        self.demand, self.horizon, self.seed = demand.expected, horizon, seed
        builder = FeatureBuilder(self.before, demand.expected, demand.asked)
        self.sample = draw_sample(builder, config.boosted, horizon, seed, demand.dispersion)
        asked, share = told
        rows = np.sort(np.random.default_rng(seed).permutation(len(panel.keys))[:_JUDGES])
        self.views, parts = [], []
        for origin in origins:
            then, known = as_of(panel, origin, demand.dispersion)
            block = FeatureBuilder(then, known.expected).block(origin, ahead)
            series, lead = np.nonzero(panel.seen[rows, origin : origin + ahead] & (panel.first[rows] < origin)[:, None])
            self.views.append((then, known.expected, origin, block, (rows[series], lead)))
            parts.append((asked[rows[series], origin + lead], share[rows[series], origin + lead], origin, series, lead))
        self.actual, self.share = (np.concatenate([part[number] for part in parts]) for number in (0, 1))
        self.origin = np.concatenate([np.full(len(part[3]), part[2]) for part in parts])
        whose, week = (np.concatenate([of(part) for part in parts]) for of in (lambda p: p[3], lambda p: p[4] // 7))
        self.week = np.unique(np.stack([self.origin, whose, week]), axis=1, return_inverse=True)[1].ravel()

    def means(self, name: str, section: BoostedConfig | RecurrentConfig) -> np.ndarray | None:
        """What the model with these parameters would have said [R] of the days judged; None where it cannot be trained."""
        if self.sample is None:
            return None
        if name == "xgboost":
            model = fit_boosted(self.sample, section, self.seed)
        else:
            model = fit_recurrent(self.before, self.demand, self.sample, self.horizon, section, self.seed)
        if model is None:
            return None
        said = []
        for panel, demand, origin, block, days in self.views:
            mean = model.predict(block) if name == "xgboost" else model.predict(panel, demand, origin, block)
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
        started = time.perf_counter()
        in_use = self.stage.means(self.name, self.section)
        if in_use is None:
            raise ForecastError(
                f"There is too little history to train {self.name}; nothing can be tuned. Set it to enabled: false to tune the other."
            )
        slowest = time.perf_counter() - started
        self._start_from_those_in_use()
        # The best one and those in use are trained once more; a trial may take half as long again as the slowest so far.
        while len(self.rows) < most and time.perf_counter() + 3.5 * slowest < until:
            trial = self.study.ask(_SPACE[self.name])
            started = time.perf_counter()
            loss = self.stage.loss(self.stage.means(self.name, _with(self.section, trial.params)), in_use)
            took = time.perf_counter() - started
            slowest = max(slowest, took)
            self.study.tell(trial, loss)
            self.rows.append({"model": self.name, "trial": trial.number, "loss": loss, "seconds": took, **trial.params})
            self.progress(f"{self.name}, trial {len(self.rows)}: loss {loss:.4f} ({took:.1f} s)")
        if not self.rows or self.study.best_value >= 1:
            return Choice(self.name, len(self.rows), {}, float("nan"), float("nan"))
        best = self.study.best_trial
        # As they will stand in a file.
        rounded = {
            name: float(f"{tried:.3g}") if isinstance(tried, float) else tried for name, tried in best.params.items()
        }
        found = _with(self.section, rounded)
        told, in_use = (confirming.means(self.name, section) for section in (found, self.section))
        return Choice(self.name, len(self.rows), rounded, best.value, confirming.loss(told, in_use))

    def _start_from_those_in_use(self) -> None:
        """The parameters in use, as the first trial, where they lie within what is tried."""
        space = _SPACE[self.name]
        parameters = {name: getattr(self.section, name) for name in space}
        with contextlib.suppress(ValueError):
            self.study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, value=1.0))
