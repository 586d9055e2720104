"""What stock is worth: by example, and for the generated shop against an average computed from its facts."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from decimal import Decimal

import pytest

from connectors.records import (
    ExchangeRate,
    Location,
    OrderLine,
    Product,
    PurchaseOrderLine,
    ReceiptLine,
    ReturnLine,
    StockLevel,
    StockMovement,
    Supplier,
    SupplierOffer,
)
from connectors.sandbox.facts import MOVEMENTS
from connectors.sandbox.shop import generate
from tests.connectors.small_sandbox import AS_OF, CONFIG
from tests.orchestration.small_shop import SmallShop, at, on


def move(
    shop: SmallShop, code: str, kind: str, item: str, day: int, quantity: float, place: str = "S1", **more
) -> None:
    shop.add(StockMovement, movement_code=code, kind=kind, location_code=place, item_code=item, moved_at=at(day, 20),
             quantity=quantity, **more)  # fmt: skip


def receive(
    shop: SmallShop, code: str, item: str, day: int, quantity: float, cost: float | None, place: str = "S1", **more
) -> None:
    shop.add(ReceiptLine, receipt_code=code, line_code="1", location_code=place, item_code=item, received_at=at(day),
             quantity=quantity, unit_cost=cost, **more)  # fmt: skip


def value_of(shop: SmallShop, item: str, place: str = "S1") -> dict[int, dict]:
    return {
        row["business_date"].day: row
        for row in shop.table("fct_inventory_value_daily")
        if (row["item_key"], row["location_key"]) == (f"item:{item}", f"location:{place}")
    }


@pytest.fixture(scope="module")
def worth(tmp_path_factory) -> SmallShop:
    shop = SmallShop(tmp_path_factory.mktemp("worth"))
    for place in ("S1", "S2"):
        shop.add(Location, location_code=place, name=place)
    for item in ("BOUGHT", "ORDERED", "OFFERED", "FOUND", "STATED"):
        shop.add(Product, item_code=item, name=item)
    shop.add(Supplier, supplier_code="P", name="Acme", currency="USD")
    shop.add(ExchangeRate, from_currency="USD", to_currency="EUR", date_on=on(1), rate=0.5)
    shop.add(ExchangeRate, from_currency="USD", to_currency="EUR", date_on=on(4), rate=0.25)
    # Ten at 2 and ten at 4 make an average of 3, at which three are sent on and arrive two days later.
    move(shop, "o", "opening", "BOUGHT", 1, 10, unit_cost=2, currency="EUR")
    receive(shop, "r1", "BOUGHT", 2, 10, 4, currency="EUR")
    move(shop, "out", "transfer_out", "BOUGHT", 2, -3, document_code="T1")
    receive(shop, "r2", "BOUGHT", 3, 17, 9, currency="EUR")
    move(shop, "in", "transfer_in", "BOUGHT", 4, 3, "S2", document_code="T1")
    # The order's price, in dollars, at the rate of the day of receipt.
    shop.add(PurchaseOrderLine, purchase_order_code="po", line_code="1", supplier_code="P", location_code="S1",
             item_code="ORDERED", ordered_at=at(1), quantity=5, unit_price=8, currency="USD")  # fmt: skip
    receive(shop, "r3", "ORDERED", 5, 5, None, purchase_order_code="po", purchase_order_line_code="1")
    move(shop, "early", "opening", "ORDERED", 2, 1)
    move(shop, "o2", "opening", "OFFERED", 1, 4)
    shop.add(SupplierOffer, supplier_code="P", item_code="OFFERED", unit_price=6, currency="USD", valid_from=on(3))
    move(shop, "o3", "opening", "FOUND", 1, 4)
    # Six are stated on the evening of the day on which four came in: two had been there.
    receive(shop, "r4", "STATED", 2, 3, 5, place="S2", currency="EUR")
    receive(shop, "r5", "STATED", 4, 4, 2, currency="EUR")
    shop.add(StockLevel, location_code="S1", item_code="STATED", counted_at=at(4, 20), on_hand=6)
    shop.build(on(7))
    return shop


def test_what_is_sent_on_arrives_at_what_it_cost_when_it_left(worth):
    sender, receiver = value_of(worth, "BOUGHT"), value_of(worth, "BOUGHT", "S2")
    assert sender[2]["unit_cost"] == 3
    assert sender[2]["transfers_out_value"] == -9
    assert sender[3]["unit_cost"] == 6
    assert receiver[4]["transfers_in_value"] == receiver[4]["closing_value"] == 9


def test_receipts_cost_what_their_order_says_at_the_rate_of_the_day(worth):
    days = value_of(worth, "ORDERED")
    assert days[5]["receipts_value"] == 10
    # What was there before is valued like the first receipt.
    assert (days[2]["cost_basis"], days[2]["closing_value"], days[2]["entered_value"]) == ("first_receipt", 2, 2)
    assert (days[5]["cost_basis"], days[5]["closing_value"]) == ("average", 12)


def test_what_was_never_received_costs_what_is_offered_or_has_no_value(worth):
    days = value_of(worth, "OFFERED")
    assert (days[2]["cost_basis"], days[2]["closing_value"]) == ("unknown", None)
    assert (days[3]["cost_basis"], days[3]["closing_value"], days[3]["revaluation"]) == ("offer", 12, 12)
    assert days[6]["closing_value"] == 12
    assert value_of(worth, "FOUND")[6]["closing_value"] is None
    missing = {r["item_key"]: r["reason"] for r in worth.table("rpt_stock_difference") if "cost" in r["reason"]}
    assert set(missing) == {"item:FOUND"}


def test_what_a_statement_found_there_costs_what_was_first_paid_and_not_the_average_of_its_day(worth):
    day = value_of(worth, "STATED")[4]
    assert (day["entered_value"], day["receipts_value"], day["unit_cost"], day["revaluation"]) == (10, 8, 3, 0)


# -- The generated shop ------------------------------------------------------------------------------------------------


def test_the_generated_shop_is_worth_what_its_facts_say(tmp_path):
    facts = generate(CONFIG, AS_OF, tmp_path / "cache").facts
    end = dt.date(2024, 12, 20)
    rows = {name: [r for r in facts[name].to_pylist() if r["date_on"] < end]
            for name in ("receipts", "movements", "lines", "returns", "orders")}  # fmt: skip
    moved = {r["item"] for r in rows["movements"] if MOVEMENTS[r["kind"]] in ("production", "consumption")}
    received = defaultdict(int)
    for r in rows["receipts"]:
        received[r["item"]] += 1
    items = sorted((i for i in received if i not in moved), key=lambda i: -received[i])[:5]
    shop = SmallShop(tmp_path / "shop")
    expected = feed(shop, rows, items)
    shop.build(end)
    found = {(r["item_key"], r["location_key"], r["business_date"]): r for r in shop.table("fct_inventory_value_daily")}
    last = end - dt.timedelta(days=1)
    assert len(expected) > 5
    for (item, place), (quantity, cost, sold) in expected.items():
        row = found[f"item:I{item}", f"location:L{place}", last]
        assert float(row["closing"]) == quantity
        assert float(row["unit_cost"]) == pytest.approx(cost, abs=1e-4)
        cogs = sum(
            r["cost_of_goods_sold"] for k, r in found.items() if k[:2] == (f"item:I{item}", f"location:L{place}")
        )
        assert float(cogs) == pytest.approx(sold, abs=0.05)


def feed(shop: SmallShop, rows: dict[str, list[dict]], items: list[int]) -> dict:
    """Adds the facts of some items as records; returns (quantity, unit cost, cost of what was sold) by series, from an
    average over the same facts, kept in dictionaries."""
    when = {r["order_key"]: r["ordered_at"] for r in rows["orders"]}
    events = defaultdict(lambda: defaultdict(list))
    for item in items:
        shop.add(Product, item_code=f"I{item}", name="x")
    for place in {r["location"] for r in rows["movements"]}:
        shop.add(Location, location_code=f"L{place}", name="x")
    for n, r in enumerate(rows["receipts"]):
        if r["item"] in items:
            events[r["date_on"]]["receipt"].append(r)
            shop.add(ReceiptLine, receipt_code=f"r{n}", line_code="1", location_code=f"L{r['location']}",
                     item_code=f"I{r['item']}", received_at=r["received_at"], quantity=r["quantity"],
                     unit_cost=Decimal(r["price_e4"]) / 10_000, currency="EUR")  # fmt: skip
    for n, r in enumerate(rows["movements"]):
        if r["item"] in items:
            kind = MOVEMENTS[r["kind"]]
            events[r["date_on"]][kind].append(r)
            shop.add(StockMovement, movement_code=f"m{n}", kind=kind, location_code=f"L{r['location']}",
                     item_code=f"I{r['item']}", moved_at=r["moved_at"], quantity=r["quantity"],
                     document_code=str(r["document"]), unit_cost=1.5 if kind == "opening" else None,
                     currency="EUR" if kind == "opening" else None)  # fmt: skip
    for n, r in enumerate(rows["lines"]):
        if r["item"] in items:
            events[r["date_on"]]["sale"].append(r)
            shop.add(OrderLine, order_code=f"o{n}", line_code="1", location_code=f"L{r['location']}",
                     item_code=f"I{r['item']}", ordered_at=when[r["order_key"]], quantity=r["quantity"], unit_price=1,
                     currency="EUR")  # fmt: skip
    for n, r in enumerate(rows["returns"]):
        if r["item"] in items and r["restocked"]:
            events[r["date_on"]]["return"].append(r)
            shop.add(ReturnLine, return_code=f"b{n}", line_code="1", location_code=f"L{r['location']}",
                     item_code=f"I{r['item']}", returned_at=r["returned_at"], quantity=r["quantity"], refund_amount=1,
                     currency="EUR")  # fmt: skip
    quantity, cost, sold, sent = defaultdict(int), defaultdict(float), defaultdict(float), {}
    for day in sorted(events):
        todays = events[day]
        for kind in ("opening", "receipt", "transfer_in"):
            for r in todays[kind]:
                key = r["item"], r["location"]
                price = {"opening": lambda r: 1.5, "receipt": lambda r: r["price_e4"] / 10_000,
                         "transfer_in": lambda r: sent[r["document"], r["item"]]}[kind](r)  # fmt: skip
                cost[key] = (quantity[key] * cost[key] + r["quantity"] * price) / (quantity[key] + r["quantity"])
                quantity[key] += r["quantity"]
        for kind, sign in (("transfer_out", 1), ("adjustment", 1), ("write_off", 1), ("return", 1), ("sale", -1)):
            for r in todays[kind]:
                key = r["item"], r["location"]
                quantity[key] += sign * r["quantity"]
                if kind == "sale":
                    sold[key] += r["quantity"] * cost[key]
                if kind == "transfer_out":
                    sent[r["document"], r["item"]] = cost[key]
    return {key: (quantity[key], cost[key], sold[key]) for key in quantity}
