"""Pulling the sandbox: which feed becomes which stream, where each begins, and how it goes on.

Cursors by kind of paging (see `feeds`):
    changes   `2026-10-31T09:00:00Z|<key>`, taken back by `OVERLAP`: what was written late is read again, and what
              is as it was landed counts as unchanged
    windows   `2026-10-31/S4`, taken back by `OVERLAP` in whole days
    facts     the change number, which leaves no gaps
    master    none: it comes whole each time
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Set

from connectors.extract import Collector, Extract
from connectors.sandbox import mapping
from connectors.sandbox.client import SandboxClient
from connectors.sandbox.mapping import PERSONAL, Convert
from connectors.source import Pull, Source

OVERLAP = dt.timedelta(days=3)
DOCUMENTS, ROWS = 20_000, 100_000
"""Records a page: an extract is one page, and each extract compares itself with all that is landed."""


def webshop(client: SandboxClient, hash_key: bytes) -> Source:
    return Source(
        "sandbox_webshop",
        {
            "products": changes(client, "webshop/products", "product", mapping.web_product),
            "orders": changes(client, "webshop/orders", "order", mapping.web_order(hash_key), PERSONAL),
            "returns": changes(client, "webshop/returns", "return_line", mapping.web_return(hash_key), PERSONAL),
            "payments": changes(client, "webshop/payments", "payment", mapping.web_payment),
        },
        locations_of="sandbox_erp",
    )


def tills(client: SandboxClient, hash_key: bytes) -> Source:
    return Source(
        "sandbox_tills",
        {
            "articles": master(client, "tills/articles", "product", mapping.till_article),
            "receipts": windows(client, "tills/receipts", "order", mapping.till_receipt(hash_key), PERSONAL),
            "returns": windows(client, "tills/returns", "return_line", mapping.till_return(hash_key), PERSONAL),
            "payments": windows(client, "tills/payments", "payment", mapping.till_payment),
        },
        locations_of="sandbox_erp",
    )


def erp(client: SandboxClient) -> Source:
    return Source(
        "sandbox_erp",
        {
            "items": master(client, "erp/items", "product", mapping.erp_item),
            "locations": master(client, "erp/locations", "location", mapping.erp_location),
            "suppliers": master(client, "erp/suppliers", "supplier", mapping.erp_supplier),
            "offers": master(client, "erp/offers", "supplier_offer", mapping.erp_offer),
            "promotions": master(client, "erp/promotions", "promotion", mapping.erp_promotion),
            "exchange_rates": facts(client, "erp/exchange-rates", "exchange_rate", mapping.erp_exchange_rate),
            "weather": facts(client, "erp/weather", "weather_day", mapping.erp_weather),
            "purchase_orders": changes(
                client, "erp/purchase-orders", "purchase_order_line", mapping.erp_purchase_order
            ),
            "receipts": facts(client, "erp/receipts", "receipt_line", mapping.erp_receipt),
            "stock_movements": facts(client, "erp/stock-movements", "stock_movement", mapping.erp_movement),
            "stock_levels": facts(client, "erp/stock-levels", "stock_level", mapping.erp_stock_level),
            "availability": facts(client, "erp/availability", "availability", mapping.erp_availability),
            "supplier_payments": changes(client, "erp/supplier-payments", "payment", mapping.erp_supplier_payment),
        },
        assigns_items=True,
        declared_pairs=lambda: declared_pairs(client),
    )


def declared_pairs(client: SandboxClient) -> list[tuple[str, str, str, str]]:
    """(source, code, other source, other code): products that the ERP declares to be the same."""
    pairs = client.all("erp/declared-pairs")
    return [(p["source"], p["code"], p["other_source"], p["other_code"]) for p in pairs]


# -- Kinds of paging ---------------------------------------------------------------------------------------------------


def changes(
    client: SandboxClient,
    feed: str,
    entity: str,
    convert: Convert,
    personal: Set[str] = frozenset(),
    limit: int = DOCUMENTS,
) -> Pull:
    def pull(cursor: str | None) -> Iterator[Extract]:
        start = None
        if cursor:
            moment = mapping.instant(cursor.partition("|")[0]) - OVERLAP
            start = f"{moment:%Y-%m-%dT%H:%M:%SZ}|"
        return _extracts(client, feed, entity, convert, personal, start, limit)

    return pull


def windows(client: SandboxClient, feed: str, entity: str, convert: Convert, personal: Set[str] = frozenset()) -> Pull:
    def pull(cursor: str | None) -> Iterator[Extract]:
        first = dt.date.fromisoformat(cursor.partition("/")[0]) - OVERLAP if cursor else None
        return _extracts(client, feed, entity, convert, personal, None, DOCUMENTS, from_day=first)

    return pull


def facts(client: SandboxClient, feed: str, entity: str, convert: Convert) -> Pull:
    def pull(cursor: str | None) -> Iterator[Extract]:
        return _extracts(client, feed, entity, convert, frozenset(), cursor, ROWS)

    return pull


def master(client: SandboxClient, feed: str, entity: str, convert: Convert) -> Pull:
    def pull(cursor: str | None) -> Iterator[Extract]:
        collector = Collector()
        collector.map(client.all(feed), convert, entity, feed)
        yield collector.extract(_stream(feed))

    return pull


def _extracts(client, feed, entity, convert, personal, cursor, limit, **parameters) -> Iterator[Extract]:
    collector = Collector()
    for page in client.pages(feed, cursor=cursor, limit=limit, **parameters):
        collector.map(page.records, convert, entity, f"{feed}?cursor={cursor or ''}", personal)
        yield collector.extract(_stream(feed), page.next)
        cursor = page.next


def _stream(feed: str) -> str:
    return feed.partition("/")[2].replace("-", "_")
