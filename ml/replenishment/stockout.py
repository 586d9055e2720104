"""What is likely to run out over the coming weeks, and what will likely have to be bought.

Belongs here: the risk table (with and without today's proposals) and the purchase plan. Does not belong here: today's
decision.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.replenishment import lots
from ml.replenishment.batch import Cycle
from ml.replenishment.decide import Decided

RISK = [
    "item", "location", "date", "stockout_risk_without", "stockout_risk_with", "lost_units_without", "lost_units_with",
    "lost_value_without", "lost_value_with", "currency",
]  # fmt: skip
PLAN = ["item", "location", "supplier", "order_on", "arrive_on", "quantity", "amount", "currency", "risk"]


def risk_table(cycle: Cycle, decided: list[Decided], cycle_date: np.datetime64) -> pd.DataFrame:
    """One row per series and day: probability that demand finds nothing, expected lost sales in units and money.

    `without`: nothing more is ordered; `with`: today's proposals are carried out, and nothing after them.
    """
    horizon = cycle.inputs.parameters.horizon_days
    rows = np.concatenate([part.rows for part in decided]) if decided else np.empty(0, dtype=int)
    series = cycle.series.iloc[rows]
    blocks = {
        name: np.concatenate([getattr(part, name) for part in decided]) if decided else np.empty((0, horizon))
        for name in ("risk_without", "risk_with", "lost_without", "lost_with")
    }
    price = series["price"].to_numpy()[:, None]
    dates = cycle_date.astype("datetime64[s]") + np.arange(horizon) * np.timedelta64(86400, "s")
    return pd.DataFrame(
        {
            "item": np.repeat(series["item"].to_numpy(), horizon),
            "location": np.repeat(series["location"].to_numpy(), horizon),
            "date": np.tile(dates, len(rows)),
            "stockout_risk_without": blocks["risk_without"].ravel(),
            "stockout_risk_with": blocks["risk_with"].ravel(),
            "lost_units_without": blocks["lost_without"].round(6).ravel(),
            "lost_units_with": blocks["lost_with"].round(6).ravel(),
            "lost_value_without": (blocks["lost_without"] * price).round(4).ravel(),
            "lost_value_with": (blocks["lost_with"] * price).round(4).ravel(),
            "currency": cycle.inputs.parameters.reporting_currency,
        },
        columns=RISK,
    )


def purchase_plan(cycle: Cycle, decided: list[Decided], cycle_date: np.datetime64) -> pd.DataFrame:
    """The purchases expected over the horizon, today's first: the policy played forward on typical demand.

    On each order day of the chosen supplier the position is brought up to typical demand until the next order's goods
    are on sale, plus the safety stock of today's decision, in whole lots. `amount` is in the supplier's currency.
    `risk`: probability of running out before the next planned purchase arrives if this one and all later ones are not
    made (today's: if nothing is bought; later ones: with today's proposals only).
    """
    parts = [frame for part in decided if (frame := _plan(cycle, part, cycle_date)) is not None]
    if not parts:
        return pd.DataFrame(columns=PLAN)
    found = pd.concat(parts, ignore_index=True)
    return found.sort_values(["order_on", "supplier", "location", "item"], kind="stable", ignore_index=True)[PLAN]


def _plan(cycle: Cycle, part: Decided, cycle_date: np.datetime64) -> pd.DataFrame | None:
    parameters = cycle.inputs.parameters
    horizon = parameters.horizon_days
    chosen = part.alternatives[part.alternatives["is_chosen"] & (part.alternatives["kind"] == "buy")]
    if not len(chosen):
        return None
    lanes = [cycle.options.lanes[number] for number in chosen["lane"]]
    index = np.searchsorted(part.rows, chosen["series"].to_numpy())
    order, arrive, cover = _schedule(cycle, lanes, horizon)
    days = int(max(horizon, cover.max(), arrive.max() + parameters.receiving_days)) + 2
    day_number = np.arange(days)
    typical = part.planned[index]
    known = typical.shape[1]
    week = min(7, known)
    typical = typical[:, np.where(day_number < known, day_number, known - week + (day_number - known) % week)]
    used = np.concatenate([np.zeros((len(chosen), 1)), np.cumsum(typical, axis=1)], axis=1)

    pack = chosen["pack"].to_numpy()
    size = pack / lots.MICRO
    safety = np.maximum((chosen["order_up_to"] - chosen["mean"]).to_numpy(), 0.0)
    coming = np.zeros((len(chosen), days))
    known_days = min(days, part.arrivals.shape[1])
    coming[:, :known_days] = part.arrivals[index][:, :known_days]
    arriving = np.concatenate([np.zeros((len(chosen), 1)), np.cumsum(coming, axis=1)], axis=1)
    series = cycle.series.iloc[part.rows[index]]
    level = (series["on_hand"] - series["reserved"]).to_numpy()
    packs = np.zeros((len(chosen), horizon), dtype=np.int64)
    rows = np.arange(len(chosen))
    first_day = np.array([lane.order_day for lane in lanes])
    for now in range(horizon):
        level = level + coming[:, now]
        on_sale = np.maximum(arrive[:, now] + parameters.receiving_days, now)
        until = np.maximum(cover[:, now], on_sale)
        # Demand that finds nothing before the order is on sale is lost, and not ordered for.
        there = level
        for day in range(now, int(on_sale.max())):
            before = day < on_sale
            there = np.where(before, np.maximum(there - typical[:, day], 0.0) + coming[:, day + 1], there)
        later = arriving[rows, np.maximum(until, on_sale + 1)] - arriving[rows, on_sale + 1]
        needed = used[rows, until] - used[rows, on_sale] + safety - there - later
        _, above = lots.neighbours(lots.micro(needed), pack, chosen["minimum"].to_numpy())
        above = np.where(now == first_day, chosen["packs"].to_numpy(), above)
        packs[:, now] = np.where(order[:, now], above, 0)
        bought = packs[:, now] * size
        coming[rows, on_sale] += bought
        arriving[:, 1:] += bought[:, None] * (day_number[None, :] >= on_sale[:, None])
        level = np.maximum(level + np.where(on_sale > now, 0.0, bought) - typical[:, now], 0.0)
    return _rows(cycle, part, chosen, index, packs, arrive, cycle_date)


def _schedule(cycle: Cycle, lanes: list, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[rows, horizon]: whether an order can be placed, when it then arrives, and until when it has to last."""
    receiving = cycle.inputs.parameters.receiving_days
    known: dict[int, tuple] = {}
    for lane in lanes:
        if id(lane) in known:
            continue
        day = np.arange(horizon)
        following = lane.order_days[
            np.minimum(np.searchsorted(lane.order_days, day, "right"), len(lane.order_days) - 1)
        ]
        typical = lane.lead_time.typical()
        known[id(lane)] = (
            np.isin(day, lane.order_days),
            cycle.calendar.delivery_day(lane.location, day + typical),
            cycle.calendar.delivery_day(lane.location, following + typical) + receiving,
        )
    return tuple(np.stack([known[id(lane)][place] for lane in lanes]) for place in range(3))


def _rows(cycle, part, chosen, index, packs, arrive, cycle_date) -> pd.DataFrame | None:
    row, day = np.nonzero(packs)
    if not len(row):
        return None
    count = packs[row, day]
    arrives = arrive[row, day]
    quotes = cycle.options.quotes
    orders = list(zip(chosen["quote"].to_numpy()[row].tolist(), count.tolist(), strict=True))
    last = part.risk_with.shape[1]
    same = np.append(row[1:] == row[:-1], False)
    until = np.minimum(np.where(same, np.append(arrives[1:], last), last), last)
    first = np.append(True, row[1:] != row[:-1])
    # Probability of a stock-out on some day before the next purchase arrives, at least that of its worst day.
    without = np.maximum.accumulate(part.risk_without[index], axis=1)[row, np.maximum(until - 1, 0)]
    proposed = np.maximum.accumulate(part.risk_with[index], axis=1)[row, np.maximum(until - 1, 0)]
    return pd.DataFrame(
        {
            "item": cycle.series["item"].to_numpy()[part.rows[index[row]]],
            "location": cycle.series["location"].to_numpy()[part.rows[index[row]]],
            "supplier": chosen["source"].to_numpy()[row],
            "order_on": cycle_date.astype("datetime64[s]") + day * np.timedelta64(86400, "s"),
            "arrive_on": cycle_date.astype("datetime64[s]") + arrives * np.timedelta64(86400, "s"),
            "quantity": [str(lots.exact(quotes[number].lot.pack * packs)) for number, packs in orders],
            "amount": [str(quotes[number].lot.amount(packs)) for number, packs in orders],
            "currency": [quotes[number].currency for number, _ in orders],
            "risk": np.where(first, without, proposed),
        }
    )
