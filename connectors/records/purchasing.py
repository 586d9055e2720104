"""What was ordered from suppliers and what arrived."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from connectors.records.fields import Code, Currency, Instant, Price, Quantity, Record, Text, Unit


class PurchaseOrderLine(Record):
    entity = "purchase_order_line"
    key = ("purchase_order_code", "line_code")
    occurred = "ordered_at"

    purchase_order_code: Code
    line_code: Code
    supplier_code: Code
    location_code: Code
    item_code: Code
    ordered_at: Instant
    expected_on: dt.date | None = None
    status: Literal["draft", "open", "received", "cancelled"] = "open"
    quantity: Annotated[Quantity, Field(gt=0)]
    unit: Unit = "each"
    unit_price: Annotated[Price, Field(ge=0)]
    currency: Currency
    reference: Text | None = None


class ReceiptLine(Record):
    entity = "receipt_line"
    key = ("receipt_code", "line_code")
    occurred = "received_at"

    receipt_code: Code
    line_code: Code
    purchase_order_code: Code | None = None
    purchase_order_line_code: Code | None = None
    supplier_code: Code | None = None
    location_code: Code
    item_code: Code
    received_at: Instant
    quantity: Annotated[Quantity, Field(gt=0)]
    unit: Unit = "each"
    unit_cost: Annotated[Price, Field(ge=0)] | None = None
    currency: Currency | None = None
    expires_on: dt.date | None = None
