"""A supplier's minimum order amount: the one decision that the lines of an order take together.

Belongs here: topping an order up, or leaving it for the next order day. Does not belong here: a single line's quantity.

Topping up brings all lines to the same days of cover, the least that reaches the minimum. It is done when holding the
extra goods costs less than what the order saves; otherwise the order waits. The amounts are compared in the supplier's
currency; an order with a line quoted in another currency is not held to the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from ml.replenishment.batch import Cycle
from ml.replenishment.decide import Decided
from ml.replenishment.lots import MICRO, OrderLine, top_up


@dataclass(frozen=True)
class MinimumOrder:
    """What became of an order below its supplier's minimum. `packs`: per row of Cycle.series, 0 when postponed."""

    supplier: str
    location: str
    currency: str
    minimum: Decimal
    before: Decimal
    after: Decimal
    cover_days: int
    extra_cost: float
    saving: float
    next_order_day: int
    packs: dict[int, int]

    @property
    def is_postponed(self) -> bool:
        return self.after == 0


def meet_minimums(cycle: Cycle, decided: list[Decided]) -> list[MinimumOrder]:
    """The orders due now that are below their supplier's minimum, and what is done about each."""
    terms = cycle.inputs.suppliers.drop_duplicates("supplier").set_index("supplier")
    minimum = terms["minimum_order_amount"]
    asking = set(minimum.index[minimum > 0])
    if not asking or not decided:
        return []
    lines = pd.concat(
        [part.alternatives.merge(part.series[["series", "coming"]], on="series") for part in decided],
        ignore_index=True,
    )
    due = (lines["kind"] == "buy") & lines["is_chosen"] & lines["is_due"] & (lines["packs"] > 0)
    lines = lines[due & lines["source"].isin(asking)]
    lines = lines.assign(location=cycle.series["location"].to_numpy()[lines["series"]])
    found = []
    for (supplier, location), order in lines.groupby(["source", "location"], sort=True):
        outcome = _meet(cycle, supplier, location, order, minimum[supplier], terms.at[supplier, "currency"])
        if outcome is not None:
            found.append(outcome)
    return found


def _meet(cycle, supplier, location, order, minimum, currency) -> MinimumOrder | None:
    quotes = [cycle.options.quotes[number] for number in order["quote"]]
    if any(quote.currency != currency for quote in quotes):
        return None
    packs = order["packs"].to_numpy()
    before = sum((quote.lot.amount(int(count)) for quote, count in zip(quotes, packs, strict=True)), start=Decimal(0))
    if before >= minimum:
        return None
    series = cycle.series.iloc[order["series"].to_numpy()]
    position = (series["on_hand"] - series["reserved"]).to_numpy() + order["coming"].to_numpy()
    daily = order["daily_demand"].to_numpy()
    size = order["pack"].to_numpy() / MICRO
    raised = top_up(
        [
            OrderLine(quote.lot, int(count), float(stock), float(rate), int(most))
            for quote, count, stock, rate, most in zip(quotes, packs, position, daily, order["most"], strict=True)
        ],
        minimum,
    )
    saving = float((order["cost_none"] - order["cost"]).sum())
    lane = cycle.options.lanes[order["lane"].iat[0]]
    rows = [int(row) for row in order["series"]]
    if raised is not None:
        more, cover = raised
        units, extra = packs * size, np.array(more) * size
        held = order["holding_cost"].to_numpy() * (extra**2 - units**2) / (2 * np.maximum(daily, 1e-6))
        cost = float(held.sum())
        if cost <= saving:
            after = sum((q.lot.amount(count) for q, count in zip(quotes, more, strict=True)), start=Decimal(0))
            topped = dict(zip(rows, more, strict=True))
            return MinimumOrder(
                supplier, location, currency, minimum, before, after, cover, cost, saving, lane.next_order_day, topped
            )
    else:
        cover, cost = 0, float("inf")
    postponed = dict.fromkeys(rows, 0)
    return MinimumOrder(
        supplier, location, currency, minimum, before, Decimal(0), cover, cost, saving, lane.next_order_day, postponed
    )
