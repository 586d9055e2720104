"""Proposals as rows: the sentence a buyer reads, and the evidence it was made from.

Belongs here: wording and layout of decisions already taken. Does not belong here: taking them.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from ml.replenishment import lots
from ml.replenishment.batch import Cycle
from ml.replenishment.decide import DEMAND_QUANTILES, Decided
from ml.replenishment.lanes import Lane
from ml.replenishment.minimums import MinimumOrder
from ml.wording import how_many

PROPOSALS = [
    "proposal_id", "cycle_date", "kind", "item", "location", "supplier", "from_location", "quantity", "order_unit",
    "pack", "packs", "moq", "unit_price", "currency", "amount", "reporting_amount", "order_by", "expected_on",
    "stockout_risk_without", "stockout_risk_with", "priority", "reason", "evidence",
]  # fmt: skip
URGENT, HIGH = 0.5, 0.2
"""Stock-out probability over the protection interval, without the order, from which a proposal is urgent or high."""


@dataclass(frozen=True)
class Origin:
    """What all proposals of a cycle were made from."""

    cycle_date: np.datetime64
    frozen_hash: str
    seed: int


def proposal_rows(
    cycle: Cycle, part: Decided, origin: Origin, minimums: dict[int, MinimumOrder]
) -> list[dict[str, Any]]:
    """One dict of `PROPOSALS` per order or transfer that is due and not nothing."""
    options = part.alternatives
    buys = options["is_chosen"] & options["is_due"] & (options["kind"] == "buy") & (options["packs"] > 0)
    acting = options[buys | (options["sent"] > 0)]
    if not len(acting):
        return []
    state = part.series.set_index("series")
    values = options.to_dict("list")
    of_series = options.groupby("series", sort=False).indices
    columns = list(options.columns)
    known = cycle.series.loc[state.index].to_dict("index")
    facts = state.to_dict("index")
    rows = []
    for row in acting.index:
        option = {name: values[name][row] for name in columns}
        others = [
            {name: values[name][other] for name in columns} for other in of_series[option["series"]] if other != row
        ]
        series = known[option["series"]] | facts[option["series"]]
        rows.append(_proposal(cycle, option, others, series, origin, minimums.get(option["series"])))
    return rows


def _proposal(cycle, option, others, series, origin, minimum) -> dict[str, Any]:
    lane = cycle.options.lanes[option["lane"]]
    is_buy = option["kind"] == "buy"
    packs = int(option["packs"] if is_buy else option["sent"])
    quantity = lots.exact(packs * int(option["pack"]))
    parameters = cycle.inputs.parameters
    if is_buy:
        quote = cycle.options.quotes[option["quote"]]
        price, amount = quote.lot.price(packs), quote.lot.amount(packs)
        money = {
            "order_unit": quote.unit,
            "pack": _plain(quote.lot.pack_quantity),
            "moq": _plain(quote.lot.minimum * quote.lot.pack_quantity),
            "unit_price": _plain(price),
            "currency": quote.currency,
            "amount": str(amount),
            "reporting_amount": str((amount * quote.rate).quantize(Decimal("0.0001"))),
        }
    else:
        cost = Decimal(repr(option_cost := float(cycle.options.table["cost"].iat[option["option"]])))
        amount = (cost * quantity).quantize(Decimal("0.0001"))
        money = {
            "order_unit": series["base_unit"],
            "pack": _plain(lots.exact(int(option["pack"]))),
            "moq": _plain(lots.exact(int(option["pack"]))),
            "unit_price": _plain(Decimal(repr(option_cost))),
            "currency": parameters.reporting_currency,
            "amount": str(amount),
            "reporting_amount": str(amount),
        }
    key = [str(origin.cycle_date), origin.frozen_hash, option["kind"], series["item"], series["location"]]
    key += [option["source"], str(quantity)]
    risk = round(option["risk_interval"], 6)
    evidence = _evidence(cycle, option, others, series, lane, origin, minimum, packs, quantity)
    return {
        "proposal_id": hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:24],
        "cycle_date": _date(origin, 0),
        "kind": option["kind"],
        "item": series["item"],
        "location": series["location"],
        "supplier": option["source"] if is_buy else None,
        "from_location": None if is_buy else option["source"],
        "quantity": str(quantity),
        "packs": packs,
        **money,
        "order_by": _date(origin, lane.decide_by),
        "expected_on": _date(origin, lane.arrives),
        "stockout_risk_without": risk,
        "stockout_risk_with": round(option["risk_with"], 6),
        "priority": "urgent" if risk >= URGENT else "high" if risk >= HIGH else "normal",
        "reason": _sentence(cycle, option, series, lane, origin, minimum, packs, quantity),
        "evidence": json.dumps(evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    }


def _evidence(cycle, option, others, series, lane: Lane, origin, minimum, packs, quantity) -> dict[str, Any]:
    parameters = cycle.inputs.parameters
    size = option["pack"] / lots.MICRO
    return {
        "inputs": {
            "frozen": origin.frozen_hash,
            "cycle_date": str(origin.cycle_date),
            "seed": origin.seed,
            "parameters_version": parameters.version,
            "paths": parameters.paths,
            "model": series["model"],
        },
        "position": {
            "on_hand": _round(series["on_hand"]),
            "reserved": _round(series["reserved"]),
            "arriving_in_interval": _round(series["coming"]),
            "expired": _round(series["expired"]),
            "late_orders": int(series["late_orders"]),
            "lost_orders": int(series["lost_orders"]),
            "lasts_days": int(series["lasts"]),
        },
        "interval": {
            "order_on": _date(origin, lane.order_day),
            "decide_by": _date(origin, lane.decide_by),
            "arrives_on": _date(origin, lane.arrives),
            "next_order_on": _date(origin, lane.next_order_day),
            "next_arrives_on": _date(origin, lane.next_arrives),
            "days": _round(option["interval_days"]),
            "lead_time_mean": _round(lane.lead_time.mean),
            "lead_time_sd": _round(lane.lead_time.sd),
            "lead_time_basis": lane.lead_time.basis,
            "beyond_forecast_days": max(
                0, lane.next_arrives + parameters.receiving_days - int(series["forecast_days"])
            ),
        },
        "demand": {
            "mean": _round(option["mean"]),
            "per_day": _round(option["daily_demand"]),
            **{f"q{round(q * 100)}": _round(option[f"q{round(q * 100)}"]) for q in DEMAND_QUANTILES},
            # A new product, judged by so many similar ones.
            **({"similar": int(series["similar"])} if series["similar"] else {}),
        },
        "level": {
            "service": _round(option["target"]),
            "service_basis": "target" if not math.isnan(series["service_target"]) else "costs",
            "cost_short": _round(option["short_cost"]),
            "cost_holding_per_day": _round(option["holding_cost"]),
            "review_days": _round(option["review_days"]),
            "order_up_to": _round(option["order_up_to"]),
            "safety_stock": _round(option["order_up_to"] - option["mean"]),
            "required": _round(option["required"]),
        },
        "lots": {
            "pack": _round(size),
            "minimum_packs": int(option["minimum"]),
            "below": {"quantity": _round(option["below"] * size), "cost": _round(option["cost_below"])},
            "above": {"quantity": _round(option["above"] * size), "cost": _round(option["cost_above"])},
            "packs": packs,
            "quantity": str(quantity),
        },
        "minimum_order": None if minimum is None else _minimum(minimum),
        "unit_landed": _round(option["landed"]),
        "lost_before_arrival": _round(option["lost_before"]),
        "alternatives": [
            {
                "kind": other["kind"],
                "source": other["source"],
                "order_on": _date(origin, cycle.options.lanes[other["lane"]].order_day),
                "arrives_on": _date(origin, cycle.options.lanes[other["lane"]].arrives),
                "required": _round(other["required"]),
                "packs": int(other["sent"] or other["packs"]),
                "unit_landed": _round(other["landed"]),
                "lost_before_arrival": _round(other["lost_before"]),
                "cost": _round(other["score"]),
            }
            for other in others
        ],
        "cost": _round(option["score"]),
        "currency": parameters.reporting_currency,
    }


def _minimum(minimum: MinimumOrder) -> dict[str, Any]:
    return {
        "amount": str(minimum.minimum),
        "currency": minimum.currency,
        "before": str(minimum.before),
        "after": str(minimum.after),
        "cover_days": minimum.cover_days,
        "extra_holding": _round(minimum.extra_cost),
        "saving": _round(minimum.saving),
    }


def _sentence(cycle, option, series, lane: Lane, origin, minimum, packs, quantity) -> str:
    unit = "" if series["base_unit"] in ("each", "") else f" {series['base_unit']}"
    size = lots.exact(int(option["pack"]))
    lot = f" ({how_many(packs, 'pack')} of {size})" if size != 1 else ""
    source = cycle.supplier_names.get(option["source"]) or option["source"]
    verb = "Order" if option["kind"] == "buy" else "Move"
    days = lane.next_arrives + cycle.inputs.parameters.receiving_days
    until = (origin.cycle_date + lane.next_arrives).astype(object)
    day = f"{until:%a} {until.day} {until:%b}"
    lost = _about(option["lost_before"])
    missed = "" if lost == "0" else f", about {lost} of it missed before anything ordered now can arrive"
    new = f", for a new product judged by {series['similar']} similar ones" if series["similar"] else ""
    return (
        f"{verb} {quantity}{unit}{lot} from {source}: {_lasting(series, days)} until the delivery after it is on sale "
        f"({day}); demand over them is {_short(option['q10'])} to {_short(option['q90'])} (typical "
        f"{_short(option['q50'])}){new}{missed}, {_rounding(option, packs, size, minimum)}."
    )


def _lasting(series, days: int) -> str:
    """How many of the `days` what is there and what is coming lasts."""
    there = f"{_short(series['on_hand'] - series['reserved'])} on hand"
    coming, lasts = _short(series["coming"]), int(series["lasts"])
    if lasts >= days:
        return f"{there} and {coming} arriving last the {how_many(days, 'day')}"
    if lasts == 0:
        before = "" if coming == "0" else f", before the {coming} arriving"
        return f"{there} will not last the day{before}; it is {how_many(days, 'day')}"
    return f"{there} and {coming} arriving last {lasts} of the {days} days"


def _rounding(option, packs: int, size: Decimal, minimum: MinimumOrder | None) -> str:
    required, quantity = _short(option["required"]), _short(packs * float(size))
    if option["kind"] == "transfer" and packs < option["packs"]:
        return f"and of the {required} required this is a fair share of what is there"
    if minimum is not None:
        return f"and the order is topped up from {required} to reach the supplier's minimum of {minimum.minimum:f}"
    if packs > max(option["below"], option["above"]):
        return f"and {required} required is raised to {quantity} for the price break"
    if packs == option["minimum"] and packs * float(size) - option["required"] >= float(size):
        return f"and the least that can be ordered raises {required} to {quantity}"
    if required == quantity:
        return f"and {quantity} are required"
    way = "up" if packs * float(size) > option["required"] else "down"
    return f"pack of {size} rounds {required} {way} to {quantity}"


def _date(origin: Origin, day: int) -> str:
    return str(origin.cycle_date + int(day))


def _plain(number: Decimal) -> str:
    number = number.normalize()
    return f"{number:f}"


def _short(value: float) -> str:
    """A quantity as a person writes it: whole from 10 on, otherwise up to two decimals."""
    return f"{round(value)}" if abs(value) >= 10 and abs(value - round(value)) >= 1e-9 else f"{round(value, 2):g}"


def _about(value: float) -> str:
    """An expected quantity as a person writes it: no more digits than it is known to."""
    return _short(round(value, 1))


def _round(value: float) -> float | None:
    value = float(value)
    return round(value, 6) + 0.0 if math.isfinite(value) else None


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Proposals in the order in which a buyer should look at them: kind of source and source, then item."""
    found = pd.DataFrame(rows, columns=PROPOSALS)
    order = ["kind", "supplier", "from_location", "location", "item"]
    return found.sort_values(order, kind="stable", ignore_index=True, na_position="last")
