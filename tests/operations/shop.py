"""A small company for the tests: its items, places, suppliers and people, and plans for them."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal

import sqlalchemy as sa

from operations import access, identity, settings

DAY = dt.date(2026, 3, 2)
ITEMS = ("A", "B", "C", "D", "E", "F")
PLACES = ("S1", "S2", "WH")
SUPPLIERS = ("V1", "V2")


def found(engine: sa.Engine) -> None:
    """Makes the company in an empty database."""
    products = [{"item_code": c, "name": f"Product {c}"} for c in ITEMS]
    identity.resolve(engine, "item", "erp", products, assigns=True)
    places = [{"location_code": c, "name": f"Place {c}", "timezone": "Europe/London"} for c in PLACES]
    identity.resolve(engine, "location", "erp", places, assigns=True)
    suppliers = [{"supplier_code": c, "name": f"Supplier {c}", "currency": "EUR"} for c in SUPPLIERS]
    identity.resolve(engine, "party", "erp", suppliers, assigns=True)
    settings.put(engine, "delivery_targets", {"default": "erp"}, actor="system:setup")
    access.create_first_admin(engine, "root")
    access.create_user(engine, "ann", ["approver"], actor="system:test")
    access.create_user(engine, "bob", ["approver", "planner"], actor="system:test")
    access.create_user(engine, "eve", ["viewer"], actor="system:test")


class Shop:
    """Keys by code: `item["A"]`, `place["S1"]`, `supplier["V1"]`."""

    def __init__(self, engine: sa.Engine):
        self.engine = engine
        codes: dict[str, dict[str, str]] = {"item": {}, "location": {}, "party": {}}
        for row in identity.xref_table(engine):
            codes[row["kind"]][row["source_id"]] = row["key"]
        self.item, self.place, self.supplier = codes["item"], codes["location"], codes["party"]

    def who(self, name: str) -> access.Principal:
        return access.principal(self.engine, name)

    def buy(self, item: str = "A", place: str = "S1", quantity: int = 24, supplier: str = "V1", **more) -> dict:
        row = {
            "kind": "buy", "item_key": self.item[item], "location_key": self.place[place],
            "supplier_id": self.supplier[supplier], "quantity": Decimal(quantity), "unit": "each",
            "pack_quantity": Decimal(6), "minimum_quantity": Decimal(12), "unit_price": Decimal("1.25"),
            "currency": "EUR", "amount": Decimal("1.25") * quantity, "expected_on": DAY + dt.timedelta(days=3),
            "stockout_risk": 0.25, "reason": f"{quantity} of {item} cover the next week.",
            "evidence": {"frozen": "sha256:1", "quantile": Decimal("0.95")}, **more,
        }  # fmt: skip
        return with_id(row)

    def transfer(self, item: str = "A", source: str = "WH", to: str = "S1", quantity: int = 10) -> dict:
        row = {
            "kind": "transfer", "item_key": self.item[item], "location_key": self.place[to],
            "from_location_key": self.place[source], "quantity": Decimal(quantity), "unit": "each",
            "expected_on": DAY, "reason": "It is there already.", "evidence": {},
        }  # fmt: skip
        return with_id(row)

    def rows(self, statement: str, **values) -> list[tuple]:
        with self.engine.connect() as db:
            return [tuple(row) for row in db.execute(sa.text(statement), values)]


def with_id(row: dict) -> dict:
    content = repr(sorted((k, str(v)) for k, v in row.items() if k not in ("proposal_id", "evidence")))
    return {**row, "proposal_id": "prp_" + hashlib.sha256(content.encode()).hexdigest()[:16]}
