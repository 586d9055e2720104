"""One batch of items as arrays: what is given before anything is decided about it.

Belongs here: a cycle's shared facts, and the demand, supply and options of some of its series. Does not belong here:
decisions (`decide`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ml.replenishment.demand import SamplePaths, scenarios
from ml.replenishment.inputs import FrozenInputs
from ml.replenishment.lanes import LAST_DAY, Calendar, LeadTime
from ml.replenishment.position import by_day, on_sale_days
from ml.replenishment.sourcing import Options


@dataclass(frozen=True)
class Cycle:
    """What all batches share. `series` has item, location, parent, level and the stock, price and policy columns of
    `propose`;
    `batches` and `orders` carry `series`, the row they belong to."""

    inputs: FrozenInputs
    series: pd.DataFrame
    batches: pd.DataFrame
    orders: pd.DataFrame
    options: Options
    lead_times: dict[str, LeadTime]
    calendar: Calendar
    forecasts: pd.DataFrame
    sample_paths: SamplePaths
    seed: int

    @cached_property
    def supplier_names(self) -> dict[str, str]:
        return dict(zip(self.inputs.suppliers["supplier"], self.inputs.suppliers["name"], strict=True))


class Batch:
    """The given: arrays over the series of a batch (`series`, S rows) and their options (`table`, one row each)."""

    def __init__(self, cycle: Cycle, rows: np.ndarray):
        self.cycle, self.rows = cycle, rows
        self.parameters = cycle.inputs.parameters
        self.n = self.parameters.paths
        self.series = cycle.series.iloc[rows].reset_index(drop=True)
        place = np.full(len(cycle.series), -1)
        place[rows] = np.arange(len(rows))
        self.parent = np.where(self.series["parent"] >= 0, place[np.maximum(self.series["parent"], 0)], -1)

        table = cycle.options.table
        self.option_rows = np.flatnonzero(place[table["series"].to_numpy()] >= 0)
        self.table = table.iloc[self.option_rows].reset_index(drop=True)
        self.owner = place[self.table["series"].to_numpy()]
        self.break_packs = cycle.options.break_packs[self.option_rows]
        self.break_prices = cycle.options.break_prices[self.option_rows].copy()
        sent = self.table["kind"].to_numpy() == "transfer"
        unit_cost = self.series["unit_cost"].to_numpy()
        self.break_prices[sent] = (unit_cost[self.owner[sent]] + self.table["cost"].to_numpy()[sent])[:, None]
        self.lanes = [cycle.options.lanes[number] for number in self.table["lane"]]
        self.on_sale = np.array([lane.on_sale for lane in self.lanes]).reshape(-1, self.n)
        self.next_on_sale = np.array([lane.next_on_sale for lane in self.lanes]).reshape(-1, self.n)
        self.is_due = np.array([lane.decide_by for lane in self.lanes]) <= self.parameters.propose_ahead_days
        self.days = max(self.parameters.horizon_days, int(self.next_on_sale.max(initial=0)))

    # -- What is known -------------------------------------------------------------------------------------------------

    def demand(self) -> np.ndarray:
        cycle, names = self.cycle, self.series[["item", "location"]]
        forecasts = cycle.forecasts[cycle.forecasts["series"].isin(self.rows)].drop(columns="series")
        demand = scenarios(forecasts, names, self.days, self.n, cycle.seed, cycle.sample_paths)
        is_open = {name: cycle.calendar.is_open(name) for name in names["location"].unique()}
        is_open = np.stack([is_open[name] for name in names["location"]], axis=1)[np.arange(self.days) % (LAST_DAY + 1)]
        factor = is_open * self.series["demand_factor"].to_numpy()
        demand *= factor[:, :, None]
        return demand

    def supply(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Arrivals on sale, and what can be sold at the latest by each day; None where there is none of it."""
        cycle = self.cycle
        place = {row: index for index, row in enumerate(self.rows)}
        orders = cycle.orders[cycle.orders["series"].isin(self.rows)]
        self.order_rows = orders["series"].map(place).to_numpy(dtype=int)
        self.order_days = on_sale_days(
            orders, cycle.lead_times, cycle.calendar, self.parameters.receiving_days, self.n, cycle.seed
        )
        self.order_quantity = orders["quantity"].to_numpy()
        shape = (self.days, len(self.rows), self.n)
        arrivals = by_day(self.order_rows, self.order_days, self.order_quantity, shape) if len(orders) else None

        life = self.series["shelf_life_days"].to_numpy()
        batches = cycle.batches[cycle.batches["series"].isin(self.rows)]
        batches = batches[batches["last_day"] < self.days]
        perishable = ~np.isnan(life[self.order_rows])
        if not len(batches) and not perishable.any():
            return arrivals, None
        scenarios_apart = self.n if perishable.any() else 1
        due = np.repeat(batches["last_day"].to_numpy(dtype=int)[:, None], scenarios_apart, axis=1)
        owner = batches["series"].map(place).to_numpy(dtype=int)
        expiring = by_day(owner, due, batches["on_hand"].to_numpy(), (*shape[:2], scenarios_apart))
        if perishable.any():
            last = self.order_days[perishable] + life[self.order_rows[perishable], None].astype(int) - 1
            expiring += by_day(self.order_rows[perishable], last, self.order_quantity[perishable], shape)
        return arrivals, np.cumsum(expiring, axis=0)
