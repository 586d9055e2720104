"""Broken records that the generated web shop sends on purpose, as every real one does.

They are not part of the shop's truth: no stock moved for them. Each is wrong in one way and must end in quarantine.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa

from connectors.sandbox.catalogue import Catalogue
from connectors.sandbox.people import person

SCHEMA = pa.schema({"feed": pa.string(), "updated_at": pa.timestamp("us"), "key": pa.int64(), "body": pa.string()})


def spoiled(catalogue: Catalogue) -> pa.Table:
    """One row per broken record: the feed it is in, its place there, and its JSON; `{sku}` is a sku that exists."""
    sku = next(code for code, sold in zip(catalogue.sku, catalogue.rate[-1] > 0, strict=True) if sold)
    rows = []
    for number, (feed, change) in enumerate(_DAMAGES):
        moment = dt.datetime.combine(catalogue.config.start, dt.time(13, 7, number)) + dt.timedelta(days=3 + 8 * number)
        body = {"orders": _order, "returns": _return, "products": _product}[feed](number, moment, sku)
        change(body)
        rows.append((feed, moment, 10**15 + number, json.dumps(body)))
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


def _order(number: int, moment: dt.datetime, sku: str) -> dict[str, Any]:
    who = person(number)
    stamp = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "id": f"W-X{number:03d}",
        "created_at": stamp,
        "updated_at": stamp,
        "status": "paid",
        "currency": "EUR",
        "total": "19.80",
        "customer": {"id": who.id, "name": who.name, "email": who.email, "phone": who.phone},
        "shipping_address": {"name": who.name, "street": who.street, "city": who.city},
        "lines": [
            {"id": 1, "sku": sku, "title": "x", "quantity": 1, "price": "9.90", "discount": "0.00", "tax": "0.65"},
            {"id": 2, "sku": sku, "title": "x", "quantity": 1, "price": "9.90", "discount": "0.00", "tax": "0.65"},
        ],
    }


def _return(number: int, moment: dt.datetime, sku: str) -> dict[str, Any]:
    stamp = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return {"id": f"R-X{number:03d}", "order_id": "W1", "line_id": 1, "sku": sku, "quantity": 1, "refund": "9.90",
            "currency": "EUR", "restocked": True, "customer_id": person(number).id, "created_at": stamp,
            "updated_at": stamp}  # fmt: skip


def _product(number: int, moment: dt.datetime, sku: str) -> dict[str, Any]:
    return {"sku": f"OLD-{number}", "title": "Discontinued", "gtin": None, "category": None, "brand": None,
            "price": "1.00", "currency": "EUR", "active": False, "launched_on": None,
            "updated_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}  # fmt: skip


def _bury(order: dict[str, Any]) -> None:
    """A tombstone: all that some systems leave of a deleted record."""
    for name in set(order) - {"id", "updated_at"}:
        del order[name]
    order["deleted"] = True


_DAMAGES = (
    # A line of a product that was deleted since.
    ("orders", lambda o: o["lines"][1].update(sku=None)),
    ("orders", lambda o: o["lines"][0].update(price="-9.90")),
    ("orders", lambda o: o.pop("currency")),
    ("orders", lambda o: o.update(created_at="2093-04-01T10:00:00Z")),
    ("orders", lambda o: o["lines"][1].update(quantity=0)),
    ("orders", lambda o: o.update(total="about twenty")),
    ("orders", _bury),
    ("returns", lambda r: r.update(quantity=-1)),
    ("returns", lambda r: r.update(refund=None)),
    ("products", lambda p: p.update(gtin="not a number")),
)
