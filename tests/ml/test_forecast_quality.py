"""Forecasts of a shop with known structure: better than seasonal naive, calibrated, the same each time, savable."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ml.forecast import (
    ArtefactError,
    BoostedConfig,
    ForecastConfig,
    ForecastError,
    RecurrentConfig,
    load,
    predict,
    sample_paths,
    train,
)
from ml.forecast import forecast as run
from ml.forecast.config import LEVELS, QUANTILE_COLUMNS

HORIZON = 14
SMALL = ForecastConfig(
    boosted=BoostedConfig(rounds=80, rows=60_000, depth=5, learning_rate=0.1), recurrent=RecurrentConfig(enabled=False)
)
ROLES = {"known_future": ["discount"], "static": ["category"], "availability": "in_stock_share"}


def shop(series: int = 120, days: int = 168, seed: int = 5, swing: float = 0.3) -> pd.DataFrame:
    """Weekday pattern, promotions that lift demand by half, a slow trend, and shelves that run empty on busy days."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(2, 3, series) + 1
    weekday = np.array([0.7, 0.8, 0.9, 1, 1.2, 1.5, 0.9])[np.arange(days) % 7]
    discount = (rng.random((series, days)) < 0.15) * 0.3
    trend = 1 + swing * np.sin(np.arange(days) / 40)
    rate = mean[:, None] * weekday * trend * (1 + 1.7 * discount) * rng.gamma(10, 0.1, (series, days))
    demand = rng.poisson(rate)
    stock = np.ceil(mean[:, None] * trend * rng.uniform(0.9, 3, (series, days)))
    share = np.ones_like(rate)
    out = demand >= stock
    share[out] = rng.beta(stock[out], demand[out] - stock[out] + 1)
    index = pd.MultiIndex.from_product(
        [[f"P{i:03d}" for i in range(series)], pd.date_range("2025-01-01", periods=days)], names=["sku", "date"]
    )
    frame = index.to_frame(index=False).assign(location="S1")
    return frame.assign(
        quantity=np.minimum(demand, stock).ravel(), demand=demand.ravel(), discount=discount.ravel(),
        in_stock_share=share.ravel(), category=np.repeat([f"C{i % 4}" for i in range(series)], days),
    )  # fmt: skip


@pytest.fixture(scope="module")
def frames():
    return known_and_to_come(shop())


def known_and_to_come(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    cut = frame["date"].max() - pd.Timedelta(days=HORIZON)
    return frame[frame["date"] <= cut].drop(columns="demand"), frame[frame["date"] > cut]


@pytest.fixture(scope="module")
def result(frames):
    history, future = frames
    return run(history, future.drop(columns=["quantity", "demand"]), horizon=HORIZON, config=SMALL, seed=3, **ROLES)


@pytest.fixture(scope="module")
def judged(result, frames):
    return result.forecasts.merge(frames[1][["sku", "location", "date", "demand", "in_stock_share"]])


def test_the_blend_beats_seasonal_naive_on_days_it_has_not_seen(judged):
    error = {m: np.abs(g["demand"] - g["q50"]).sum() / g["demand"].sum() for m, g in judged.groupby("model")}
    assert error["blend"] < 0.85 * error["seasonal_naive"], error
    assert error["blend"] < 1.02 * error["xgboost"], error


def test_the_mean_is_the_demand_and_not_the_sales_that_stock_outs_left():
    frame = shop(swing=0)  # what all products do together is not to be foreseen
    cut = frame["date"].max() - pd.Timedelta(days=HORIZON)
    history, future = frame[frame["date"] <= cut].drop(columns="demand"), frame[frame["date"] > cut]
    model = train(history, horizon=HORIZON, config=SMALL, seed=3, **ROLES)
    told, _, _ = predict(model, history, future.drop(columns=["quantity", "demand"]), models=["blend"])
    assert future["demand"].sum() > 1.05 * future["quantity"].sum()
    assert told["mean"].sum() / future["demand"].sum() == pytest.approx(1, abs=0.03)


def test_the_forecast_of_sales_is_of_what_the_till_will_show():
    parts = []
    for seed in (5, 6, 7):
        history, future = known_and_to_come(shop(seed=seed))
        result = run(history, future, horizon=HORIZON, config=SMALL, seed=3, sales=True, **ROLES)
        told = result.forecasts[result.forecasts["model"].isin(["blend", "sales"])]
        parts.append(told.merge(future[["sku", "location", "date", "quantity", "demand"]]))
    assert result.sales_dependence is not None
    paths = sample_paths(told, 200, seed=1, dependence=result.sales_dependence, model="sales")
    sold = future.groupby("sku")["quantity"].sum().to_numpy()
    assert 0.75 <= (sold <= np.quantile(paths.total(), 0.9, axis=1)).mean() <= 0.99
    both = pd.concat(parts)
    total = both.groupby("model")[["mean", "quantity", "demand"]].sum()
    assert total["demand"].iloc[0] > 1.05 * total["quantity"].iloc[0]  # the two differ in this shop
    # What all products do together is not to be foreseen, and here it falls.
    assert abs(total.at["sales", "mean"] / total.at["sales", "quantity"] - 1) < 0.09
    assert abs(total.at["blend", "mean"] / total.at["blend", "demand"] - 1) < 0.09
    off = np.abs(total["mean"] / total["quantity"] - 1)
    assert off["sales"] < off["blend"]
    errors = np.abs(both["quantity"] - both["q50"]).groupby(both["model"]).sum()
    assert errors["sales"] < errors["blend"]


def test_quantiles_cover_what_they_say_for_days_and_for_sums(result, judged):
    blend = judged[judged["model"] == "blend"]
    for level, column in [(0.1, "q10"), (0.5, "q50"), (0.9, "q90"), (0.975, "q975")]:
        below, at_most = (blend["demand"] < blend[column]).mean(), (blend["demand"] <= blend[column]).mean()
        assert below - 0.05 <= level <= at_most + 0.05, column
    paths = sample_paths(result.forecasts, 400, seed=1, dependence=result.dependence)
    week = blend[blend["date"].isin(paths.dates[:7])].groupby("sku")["demand"].sum().to_numpy()
    upper = np.quantile(paths.total(0, 7), 0.9, axis=1)
    assert 0.8 <= (week <= upper).mean() <= 0.97


def test_held_out_scores_name_the_baseline_and_agree_with_the_days_to_come(result, judged):
    pooled = result.scores[result.scores["segment"] == "all"].set_index("model")
    assert pooled.at["blend", "wape"] < pooled.at["seasonal_naive", "wape"]
    weights = result.weights.groupby(["segment", "week"])["weight"].sum()
    assert weights.to_numpy() == pytest.approx(1)


def test_promotions_of_the_future_table_move_the_forecast(result, judged):
    blend = judged[judged["model"] == "blend"].merge(shop()[["sku", "date", "discount"]])
    scaled = blend["mean"] / blend.groupby("sku")["mean"].transform("mean")
    assert scaled[blend["discount"] > 0].mean() > 1.2 * scaled[blend["discount"] == 0].mean()


@pytest.mark.parametrize("days", [30, 36])
def test_after_five_weeks_promotions_are_learned_already(days):
    frame = shop(series=80, days=days + 14)
    known, to_come = known_and_to_come(frame)
    config = ForecastConfig(recurrent=RecurrentConfig(enabled=False))
    told = run(known, to_come, horizon=14, config=config, **ROLES).forecasts
    error = {
        name: np.abs(part.merge(frame)["demand"] - part.merge(frame)["mean"]).sum()
        for name, part in told.groupby("model")
    }
    assert error["blend"] < 1.02 * error["xgboost"], error


def test_same_input_and_seed_give_the_same_forecast_and_row_order_does_not_matter(result, frames):
    history, future = frames
    mixed = history.sample(frac=1, random_state=1)
    again = run(mixed, future.sample(frac=1, random_state=2), horizon=HORIZON, config=SMALL, seed=3, **ROLES)
    pd.testing.assert_frame_equal(result.forecasts, again.forecasts)


def test_a_saved_model_predicts_the_same_and_is_refused_once_altered(result, frames, tmp_path):
    history, future = frames
    result.model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    forecasts, withheld, _ = predict(loaded, history, future)
    pd.testing.assert_frame_equal(forecasts, result.forecasts)
    assert withheld.empty
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["parameters"]["horizon"] == HORIZON
    assert {len(value) for value in manifest["files"].values()} == {64}
    with pytest.raises(ArtefactError, match="not empty"):
        result.model.save(tmp_path / "model")
    content = tmp_path / "model" / "model.json"
    content.write_text(content.read_text().replace("erratic", "erratik").replace("0.", "1.", 1))
    with pytest.raises(ArtefactError, match="not the one that was saved"):
        load(tmp_path / "model")
    content.unlink()
    with pytest.raises(ArtefactError, match="lacks its file"):
        load(tmp_path / "model")
    with pytest.raises(ArtefactError, match="no complete model"):
        load(tmp_path)


def test_the_stored_data_hash_tells_training_data_apart(frames):
    history, _ = frames
    few = history[history["sku"] < "P010"]
    config = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))
    first = train(few, horizon=7, config=config).data_hash
    assert first == train(few.sample(frac=1, random_state=0), horizon=7, config=config).data_hash
    changed = few.copy()
    changed.loc[changed.index[5], "quantity"] += 1
    assert first != train(changed, horizon=7, config=config).data_hash


def test_a_trained_model_serves_more_days_and_new_series_but_no_longer_horizon(result, frames):
    history, future = frames
    newcomer = history[history["sku"] == "P001"].assign(sku="NEW").tail(10)
    more = pd.concat([history, newcomer], ignore_index=True)
    forecasts, _, _ = predict(result.model, more, future, 7)
    assert forecasts["sku"].nunique() == 121
    assert forecasts["date"].nunique() == 7
    with pytest.raises(ForecastError, match="horizon of 14"):
        predict(result.model, history, future, 15)


def test_new_products_get_wider_intervals_than_known_ones_the_wider_the_fewer_days_they_have(result, frames):
    history, future = frames
    width = {}
    for days in (1, 4, 14):
        newcomers = history[history["date"] > history["date"].max() - pd.Timedelta(days=days)]
        newcomers = newcomers.assign(sku="NEW " + newcomers["sku"])
        forecasts, _, _ = predict(result.model, pd.concat([history, newcomers]), future)
        blend = forecasts[forecasts["model"] == "blend"]
        assert (blend["q90"] >= blend["q10"]).all()
        new = blend["sku"].str.startswith("NEW")
        assert ((blend["similar"] > 0) == new).all()
        for name, part in (("known", blend[~new]), (days, blend[new])):
            width[name] = (part["q90"] - part["q10"]).sum() / part["mean"].sum()
    assert width[1] > width[4] > width[14] > width["known"], width


def test_paths_follow_the_quantiles_and_the_seed(result):
    paths = sample_paths(result.forecasts, 500, seed=4, dependence=result.dependence)
    again = sample_paths(result.forecasts.sample(frac=1, random_state=0), 500, seed=4, dependence=result.dependence)
    assert np.array_equal(paths.values, again.values)
    assert not np.array_equal(paths.values, sample_paths(result.forecasts, 500, seed=5).values)
    assert paths.values.shape == (120, 500, HORIZON)
    assert (paths.values >= 0).all()
    blend = result.forecasts[result.forecasts["model"] == "blend"]
    asked = blend[list(QUANTILE_COLUMNS)].to_numpy().reshape(120, HORIZON, -1)
    for position in (3, 12, 19):
        share = (paths.values <= asked[:, None, :, position]).mean()
        assert share >= LEVELS[position] - 0.02
    # How high the quantiles are is learned on other days than how high the mean is.
    assert paths.values.mean() == pytest.approx(blend["mean"].mean(), rel=0.1)


def test_paths_of_a_series_are_the_same_whatever_is_drawn_beside_it(result):
    paths = sample_paths(result.forecasts, 50, seed=4, dependence=result.dependence)
    some = result.forecasts[result.forecasts["sku"].isin(["P007", "P100"])]
    alone = sample_paths(some, 50, seed=4, dependence=result.dependence)
    assert np.array_equal(alone.values, paths.values[[7, 100]])
    u = paths.values.reshape(120, -1)
    together = np.corrcoef(u - u.mean(axis=0))[np.triu_indices(120, 1)]
    assert np.abs(together).mean() < 0.1  # streams of their own, not the same one


def test_paths_refuse_a_frame_with_holes(result):
    blend = result.forecasts[result.forecasts["model"] == "blend"]
    with pytest.raises(ForecastError, match="every series"):
        sample_paths(blend.iloc[1:], 10, seed=0)
