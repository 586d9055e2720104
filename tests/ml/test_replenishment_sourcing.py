"""From where: landed cost and delay, currencies, validity, warehouses and surplus."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.replenishment.sourcing import fair_share
from tests.ml.replenishment_shop import (
    MONDAY,
    coming,
    decide,
    forecast,
    offer,
    product,
    quantity,
    shop,
    stock,
    supplier,
)

DAY = dt.timedelta(days=1)


def chosen(inputs):
    return decide(inputs).proposals["supplier"].tolist()


def test_the_cheaper_supplier_wins_when_both_are_in_time():
    two = [supplier(), supplier("Sudmilk")]
    assert chosen(shop(position=[stock(on_hand=20)], offers=[offer(), offer("Sudmilk", price=5)], suppliers=two)) == [
        "Sudmilk"
    ]
    dear = [supplier(), supplier("Sudmilk", landed_cost_share=0.5)]
    inputs = shop(position=[stock(on_hand=20)], offers=[offer(), offer("Sudmilk", price=5)], suppliers=dear)
    assert chosen(inputs) == ["Nordmilk"]


def test_a_slow_supplier_loses_when_waiting_costs_more_than_it_saves():
    two = [supplier(lead=1), supplier("Sudmilk", lead=6)]
    offers = [offer(), offer("Sudmilk", price="5.9")]
    assert chosen(shop(position=[stock(on_hand=10)], offers=offers, suppliers=two)) == ["Nordmilk"]
    row = decide(shop(position=[stock(on_hand=10)], offers=offers, suppliers=two)).proposals.iloc[0]
    told = json.loads(row["evidence"])
    assert told["alternatives"][0]["source"] == "Sudmilk"
    assert told["alternatives"][0]["lost_before_arrival"] == 50
    assert told["alternatives"][0]["cost"] > told["cost"]
    assert chosen(shop(position=[stock(on_hand=60)], offers=offers, suppliers=two)) == ["Sudmilk"]


def test_payment_terms_are_worth_the_cost_of_capital():
    two = [supplier(), supplier("Sudmilk", payment_terms_days=90)]
    offers = [offer(), offer("Sudmilk", price="6.05")]
    inputs = shop(position=[stock(on_hand=20)], offers=offers, suppliers=two)
    assert chosen(inputs) == ["Sudmilk"]


def test_prices_compare_in_the_reporting_currency():
    two = [supplier(), supplier("Yumi", currency="CNY")]
    cheap = offer("Yumi", price=40, currency="CNY", exchange_rate="0.125")
    row = decide(shop(position=[stock(on_hand=20)], offers=[offer(), cheap], suppliers=two)).proposals.iloc[0]
    assert (row["supplier"], row["amount"], row["currency"], row["reporting_amount"]) == (
        "Yumi",
        "400.0000",
        "CNY",
        "50.0000",
    )
    unknown = offer("Yumi", price=1, currency="CNY")
    assert chosen(shop(position=[stock(on_hand=20)], offers=[offer(), unknown], suppliers=two)) == ["Nordmilk"]


@pytest.mark.parametrize(
    ("valid", "counts"),
    [
        ({"valid_to": MONDAY - DAY}, False),
        ({"valid_from": MONDAY + DAY}, False),
        ({"valid_from": MONDAY, "valid_to": MONDAY}, True),
    ],
)
def test_an_offer_counts_on_the_days_it_is_valid(valid, counts):
    found = decide(shop(offers=[offer(**valid)]))
    assert len(found.proposals) == counts
    if not counts:
        assert found.withheld["reason"].tolist() == ["No offer for it is valid on the next order day."]


def test_the_newest_of_a_suppliers_offers_is_the_one_that_counts():
    offers = [offer(price=6, valid_from=MONDAY - 30 * DAY), offer(price=7, valid_from=MONDAY - DAY)]
    assert decide(shop(offers=offers)).proposals["unit_price"].tolist() == ["7"]


# -- Warehouses --------------------------------------------------------------------------------------------------------


def chain(warehouse=1000, stores=(0, 0), pack=1, **more):
    """Warehouse W supplies S1 and S2 overnight; only W buys."""
    names = [f"S{number + 1}" for number in range(len(stores))]
    return shop(
        position=[stock(location="W", on_hand=warehouse)]
        + [stock(location=name, on_hand=units) for name, units in zip(names, stores, strict=True)],
        forecasts=pd.concat([forecast("A", name) for name in names]),
        sourcing=[
            {"location": name, "source": "location", "from_location": "W", "lead_time_days": 1, "transfer_pack": pack}
            for name in names
        ],
        **more,
    )


def moved(inputs):
    rows = decide(inputs).proposals
    rows = rows[rows["kind"] == "transfer"]
    return dict(zip(rows["location"], rows["quantity"].astype(float), strict=True))


def test_stores_are_supplied_from_their_warehouse_and_the_warehouse_buys_for_all_of_them():
    found = decide(chain(warehouse=100, stores=(10, 20)))
    sent = found.proposals[found.proposals["kind"] == "transfer"]
    # A store's goods arrive tomorrow and the next ones the day after: ten for the one, none for the other.
    assert dict(zip(sent["location"], sent["quantity"], strict=True)) == {"S1": "10"}
    assert sent["from_location"].tolist() == ["W"]
    assert quantity(chain(warehouse=100, stores=(10, 20)), location="W") == 0
    # The warehouse is asked for 10 today and 20 on each day after; over its three days 50.
    assert quantity(chain(warehouse=30, stores=(10, 20)), location="W") == 20


def test_a_short_warehouse_is_shared_fairly_in_whole_packs():
    assert moved(chain(warehouse=1000, stores=(10, 10), pack=4)) == {"S1": 12, "S2": 12}
    assert moved(chain(warehouse=16, stores=(10, 10), pack=4)) == {"S1": 8, "S2": 8}
    assert moved(chain(warehouse=12, stores=(10, 10), pack=4)) == {"S1": 8, "S2": 4}
    assert moved(chain(warehouse=0, stores=(10, 10))) == {}


def test_a_warehouse_keeps_its_own_customers_share():
    inputs = chain(warehouse=30, stores=(10, 10))
    own = pd.concat([inputs.forecasts, forecast("A", "W", mean=20)])
    # The stores ask for 20, the web shop's two days until goods can come for 40: half of all there is for each.
    shared = shop(
        position=[stock(location=name, on_hand=units) for name, units in (("W", 30), ("S1", 10), ("S2", 10))],
        forecasts=own,
        sourcing=inputs.sourcing,
    )
    assert moved(shared) == {"S1": 5, "S2": 5}


@settings(max_examples=200, deadline=None)
@given(
    needs=st.lists(st.integers(0, 100), min_size=1, max_size=6),
    packs=st.lists(st.integers(1, 12), min_size=6, max_size=6),
    available=st.integers(0, 400),
    own=st.integers(0, 100),
)
def test_a_fair_share_never_exceeds_what_is_there_or_asked(needs, packs, available, own):
    packs = packs[: len(needs)]
    given_packs = fair_share(needs, packs, available, own)
    sent = [count * pack for count, pack in zip(given_packs, packs, strict=True)]
    assert sum(sent) <= available
    assert all(0 <= units < need + pack for units, need, pack in zip(sent, needs, packs, strict=True))
    if sum(-(-need // pack) * pack for need, pack in zip(needs, packs, strict=True)) + own <= available:
        assert all(units >= need for units, need in zip(sent, needs, strict=True))


def surplus(there, cost, need_at_hand=0):
    """S1 buys for itself, but S2 may send it what it has too much of."""
    return shop(
        position=[stock(on_hand=need_at_hand), stock(location="S2", on_hand=there)],
        forecasts=pd.concat([forecast("A"), forecast("A", "S2", mean=2)]),
        sourcing=[
            {"location": "S1", "source": "supplier"},
            {"location": "S1", "source": "location", "from_location": "S2", "transfer_cost": cost},
        ],
        suppliers=[supplier(order_weekdays="1")],
    )


def test_surplus_elsewhere_is_moved_before_more_is_bought_when_that_is_cheaper():
    # S1 needs 70 for the week from Wednesday; S2 keeps 18 for its nine days.
    assert quantity(surplus(0, cost=1), location="S1") == 70
    assert moved(surplus(500, cost=1)) == {"S1": 70}
    assert quantity(surplus(500, cost=1)) == 0
    assert moved(surplus(48, cost=1)) == {"S1": 30}
    assert quantity(surplus(48, cost=1)) == 40
    assert moved(surplus(500, cost=7)) == {}
    assert quantity(surplus(500, cost=7)) == 70


def test_a_location_that_gives_its_surplus_away_runs_out_sooner():
    risk = decide(surplus(48, cost=1)).risk
    risk = risk[risk["location"] == "S2"].reset_index(drop=True)
    # 48 last for 24 days of 2; the 18 that it keeps for 9.
    assert risk.index[risk["stockout_risk_without"] == 1][0] == 24
    assert risk.index[risk["stockout_risk_with"] == 1][0] == 9


def test_what_a_warehouse_owes_its_stores_is_still_owed_when_goods_come():
    # Asked for 20 today and on each day after, it has nothing for two days and owes 40 when its order comes.
    assert quantity(chain(warehouse=0, stores=(10, 10)), location="W") == 60


def test_item_specific_sourcing_wins_over_the_general_rule():
    inputs = chain(warehouse=1000, stores=(0, 0))
    own = pd.concat([inputs.sourcing, pd.DataFrame([{"location": "S1", "item": "A", "source": "supplier"}])])
    found = decide(shop(position=[stock(location=n, on_hand=u) for n, u in (("W", 1000), ("S1", 0), ("S2", 0))],
                        forecasts=inputs.forecasts, sourcing=own)).proposals  # fmt: skip
    assert dict(zip(found["location"], found["kind"], strict=True)) == {"S1": "buy", "S2": "transfer"}


def test_goods_on_the_way_to_a_store_are_not_sent_again():
    inputs = chain(warehouse=1000, stores=(10, 10))
    assert moved(inputs) == {"S1": 10, "S2": 10}
    on_the_way = chain(
        warehouse=1000, stores=(10, 10), open_orders=[coming(quantity=10, expected_on=MONDAY + DAY, supplier=None)]
    )
    assert moved(on_the_way) == {"S2": 10}


def test_a_store_whose_warehouse_was_not_counted_is_withheld_and_the_others_go_on():
    inputs = shop(
        position=[stock(on_hand=0), stock(location="S2")],
        forecasts=pd.concat([forecast("A"), forecast("A", "S2")]),
        sourcing=[{"location": "S1", "source": "location", "from_location": "W"}],
    )
    found = decide(inputs)
    assert found.withheld["reason"].tolist() == ["The location that supplies it has no stock count for it."]
    assert found.proposals["location"].tolist() == ["S2"]


def test_locations_that_supply_each_other_are_withheld():
    inputs = shop(
        position=[stock(), stock(location="S2")],
        forecasts=pd.concat([forecast("A"), forecast("A", "S2")]),
        sourcing=[
            {"location": "S1", "source": "location", "from_location": "S2"},
            {"location": "S2", "source": "location", "from_location": "S1"},
        ],
    )
    assert "circle" in decide(inputs).withheld["reason"].iat[0]


def test_items_are_decided_apart():
    both = shop(
        position=[stock(), stock("B")],
        offers=[offer(), offer(item="B", price=2)],
        items=[product(), product("B")],
        forecasts=pd.concat([forecast("A"), forecast("B", mean=3)]),
    )
    assert (quantity(both), quantity(both, "B")) == (10, 3)
