"""Training models and forecasting with the champion; artefacts below <home>/models, forecasts below <home>/forecasts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from connectors.errors import PermanentError
from orchestration.planning.history import AVAILABILITY, HORIZON_DAYS, KNOWN_FUTURE, STATIC, DemandData

if TYPE_CHECKING:
    import pandas as pd

    from ml.forecast import ForecastConfig, Model

CHAMPION = "champion.json"


@dataclass(frozen=True)
class Forecasts:
    """`frame` as `ml.forecast` gives it, the fields of its `Dependence`, and which model made them: `id` and
    `trained_until`."""

    frame: pd.DataFrame
    dependence: dict[str, float]
    issued_by: dict[str, str]
    withheld: pd.DataFrame


def read_forecast_config(path: Path) -> ForecastConfig:
    """Every parameter of the models, from `<home>/forecast.yaml`, or the defaults."""
    from ml.forecast import ForecastConfig

    if not path.exists():
        return ForecastConfig()
    try:
        return ForecastConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        reason = str(error).replace("\n", "; ")
        raise PermanentError(f"{path} cannot be used ({reason}): correct it and run the job again.") from None


def train_champion(
    data: DemandData,
    models: Path,
    trained_for: dt.date,
    config: ForecastConfig,
    progress: Callable[[str], None] | None = None,
) -> tuple[Model, str]:
    """Trains on the history, saves the artefacts and makes them the champion; returns the model and its id.

    The id names the morning and the data, so that training again on the same data gives the same folder.
    """
    from ml.forecast import load, train

    model = train(
        data.history,
        horizon=HORIZON_DAYS,
        known_future=KNOWN_FUTURE,
        static=STATIC,
        availability=AVAILABILITY,
        config=config,
        progress=progress,
    )
    model_id = f"{trained_for:%Y%m%d}-{model.data_hash[:12]}"
    folder = models / model_id
    if not folder.exists():
        building = models / f".{model_id}.{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        models.mkdir(parents=True, exist_ok=True)
        model.save(building)
        os.replace(building, folder)
    _point_to(models, model_id)
    return load(folder), model_id


def champion(models: Path) -> tuple[Model, str] | None:
    """The model in use, None before the first training. Raises ArtefactError when a file does not match its hash."""
    from ml.forecast import load

    model_id = champion_id(models)
    return None if model_id is None else (load(models / model_id), model_id)


def champion_id(models: Path) -> str | None:
    pointer = models / CHAMPION
    return json.loads(pointer.read_text())["model_id"] if pointer.exists() else None


def _point_to(models: Path, model_id: str) -> None:
    fresh = models / f"{CHAMPION}.{os.getpid()}"
    fresh.write_text(json.dumps({"model_id": model_id}))
    os.replace(fresh, models / CHAMPION)


def forecast_cycle(data: DemandData, model: Model, model_id: str) -> Forecasts:
    """Forecasts for the cycle's horizon from its history and the announced future."""
    from ml.forecast import predict

    frame, withheld, _ = predict(model, data.history, data.future, HORIZON_DAYS)
    issued_by = {"id": model_id, "trained_until": model.trained_until}
    return Forecasts(frame, dataclasses.asdict(model.dependence), issued_by, withheld)
