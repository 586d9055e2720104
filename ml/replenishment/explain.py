"""Why a proposal says what it says: its number computed again from its frozen inputs alone, step by step.

Belongs here: recomputation and its account in words. Does not belong here: a second way to compute anything.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ml.replenishment.demand import SamplePaths
from ml.replenishment.inputs import FrozenInputs
from ml.replenishment.propose import propose
from ml.wording import how_many

COMPARED = (
    "proposal_id",
    "quantity",
    "supplier",
    "from_location",
    "amount",
    "order_by",
    "expected_on",
    "reason",
    "evidence",
)


@dataclass(frozen=True)
class Explanation:
    """`matches`: the number computed again is the stored one, evidence included. `differs`: the fields that do not."""

    matches: bool
    differs: tuple[str, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def explain(proposal: Mapping[str, Any], inputs: FrozenInputs, sample_paths: SamplePaths) -> Explanation:
    """Explains one row of `ProposalSet.proposals`; `inputs` are those its evidence names, thawed: all, or those of the
    `items_decided_with` it. Only these are computed again.
    """
    origin = json.loads(proposal["evidence"])["inputs"]
    inputs = inputs.only(items_decided_with(proposal, inputs.suppliers, inputs.offers))
    cycle_date = dt.date.fromisoformat(origin["cycle_date"])
    again = propose(inputs, origin["frozen"], cycle_date, sample_paths, origin["seed"]).proposals
    again = again[
        (again["item"] == proposal["item"])
        & (again["location"] == proposal["location"])
        & (again["kind"] == proposal["kind"])
    ]
    if again.empty:
        line = (
            "Computed again from its frozen inputs, nothing is ordered or moved: this proposal was not made from them."
        )
        return Explanation(False, ("quantity",), (line,))
    found = again.iloc[0].to_dict()
    differs = tuple(name for name in COMPARED if (found[name] or None) != (proposal[name] or None))
    verdict = (
        f"Computed again from its frozen inputs: {found['quantity']}, the same."
        if not differs
        else f"Computed again from its frozen inputs: {found['quantity']}, stored {proposal['quantity']}; "
        f"different: {', '.join(differs)}."
    )
    return Explanation(not differs, differs, (found["reason"], *_steps(json.loads(found["evidence"]), found), verdict))


def items_decided_with(proposal: Mapping[str, Any], suppliers: pd.DataFrame, offers: pd.DataFrame) -> set[str]:
    """What the decision depends on: the item at all its locations, and where the supplier has a minimum order amount
    every item it offers. `suppliers` and `offers` as in the frozen inputs."""
    supplier = suppliers[suppliers["supplier"] == proposal["supplier"]]
    if not (supplier["minimum_order_amount"] > 0).any():
        return {proposal["item"]}
    return {proposal["item"], *offers.loc[offers["supplier"] == proposal["supplier"], "item"]}


def _steps(told: dict[str, Any], row: Mapping[str, Any]) -> list[str]:
    position, interval, demand, level, lot = (
        told[name] for name in ("position", "interval", "demand", "level", "lots")
    )
    available = position["on_hand"] - position["reserved"]
    lines = [
        f"1. Position: {position['on_hand']:g} on hand - {position['reserved']:g} reserved = {available:g} available; "
        f"{position['arriving_in_interval']:g} arriving in time"
        + (f"; {position['expired']:g} expired and left out" if position["expired"] else "")
        + (f"; {how_many(position['late_orders'], 'late order')} expected again" if position["late_orders"] else "")
        + (
            f"; {how_many(position['lost_orders'], 'order')} too late to be counted on"
            if position["lost_orders"]
            else ""
        )
        + f". It lasts {how_many(position['lasts_days'], 'day')}.",
        f"2. Interval: ordered {interval['order_on']}, arrives {interval['arrives_on']}; the next order of "
        f"{interval['next_order_on']} arrives {interval['next_arrives_on']}. Lead time {interval['lead_time_mean']:.1f} "
        f"days, standard deviation {interval['lead_time_sd']:.1f} ({interval['lead_time_basis']}); it has to last "
        f"{interval['days']:g} days on average"
        + (
            f", {interval['beyond_forecast_days']} of them beyond the forecast."
            if interval["beyond_forecast_days"]
            else "."
        ),
        f"3. Demand over it ({told['inputs']['model'] or 'what other locations ask for'}, {told['inputs']['paths']} "
        f"scenarios): mean {demand['mean']:g}, q10 {demand['q10']:g}, q50 {demand['q50']:g}, q90 {demand['q90']:g}."
        + (f" A new product: judged by {demand['similar']} similar ones." if "similar" in demand else ""),
        f"4. Service {level['service']:.3f} "
        + (
            "as set."
            if level["service_basis"] == "target"
            else f"from costs: {level['cost_short']:g} per unit short, {level['cost_holding_per_day']:g} per unit and "
            f"day held, {level['review_days']:g} days between orders."
        )
        + f" Order-up-to level {level['order_up_to']:g}, safety stock {level['safety_stock']:g}.",
        f"5. Required: {level['required']:g}, what the {level['service']:.3f} quantile of the scenarios lacks.",
        f"6. Lots: packs of {lot['pack']:g}, at least {lot['minimum_packs']}; {lot['below']['quantity']:g} would cost "
        f"{lot['below']['cost']:g}, {lot['above']['quantity']:g} would cost {lot['above']['cost']:g} "
        f"{told['currency']} in lost sales, holding and waste. Result: {how_many(lot['packs'], 'pack')}, {lot['quantity']}.",
    ]
    if told["minimum_order"]:
        least = told["minimum_order"]
        lines.append(
            f"7. Minimum order {least['amount']} {least['currency']}: the order came to {least['before']} and is "
            f"topped up to {least['after']}, {how_many(least['cover_days'], 'day')} of cover per line; holding the extra costs "
            f"{least['extra_holding']:g}, ordering now saves {least['saving']:g} {told['currency']}."
        )
    for other in told["alternatives"]:
        lines.append(
            f"Not chosen: {other['kind']} from {other['source']}, ordered {other['order_on']}, there "
            f"{other['arrives_on']}, {other['unit_landed']:g} per unit, {other['lost_before_arrival']:g} lost before "
            f"it arrives, cost {other['cost']:g} against {told['cost']:g} {told['currency']}."
        )
    return lines
