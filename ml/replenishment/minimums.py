"""A supplier's minimum order amount: the one decision that the lines of an order take together.

Belongs here: topping an order up, or leaving it for the next order day. Does not belong here: a single line's quantity.

Topping up brings all lines to the same days of cover, the least that reaches the minimum. It is done when holding the
extra goods costs less than what the order saves; otherwise the order waits. The amounts are compared in the supplier's
currency, lines quoted in another one converted at the rates of the morning; an order that cannot be compared for want of
a rate is withheld.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from ml.replenishment.batch import Cycle
from ml.replenishment.decide import Decided
from ml.replenishment.lots import MICRO, OrderLine, converted, top_up


@dataclass(frozen=True)
class MinimumOrder:
    """What became of an order below its supplier's minimum. `packs`: per row of Cycle.series, 0 when it is not placed.

    `before` and `after` are in `currency`; `before` is None where it has lines in another one and no rate is known.
    """

    supplier: str
    location: str
    currency: str
    minimum: Decimal
    before: Decimal | None
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
        outcome = _meet(cycle, supplier, location, order, terms.loc[supplier])
        if outcome is not None:
            found.append(outcome)
    return found


def _meet(cycle, supplier, location, order, terms) -> MinimumOrder | None:
    minimum, currency = terms["minimum_order_amount"], terms["currency"]
    quotes = [cycle.options.quotes[number] for number in order["quote"]]
    packs = order["packs"].to_numpy()
    rates = [_rate(cycle, quote, terms) for quote in quotes]
    # What can be compared may suffice without the rest.
    before = _amount(quotes, packs, [rate or Decimal(0) for rate in rates])
    if before >= minimum:
        return None
    lane = cycle.options.lanes[order["lane"].iat[0]]
    rows = [int(row) for row in order["series"]]
    nothing = dict.fromkeys(rows, 0)
    if None in rates:
        return MinimumOrder(
            supplier, location, currency, minimum, None, Decimal(0), 0, 0.0, 0.0, lane.next_order_day, nothing
        )
    series = cycle.series.iloc[order["series"].to_numpy()]
    position = (series["on_hand"] - series["reserved"]).to_numpy() + order["coming"].to_numpy()
    daily = order["daily_demand"].to_numpy()
    size = order["pack"].to_numpy() / MICRO
    raised = top_up(
        [
            OrderLine(quote.lot, int(count), float(stock), float(demand), int(most), rate)
            for quote, count, stock, demand, most, rate in zip(
                quotes, packs, position, daily, order["most"], rates, strict=True
            )
        ],
        minimum,
    )
    saving = float((order["cost_none"] - order["cost"]).sum())
    if raised is not None:
        more, cover = raised
        units, extra = packs * size, np.array(more) * size
        held = order["holding_cost"].to_numpy() * (extra**2 - units**2) / (2 * np.maximum(daily, 1e-6))
        cost = float(held.sum())
        if cost <= saving:
            after = _amount(quotes, more, rates)
            topped = dict(zip(rows, more, strict=True))
            return MinimumOrder(
                supplier, location, currency, minimum, before, after, cover, cost, saving, lane.next_order_day, topped
            )
    else:
        cover, cost = 0, float("inf")
    return MinimumOrder(
        supplier, location, currency, minimum, before, Decimal(0), cover, cost, saving, lane.next_order_day, nothing
    )


def _rate(cycle, quote, terms) -> Decimal | None:
    """The supplier's currency for one unit of the quote's; None where it is not known."""
    if quote.currency == terms["currency"]:
        return Decimal(1)
    known = Decimal(1) if terms["currency"] == cycle.inputs.parameters.reporting_currency else terms["exchange_rate"]
    return quote.rate / known if known is not None and known > 0 else None


def _amount(quotes, packs, rates) -> Decimal:
    amounts = (converted(q.lot, int(count), rate) for q, count, rate in zip(quotes, packs, rates, strict=True))
    return sum(amounts, start=Decimal(0))
