"""One cycle's proposals from its frozen inputs: what to order, what to move, what is withheld, what may run out.

Belongs here: the sequence of steps from inputs to result. Does not belong here: any of the steps.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.replenishment import evidence, lanes, position, screening, sourcing, stockout
from ml.replenishment.batch import Cycle
from ml.replenishment.decide import Decided, decide
from ml.replenishment.demand import SamplePaths, usable_forecasts
from ml.replenishment.inputs import FrozenInputs
from ml.replenishment.minimums import MinimumOrder, meet_minimums

BATCH_SERIES = 100
"""Series decided together, about: arrays of some 6 MB with 200 scenarios of 40 days, the quickest size measured."""


@dataclass(frozen=True)
class ProposalSet:
    """Columns: `proposals` as evidence.PROPOSALS, `withheld` as screening.WITHHELD, `risk` and `purchase_plan` as in
    `stockout`. The same frozen inputs, cycle date and seed give the same frames to the last byte."""

    proposals: pd.DataFrame
    withheld: pd.DataFrame
    risk: pd.DataFrame
    purchase_plan: pd.DataFrame


def propose(
    inputs: FrozenInputs, frozen_hash: str, cycle_date: dt.date, sample_paths: SamplePaths, seed: int = 0
) -> ProposalSet:
    """Proposals for the morning of `cycle_date`. `frozen_hash` names `inputs` in the evidence (`freeze`).

    `sample_paths` is called once per batch of items with that batch's forecasts; what it does must follow from its
    arguments and `inputs.dependence` alone, and a series' paths from its own rows. Then an item's proposals follow from
    its own rows of `inputs` too, unless items share an order that is below its supplier's minimum. Raises InvalidInputs
    when it does not give what it should.
    """
    today = np.datetime64(cycle_date, "D")
    cycle, series, screened = _prepare(inputs, today, sample_paths, seed)
    batches = _batches(cycle.series)
    decided = [decide(cycle, rows) for rows in batches]
    minimums = meet_minimums(cycle, decided)
    orders_set = {row: packs for order in minimums for row, packs in order.packs.items()}
    decided = [
        decide(cycle, part.rows, orders_set) if orders_set.keys() & set(part.rows.tolist()) else part
        for part in decided
    ]
    origin = evidence.Origin(today, frozen_hash, seed)
    topped = {row: order for order in minimums if not order.is_postponed for row in order.packs}
    rows = [row for part in decided for row in evidence.proposal_rows(cycle, part, origin, topped)]
    withheld = _withheld(cycle, series, screened, today)
    postponed = _postponed(cycle, decided, minimums, today)
    if len(postponed):
        withheld = pd.concat([withheld, postponed], ignore_index=True) if len(withheld) else postponed
    return ProposalSet(
        proposals=evidence.frame(rows),
        withheld=withheld.sort_values(["item", "location"], kind="stable", ignore_index=True)[screening.WITHHELD],
        risk=stockout.risk_table(cycle, decided, today),
        purchase_plan=stockout.purchase_plan(cycle, decided, today),
    )


def _prepare(inputs: FrozenInputs, today: np.datetime64, sample_paths: SamplePaths, seed: int):
    """The cycle with the series that can be decided on, and all series with what screening says of them."""
    calendar = lanes.Calendar(inputs.calendar, today)
    lead_times = lanes.lead_times(inputs)
    units = position.conversions(inputs)
    forecasts, forecast_problems = usable_forecasts(inputs.forecasts, today)
    stock = position.stock(inputs, units, today)
    orders = position.arriving(inputs, units, lead_times, today)
    series = screening.universe(inputs)
    keys = pd.MultiIndex.from_frame(series[["item", "location"]])
    found = forecasts.groupby(["sku", "location"], sort=False)
    lengths = found.agg(first=("model", "first"), size=("model", "size"), similar=("similar", "max")).reindex(keys)
    series["model"] = lengths["first"].fillna("").to_numpy()
    series["forecast_days"] = lengths["size"].fillna(0).to_numpy(dtype=int)
    series["similar"] = lengths["similar"].fillna(0).to_numpy(dtype=int)
    series["has_forecast"] = series["forecast_days"] > 0
    options = sourcing.options(inputs, series, units, lead_times, calendar, today, seed)
    parent = _parents(series, options.table, keys)
    screened = screening.screen(inputs, series, stock, orders, forecast_problems, options.problems, parent, today)
    series = _valued(inputs, series, stock, orders, options, today).assign(parent=parent)
    passed = np.flatnonzero(screened["reason_code"].to_numpy() == "")
    kept = series.iloc[passed].reset_index(drop=True)
    place = np.full(len(series) + 1, -1)
    place[passed] = np.arange(len(passed))
    kept["parent"] = place[kept["parent"].to_numpy()]
    kept["level"] = _levels(kept["parent"].to_numpy())
    cycle = Cycle(
        inputs=inputs,
        series=kept,
        batches=_owned(stock[(stock["last_day"] >= 0) & np.isfinite(stock["last_day"])], kept),
        orders=_owned(orders[~orders["is_lost"]], kept),
        options=_kept_options(options, place),
        lead_times=lead_times,
        calendar=calendar,
        forecasts=_owned(forecasts.rename(columns={"sku": "item"}), kept).rename(columns={"item": "sku"}),
        sample_paths=sample_paths,
        seed=seed,
    )
    return cycle, series, screened


def _owned(frame: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` that belong to one of `series`, with that series' number."""
    keys = pd.MultiIndex.from_frame(series[["item", "location"]])
    owner = keys.get_indexer(pd.MultiIndex.from_frame(frame[["item", "location"]]))
    return frame[owner >= 0].assign(series=owner[owner >= 0]).reset_index(drop=True)


def _parents(series: pd.DataFrame, table: pd.DataFrame, keys: pd.MultiIndex) -> np.ndarray:
    """The series that regularly supplies each series: its row, -1 for none, -2 where there is no such series."""
    sent = table[(table["kind"] == "transfer") & table["regular"]]
    parent = np.full(len(series), -1)
    wanted = pd.MultiIndex.from_arrays([series["item"].to_numpy()[sent["series"]], sent["source"]])
    found = keys.get_indexer(wanted)
    parent[sent["series"].to_numpy()] = np.where(found >= 0, found, -2)
    return parent


def _levels(parent: np.ndarray) -> np.ndarray:
    """0 for series that supply no other, else one more than the highest of those they supply."""
    level = np.zeros(len(parent), dtype=int)
    while True:
        raised = level.copy()
        has = parent >= 0
        np.maximum.at(raised, parent[has], level[has] + 1)
        if (raised == level).all():
            return level
        level = raised


def _valued(inputs, series, stock, orders, options, today) -> pd.DataFrame:
    """`series` with its stock in base units, prices and policy."""
    keys = ["item", "location"]
    expired = stock["last_day"] < 0
    held = stock.assign(
        expired=np.where(expired, stock["on_hand"], 0.0), on_hand=np.where(expired, 0.0, stock["on_hand"])
    )
    held = held.groupby(keys)[["on_hand", "reserved", "expired", "stock_value"]].sum().reset_index()
    flags = orders.groupby(keys)[["is_late", "is_lost"]].sum().reset_index()
    flags = flags.rename(columns={"is_late": "late_orders", "is_lost": "lost_orders"})
    series = series.merge(held, on=keys, how="left").merge(flags, on=keys, how="left")
    numbers = ["on_hand", "reserved", "expired", "stock_value", "late_orders", "lost_orders"]
    series[numbers] = series[numbers].fillna(0.0)
    series["on_hand"] = series["on_hand"].clip(lower=0.0)
    columns = ["item", "base_unit", "item_class", "shelf_life_days", "price", "unit_cost"]
    series = series.merge(inputs.items[columns].drop_duplicates("item"), on="item", how="left")
    price, cost = series["price"].to_numpy(dtype=float), series["unit_cost"].to_numpy(dtype=float)
    cheapest: dict[str, float] = {}
    for quote in options.quotes:
        cheapest[quote.item] = min(cheapest.get(quote.item, np.inf), quote.landed[0])
    markup = 1 + inputs.parameters.default_markup
    cost = np.where(np.isnan(cost), series["item"].map(cheapest).to_numpy(dtype=float), cost)
    cost = np.where(np.isnan(cost), price / markup, cost)
    series["unit_cost"] = np.nan_to_num(cost)
    series["price"] = np.nan_to_num(np.where(np.isnan(price), cost * markup, price))
    policies = {name: inputs.parameters.policy_for(name) for name in series["item_class"].unique()}
    for name in type(inputs.parameters.policy).model_fields:
        values = {found: getattr(policy, name) for found, policy in policies.items()}
        series[name] = series["item_class"].map(values).astype(float)
    for kind, column in (("service_target", "service_target"), ("demand_factor", "demand_factor")):
        rows = screening.overrides_now(inputs, kind, today)[[*keys, "value"]]
        value = series[keys].merge(rows, on=keys, how="left")["value"].to_numpy(dtype=float)
        series[column] = np.where(np.isnan(value), series.get(column, 1.0), value)
    return series


def _kept_options(options: sourcing.Options, place: np.ndarray) -> sourcing.Options:
    keep = place[options.table["series"].to_numpy()] >= 0
    table = options.table[keep].reset_index(drop=True)
    table["series"] = place[table["series"].to_numpy()]
    return sourcing.Options(
        table, options.break_packs[keep], options.break_prices[keep], options.lanes, options.quotes, options.problems
    )


def _batches(series: pd.DataFrame) -> list[np.ndarray]:
    """Rows in batches of whole items, since locations of one item share their stock."""
    if not len(series):
        return []
    item = series["item"].to_numpy()
    starts = np.append(np.flatnonzero(np.append(True, item[1:] != item[:-1])), len(item))
    batches, first = [], 0
    for start, stop in itertools.pairwise(starts):
        if stop - first > BATCH_SERIES and start > first:
            batches.append(np.arange(first, start))
            first = start
    return [*batches, np.arange(first, len(item))]


def _withheld(cycle: Cycle, series: pd.DataFrame, screened: pd.DataFrame, today: np.datetime64) -> pd.DataFrame:
    rows = screened["reason_code"].to_numpy() != ""
    out = series.loc[rows, ["item", "location"]].assign(
        reason_code=screened["reason_code"].to_numpy()[rows], reason=screened["reason"].to_numpy()[rows]
    )
    horizon = cycle.inputs.parameters.horizon_days
    ahead = cycle.inputs.forecasts
    ahead = ahead[ahead["date"].to_numpy().astype("datetime64[D]") >= today]
    ahead = ahead[ahead["date"].to_numpy().astype("datetime64[D]") < today + horizon]
    model = ahead.groupby(["sku", "location", "model"])["mean"].sum().groupby(["sku", "location"]).max()
    keys = pd.MultiIndex.from_frame(out[["item", "location"]])
    demand = model.reindex(keys).to_numpy(dtype=float)
    value = np.where(
        np.isnan(demand), series["stock_value"].to_numpy()[rows], demand * series["price"].to_numpy()[rows]
    )
    return out.assign(
        value_at_risk=np.nan_to_num(value).clip(min=0).round(4),
        currency=cycle.inputs.parameters.reporting_currency,
        cycle_date=str(today),
    )


def _postponed(
    cycle: Cycle, decided: list[Decided], minimums: list[MinimumOrder], today: np.datetime64
) -> pd.DataFrame:
    """Lines whose order stays below the supplier's minimum, or cannot be compared with it, and waits."""
    lost = {}
    for part in decided:
        for row, units in zip(part.rows.tolist(), part.lost_with.sum(axis=1), strict=True):
            lost[row] = units
    rows = []
    for order in minimums:
        if not order.is_postponed:
            continue
        code, reason = _why_postponed(order, today)
        for row in order.packs:
            item, location, price = cycle.series.loc[row, ["item", "location", "price"]]
            rows.append(
                {
                    "item": item,
                    "location": location,
                    "reason_code": code,
                    "reason": reason,
                    "value_at_risk": round(float(lost[row] * price), 4),
                    "currency": cycle.inputs.parameters.reporting_currency,
                    "cycle_date": str(today),
                }
            )
    return pd.DataFrame(rows, columns=screening.WITHHELD)


def _why_postponed(order: MinimumOrder, today: np.datetime64) -> tuple[str, str]:
    if order.before is None:
        return "no_exchange_rate", (
            f"The minimum of {order.supplier} is {order.minimum:f} {order.currency} and its order has lines in another "
            f"currency, but no exchange rate of {order.currency} is known: state one."
        )
    return "below_minimum_order", (
        f"The order to {order.supplier} comes to {order.before:f} {order.currency}, below its minimum "
        f"of {order.minimum:f}, and waits for {today + order.next_order_day}: goods to reach the "
        "minimum would cost more to hold than they save."
    )
