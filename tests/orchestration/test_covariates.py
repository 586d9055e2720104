"""What forecasts are told besides sales, as of a morning: nothing that came to be known later, and no more than there is."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from connectors.records import CategoryIndex, Location, OrderLine, Product, Promotion, WeatherDay
from ml.forecast import FeaturesConfig
from orchestration.cli.project import prepare_project
from orchestration.planning.covariates import columns_of
from orchestration.planning.history import DemandData, read_demand
from tests.orchestration.small_shop import SmallShop

FIRST, MORNING = dt.date(2026, 1, 10), dt.date(2026, 3, 2)
EVERYTHING = FeaturesConfig(observed_weather=True, attributes=True, price=True)


def instant(day: dt.date, hour: int) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, hour, tzinfo=dt.UTC)


def weather(shop: SmallShop, about: dt.date, issued: dt.datetime, temperature: float, place: str = "S1") -> None:
    shop.add(
        WeatherDay, location_code=place, date_on=about, issued_at=issued, temperature=temperature, precipitation=0.5
    )


def swing(number: np.ndarray) -> np.ndarray:
    return np.where(np.asarray(number) % 2, 10, -10)


def opened(folder) -> SmallShop:
    """One product at two shops that sells every day; what the weather was and was to be, told for S1 evening by evening."""
    prepare_project()
    shop = SmallShop(folder)
    shop.add(
        Location, location_code="S1", name="High Street", timezone="Europe/Berlin", business_day_start=120, country="DE"
    )
    shop.add(Location, location_code="S2", name="Harbour", timezone="Asia/Shanghai", country="CN")
    shop.add(Product, item_code="A", name="A", category="Tea", brand="Lotus", list_price=3, currency="EUR")
    for number in range((MORNING - FIRST).days):
        day = FIRST + dt.timedelta(days=number)
        for place in ("S1", "S2"):
            shop.add(
                OrderLine, order_code=f"{place}-{number}", line_code="1", location_code=place, item_code="A",
                ordered_at=instant(day, 9), quantity=3, unit_price=2.5, currency="EUR",
            )  # fmt: skip
        # Warm and cold days take turns, and what is forecast further ahead exaggerates.
        for ahead in (1, 2, 3):
            weather(shop, day + dt.timedelta(days=ahead), instant(day, 18), 20 + ahead * swing(number + ahead))
        weather(shop, day, instant(day + dt.timedelta(days=1), 6), 500 + number)
        # Only measured here, and told as the next day begins in Shanghai.
        weather(shop, day, instant(day, 16), 700 + number, "S2")
    shop.build(MORNING)
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> SmallShop:
    return opened(tmp_path_factory.mktemp("shop"))


def read(shop: SmallShop, morning: dt.date = MORNING, features: FeaturesConfig = EVERYTHING) -> DemandData:
    with shop.warehouse.connect() as db:
        return read_demand(db, morning, features)


def at(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    return frame[frame["location"] == f"location:{place}"].set_index("date")


def test_a_past_day_has_the_weather_forecast_on_the_eve_and_never_what_came(shop):
    told = at(read(shop).history, "S1")["temperature"]
    number = (told.index - pd.Timestamp(FIRST)).days
    # The first day had no eve.
    assert np.isnan(told.iloc[0])
    assert told.iloc[1:].to_numpy() == pytest.approx(20 + swing(number[1:]))


def test_days_to_come_have_what_an_early_forecast_has_been_worth_and_beyond_them_what_is_usual(shop):
    told = at(read(shop).future, "S1")["temperature"]
    number = (told.index - pd.Timestamp(FIRST)).days
    assert told.iloc[:3].to_numpy() == pytest.approx(20 + swing(number[:3]), abs=0.5)
    assert told.iloc[3:].to_numpy() == pytest.approx(20)


def test_where_weather_is_only_measured_it_is_known_after_its_day(shop):
    data = read(shop)
    measured = at(data.history, "S2")["observed_temperature"]
    number = (measured.index - pd.Timestamp(FIRST)).days
    assert measured.to_numpy() == pytest.approx(700 + number)
    assert at(data.future, "S2")["observed_temperature"].isna().all()
    assert at(data.history, "S2")["temperature"].isna().all()
    # In Berlin it comes at six in the morning after, which is too late for that morning's start.
    late = at(data.history, "S1")["observed_temperature"]
    assert late.iloc[1:].to_numpy() == pytest.approx(500 + (number[1:] - 1))


def test_weather_issued_after_a_morning_changes_nothing_of_it(tmp_path):
    shop = opened(tmp_path)
    before = read(shop)
    for ahead in range(1, 20):
        weather(shop, MORNING + dt.timedelta(days=ahead), instant(MORNING, 3), -50)
    weather(shop, MORNING, instant(MORNING, 2), -50)
    weather(shop, MORNING - dt.timedelta(days=9), instant(MORNING + dt.timedelta(days=1), 2), -50)
    shop.build(MORNING + dt.timedelta(days=1))
    again = read(shop)
    pd.testing.assert_frame_equal(before.history, again.history)
    pd.testing.assert_frame_equal(before.future, again.future)
    # The next morning knows.
    assert at(read(shop, MORNING + dt.timedelta(days=1)).future, "S1")["temperature"].iloc[0] == pytest.approx(
        -50, abs=15
    )


def test_each_place_has_the_calendar_of_its_country(shop):
    history = read(shop).history
    china, germany = at(history, "S2"), at(history, "S1")
    assert china.loc["2026-02-17", "holiday"] == 1
    assert china.loc["2026-02-16", "new_year_ahead"] == 1
    assert china.loc["2026-02-28", "makeup_day"] == 1
    assert not germany[["holiday", "makeup_day", "new_year_ahead", "new_year_behind"]].any(axis=None)
    ahead = at(read(shop).future, "S2")
    assert ahead.index[0] == pd.Timestamp(MORNING)
    assert ahead.loc["2026-03-02", "new_year_behind"] == pytest.approx(3 / 15)


def test_models_learn_from_what_varies_and_is_switched_on(shop):
    data = read(shop)
    columns = columns_of(data.history)
    # Nothing was on promotion; there is one product of one brand.
    assert columns.known_future == (
        "holiday", "makeup_day", "holiday_ahead", "holiday_behind", "new_year_ahead", "new_year_behind", "temperature",
    )  # fmt: skip
    assert columns.past_only == ("observed_temperature",)
    assert columns.static == ("country",)
    none = FeaturesConfig(calendar=False, new_year="off", weather=False, index=False, attributes=False)
    assert set(read(shop, features=none).history) == {
        "sku", "location", "date", "quantity", "in_stock_share", "discount", "is_open", "category",
    }  # fmt: skip
    assert set(read(shop, features=none).future) == {"sku", "location", "date", "discount", "is_open"}


def test_the_new_year_can_be_asked_for_and_done_without(shop):
    on = read(shop, features=FeaturesConfig(new_year="on")).history
    assert at(on, "S1").loc["2026-02-16", "new_year_ahead"] == 1
    assert "new_year_ahead" not in read(shop, features=FeaturesConfig(new_year="off")).history


def test_no_weather_at_all_is_no_column_to_learn_from(tmp_path):
    prepare_project()
    shop = SmallShop(tmp_path)
    shop.add(Location, location_code="S1", name="High Street")
    shop.add(Product, item_code="A", name="A")
    for number in range(20):
        shop.add(
            OrderLine, order_code=f"{number}", line_code="1", location_code="S1", item_code="A",
            ordered_at=instant(FIRST + dt.timedelta(days=number), 9), quantity=number % 3 + 1, unit_price=2, currency="EUR",
        )  # fmt: skip
    shop.build(FIRST + dt.timedelta(days=20))
    data = read(shop, FIRST + dt.timedelta(days=20))
    assert data.history[["temperature", "observed_temperature"]].isna().all(axis=None)
    assert columns_of(data.history).known_future == ()


# -- Prices and indices ------------------------------------------------------------------------------------------------


HALVED = (20, 21, 22)


def priced(folder, price_on) -> SmallShop:
    """A product and its twin that nobody buys on the last days, at `price_on(number of the day)`."""
    prepare_project()
    shop = SmallShop(folder)
    shop.add(Location, location_code="S1", name="High Street")
    shop.add(Promotion, promotion_code="P", item_code="A", starts_on=FIRST + dt.timedelta(days=HALVED[0]),
             ends_on=FIRST + dt.timedelta(days=HALVED[-1]), discount=0.5, announced_on=FIRST)  # fmt: skip
    for item in ("A", "B"):
        shop.add(Product, item_code=item, name=item, list_price=99, currency="EUR")
        for number in range(40 if item == "A" else 35):
            shop.add(
                OrderLine, order_code=f"{item}-{number}", line_code="1", location_code="S1", item_code=item, quantity=2,
                ordered_at=instant(FIRST + dt.timedelta(days=number), 9), unit_price=price_on(number), currency="EUR",
            )  # fmt: skip
    return shop


def test_the_price_of_a_day_is_what_was_asked_before_it_against_what_is_usual(tmp_path):
    morning = FIRST + dt.timedelta(days=40)
    shop = priced(tmp_path, lambda number: (12 if number >= 30 else 10) / (2 if number in HALVED else 1))
    shop.build(morning)
    history = read(shop, morning).history
    price = history[history["sku"] == "item:A"]["price"].to_numpy()
    assert np.isnan(price[0])
    # A promotion is no other price, and a new price is known once it has been the one asked on most of five days.
    assert price[1:33] == pytest.approx(1)
    assert price[33:] == pytest.approx(1.2)
    future = read(shop, morning).future
    assert future[future["sku"] == "item:A"]["price"].to_numpy() == pytest.approx(1.2)
    # Nobody bought the other one lately: what was asked last stands, and the list price of 99 plays no part.
    assert future[future["sku"] == "item:B"]["price"].to_numpy() == pytest.approx(1.2)


def test_what_is_asked_later_changes_no_price_of_a_past_morning(tmp_path):
    morning = FIRST + dt.timedelta(days=25)
    shop = priced(tmp_path, lambda number: 30 if number >= 25 else 10 / (2 if number in HALVED else 1))
    shop.build(FIRST + dt.timedelta(days=40))
    data = read(shop, morning)
    assert np.nanmax(data.history["price"]) == np.nanmax(data.future["price"]) == pytest.approx(1)


def index(shop: SmallShop, category: str, day: int, value: float, issued: int, name: str = "searches") -> None:
    shop.add(CategoryIndex, name=name, category=category, date_on=FIRST + dt.timedelta(days=day), value=value,
             issued_at=instant(FIRST + dt.timedelta(days=issued), 12))  # fmt: skip


def test_an_index_counts_from_when_it_was_issued_and_for_the_nearest_category(tmp_path):
    prepare_project()
    shop = SmallShop(tmp_path)
    shop.add(Location, location_code="S1", name="High Street")
    for item, category in (("A", "Food/Dairy"), ("B", "Food/Bread"), ("C", "Toys"), ("D", None)):
        shop.add(Product, item_code=item, name=item, category=category)
        for number in range(40):
            shop.add(
                OrderLine, order_code=f"{item}-{number}", line_code="1", location_code="S1", item_code=item, quantity=2,
                ordered_at=instant(FIRST + dt.timedelta(days=number), 9), unit_price=1, currency="EUR",
            )  # fmt: skip
    for week in range(5):
        index(shop, "Food", 7 * week, 100 + week, 7 * week + 2)
    index(shop, "Food/Dairy", 0, 7, 0)
    index(shop, "", 0, 1, 0, name="mood")
    # The value of day 28 is corrected after the morning, and a later one issued after it.
    index(shop, "Food", 28, -1, 40)
    index(shop, "Food", 35, -1, 40)
    morning = FIRST + dt.timedelta(days=40)
    shop.build(morning)
    history = read(shop, morning).history.sort_values("date")
    bread = history[history["sku"] == "item:B"]
    week = (np.arange(40) - 2) // 7
    assert bread["index_searches"].iloc[2:].to_numpy() == pytest.approx(100 + np.minimum(week[2:], 4))
    assert bread["index_searches"].iloc[:2].isna().all()
    assert bread["index_searches_change_7"].iloc[-1] == 0
    assert bread["index_searches_change_28"].iloc[-1] == 3
    assert (history[history["sku"] == "item:A"]["index_searches"] == 7).all()
    assert history[history["sku"] == "item:C"]["index_searches"].isna().all()
    assert (history["index_mood"] == 1).all()
    assert "index_mood" not in read(shop, morning).future
    columns = columns_of(history)
    assert set(columns.past_only) == {"index_searches", "index_searches_change_7", "index_searches_change_28"}
    # One day later the correction is known.
    shop.build(morning + dt.timedelta(days=1))
    later = read(shop, morning + dt.timedelta(days=1)).history
    assert later[later["sku"] == "item:B"].sort_values("date")["index_searches"].to_list()[:40] == pytest.approx(
        bread["index_searches"].to_list(), nan_ok=True
    )
    assert later[later["sku"] == "item:B"].sort_values("date")["index_searches"].iloc[-1] == -1
