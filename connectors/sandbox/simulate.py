"""The generated shop, day by day: goods arrive, customers buy what is there, the rest is lost, stock is replenished.

`Simulation.advance` is the only clock. Every draw comes from streams of the day it happens on and every decision from
the state of that morning, so a longer run only appends days, and a run can stop, be stored and go on (`state`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.sandbox import facts
from connectors.sandbox.books import Books
from connectors.sandbox.buying import WINDOW, Buyer
from connectors.sandbox.catalogue import KIT, PERISHABLE, Catalogue, day_number
from connectors.sandbox.conditions import Promotions, Skies, is_open, local_instant, opening_hours, stream
from connectors.sandbox.demand import Demand, Wanted
from connectors.sandbox.facts import Ledger

STOCKROOM = 31
LONGEST_SHELF_LIFE = 32
OPENING, TRANSFER_IN, TRANSFER_OUT, ADJUSTMENT, WRITE_OFF, PRODUCTION, CONSUMPTION = range(len(facts.MOVEMENTS))
# Local minutes of the day at which stock moves; every shop's business day contains them.
OPENS_BOOKS, UNLOADS, RECEIVES, PACKS, COUNTS = 300, 420, 480, 1270, 1300


class Queue:
    """Things that will happen on a day: equal-length integer columns, the first of which is that day."""

    def __init__(self, names: tuple[str, ...], rows: np.ndarray | None = None):
        self.names = names
        self.rows = np.zeros((0, len(names)), np.int64) if rows is None else rows

    def put(self, **columns: object) -> None:
        arrays = np.broadcast_arrays(*(np.atleast_1d(columns[name]) for name in self.names))
        if len(arrays[0]):
            self.rows = np.vstack([self.rows, np.column_stack(arrays).astype(np.int64)])

    def due(self, day: int, ready: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Removes and returns what is due; of that only what is in `ready`, when given, by its `location`."""
        chosen = self.rows[:, 0] <= day
        if ready is not None:
            chosen &= ready[self.rows[:, self.names.index("location")]]
        due, self.rows = self.rows[chosen], self.rows[~chosen]
        return {name: due[:, index] for index, name in enumerate(self.names)}

    def total(self, shape: tuple[int, int]) -> np.ndarray:
        """(L, N): quantity by location and item."""
        sums = np.zeros(shape, np.int64)
        at = [self.rows[:, self.names.index(name)] for name in ("location", "item", "quantity")]
        np.add.at(sums, (at[0], at[1]), at[2])
        return sums


@dataclass(frozen=True)
class WrittenOrder:
    """A document that someone wrote to the shop's ERP. Lines are (item, base units, price in 1/10,000); `source` is
    the location that packs a transfer, None for a purchase order."""

    number: int
    location: int
    lines: tuple[tuple[int, int, int], ...]
    supplier: int = 0
    source: int | None = None


class Simulation:
    """The shop on the morning of `day`. `ledger.take()` gives the facts written since the last time."""

    def __init__(self, catalogue: Catalogue, state: dict[str, np.ndarray] | None = None):
        self.catalogue = catalogue
        self.skies = Skies(catalogue.config.seed, catalogue.places)
        self.promotions = Promotions(catalogue)
        self.demand = Demand(catalogue, self.skies, self.promotions)
        self.buyer = Buyer(catalogue)
        self.ledger = Ledger()
        self.books = Books(catalogue, self.ledger)
        self.fresh = np.flatnonzero(catalogue.kind == PERISHABLE)
        self.kits = np.flatnonzero(catalogue.kind == KIT)
        self.shape = catalogue.rate.shape
        places, items = self.shape
        self.arrivals = Queue(("day", "order_number", "line", "supplier", "location", "item", "quantity", "price_e4"))
        self.transfers = Queue(("day", "location", "item", "quantity", "expires", "document"))
        self.packing = Queue(("day", "source", "location", "item", "quantity", "document"))
        self.returns = Queue(
            (
                "day",
                "location",
                "order_key",
                "line",
                "item",
                "quantity",
                "refund_cents",
                "part",
                "restocked",
                "customer",
            )
        )
        self.day = day_number(catalogue.config.start)
        self.on_hand = np.zeros(self.shape, np.int64)
        self.batches = np.zeros((places, len(self.fresh), LONGEST_SHELF_LIFE), np.int64)
        """(L, fresh, days until the last day of sale)."""
        self.used = np.zeros((WINDOW, places, items), np.int64)
        self.opened = np.zeros((WINDOW, places), bool)
        if state is None:
            self._open_books()
        else:
            self._restore(state)

    # -- State ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Everything tomorrow depends on; give it to a new `Simulation` to go on."""
        arrays = {name: getattr(self, name) for name in ("on_hand", "batches", "used", "opened")}
        queues = {name: getattr(self, name).rows for name in ("arrivals", "transfers", "packing", "returns")}
        return {"day": np.array(self.day), **arrays, **queues}

    def _restore(self, state: dict[str, np.ndarray]) -> None:
        self.day = int(state["day"])
        for name in ("on_hand", "batches", "used", "opened"):
            setattr(self, name, state[name].copy())
        for name in ("arrivals", "transfers", "packing", "returns"):
            getattr(self, name).rows = state[name].copy()

    def _open_books(self) -> None:
        stock = self.buyer.opening()
        self.on_hand += stock
        shelf = self.catalogue.shelf_life[self.fresh]
        for index, days in enumerate(shelf):
            self.batches[:, index, days - 1] = stock[:, self.fresh[index]]
        expires = np.full(self.shape, -1)
        expires[:, self.fresh] = self.day + shelf - 1
        location, item = np.nonzero(stock)
        self._move(OPENING, location, item, stock[location, item], OPENS_BOOKS, expires=expires[location, item])

    # -- The clock -----------------------------------------------------------------------------------------------------

    def advance(self, until: int) -> None:
        """Lives through the days before `until`."""
        while self.day < until:
            self._live()
            self.day += 1

    def _live(self) -> None:
        day = self.day
        opened = self.demand.open_places(day)
        self._receive()
        self._unload(opened)
        used = self._sell(self.demand.wanted_lines(day), opened)
        self._take_returns(opened)
        self.used[day % WINDOW], self.opened[day % WINDOW] = used, opened
        self._expire()
        counted = self._count(opened)
        self._pack_written()
        self._supply_stores()
        self._buy()
        self._close_books(counted)
        self.batches = np.concatenate([self.batches[..., 1:], np.zeros_like(self.batches[..., :1])], axis=2)

    # -- Goods in ------------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        due = self.arrivals.due(self.day)
        rng = stream(self.catalogue.config.seed, STOCKROOM, self.day * 2)
        life = self.catalogue.shelf_life[due["item"]] - rng.integers(0, 2, len(due["item"]))
        expires = np.where(life > 0, self.day + life - 1, -1)
        self._put(due["location"], due["item"], due["quantity"], expires)
        received_at = self._instants(due["location"], RECEIVES)
        columns = {name: due[name] for name in ("order_number", "line", "supplier", "location", "item", "quantity",
                                                "price_e4")}  # fmt: skip
        self.ledger.add("receipts", date_on=self.day, expires_on=expires, received_at=received_at, **columns)

    def _unload(self, opened: np.ndarray) -> None:
        due = self.transfers.due(self.day, opened)
        self._put(due["location"], due["item"], due["quantity"], due["expires"])
        self._move(TRANSFER_IN, due["location"], due["item"], due["quantity"], UNLOADS, due["document"], due["expires"])

    def _put(self, location, item, quantity, expires) -> None:
        np.add.at(self.on_hand, (location, item), quantity)
        row = np.searchsorted(self.fresh, item)
        has_batch = expires >= 0
        days_left = np.maximum(expires - self.day, 0)
        np.add.at(self.batches, (location[has_batch], row[has_batch], days_left[has_batch]), quantity[has_batch])

    # -- Sales ---------------------------------------------------------------------------------------------------------

    def _sell(self, wanted: Wanted, opened: np.ndarray) -> np.ndarray:
        """Serves the day's customers in the order they come; returns (L, N) units that left the stock."""
        day, catalogue = self.day, self.catalogue
        hours = np.array([opening_hours(place, day) for place in catalogue.places])
        available = self.on_hand.copy()
        filled = np.zeros_like(wanted.quantity)
        share = np.ones(self.shape)
        assembled = np.zeros(self.shape, np.int64)
        for kit in self.kits:
            parts = np.flatnonzero(self.buyer.kit_matrix[kit])
            counts = self.buyer.kit_matrix[kit, parts].astype(np.int64)
            can_make = (available[:, parts] // counts).min(axis=1)
            mine = wanted.item == kit
            stock = np.zeros(self.shape, np.int64)
            stock[:, kit] = can_make
            filled[mine], until = serve(wanted.take(mine), stock, hours)
            share[:, kit] = until[:, kit]
            made = np.bincount(wanted.location[mine], filled[mine], len(can_make)).astype(np.int64)
            assembled[:, kit] = made
            available[:, parts] -= made[:, None] * counts
        plain = ~np.isin(wanted.item, self.kits)
        filled[plain], until = serve(wanted.take(plain), available, hours)
        not_kits = catalogue.kind != KIT
        share[:, not_kits] = until[:, not_kits]

        demanded, sold = (_sum(self.shape, wanted.location, wanted.item, x) for x in (wanted.quantity, filled))
        consumed = np.rint(assembled @ self.buyer.kit_matrix).astype(np.int64)
        used = np.where(not_kits, sold, 0) + consumed
        self._draw(used)
        self._record_kits(assembled, consumed)
        location, item = np.nonzero(catalogue.ranged & opened[:, None] & (catalogue.launch_day <= day))
        self.ledger.add(
            "latent", date_on=day, location=location, item=item, latent_demand=demanded[location, item],
            sold=sold[location, item], lost=(demanded - sold)[location, item], in_stock_share=share[location, item],
        )  # fmt: skip
        later = self.books.sales(day, wanted, filled, self.promotions.discounts(day))
        self.returns.put(**later)
        return used

    def _draw(self, units: np.ndarray) -> None:
        """Takes (L, N) units from stock, the batches that expire first before the others."""
        self.on_hand -= units
        self.batches -= first_expired(self.batches, units[:, self.fresh])

    def _record_kits(self, assembled: np.ndarray, consumed: np.ndarray) -> None:
        for kind, units, sign in ((PRODUCTION, assembled, 1), (CONSUMPTION, consumed, -1)):
            location, item = np.nonzero(units)
            self._move(kind, location, item, sign * units[location, item], COUNTS)

    def _take_returns(self, opened: np.ndarray) -> None:
        due = self.returns.due(self.day, opened)
        back = due["restocked"] > 0
        np.add.at(self.on_hand, (due["location"][back], due["item"][back]), due["quantity"][back])
        self.books.returns(self.day, due)

    # -- Evening -------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        gone = self.batches[..., 0].copy()
        location, row = np.nonzero(gone)
        self.on_hand[:, self.fresh] -= gone
        self.batches[..., 0] = 0
        self._move(WRITE_OFF, location, self.fresh[row], -gone[location, row], COUNTS, expires=self.day)

    def _count(self, opened: np.ndarray) -> np.ndarray:
        """Counts a part of the range each day; returns (L, N) what was counted. Differences are adjustments."""
        rng = stream(self.catalogue.config.seed, STOCKROOM, self.day * 2 + 1)
        counted = (rng.random(self.shape) < 0.02) & self.buyer.stocked & opened[:, None]
        counted[:, self.fresh] = False
        draw = rng.random(self.shape)
        difference = np.where(draw < 0.06, -1, np.where(draw > 0.985, 1, 0)) * counted
        difference = np.maximum(difference, -self.on_hand)
        self.on_hand += difference
        location, item = np.nonzero(difference)
        self._move(ADJUSTMENT, location, item, difference[location, item], COUNTS)
        return counted

    def _pack_written(self) -> None:
        due = self.packing.due(self.day)
        for number in np.unique(due["document"]):
            mine = due["document"] == number
            source, store = int(due["source"][mine][0]), int(due["location"][mine][0])
            units = np.zeros(self.shape[1], np.int64)
            np.add.at(units, due["item"][mine], due["quantity"][mine])
            self._send(source, store, units, int(number))

    def _supply_stores(self) -> None:
        position = self.on_hand[:-1] + self.transfers.total(self.shape)[:-1]
        sent = self.buyer.transfers(self.day, self.used, self.opened, position, self.on_hand[-1])
        for store in np.flatnonzero(sent.any(axis=1)):
            self._send(self.shape[0] - 1, int(store), sent[store], self.day * 10 + int(store))

    def _send(self, source: int, store: int, units: np.ndarray, document: int) -> None:
        """Packs what is there tonight; it arrives when the store next opens. Nothing is sent that expires by then."""
        arrives = self.day + 1
        while not is_open(self.catalogue.places[store], arrives):
            arrives += 1
        units = np.minimum(units, self.on_hand[source])
        keeps = self.batches[source].copy()
        keeps[:, : arrives - self.day + 1] = 0
        taken = first_expired(keeps, units[self.fresh])
        units[self.fresh] = taken.sum(axis=1)
        self.on_hand[source] -= units
        self.batches[source] -= taken
        row, days_left = np.nonzero(taken)
        plain = np.flatnonzero(units * (self.catalogue.kind != PERISHABLE))
        item = np.concatenate([plain, self.fresh[row]])
        quantity = np.concatenate([units[plain], taken[row, days_left]])
        expires = np.concatenate([np.full(len(plain), -1), self.day + days_left])
        self._move(TRANSFER_OUT, np.full(len(item), source), item, -quantity, PACKS, document, expires)
        self.transfers.put(
            day=arrives, location=store, item=item, quantity=quantity, expires=expires, document=document
        )

    def _buy(self) -> None:
        until = self.catalogue.config.own_buying_until
        if until is not None and self.day >= day_number(until):
            return
        owned = self.on_hand + self.transfers.total(self.shape) + self.arrivals.total(self.shape)
        orders = self.buyer.purchases(self.day, self.used, self.opened, owned.sum(axis=0))
        for supplier in sorted({order[0] for order in orders}):
            lines = tuple((item, units, price) for who, item, units, price in orders if who == supplier)
            self._order(WrittenOrder(self.day * 100 + supplier, self.shape[0] - 1, lines, supplier))

    def write(self, order: WrittenOrder) -> None:
        """Takes over a document written this morning; `number` tells it apart from all others."""
        if order.source is None:
            self._order(order)
            return
        for item, units, _ in order.lines:
            self.packing.put(day=self.day, source=order.source, location=order.location, item=item, quantity=units,
                             document=order.number)  # fmt: skip

    def _order(self, order: WrittenOrder) -> None:
        promised, arrives = self.buyer.arrival(self.day, order.supplier, order.number)
        rng = stream(self.catalogue.config.seed, STOCKROOM, 10_000_000 + abs(order.number))
        ordered_at = local_instant(self.catalogue.places[-1], self.day, PACKS if order.number > 0 else OPENS_BOOKS)
        for line, (item, units, price) in enumerate(order.lines, start=1):
            row = {"order_number": order.number, "line": line, "supplier": order.supplier, "location": order.location,
                   "item": item, "price_e4": price}  # fmt: skip
            self.ledger.add("purchase_orders", date_on=self.day, expected_on=promised, ordered_at=ordered_at,
                            quantity=units, **row)  # fmt: skip
            # Some lines come in two parts.
            later = units // 4 if rng.random() < 0.04 else 0
            self.arrivals.put(day=arrives, quantity=units - later, **row)
            if later:
                self.arrivals.put(day=arrives + 4, quantity=later, **row)

    # -- Books ---------------------------------------------------------------------------------------------------------

    def _close_books(self, counted: np.ndarray) -> None:
        day, catalogue = self.day, self.catalogue
        kept = self.buyer.stocked & ((catalogue.launch_day <= day) | (self.on_hand > 0))
        in_batches = kept & (catalogue.kind == PERISHABLE) & (self.on_hand > 0)
        location, item = np.nonzero(kept & ~in_batches)
        self._state_stock(location, item, self.on_hand[location, item], -1, counted[location, item])
        location, row, days_left = np.nonzero(self.batches)
        self._state_stock(location, self.fresh[row], self.batches[location, row, days_left], day + days_left, False)

    def _state_stock(self, location, item, on_hand, expires, counted) -> None:
        places = self.catalogue.places
        closing = np.array([local_instant(p, self.day, 1439 + p.business_day_start) for p in places])
        self.ledger.add("stock", date_on=self.day, location=location, item=item, on_hand=on_hand, expires_on=expires,
                        is_count=counted, counted_at=closing[location])  # fmt: skip

    def _move(self, kind: int, location, item, quantity, minutes: int, document=-1, expires=-1) -> None:
        self.ledger.add("movements", date_on=self.day, location=location, item=item, kind=kind, quantity=quantity,
                        moved_at=self._instants(location, minutes), document=document, expires_on=expires)  # fmt: skip

    def _instants(self, location: np.ndarray, minutes: int) -> np.ndarray:
        return np.array([local_instant(place, self.day, minutes) for place in self.catalogue.places])[location]


def serve(wanted: Wanted, available: np.ndarray, hours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First come, first served.

    Returns the filled quantity of each line, and (L, N) the share of the opening hours until stock ran out: 1 where it
    never did, 0 where there was none to begin with.
    """
    items = available.shape[1]
    cell = wanted.location * items + wanted.item
    so_far = np.cumsum(wanted.quantity)
    first = np.r_[True, cell[1:] != cell[:-1]] if len(cell) else np.zeros(0, bool)
    before = np.maximum.accumulate(np.where(first, so_far - wanted.quantity, 0))
    so_far = so_far - before
    stock = available.ravel()[cell]
    filled = np.clip(stock - (so_far - wanted.quantity), 0, wanted.quantity)
    share = (available > 0).astype(float)
    emptied, at = np.unique(cell[so_far >= stock], return_index=True)
    moment = wanted.moment[so_far >= stock][at]
    opens, closes = hours[emptied // items].T
    share.ravel()[emptied] = np.where(
        available.ravel()[emptied] > 0, (moment - opens) / np.maximum(closes - opens, 1), 0
    )
    return filled, share


def first_expired(batches: np.ndarray, units: np.ndarray) -> np.ndarray:
    """FEFO: how much of each batch (..., days left) goes when `units` (...) are taken."""
    before = np.cumsum(batches, axis=-1) - batches
    return np.clip(units[..., None] - before, 0, batches)


def _sum(shape: tuple[int, int], location, item, quantity) -> np.ndarray:
    return np.bincount(location * shape[1] + item, quantity, shape[0] * shape[1]).astype(np.int64).reshape(shape)
