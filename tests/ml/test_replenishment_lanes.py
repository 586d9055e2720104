"""When goods can be ordered and when they are there: order days, cut-offs, opening days, lead times, late orders."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest

from ml.replenishment.lanes import lead_times, stated
from tests.ml.replenishment_shop import MONDAY, coming, decide, forecast, product, quantity, shop, stock, supplier

TUESDAY = MONDAY + dt.timedelta(days=1)
SUNDAY = MONDAY - dt.timedelta(days=1)


def test_an_order_has_to_last_until_the_next_order_is_there():
    # Monday's order arrives on Wednesday, Thursday's on Saturday: five days, of which two are over when it arrives.
    inputs = shop(position=[stock(on_hand=20)], suppliers=[supplier(order_weekdays="1,4")])
    row = decide(inputs).proposals.iloc[0]
    assert (row["quantity"], row["order_by"], row["expected_on"]) == ("30", "2026-03-02", "2026-03-04")
    told = json.loads(row["evidence"])
    assert (told["interval"]["days"], told["interval"]["next_arrives_on"]) == (5, "2026-03-07")
    assert row["reason"] == (
        "Order 30 from Nordmilk: 20 on hand and 0 arriving last 2 of the 5 days until the delivery after it is on "
        "sale (Sat 7 Mar); demand over them is 50 to 50 (typical 50), and 30 are required."
    )


def test_nothing_is_proposed_between_order_days_but_the_plan_shows_what_comes():
    inputs = shop(
        suppliers=[supplier(order_weekdays="1,4")], forecasts=forecast("A", start=TUESDAY), position=[stock(on_hand=30)]
    )
    found = decide(inputs, TUESDAY)
    assert found.proposals.empty
    plan = found.purchase_plan
    assert plan["order_on"].iloc[:2].dt.strftime("%a %d").tolist() == ["Thu 05", "Mon 09"]
    # On Thursday 10 are left, gone by Saturday's delivery; it has to last until Wednesday.
    assert plan["quantity"].iloc[:2].tolist() == ["40", "30"]


def test_a_cut_off_before_the_decision_is_met_by_the_day_before():
    early = [supplier(order_weekdays="1", cut_off="08:00")]
    assert decide(shop(suppliers=early)).proposals.empty
    row = decide(shop(suppliers=early, forecasts=forecast("A", start=SUNDAY)), SUNDAY).proposals.iloc[0]
    assert (row["order_by"], json.loads(row["evidence"])["interval"]["order_on"]) == ("2026-03-01", "2026-03-02")
    late = [supplier(order_weekdays="1", cut_off="12:00")]
    assert len(decide(shop(suppliers=late)).proposals) == 1


def test_a_longer_review_period_makes_an_order_last_longer():
    assert quantity(shop(suppliers=[supplier(lead=0)])) == 10
    assert quantity(shop(suppliers=[supplier(lead=0)], parameters={"review_period_days": 4})) == 40


def test_goods_that_need_a_day_to_reach_the_shelf_count_a_day_later():
    assert quantity(shop(position=[stock(on_hand=30)])) == 0
    row = decide(shop(position=[stock(on_hand=30)], parameters={"receiving_days": 1})).proposals.iloc[0]
    assert (row["quantity"], row["expected_on"]) == ("10", "2026-03-04")


def test_a_closed_day_neither_sells_nor_takes_deliveries():
    closed = [{"location": "S1", "date": MONDAY + dt.timedelta(days=day), "is_open": False} for day in (2, 3)]
    # Goods due on Wednesday come on Friday, with those of the next order; before, only Monday and Tuesday sell.
    row = decide(shop(suppliers=[supplier(order_weekdays="1,4")], calendar=closed)).proposals.iloc[0]
    assert (row["expected_on"], row["quantity"]) == ("2026-03-06", "10")


def test_arrivals_count_from_the_day_they_are_there():
    def ordered(day):
        return quantity(
            shop(
                position=[stock(on_hand=20)],
                open_orders=[coming(quantity=10, expected_on=MONDAY + dt.timedelta(days=day))],
            )
        )

    assert [ordered(day) for day in (0, 2, 3)] == [0, 0, 10]


@pytest.mark.parametrize(
    ("expected_on", "delay", "ordered"),
    [
        (MONDAY - dt.timedelta(days=3), 2, 0),
        (MONDAY - dt.timedelta(days=3), 5, 10),
        (MONDAY - dt.timedelta(days=3), None, 10),
        (MONDAY - dt.timedelta(days=91), 2, 10),
        (None, 2, 0),
    ],
    ids=["late", "late-and-slow", "late-unknown", "lost", "undated"],
)
def test_a_late_order_is_expected_again_after_the_usual_delay_and_not_for_ever(expected_on, delay, ordered):
    inputs = shop(
        position=[stock(on_hand=20)],
        suppliers=[supplier(typical_delay_days=delay)],
        open_orders=[coming(quantity=50, expected_on=expected_on)],
    )
    assert quantity(inputs) == ordered


def test_observed_receipts_replace_what_is_stated_once_there_are_enough():
    def lead(receipts):
        rows = [
            {"supplier": "Nordmilk", "lead_time_days": 5, "receipts": receipts},
            {"supplier": "Nordmilk", "lead_time_days": 9, "receipts": receipts},
        ]
        return lead_times(shop(lead_times=rows))["Nordmilk"]

    few, many = lead(3), lead(4)
    assert (few.mean, few.basis) == (2.0, "stated")
    assert (many.mean, many.sd, many.basis) == (7.0, 2.0, "8 receipts")
    assert sorted(set(many.draw(100, 1))) == [5, 9]
    assert (many.draw(100, 1) == 5).sum() == 50
    unknown = lead_times(shop(suppliers=[supplier(lead=None, sd=None)]))["Nordmilk"]
    assert (unknown.mean, unknown.basis) == (7.0, "assumed")


def test_a_stated_lead_time_has_its_mean_and_spread():
    drawn = stated(10, 3, "stated").draw(1000, 7, "x")
    assert drawn.mean() == pytest.approx(10, abs=0.15)
    assert drawn.std() == pytest.approx(3, abs=0.25)
    assert drawn.min() >= 0


def test_expiring_stock_counts_only_as_far_as_it_sells_in_time():
    tomorrow = MONDAY + dt.timedelta(days=1)

    def ordered(*batches):
        return quantity(shop(position=[stock(on_hand=units, expires_on=last) for units, last in batches]))

    fresh = MONDAY + dt.timedelta(days=9)
    assert ordered((50, fresh)) == 0
    assert ordered((50, tomorrow)) == 10
    assert ordered((25, tomorrow), (4, fresh)) == 6
    assert ordered((50, SUNDAY)) == 10


def test_expired_stock_is_named_in_the_evidence():
    inputs = shop(position=[stock(on_hand=50, expires_on=SUNDAY), stock(on_hand=20, expires_on=TUESDAY)])
    told = json.loads(decide(inputs).proposals["evidence"].iat[0])["position"]
    assert (told["on_hand"], told["expired"]) == (20, 50)


def test_perishables_are_not_bought_beyond_what_sells_before_they_expire():
    def ordered(life, pack=1):
        return quantity(
            shop(
                suppliers=[supplier(lead=0, order_weekdays="1")],
                offers=[
                    {
                        "supplier": "Nordmilk",
                        "item": "A",
                        "unit_price": 6,
                        "currency": "EUR",
                        "unit": "each",
                        "pack_quantity": pack,
                    }
                ],
                items=[product(shelf_life_days=life)],
            )
        )

    assert [ordered(None), ordered(10), ordered(3)] == [70, 70, 30]
    # Half of a pack of 60 would be thrown away: 30 * 6 lost against 30 * 4 earned.
    assert ordered(3, pack=60) == 0
    assert ordered(3, pack=40) == 40


def test_with_uncertain_demand_short_life_lowers_the_order_to_where_waste_and_lost_margin_balance():
    # One day's life: the newsvendor with Cu = 4 and Co = 6 plus a day's holding, ratio 0.4.
    inputs = shop(
        suppliers=[supplier(lead=0)],
        items=[product(shelf_life_days=1)],
        forecasts=forecast("A", mean=100, sd=20),
        parameters={"paths": 5000},
    )
    assert quantity(inputs) == pytest.approx(100 - 20 * 0.2533, abs=1.5)


def test_reserved_goods_are_not_there_for_sale():
    assert quantity(shop(position=[stock(on_hand=30, reserved=0)])) == 0
    assert quantity(shop(position=[stock(on_hand=30, reserved=4)])) == 4


def test_open_orders_vary_with_their_suppliers_lead_time():
    inputs = shop(
        position=[stock(on_hand=40)],
        suppliers=[supplier(lead=6, sd=2)],
        open_orders=[coming(quantity=60, expected_on=MONDAY + dt.timedelta(days=4))],
    )
    risk = decide(inputs).risk["stockout_risk_without"].to_numpy()
    assert risk[3] == 0
    assert 0 < risk[4] < 1
    assert np.all(np.diff(risk[10:]) >= 0)
    assert risk[-1] == 1


def test_the_calendar_may_hold_days_long_past():
    calendar = pd.DataFrame([{"location": "S1", "date": MONDAY - dt.timedelta(days=900), "is_open": False}])
    assert quantity(shop(calendar=calendar)) == 10
