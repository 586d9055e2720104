"""Decisions for one batch of items, all their locations together, stores before the warehouses that supply them.

Belongs here: joining scenarios, policy, sourcing and lots into a quantity per series. Does not belong here: reading
inputs, wording, or anything one item's decision takes from another's (a supplier's minimum order: `propose`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.replenishment import lots
from ml.replenishment.batch import Batch, Cycle
from ml.replenishment.policy import SHORT, Costs, Run, at, critical_ratio, expected_cost, play, quantile, requirement
from ml.replenishment.position import by_day
from ml.replenishment.sourcing import fair_share

MINIMUM_MARGIN = 0.05
"""A unit short never costs less than this share of its price: a sale below cost still keeps a customer."""
DEMAND_QUANTILES = (0.1, 0.5, 0.9)


@dataclass
class Decided:
    """One batch. `rows` are positions in Cycle.series, `options` in Cycle.options.table.

    `series`: one row each with what was decided and why; `alternatives`: one row per option. `risk_*` and `lost_*`
    [S, horizon]: daily stock-out probability and expected units lost, without and with the proposals; `planned`,
    `arrivals` [S, days]: mean demand, what other locations ask for included, and mean arrivals.
    """

    rows: np.ndarray
    series: pd.DataFrame
    alternatives: pd.DataFrame
    risk_without: np.ndarray
    risk_with: np.ndarray
    lost_without: np.ndarray
    lost_with: np.ndarray
    planned: np.ndarray
    arrivals: np.ndarray


def decide(cycle: Cycle, rows: np.ndarray, orders_set: dict[int, int] | None = None) -> Decided:
    """Decides about `rows` of the series: whole items, ascending. `orders_set` fixes the packs bought of some rows."""
    return _Decision(cycle, rows).run(orders_set or {})


class _Decision(Batch):
    # -- The decision --------------------------------------------------------------------------------------------------

    def run(self, orders_set: dict[int, int]) -> Decided:
        demand = self.demand()
        own_demand = demand.mean(axis=2).T
        arrivals, expiring = self.supply()
        count = len(self.table)
        self.needed = np.zeros((count, self.n))
        self.sellable = np.full((count, self.n), np.nan)
        self.result = {name: np.zeros(count) for name in COLUMNS}
        self.packs = np.zeros(count, dtype=np.int64)
        self.required = np.zeros(count)
        self.chosen = np.full(len(self.rows), -1)
        on_hand, reserved = self.series["on_hand"].to_numpy(), self.series["reserved"].to_numpy()
        runs_out = np.empty((self.days, len(self.rows)))
        risk, units = np.empty_like(runs_out), np.empty_like(runs_out)
        has_pulls = np.isin(np.arange(len(self.rows)), self.parent)
        for level in np.unique(self.series["level"]):
            here = np.flatnonzero(self.series["level"] == level)
            # A view where there is one level only: these arrays are large.
            part = slice(None) if len(here) == len(self.rows) else here
            run = play(
                demand[:, part],
                on_hand[here],
                reserved[here],
                None if arrivals is None else arrivals[:, part],
                None if expiring is None else expiring[:, part],
                with_stock=bool(self.series["shelf_life_days"].notna().any()),
            )
            used = np.zeros((self.days + 1, len(here), self.n))
            np.cumsum(demand[:, part], axis=0, out=used[1:])
            risk[:, here], units[:, here] = run.risk, run.units
            runs_out[:, here] = np.count_nonzero(run.lost[1:] > SHORT, axis=2) / self.n
            self._require(here, run, used, has_pulls)
            self._choose(here, orders_set)
            self._pull(here, used, demand)
        self.lasts = np.where((runs_out >= 0.5).any(axis=0), (runs_out >= 0.5).argmax(axis=0), self.days)
        sent = self._transfer(on_hand, reserved, own_demand, orders_set)
        return self._outcome((risk, units), demand, on_hand, reserved, arrivals, expiring, sent)

    def _costs(self, rows: np.ndarray, review_days: np.ndarray, daily_demand: np.ndarray) -> Costs:
        owner = self.series.iloc[self.owner[rows]]
        unit_cost, price = owner["unit_cost"].to_numpy(), owner["price"].to_numpy()
        short = owner["stockout_cost_share"].to_numpy() * np.maximum(price - unit_cost, MINIMUM_MARGIN * price)
        holding = owner["holding_rate"].to_numpy() * unit_cost / 365
        from_costs = np.clip(
            critical_ratio(short, holding * review_days), owner["minimum_service"], owner["maximum_service"]
        )
        stated = owner["service_target"].to_numpy()
        return Costs(
            short=short,
            holding=holding,
            waste=unit_cost * (1 + owner["disposal_cost_share"].to_numpy()),
            review_days=review_days,
            daily_demand=daily_demand,
            target=np.where(np.isnan(stated), from_costs, stated),
        )

    def _require(self, here: np.ndarray, run: Run, used: np.ndarray, has_pulls: np.ndarray) -> None:
        """What each option of the series `here` would have to bring, and what it would cost."""
        rows = np.flatnonzero(np.isin(self.owner, here))
        if not len(rows):
            return
        index = np.searchsorted(here, self.owner[rows])
        start, stop = self.on_sale[rows], self.next_on_sale[rows]
        life = self.series["shelf_life_days"].to_numpy()[self.owner[rows]]
        end = np.where(np.isnan(life)[:, None], stop, np.minimum(stop, start + np.nan_to_num(life)[:, None])).astype(
            int
        )
        before, during = at(run.lost, start, index), at(run.lost, end, index)
        # What a location that supplies others owes them at the start is still owed; a customer is gone.
        owed = has_pulls[self.owner[rows]][:, None]
        needed = during - np.where(owed, 0.0, before)
        demand = at(used, stop, index)
        daily = demand.mean(axis=1) / np.maximum(stop.mean(axis=1), 1)
        costs = self._costs(rows, np.maximum((stop - start).mean(axis=1), 1.0), daily)
        sellable = np.full_like(needed, np.nan)
        if run.on_hand is not None:
            sellable = self._sellable(rows, index, run, start, stop, before, life, daily)
        required = requirement(needed, sellable, costs)

        ordered = np.sort(demand, axis=1)
        result = {
            "mean": demand.mean(axis=1),
            "order_up_to": quantile(ordered, costs.target),
            **{f"q{round(q * 100)}": quantile(ordered, q) for q in DEMAND_QUANTILES},
            "target": costs.target,
            "lost_before": before.mean(axis=1),
            "risk_before": (before > SHORT).mean(axis=1),
            "risk_interval": (at(run.lost, stop, index) > SHORT).mean(axis=1),
            "short_cost": costs.short,
            "holding_cost": costs.holding,
            "review_days": costs.review_days,
            "daily_demand": daily,
            "interval_days": stop.mean(axis=1),
        }
        for name, values in result.items():
            self.result[name][rows] = values
        self.needed[rows], self.sellable[rows], self.required[rows] = needed, sellable, required
        self._lots(rows, costs)

    def _sellable(self, rows, index, run, start, stop, before, life, daily) -> np.ndarray:
        """V [rows, n]: units of the order that could be sold before they expire; NaN where nothing expires."""
        limit = np.maximum(stop.max(axis=1), self.parameters.horizon_days)[:, None]
        expiry = start + np.nan_to_num(life)[:, None]
        seen = np.minimum(expiry, limit).astype(int)
        beyond = np.maximum(daily[:, None] * (expiry - seen) - at(run.on_hand, seen, index), 0.0) * (expiry > limit)
        sellable = at(run.lost, seen, index) - before + beyond
        return np.where(np.isnan(life)[:, None], np.nan, sellable)

    def _lots(self, rows: np.ndarray, costs: Costs, received: np.ndarray | None = None) -> None:
        """Packs and expected cost of options `rows`; `received` [rows]: units that another source brings instead."""
        needed, sellable, required = self.needed[rows], self.sellable[rows], self.required[rows]
        if received is not None:
            needed = np.maximum(needed - received[:, None], 0.0)
            sellable = np.maximum(sellable - received[:, None], 0.0)
            required = np.maximum(required - received, 0.0)
        pack = self.table["pack"].to_numpy()[rows]
        size = pack / lots.MICRO
        below, above = lots.neighbours(lots.micro(required), pack, self.table["minimum"].to_numpy()[rows])
        cost_below = expected_cost(below * size, needed, sellable, costs)
        cost_above = expected_cost(above * size, needed, sellable, costs)
        promised = ~np.isnan(self.series["service_target"].to_numpy()[self.owner[rows]]) & np.isnan(sellable[:, 0])
        packs = np.where(promised | (cost_above <= cost_below), above, below)
        perishable = ~np.isnan(sellable[:, 0])
        most = np.full(len(rows), np.iinfo(np.int64).max // 2)
        most[perishable] = (np.median(sellable[perishable], axis=1) / size[perishable]).astype(np.int64)
        packs = lots.up_to_breaks(
            packs, self.break_packs[rows], self.break_prices[rows], size, costs.holding, costs.daily_demand, most
        )
        self.packs[rows] = packs
        tier = np.maximum((self.break_packs[rows] <= np.maximum(packs, 1)[:, None]).sum(axis=1) - 1, 0)
        self.result["below"][rows], self.result["above"][rows] = below, above
        self.result["cost_below"][rows], self.result["cost_above"][rows] = cost_below, cost_above
        self.result["required"][rows] = required
        self.result["most"][rows] = np.minimum(most, 1 << 40)
        self.result["landed"][rows] = self.break_prices[rows, tier]
        self.result["cost_none"][rows] = expected_cost(np.zeros(len(rows)), needed, sellable, costs)
        self.result["cost"][rows] = expected_cost(packs * size, needed, sellable, costs)

    def _choose(self, here: np.ndarray, orders_set: dict[int, int]) -> None:
        """Per series the option of least landed cost, sales lost until it can deliver, and cost afterwards."""
        rows = np.flatnonzero(np.isin(self.owner, here) & self.table["regular"].to_numpy())
        if not len(rows):
            return
        result, owner = self.result, self.owner[rows]
        units = np.zeros(len(self.rows))
        np.maximum.at(units, owner, result["mean"][rows])
        score = units[owner] * result["landed"][rows] + result["cost"][rows]
        score += result["short_cost"][rows] * result["lost_before"][rows]
        result["score"][rows] = score
        order = np.lexsort([rows, score, owner])
        first = np.unique(owner[order], return_index=True)[1]
        self.chosen[owner[order][first]] = rows[order][first]
        for row, packs in orders_set.items():
            place = np.flatnonzero(self.rows == row)
            if len(place) and self.chosen[place[0]] >= 0:
                self.packs[self.chosen[place[0]]] = packs

    def _pull(self, here: np.ndarray, used: np.ndarray, demand: np.ndarray) -> None:
        """Adds what the series `here` will ask of their suppliers-within to those suppliers' demand.

        What stores lose while the warehouse has nothing is asked for as well, so an empty one orders on the safe side.
        Today's need first; from then on each order day asks for what was sold since, once stock beyond the order-up-to
        level is used up.
        """
        wanting = np.flatnonzero((self.parent[here] >= 0) & (self.chosen[here] >= 0))
        if not len(wanting):
            return
        wanting = wanting[np.argsort(self.parent[here[wanting]], kind="stable")]
        series = here[wanting]
        option, parent = self.chosen[series], self.parent[series]
        coming = np.bincount(self.order_rows, self.order_quantity, minlength=len(self.rows))
        position = (self.series["on_hand"] - self.series["reserved"]).to_numpy() + coming
        surplus = np.minimum(self.result["order_up_to"][option] - position[series], 0.0)
        net = np.where(self.required[option] > 0, self.required[option], surplus)
        now = self.packs[option] * self.table["pack"].to_numpy()[option] / lots.MICRO
        asked = np.maximum(used[: self.days, wanting] + net[:, None], 0.0)
        asked = np.maximum(asked, now[:, None], out=asked)
        # On other days nothing new is asked: the cumulated request stays what it was on the last order day.
        lanes = {number: self.lanes[number].order_days for number in np.unique(option)}
        latest = {
            number: np.searchsorted(days, np.arange(self.days), side="right") - 1 for number, days in lanes.items()
        }
        held = np.stack([np.where(latest[o] >= 0, lanes[o][latest[o]], -1) for o in option], axis=1)
        asked = np.where(
            (held >= 0)[:, :, None], np.take_along_axis(asked, np.maximum(held, 0)[:, :, None], axis=0), 0.0
        )
        new = np.diff(asked, axis=0, prepend=0.0)
        parents, first = np.unique(parent, return_index=True)
        demand[:, parents] += np.add.reduceat(new, first, axis=1)

    def _transfer(self, on_hand, reserved, own_demand, orders_set) -> dict[int, int]:
        """Packs sent per transfer option: regular supply shared fairly, then surplus instead of buying."""
        sent: dict[int, int] = {}
        left = {}
        pack = self.table["pack"].to_numpy()
        free = lots.micro(np.maximum(on_hand - reserved, 0.0))
        for parent in np.unique(self.parent[self.parent >= 0]):
            wants = [
                option
                for option in self.chosen[self.parent == parent]
                if option >= 0 and self.packs[option] > 0 and self.is_due[option]
            ]
            option = self.chosen[parent]
            until = self.on_sale[option].mean() if option >= 0 else self.parameters.horizon_days
            own = int(lots.micro(own_demand[parent, : int(np.ceil(until))].sum()))
            needs = [int(self.packs[want] * pack[want]) for want in wants]
            given = fair_share(needs, [int(pack[want]) for want in wants], int(free[parent]), own)
            sent |= dict(zip(wants, given, strict=True))
            left[parent] = int(free[parent]) - sum(int(pack[w]) * g for w, g in zip(wants, given, strict=True))
        self._instead_of_buying(free, left, sent, orders_set)
        return sent

    def _instead_of_buying(self, free, left, sent, orders_set) -> None:
        table, pack = self.table, self.table["pack"].to_numpy()
        extra = np.flatnonzero(~table["regular"].to_numpy() & self.is_due)
        asks: dict[int, list[int]] = {}
        names = {
            (item, location): row
            for row, (item, location) in enumerate(
                zip(self.series["item"], self.series["location"], strict=True) if len(extra) else ()
            )
        }
        for option in extra:
            row = self.owner[option]
            source = names.get((self.series["item"].iat[row], table["source"].iat[option]))
            buy = self.chosen[row]
            if source is None or buy < 0 or self.packs[buy] == 0:
                continue
            if table["cost"].iat[option] < self.result["landed"][buy]:
                asks.setdefault(source, []).append(option)
        for source, options in sorted(asks.items()):
            keep = int(lots.micro(self.result["order_up_to"][self.chosen[source]])) if self.chosen[source] >= 0 else 0
            surplus = left.get(source, int(free[source])) - keep
            needs = [int(lots.micro(self.required[self.chosen[self.owner[option]]])) for option in options]
            given = fair_share(needs, [int(pack[option]) for option in options], max(surplus, 0))
            for option, packs in zip(options, given, strict=True):
                if packs:
                    self._replace(option, packs, sent, orders_set)

    def _replace(self, option: int, packs: int, sent: dict[int, int], orders_set: dict[int, int]) -> None:
        """Sends `packs` by `option` and buys only what is then still required."""
        row = self.owner[option]
        buy = np.array([self.chosen[row]])
        sent[option] = packs
        received = np.array([packs * self.table["pack"].iat[option] / lots.MICRO])
        costs = self._costs(buy, self.result["review_days"][buy], self.result["daily_demand"][buy])
        self._lots(buy, costs, received)
        if self.rows[row] in orders_set:
            self.packs[buy[0]] = orders_set[self.rows[row]]

    # -- What it leads to ----------------------------------------------------------------------------------------------

    def _outcome(self, without, demand, on_hand, reserved, arrivals, expiring, sent) -> Decided:
        horizon = self.parameters.horizon_days
        bought = self.chosen[self.chosen >= 0]
        bought = bought[
            (self.table["kind"].to_numpy()[bought] == "buy") & self.is_due[bought] & (self.packs[bought] > 0)
        ]
        moved = np.array(sorted(option for option, packs in sent.items() if packs), dtype=int)
        acted = np.concatenate([bought, moved]).astype(int)
        packs = np.concatenate([self.packs[bought], [sent[option] for option in moved]]).astype(np.int64)
        quantity = packs * self.table["pack"].to_numpy()[acted] / lots.MICRO
        planned = demand.mean(axis=2).T
        expected = np.zeros_like(planned) if arrivals is None else arrivals.mean(axis=2).T
        for option, count in sent.items():
            # A transfer sent today is on its way like an order placed before.
            day = int(np.median(self.on_sale[option]))
            if day < expected.shape[1]:
                expected[self.owner[option], day] += count * self.table["pack"].iat[option] / lots.MICRO
        if len(acted):
            shape = demand.shape
            extra = by_day(self.owner[acted], self.on_sale[acted], quantity, shape)
            arrivals = extra if arrivals is None else arrivals + extra
            life = self.series["shelf_life_days"].to_numpy()[self.owner[acted]]
            spoils = ~np.isnan(life)
            if spoils.any():
                last = self.on_sale[acted][spoils] + life[spoils, None].astype(int) - 1
                gone = np.cumsum(by_day(self.owner[acted][spoils], last, quantity[spoils], shape), axis=0)
                expiring = gone if expiring is None else expiring + gone
            # What goes to others without having been asked for as demand leaves the sender's stock first.
            away = self._sent_as_surplus(moved, sent)
            reserved = reserved + away
        outcome = play(demand, on_hand, reserved, arrivals, expiring)
        risk, units = (
            [days[:horizon].T for days in pair] for pair in zip(without, (outcome.risk, outcome.units), strict=True)
        )
        series, alternatives = self._report(outcome, sent)
        return Decided(self.rows, series, alternatives, *risk, *units, planned, expected)

    def _sent_as_surplus(self, moved: np.ndarray, sent: dict[int, int]) -> np.ndarray:
        away = np.zeros(len(self.rows))
        for option in moved[~self.table["regular"].to_numpy()[moved]]:
            item = self.series["item"].iat[self.owner[option]]
            source = self.table["source"].iat[option]
            row = np.flatnonzero((self.series["item"] == item) & (self.series["location"] == source))[0]
            away[row] += sent[option] * self.table["pack"].iat[option] / lots.MICRO
        return away

    def _report(self, outcome: Run, sent: dict[int, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
        alternatives = self.table[["series", "kind", "source", "regular", "lane", "quote", "pack", "minimum"]].copy()
        for name, values in self.result.items():
            alternatives[name] = values
        alternatives["packs"] = self.packs
        alternatives["sent"] = [sent.get(option, 0) for option in range(len(self.table))]
        alternatives["is_due"] = self.is_due
        alternatives["is_chosen"] = np.isin(np.arange(len(self.table)), self.chosen[self.chosen >= 0])
        alternatives["option"] = self.option_rows
        stop = np.maximum(self.next_on_sale, 1)
        alternatives["risk_with"] = (
            (at(outcome.lost, stop, self.owner) > SHORT).mean(axis=1) if len(stop) else np.empty(0)
        )
        # Days that stock and arrivals last in at least half of the scenarios.
        lasts = self.lasts
        if len(self.option_rows):
            lasts = np.minimum(lasts, self.next_on_sale.max(axis=1)[self.chosen])
        coming = np.zeros(len(self.rows))
        if len(self.order_rows) and len(self.option_rows):
            stop = np.median(self.next_on_sale, axis=1)[self.chosen[self.order_rows]]
            inside = np.median(self.order_days, axis=1) < stop
            np.add.at(coming, self.order_rows[inside], self.order_quantity[inside])
        series = pd.DataFrame(
            {
                "series": self.rows,
                "option": np.where(self.chosen >= 0, self.option_rows[np.maximum(self.chosen, 0)], -1)
                if len(self.option_rows)
                else -1,
                "lasts": lasts,
                "coming": coming,
            }
        )
        return series, alternatives


COLUMNS = (
    "required", "below", "above", "cost_below", "cost_above", "cost_none", "cost", "landed", "score", "most", "mean",
    "order_up_to",
    *(f"q{round(q * 100)}" for q in DEMAND_QUANTILES), "target", "lost_before", "risk_before", "risk_interval",
    "short_cost", "holding_cost", "review_days", "daily_demand", "interval_days",
)  # fmt: skip
