"""Forecasts as distributions: history in, quantiles per series and day out.

Belongs here: cleaning a history into arrays, features, models, blend, calibration, sample paths and model artefacts.
Does not belong here: where the history comes from, what is ordered from it, scheduling.

    result = forecast(history, future, horizon=14, known_future=["discount"], availability="in_stock_share")
    model = train(history, horizon=14); model.save(folder); predict(load(folder), history)
    parts = explain(model, history, series=[(sku, location)]); sentence(parts[parts["date"] == day])
    paths = sample_paths(result.forecasts, n=200, seed=1, dependence=result.dependence)
"""

from __future__ import annotations

from ml.forecast.artefacts import load
from ml.forecast.closing import nothing_sells, with_closing
from ml.forecast.config import (
    LEVELS,
    QUANTILE_COLUMNS,
    AccuracyConfig,
    BoostedConfig,
    ChallengeConfig,
    FeaturesConfig,
    ForecastConfig,
    RecurrentConfig,
)
from ml.forecast.errors import ArtefactError, ForecastError, OtherVersionError
from ml.forecast.explaining import explain, sentence
from ml.forecast.model import ForecastResult, Model, forecast, predict, train
from ml.forecast.paths import Dependence, Paths, sample_paths

__all__ = [
    "LEVELS",
    "QUANTILE_COLUMNS",
    "AccuracyConfig",
    "ArtefactError",
    "BoostedConfig",
    "ChallengeConfig",
    "Dependence",
    "FeaturesConfig",
    "ForecastConfig",
    "ForecastError",
    "ForecastResult",
    "Model",
    "OtherVersionError",
    "Paths",
    "RecurrentConfig",
    "explain",
    "forecast",
    "load",
    "nothing_sells",
    "predict",
    "sample_paths",
    "sentence",
    "train",
    "with_closing",
]
