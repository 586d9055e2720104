"""The marts: the ledger balances, only sales are demand, and restating what changed equals building anew."""

from __future__ import annotations

import datetime as dt
import json
import random
import subprocess
import sys
import time
from decimal import Decimal

import psutil
import pytest
import yaml

from connectors.records import (
    ExchangeRate,
    KitComponent,
    Location,
    OpeningDay,
    OrderLine,
    Payment,
    Product,
    PurchaseOrderLine,
    ReceiptLine,
    ReturnLine,
    StockLevel,
    StockMovement,
    Supplier,
    SupplierOffer,
)
from orchestration.cli.project import prepare_project
from orchestration.settings import CHECKOUT, DBT_PROJECT
from orchestration.warehouse.build import plan_build, run_dbt
from tests.orchestration.small_shop import SmallShop, at, on


def sell(
    shop: SmallShop, code: str, item: str, when, quantity: float, *, location: str = "S1", currency: str = "EUR", **more
) -> None:
    shop.add(
        OrderLine, order_code=code, line_code="1", location_code=location, item_code=item, ordered_at=when,
        quantity=quantity, unit_price=2.5, currency=currency, **more,
    )  # fmt: skip


def opened(folder) -> SmallShop:
    shop = SmallShop(folder)
    shop.add(Location, location_code="S1", name="High Street", timezone="Europe/Berlin", business_day_start=120)
    for item in ("A", "B"):
        shop.add(Product, item_code=item, name=item, list_price=3, currency="EUR")
    shop.add(Product, item_code="K", name="Gift box", is_kit=True)
    shop.add(KitComponent, kit_code="K", item_code="A", quantity=2)
    shop.add(StockMovement, movement_code="o1", kind="opening", location_code="S1", item_code="A", moved_at=at(1, 6),
             quantity=20)  # fmt: skip
    return shop


def sell_on_saturday(shop: SmallShop, day: int, hours: list[int]) -> None:
    """Of a product that is always there, at five past in Berlin."""
    for number, hour in enumerate(hours):
        when = dt.datetime(2025, 12, day, hour - 1, 5, tzinfo=dt.UTC)
        sell(shop, f"z{day}-{number}", "Z", when, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> SmallShop:
    """Five days with one of everything, then a late sale and a count, in a second build."""
    shop = opened(tmp_path_factory.mktemp("shop"))
    shop.add(Supplier, supplier_code="P1", name="Acme", currency="USD", payment_terms_days=30)
    shop.add(ExchangeRate, from_currency="USD", to_currency="EUR", date_on=on(1), rate=0.9)
    shop.add(StockLevel, location_code="S1", item_code="B", counted_at=at(3, 20), on_hand=7)
    shop.add(OpeningDay, location_code="S1", date_on=on(4), is_open=False)
    for day in (1, 2, 3, 5):
        sell(shop, f"a{day}", "A", at(day), day)
        sell(shop, f"b{day}", "B" if day < 5 else "K", at(day), 1)
    sell(shop, "night", "B", at(3, 0), 1)  # 01:00 in Berlin still belongs to the business day before
    sell(shop, "void", "A", at(3), 100, status="cancelled")
    shop.add(ReturnLine, return_code="r1", line_code="1", location_code="S1", item_code="A", returned_at=at(5),
             quantity=1, refund_amount=2.5, currency="EUR")  # fmt: skip
    shop.add(PurchaseOrderLine, purchase_order_code="po1", line_code="1", supplier_code="P1", location_code="S1",
             item_code="A", ordered_at=at(2), expected_on=on(9), quantity=10, unit_price=1, currency="USD")  # fmt: skip
    shop.add(ReceiptLine, receipt_code="rc1", line_code="1", purchase_order_code="po1", purchase_order_line_code="1",
             location_code="S1", item_code="A", received_at=at(5), quantity=4)  # fmt: skip
    shop.add(Payment, payment_code="p1", kind="receipt", document_code="a1", paid_at=at(2), amount=5, currency="EUR")
    shop.add(Product, item_code="C", name="C")
    shop.add(StockMovement, movement_code="o2", kind="opening", location_code="S1", item_code="C", moved_at=at(1, 6),
             quantity=5)  # fmt: skip
    sell(shop, "c2", "C", at(2), 3)
    sell(shop, "c3", "C", at(3), 4)
    sell(shop, "d1", "D", at(1), 2)
    shop.add(StockLevel, location_code="S1", item_code="D", counted_at=at(3, 20), on_hand=7)
    sell(shop, "e2", "E", at(2), 3, location="S2")
    shop.add(StockMovement, movement_code="o3", kind="opening", location_code="S1", item_code="F", moved_at=at(1, 6),
             quantity=20)  # fmt: skip
    sell(shop, "gbp", "F", at(1), 2, currency="GBP")
    sell(shop, "early", "F", at(6), 5)  # of the morning that is planned for
    shop.issue(on(2), "A", [4, 6, 5, 5])
    shop.issue(on(2), "A", [1, 1, 1, 1], model="seasonal_naive")
    shop.issue(on(2), "C", [3, 6])
    for day in (6, 13, 20):
        sell_on_saturday(shop, day, [*range(9, 21), *[19] * 4, *[20] * 4])
    shop.build(on(6))
    shop.issue(on(7), "A", [2, 2])
    sell(shop, "late", "A", at(2, 13), 3)
    sell_on_saturday(shop, 27, [*range(9, 21), *[20] * 18])
    shop.add(StockMovement, movement_code="o4", kind="opening", location_code="S1", item_code="D", moved_at=at(2, 6),
             quantity=9)  # fmt: skip
    shop.add(StockLevel, location_code="S2", item_code="E", counted_at=at(7, 20), on_hand=4)
    shop.add(ExchangeRate, from_currency="GBP", to_currency="EUR", date_on=on(1), rate=0.5)
    shop.add(StockLevel, location_code="S1", item_code="A", counted_at=at(6, 20), on_hand=6, is_count=True)
    shop.build(on(8))
    return shop


def days(shop: SmallShop, table: str, item: str, column: str) -> dict[int, float]:
    return {
        row["business_date"].day: float(row[column]) for row in shop.table(table) if row["item_key"] == f"item:{item}"
    }


def test_demand_has_every_open_day_and_only_sales(built):
    # 4 January is closed; the kit on the 5th is two of A; the late sale is on the 2nd; the cancelled one nowhere.
    assert days(built, "fct_demand_daily", "A", "quantity") == {1: 1, 2: 5, 3: 3, 5: 7, 6: 0, 7: 0}
    assert days(built, "fct_demand_daily", "B", "quantity") == {1: 1, 2: 2, 3: 1, 5: 0, 6: 0, 7: 0}


def test_the_ledger_chains_and_a_count_becomes_an_adjustment(built):
    assert days(built, "fct_inventory_daily", "A", "closing") == {1: 19, 2: 14, 3: 11, 4: 11, 5: 9, 6: 6, 7: 6}
    assert days(built, "fct_inventory_daily", "A", "adjustments")[6] == -3
    for row in built.table("fct_inventory_daily"):
        moved = sum(
            row[c] for c in ("sales", "returns", "receipts", "transfers", "adjustments", "write_offs", "production")
        )
        assert row["opening"] + moved == row["closing"]


def test_stock_stated_but_never_opened_is_opened_so_that_the_statement_is_true(built):
    assert days(built, "fct_inventory_daily", "B", "closing") == {1: 10, 2: 8, 3: 7, 4: 7, 5: 7, 6: 7, 7: 7}


def test_purchase_orders_show_what_is_outstanding_and_commit_cash_by_terms(built):
    (line,) = built.table("fct_purchase_order_line")
    assert (line["received_base"], line["outstanding_base"], line["lead_time_days"]) == (4, 6, 3)
    flows = {(r["kind"], r["business_date"]): r["reporting_amount"] for r in built.table("fct_cash_flow_daily")}
    assert flows["receipt", on(2)] == 5
    assert flows["supplier_commitment", on(8, month=2)] == Decimal("-5.4")  # 6 USD, 30 days after 9 January


def test_restating_equals_rebuilding_also_after_a_build_that_was_killed(built, tmp_path):
    anew = built.rebuilt(tmp_path)
    anew.load()
    script = (
        "import datetime, pathlib, sys\n"
        "from orchestration.warehouse.build import build_marts\n"
        "from orchestration.warehouse.store import Warehouse\n"
        "warehouse = Warehouse(pathlib.Path(sys.argv[1]))\n"
        "build_marts(warehouse, datetime.date(2026, 1, 8), timezone='UTC', reporting_currency='EUR')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(anew.warehouse.path)], cwd=CHECKOUT)
    deadline = time.monotonic() + 120
    while not list((anew.warehouse.path.parent / "dbt_target").glob("run/**/fct_order_line.sql")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    with anew.warehouse.connect() as db:
        assert db.execute("SELECT count(*) FROM landing.build").fetchone() == (0,)
        made = db.execute("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'marts'").fetchone()[0]
    assert made < len(built.marts())
    anew.build(on(8))
    assert anew.marts() == built.marts()


def test_what_an_earlier_build_could_not_know_is_made_good_in_the_days_before_it(built):
    """An opening entry after a ledger was opened by what was stated, a first count after days without any, a sale that
    landed before its day was over, and a rate that is known late."""
    # The statement of the 3rd alone would have opened D with 9; entered on the 2nd, they are not there on the 1st.
    assert days(built, "fct_inventory_daily", "D", "closing") == {1: -2, 2: 7, 3: 7, 4: 7, 5: 7, 6: 7, 7: 7}
    assert days(built, "fct_inventory_daily", "E", "closing") == dict.fromkeys(range(2, 8), 4)
    assert all(days(built, "fct_inventory_daily", "E", "is_known").values())
    assert days(built, "fct_inventory_daily", "F", "closing") == {1: 18, 2: 18, 3: 18, 4: 18, 5: 18, 6: 13, 7: 13}
    assert {row["order_code"]: row["net_reporting_amount"] for row in built.table("fct_order_line")}["gbp"] == Decimal(
        "2.5"
    )


def transfer(shop: SmallShop, rng: random.Random, code: str, sent: int, arrived: int) -> None:
    """From one of the two stores to the other; either half may be corrected later, or be all there is."""
    ends = [("transfer_out", -1, sent), ("transfer_in", 1, arrived)]
    places, quantity, item = rng.sample(["S1", "S2"], 2), rng.randint(1, 6), rng.choice("AB")
    for (kind, sign, day), place in list(zip(ends, places, strict=True))[: rng.choice([1, 2, 2, 2])]:
        shop.add(StockMovement, movement_code=f"{code}{kind}", kind=kind, location_code=place, item_code=item,
                 moved_at=at(day, 20), quantity=sign * quantity, document_code=code)  # fmt: skip


def random_day(shop: SmallShop, rng: random.Random, day: int) -> None:
    """Sales of today, late ones and such of the morning that is planned for; corrections of earlier orders, receipts,
    counts, openings of a ledger, closed days, and cancellations."""
    for n in range(rng.randint(1, 5)):
        when = at(rng.randint(max(1, day - 3), day + 1), rng.randint(0, 23))
        sell(shop, f"o{rng.randint(1, 30)}", rng.choice("ABK"), when, rng.randint(1, 4), location=rng.choice(["S1", "S2"]),
             status=rng.choice(["fulfilled"] * 4 + ["cancelled"]), currency=rng.choice(["EUR", "USD"]))  # fmt: skip
        if rng.random() < 0.4:
            shop.add(StockMovement, movement_code=f"m{rng.randint(1, 9)}", kind=rng.choice(["opening", "adjustment"]),
                     location_code=rng.choice(["S1", "S2"]), item_code=rng.choice("ABC"), moved_at=when,
                     quantity=rng.randint(1, 9), unit_cost=rng.choice([None, 1.2]), currency="EUR")  # fmt: skip
        if rng.random() < 0.3:
            shop.add(ReceiptLine, receipt_code=f"rc{day}{n}", line_code="1", location_code="S1", item_code="A",
                     received_at=when, quantity=rng.randint(1, 9))  # fmt: skip
        if rng.random() < 0.3:
            # Known cost, price of an order line that may come later or change, foreign currency with late rates.
            shop.add(ReceiptLine, receipt_code=f"rp{day}{n}", line_code="1", location_code="S1", item_code=rng.choice("ABC"),
                     received_at=when, quantity=rng.randint(1, 9), purchase_order_code=f"po{rng.randint(1, 3)}",
                     purchase_order_line_code="1", unit_cost=rng.choice([None, 1.1, 2.3]),
                     currency=rng.choice(["EUR", "USD"]))  # fmt: skip
        if rng.random() < 0.4:
            transfer(shop, rng, f"t{rng.randint(1, 9)}", rng.randint(max(1, day - 3), day), day)
    if rng.random() < 0.6:
        shop.add(PurchaseOrderLine, purchase_order_code=f"po{rng.randint(1, 3)}", line_code="1", supplier_code="P1",
                 location_code="S1", item_code="A", ordered_at=at(1), quantity=10, unit_price=rng.randint(1, 4),
                 currency=rng.choice(["EUR", "USD"]))  # fmt: skip
    if rng.random() < 0.4:
        shop.add(ExchangeRate, from_currency="USD", to_currency="EUR", date_on=on(rng.randint(1, day)),
                 rate=rng.choice([0.8, 0.9]))  # fmt: skip
    if rng.random() < 0.4:
        shop.add(SupplierOffer, supplier_code="P1", item_code=rng.choice("BC"), unit_price=rng.randint(1, 5),
                 currency=rng.choice(["EUR", "USD"]), valid_from=on(rng.randint(1, day)))  # fmt: skip
    if rng.random() < 0.4:
        shop.add(StockMovement, movement_code=f"k{rng.randint(1, 3)}", kind="production", location_code="S1", item_code="K",
                 moved_at=at(day, 9), quantity=rng.randint(1, 3))  # fmt: skip
        shop.add(StockMovement, movement_code=f"kc{rng.randint(1, 3)}", kind="consumption", location_code="S1",
                 item_code="A", moved_at=at(day, 9), quantity=-rng.randint(1, 6))  # fmt: skip
    if rng.random() < 0.5:
        shop.add(StockLevel, location_code=rng.choice(["S1", "S2"]), item_code=rng.choice("AB"),
                 counted_at=at(rng.randint(1, day), 22), on_hand=rng.randint(0, 30), is_count=rng.random() < 0.5)  # fmt: skip
    if rng.random() < 0.3:
        shop.add(OpeningDay, location_code="S1", date_on=on(rng.randint(1, day)), is_open=rng.random() < 0.5)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_any_history_of_late_and_corrected_facts_restates_to_the_same_marts(tmp_path, seed):
    rng = random.Random(seed)
    shop = opened(tmp_path / "daily")
    shop.add(Supplier, supplier_code="P1", name="Acme", currency="USD")
    for day in (2, 4, 7):
        random_day(shop, rng, day)
        random_day(shop, rng, day)
        for item in "AB":
            shop.issue(on(day), item, [rng.randint(0, 5) for _ in range(5)])
        if day == 7:
            shop.keys["item", "B"] = "item:A"  # a person finds that B was A all along
        shop.build(on(day + 1))
    anew = shop.rebuilt(tmp_path / "anew")
    anew.build(on(8))
    found, expected = shop.marts(), anew.marts()
    for name, rows in expected.items():
        assert found[name] == rows, name


def test_where_nothing_changed_nothing_is_built_and_what_failed_is_built_again(built):
    first = built.try_build(on(8))
    assert not first.is_new
    assert {node.status for node in first.nodes} == {"success", "pass"}
    # Without the views, but with every test of the marts.
    prepare_project()
    assert not [node.name for node in first.nodes if node.name.startswith("stg_")]
    known = json.loads((DBT_PROJECT / "target" / "manifest.json").read_text())["nodes"].values()
    reports = {node["unique_id"] for node in known if "planning" in node["tags"]}
    tests = {
        node["name"]
        for node in known
        if node["resource_type"] == "test" and not reports & set(node["depends_on"]["nodes"])
    }
    assert {node.name for node in first.nodes if node.kind == "test"} == tests

    with built.warehouse.connect() as db:
        db.execute("INSERT INTO marts.fct_order_line FROM marts.fct_order_line LIMIT 1")
    built.holiday = "Neujahr"
    failed = built.try_build(on(8))
    assert failed.is_new
    assert "unique_fct_order_line_order_line_key found 1 row that should not be there" in failed.problems()

    with built.warehouse.connect() as db:
        db.execute("DELETE FROM marts.fct_order_line WHERE rowid = (SELECT max(rowid) FROM marts.fct_order_line)")
    again = built.try_build(on(8))
    assert again.is_new
    assert str(built.warehouse.path) not in {file.path for file in psutil.Process().open_files()}
    assert again.problems() == ""
    assert {row["holidays"] for row in built.table("dim_date")} == {None, "DE: Neujahr"}
    # Nothing of the facts was touched.
    with built.warehouse.connect() as db:
        for touched in ("int_demand__touched", "int_stock__touched"):
            assert db.execute(f"SELECT count(*) FROM intermediate.{touched}").fetchone() == (0,)
    assert not built.try_build(on(8)).is_new


def test_the_models_do_what_their_examples_say(built):
    """dbt's unit tests (dbt_project/models/_unit_tests.yml), which the daily build leaves out."""
    nodes = run_dbt(built.warehouse, ["test", "--select", "test_type:unit"])
    assert {node.name: node.message for node in nodes if node.status != "pass"} == {}
    examples = yaml.safe_load((DBT_PROJECT / "models" / "_unit_tests.yml").read_text())["unit_tests"]
    assert {node.name for node in nodes} == {example["name"] for example in examples}


def test_another_reporting_currency_builds_everything_anew(built):
    with built.warehouse.connect() as db:
        same = plan_build(db, on(8), timezone="UTC", reporting_currency="EUR")
        other = plan_build(db, on(8), timezone="UTC", reporting_currency="CNY")
    assert "--full-refresh" not in same.arguments
    assert "--full-refresh" in other.arguments


# -- Issued forecasts against what happened ----------------------------------------------------------------------------


def scored(shop: SmallShop, item: str = "A", model: str = "blend") -> dict[tuple[int, int], dict]:
    """By morning and day."""
    return {
        (row["cycle_date"].day, row["business_date"].day): row
        for row in shop.table("fct_forecast_accuracy")
        if (row["item_key"], row["model"]) == (f"item:{item}", model)
    }


def test_each_forecast_of_an_open_day_that_has_come_is_scored(built):
    # 4 January is closed, the 8th is yet to come.
    assert {key: row["lead_day"] for key, row in scored(built).items()} == {(2, 2): 1, (2, 3): 2, (2, 5): 4, (7, 7): 1}
    assert set(scored(built, model="seasonal_naive")) == {(2, 2), (2, 3), (2, 5)}


def test_a_late_sale_changes_what_the_forecast_of_its_day_is_scored_on(built):
    row = scored(built)[2, 2]
    assert (row["sales"], row["in_stock_share"], row["ran_out"], row["model_id"]) == (5, 1, False, "m1")
    assert (row["error"], row["absolute_error"], row["within_80"]) == (-1, 1, True)
    # Uniform on 0..8 and 5 sold: the mean over the levels of the loss of each quantile 8 * level.
    levels = [0.01, 0.025, *(n / 20 for n in range(1, 20)), 0.975, 0.99]
    loss = sum(max(a * (5 - 8 * a), (a - 1) * (5 - 8 * a)) for a in levels) / len(levels)
    assert row["pinball"] == pytest.approx(loss)


def test_a_day_that_ran_out_is_scored_on_what_a_usual_day_has_sold_by_the_last_sale(built):
    """Of 5 there were 3 were sold on the 2nd and the others by one o'clock on Saturday the 3rd, by when four Saturdays in December,
    one of them known late, had sold 16 of 90 lines. 40 more count as spread evenly over the 45 quarters of an hour since nine."""
    row = scored(built, "C")[2, 3]
    sold = (16 + 40 * 16 / 45) / (90 + 40)
    assert row["in_stock_share"] == pytest.approx(sold, abs=1e-6)
    assert (row["ran_out"], row["forecast"]) == (True, 6)
    assert row["error"] == pytest.approx(6 * sold - 4, abs=1e-5)
    (day,) = [r for r in built.table("fct_demand_daily") if (r["item_key"], r["business_date"]) == ("item:C", on(3))]
    assert (day["in_stock_share"], day["ran_dry_at"], day["availability_basis"]) == (0.5, at(3), "ledger")


def test_the_report_judges_the_median_on_days_in_stock_and_the_bias_on_all(built):
    rows = {(r["model"], r["category"], r["horizon_week"]): r for r in built.table("rpt_forecast_quality")}
    assert set(rows) == {
        (model, category, week) for model in ("blend", "seasonal_naive") for category in ("all", "none") for week in (0, 1)
    }  # fmt: skip
    found = [*scored(built).values(), *scored(built, "C").values()]
    full = [row for row in found if not row["ran_out"]]
    blend = rows["blend", "all", 0]
    assert blend["scored_days"] == len(found) == len(full) + 1
    assert blend["wape"] == pytest.approx(
        sum(r["absolute_error"] for r in full) / float(sum(r["sales"] for r in full)), abs=1e-6
    )
    assert blend["bias"] == pytest.approx(
        sum(r["error"] for r in found) / float(sum(r["sales"] for r in found)), abs=1e-6
    )
    assert blend["ran_out_share"] == pytest.approx(1 / len(found), abs=1e-6)
    assert blend["wape_before"] is None
