"""What can be sold and never has been: which products the warehouse knows to be new, and from which day."""

from __future__ import annotations

import datetime as dt

import pytest

from connectors.records import (
    Location,
    OpeningDay,
    OrderLine,
    Product,
    Promotion,
    PurchaseOrderLine,
    StockLevel,
    StockMovement,
    Supplier,
)
from ml.forecast import FeaturesConfig, ForecastConfig
from ml.forecast.newcomers import read_newcomers
from ml.forecast.panel import build_panel
from orchestration.cli.project import prepare_project
from orchestration.planning.covariates import columns_of
from orchestration.planning.history import NEWCOMER_DAYS, DemandData, read_demand
from tests.orchestration.small_shop import SmallShop, at, on

MORNING = on(11, month=3)
SOLD = ("A", "B", "C", "D", "E")


def stocked(shop: SmallShop, item: str, when: dt.datetime, location: str = "S1") -> None:
    shop.add(StockMovement, movement_code=f"{item}{location}{when:%m%d}", kind="opening", location_code=location, item_code=item,
             moved_at=when, quantity=20)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> SmallShop:
    prepare_project()
    shop = SmallShop(tmp_path_factory.mktemp("new"))
    shop.add(Location, location_code="S1", name="S1", timezone="UTC", kind="store", country="DE")
    shop.add(Location, location_code="W", name="W", timezone="UTC", kind="warehouse", country="DE")
    shop.add(Supplier, supplier_code="P1", name="Acme", currency="EUR")
    for item in (*SOLD, "ARRIVED", "OLD", "LONG AGO", "ORDERED", "GONE", "SOON"):
        launched = {"SOON": MORNING + dt.timedelta(days=3), "A": on(1)}.get(item)
        brand = {"B": "Rose", "ARRIVED": "Lotus", "ORDERED": "Rose", "SOON": "Unheard Of"}.get(item, "Lotus")
        shop.add(
            Product,
            item_code=item,
            name=item,
            category="tea",
            brand=brand,
            launched_on=launched,
            is_active=item != "GONE",
        )
    for item in SOLD:
        stocked(shop, item, at(2, 6))
        shop.add(OrderLine, order_code=item, line_code="1", location_code="S1", item_code=item, ordered_at=at(4),
                 quantity=1, unit_price=2, currency="EUR")  # fmt: skip
    stocked(shop, "OLD", at(2, 6))  # as old as the ledger
    stocked(shop, "LONG AGO", at(20, 6))
    stocked(shop, "ARRIVED", at(6, 6, month=3))
    stocked(shop, "GONE", at(6, 6, month=3))
    stocked(shop, "SOON", at(2, 6))
    # A corner shop that has sold for long and has just stated its stock for the first time.
    shop.add(Location, location_code="C", name="C", timezone="UTC", kind="store", country="CN")
    for item in SOLD:
        shop.add(OrderLine, order_code=f"c{item}", line_code="1", location_code="C", item_code=item, ordered_at=at(4),
                 quantity=1, unit_price=2, currency="EUR")  # fmt: skip
    for item in (*SOLD, "OLD"):
        shop.add(StockLevel, location_code="C", item_code=item, counted_at=at(9, 20, month=3), on_hand=7)
    for item in SOLD:
        stocked(shop, item, at(2, 6), "W")
    stocked(shop, "ARRIVED", at(6, 6, month=3), "W")  # to supply the store from
    shop.add(PurchaseOrderLine, purchase_order_code="po", line_code="1", supplier_code="P1", location_code="S1",
             item_code="ORDERED", ordered_at=at(5, month=3), expected_on=on(15, month=3), quantity=5, unit_price=1,
             currency="EUR")  # fmt: skip
    shop.add(OpeningDay, location_code="S1", date_on=on(17, month=3), is_open=False)
    for code, item, place, first, discount, announced in (
        ("launch", "ORDERED", "S1", 15, 0.3, 10),
        ("tea week", "", "S1", 19, 0.1, 10),
        ("secret", "ORDERED", "S1", 20, 0.5, 11),
        ("elsewhere", "ORDERED", "C", 20, 0.4, 10),
        ("of a code that nobody knows", "ORDERD", "S1", 20, 0.6, 10),
    ):
        shop.add(Promotion, promotion_code=code, item_code=item, location_code=place, starts_on=on(first, month=3),
                 ends_on=on(first + 1, month=3), discount=discount, announced_on=on(announced, month=3))  # fmt: skip
    shop.build(MORNING)
    return shop


def read(shop: SmallShop, features: FeaturesConfig) -> DemandData:
    with shop.warehouse.connect() as db:
        return read_demand(db, MORNING, features)


@pytest.fixture(scope="module")
def newcomers(shop) -> DemandData:
    return read(shop, FeaturesConfig())


def test_new_is_what_came_lately_is_coming_or_is_launched_where_things_are_sold(newcomers):
    found = newcomers.newcomers.set_index("sku")
    assert set(found.index) == {"item:ARRIVED", "item:ORDERED", "item:SOON"}
    assert set(found["location"]) == {"location:S1"}
    assert set(found["category"]) == {"tea"}
    first = found["first_day"].dt.date
    assert first["item:ARRIVED"] == on(6, month=3)
    assert first["item:ORDERED"] == on(15, month=3)
    assert first["item:SOON"] == MORNING + dt.timedelta(days=3)
    assert (MORNING - first["item:ARRIVED"]).days < NEWCOMER_DAYS


def test_what_sold_or_lay_there_all_along_is_not_new(newcomers):
    assert set(newcomers.history["sku"]) == {f"item:{item}" for item in SOLD}
    assert "item:OLD" not in set(newcomers.newcomers["sku"])
    assert "item:LONG AGO" not in set(newcomers.newcomers["sku"])


def test_new_products_are_told_the_attributes_that_the_model_knows(shop, newcomers):
    columns = columns_of(newcomers.history)
    assert columns.static == ("brand", "country")  # one category and one kind of place say nothing
    panel = build_panel(newcomers.history, None, 0, columns, ForecastConfig())
    new, notes = read_newcomers(newcomers.newcomers, panel)
    told = {
        sku: dict(zip(columns.static, codes, strict=True))
        for sku, codes in zip(new.keys["sku"], new.static.T.tolist(), strict=True)
    }
    brands, germany = panel.categories["brand"], panel.categories["country"].index("DE")
    assert told == {
        "item:ARRIVED": {"brand": brands.index("Lotus"), "country": germany},
        "item:ORDERED": {"brand": brands.index("Rose"), "country": germany},
        "item:SOON": {"brand": -1, "country": germany},
    }
    assert notes == ["1 newcomer has a brand that nothing in the history has; it counts as not known"]
    without = read(shop, FeaturesConfig(attributes=False)).newcomers
    assert list(without.columns) == ["sku", "location", "category", "first_day"]
    assert list(without["sku"]) == list(newcomers.newcomers["sku"])


def test_new_products_are_told_the_promotions_and_closed_days_ahead_of_them(newcomers):
    """As announced before that morning, and none of another place or of a code that nobody knows."""
    ahead = newcomers.future[newcomers.future["location"] == "location:S1"].set_index(["sku", "date"])
    promoted = ahead["discount"][ahead["discount"] > 0]
    found = {sku: {day.day: off for (_, day), off in days.items()} for sku, days in promoted.groupby("sku")}
    assert found["item:ORDERED"] == {15: 0.3, 16: 0.3, 19: 0.1, 20: 0.1}
    assert found["item:ARRIVED"] == found["item:A"] == {19: 0.1, 20: 0.1}
    closed = ahead["is_open"][ahead["is_open"] == 0].reset_index()
    assert set(closed["date"].dt.day) == {17}
    assert set(closed["sku"]) == {*(f"item:{item}" for item in SOLD), "item:ARRIVED", "item:ORDERED", "item:SOON"}
