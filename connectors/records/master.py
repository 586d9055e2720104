"""Products and kits, locations, suppliers and what they offer."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from connectors.records.fields import Amount, Code, Currency, Price, Quantity, Record, Text, Unit


class Product(Record):
    entity = "product"
    key = ("item_code",)

    item_code: Code
    name: Text
    gtin: Annotated[str, Field(pattern=r"^[0-9]{8,14}$")] | None = None
    category: Text | None = None
    brand: Text | None = None
    base_unit: Unit = "each"
    shelf_life_days: Annotated[int, Field(gt=0)] | None = None
    is_kit: bool = False
    is_active: bool = True
    launched_on: dt.date | None = None
    list_price: Annotated[Price, Field(ge=0)] | None = None
    currency: Currency | None = None


class ItemUnit(Record):
    """`numerator / denominator` base units make one `unit`; exact, never a float."""

    entity = "item_unit"
    key = ("item_code", "unit")

    item_code: Code
    unit: Unit
    numerator: Annotated[int, Field(gt=0)]
    denominator: Annotated[int, Field(gt=0)] = 1


class KitComponent(Record):
    entity = "kit_component"
    key = ("kit_code", "item_code")

    kit_code: Code
    item_code: Code
    quantity: Annotated[Quantity, Field(gt=0)]


class Location(Record):
    """A location of kind `web` keeps no stock of its own: what it sells and takes back moves the stock of
    `supplied_from`."""

    entity = "location"
    key = ("location_code",)

    location_code: Code
    name: Text
    kind: Literal["store", "web", "warehouse", "plant", "supplier"] = "store"
    timezone: Text = "UTC"
    business_day_start: Annotated[int, Field(ge=0, lt=1440, description="minutes after local midnight")] = 0
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    currency: Currency | None = None
    supplied_from: Code | None = None


class Supplier(Record):
    """`order_weekdays`: ISO weekdays (1 = Monday) on which orders are taken, comma-separated; empty: any day."""

    entity = "supplier"
    key = ("supplier_code",)

    supplier_code: Code
    name: Text
    currency: Currency
    payment_terms_days: Annotated[int, Field(ge=0)] = 0
    lead_time_days: Annotated[float, Field(ge=0)] | None = None
    lead_time_sd_days: Annotated[float, Field(ge=0)] | None = None
    order_weekdays: Annotated[str, Field(pattern=r"^([1-7](,[1-7])*)?$")] = ""
    minimum_order_amount: Annotated[Amount, Field(ge=0)] = Decimal(0)


class SupplierOffer(Record):
    """One price step of one supplier's offer for one item: `unit_price` applies from `minimum_quantity` on.

    Quantities are in `unit`; `pack_quantity` is the multiple that can be ordered, `moq` the least.
    """

    entity = "supplier_offer"
    key = ("supplier_code", "item_code", "minimum_quantity", "valid_from")

    supplier_code: Code
    item_code: Code
    minimum_quantity: Annotated[Quantity, Field(ge=0)] = Decimal(0)
    unit_price: Annotated[Price, Field(ge=0)]
    currency: Currency
    unit: Unit = "each"
    pack_quantity: Annotated[Quantity, Field(gt=0)] = Decimal(1)
    moq: Annotated[Quantity, Field(ge=0)] = Decimal(0)
    valid_from: dt.date = dt.date(1970, 1, 1)
    valid_to: dt.date | None = None
