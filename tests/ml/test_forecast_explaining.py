"""A forecast taken apart: the parts sum to it, and they are about what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.forecast import (
    QUANTILE_COLUMNS,
    BoostedConfig,
    ForecastConfig,
    ForecastError,
    RecurrentConfig,
    explain,
    nothing_sells,
    predict,
    sentence,
    train,
    with_closing,
)
from ml.forecast.explaining import LEVEL, OTHER_MODELS, SEASON, STOCK_OUTS, driver
from ml.forecast.panel import Columns

DAYS, AHEAD = 140, 14
CONFIG = ForecastConfig(
    origins=2, boosted=BoostedConfig(rounds=120, learning_rate=0.1), recurrent=RecurrentConfig(enabled=False)
)


@pytest.fixture(scope="module")
def shop():
    """40 products whose demand has a weekday pattern and doubles under a promotion; a quarter ran out early each Saturday."""
    rng = np.random.default_rng(3)
    dates = pd.date_range("2025-01-06", periods=DAYS + AHEAD)
    keys = pd.DataFrame({"sku": [f"P{i:02d}" for i in range(40)], "location": np.where(np.arange(40) % 2, "A", "B")})
    frame = keys.merge(pd.DataFrame({"date": dates}), how="cross")
    day = frame["date"].dt.dayofweek.to_numpy()
    promo = rng.random(len(frame)) < 0.15
    rate = np.repeat(rng.gamma(4, 4, 40), len(dates)) * np.array([0.6, 0.7, 0.8, 1, 1.2, 1.7, 1.0])[day] * (1 + promo)
    demand = rng.poisson(rate)
    emptied = (frame["sku"].str[1:].astype(int) < 10).to_numpy() & (day == 5)
    frame = frame.assign(
        quantity=np.where(emptied, np.floor(0.4 * demand), demand),
        share=np.where(emptied, 0.4, 1.0),
        promo=promo.astype(float),
    )
    cut = dates[DAYS - 1]
    history, future = frame[frame["date"] <= cut], frame[frame["date"] > cut].drop(columns=["quantity", "share"])
    model = train(history, horizon=AHEAD, known_future=["promo"], availability="share", config=CONFIG)
    return model, history, future


@pytest.fixture(scope="module")
def parts(shop):
    return explain(*shop)


def test_the_parts_of_every_day_sum_to_its_forecast(shop, parts):
    forecasts = predict(*shop, models=["blend"])[0]
    total = parts.groupby(["sku", "location", "date"])["contribution"].sum().rename("total").reset_index()
    both = forecasts.merge(total, on=["sku", "location", "date"])
    assert len(both) == 40 * AHEAD
    assert both["total"].to_numpy() == pytest.approx(both["mean"].to_numpy(), rel=1e-4, abs=1e-4)


def test_each_driver_contributes_where_it_is_at_work(shop, parts):
    _, _, future = shop
    wide = parts.pivot(index=["sku", "location", "date"], columns="driver", values="contribution").reset_index()
    wide = wide.rename(columns={"promo": "by_promo"}).merge(future)
    mean = wide[LEVEL].mean()
    promoted = wide["promo"] == 1
    assert wide.loc[promoted, "by_promo"].mean() > 0.4 * mean
    assert abs(wide.loc[~promoted, "by_promo"].mean()) < 0.2 * mean
    saturday = wide["date"].dt.dayofweek == 5
    assert wide.loc[saturday, SEASON].mean() > 0.3 * mean
    assert wide.loc[wide["date"].dt.dayofweek == 0, SEASON].mean() < -0.15 * mean
    ran_out = wide["sku"].str[1:].astype(int) < 10
    assert wide.loc[ran_out, STOCK_OUTS].mean() > 0.08 * mean > 10 * abs(wide.loc[~ran_out, STOCK_OUTS].mean())


def test_one_series_is_explained_as_among_all(shop, parts):
    # Next to a split of a tree the least difference in a feature moves a part of the forecast from one driver to another.
    for sku, location in parts[["sku", "location"]].drop_duplicates().itertuples(index=False):
        one = explain(*shop, series=[(sku, location)])
        same = parts[(parts["sku"] == sku) & (parts["location"] == location)].reset_index(drop=True)
        off = (one["contribution"] - same["contribution"]).abs()
        assert list(one["driver"]) == list(same["driver"])
        assert off.max() < 1e-4 * same.groupby("date")["contribution"].sum().max()
    one = explain(*shop, series=[("P07", "A")])
    day = one[one["date"] == one["date"].min()]
    told = sentence(day)
    assert told.startswith(f"{day['contribution'].sum():.3g}: the level of what was sold ")
    assert "weekday and season" in told
    with pytest.raises(ForecastError, match="no row of P07 at B"):
        explain(*shop, series=[("P07", "B")])


def test_without_trees_the_weekday_profile_is_what_is_taken_apart(shop):
    _, history, future = shop
    plain = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))
    model = train(history, horizon=AHEAD, known_future=["promo"], availability="share", config=plain)
    parts = explain(model, history, future)
    assert set(parts["driver"]) == {LEVEL, SEASON, STOCK_OUTS, OTHER_MODELS}
    total = parts.groupby(["sku", "location", "date"], sort=False)["contribution"].sum().to_numpy()
    assert total == pytest.approx(predict(model, history, future, models=["blend"])[0]["mean"].to_numpy(), rel=1e-4)


@pytest.mark.parametrize(
    ("feature", "about"),
    [
        ("log_level", "level"), ("days_since_sale", "level"), ("mean_28", "level"), ("static_category", "level"), ("age", "level"),
        ("weekday_mean_4", "season"), ("sku_profile", "season"), ("year_ago", "season"), ("trend", "trend"),
        ("location_trend", "trend"), ("in_stock_weekday", "stock_outs"), ("location_in_stock", "stock_outs"),
        ("demand_weekday_1", "stock_outs"), ("trend_setter_change", "trend_setter"), ("rain_mean_7", "rain"),
    ],
)  # fmt: skip
def test_features_belong_to_the_driver_they_are_about(feature, about):
    assert driver(feature, Columns(known_future=("trend_setter",), past_only=("rain",))) == about


@pytest.mark.parametrize(
    ("feature", "about"),
    [
        ("temperature", "weather"), ("precipitation_response", "weather"), ("observed_temperature_mean_7", "weather"),
        ("holiday_after", "holidays"), ("holiday_ahead", "holidays"), ("makeup_day_before", "holidays"),
        ("new_year_behind_change", "new_year"), ("index_sentiment_last", "indices"), ("price_change", "price"),
        ("discount_response", "discount"), ("static_brand", LEVEL), ("brand_trend", "trend"),
    ],
)  # fmt: skip
def test_columns_of_one_thing_are_one_driver(feature, about):
    columns = Columns(
        (
            "discount",
            "price",
            "holiday",
            "makeup_day",
            "holiday_ahead",
            "new_year_behind",
            "temperature",
            "precipitation",
        ),
        ("observed_temperature", "index_sentiment"),
        ("brand",),
    )
    assert driver(feature, columns) == about


def test_weather_and_holidays_have_words_of_their_own():
    day = pd.DataFrame(
        {"driver": [LEVEL, "weather", "new_year", "indices"], "contribution": [10.0, 2.0, 1.0, -0.5], "similar": 0}
    )
    assert sentence(day) == (
        "12.5: the level of what was sold 10, weather +2, the lunar new year +1, outside indices -0.5"
    )


def test_a_closed_day_sells_nothing_and_its_parts_say_so(shop, parts):
    forecasts = predict(*shop, models=["blend"])[0]
    days = sorted(forecasts["date"].unique())
    closed = pd.DataFrame({"location": ["A", "A", "B"], "date": [days[3], days[3], days[5]]})
    told, explained = nothing_sells(forecasts, closed), with_closing(parts, closed)
    shut = (told["location"] == "A") & (told["date"] == days[3]) | (told["location"] == "B") & (told["date"] == days[5])
    assert shut.sum() == 40
    assert (told.loc[shut, ["mean", *QUANTILE_COLUMNS]] == 0).all(axis=None)
    pd.testing.assert_frame_equal(told[~shut], forecasts[~shut])
    total = explained.groupby(["sku", "location", "date"])["contribution"].sum().rename("total").reset_index()
    both = told.merge(total, on=["sku", "location", "date"])
    assert both["total"].to_numpy() == pytest.approx(both["mean"].to_numpy(), rel=1e-4, abs=1e-4)
    assert len(explained) == len(parts) + 40
    assert with_closing(parts, closed.iloc[:0]) is parts
    assert nothing_sells(forecasts, closed.iloc[:0]) is forecasts


def test_what_a_closed_day_would_have_sold_is_told_with_it():
    day = pd.DataFrame({"driver": [LEVEL, "weather"], "contribution": [10.0, 2.0], "similar": 0})
    day = day.assign(sku="P", location="A", date=pd.Timestamp("2026-01-01"))
    assert sentence(with_closing(day, day[["location", "date"]])) == (
        "0: the level of what was sold 10, closed -12, weather +2"
    )
