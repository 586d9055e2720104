"""The canonical records: what every source's payloads become before they are landed.

One pydantic model per entity is the only place where a field, its type and its limits are declared. From it come
- row validation for API payloads (pydantic, in `Extract.collect`),
- the Arrow schema of landed files (`arrow_schema`),
- vectorised validation of file imports (`connectors.files`, which compiles the same limits to SQL),
- the table the warehouse loads into.

Conventions
    *_code      an identifier in the SOURCE's own coding; our keys are assigned later, through xref
    *_at        an instant, UTC        *_on   a calendar date in the location's own time zone
    quantity    decimal(18, 6), in `unit`; sales are positive on order lines and positive on return lines
    *_amount    decimal(18, 4), money in `currency`; *_price decimal(18, 6) per `unit`
    ratios      float, 0..1
Every landed row also carries the columns of `META`. `record_id` is the record's identity within (source, entity): the
parts of the model's `key`, joined by U+001F. A line without an id of its own uses its ordinal within the document.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
KEY_SEPARATOR = "\x1f"


def _to_utc(value: dt.datetime) -> dt.datetime:
    return value.astimezone(dt.UTC)


Code = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2000)]
Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Quantity = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Price = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Unit = Annotated[str, Field(min_length=1, max_length=20)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base of all canonical records.

    `entity` names the table, `key` the fields that identify a record within its source, `occurred` the field that says
    when the fact happened (None for master data), `plannable` that this may lie ahead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    entity: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    occurred: ClassVar[str | None] = None
    plannable: ClassVar[bool] = False

    source_updated_at: Instant | None = None


# -- Master data -------------------------------------------------------------------------------------------------------


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


class OpeningDay(Record):
    """One row per location and date that differs from 'open': a closed day, or an opening on a usual closing day."""

    entity = "opening_day"
    key = ("location_code", "date_on")
    occurred = "date_on"
    plannable = True

    location_code: Code
    date_on: dt.date
    is_open: bool


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


class Promotion(Record):
    """`discount` is the fraction off the regular price; an empty item or location means all of them."""

    entity = "promotion"
    key = ("promotion_code", "item_code", "location_code", "starts_on")
    occurred = "starts_on"
    plannable = True

    promotion_code: Code
    item_code: Annotated[str, Field(max_length=200)] = ""
    location_code: Annotated[str, Field(max_length=200)] = ""
    starts_on: dt.date
    ends_on: dt.date
    discount: Ratio = 0.0
    announced_on: dt.date | None = None


class WeatherDay(Record):
    """Keyed by when it was issued: a plan made in the morning may only use what had been issued by then."""

    entity = "weather_day"
    key = ("location_code", "date_on", "issued_at")
    occurred = "date_on"
    plannable = True

    location_code: Code
    date_on: dt.date
    issued_at: Instant
    temperature: float | None = None
    precipitation: Annotated[float, Field(ge=0)] | None = None
    humidity: float | None = None
    wind: Annotated[float, Field(ge=0)] | None = None


class CategoryIndex(Record):
    """What somebody outside publishes about a category: sentiment, search interest, a price index. An empty category means
    all of them, and a path such as `Food` those below it (`Food/Dairy`) too.

    Keyed by when it was issued: a plan made in the morning may only use what had been issued by then.
    """

    entity = "category_index"
    key = ("name", "category", "date_on", "issued_at")
    occurred = "date_on"

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    category: Text = ""
    date_on: dt.date
    issued_at: Instant
    value: float


class ExchangeRate(Record):
    """One unit of `from_currency` is `rate` units of `to_currency` on `date_on`."""

    entity = "exchange_rate"
    key = ("from_currency", "to_currency", "date_on")
    occurred = "date_on"

    from_currency: Currency
    to_currency: Currency
    date_on: dt.date
    rate: Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=8)]


# -- Sales -------------------------------------------------------------------------------------------------------------


class Order(Record):
    """A customer's order. `total_amount` is what the customer owes, tax included, after discounts."""

    entity = "order"
    key = ("order_code",)
    occurred = "ordered_at"

    order_code: Code
    location_code: Code
    channel: Text = "store"
    ordered_at: Instant
    status: Literal["open", "paid", "fulfilled", "cancelled"] = "fulfilled"
    currency: Currency
    tax_included: bool = True
    total_amount: Amount
    customer_hash: Text | None = None


class OrderLine(Record):
    """`net amount = quantity * unit_price - discount_amount`, tax inside or outside as `tax_included` says."""

    entity = "order_line"
    key = ("order_code", "line_code")
    occurred = "ordered_at"

    order_code: Code
    line_code: Code
    location_code: Code
    item_code: Code
    channel: Text = "store"
    ordered_at: Instant
    status: Literal["open", "paid", "fulfilled", "cancelled"] = "fulfilled"
    quantity: Annotated[Quantity, Field(gt=0)]
    unit: Unit = "each"
    unit_price: Annotated[Price, Field(ge=0)]
    discount_amount: Annotated[Amount, Field(ge=0)] = Decimal(0)
    tax_amount: Annotated[Amount, Field(ge=0)] = Decimal(0)
    currency: Currency
    tax_included: bool = True
    customer_hash: Text | None = None


class ReturnLine(Record):
    entity = "return_line"
    key = ("return_code", "line_code")
    occurred = "returned_at"

    return_code: Code
    line_code: Code
    order_code: Code | None = None
    location_code: Code
    item_code: Code
    returned_at: Instant
    quantity: Annotated[Quantity, Field(gt=0)]
    unit: Unit = "each"
    refund_amount: Annotated[Amount, Field(ge=0)]
    currency: Currency
    tax_included: bool = True
    is_restocked: bool = True
    customer_hash: Text | None = None


class OrderCharge(Record):
    """Money on a sales document that is no item: postage, a discount, a fee. Revenue, or less of it; never demand.

    `amount` is signed from our point of view: what the customer owes us is positive.
    """

    entity = "order_charge"
    key = ("order_code", "line_code")
    occurred = "charged_at"

    order_code: Code
    line_code: Code
    location_code: Code
    kind: Literal["shipping", "discount", "fee", "voucher", "adjustment", "write_off"]
    description: Text | None = None
    charged_at: Instant
    amount: Amount
    currency: Currency
    tax_included: bool = True
    customer_hash: Text | None = None


class Payment(Record):
    """Money that moved. `amount` is signed from our point of view: what comes in is positive. A `payout` passes on what a
    payment provider received, refunded and kept as fees; where the source lists those too, it is not money again.

    `document_code` is the order, return or purchase order it settles, `due_on` when it was or is to be settled.
    """

    entity = "payment"
    key = ("payment_code",)
    occurred = "paid_at"

    payment_code: Code
    kind: Literal["receipt", "refund", "payout", "fee", "supplier_payment"]
    document_code: Code | None = None
    party_code: Code | None = None
    paid_at: Instant
    amount: Amount
    currency: Currency


# -- Stock -------------------------------------------------------------------------------------------------------------


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


# -- Purchasing --------------------------------------------------------------------------------------------------------


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


ENTITIES: dict[str, type[Record]] = {
    model.entity: model
    for model in (
        Product, ItemUnit, KitComponent, Location, OpeningDay, Supplier, SupplierOffer, Promotion, WeatherDay,
        CategoryIndex, ExchangeRate, Order, OrderLine, ReturnLine, OrderCharge, Payment, StockLevel, StockMovement, Availability,
        PurchaseOrderLine, ReceiptLine,
    )
}  # fmt: skip

META: list[pa.Field] = [
    pa.field("record_id", pa.string(), nullable=False),
    # The source's payload for this record as JSON text, without personal data.
    pa.field("payload", pa.string()),
]
"""Columns that a source adds to each record it yields. Landing adds `source`, `batch_id`, `content_hash`,
`schema_version` and `ingested_at`; see `connectors.landing.LANDED`."""

_ARROW = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    dt.date: pa.date32(),
    dt.datetime: pa.timestamp("us", tz="UTC"),
}


def field_type(model: type[Record], name: str) -> tuple[pa.DataType, bool]:
    """Arrow type and nullability of one field of a record."""
    info = model.model_fields[name]
    annotation, optional = info.annotation, False
    metadata = list(info.metadata)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arms = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional, annotation = True, arms[0]
    while typing.get_origin(annotation) is Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata += [m for part in more for m in getattr(part, "metadata", [part])]
    if typing.get_origin(annotation) is Literal:
        annotation = str
    if annotation is AwareDatetime:
        annotation = dt.datetime
    if annotation is Decimal:
        scale = next(m.decimal_places for m in metadata if getattr(m, "decimal_places", None) is not None)
        return pa.decimal128(18, scale), optional
    return _ARROW[annotation], optional


def arrow_schema(entity: str) -> pa.Schema:
    """Columns of one entity as a source yields it: the record's own fields, then `META`."""
    model = ENTITIES[entity]
    fields = []
    for name in model.model_fields:
        kind, optional = field_type(model, name)
        fields.append(pa.field(name, kind, nullable=optional))
    return pa.schema(fields + META)


def record_id(model: type[Record], values: typing.Mapping[str, object]) -> str:
    """Identity of a record within its source, from the fields its model names as key; an absent part is empty."""
    return KEY_SEPARATOR.join(key_text(values.get(name)) for name in model.key)


def key_text(value: object) -> str:
    """One part of a `record_id`, the same for equal values however they are written."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, Decimal):
        # A negative zero equals zero and must read like it.
        return f"{(value + 0).normalize():f}"
    return str(value)
