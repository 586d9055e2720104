"""What each system's payloads mean: functions from one payload to canonical records.

They read what must be there by name and fail where it is not: `Collector.map` quarantines that payload with its reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from connectors.extract import Mapped, Rejected
from connectors.privacy import hash_customer
from connectors.records import (
    Availability,
    ExchangeRate,
    ItemUnit,
    KitComponent,
    Location,
    OpeningDay,
    Order,
    OrderLine,
    Payment,
    Product,
    Promotion,
    PurchaseOrderLine,
    ReceiptLine,
    ReturnLine,
    StockLevel,
    StockMovement,
    Supplier,
    SupplierOffer,
    WeatherDay,
)

Payload = dict[str, Any]
Convert = Callable[[Payload], Iterator[Mapped]]

PERSONAL = frozenset(
    {"customer", "customer_id", "shipping_address", "name_on_card", "email", "phone", "note", "loyalty_card"}
)
"""Fields of sales payloads that are dropped before anything is stored; free text may hold a phone number."""


# -- Web shop ----------------------------------------------------------------------------------------------------------


def web_product(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Product,
        {
            "item_code": p["sku"],
            "name": p["title"],
            "gtin": p["gtin"],
            "category": p["category"],
            "brand": p["brand"],
            "is_active": p["active"],
            "launched_on": p["launched_on"],
            "list_price": p["price"],
            "currency": p["currency"],
            "source_updated_at": p["updated_at"],
        },
    )


def web_order(hash_key: bytes) -> Convert:
    def convert(p: Payload) -> Iterator[Mapped]:
        if "deleted" in p:
            raise Rejected("deleted_in_source", "The web shop has deleted this order.")
        # A clock that is wrong by years would put the sale into a day that has not come.
        if p["created_at"] > p["updated_at"]:
            raise Rejected("ordered_after_update", "The order was created after it was last changed; correct its date.")
        for line in p["lines"]:
            if line["sku"] is None:
                raise Rejected(
                    "product_deleted", f"Line {line['id']} is of a product that was deleted in the web shop."
                )
        head = {
            "order_code": p["id"],
            "location_code": "WEB",
            "channel": "web",
            "ordered_at": p["created_at"],
            "status": p["status"],
            "currency": p["currency"],
            "customer_hash": hash_customer(p["customer"]["id"], hash_key),
            "source_updated_at": p["updated_at"],
        }
        yield Mapped(Order, {**head, "total_amount": p["total"]})
        for line in p["lines"]:
            values = {
                **head,
                "line_code": str(line["id"]),
                "item_code": line["sku"],
                "quantity": line["quantity"],
                "unit_price": line["price"],
                "discount_amount": line["discount"],
                "tax_amount": line["tax"],
            }
            yield Mapped(OrderLine, values, line)

    return convert


def web_return(hash_key: bytes) -> Convert:
    def convert(p: Payload) -> Iterator[Mapped]:
        yield Mapped(
            ReturnLine,
            {
                "return_code": p["id"],
                "line_code": str(p["line_id"]),
                "order_code": p["order_id"],
                "location_code": "WEB",
                "item_code": p["sku"],
                "returned_at": p["created_at"],
                "quantity": p["quantity"],
                "refund_amount": p["refund"],
                "currency": p["currency"],
                "is_restocked": p["restocked"],
                "customer_hash": hash_customer(p["customer_id"], hash_key),
                "source_updated_at": p["updated_at"],
            },
        )

    return convert


def web_payment(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Payment,
        {
            "payment_code": p["id"],
            "kind": p["kind"],
            "document_code": p["document"],
            "party_code": p["provider"],
            "paid_at": p["paid_at"],
            "amount": p["amount"],
            "currency": p["currency"],
            "source_updated_at": p["paid_at"],
        },
    )


# -- Tills -------------------------------------------------------------------------------------------------------------


def till_article(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Product,
        {
            "item_code": p["plu"],
            "name": p["text"],
            "gtin": p["gtin"],
            "list_price": p["price"],
            "currency": p["currency"],
        },
    )


def till_receipt(hash_key: bytes) -> Convert:
    def convert(p: Payload) -> Iterator[Mapped]:
        head = {
            "order_code": p["receipt"],
            "location_code": p["store"],
            "channel": "store",
            "ordered_at": p["closed_at"],
            "currency": p["currency"],
            "customer_hash": hash_customer(p["loyalty_card"], hash_key),
            "source_updated_at": p["closed_at"],
        }
        yield Mapped(Order, {**head, "total_amount": p["total"]})
        for line in p["lines"]:
            values = {
                **head,
                "line_code": str(line["no"]),
                "item_code": line["plu"],
                "quantity": line["qty"],
                "unit_price": line["price"],
                "discount_amount": line["discount"],
                "tax_amount": line["vat"],
            }
            yield Mapped(OrderLine, values, line)

    return convert


def till_return(hash_key: bytes) -> Convert:
    def convert(p: Payload) -> Iterator[Mapped]:
        yield Mapped(
            ReturnLine,
            {
                "return_code": p["return"],
                "line_code": "1",
                "order_code": p["receipt"],
                "location_code": p["store"],
                "item_code": p["plu"],
                "returned_at": p["at"],
                "quantity": p["qty"],
                "refund_amount": p["refund"],
                "currency": p["currency"],
                "is_restocked": p["back_on_shelf"],
                "customer_hash": hash_customer(p["loyalty_card"], hash_key),
                "source_updated_at": p["at"],
            },
        )

    return convert


def till_payment(p: Payload) -> Iterator[Mapped]:
    """The Z report's takings of one business day by tender; refunds one by one. A receipt's `document_code` names store
    and business day, as `S1/2026-10-31`: it settles all receipts of that day with that tender."""
    yield Mapped(
        Payment,
        {
            "payment_code": p["report"],
            "kind": p["kind"],
            "document_code": p["document"] or f"{p['store']}/{p['business_day']}",
            "party_code": p["tender"],
            "paid_at": p["at"],
            "amount": p["amount"],
            "currency": p["currency"],
            "source_updated_at": p["at"],
        },
    )


# -- ERP: master data --------------------------------------------------------------------------------------------------


def erp_item(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Product,
        {
            "item_code": p["item"],
            "name": p["name"],
            "gtin": p["gtin"],
            "category": p["category"],
            "brand": p["brand"],
            "shelf_life_days": p["shelf_life_days"],
            "is_kit": p["kit"],
            "launched_on": p["launched_on"],
            "list_price": p["list_price"],
            "currency": p["currency"],
        },
    )
    for unit in p["units"]:
        yield Mapped(ItemUnit, {"item_code": p["item"], "unit": unit["unit"], "numerator": unit["base_units"]}, unit)
    for part in p["components"]:
        values = {"kit_code": p["item"], "item_code": part["item"], "quantity": part["quantity"]}
        yield Mapped(KitComponent, values, part)


def erp_location(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Location,
        {
            "location_code": p["location"],
            "name": p["name"],
            "kind": p["kind"],
            "timezone": p["timezone"],
            "business_day_start": p["business_day_start"],
            "country": p["country"],
            "currency": "EUR",
            "supplied_from": p["supplied_from"],
        },
        {name: value for name, value in p.items() if name != "closed_days"},
    )
    for day in p["closed_days"]:
        yield Mapped(OpeningDay, {"location_code": p["location"], "date_on": day, "is_open": False}, {"closed": day})


def erp_supplier(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Supplier,
        {
            "supplier_code": p["supplier"],
            "name": p["name"],
            "currency": p["currency"],
            "payment_terms_days": p["terms_days"],
            "lead_time_days": p["lead_time"],
            "lead_time_sd_days": p["lead_time_sd"],
            "order_weekdays": p["order_weekdays"],
            "minimum_order_amount": p["minimum_order"],
        },
    )


def erp_offer(p: Payload) -> Iterator[Mapped]:
    for step in p["steps"]:
        values = {
            "supplier_code": p["supplier"],
            "item_code": p["item"],
            "minimum_quantity": step["from"],
            "unit_price": step["price"],
            "currency": p["currency"],
            "unit": p["unit"],
            "pack_quantity": p["pack"],
            "moq": p["moq"],
            "valid_from": p["valid_from"],
            "valid_to": p["valid_to"],
        }
        yield Mapped(SupplierOffer, values)


def erp_promotion(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Promotion,
        {
            "promotion_code": p["promotion"],
            "item_code": p["item"],
            "location_code": p["location"] or "",
            "starts_on": p["starts_on"],
            "ends_on": p["ends_on"],
            "discount": p["discount"],
            "announced_on": p["announced_on"],
        },
    )


# -- ERP: journals -----------------------------------------------------------------------------------------------------


def erp_purchase_order(p: Payload) -> Iterator[Mapped]:
    for line in p["lines"]:
        values = {
            "purchase_order_code": p["number"],
            "line_code": str(line["line"]),
            "supplier_code": p["supplier"],
            "location_code": p["location"],
            "item_code": line["item"],
            "ordered_at": p["ordered_at"],
            "expected_on": p["expected_on"],
            "status": "received" if line["received"] else "open",
            "quantity": line["quantity"],
            "unit": line["unit"],
            "unit_price": line["unit_price"],
            "currency": p["currency"],
            "reference": p["reference"],
        }
        yield Mapped(PurchaseOrderLine, values, line)


def erp_receipt(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        ReceiptLine,
        {
            "receipt_code": f"{p['purchase_order']}/{p['received_at'][:10]}",
            "line_code": str(p["purchase_order_line"]),
            "purchase_order_code": p["purchase_order"],
            "purchase_order_line_code": str(p["purchase_order_line"]),
            "supplier_code": p["supplier"],
            "location_code": p["location"],
            "item_code": p["item"],
            "received_at": p["received_at"],
            "quantity": p["quantity"],
            "unit_cost": p["unit_cost"],
            "currency": p["currency"],
            "expires_on": p["expires_on"],
            "source_updated_at": p["received_at"],
        },
    )


def erp_movement(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        StockMovement,
        {
            "movement_code": f"M{p['change']}",
            "kind": p["type"],
            "location_code": p["location"],
            "item_code": p["item"],
            "moved_at": p["moved_at"],
            "quantity": p["quantity"],
            "document_code": p["document"],
            "unit_cost": p["unit_cost"],
            "currency": p["currency"],
            "expires_on": p["expires_on"],
            "source_updated_at": p["moved_at"],
        },
    )


def erp_stock_level(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        StockLevel,
        {
            "location_code": p["location"],
            "item_code": p["item"],
            "counted_at": p["at"],
            "on_hand": p["on_hand"],
            "expires_on": p["expires_on"],
            "is_count": p["counted"],
        },
    )


def erp_availability(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Availability,
        {
            "location_code": p["location"],
            "item_code": p["item"],
            "date_on": p["date"],
            "in_stock_share": p["in_stock_share"],
        },
    )


def erp_weather(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        WeatherDay,
        {
            "location_code": p["location"],
            "date_on": p["date"],
            "issued_at": p["issued_at"],
            "temperature": p["temperature"],
            "precipitation": p["precipitation"],
            "humidity": p["humidity"],
            "wind": p["wind"],
        },
    )


def erp_exchange_rate(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        ExchangeRate,
        {"from_currency": p["from"], "to_currency": p["to"], "date_on": p["date"], "rate": Decimal(str(p["rate"]))},
    )


def erp_supplier_payment(p: Payload) -> Iterator[Mapped]:
    yield Mapped(
        Payment,
        {
            "payment_code": p["number"],
            "kind": "supplier_payment",
            "document_code": p["purchase_order"],
            "party_code": p["supplier"],
            "paid_at": p["paid_at"],
            "amount": -Decimal(p["amount"]),
            "currency": p["currency"],
            "source_updated_at": p["paid_at"],
        },
    )


def instant(text: str) -> dt.datetime:
    """A moment as these systems write it."""
    return dt.datetime.fromisoformat(text)
