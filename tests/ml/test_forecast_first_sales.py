"""What the first sales of a product tell where rows are sales, and who it is judged by besides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.forecast import BoostedConfig, ForecastConfig, RecurrentConfig
from ml.forecast import forecast as run
from ml.forecast.first_sale import chance_of_sale
from ml.forecast.launch import study
from ml.forecast.panel import Columns, build_panel

SIMPLE = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))


def thin(first_sale: float | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows are sales. Every product sells on one day in six, from single pieces to dozens at a time; 60 new ones have sold
    once, on a first day that nobody would know of had they not, and not in the days since. The history, and of the new ones
    sku, what they sell in 28 days in the mean (truth) and what their first day says of it (own)."""
    rng = np.random.default_rng(4)
    days, products, new = pd.date_range("2026-01-05", periods=140), 240, 60
    size, first = rng.lognormal(1.5, 1.2, products), np.zeros(products, int)
    first[:new] = 140 - rng.integers(2, 9, new)
    sold = np.where(rng.random((products, 140)) < 1 / 6, np.ceil(size[:, None] * rng.gamma(2, 0.5, (products, 140))), 0)
    for number in range(new):
        sold[number] = 0
        sold[number, first[number]] = np.ceil(size[number] * rng.gamma(2, 0.5))
    if first_sale:
        sold[0, first[0]] = first_sale
    sku = np.array([f"P{i:03d}" for i in range(products)])
    frame = pd.DataFrame({"sku": np.repeat(sku, 140), "location": "S", "date": np.tile(days, products)})
    frame = frame.assign(quantity=sold.ravel())
    own = sold[:new].sum(1) / (140 - first[:new]) * 28
    return frame[frame["quantity"] > 0], pd.DataFrame({"sku": sku[:new], "truth": 28 / 6 * size[:new], "own": own})


def totals(history: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    told = run(history, None, horizon=28, config=SIMPLE).forecasts
    told = told[(told["model"] == "blend") & (told["similar"] > 0)].groupby("sku", as_index=False)["mean"].sum()
    assert len(told) == len(new)
    return told.merge(new)


def test_a_quiet_day_after_the_first_sale_does_not_end_a_product_that_sells_now_and_then():
    told = totals(*thin())
    assert (told["mean"] > 0.05 * told["truth"]).all()
    assert 0.6 < told["mean"].sum() / told["truth"].sum() < 1.4
    assert (told["mean"] - told["truth"]).abs().sum() < 0.95 * (told["own"] - told["truth"]).abs().sum()


def discontinued(stated: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of 150 products that sell on one day in three 90 are sold no more since day 100 of 200; with rows of nothing sold if
    `stated`. Ten others were put on sale three days ago. The history, and of the ten what they sell in 28 days in the mean."""
    rng = np.random.default_rng(8)
    days, products, ended, new = 200, 160, 90, 10
    size = rng.lognormal(1.5, 0.5, products)
    sold = np.where(
        rng.random((products, days)) < 1 / 3, np.ceil(size[:, None] * rng.gamma(3, 1 / 3, (products, days))), 0
    )
    sold[:ended, 100:] = 0
    sold[-new:, : days - 3] = 0
    sold[-new:, days - 3] = np.ceil(size[-new:])
    sku = np.array([f"P{i:03d}" for i in range(products)])
    frame = pd.DataFrame({"sku": np.repeat(sku, days), "location": "S"})
    frame = frame.assign(date=np.tile(pd.date_range("2026-01-05", periods=days), products), quantity=sold.ravel())
    begun = (frame["quantity"] > 0).groupby(frame["sku"]).cummax()
    truth = pd.DataFrame({"sku": sku[-new:], "truth": 28 / 3 * size[-new:]})
    return frame[begun if stated else frame["quantity"] > 0].reset_index(drop=True), truth


def test_products_that_are_sold_no_more_say_nothing_of_what_a_new_one_sells():
    history, few = discontinued(stated=False)
    unknown = pd.DataFrame({"sku": [f"N{i}" for i in range(5)], "location": "S"})
    result = run(history, None, horizon=28, config=SIMPLE, newcomers=unknown)
    told = result.forecasts[result.forecasts["model"] == "blend"].groupby("sku")["mean"].sum()
    usual = few["truth"].mean()
    assert told[few["sku"]].mean() == pytest.approx(usual, rel=0.3)
    assert told[unknown["sku"]].mean() == pytest.approx(usual, rel=0.3)
    # Sixty that sell, and of the new ones those that sold again.
    assert result.newcomers["similar"].between(60, 70).all()


def test_products_that_are_on_sale_and_do_not_sell_are_what_a_new_one_may_be():
    history, _ = discontinued(stated=True)
    panel = build_panel(history, None, 0, Columns(), SIMPLE)
    similar = study(panel)
    assert panel.missing_days == "unknown"
    assert similar.heard[:150].all()


@pytest.mark.parametrize("tied", [True, False])
def test_how_often_a_product_sells_is_told_by_how_much_it_sold_first_as_far_as_the_two_go_together(tied):
    rng = np.random.default_rng(9)
    series, days = 600, 56
    log_size = rng.normal(2, 0.8, series)
    often = np.clip(0.3 + (0.15 * (log_size - 2) if tied else rng.normal(0, 0.12, series)), 0.03, 0.97)
    sold = np.exp(log_size[:, None] + rng.normal(0, 0.6, (series, days))) * (
        rng.random((series, days)) < often[:, None]
    )
    new = np.arange(series) < 100
    first = np.where(new, np.exp(log_size + rng.normal(0, 0.6, series)), 0.0)
    exposure = np.where(new[:, None], 0.0, np.ones((series, days)))
    told = chance_of_sale(first, np.where(exposure > 0, sold, 0.0), exposure)[new]
    slope = np.polyfit(np.log(first[new]), told, 1)[0]
    # A single day's size says less of the product's than the product's would: 0.64 / (0.64 + 0.36) of it.
    assert slope == pytest.approx(0.15 * 0.64 if tied else 0, abs=0.025)
    assert told.mean() == pytest.approx(often[new].mean(), abs=0.04)


def test_what_does_not_sell_at_all_among_products_that_sell_millions_alike_is_forecast_as_hardly_anything():
    rng = np.random.default_rng(5)
    sku, days = [f"P{i:02d}" for i in range(60)], pd.date_range("2026-01-05", periods=90)
    frame = pd.DataFrame({"sku": sku, "location": "S"}).merge(pd.DataFrame({"date": days}), how="cross")
    frame["quantity"] = rng.poisson(5e6, len(frame)).astype(float)
    new = (frame["sku"] == "P00") & (frame["date"] >= days[80])
    frame.loc[new, "quantity"] = 0.0
    told = run(frame[new | (frame["sku"] != "P00")], None, horizon=7, config=SIMPLE).forecasts
    means = told[told["model"] == "blend"].groupby("sku")["mean"].mean()
    assert np.isfinite(told.select_dtypes("number")).all(axis=None)
    assert means["P00"] < 1e-3 * means["P01"]


def test_a_first_day_that_nobody_would_believe_is_not_what_a_product_sells():
    told, usual = totals(*thin(first_sale=4000)).iloc[0], totals(*thin())
    assert told["mean"] < 0.1 * told["own"]
    assert told["mean"] < 2 * usual["mean"].max()
