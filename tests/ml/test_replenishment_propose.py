"""A cycle as a whole: reproducible to the byte, monotone, explained; what cannot be decided is withheld."""

from __future__ import annotations

import datetime as dt
import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.replenishment import FrozenInputs, explain, freeze, propose, thaw
from ml.replenishment.explain import items_decided_with
from ml.replenishment.inputs import TABLES
from tests.ml.replenishment_shop import (
    MONDAY,
    coming,
    decide,
    forecast,
    offer,
    product,
    quantity,
    sample,
    shop,
    stock,
    supplier,
)

DAY = dt.timedelta(days=1)


def busy_shop(**parameters):
    """Two stores behind a warehouse and one that buys; four items; uncertain demand and lead times; a minimum order."""
    items = ["A", "B", "C", "D"]
    places = ["S1", "S2", "S3"]
    rng = np.random.default_rng(5)
    return shop(
        position=[
            stock(item, place, int(rng.integers(0, 40)), reserved=1) for item in items for place in [*places, "W"]
        ],
        open_orders=[coming("A", "W", 12, MONDAY + 2 * DAY), coming("B", "S3", 5, MONDAY - DAY)],
        offers=[
            *(offer(item=item, price=6, pack_quantity=6) for item in items),
            *(offer("Sudmilk", item, price="5.7", moq=24) for item in items),
            offer(item="A", price="5.5", minimum_quantity=120, pack_quantity=6),
        ],
        suppliers=[
            supplier(lead=3, sd=1, order_weekdays="1,3,5"),
            supplier("Sudmilk", lead=6, sd=2, order_weekdays="1", minimum_order_amount=400),
        ],
        items=[product(item, shelf_life_days=9 if item == "D" else None) for item in items],
        forecasts=pd.concat([forecast(item, place, mean=6, sd=3) for item in items for place in places]),
        sourcing=[{"location": place, "source": "location", "from_location": "W"} for place in ("S1", "S2")]
        + [{"location": "S3"}, {"location": "S3", "source": "location", "from_location": "W", "transfer_cost": "0.5"}],
        parameters={"policy": {}, **parameters},
    )


def as_bytes(found):
    return [
        frame.to_csv(index=False).encode()
        for frame in (found.proposals, found.withheld, found.risk, found.purchase_plan)
    ]


def test_the_same_frozen_inputs_give_the_same_bytes_whatever_the_order_of_rows(tmp_path):
    inputs = busy_shop()
    name = freeze(inputs, str(tmp_path))
    mixed = FrozenInputs(
        **{table: getattr(inputs, table).sample(frac=1, random_state=9) for table in TABLES},
        parameters=inputs.parameters,
    )
    first = propose(inputs, name, MONDAY, sample, 1)
    assert {"buy", "transfer"} == set(first.proposals["kind"])
    for again in (inputs, mixed, thaw(name, str(tmp_path))):
        assert as_bytes(propose(again, name, MONDAY, sample, 1)) == as_bytes(first)
    assert first.proposals["proposal_id"].is_unique


def test_every_proposal_is_explained_from_its_frozen_inputs_alone(tmp_path):
    inputs = busy_shop()
    name = freeze(inputs, str(tmp_path))
    found = propose(inputs, name, MONDAY, sample, 1).proposals
    thawed = thaw(name, str(tmp_path))
    for row in found.to_dict("records"):
        items = items_decided_with(row, inputs.suppliers, inputs.offers)
        for told in (explain(row, thawed, sample), explain(row, thaw(name, str(tmp_path), items), sample)):
            assert told.matches, told.differs
        assert row["quantity"] in str(told)
    changed = explain({**row, "quantity": "9999"}, thawed, sample)
    assert (changed.matches, changed.differs) == (False, ("quantity",))
    assert "9999" in changed.lines[-1]
    elsewhere = explain({**row, "location": "nowhere"}, thawed, sample)
    assert not elsewhere.matches


def test_what_is_decided_together_changes_nothing(monkeypatch):
    inputs = busy_shop()
    found = propose(inputs, "f" * 64, MONDAY, sample, 1)
    monkeypatch.setattr(sys.modules["ml.replenishment.propose"], "BATCH_SERIES", 3)
    assert as_bytes(propose(inputs, "f" * 64, MONDAY, sample, 1)) == as_bytes(found)


def test_explaining_from_other_inputs_is_noticed():
    row = decide(shop(position=[stock(on_hand=10)])).proposals.iloc[0]
    told = explain(row, shop(position=[stock(on_hand=15)]), sample)
    assert not told.matches
    assert (
        "quantity" in explain(row, shop(position=[stock(on_hand=18)], offers=[offer(pack_quantity=4)]), sample).differs
    )


def test_the_evidence_holds_every_number_of_the_decision():
    row = decide(
        shop(position=[stock(on_hand=5, reserved=2)], open_orders=[coming(quantity=4, expected_on=MONDAY)])
    ).proposals.iloc[0]
    told = json.loads(row["evidence"])
    assert told["inputs"] == {
        "frozen": "f" * 64, "cycle_date": "2026-03-02", "seed": 1, "paths": 200, "model": "blend",
        "parameters_version": told["inputs"]["parameters_version"],
    }  # fmt: skip
    assert told["position"]["on_hand"] == 5
    assert told["position"]["reserved"] == 2
    assert told["position"]["arriving_in_interval"] == 4
    assert told["demand"] == {"mean": 30, "per_day": 10, "q10": 30, "q50": 30, "q90": 30}
    assert told["level"]["order_up_to"] == 30
    assert told["lots"]["quantity"] == row["quantity"] == "10"


@pytest.mark.parametrize(
    ("on_hand", "coming_on", "says"),
    [
        (5, 1, "5 on hand will not last the day, before the 8 arriving; it is 3 days until the delivery after it"),
        (5, None, "5 on hand will not last the day; it is 3 days until the delivery after it"),
        (15, 1, "15 on hand and 8 arriving last 2 of the 3 days until the delivery after it"),
    ],
)
def test_the_reason_says_how_long_what_is_there_lasts(on_hand, coming_on, says):
    orders = [] if coming_on is None else [coming(quantity=8, expected_on=MONDAY + dt.timedelta(days=coming_on))]
    row = decide(shop(position=[stock(on_hand=on_hand)], open_orders=orders)).proposals.iloc[0]
    assert says in row["reason"]


@settings(max_examples=12, deadline=None)
@given(
    levels=st.lists(st.integers(0, 120), min_size=2, max_size=2),
    on_order=st.booleans(),
    lead=st.integers(0, 5),
    sd=st.sampled_from([0, 1.5]),
    life=st.sampled_from([None, 4, 12]),
    pack=st.sampled_from([1, 6, 25]),
    moq=st.sampled_from([0, 30]),
    target=st.sampled_from([None, 0.9]),
    weekdays=st.sampled_from(["", "1,4"]),
)
def test_more_stock_or_more_on_order_never_raises_an_order(
    levels, on_order, lead, sd, life, pack, moq, target, weekdays
):
    def ordered(units):
        return quantity(
            shop(
                position=[stock(on_hand=7 if on_order else units)],
                open_orders=[coming(quantity=units, expected_on=MONDAY + 2 * DAY)] if on_order else [],
                offers=[
                    offer(pack_quantity=pack, moq=moq),
                    offer(price="5.6", minimum_quantity=80, pack_quantity=pack, moq=moq),
                ],
                suppliers=[supplier(lead=lead, sd=sd, order_weekdays=weekdays)],
                items=[product(shelf_life_days=life)],
                forecasts=forecast("A", mean=8, sd=4, days=14),
                parameters={"paths": 40, "policy": {"service_target": target}, "horizon_days": 7},
            )
        )

    less, more = sorted(levels)
    small, large = ordered(more), ordered(less)
    assert 0 <= small <= large
    for units in (small, large):
        assert units % pack == 0
        assert units == 0 or units >= moq


# -- What cannot be decided -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"position": [stock("B")]}, "no_stock_count", "count it"),
        ({"offers": [offer(item="B")]}, "no_source", "No supplier offers it."),
        ({"offers": [offer(unit="case")]}, "no_source", "by the case, which has no conversion"),
        ({"offers": [offer(currency="CNY")]}, "no_source", "no exchange rate from CNY"),
        ({"offers": [offer("Unknown")]}, "no_source", "not among the suppliers"),
        ({"forecasts": forecast("B")}, "no_usable_forecast", "history is missing or too short"),
        ({"forecasts": forecast("A", start=MONDAY + DAY)}, "no_usable_forecast", "every day once"),
        ({"forecasts": forecast("A").assign(mean=np.nan)}, "no_usable_forecast", "missing, negative"),
        ({"forecasts": forecast("A").assign(q50=-3.0)}, "no_usable_forecast", "missing, negative"),
        ({"position": [stock(on_hand=-3)]}, "negative_stock", "book stock is -3"),
        ({"position": [stock(unit="pallet")]}, "missing_conversion", "Its stock"),
        ({"open_orders": [coming(quantity=2, unit="pallet")]}, "missing_conversion", "An open order"),
        ({"open_orders": [coming(quantity=-2)]}, "negative_open_order", "below zero"),
        ({"items": [product("B")]}, "unknown_item", "product data"),
        (
            {"overrides": [{"item": "A", "location": "S1", "kind": "exclude", "reason": "delisted"}]},
            "excluded",
            "A person excluded it: delisted",
        ),
        (
            {
                "position": [stock(counted_at=pd.Timestamp("2026-01-01", tz="UTC"))],
                "parameters": {"stock_count_max_age_days": 30},
            },
            "stale_stock_count",
            "60 days ago",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_withheld_with_its_reason_and_the_others_go_on(change, code, says):
    healthy = {
        "position": [stock("H")], "offers": [offer(item="H")], "items": [product("H")], "suppliers": [supplier()],
        "open_orders": [], "overrides": [],
    }  # fmt: skip
    broken = {"position": [stock()], "offers": [offer()], "items": [product()], "forecasts": forecast("A")} | change
    tables = {name: rows + [r for r in broken.get(name, []) if r not in rows] for name, rows in healthy.items()}
    found = decide(
        shop(
            **{name: rows for name, rows in tables.items() if rows},
            forecasts=pd.concat([forecast("H"), broken["forecasts"]]),
            parameters=change.get("parameters"),
        )
    )
    withheld = found.withheld.set_index("item")
    assert found.proposals["item"].tolist() == ["H"]
    assert withheld.loc["A", "reason_code"] == code
    assert says in withheld.loc["A", "reason"]
    if code in ("no_stock_count", "no_source", "negative_stock"):
        assert withheld.loc["A", "value_at_risk"] == 28 * 10 * 10


def test_stock_without_a_forecast_is_at_risk_with_what_it_is_worth():
    found = decide(shop(position=[stock(), stock("B", on_hand=5, stock_value=35)], items=[product(), product("B")]))
    assert found.withheld[["item", "value_at_risk"]].to_numpy().tolist() == [["B", 35.0]]


def test_book_stock_a_little_below_zero_counts_as_none_where_that_is_tolerated():
    inputs = shop(position=[stock(on_hand=-3)], parameters={"negative_stock_tolerance": 5})
    assert quantity(inputs) == 10


def test_another_model_speaks_for_a_series_without_a_blend():
    both = pd.concat([forecast("A", mean=3, model="seasonal_naive"), forecast("A", mean=20, model="theta")])
    row = decide(shop(forecasts=both)).proposals.iloc[0]
    assert (row["quantity"], json.loads(row["evidence"])["inputs"]["model"]) == ("20", "theta")
    blended = pd.concat([both, forecast("A", mean=10)])
    assert quantity(shop(forecasts=blended)) == 10


def test_series_may_have_forecasts_of_different_length_and_begin_in_the_past():
    both = pd.concat([forecast("A", days=7), forecast("B", mean=4, days=20, start=MONDAY - 3 * DAY)])
    inputs = shop(
        position=[stock(), stock("B")],
        offers=[offer(), offer(item="B")],
        items=[product(), product("B")],
        forecasts=both,
    )
    assert (quantity(inputs), quantity(inputs, "B")) == (10, 4)


def test_a_kit_is_neither_ordered_nor_withheld():
    found = decide(
        shop(
            position=[stock(), stock("KIT")],
            items=[product(), product("KIT", is_kit=True)],
            forecasts=pd.concat([forecast("A"), forecast("KIT")]),
        )
    )
    assert found.proposals["item"].tolist() == ["A"]
    assert found.withheld.empty
    assert set(found.risk["item"]) == {"A"}


def test_an_override_scales_demand():
    override = {"item": "A", "location": "S1", "kind": "demand_factor", "value": 1.5}
    assert quantity(shop(overrides=[override])) == 15
    assert quantity(shop(overrides=[{**override, "valid_from": MONDAY + DAY}])) == 10


def test_a_shop_without_anything_to_decide_gives_empty_tables():
    found = decide(shop(position=[stock("B")], items=[product()], forecasts=forecast("B")))
    assert found.proposals.empty
    assert found.risk.empty
    assert found.purchase_plan.empty
    assert len(found.withheld) == 1
    nothing = FrozenInputs(*[pd.DataFrame()] * 5)
    assert [len(frame) for frame in vars(propose(nothing, "f" * 64, MONDAY, sample, 1)).values()] == [0, 0, 0, 0]


# -- The coming weeks -------------------------------------------------------------------------------------------------


def test_the_risk_table_says_when_stock_runs_out_without_and_with_the_proposals():
    risk = decide(shop(position=[stock(on_hand=25)])).risk.set_index("date")
    without = risk["stockout_risk_without"].tolist()
    assert without == [0, 0, *[1] * 26]
    # Five of the third day's ten are on hand; the order brings the rest, and nothing is ordered after it.
    assert risk["stockout_risk_with"].tolist() == [0, 0, 0, *[1] * 25]
    assert risk["lost_units_without"].tolist() == [0, 0, 5, *[10] * 25]
    assert risk["lost_value_with"].sum() == 25 * 10 * 10


def test_the_purchase_plan_begins_with_todays_order_and_keeps_the_shop_supplied():
    found = decide(shop(position=[stock(on_hand=20)], suppliers=[supplier(order_weekdays="1,4")]))
    plan = found.purchase_plan
    assert plan.columns.tolist() == [
        "item", "location", "supplier", "order_on", "arrive_on", "quantity", "amount", "currency", "risk",
    ]  # fmt: skip
    assert plan["quantity"].tolist()[:4] == ["30", "40", "30", "40"]
    assert (plan["arrive_on"] - plan["order_on"]).dt.days.unique().tolist() == [2]
    assert plan["order_on"].max() <= pd.Timestamp(MONDAY + 27 * DAY)
    assert plan["amount"].iat[0] == found.proposals["amount"].iat[0] == "180.0000"
    assert plan["risk"].iat[0] == 1


def test_a_plan_for_a_warehouse_covers_what_its_stores_will_ask_for():
    inputs = shop(
        position=[stock(on_hand=20), stock(location="W", on_hand=0)],
        sourcing=[{"location": "S1", "source": "location", "from_location": "W"}],
    )
    plan = decide(inputs).purchase_plan
    assert set(plan["location"]) == {"W"}
    assert plan["quantity"].astype(float).sum() == pytest.approx(28 * 10, abs=20)


def test_a_new_product_is_ordered_for_and_the_proposal_says_so():
    told = forecast("A", mean=10, sd=6)
    for similar in (0, 12):
        inputs = shop(
            position=[stock()], offers=[offer()], items=[product()], forecasts=told.assign(similar=similar, shared=0.6)
        )
        row = decide(inputs).proposals.iloc[0]
        words = " ".join(explain(row, inputs, sample).lines)
        assert ("for a new product judged by 12 similar ones" in row["reason"]) == (similar > 0)
        assert ("A new product: judged by 12 similar ones." in words) == (similar > 0)
        assert json.loads(row["evidence"])["demand"].get("similar", 0) == similar
