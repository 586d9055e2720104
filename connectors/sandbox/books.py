"""From what was handed over to customers to the documents of it: baskets, prices, taxes, returns, refunds."""

from __future__ import annotations

import numpy as np

from connectors.sandbox.catalogue import CATEGORIES, KIT, PERISHABLE, STRAYS, Catalogue
from connectors.sandbox.conditions import opening_hours, stream
from connectors.sandbox.demand import Wanted
from connectors.sandbox.facts import Ledger

TILLROOM = 51
LOYAL_CUSTOMERS = 3000
FIRST_LOYAL = 1_000_000
"""Customer numbers from here on are loyalty cards of the stores."""


def document_key(day: int, location: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """A number for a document of one location's day; sorts by day, location and sequence."""
    return (day * 10 + location) * 10_000 + sequence


class Books:
    def __init__(self, catalogue: Catalogue, ledger: Ledger):
        self.catalogue = catalogue
        self.ledger = ledger
        self._vat = np.array([CATEGORIES[c].vat for c in catalogue.category] + [19] * len(STRAYS))
        self._stray_price = np.array([price for *_, price in STRAYS])
        self._returnable = ~np.isin(catalogue.kind, (KIT, PERISHABLE))

    def sales(self, day: int, wanted: Wanted, filled: np.ndarray, discounts: np.ndarray) -> dict[str, np.ndarray]:
        """Books the filled lines as orders; returns the columns of the returns that will come of them."""
        catalogue = self.catalogue
        rng = stream(catalogue.config.seed, TILLROOM, day)
        some = np.flatnonzero(filled)
        some = some[np.lexsort((wanted.moment[some], wanted.location[some]))]
        location, item, quantity = wanted.location[some], wanted.item[some], filled[some]
        is_web = location == len(catalogue.places) - 1
        # A basket ends by chance, and where the location changes.
        ends = rng.random(len(some)) < np.where(is_web, 0.55, 0.42)
        changes = np.r_[location[1:] != location[:-1], True] if len(some) else np.zeros(0, bool)
        ends |= changes
        basket = np.cumsum(ends) - ends
        first = np.flatnonzero(np.r_[True, ends[:-1]]) if len(some) else np.zeros(0, np.int64)
        line = np.arange(len(some)) - first[basket] + 1
        place = location[first]
        sequence = np.arange(len(first)) - np.searchsorted(place, place) + 1
        key = document_key(day, place, sequence)
        moment = wanted.moment[some][ends]

        price = catalogue.list_price(day)[item]
        discount = np.rint(quantity * price * discounts[location, item]).astype(np.int64)
        stray = self._strays(rng, place, np.bincount(basket, minlength=len(first)))
        basket = np.concatenate([basket, stray["basket"]])
        line = np.concatenate([line, stray["line"]])
        all_items = np.concatenate([item, stray["item"]])
        quantities = np.concatenate([quantity, np.ones(len(stray["item"]), np.int64)])
        price = np.concatenate([price, self._stray_price[stray["item"] - len(catalogue.kind)]])
        discount = np.concatenate([discount, np.zeros(len(stray["item"]), np.int64)])
        net = quantities * price - discount
        vat = self._vat[all_items]
        tax = np.rint(net * vat / (100 + vat)).astype(np.int64)
        totals = np.bincount(basket, net, len(first)).astype(np.int64)
        customer = self._customers(rng, place)
        self.ledger.add("orders", date_on=day, location=place, order_key=key, ordered_at=moment, total_cents=totals,
                        customer=customer)  # fmt: skip
        order = np.lexsort((line, basket))
        self.ledger.add(
            "lines", date_on=day, location=place[basket][order], order_key=key[basket][order], line=line[order],
            item=all_items[order], quantity=quantities[order], price_cents=price[order],
            discount_cents=discount[order], tax_cents=tax[order],
        )  # fmt: skip
        sold = len(some)
        return self._future_returns(
            rng, day, is_web, key[basket[:sold]], line[:sold], location, item, quantity, net[:sold],
            customer[basket[:sold]],
        )  # fmt: skip

    def _strays(self, rng, place: np.ndarray, lines: np.ndarray) -> dict[str, np.ndarray]:
        """Bags, deposits and gift wrapping: at most one line more per basket, of an article no master data knows."""
        in_web = place == len(self.catalogue.places) - 1
        which = np.where(in_web, 2, rng.integers(0, 2, len(place)))
        chosen = np.flatnonzero(rng.random(len(place)) < np.where(in_web, 0.02, 0.015))
        return {"basket": chosen, "line": lines[chosen] + 1, "item": len(self.catalogue.kind) + which[chosen]}

    def _customers(self, rng, place: np.ndarray) -> np.ndarray:
        """A few customers buy often; most visits to a store are anonymous."""
        web = (self.catalogue.config.web_customers * rng.random(len(place)) ** 2).astype(np.int64)
        card = np.where(rng.random(len(place)) < 0.15, FIRST_LOYAL + rng.integers(0, LOYAL_CUSTOMERS, len(place)), -1)
        return np.where(place == len(self.catalogue.places) - 1, web, card)

    def _future_returns(self, rng, day, is_web, key, line, location, item, quantity, net, customer):
        comes_back = rng.random(len(item)) < np.where(is_web, 0.06, 0.012)
        comes_back &= self._returnable[item]
        partial = rng.random(len(item)) < 0.5
        units = np.where(partial, quantity, 1)
        part = rng.integers(50_000, 950_000, len(item))
        restocked = rng.random(len(item)) < 0.8
        delay = 1 + rng.geometric(1 / 8, len(item))
        columns = {
            "day": day + delay, "location": location, "order_key": key, "line": line, "item": item, "quantity": units,
            "refund_cents": net * units // quantity, "part": part, "restocked": restocked, "customer": customer,
        }  # fmt: skip
        return {name: column[comes_back] for name, column in columns.items()}

    def returns(self, day: int, due: dict[str, np.ndarray]) -> None:
        """Books what customers bring back; `part` is when, in millionths of the opening hours."""
        order = np.lexsort((due["line"], due["order_key"], due["location"]))
        due = {name: column[order] for name, column in due.items()}
        place = due["location"]
        sequence = np.arange(len(place)) - np.searchsorted(place, place) + 1
        hours = np.array([opening_hours(p, day) for p in self.catalogue.places])[place]
        moment = hours[:, 0] + (hours[:, 1] - hours[:, 0]) // 1_000_000 * due["part"]
        self.ledger.add(
            "returns", date_on=day, location=place, return_key=document_key(day, place, sequence),
            order_key=due["order_key"], line=due["line"], item=due["item"], quantity=due["quantity"],
            refund_cents=due["refund_cents"], returned_at=moment - moment % 1_000_000,
            restocked=due["restocked"] > 0, customer=due["customer"],
        )  # fmt: skip
