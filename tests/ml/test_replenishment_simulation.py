"""Played for a season, the policy loses fewer sales than the usual rule of thumb that holds as much stock."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from tests.ml.replenishment_shop import MONDAY, coming, decide, offer, product, shop, stock, supplier

DAYS, WARM_UP = 90, 14
MEANS = np.array([2.0, 4.0, 8.0, 15.0, 30.0, 60.0])
SPREADS = np.array([0.9, 0.7, 0.5, 0.4, 0.25, 0.15])
WEEK = np.array([0.7, 0.7, 0.8, 0.9, 1.2, 1.6, 1.1])
PRICE, COST = 10.0, 6.0


def demand_of(rng, days):
    """[days, items] gamma demand with a weekly shape, rounded to units."""
    mean = MEANS * WEEK[np.arange(days) % 7, None]
    shape = 1 / SPREADS**2
    return np.rint(rng.gamma(shape, mean / shape))


def forecasts_of(rng):
    """Quantiles of the true distribution for every weekday, from draws of their own."""
    from ml.replenishment.inputs import QUANTILE_COLUMNS, QUANTILES

    draws = np.stack([demand_of(rng, 7) for _ in range(2000)])
    return {
        name: np.quantile(draws, q, axis=0) for name, q in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    }, draws.mean(0)


def forecast_table(quantiles, means, day):
    horizon = 14
    weekday = (day + np.arange(horizon)) % 7
    names = [f"I{item}" for item in range(len(MEANS))]
    table = {
        "sku": np.repeat(names, horizon),
        "location": "S1",
        "model": "blend",
        "date": np.tile(pd.date_range(MONDAY + dt.timedelta(days=int(day)), periods=horizon), len(names)),
        "mean": means[weekday].T.ravel(),
    }
    return pd.DataFrame(table | {name: values[weekday].T.ravel() for name, values in quantiles.items()})


def play(order, demand, lead):
    """Lost sales and mean stock from the warm-up on: goods arrive in the morning, demand finds them or is lost."""
    items = demand.shape[1]
    on_hand = MEANS * 4
    due = np.zeros((len(demand) + 40, items))
    lost, held = np.zeros(items), np.zeros(items)
    for day in range(len(demand)):
        on_hand = on_hand + due[day]
        quantity = order(day, on_hand, due[day + 1 :])
        due[day + lead[day]] += np.where(lead[day] > 0, quantity, 0)
        sold = np.minimum(on_hand, demand[day])
        if day >= WARM_UP:
            lost += demand[day] - sold
            held += on_hand - sold
        on_hand = on_hand - sold
    return lost, held / (len(demand) - WARM_UP)


def test_the_policy_loses_fewer_sales_than_days_of_cover_at_no_more_stock(capsys):
    rng = np.random.default_rng(11)
    demand = demand_of(rng, DAYS)
    quantiles, means = forecasts_of(rng)
    lead = rng.choice([1, 2, 3, 4], p=[0.2, 0.5, 0.2, 0.1], size=DAYS)
    names = [f"I{item}" for item in range(len(MEANS))]

    def policy(day, on_hand, due):
        today = MONDAY + dt.timedelta(days=day)
        open_orders = [
            coming(name, quantity=due[ahead, item], expected_on=today + dt.timedelta(days=ahead + 1))
            for ahead in range(5)
            for item, name in enumerate(names)
            if due[ahead, item]
        ]
        inputs = shop(
            position=[stock(name, on_hand=units) for name, units in zip(names, on_hand, strict=True)],
            open_orders=open_orders,
            offers=[offer(item=name, price=COST) for name in names],
            suppliers=[supplier(lead=2.2, sd=0.9)],
            items=[product(name, price=PRICE) for name in names],
            forecasts=forecast_table(quantiles, means, day),
            parameters={"policy": {"maximum_service": 0.97}, "horizon_days": 7, "paths": 100},
        )
        rows = decide(inputs, today).proposals
        ordered = dict(zip(rows["item"], rows["quantity"].astype(float), strict=True))
        return np.array([ordered.get(name, 0.0) for name in names])

    def cover(days):
        return lambda day, on_hand, due: np.maximum(np.ceil(days * MEANS - on_hand - due.sum(axis=0)), 0)

    lost, held = play(policy, demand, lead)
    naive = {days: play(cover(days), demand, lead) for days in np.arange(2, 9, 0.25)}
    # The rule of thumb is given the benefit of holding at least as much stock, in money.
    days = min(days for days, (_, stock_held) in naive.items() if stock_held.sum() >= held.sum())
    naive_lost, naive_held = naive[days]
    total = demand[WARM_UP:].sum()
    with capsys.disabled():
        print(f"\n{'':<26}{'lost sales':>12}{'share':>8}{'stock held':>12}")
        print(f"{'policy':<26}{lost.sum():>12.0f}{lost.sum() / total:>8.2%}{held.sum() * COST:>12.0f}")
        print(
            f"{f'mean of {days:g} days of cover':<26}{naive_lost.sum():>12.0f}{naive_lost.sum() / total:>8.2%}", end=""
        )
        print(f"{naive_held.sum() * COST:>12.0f}")
    assert held.sum() <= naive_held.sum()
    assert lost.sum() < 0.8 * naive_lost.sum()
