"""Lots: exact, rounded once, never less than the minimum, never more for needing less."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.replenishment.lots import MICRO, InexactPack, OrderLine, exact, lot, micro, neighbours, top_up, up_to_breaks
from tests.ml.replenishment_shop import decide, forecast, offer, product, quantity, shop, stock, supplier

packs = st.decimals("0.001", "500", places=3)
amounts = st.decimals("0", "100000", places=6)


def one(value):
    return np.array([value])


@settings(max_examples=300, deadline=None)
@given(required=amounts, pack=packs, moq=st.decimals("0", "1000", places=3), cases=st.integers(1, 48))
def test_a_lot_is_a_multiple_of_the_pack_at_least_the_minimum_and_rounded_once(required, pack, moq, cases):
    offered = lot(pack, moq, Fraction(cases), [(Decimal(0), Decimal(1))])
    below, above = neighbours(one(int(required * MICRO)), one(offered.pack), one(offered.minimum))
    below, above = int(below[0]), int(above[0])
    size = pack * cases
    for count in (below, above):
        ordered = exact(count * offered.pack)
        assert ordered == count * size
        assert ordered == 0 or ordered >= moq * cases
    assert below * size <= required <= above * size or above == below == 0 == required
    if above > offered.minimum:
        assert above * size - required < size


@settings(max_examples=200, deadline=None)
@given(
    required=st.lists(st.integers(0, 5000), min_size=2, max_size=2),
    pack=st.integers(1, 24),
    minimum=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(2, 300), st.floats(0.01, 0.3)), max_size=3),
    holding=st.floats(0, 0.05),
    daily=st.floats(0.1, 50),
    most=st.integers(0, 400),
)
def test_needing_more_never_ends_in_ordering_less_breaks_included(required, pack, minimum, steps, holding, daily, most):
    prices, breaks = [10.0], [0]
    for least, cut in sorted(steps):
        if least > breaks[-1]:
            breaks.append(least)
            prices.append(prices[-1] * (1 - cut))

    def ordered(units):
        _, above = neighbours(one(units * MICRO), one(pack * MICRO), one(minimum))
        return up_to_breaks(
            above, one(breaks), np.array([prices]), one(float(pack)), one(holding), one(daily), one(most)
        )[0]

    less, more = sorted(required)
    assert ordered(less) <= ordered(more)
    assert ordered(less) * pack >= less


def test_a_break_is_taken_when_the_price_cut_exceeds_what_holding_costs_and_left_otherwise():
    # 100 wanted, 2 % off from 120: saves 120 * 10 * 0.02 = 24. Holding: 0.01 a day * (120² - 100²) / (2 * 10) = 2.2.
    tiers = {"break_packs": one([0, 120]), "break_prices": np.array([[10.0, 9.8]]), "pack": one(1.0)}
    rest = {"daily_demand": one(10.0), "most": one(10_000)}
    assert up_to_breaks(one(100), **tiers, **rest, holding=one(0.01))[0] == 120
    assert up_to_breaks(one(100), **tiers, **rest, holding=one(0.12))[0] == 100
    assert up_to_breaks(one(0), **tiers, **rest, holding=one(0.0))[0] == 0


def test_units_convert_exactly_and_a_pack_that_cannot_be_stated_is_refused():
    assert lot(Decimal("2"), Decimal("3"), Fraction(12), [(Decimal(0), Decimal("60"))]).minimum == 2
    with pytest.raises(InexactPack, match="not an exact number"):
        lot(Decimal(1), Decimal(0), Fraction(1, 3), [(Decimal(0), Decimal(1))])
    assert int(micro(one(0.1 * 3))[0]) == 300_000


def test_a_price_tier_applies_from_its_quantity_on_and_amounts_are_exact():
    offered = lot(
        Decimal("6"), Decimal(0), Fraction(1), [(Decimal(0), Decimal("1.10")), (Decimal(20), Decimal("1.005"))]
    )
    assert [offered.price(count) for count in (1, 3, 4)] == [Decimal("1.10"), Decimal("1.10"), Decimal("1.005")]
    assert offered.amount(4) == Decimal("24.1200")


@pytest.mark.parametrize(("need", "ordered"), [(30, 36), (36, 36), (37, 48), (1, 36)])
def test_an_order_is_rounded_up_to_its_pack_once_and_to_the_minimum(need, ordered):
    inputs = shop(
        position=[stock(on_hand=1000)],
        offers=[offer(pack_quantity=12, moq=30)],
        forecasts=forecast("A", mean=[0, 0, 1000 + need, *[0] * 25]),
    )
    assert quantity(inputs) == ordered


def test_a_case_is_ordered_in_cases_and_counted_in_pieces():
    inputs = shop(
        offers=[offer(unit="case", price="70.5", pack_quantity=2)],
        units=[{"item": "A", "unit": "case", "numerator": 12}],
        forecasts=forecast("A", mean=[0, 0, 50, *[0] * 25]),
    )
    row = decide(inputs).proposals.iloc[0]
    assert (row["quantity"], row["packs"], row["order_unit"], row["pack"]) == ("72", 3, "case", "2")
    assert (row["unit_price"], row["amount"]) == ("70.5", "423.0000")
    assert "72 (3 packs of 24)" in row["reason"]
    assert "rounds 50 up to 72" in row["reason"]


def test_without_a_stated_target_a_pack_is_bought_only_if_it_saves_more_than_it_costs():
    def bought(pack):
        return quantity(
            shop(
                offers=[offer(pack_quantity=pack)],
                items=[product(price=12)],
                # On one day in twenty somebody wants one.
                forecasts=forecast("A", mean=0).assign(q975=1.0, q99=1.0),
                parameters={"policy": {"maximum_service": 0.98}},
            )
        )

    assert bought(1) == 1
    assert bought(5000) == 0


def test_an_order_rises_to_the_next_break_when_that_is_cheaper_on_the_whole():
    tiers = [offer(price=6), offer(price="5.5", minimum_quantity=15)]
    inputs = shop(offers=tiers, suppliers=[supplier(lead=0)])
    row = decide(inputs).proposals.iloc[0]
    assert (row["quantity"], row["unit_price"]) == ("15", "5.5")
    assert "price break" in row["reason"]
    dear = shop(
        offers=tiers, suppliers=[supplier(lead=0)], parameters={"policy": {"service_target": 0.95, "holding_rate": 80}}
    )
    assert quantity(dear) == 10


def lines(*rows):
    offered = lot(Decimal(1), Decimal(0), Fraction(1), [(Decimal(0), Decimal(2))])
    return [OrderLine(offered, count, stock_now, daily, most) for count, stock_now, daily, most in rows]


def test_topping_up_brings_all_lines_to_the_same_days_of_cover():
    # 5 days of cover: 10 * 5 - 20 = 30 of the first, 4 * 5 - 0 = 20 of the second: 50 at 2 EUR each.
    assert top_up(lines((10, 20.0, 10.0, 999), (8, 0.0, 4.0, 999)), Decimal(100)) == ([30, 20], 5)
    assert top_up(lines((10, 20.0, 10.0, 12)), Decimal(100)) is None


def test_an_order_below_the_suppliers_minimum_is_topped_up_or_waits():
    def plan(minimum, rate=0.25):
        return decide(
            shop(
                suppliers=[supplier(lead=0, minimum_order_amount=minimum, order_weekdays="1,4")],
                parameters={"policy": {"service_target": 0.95, "holding_rate": rate}},
            )
        )

    usual = plan(100).proposals.iloc[0]
    assert (usual["quantity"], usual["amount"]) == ("30", "180.0000")
    topped = plan(300).proposals.iloc[0]
    assert (topped["quantity"], topped["amount"]) == ("50", "300.0000")
    assert "topped up from 30" in topped["reason"]
    waits = plan(300, rate=200.0)
    assert waits.proposals.empty
    assert waits.withheld["reason_code"].tolist() == ["below_minimum_order"]
    assert "2026-03-05" in waits.withheld["reason"].iat[0]
    assert waits.withheld["value_at_risk"].iat[0] == 10 * 10 * 28


def bought(decided) -> float:
    """Of item A; nothing else is known of by these shops."""
    return float(decided.proposals["quantity"].iloc[0])


def test_a_minimum_in_another_currency_than_the_lines_is_compared_at_the_rates_of_the_morning():
    def plan(minimum, currency="USD", rate="0.8", quoted="CNY"):
        dollars = supplier(lead=0, order_weekdays="1,4", minimum_order_amount=minimum, currency=currency)
        return decide(
            shop(
                suppliers=[dollars | {"exchange_rate": rate}],
                # 6 EUR: 48 yuan, or 7.5 dollars.
                offers=[offer(price=48, currency="CNY", exchange_rate="0.125") if quoted == "CNY" else offer()],
            )
        )

    # 30 of them are 225 dollars, 40 are 300.
    assert bought(plan(225)) == 30
    topped = plan(300)
    assert bought(topped) == 40
    assert json.loads(topped.proposals["evidence"].iat[0])["minimum_order"] == {
        "amount": "300.0000", "currency": "USD", "before": "225.0000", "after": "300.0000", "cover_days": 4,
        "extra_holding": ANY, "saving": ANY,
    }  # fmt: skip
    assert topped.proposals["currency"].iat[0] == "CNY"
    assert bought(plan(300, quoted="EUR")) == 40
    assert bought(plan(240, currency="EUR", rate=None)) == 40  # the reporting currency needs no rate of its own


def test_an_order_that_cannot_be_compared_with_its_minimum_is_withheld():
    dollars = supplier(lead=0, order_weekdays="1,4", minimum_order_amount=100, currency="USD")
    decided = decide(shop(suppliers=[dollars]))
    assert decided.proposals.empty
    assert decided.withheld["reason_code"].tolist() == ["no_exchange_rate"]
    assert "no exchange rate of USD" in decided.withheld["reason"].iat[0]
    assert decided.withheld["value_at_risk"].iat[0] > 0
    # No minimum asks for no rate; nor does one that lines in its own currency reach.
    assert bought(decide(shop(suppliers=[dollars | {"minimum_order_amount": 0}]))) == 30
    both = [offer(item="A", price=6, currency="USD", exchange_rate="0.8"), offer(item="B")]
    mixed = shop(
        suppliers=[dollars], offers=both, items=[product("A"), product("B")], position=[stock("A"), stock("B")],
        forecasts=pd.concat([forecast("A"), forecast("B")]),
    )  # fmt: skip
    assert len(decide(mixed).proposals) == 2
