"""How much is needed: lost sales on joint scenarios of demand, lead times and arrivals, and the least expected cost.

Belongs here: the arithmetic of scenarios, vectorised over series. Does not belong here: lots, prices and suppliers.

Arrays are time-major: [T, S, n] for T days, S series and n scenarios, so that one day of all series is contiguous.

Unmet demand is lost. Let r_t be what arrives and d_t the demand of day t, x the stock on hand. Over days 1..T the lost
sales are
    L(x) = max(0, max_k (sum_{t<=k} d_t - x - sum_{t<=k} r_t))                                                    (1)
so q more units at the start lose L(x + q) = (L(x) - q)+ and leave (q - L(x))+ more at the end. Hence, scenario by
scenario, an order on sale from day a until the next order's goods are on sale on day b needs W = the sales lost in
[a, b) without it: q units are short by (W - q)+ and left over by (q - W)+, which is the newsvendor problem with demand
W, exact under lost sales. With Cu per unit short and Co per unit left over the least-cost q is the quantile
Cu / (Cu + Co) of W. (Reflection: Asmussen, Applied Probability and Queues, III.6; critical ratio: Arrow, Harris and
Marschak 1951.) Where nothing is lost before day a and nothing arrives later, W = (D - inventory position)+ and q is the
classical order-up-to quantity.

Goods of limited life are sold first-expired-first-out, so the order's own units are sold after what was there: of q
units (q - V)+ expire, V being the sales lost without the order from a until its expiry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHORT = 1e-6
"""Less than this many units short is arithmetic, not a stock-out."""


@dataclass(frozen=True)
class Run:
    """Scenarios played through: `lost` [T + 1, S, n] sales lost before day t; `on_hand` [T + 1, S, n] stock at the
    opening of day t, None when not asked for; `risk`, `units` [T, S] probability and expected units of losing sales."""

    lost: np.ndarray
    on_hand: np.ndarray | None
    risk: np.ndarray
    units: np.ndarray


def play(
    demand: np.ndarray,
    on_hand: np.ndarray,
    reserved: np.ndarray,
    arrivals: np.ndarray | None = None,
    expiring: np.ndarray | None = None,
    with_stock: bool = False,
) -> Run:
    """Plays demand [T, S, n] against stock [S], goods on sale from day t on [T, S, n or 1], and expiry.

    `reserved` [S] is promised and leaves first. `expiring` [T, S, n or 1]: of what was ever supplied, how much can be
    sold on day t at the latest, cumulated; supply that has not left by then expires at the end of that day.
    """
    days, series, n = demand.shape
    lost = np.empty((days + 1, series, n))
    lost[0] = 0.0
    stock = np.empty((days + 1, series, n)) if with_stock else None
    risk, units = np.empty((days, series)), np.empty((days, series))
    level = np.repeat((on_hand - reserved)[:, None], n, axis=1)
    left = np.repeat(reserved[:, None], n, axis=1) if expiring is not None else None
    sold, missed = np.empty((series, n)), np.empty((series, n))
    # One day of all series at a time, in place: memory traffic is what this costs.
    for day in range(days):
        if arrivals is not None:
            level += arrivals[day]
        if stock is not None:
            stock[day] = level
        np.minimum(level, demand[day], out=sold)
        np.maximum(sold, 0.0, out=sold)
        np.subtract(demand[day], sold, out=missed)
        np.add(lost[day], missed, out=lost[day + 1])
        risk[day], units[day] = np.count_nonzero(missed > SHORT, axis=1) / n, missed.mean(axis=1)
        level -= sold
        if left is not None:
            left += sold
            wasted = np.maximum(expiring[day] - left, 0.0)
            level -= wasted
            left += wasted
    if stock is not None:
        stock[days] = level
    return Run(lost, stock, risk, units)


def at(values: np.ndarray, days: np.ndarray, series: np.ndarray) -> np.ndarray:
    """`values` [T + 1, S, n] at one day per row and scenario: [rows, n] for `days` [rows, n] and `series` [rows]."""
    return values[np.minimum(days, len(values) - 1), series[:, None], np.arange(values.shape[2])[None, :]]


def quantile(sorted_values: np.ndarray, probability: np.ndarray | float) -> np.ndarray:
    """Per row of ascending [rows, n]: the least value that at least `probability` of the scenarios do not exceed."""
    n = sorted_values.shape[1]
    position = np.clip(np.ceil(np.asarray(probability) * n - 1e-9).astype(int) - 1, 0, n - 1)
    return sorted_values[np.arange(len(sorted_values)), np.broadcast_to(position, len(sorted_values))]


@dataclass(frozen=True)
class Costs:
    """Per row [rows], in reporting currency: Cu per unit short, holding per unit and day, loss per unit expired.

    `review_days`: how long a unit left over is held until the next order can make up for it; `daily_demand`: the rate
    at which what is left over beyond that is used up; `target`: probability of no shortage that is aimed at.
    """

    short: np.ndarray
    holding: np.ndarray
    waste: np.ndarray
    review_days: np.ndarray
    daily_demand: np.ndarray
    target: np.ndarray


def critical_ratio(short: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Cu / (Cu + Co); 0 where neither costs anything.

    >>> critical_ratio(np.array([3.0]), np.array([1.0]))
    array([0.75])
    """
    total = short + over
    return np.divide(short, total, out=np.zeros_like(total), where=total > 0)


def requirement(needed: np.ndarray, sellable: np.ndarray | None, costs: Costs) -> np.ndarray:
    """Units to order before lots, [rows], for `needed` W and `sellable` V, both [rows, n].

    The target's quantile of W, but no more than pays: the last unit's chance of expiring, times its loss, may not
    exceed its chance of being wanted, times Cu. `sellable` is None, or NaN in rows whose goods do not expire.
    """
    wanted = np.sort(needed, axis=1)
    quantity = quantile(wanted, costs.target)
    if sellable is None:
        return quantity
    rows = np.flatnonzero(~np.isnan(sellable[:, 0]))
    if not len(rows):
        return quantity
    n = needed.shape[1]
    # d/dq of the expected cost, times n: -n Cu, plus Cu + Co for each W passed, plus the loss for each V passed.
    over = (costs.holding * costs.review_days)[rows]
    points = np.concatenate([needed[rows], sellable[rows]], axis=1)
    steps = np.repeat(np.stack([costs.short[rows] + over, costs.waste[rows]], axis=1), n, axis=1)
    order = np.argsort(points, axis=1, kind="stable")
    slope = np.cumsum(np.take_along_axis(steps, order, axis=1), axis=1) - n * costs.short[rows, None]
    least = np.argmax(slope >= -1e-9 * n * costs.short[rows, None], axis=1)
    affordable = np.take_along_axis(points, np.take_along_axis(order, least[:, None], axis=1), axis=1)[:, 0]
    quantity[rows] = np.minimum(quantity[rows], affordable)
    return quantity


def expected_cost(quantity: np.ndarray, needed: np.ndarray, sellable: np.ndarray | None, costs: Costs) -> np.ndarray:
    """Expected cost [rows] of ordering `quantity` [rows]: sales lost, holding what is left over, and expiry.

    What is left over is held for the review interval and then until demand has used it up, x / (daily demand) days for
    the last of x units.
    """
    over = quantity[:, None] - needed
    short = np.maximum(-over, 0.0).mean(axis=1)
    over = np.maximum(over, 0.0)
    days = costs.review_days * over.mean(axis=1) + (over**2).mean(axis=1) / (2 * np.maximum(costs.daily_demand, 1e-6))
    cost = costs.short * short + costs.holding * days
    if sellable is not None:
        expired = np.maximum(quantity[:, None] - np.nan_to_num(sellable, nan=np.inf), 0.0)
        cost = cost + costs.waste * expired.mean(axis=1)
    return cost
