"""Approved documents on their way out: in the target's own codes, once.

`operations` keeps documents in our keys with every source's codes beside them; a connector's target takes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors import sandbox
from connectors.delivery import DeliveryResult
from operations.outbox import DeliveryTarget
from orchestration.settings import Settings

Document = dict[str, Any]


class UnknownCode(ValueError):
    """The target has no code for something on the document; the text says for what."""


@dataclass
class Translated:
    """A delivery target that takes our documents: each is put into the target's codes by `translate` first."""

    target: DeliveryTarget
    translate: Callable[[Document], Document]

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def guarantee(self) -> str:
        return self.target.guarantee

    @property
    def longest_processing_seconds(self) -> float:
        return self.target.longest_processing_seconds

    def send(self, document: Document, idempotency_key: str) -> DeliveryResult:
        try:
            translated = self.translate(document)
        except UnknownCode as error:
            return DeliveryResult("rejected", reason=str(error))
        return self.target.send(translated, idempotency_key)

    def find(self, idempotency_key: str) -> DeliveryResult | None:
        return self.target.find(idempotency_key)


def delivery_targets(settings: Settings) -> list[Translated]:
    """Every target that the configured systems offer."""
    found = []
    for configured in settings.business.sources:
        orders, transfers = sandbox.targets(configured.url, configured.token)
        found += [
            Translated(orders, lambda d: purchase_order(d, "sandbox_erp")),
            Translated(transfers, lambda d: transfer(d, "sandbox_erp")),
        ]
    return found


def routes(settings: Settings) -> dict[str, str]:
    """Kind of document -> name of the target it goes to; what operations keeps as its setting `delivery_targets`."""
    if not settings.business.sources:
        return {}
    return {"purchase_order": sandbox.PurchaseOrderTarget.name, "transfer_order": sandbox.TransferTarget.name}


def purchase_order(document: Document, source: str) -> Document:
    return {
        "reference": document["document_key"],
        "supplier_code": _code(document["supplier"], source),
        "location_code": _code(document["location"], source),
        "currency": document["currency"],
        "expected_on": document["expected_on"],
        "lines": [{**_line(line, source), "unit_price": line["unit_price"]} for line in document["lines"]],
    }


def transfer(document: Document, source: str) -> Document:
    return {
        "reference": document["document_key"],
        "from_location_code": _code(document["from_location"], source),
        "to_location_code": _code(document["location"], source),
        "lines": [_line(line, source) for line in document["lines"]],
    }


def _line(line: Document, source: str) -> Document:
    return {
        "line_reference": line["line_key"],
        "item_code": _code({**line, "name": line["item_name"]}, source),
        "quantity": line["quantity"],
        "unit": line["unit"],
    }


def _code(thing: Document, source: str) -> str:
    code = thing["codes"].get(source)
    if code is None:
        raise UnknownCode(f"{thing['name']} has no code in {source}: match it there, then let the document be retried.")
    return code
