"""What there is, how it moved, and how long shelves were full."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from connectors.records.fields import Code, Currency, Instant, Price, Quantity, Ratio, Record, Unit


class StockLevel(Record):
    """On hand as the source states it at `counted_at`. `is_count`: a person counted, rather than a book balance.

    A source that knows batches gives a row per `expires_on`; the stock at an instant is the sum over them.
    """

    entity = "stock_level"
    key = ("location_code", "item_code", "expires_on", "counted_at")
    occurred = "counted_at"

    location_code: Code
    item_code: Code
    counted_at: Instant
    on_hand: Quantity
    unit: Unit = "each"
    expires_on: dt.date | None = None
    is_count: bool = False


class StockMovement(Record):
    """A change of stock other than by sale, return or receipt, signed. `unit_cost` in `currency` per `unit`."""

    entity = "stock_movement"
    key = ("movement_code",)
    occurred = "moved_at"

    movement_code: Code
    kind: Literal["opening", "transfer_in", "transfer_out", "adjustment", "write_off", "production", "consumption"]
    location_code: Code
    item_code: Code
    moved_at: Instant
    quantity: Quantity
    unit: Unit = "each"
    unit_cost: Annotated[Price, Field(ge=0)] | None = None
    currency: Currency | None = None
    document_code: Code | None = None
    expires_on: dt.date | None = None


class Availability(Record):
    """Share of the opening hours of a business day during which the item could be bought."""

    entity = "availability"
    key = ("location_code", "item_code", "date_on")
    occurred = "date_on"

    location_code: Code
    item_code: Code
    date_on: dt.date
    in_stock_share: Ratio
