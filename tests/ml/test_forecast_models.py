"""The single models, and that importing the package stays light."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gamma

from ml.demand import recover_demand
from ml.forecast import (
    LEVELS,
    BoostedConfig,
    ForecastConfig,
    ForecastError,
    RecurrentConfig,
    boosted,
    drift,
    load,
    predict,
    recurrent,
    statistical,
    train,
)
from ml.forecast.artefacts import FORMAT
from ml.forecast.blend import Judged, earned_weights, even_weights
from ml.forecast.explaining import driver
from ml.forecast.features import FeatureBuilder
from ml.forecast.panel import Columns, build_panel
from ml.forecast.paths import Dependence, draw, fit_dependence
from ml.forecast.sample import draw_sample


def weekly(series: int, days: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2025-01-06", periods=days)
    promo = rng.random((series, days)) < 0.2
    rate = (
        rng.gamma(3, 2, series)[:, None]
        * np.array([0.5, 0.6, 0.8, 1, 1.2, 1.8, 1.1])[np.arange(days) % 7]
        * (1 + promo)
    )
    keys = pd.DataFrame({"sku": [f"P{i:02d}" for i in range(series)], "location": "S"})
    return keys.merge(pd.DataFrame({"date": dates}), how="cross").assign(
        quantity=rng.poisson(rate).ravel(), promo=promo.ravel().astype(float), weather=rng.normal(size=series * days)
    )


def test_the_lstm_learns_weekdays_and_promotions_and_comes_back_from_its_files(tmp_path):
    frame = weekly(60, 126)
    cut = frame["date"].max() - pd.Timedelta(days=14)
    history, future = frame[frame["date"] <= cut], frame[frame["date"] > cut]
    config = ForecastConfig(
        origins=1,
        boosted=BoostedConfig(enabled=False),
        recurrent=RecurrentConfig(hidden=16, steps=120, batch=64, window=28, learning_rate=0.01),
    )
    state = np.random.get_state()[1].copy()
    model = train(history, horizon=14, known_future=["promo"], past_only=["weather"], config=config, seed=1)
    assert np.array_equal(state, np.random.get_state()[1])  # the process's random state is its own
    forecasts, _, _ = predict(model, history, future)
    errors = {
        name: np.abs(part.merge(future)["quantity"] - part.merge(future)["mean"]).sum() / future["quantity"].sum()
        for name, part in forecasts.groupby("model")
    }
    assert errors["lstm"] < 0.85 * errors["seasonal_naive"], errors
    model.save(tmp_path / "model")
    assert not [p for p in (tmp_path / "model").iterdir() if p.suffix not in (".json", ".safetensors", ".ubj")]
    plain = random.getstate()
    loaded = load(tmp_path / "model")
    assert random.getstate() == plain
    pd.testing.assert_frame_equal(forecasts, predict(loaded, history, future)[0])
    pd.testing.assert_frame_equal(loaded.scores, model.scores)


def test_without_a_gpu_training_that_insists_on_one_says_so_and_a_network_trained_on_one_still_forecasts(
    tmp_path, monkeypatch
):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    history = weekly(25, 70)
    config = ForecastConfig(
        origins=1,
        held_out_days=0,
        boosted=BoostedConfig(enabled=False),
        recurrent=RecurrentConfig(hidden=8, steps=5, batch=32),
    )
    elsewhere = config.recurrent.model_copy(update={"device": "cuda"})
    with pytest.raises(ForecastError, match="finds no GPU to train on; set it to auto or cpu"):
        train(history, horizon=7, config=config.model_copy(update={"recurrent": elsewhere}))
    model = train(history, horizon=7, config=config)
    before = predict(model, history, models=["lstm"])[0]
    model.recurrent.config = elsewhere
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.recurrent.config.device == "cuda"
    pd.testing.assert_frame_equal(before, predict(loaded, history, models=["lstm"])[0])


def test_one_origin_reads_its_own_window_as_the_whole_history_has_it():
    import torch

    panel = build_panel(weekly(25, 90), None, 0, Columns(past_only=("weather", "promo")), ForecastConfig())
    config = RecurrentConfig(window=21)
    scaling = recurrent.Scaling((), ((0.0, 1.0), (0.2, 0.4)), False, (1.0, 1.0))
    series = torch.arange(25)
    for origin in (5, 21, 60, 90):
        start = max(origin - 21, 0)
        spans = (slice(None), origin), (slice(start, origin), origin - start)
        whole, part = (
            recurrent.Windows(panel, panel.sales, config, scaling, torch.device("cpu"), span).cut(
                series, torch.full((25,), at)
            )
            for span, at in spans
        )
        assert torch.equal(whole, part)


def test_the_lstm_forecasts_tomorrow_from_today():
    import torch

    panel = build_panel(weekly(25, 70).drop(columns=["promo", "weather"]), None, 14, Columns(), ForecastConfig())
    demand = recover_demand(panel.sales)
    builder = FeatureBuilder(panel, demand.expected)
    sample = draw_sample(builder, BoostedConfig(), 14, 0, demand.dispersion)
    config = RecurrentConfig(hidden=8, steps=1, window=28)
    model = recurrent.fit_recurrent(panel, demand.expected, sample, 14, config, seed=0)
    windows = recurrent.Windows(panel, demand.expected, model.config, model.scaling, torch.device("cpu"))
    past = windows.cut(torch.arange(25), torch.full((25,), 70))
    other = past.clone()
    other[:, -1, 0] += 1  # what was sold on the last day
    features = torch.from_numpy(builder.block(70, 14).ordered(model.names))
    model.network.eval()
    before, after = (recurrent._output(model.network, given, features).detach().numpy() for given in (past, other))
    assert (np.abs(after - before).mean(0) > 1e-5).all()  # on every lead day, the first too


def test_the_lstm_says_the_same_in_every_unit():
    said = []
    for unit in (1.0, 2.0**-13):
        frame = weekly(25, 70).drop(columns=["promo", "weather"])
        frame["quantity"] *= unit * 0.3
        frame.loc[frame["sku"] == "P03", "quantity"] = 0.0
        panel = build_panel(frame, None, 14, Columns(), ForecastConfig())
        demand = recover_demand(panel.sales)
        builder = FeatureBuilder(panel, demand.expected)
        sample = draw_sample(builder, BoostedConfig(), 14, 0, demand.dispersion)
        config = RecurrentConfig(hidden=8, steps=20, batch=64, device="cpu")
        model = recurrent.fit_recurrent(panel, demand.expected, sample, 14, config, seed=0)
        said.append(model.predict(panel, demand.expected, 70, builder.block(70, 14)) / unit)
    assert said[1] == pytest.approx(said[0], rel=1e-3, abs=1e-6)


def test_predictions_of_the_days_learned_from_sum_to_what_was_sold():
    """Few days hold most of what lumpy products sell; learning in small steps stops below their mean."""
    rng = np.random.default_rng(3)
    frame = weekly(60, 120).drop(columns=["promo", "weather"])
    frame["quantity"] = np.where(rng.random(len(frame)) < 0.15, np.rint(rng.lognormal(1, 1.2, len(frame))), 0)
    panel = build_panel(frame, None, 0, Columns(), ForecastConfig())
    demand = recover_demand(panel.sales)
    sample = draw_sample(FeatureBuilder(panel, demand.expected), BoostedConfig(), 14, 0, demand.dispersion)
    trees = boosted.fit_boosted(sample, BoostedConfig(rounds=60), 0)
    seen = sample.weight > 0
    told = trees.booster.inplace_predict(sample.values[seen], validate_features=False)
    assert trees.scale > 1.02
    assert np.average(trees.scale * told, weights=sample.weight[seen]) == pytest.approx(
        np.average(np.minimum(sample.target[seen], 40), weights=sample.weight[seen]), rel=1e-4
    )
    # One order of a thousand days counts as much as one of forty.
    one = np.flatnonzero(seen.ravel())[0]
    totals = []
    for bulk in (40.0, 1_000.0):
        target = sample.target.copy()
        target.ravel()[one] = bulk
        totals.append(boosted.fit_boosted(replace(sample, target=target), BoostedConfig(rounds=60), 0).scale)
    assert totals[0] == totals[1] > trees.scale


def test_a_rise_seen_once_is_not_forecast_to_go_on_while_one_seen_often_is():
    assert drift.damping(62, 14) > 0.5 > drift.damping(250, 14) > drift.damping(1100, 14) > 0
    level = np.full(40, 10.0)
    risen, seen = np.full((40, 14), 12.0), np.ones((40, 14))
    assert drift.common_drift(risen, 0.5 * seen, level) == pytest.approx(2.4)
    assert drift.drift_so_far(risen.sum(1), seen.sum(1), level) == pytest.approx(1.2)
    assert drift.common_drift(0 * risen, seen, level) == drift.common_drift(risen, 0 * seen, level) == 1
    assert [drift.stretch(*case) for case in ((50, 10, 100), (50, 5, 100), (98, 14, 100), (2, 14, 5))] == [
        slice(50, 57), slice(50, 57), slice(93, 100), slice(0, 7)
    ]  # fmt: skip


def test_features_are_those_that_models_of_this_format_were_taught():
    """Whoever changes them raises `FORMAT`: a model of before would not be refused, and miss some."""
    frame = weekly(6, 90).assign(category="A", share=0.5)
    frame.loc[frame["sku"] == frame["sku"].iloc[0], "category"] = "B"
    frame["location"] = np.where(frame["sku"] == frame["sku"].iloc[-1], "T", frame["location"])
    columns = Columns(("promo",), ("weather",), ("category",), "share", recorded=True)
    panel = build_panel(frame, None, 0, columns, ForecastConfig(phantom_stock=False))
    names = FeatureBuilder(panel, panel.sales).block(60, 7).names
    assert (FORMAT, names) == (7, (
        "lead", "weekday", "log_level", "mean_7", "mean_14", "mean_28", "mean_56", "trend", "age", "zero_share", "spread",
        "highest", "days_since_sale", "weekday_mean_1", "weekday_mean_2", "weekday_mean_4", "weekday_mean_8", "profile",
        "in_stock_1", "in_stock_3", "in_stock_7", "in_stock_14", "in_stock_28", "in_stock_weekday", "location_in_stock",
        "demand_7", "demand_28", "demand_weekday_1", "demand_weekday_4", "sku_trend", "sku_profile", "location_trend",
        "location_profile", "category_trend", "category_profile", "all_profile", "promo", "promo_before", "promo_after",
        "promo_change", "promo_response", "weather_last", "weather_mean_7", "static_category",
    ))  # fmt: skip


def test_a_column_named_as_a_feature_of_the_models_own_takes_the_place_of_none():
    frame = weekly(6, 90).rename(columns={"promo": "age"})
    plain, named = (
        build_panel(frame, None, 0, Columns(known), ForecastConfig(phantom_stock=False)) for known in ((), ("age",))
    )
    own, told = (FeatureBuilder(panel, panel.sales).block(60, 7) for panel in (plain, named))
    assert told.names[: len(own.names)] == own.names
    assert np.array_equal(told.values[..., : len(own.names)], own.values, equal_nan=True)
    assert "told_age" in told.names
    columns = Columns(("age",))
    assert [driver(name, columns) for name in ("age", "told_age_before")] == ["level", "age"]


def test_importing_forecasting_loads_no_heavy_library():
    code = "import sys, ml.forecast, ml.demand, orchestration.cli.forecast; print([m for m in ('torch', 'xgboost', 'neuralforecast', 'ray') if m in sys.modules])"  # fmt: skip
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_weekday_profile_forecasts_lumpy_sales_of_a_shop_that_is_closed_on_saturdays_without_bias():
    rng = np.random.default_rng(0)
    sold = rng.negative_binomial(0.3, 0.3 / 4.3, (400, 112)).astype(np.float32)
    sold[:, 5::7] = 0
    assert statistical.weekday_profile(sold, 28).mean() == pytest.approx(sold[:, -56:].mean(), rel=0.06)


def test_statistical_methods_on_series_whose_answer_is_known():
    week = np.tile(np.arange(7.0, dtype=np.float32), 12)[None]
    assert np.array_equal(statistical.seasonal_naive(week, 9)[0], np.arange(9) % 7)
    assert statistical.moving_average(week, 3)[0] == pytest.approx([3, 3, 3])
    told = statistical.weekday_profile(week, 7)[0]
    assert told == pytest.approx(np.arange(7), abs=0.4)
    assert told.sum() == pytest.approx(21, rel=0.02)
    sparse = np.zeros((1, 200), np.float32)
    sparse[0, ::5] = 4
    assert statistical.croston_sba(sparse, 1)[0, 0] == pytest.approx(0.95 * 4 / 5, rel=0.02)
    assert statistical.tsb(sparse, 1)[0, 0] == pytest.approx(0.8, rel=0.15)
    ended = np.where(np.arange(200) < 100, sparse, 0)
    assert statistical.tsb(ended, 1)[0, 0] < 0.02  # a product that stopped fades
    nothing = np.full((2, 30), np.nan, np.float32)
    for method in statistical.METHODS.values():
        assert np.array_equal(method(nothing, 4), np.zeros((2, 4)))


def near(truth: np.ndarray, rng, shape: float) -> np.ndarray:
    """A forecast of the truth, the better the higher its shape."""
    return truth * rng.gamma(shape, 1 / shape, len(truth))


def judged(actual: np.ndarray, means: np.ndarray, days: int = 7) -> Judged:
    """Days of two origins, so many of which make a week."""
    number = np.arange(len(actual))
    return Judged(actual, means, 2 * number // len(actual), number // days)


def test_learned_models_share_evenly_unless_one_is_better():
    rng = np.random.default_rng(0)
    truth = rng.gamma(3, 2, 5000)
    actual = rng.poisson(truth).astype(float)
    alike = np.stack([near(truth, rng, 20), near(truth, rng, 25), truth])
    learned = np.array([True, True, False])
    assert even_weights(judged(actual, alike), learned) == pytest.approx([0.5, 0.5, 0], abs=0.11)
    apart = np.stack([near(truth, rng, 200), near(truth, rng, 2), truth])
    assert even_weights(judged(actual, apart), learned)[0] >= 0.9
    assert list(even_weights(judged(actual, alike), np.array([False, True, False]))) == [0, 1, 0]


def test_a_segment_leaves_the_shares_it_started_from_only_for_what_earns_it():
    rng = np.random.default_rng(0)
    truth = rng.gamma(3, 2, 5000)
    actual = rng.poisson(truth).astype(float)
    means = np.stack([near(truth, rng, 6), near(truth, rng, 6), near(truth, rng, 5.7), rng.gamma(3, 2, 5000)])
    start, all_of_them = np.array([0.5, 0.5, 0, 0]), np.ones(4, bool)
    kept = earned_weights(judged(actual, means), all_of_them, start)
    assert kept[3] == 0
    assert kept.sum() == pytest.approx(1)
    means[2] = truth
    assert earned_weights(judged(actual, means), all_of_them, start)[2] >= 0.75
    assert earned_weights(judged(actual, means), np.array([True, True, False, True]), start)[2] == 0
    assert list(earned_weights(judged(actual[:50], means[:, :50]), all_of_them, start)) == list(start)  # too little


def test_the_learned_model_whose_errors_cancel_within_the_week_has_the_larger_share():
    rng = np.random.default_rng(0)
    truth, week = np.full(7000, 10.0), np.arange(7000) // 7
    actual = rng.poisson(truth).astype(float)
    # Of both, single days are wrong by a fifth.
    cancels = truth * (1 + 0.2 * (-1.0) ** np.arange(7000))
    adds_up = truth * (1 + 0.2 * (-1.0) ** week)
    means, both = np.stack([adds_up, cancels]), np.ones(2, bool)
    assert even_weights(judged(actual, means), both)[1] >= 0.6
    assert even_weights(judged(actual, means, days=1), both) == pytest.approx([0.5, 0.5], abs=0.11)


@pytest.mark.parametrize("counts", [False, True])
def test_the_dependence_of_paths_is_recovered_from_sums_over_paths(counts):
    level = gamma.ppf(np.asarray(LEVELS), 0.4, scale=1.5) if counts else np.linspace(10, 90, 23)
    quantiles = (np.rint(level) if counts else level)[None, None].repeat(1000, 0).repeat(14, 1).astype(np.float32)
    names, whole = [(f"P{number}", "S1") for number in range(1000)], np.full(1000, counts)
    for template in (Dependence(0.3, 0.4), Dependence(0.0, 0.0)):
        paths = draw(quantiles, names, 1, seed=0, dependence=template, whole=whole)[:, 0]
        paths[::7, 3] = np.nan
        found = fit_dependence(quantiles, paths, whole)
        assert found.common == pytest.approx(template.common, abs=0.1)
        assert found.persistence == pytest.approx(template.persistence, abs=0.2)
        assert found == fit_dependence(quantiles, paths, whole)
