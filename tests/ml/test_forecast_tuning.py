"""Tuning: better parameters are found and confirmed on days kept apart, luck is not, and the stated time is kept."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from ml.forecast import BoostedConfig, ForecastConfig, ForecastError, RecurrentConfig
from ml.forecast.tuning import tune
from orchestration.cli.forecast import forecast

NO_LSTM = RecurrentConfig(enabled=False)


def history(days: int = 140, series: int = 30) -> pd.DataFrame:
    """Series that double at weekends and triple under a discount."""
    rng = np.random.default_rng(3)
    dates = pd.date_range("2025-01-06", periods=days)
    parts = []
    for number in range(series):
        discount = (rng.random(days) < 0.15).astype(float)
        mean = (2 + number % 7) * np.where(dates.dayofweek >= 5, 2.0, 1.0) * (1 + 2 * discount)
        parts.append(
            pd.DataFrame(
                {
                    "sku": f"P{number:02}", "location": "S", "date": dates, "quantity": rng.poisson(mean).astype(float),
                    "discount": discount,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_parameters_that_learn_too_little_are_replaced_by_better_ones():
    poor = ForecastConfig(boosted=BoostedConfig(rounds=8, learning_rate=0.01, rows_least=6_000), recurrent=NO_LSTM)
    tuned = tune(history(), horizon=7, seconds=120, trials=4, known_future=["discount"], config=poor)
    choice = tuned.choices[0]
    assert choice.is_better
    assert choice.confirmed < 0.9
    assert choice.trials == len(tuned.trials) == 4
    assert tuned.config.boosted == BoostedConfig(**{**poor.boosted.model_dump(), **choice.found})
    assert tuned.config.recurrent == NO_LSTM
    # What is said is what is used.
    assert ForecastConfig(**yaml.safe_load(tuned.as_yaml())).boosted.depth == tuned.config.boosted.depth


def test_the_same_number_of_trials_gives_the_same_parameters():
    config = ForecastConfig(boosted=BoostedConfig(rows_least=3_000, rounds=50), recurrent=NO_LSTM)
    runs = [tune(history(100, 25), horizon=7, seconds=120, trials=3, config=config) for _ in range(2)]
    assert runs[0].config == runs[1].config
    assert runs[0].trials["loss"].tolist() == runs[1].trials["loss"].tolist()


def test_what_does_not_hold_on_days_kept_apart_is_not_taken():
    """Pure chance around one level: nothing beats trees that hardly leave it."""
    rng = np.random.default_rng(0)
    noise = history(100, 25).drop(columns="discount").assign(quantity=rng.poisson(4.0, 2_500).astype(float))
    calm = ForecastConfig(boosted=BoostedConfig(rounds=5, learning_rate=0.02, rows_least=3_000), recurrent=NO_LSTM)
    tuned = tune(noise, horizon=7, seconds=120, trials=3, config=calm)
    assert not tuned.changed
    assert tuned.config == calm
    assert "the parameters in use" in tuned.choices[0].says()


def test_the_time_is_kept():
    config = ForecastConfig(boosted=BoostedConfig(rows_least=3_000), recurrent=NO_LSTM)
    tune(history(100, 25), horizon=7, seconds=0.1, config=config)
    started = time.perf_counter()
    tuned = tune(history(100, 25), horizon=7, seconds=6, config=config)
    assert time.perf_counter() - started < 12
    assert tuned.choices[0].trials >= 1


def test_no_trial_is_begun_that_the_time_is_too_short_for():
    """An LSTM of the largest kind learns a hundred times as long as this one."""
    small = RecurrentConfig(steps=20, batch=64, hidden=16, window=14)
    config = ForecastConfig(boosted=BoostedConfig(enabled=False, rows_least=3_000), recurrent=small)
    tune(history(100, 25), horizon=7, seconds=0.1, config=config)  # libraries are loaded
    started = time.perf_counter()
    tune(history(100, 25), horizon=7, seconds=5, config=config)
    assert time.perf_counter() - started < 12


def test_a_horizon_that_cannot_be_forecast_is_refused():
    with pytest.raises(ForecastError, match="The horizon must be between 1 and"):
        tune(history(100, 5), horizon=0, seconds=1)


def test_a_history_too_short_to_keep_days_apart_is_refused():
    with pytest.raises(ForecastError, match=r"Tuning 28 days ahead needs more history: 50 days are too few"):
        tune(history(50, 5), horizon=28, seconds=1)


def test_the_command_tunes_before_it_forecasts(tmp_path):
    history(100, 25).drop(columns="discount").to_csv(tmp_path / "history.csv", index=False)
    config = tmp_path / "forecast.yaml"
    config.write_text("boosted: {rows_least: 3000, rounds: 20}\nrecurrent: {enabled: false}\n")
    arguments = [
        str(tmp_path / "history.csv"), "--horizon", "7", "--tune", "0.1", "--config", str(config),
        "--out", str(tmp_path / "out.parquet"),
    ]  # fmt: skip
    app = typer.Typer()
    app.command()(forecast)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "xgboost: " in done.output
    assert len(pd.read_parquet(tmp_path / "out.parquet"))
