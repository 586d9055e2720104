"""Scenarios and costs against closed forms, a plain simulation and brute force."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.replenishment.policy import Costs, expected_cost, play, requirement
from tests.ml.replenishment_shop import MONDAY, decide, forecast, offer, product, quantity, shop, stock, supplier

small = st.integers(0, 8)


def costs(short, over, waste=0.0, target=None, daily=1e9):
    one = np.ones(1)
    ratio = short / (short + over) if target is None else target
    return Costs(one * short, one * over, one * waste, one, one * daily, one * ratio)


@settings(max_examples=200, deadline=None)
@given(
    demand=st.lists(small, min_size=1, max_size=8),
    first=small,
    arrivals=st.lists(small, min_size=8, max_size=8),
    extra=small,
    at=st.integers(0, 7),
)
def test_units_added_on_a_day_save_that_many_of_the_sales_lost_from_then_on_and_no_more(
    demand, first, arrivals, extra, at
):
    days = len(demand)
    at = min(at, days - 1)
    demand, arrivals = np.array(demand, dtype=float), np.array(arrivals[:days], dtype=float)

    def lost(on_hand, coming):
        missed = []
        for day in range(days):
            on_hand += coming[day]
            sold = min(on_hand, demand[day])
            missed.append(demand[day] - sold)
            on_hand -= sold
        return np.array(missed)

    run = play(demand[:, None, None], np.array([float(first)]), np.zeros(1), arrivals[:, None, None])
    np.testing.assert_array_equal(np.diff(run.lost[:, 0, 0]), lost(first, arrivals))
    needed = run.lost[-1, 0, 0] - run.lost[at, 0, 0]
    more = arrivals.copy()
    more[at] += extra
    assert lost(first, more)[at:].sum() == max(needed - extra, 0)


@settings(max_examples=200, deadline=None)
@given(
    demand=st.lists(small, min_size=1, max_size=8),
    batches=st.lists(st.tuples(small, st.integers(0, 9)), max_size=4),
)
def test_first_expired_goes_first_and_what_outlives_its_day_is_gone(demand, batches):
    days = len(demand)
    left = sorted([expiry, float(units)] for units, expiry in batches)
    missed = []
    for day in range(days):
        want = demand[day]
        for batch in left:
            if batch[0] >= day:
                sold = min(batch[1], want)
                batch[1], want = batch[1] - sold, want - sold
        missed.append(want)
    expiring = np.array([sum(u for u, e in batches if e <= day) for day in range(days)], dtype=float)
    total = np.array([float(sum(units for units, _ in batches))])
    run = play(np.array(demand, dtype=float)[:, None, None], total, np.zeros(1), None, expiring[:, None, None])
    np.testing.assert_allclose(np.diff(run.lost[:, 0, 0]), missed)


@settings(max_examples=100, deadline=None)
@given(
    needed=st.lists(st.integers(0, 30), min_size=4, max_size=20),
    room=st.lists(st.integers(0, 15), min_size=20, max_size=20),
    short=st.floats(0.1, 10),
    over=st.floats(0.01, 5),
    waste=st.floats(0, 20),
)
def test_the_required_quantity_costs_least(needed, room, short, over, waste):
    needed = np.array([needed], dtype=float)
    sellable = needed + np.array([room[: needed.shape[1]]], dtype=float)
    found = requirement(needed, sellable, costs(short, over, waste))
    linear = costs(short, over, waste, daily=1e18)
    best = min(expected_cost(np.array([float(q)]), needed, sellable, linear)[0] for q in range(50))
    assert expected_cost(found, needed, sellable, linear)[0] == pytest.approx(best, abs=1e-6)


def test_a_single_period_order_is_the_newsvendor_quantile_of_normal_demand():
    # Cu = 10 - 6 = 4, Co = 6 * (365 / 6) / 365 = 1 for the one day until the next order: ratio 0.8.
    inputs = shop(
        suppliers=[supplier(lead=0)],
        forecasts=forecast("A", mean=100, sd=20),
        parameters={"paths": 5000, "policy": {"holding_rate": 365 / 6, "maximum_service": 0.99}},
    )
    assert quantity(inputs) == pytest.approx(100 + 20 * NormalDist().inv_cdf(0.8), abs=1.5)


def test_a_periodic_order_brings_the_position_up_to_the_base_stock_level():
    # Ordered on Mondays, four days under way: an interval of 11 days, S = 11 m + z s sqrt(11), position 300.
    inputs = shop(
        position=[stock(on_hand=300)],
        suppliers=[supplier(lead=4, order_weekdays="1")],
        forecasts=forecast("A", mean=50, sd=10),
        parameters={"paths": 5000},
    )
    level = 11 * 50 + NormalDist().inv_cdf(0.95) * 10 * 11**0.5
    assert quantity(inputs) == pytest.approx(level - 300, abs=3)


def test_an_uncertain_lead_time_raises_the_level_by_its_share_of_the_variance():
    # Demand over L + 7 days: mean m (l + 7), variance s² (l + 7) + m² v; nothing is lost before the goods arrive.
    inputs = shop(
        position=[stock(on_hand=700)],
        suppliers=[supplier(lead=10, sd=2, order_weekdays="1")],
        forecasts=forecast("A", mean=50, sd=10),
        parameters={"paths": 5000},
    )
    spread = (17 * 10**2 + 50**2 * (2**2 + 1 / 12)) ** 0.5
    level = 17 * 50 + NormalDist().inv_cdf(0.95) * spread
    assert quantity(inputs) == pytest.approx(level - 700, abs=25)


def test_dear_shortages_raise_the_service_and_dear_holding_lowers_it():
    def ordered(**policy):
        return quantity(shop(forecasts=forecast("A", mean=100, sd=30), parameters={"policy": policy}))

    usual = ordered(holding_rate=20.0)
    assert ordered(holding_rate=20.0, stockout_cost_share=5.0) > usual > ordered(holding_rate=100.0)


def test_classes_and_overrides_change_the_service_target():
    def target(**more):
        parameters = {"policy": {"service_target": 0.9}, "classes": {"vital": {"service_target": 0.99}}}
        inputs = shop(forecasts=forecast("A", mean=100, sd=30), parameters=parameters, **more)
        return quantity(inputs)

    override = {"item": "A", "location": "S1", "kind": "service_target", "value": 0.99}
    usual, vital = target(), target(items=[product(item_class="vital")])
    assert vital > usual
    assert target(overrides=[override]) == vital
    assert target(overrides=[{**override, "valid_to": MONDAY.replace(day=1)}]) == usual


def test_demand_beyond_the_forecast_repeats_its_last_week():
    # Two weeks of forecast, Mondays sell 40, other days 10: four weeks under way need the Mondays of all of them.
    means = [40 if day % 7 == 0 else 10 for day in range(14)]
    inputs = shop(
        position=[stock(on_hand=10_000)],
        suppliers=[supplier(lead=28, order_weekdays="1")],
        forecasts=forecast("A", mean=means, days=14),
        offers=[offer(moq=1)],
        parameters={"horizon_days": 35},
    )
    risk = decide(inputs).risk
    assert len(risk) == 35
    spent = shop(
        position=[stock(on_hand=28 * 10 + 4 * 30)],
        suppliers=[supplier(lead=28, order_weekdays="1")],
        forecasts=forecast("A", mean=means, days=14),
    )
    assert quantity(spent) == 7 * 10 + 30
