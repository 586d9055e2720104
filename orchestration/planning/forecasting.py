"""Training models and forecasting with the one in use; artefacts below <home>/models, forecasts below <home>/forecasts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from connectors.errors import PermanentError
from orchestration.planning import models as register
from orchestration.planning.covariates import columns_of, lacking
from orchestration.planning.history import HORIZON_DAYS, DemandData
from orchestration.planning.models import Decision

if TYPE_CHECKING:
    import pandas as pd

    from ml.forecast import ForecastConfig, Model
    from ml.forecast.contest import Contest
    from ml.forecast.tuning import Tuned

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Forecasts:
    """`frame` as `ml.forecast` gives it, the fields of its `Dependence`, and which model made them: `id` and
    `trained_until`. `notes`: what was mended in the history or is not known of the days ahead."""

    frame: pd.DataFrame
    dependence: dict[str, float]
    issued_by: dict[str, str]
    withheld: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_forecast_config(path: Path) -> ForecastConfig:
    """Every parameter of the models, from `<home>/forecast.yaml`, or the defaults."""
    from ml.forecast import ForecastConfig, ForecastError
    from ml.forecast.config_file import read_config

    if not path.exists():
        return ForecastConfig()
    try:
        return read_config(path)
    except ForecastError as error:
        raise PermanentError(str(error)) from None


# -- Training ----------------------------------------------------------------------------------------------------------


def train_and_decide(
    engine: Engine,
    data: DemandData,
    models: Path,
    morning: dt.date,
    config: ForecastConfig,
    progress: Progress | None = None,
) -> tuple[Model, str, Decision]:
    """Trains a model and puts it into use where there is none, or where it is not worse than the one in use on days
    that neither was trained on; returns the trained model, its id and what was decided.

    The trained model has seen all days, so a stand-in that has not is trained by the same rules from the days before
    them. Where that would be the one in use over again, as when nothing but a week has passed, it is taken for it. What
    the newest days themselves did to the trained model no day can tell that it has not seen; but they flatter it, so if
    it is worse on them all the same, it is not used.
    """
    from ml.forecast import ArtefactError, OtherVersionError

    model, model_id = train_model(data, models, morning, config, progress)
    try:
        in_use = register.load_champion(models)
    except OtherVersionError:
        former = register.champion(models).model_id
        reason = (
            f"The model {model_id} comes into use in place of {former}, which another version of Stockflow trained."
        )
        decision = Decision("promote", model_id, morning, reason, other=former)
    except ArtefactError:
        former = register.champion(models).model_id
        reason = f"The model {model_id} comes into use in place of {former}, whose files are not those that were saved."
        decision = Decision("promote", model_id, morning, reason, other=former)
    else:
        if in_use is None:
            decision = Decision("promote", model_id, morning, f"The first model, {model_id}, comes into use.")
        elif reason := lacking(in_use[0], data.history):
            message = f"The model {model_id} comes into use in place of {in_use[1]}: {reason}."
            decision = Decision("promote", model_id, morning, message, other=in_use[1])
        elif in_use[1] == model_id:
            message = f"The model {model_id} stays in use: nothing has changed since it was trained."
            decision = Decision("keep", model_id, morning, message)
        else:
            decision = _compare(*in_use, model, model_id, data, models, morning, config, progress)
    register.decide(engine, models, decision)
    register.prune(models, config.challenge.keep_models)
    return model, model_id, decision


def model_in_use(
    engine: Engine,
    data: DemandData,
    models: Path,
    morning: dt.date,
    config: ForecastConfig,
    progress: Progress | None = None,
) -> tuple[Model, str, Decision | None]:
    """The model in use and its id; a new one, with the decision, where there is none, another version of the code trained
    it, or its columns are no longer there. Raises ArtefactError when a file does not match its hash."""
    from ml.forecast import OtherVersionError

    try:
        in_use = register.load_champion(models)
    except OtherVersionError:
        in_use = None
    if in_use is None or lacking(in_use[0], data.history):
        return train_and_decide(engine, data, models, morning, config, progress)
    return *in_use, None


def train_model(
    data: DemandData, models: Path, morning: dt.date, config: ForecastConfig, progress: Progress | None = None
) -> tuple[Model, str]:
    """Trains on the history and saves the artefacts; returns the model and its id.

    The id names the morning and what it was trained from, so that training again from the same gives the same folder.
    """
    from ml.forecast import load
    from ml.forecast.artefacts import code_version

    model = _train(data.history, config, progress)
    origin = hashlib.sha256(f"{model.data_hash} {_rules(config)} {code_version()}".encode()).hexdigest()
    model_id = f"{morning:%Y%m%d}-{origin[:12]}"
    folder = models / model_id
    if not folder.exists():
        building = models / f".{model_id}.{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        models.mkdir(parents=True, exist_ok=True)
        model.save(building)
        os.replace(building, folder)
    return load(folder), model_id


def _train(history: pd.DataFrame, config: ForecastConfig, progress: Progress | None) -> Model:
    from ml.forecast import train

    return train(history, **_roles(history), config=config, progress=progress)


def tune_models(history: pd.DataFrame, config: ForecastConfig, seconds: float, progress: Progress | None) -> Tuned:
    """Looks for parameters that are better than those of `config`, for so many seconds."""
    from ml.forecast import ForecastError
    from ml.forecast.tuning import tune

    try:
        return tune(history, **_roles(history), config=config, seconds=seconds, progress=progress)
    except ForecastError as error:
        raise PermanentError(str(error)) from error


def _roles(history: pd.DataFrame) -> dict[str, object]:
    """How far ahead is forecast, and what the columns of the history mean."""
    columns = columns_of(history)
    return {
        "horizon": HORIZON_DAYS,
        "known_future": columns.known_future,
        "past_only": columns.past_only,
        "static": columns.static,
        "availability": columns.availability,
    }


def _rules(config: ForecastConfig) -> str:
    """What of the configuration a trained model depends on."""
    return config.model_dump_json(exclude={"accuracy", "challenge"})


def _stand_in(
    champion: Model, origin: dict[str, object], before: pd.DataFrame, config: ForecastConfig, progress: Progress | None
) -> Model:
    """What training on `before` gives: the one in use itself where it came from the same data, rules and code."""
    from ml.forecast.artefacts import code_version, snapshot_hash
    from ml.forecast.panel import build_panel

    is_same = champion.columns == columns_of(before) and _rules(champion.config) == _rules(config)
    if is_same and origin["code_version"] == code_version():
        panel = build_panel(before, None, 0, champion.columns, config)
        if snapshot_hash(panel) == champion.data_hash:
            return champion
    return _train(before, config, progress)


def _compare(
    champion: Model,
    champion_id: str,
    challenger: Model,
    challenger_id: str,
    data: DemandData,
    models: Path,
    morning: dt.date,
    config: ForecastConfig,
    progress: Progress | None,
) -> Decision:
    from ml.forecast.artefacts import read_manifest
    from ml.forecast.contest import hold_contest, split

    rules = config.challenge
    days = min(rules.days, unseen_days(champion, data.history))
    if days < rules.least_days:
        message = (
            f"The model {champion_id} stays in use: it was trained on all but {max(days, 0)} days, too few to compare "
            f"{challenger_id} with it (`stockflow models use {challenger_id}` takes it all the same)."
        )
        return Decision("keep", champion_id, morning, message, other=challenger_id)
    origin = read_manifest(models / champion_id)
    stand_in = _stand_in(champion, origin, split(data.history, days)[0], config, progress)
    contest = hold_contest(champion, stand_in, data.history, days)
    seen = hold_contest(champion, challenger, data.history, days).challenger
    ours, theirs = contest.champion, contest.challenger
    figures = {
        champion_id: asdict(ours),
        challenger_id: {**asdict(theirs), "pinball_having_seen_them": seen.pinball, "wape_having_seen_them": seen.wape},
    }
    told = _told(contest, champion_id, challenger_id)
    enough = contest.selling_days >= config.accuracy.least_selling_days
    most = ours.pinball * (1 + rules.tolerance)
    if enough and seen.pinball > most:
        told += f" Having seen these days, {challenger_id} has a pinball loss of {seen.pinball:.4f} on them."
    if enough and theirs.pinball <= most and seen.pinball <= most:
        message = f"The model {challenger_id} comes into use: {told}"
        return Decision("promote", challenger_id, morning, message, other=champion_id,
                        days=(contest.first, contest.last), figures=figures)  # fmt: skip
    message = f"The model {champion_id} stays in use: {told}" + ("" if enough else " Too little was sold to tell.")
    return Decision("keep", champion_id, morning, message, other=challenger_id, days=(contest.first, contest.last),
                    figures=figures)  # fmt: skip


def unseen_days(model: Model, history: pd.DataFrame) -> int:
    """Days at the end of `history` that `model` was not trained on."""
    import pandas as pd

    return (pd.to_datetime(history["date"]).max().date() - dt.date.fromisoformat(model.trained_until)).days


def _told(contest: Contest, champion_id: str, challenger_id: str) -> str:
    theirs, ours = contest.challenger, contest.champion
    return (
        f"from {contest.first} to {contest.last} pinball loss {theirs.pinball:.4f} and WAPE {theirs.wape:.3f} for "
        f"{challenger_id}, {ours.pinball:.4f} and {ours.wape:.3f} for {champion_id}."
    )


# -- Forecasting -------------------------------------------------------------------------------------------------------


def forecast_cycle(data: DemandData, model: Model, model_id: str) -> Forecasts:
    """Forecasts for the cycle's horizon from its history and the announced future."""
    from ml.forecast import nothing_sells, predict

    frame, withheld, notes = predict(model, data.history, data.future, HORIZON_DAYS, newcomers=data.newcomers)
    frame = nothing_sells(frame, data.closed_days())
    issued_by = {"id": model_id, "trained_until": model.trained_until}
    return Forecasts(frame, dataclasses.asdict(model.dependence), issued_by, withheld, notes)


def explain_cycle(data: DemandData, model: Model, series: tuple[str, str]) -> pd.DataFrame:
    """The parts of what `forecast_cycle` says of one (sku, location): see `ml.forecast.explain`."""
    from ml.forecast import explain, with_closing

    # The whole horizon, as each cycle forecasts it: the days after a day tell about it too.
    parts = explain(model, data.history, data.future, HORIZON_DAYS, series=[series], newcomers=data.newcomers)
    return with_closing(parts, data.closed_days())
