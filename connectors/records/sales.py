"""What customers order, bring back and pay, and payments of any kind."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from connectors.records.fields import Amount, Code, Currency, Instant, Price, Quantity, Record, Text, Unit


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
