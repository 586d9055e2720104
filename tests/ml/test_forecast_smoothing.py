"""Exponential smoothing that is fitted to each series: what it finds, what it refuses to find, and what it survives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ml.forecast import BoostedConfig, ForecastConfig, RecurrentConfig, load, predict, smoothing, statistical, train
from ml.forecast.model import LONGEST_HORIZON
from ml.forecast.smoothing import ets

WEEK = np.array([0.5, 0.6, 0.8, 1.0, 1.2, 1.8, 1.1])
PLAIN = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))


def weekday(day: np.ndarray, days: int) -> np.ndarray:
    """The factor of `WEEK` that belongs to a day, where the day after `days` days has the first."""
    return WEEK[(day - days) % 7]


def off(forecast: np.ndarray, truth: np.ndarray | float) -> float:
    return float(np.abs(forecast - truth).mean() / np.mean(truth))


def test_a_shift_of_the_level_is_followed_and_noise_is_not():
    rng = np.random.default_rng(0)
    steady = rng.poisson(10, (50, 200)).astype(np.float32)
    shifted = steady.copy()
    shifted[:, -20:] += 20
    assert off(ets(shifted, 14), 30) < 0.08 < off(statistical.weekday_profile(shifted, 14), 30)
    assert off(ets(steady, 14), 10) < 0.03 < off(statistical.weekday_profile(steady, 14), 10)


def test_a_trend_goes_on_for_a_while_and_is_damped():
    rng = np.random.default_rng(1)
    growing = 50 + np.arange(120) + rng.normal(0, 1, (20, 120))
    told = ets(growing, 56).mean(0)
    assert 172 < told[6] < 176.5  # 176 if it went on
    assert 180 < told[-1] < 200  # 225 if it went on
    assert (np.diff(told.reshape(8, 7).mean(1)) > -0.1).all()
    falling = ets(growing[:, ::-1].copy(), LONGEST_HORIZON)
    assert falling[:, 6].mean() < 48.5  # the last day was 50
    assert (falling >= 0).all()


def test_a_season_of_its_own_is_found_among_series_that_have_another():
    rng, days = np.random.default_rng(2), 140
    factor = np.repeat(weekday(np.arange(days), days)[None], 60, axis=0)
    factor[0] = 2 - factor[0]
    told = ets(rng.poisson(20 * factor).astype(np.float32), 7)
    assert told[1:] / told[1:].mean(1, keepdims=True) == pytest.approx(np.tile(WEEK, (59, 1)), abs=0.2)
    assert told[0] / told[0].mean() == pytest.approx(2 - WEEK, abs=0.2)
    flat = ets(rng.poisson(20, (60, days)).astype(np.float32), 7)
    assert flat / flat.mean(1, keepdims=True) == pytest.approx(np.ones((60, 7)), abs=0.08)


def test_a_series_of_three_weeks_takes_what_serves_the_others():
    rng, days = np.random.default_rng(3), 140
    truth = 3 * weekday(np.arange(days), days)
    sold = rng.poisson(np.repeat(truth[None], 100, axis=0)).astype(np.float32)
    sold[:40, :-21] = np.nan
    among = ets(sold, 14)[:40]
    alone = np.concatenate([ets(row[None], 14) for row in sold[:40]])
    assert off(among, 3 * np.tile(WEEK, (40, 2))) < 0.75 * off(alone, 3 * np.tile(WEEK, (40, 2)))


def test_missing_days_carry_the_state_on():
    rng, days = np.random.default_rng(4), 140
    sold = rng.poisson(20 * np.repeat(weekday(np.arange(days), days)[None], 40, axis=0)).astype(np.float32)
    gaps = np.where(rng.random(sold.shape) < 0.3, np.nan, sold)
    gaps[:, -10:] = np.nan
    truth = 20 * np.tile(WEEK, (40, 2))
    assert off(ets(gaps, 14), truth) < 0.12
    # A zero is a day without a sale, and a missing day is not.
    assert off(ets(np.nan_to_num(gaps), 14), truth) > 0.3


def test_the_unit_does_not_matter_nor_how_many_series_are_run_at_once(monkeypatch):
    rng = np.random.default_rng(5)
    sold = rng.poisson(rng.gamma(1, 4, 90)[:, None] * np.tile(WEEK, 20)).astype(np.float32)
    told = ets(sold, 28)
    assert ets(1000 * sold, 28) == pytest.approx(1000 * told, rel=1e-3, abs=1e-3)
    monkeypatch.setattr(smoothing, "_AT_ONCE", 7)
    assert ets(sold, 28) == pytest.approx(told, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("seasonal", [False, True])
def test_it_is_near_auto_ets_on_series_that_are_what_auto_ets_assumes(seasonal):
    """Level with or without a season, additive errors: Hyndman et al. 2008, models ANN and ANA."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    rng, series, days, horizon = np.random.default_rng(6), 40, 112, 14
    level = rng.uniform(50, 200, series)
    rate, noise = rng.uniform(0.05, 0.6, series), 0.08 * level
    season = rng.normal(0, 0.2, (7, series)) * level * seasonal
    season -= season.mean(0)
    drawn = np.empty((series, days + horizon))
    for day in range(days + horizon):
        error = rng.normal(0, noise)
        drawn[:, day] = np.maximum(level + season[day % 7] + error, 0)
        level = level + rate * error
    history, future = drawn[:, :days], drawn[:, days:]
    long = pd.DataFrame({
        "unique_id": np.repeat(np.arange(series), days), "ds": np.tile(pd.date_range("2025-01-06", periods=days), series),
        "y": history.ravel(),
    })  # fmt: skip
    peer = StatsForecast(models=[AutoETS(season_length=7)], freq="D", n_jobs=1).forecast(df=long, h=horizon)
    theirs = peer.sort_values(["unique_id", "ds"])["AutoETS"].to_numpy().reshape(series, horizon)
    assert off(ets(history, horizon), future) < 1.04 * off(theirs, future)


@settings(max_examples=120, deadline=None)
@given(
    demand=arrays(
        np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.one_of(
            st.just(np.float32(np.nan)), st.just(np.float32(0)), st.integers(0, 9).map(np.float32),
            st.floats(0, 1e9, width=32),
        ),
    ),
    horizon=st.sampled_from([1, 7, 14, 28, 56, LONGEST_HORIZON]),
)  # fmt: skip
def test_whatever_was_sold_the_mean_is_a_number_and_never_negative(demand, horizon):
    told = ets(demand, horizon)
    assert told.shape == (len(demand), horizon)
    assert np.isfinite(told).all()
    assert (told >= 0).all()
    nothing = ~np.isfinite(demand).any(axis=1) | (np.nan_to_num(demand).max(axis=1) == 0)
    assert (told[nothing] == 0).all()


def test_a_number_too_small_for_its_mean_to_be_told_from_0_is_no_error():
    told = ets(np.array([[1e-45, 0, 0, 0], [3, 3, 3, 3]], np.float32), 7)
    assert (told[0] <= 1e-44).all()
    assert told[1] == pytest.approx(3, rel=0.01)


def test_constant_sales_are_forecast_as_they_are_from_the_first_day_on():
    for days in (1, 2, 6, 30, 400):
        assert ets(np.full((3, days), 4, np.float32), 9) == pytest.approx(np.full((3, 9), 4), rel=1e-3)
    assert ets(np.zeros((0, 30), np.float32), 5).shape == (0, 5)


def test_a_model_trained_before_ets_was_there_forecasts_as_it_did(tmp_path, monkeypatch):
    rng, days = np.random.default_rng(7), 84
    dates = pd.date_range("2025-01-06", periods=days)
    history = pd.DataFrame({
        "sku": np.repeat([f"P{number}" for number in range(12)], days), "location": "S", "date": np.tile(dates, 12),
        "quantity": rng.poisson(8 * np.tile(WEEK, 12 * days // 7)).astype(float),
    })  # fmt: skip
    without = {name: method for name, method in statistical.METHODS.items() if name != "ets"}
    with monkeypatch.context() as before:
        before.setattr(statistical, "METHODS", without)
        old = train(history, horizon=14, config=PLAIN)
        old.save(tmp_path / "model")
        told = predict(old, history)[0]
    assert "ets" not in old.names
    pd.testing.assert_frame_equal(predict(load(tmp_path / "model"), history)[0], told)
    new = train(history, horizon=14, config=PLAIN)
    assert "ets" in set(new.scores["model"])
