"""Lanes: how goods get from one source to one location, and when. Order days, cut-offs, lead times, delivery days.

Belongs here: turning calendars and lead-time distributions into the days (counted from the cycle date) on which an
order can be placed and its goods are on sale. Does not belong here: how much to order.

The protection interval of an order runs from the cycle date until the goods of the NEXT order are on sale: whatever is
ordered now has to last until then.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from ml.replenishment.inputs import FrozenInputs
from ml.replenishment.parameters import Parameters

LAST_DAY = 365
"""No calendar is looked at further ahead than this many days."""


@dataclass(frozen=True)
class LeadTime:
    """A distribution of whole days as values at equally likely points; `basis` says where it comes from."""

    mean: float
    sd: float
    basis: str
    values: np.ndarray

    def typical(self) -> int:
        """The median, in whole days."""
        return int(self.values[(len(self.values) - 1) // 2])

    def draw(self, n: int, *labels: object) -> np.ndarray:
        """[n] whole days, stratified: every run of the same labels gives the same days, and few are enough."""
        strata = (generator(*labels).permutation(n) + 0.5) / n
        return self.values[(strata * len(self.values)).astype(int)]


@dataclass(frozen=True)
class Lane:
    """One source serving one location. Days count from the cycle date; arrays hold one value per scenario.

    `order_day` / `next_order_day`: the first order day that can still be met, and the one after; `decide_by`: the last
    cycle that can decide on the first. `on_sale` / `next_on_sale`: first day on which the goods of either can be sold.
    `arrives` / `next_arrives`: the typical arrival of both.
    """

    source: str
    location: str
    order_days: np.ndarray
    decide_by: int
    lead_time: LeadTime
    on_sale: np.ndarray
    next_on_sale: np.ndarray
    arrives: int
    next_arrives: int

    @property
    def order_day(self) -> int:
        return int(self.order_days[0])

    @property
    def next_order_day(self) -> int:
        return int(self.order_days[1])


def generator(*labels: object) -> np.random.Generator:
    """A random stream of its own for what the labels name, whatever else is drawn and in whatever order."""
    digest = hashlib.sha256("\x1f".join(str(label) for label in labels).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


class Calendar:
    """Opening days per location, as lookups by day from the cycle date."""

    def __init__(self, calendar: pd.DataFrame, cycle_date: np.datetime64):
        days = (calendar["date"].to_numpy().astype("datetime64[D]") - cycle_date).astype("int64")
        ahead = (days >= 0) & (days <= LAST_DAY)
        self._open: dict[str, np.ndarray] = {}
        locations = calendar["location"].to_numpy()[ahead]
        for location, day, is_open in zip(locations, days[ahead], calendar["is_open"].to_numpy()[ahead], strict=True):
            self._open.setdefault(location, np.ones(LAST_DAY + 1, dtype=bool))[day] = is_open
        self._delivery: dict[str, np.ndarray] = {}

    def is_open(self, location: str) -> np.ndarray:
        """bool [LAST_DAY + 1]"""
        return self._open.get(location, np.ones(LAST_DAY + 1, dtype=bool))

    def delivery_day(self, location: str, days: np.ndarray) -> np.ndarray:
        """The day on which goods due on `days` are taken in: that day, or the next open one."""
        following = self._delivery.get(location)
        if following is None:
            day = np.where(self.is_open(location), np.arange(LAST_DAY + 1), LAST_DAY)
            following = self._delivery[location] = np.minimum.accumulate(day[::-1])[::-1]
        return following[np.clip(days, 0, LAST_DAY)]


def order_days(
    weekdays: str, cut_off: str, cycle_date: np.datetime64, parameters: Parameters
) -> tuple[np.ndarray, int]:
    """Days from the cycle date on which an order can be placed, at least a review period apart, and `decide_by`.

    A cut-off earlier than the decision time has passed when the day's proposals are decided on, so such an order day
    is met by the cycle of the day before.
    """
    ahead = 1 if cut_off and cut_off < parameters.decision_time else 0
    first_weekday = (int(cycle_date.astype("int64")) + 3) % 7 + 1
    wanted = {int(day) for day in weekdays.split(",") if day.strip()} or set(range(1, 8))
    days, last = [], -LAST_DAY
    for day in range(ahead, LAST_DAY):
        if (first_weekday - 1 + day) % 7 + 1 in wanted and day - last >= parameters.review_period_days:
            days.append(day)
            last = day
    return np.array(days), days[0] - ahead


def lead_times(inputs: FrozenInputs) -> dict[str, LeadTime]:
    """Per supplier: observed receipts where there are enough of them, else what is stated, else the assumed default."""
    parameters = inputs.parameters
    observed = {
        supplier: (rows["lead_time_days"].to_numpy(), rows["receipts"].to_numpy())
        for supplier, rows in inputs.lead_times.groupby("supplier", sort=True)
    }
    suppliers = inputs.suppliers[["supplier", "lead_time_days", "lead_time_sd_days"]].itertuples(index=False)
    found = {}
    for supplier, mean, sd in suppliers:
        days, receipts = observed.get(supplier, (np.empty(0), np.empty(0)))
        if receipts.sum() >= parameters.minimum_receipts:
            found[supplier] = _observed(days, receipts)
        elif not math.isnan(mean):
            found[supplier] = stated(mean, mean * parameters.default_lead_time_cv if math.isnan(sd) else sd, "stated")
        elif receipts.sum():
            mean = float(np.average(days, weights=receipts))
            basis = f"mean of {int(receipts.sum())} receipts"
            found[supplier] = stated(mean, mean * parameters.default_lead_time_cv, basis)
        else:
            mean = parameters.default_lead_time_days
            found[supplier] = stated(mean, mean * parameters.default_lead_time_cv, "assumed")
    return found


def stated(mean: float, sd: float, basis: str) -> LeadTime:
    """Lognormal of this mean m and standard deviation, whole days: ln L ~ N(ln m - s²/2, s²), s² = ln(1 + (sd/m)²)."""
    if mean <= 0 or sd <= 0:
        return LeadTime(mean, 0.0, basis, np.array([round(mean)]))
    variance = math.log1p((sd / mean) ** 2)
    normal = NormalDist(math.log(mean) - variance / 2, math.sqrt(variance))
    values = [math.exp(normal.inv_cdf((i + 0.5) / 500)) for i in range(500)]
    return LeadTime(mean, sd, basis, np.rint(values).astype(int))


def _observed(days: np.ndarray, receipts: np.ndarray) -> LeadTime:
    order = np.argsort(days, kind="stable")
    share = np.cumsum(receipts[order]) / receipts.sum()
    points = (np.arange(500) + 0.5) / 500
    values = np.maximum(np.rint(days[order][np.searchsorted(share, points)]), 0).astype(int)
    mean = float(np.average(days, weights=receipts))
    sd = math.sqrt(float(np.average((days - mean) ** 2, weights=receipts)))
    return LeadTime(mean, sd, f"{int(receipts.sum())} receipts", values)


def lane(
    source: str,
    location: str,
    days: np.ndarray,
    decide_by: int,
    lead_time: LeadTime,
    calendar: Calendar,
    parameters: Parameters,
    seed: int,
) -> Lane:
    """The lane from `source` to `location` for orders on `days`.

    Two orders' lead times are drawn independently; goods of the later one never count as on sale before the earlier's.
    """
    first = lead_time.draw(parameters.paths, seed, "first", source, location)
    second = lead_time.draw(parameters.paths, seed, "second", source, location)
    on_sale = calendar.delivery_day(location, days[0] + first) + parameters.receiving_days
    next_on_sale = calendar.delivery_day(location, days[1] + second) + parameters.receiving_days
    typical = lead_time.typical()
    arrives, next_arrives = calendar.delivery_day(location, days[:2] + typical)
    return Lane(
        source=source,
        location=location,
        order_days=days,
        decide_by=decide_by,
        lead_time=lead_time,
        on_sale=np.minimum(on_sale, LAST_DAY),
        next_on_sale=np.minimum(np.maximum(next_on_sale, on_sale), LAST_DAY),
        arrives=int(arrives),
        next_arrives=int(next_arrives),
    )
