"""The generated shop, served over HTTP as real systems would be: a web shop, tills, and an ERP that takes orders.

    python -m connectors.sandbox --home .stockflow/sandbox --as-of 2026-11-01     serves it (`platform`)
    sources(base_url, token, hash_key=key)                                        pulls it (`pull`)
    targets(base_url, token)                                                      writes documents to it (`push`)
    shop.generate(ShopConfig(), end)                                              the truth behind it (`shop`)

The two sales systems have codes of their own for the same products; GTINs and the pairs that the ERP declares bring
them together, and a few match nothing.

What is particular about its records
    - The web shop is a location of kind `web` that keeps no stock: what it sells and takes back leaves and enters the
      warehouse that `supplied_from` names.
    - Stock levels are the book balance at the end of each business day. What expires has a row per expiry date: the
      stock at an instant is the sum over its rows.
    - Kits are assembled as they are sold: `production` of the kit, `consumption` of its components.
    - A `payout` is the payment provider's transfer of receipts, refunds and fees that are listed themselves.
"""

from __future__ import annotations

from connectors.http import HttpClient
from connectors.sandbox import pull
from connectors.sandbox.client import SandboxClient
from connectors.sandbox.push import Guarantee, PurchaseOrderTarget, TransferTarget
from connectors.source import Source


def sources(base_url: str, token: str, *, hash_key: bytes, http: HttpClient | None = None) -> list[Source]:
    """The sandbox's three systems, the one that assigns items first. `hash_key` keys the hashes of customer ids."""
    client = SandboxClient(base_url, token, http)
    return [pull.erp(client), pull.tills(client, hash_key), pull.webshop(client, hash_key)]


def declared_pairs(base_url: str, token: str, *, http: HttpClient | None = None) -> list[tuple[str, str, str, str]]:
    """(source, code, other source, other code): products without a shared GTIN that are the same."""
    return pull.declared_pairs(SandboxClient(base_url, token, http))


def targets(
    base_url: str,
    token: str,
    *,
    guarantee: Guarantee = "effectively_once",
    longest_processing_seconds: float = 60.0,
    http: HttpClient | None = None,
) -> tuple[PurchaseOrderTarget, TransferTarget]:
    """Where approved purchase orders and transfers go."""
    client = SandboxClient(base_url, token, http).http
    promised = {"guarantee": guarantee, "longest_processing_seconds": longest_processing_seconds}
    return PurchaseOrderTarget(client, **promised), TransferTarget(client, **promised)
