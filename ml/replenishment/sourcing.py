"""From where: offers as exact lots with landed prices, transfer lanes, and sharing what is short.

Belongs here: every way in which one item can get to one location, and what a unit then costs. Does not belong here:
how much is needed (`policy`), or the rounding itself (`lots`).

Landed price per base unit, in reporting currency:
    price / conversion * exchange rate * (1 + landed cost share) * (1 - capital rate * payment terms / 365)
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd

from ml.replenishment.inputs import FrozenInputs, day_numbers
from ml.replenishment.lanes import Calendar, Lane, LeadTime, lane, order_days, stated
from ml.replenishment.lots import MICRO, InexactPack, Lot, lot

NEVER = 1 << 40
"""Packs of a price break that no order reaches: padding."""


@dataclass(frozen=True)
class Quote:
    """One supplier's offer of one item over one range of dates, days from the cycle date."""

    supplier: str
    item: str
    first_day: float
    last_day: float
    currency: str
    rate: Decimal
    unit: str
    lot: Lot
    landed: tuple[float, ...]


@dataclass(frozen=True)
class Options:
    """Ways to replenish. `table` has one row each: series, kind (buy, transfer), source, regular, lane, quote (-1 for
    a transfer), pack (micro-units), minimum (packs), cost (what a transfer adds per base unit).

    `break_packs`, `break_prices` [rows, k]: landed prices per base unit by number of packs. `lanes`: `table.lane`
    points here. `problems`: why a series that is not in `table` has no source.
    """

    table: pd.DataFrame
    break_packs: np.ndarray
    break_prices: np.ndarray
    lanes: list[Lane]
    quotes: list[Quote]
    problems: dict[int, str]


def quotes(inputs: FrozenInputs, units: pd.DataFrame, cycle_date: np.datetime64) -> tuple[list[Quote], dict[str, str]]:
    """Offers as quotes, and per item the first thing that made one of its offers unusable."""
    parameters = inputs.parameters
    factors = {
        (item, unit): Fraction(int(numerator), int(denominator))
        for item, unit, numerator, denominator in units.itertuples(index=False)
    }
    terms = inputs.suppliers.drop_duplicates("supplier").set_index("supplier")
    terms = terms[["landed_cost_share", "payment_terms_days"]].to_dict("index")
    offers = inputs.offers
    first, last = day_numbers(offers["valid_from"], cycle_date), day_numbers(offers["valid_to"], cycle_date)
    offers = offers.assign(first=np.nan_to_num(first, nan=-np.inf), last=np.nan_to_num(last, nan=np.inf))
    found, problems = [], {}
    keys = ["item", "supplier", "first", "last", "unit", "currency"]
    for (item, supplier, first, last, unit, currency), steps in _grouped(offers, keys):
        rate = steps[0].exchange_rate
        if currency == parameters.reporting_currency:
            rate = Decimal(1)
        conversion = factors.get((item, unit))
        problem = None
        if supplier not in terms:
            problem = f"supplier {supplier} is not among the suppliers"
        elif conversion is None:
            problem = f"supplier {supplier} sells it by the {unit}, which has no conversion to its base unit"
        elif rate is None or not rate > 0:
            problem = f"there is no exchange rate from {currency} for supplier {supplier}"
        elif min(step.unit_price for step in steps) < 0 or min(step.pack_quantity for step in steps) <= 0:
            problem = f"supplier {supplier} offers it at a negative price or in packs of nothing"
        if problem:
            problems.setdefault(item, problem)
            continue
        tiers = [(step.minimum_quantity, step.unit_price) for step in steps]
        try:
            offered = lot(steps[0].pack_quantity, max(step.moq for step in steps), conversion, tiers)
        except InexactPack as error:
            problems.setdefault(item, f"{error} at supplier {supplier}")
            continue
        term = terms[supplier]
        worth = float(rate) * (1 + term["landed_cost_share"])
        worth *= 1 - parameters.capital_rate * term["payment_terms_days"] / 365
        landed = tuple(float(price) / float(conversion) * worth for _, price in offered.tiers)
        found.append(Quote(supplier, item, first, last, currency, rate, unit, offered, landed))
    return found, problems


def _grouped(frame: pd.DataFrame, keys: list[str]):
    """(key values, rows) in key order; the rows are plain tuples, so that decimals stay exact."""
    group: list = []
    previous = None
    for row in frame.sort_values(keys, kind="stable").itertuples(index=False):
        key = tuple(getattr(row, name) for name in keys)
        if key != previous and group:
            yield previous, group
            group = []
        previous = key
        group.append(row)
    if group:
        yield previous, group


def routes(inputs: FrozenInputs, series: pd.DataFrame) -> pd.DataFrame:
    """series, source and the columns of `sourcing`: what each series' sourcing rows say, item-specific rows first."""
    rules = inputs.sourcing
    place = series[["item", "location"]].assign(series=np.arange(len(series)))
    own = place.merge(rules[rules["item"] != ""], on=["item", "location"])
    general = place[~place["series"].isin(own["series"])].drop(columns="item")
    general = general.merge(rules[rules["item"] == ""].drop(columns="item"), on="location")
    found = pd.concat([own.drop(columns="item"), general], ignore_index=True)
    silent = place.loc[~place["series"].isin(found["series"]), ["series", "location"]].assign(source="supplier")
    return pd.concat([found, silent], ignore_index=True).sort_values("series", kind="stable", ignore_index=True)


def options(
    inputs: FrozenInputs,
    series: pd.DataFrame,
    units: pd.DataFrame,
    lead_times: dict[str, LeadTime],
    calendar: Calendar,
    cycle_date: np.datetime64,
    seed: int,
) -> Options:
    """Every way to replenish each of `series` (item, location), with its lane. Offers count if valid on the order day.

    A location with only `location` rows is supplied from there regularly (the cheapest one); with a `supplier` row
    too, the transfer is an opportunity beside buying.
    """
    offered, item_problems = quotes(inputs, units, cycle_date)
    found = routes(inputs, series)
    buys = found.loc[found["source"] == "supplier", ["series", "location"]].drop_duplicates()
    lanes: list[Lane] = []
    bought, problems = _buying(
        inputs, series, buys, offered, item_problems, lead_times, calendar, cycle_date, seed, lanes
    )
    sent = _transferring(inputs, found, set(buys["series"]), calendar, cycle_date, seed, lanes)
    table = pd.concat([bought, sent], ignore_index=True)
    table = table.sort_values(["series", "kind", "source"], kind="stable", ignore_index=True)
    table = table.astype(
        {"series": int, "lane": int, "quote": int, "pack": np.int64, "minimum": np.int64, "cost": float}
    )
    table["regular"] = table["regular"].astype(bool)
    served = set(table["series"])
    for row in sorted(set(range(len(series))) - served):
        problems.setdefault(row, "it has no supplier and no location to be supplied from")
    problems = {row: text for row, text in problems.items() if row not in served}

    width = max([1, *(len(quote.lot.tiers) for quote in offered)])
    packs = np.full((len(table), width), NEVER)
    prices = np.zeros((len(table), width))
    packs[:, 0] = 0
    tiers = np.full((len(offered) + 1, width), NEVER)
    landed = np.zeros((len(offered) + 1, width))
    for row, quote in enumerate(offered):
        count = len(quote.landed)
        tiers[row, :count] = [0, *(least for least, _ in quote.lot.tiers[1:])]
        landed[row, :count], landed[row, count:] = quote.landed, quote.landed[-1]
    chosen = table["quote"].to_numpy()
    is_buy = chosen >= 0
    packs[is_buy], prices[is_buy] = tiers[chosen[is_buy]], landed[chosen[is_buy]]
    return Options(table, packs, prices, lanes, offered, problems)


def _buying(inputs, series, buys, offered, item_problems, lead_times, calendar, cycle_date, seed, lanes):
    columns = ["series", "kind", "source", "regular", "lane", "quote", "pack", "minimum", "cost"]
    candidates = pd.DataFrame(
        {
            "item": [quote.item for quote in offered],
            "source": [quote.supplier for quote in offered],
            "first_day": [quote.first_day for quote in offered],
            "last_day": [quote.last_day for quote in offered],
            "quote": np.arange(len(offered)),
            "pack": [quote.lot.pack for quote in offered],
            "minimum": [quote.lot.minimum for quote in offered],
        }
    )
    candidates = candidates.astype({"item": object, "source": object})
    wanted = buys.assign(item=series["item"].to_numpy()[buys["series"]])
    pairs = wanted.merge(candidates, on="item", how="left")
    problems = {}
    for row, item in pairs.loc[pairs["quote"].isna(), ["series", "item"]].itertuples(index=False):
        problems[row] = item_problems.get(item, "no supplier offers it")
    pairs = pairs.dropna(subset=["quote"])
    terms = inputs.suppliers.drop_duplicates("supplier").set_index("supplier")[["order_weekdays", "cut_off"]]
    place: dict[tuple[str, str], int] = {}
    days_of: dict[str, tuple[np.ndarray, int]] = {}
    unique = pairs[["source", "location"]].drop_duplicates().sort_values(["source", "location"])
    for supplier, location in unique.itertuples(index=False):
        if supplier not in days_of:
            days_of[supplier] = order_days(*terms.loc[supplier], cycle_date, inputs.parameters)
        place[supplier, location] = len(lanes)
        days, decide_by = days_of[supplier]
        lanes.append(lane(supplier, location, days, decide_by, lead_times[supplier], calendar, inputs.parameters, seed))
    key = list(zip(pairs["source"], pairs["location"], strict=True))
    pairs = pairs.assign(lane=[place[found] for found in key], kind="buy", regular=True, cost=0.0)
    order_day = np.array([found.order_day for found in lanes] or [0])[pairs["lane"].to_numpy(dtype=int)]
    valid = (pairs["first_day"].to_numpy() <= order_day) & (order_day <= pairs["last_day"].to_numpy())
    for row in pairs.loc[~valid, "series"].unique():
        problems.setdefault(row, "no offer for it is valid on the next order day")
    current = pairs[valid].sort_values(["series", "source", "first_day", "quote"], kind="stable")
    return current.drop_duplicates(["series", "source"], keep="last")[columns], problems


def _transferring(inputs, found, buying, calendar, cycle_date, seed, lanes):
    columns = ["series", "kind", "source", "regular", "lane", "quote", "pack", "minimum", "cost"]
    sent = found[(found["source"] == "location") & (found["from_location"] != found["location"])]
    sent = sent.assign(cost=sent["transfer_cost"].astype(float), regular=~sent["series"].isin(buying))
    sent = sent.sort_values(["series", "cost", "lead_time_days", "from_location"], kind="stable")
    sent = sent.drop_duplicates("series", keep="first")
    place: dict[tuple, int] = {}
    numbers, packs = [], []
    parameters = inputs.parameters
    keys = ["from_location", "location", "order_weekdays", "lead_time_days", "transfer_pack"]
    for source, location, weekdays, days, pack in sent[keys].itertuples(index=False):
        key = (source, location, weekdays, days)
        if key not in place:
            place[key] = len(lanes)
            possible, decide_by = order_days(weekdays, "", cycle_date, parameters)
            found_lane = stated(days, 0.0, "stated")
            lanes.append(lane(source, location, possible, decide_by, found_lane, calendar, parameters, seed))
        numbers.append(place[key])
        packs.append(max(1, round(pack * MICRO)))
    return sent.assign(kind="transfer", source=sent["from_location"], lane=numbers, quote=-1, pack=packs, minimum=1)[
        columns
    ]


def fair_share(needs: list[int], packs: list[int], available: int, own_need: int = 0) -> list[int]:
    """Whole packs per location out of `available` micro-units when `needs` (micro-units, in `packs` each) exceed it.

    Everyone, the sender's own customers included, gets the same share of the need; what rounding down leaves over goes
    pack by pack to whoever is furthest below the share, in the order given when equal.

    >>> fair_share([60, 30], [10, 10], 45)
    [3, 1]
    >>> fair_share([60, 30], [10, 10], 100)
    [6, 3]
    """
    wanted = [-(-need // pack) for need, pack in zip(needs, packs, strict=True)]
    total = sum(count * pack for count, pack in zip(wanted, packs, strict=True)) + own_need
    if total <= available:
        return wanted
    available = max(available, 0)
    shares = [Fraction(count * pack * available, total) for count, pack in zip(wanted, packs, strict=True)]
    given = [int(share // pack) for share, pack in zip(shares, packs, strict=True)]
    left = available - sum(count * pack for count, pack in zip(given, packs, strict=True))
    left -= Fraction(own_need * available, total)
    behind = sorted(range(len(needs)), key=lambda row: (-(shares[row] - given[row] * packs[row]), row))
    for row in behind:
        if given[row] < wanted[row] and packs[row] <= left:
            given[row] += 1
            left -= packs[row]
    return given
