"""How the generated shop runs its own stock: mediocre on purpose, so that there is something to improve.

Targets follow the average of what was SOLD in the last four weeks, blind to seasons, promotions and lost sales, times
the mean lead time, with a per-item fudge factor instead of a safety stock.
"""

from __future__ import annotations

import numpy as np

from connectors.sandbox.catalogue import INTERMITTENT, KIT, NEW, PERISHABLE, Catalogue, Offer, date_of
from connectors.sandbox.conditions import new_year_offset, stream

SUPPLY = 41
WINDOW = 28


def current_offer(offers: list[Offer], day: int) -> Offer:
    """The offer of one supplier for one item in force on a day."""
    return max((o for o in offers if o.valid_from <= day), key=lambda o: o.valid_from)


class Buyer:
    """The shop's buying and its supply of the stores from the warehouse."""

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue
        rng = stream(catalogue.config.seed, SUPPLY, 0)
        n = len(catalogue.kind)
        self._fudge = rng.lognormal(0.05, 0.2, n)
        parts = np.zeros((n, n))
        for kit, part, count in catalogue.kit_parts:
            parts[kit, part] = count
        self.kit_matrix = parts
        """(N, N): units of the column's item that one kit of the row's item takes."""
        ranged = catalogue.ranged.astype(float)
        self.stocked = ((ranged + ranged @ parts) > 0) & (catalogue.kind != KIT)
        """(L, N): where an item is kept. The last row is the warehouse, which keeps everything."""
        self.stocked[-1] = catalogue.kind != KIT
        self._guess = (catalogue.rate + catalogue.rate @ parts) * rng.lognormal(0, 0.35, n)
        self.offers: dict[tuple[int, int], list[Offer]] = {}
        for offer in catalogue.offers:
            self.offers.setdefault((offer.supplier, offer.item), []).append(offer)

    def _daily(self, sold: np.ndarray, days_open: np.ndarray, day: int) -> np.ndarray:
        """(L, N): average units sold a day, or a guess for what is too young to have an average."""
        average = sold.sum(axis=0) / np.maximum(days_open.sum(axis=0), 1)[:, None]
        age = day - self.catalogue.launch_day
        young = (self.catalogue.kind == NEW) & (age < WINDOW)
        return np.where(young, np.maximum(average, self._guess), average)

    def opening(self) -> np.ndarray:
        """(L, N): units on hand when the shop's records begin."""
        catalogue = self.catalogue
        fresh = catalogue.kind == PERISHABLE
        old = self.stocked & (catalogue.kind != NEW)
        stores = np.ceil(self._guess * np.where(fresh, 2.5, 7.0)) + 1
        lead = catalogue.suppliers.lead_mean[catalogue.main_supplier]
        stores[-1] = np.ceil(self._guess.sum(axis=0) * np.where(fresh, 3.0, lead + 9)) + 1
        return np.where(old, stores, 0).astype(np.int64)

    def transfers(self, day: int, sold, days_open, position, available) -> np.ndarray:
        """(L - 1, N): units to send to each store tonight. `position` is on hand plus under way, by store;
        `available` is what the warehouse holds. What is short is shared out in proportion."""
        catalogue = self.catalogue
        packs_today = [date_of(day).isoweekday() in place.delivery_days for place in catalogue.places[:-1]]
        daily = self._daily(sold, days_open, day)[:-1]
        gap = np.array([7 / len(place.delivery_days) for place in catalogue.places[:-1]])[:, None]
        cover = np.where(catalogue.kind == PERISHABLE, gap + 1.6, gap + 5.0)
        facing = np.where(catalogue.kind == PERISHABLE, 1, 2)
        target = np.ceil(daily * cover) + facing
        launched = day >= catalogue.launch_day - 5
        wanted = np.where(self.stocked[:-1] & launched, np.maximum(target - position, 0), 0)
        wanted *= np.array(packs_today)[:, None]
        asked = wanted.sum(axis=0)
        share = np.minimum(1, available / np.maximum(asked, 1))
        return np.floor(wanted * share).astype(np.int64)

    def purchases(self, day: int, sold, days_open, position) -> list[tuple[int, int, int, int]]:
        """(supplier, item, units, price in 1/10,000) to order tonight. `position` is (N,): everything on hand, under
        way and on order."""
        catalogue, suppliers = self.catalogue, self.catalogue.suppliers
        weekday = date_of(day).isoweekday()
        takes_orders = np.array([weekday in days for days in suppliers.order_weekdays])
        due = takes_orders[catalogue.main_supplier] & (catalogue.kind != KIT)
        due &= day >= catalogue.launch_day - 30
        if not due.any():
            return []
        daily = self._daily(sold, days_open, day).sum(axis=0)
        lead = suppliers.lead_mean[catalogue.main_supplier]
        review = np.array([7 / len(days) for days in suppliers.order_weekdays])[catalogue.main_supplier]
        slack = np.where(catalogue.kind == PERISHABLE, 2.6, 13.0)
        target = daily * (lead + review + slack) * self._fudge
        # Something of everything, even of what rarely sells.
        target = np.maximum(target, np.where(catalogue.kind == INTERMITTENT, 9, 10))
        orders = []
        for item in np.flatnonzero(due & (position < target)):
            supplier = int(catalogue.main_supplier[item])
            offer = current_offer(self.offers[supplier, int(item)], day)
            units = max(int(target[item] - position[item]) + 1, offer.moq)
            units = -(-units // offer.pack) * offer.pack
            orders.append((supplier, int(item), units, unit_price(offer, units)))
        return sorted(orders)

    def arrival(self, day: int, supplier: int, key: int) -> tuple[int, int]:
        """(promised, true) day of arrival of an order placed on a day. `key` tells one supplier's orders of a day
        apart. Nothing arrives on a Sunday."""
        suppliers = self.catalogue.suppliers
        mean, sd = float(suppliers.lead_mean[supplier]), float(suppliers.lead_sd[supplier])
        rng = stream(self.catalogue.config.seed, SUPPLY, 1_000_000 + day * 10_000 + supplier * 100 + key % 100)
        promised = day + int(np.ceil(mean))
        taken = max(1.0, rng.normal(mean, sd))
        if rng.random() < suppliers.late_share[supplier]:
            taken *= 1.5
        if suppliers.rests_at_new_year[supplier] and -20 <= new_year_offset(day) <= 8:
            taken += 14
        true = day + int(np.ceil(taken))
        return _no_sunday(promised), _no_sunday(true)


def unit_price(offer: Offer, units: int) -> int:
    """Price per base unit, in 1/10,000, of the best step that a quantity reaches."""
    return max((step for step in offer.steps if step[0] <= units), default=offer.steps[0])[1]


def _no_sunday(day: int) -> int:
    return day + 1 if date_of(day).isoweekday() == 7 else day
