"""Inventory position by arrival date: what is on hand and fit for sale, and what is on sale from which day on.

Belongs here: stock, open orders and expiry brought to base units and days from the cycle date. Does not belong here:
demand and what to do about it.

Late orders: an order that should have arrived before the cycle date neither counts as here nor as lost. It is expected
again after the supplier's typical delay (parameter `late_order_days` where unknown), until it is later than
`lost_after_days`; from then on it is not counted on.
Expiry: a batch may be sold through its `expires_on`. Stock of perishable goods without a date is taken to have arrived
today at best, so it is gone a shelf life from now.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.replenishment.inputs import FrozenInputs, day_numbers
from ml.replenishment.lanes import Calendar, LeadTime


def conversions(inputs: FrozenInputs) -> pd.DataFrame:
    """item, unit, numerator, denominator: every unit of every item in base units, the base unit itself included."""
    base = inputs.items[["item", "base_unit"]].rename(columns={"base_unit": "unit"})
    base = base.assign(numerator=1, denominator=1)
    return pd.concat([base, inputs.units]).drop_duplicates(["item", "unit"], keep="first")


def in_base_units(frame: pd.DataFrame, column: str, units: pd.DataFrame) -> np.ndarray:
    """`column` as float64 base units; NaN where the unit has no conversion."""
    joined = frame[["item", "unit"]].merge(units, on=["item", "unit"], how="left")
    factor = joined["numerator"].to_numpy(dtype=float) / joined["denominator"].to_numpy(dtype=float)
    return np.round(frame[column].to_numpy(dtype=float) * factor, 6)


def stock(inputs: FrozenInputs, units: pd.DataFrame, cycle_date: np.datetime64) -> pd.DataFrame:
    """Batches in base units: item, location, on_hand, reserved, last_day, counted_day, stock_value.

    `last_day` is the last day of sale from the cycle date, infinity where nothing expires; `on_hand` is NaN where a
    unit has no conversion.
    """
    batches = inputs.position
    items = inputs.items[["item", "shelf_life_days"]].drop_duplicates("item")
    life = batches[["item"]].merge(items, on="item", how="left")["shelf_life_days"]
    last_day = day_numbers(batches["expires_on"], cycle_date)
    undated = np.where(life.isna().to_numpy(), np.inf, life.to_numpy(dtype=float) - 1)
    return pd.DataFrame(
        {
            "item": batches["item"],
            "location": batches["location"],
            "on_hand": in_base_units(batches, "on_hand", units),
            "reserved": in_base_units(batches, "reserved", units),
            "last_day": np.where(np.isnan(last_day), undated, last_day),
            "counted_day": day_numbers(batches["counted_at"].dt.tz_localize(None), cycle_date)
            if len(batches)
            else np.empty(0),
            "stock_value": batches["stock_value"].to_numpy(dtype=float),
        }
    )


def arriving(
    inputs: FrozenInputs, units: pd.DataFrame, lead_times: dict[str, LeadTime], cycle_date: np.datetime64
) -> pd.DataFrame:
    """Open orders in base units: item, location, supplier, document, quantity, day, is_late, is_lost.

    `day` is the expected arrival from the cycle date after the rule for late orders.
    """
    orders = inputs.open_orders
    parameters = inputs.parameters
    expected = day_numbers(orders["expected_on"], cycle_date)
    suppliers = orders["supplier"].fillna("").astype(str)
    unknown = parameters.default_lead_time_days
    usual = suppliers.map({name: found.typical() for name, found in lead_times.items()}).to_numpy(dtype=float)
    expected = np.where(np.isnan(expected), np.where(np.isnan(usual), round(unknown), usual), expected)
    delays = inputs.suppliers.set_index("supplier")["typical_delay_days"]
    delay = suppliers.map(delays[~delays.index.duplicated()]).to_numpy(dtype=float)
    delay = np.where(np.isnan(delay), parameters.late_order_days, np.maximum(np.ceil(delay), 1))
    late = expected < 0
    return pd.DataFrame(
        {
            "item": orders["item"],
            "location": orders["location"],
            "supplier": suppliers,
            "document": orders["document"],
            "quantity": in_base_units(orders, "quantity", units),
            "day": np.where(late, delay, expected).astype(int),
            "is_late": late,
            "is_lost": expected < -parameters.lost_after_days,
        }
    )


def on_sale_days(
    orders: pd.DataFrame, lead_times: dict[str, LeadTime], calendar: Calendar, receiving_days: int, n: int, seed: int
) -> np.ndarray:
    """[orders, n] first day on which each open order's goods are on sale.

    Around its expected day an order varies as its supplier's lead time does around the typical one.
    """
    days = np.empty((len(orders), n), dtype=int)
    lanes = orders.groupby(["supplier", "location"], sort=True).indices
    for (supplier, location), rows in lanes.items():
        found = lead_times.get(supplier)
        shift = 0 if found is None else found.draw(n, seed, "open", supplier, location) - found.typical()
        due = orders["day"].to_numpy()[rows, None] + shift
        due = np.maximum(due, orders["is_late"].to_numpy()[rows, None].astype(int))
        days[rows] = calendar.delivery_day(location, due) + receiving_days
    return days


def by_day(rows: np.ndarray, days: np.ndarray, quantity: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Sums `quantity` [k] of series `rows` [k] on `days` [k, n] into [T, S, n]; later days are left out."""
    placed = np.zeros(shape)
    scenario = np.broadcast_to(np.arange(shape[2]), days.shape)
    inside = days < shape[0]
    where = (days[inside], np.broadcast_to(rows[:, None], days.shape)[inside], scenario[inside])
    np.add.at(placed, where, np.broadcast_to(quantity[:, None], days.shape)[inside])
    return placed
