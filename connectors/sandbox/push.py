"""Writing purchase orders and transfers to the sandbox's ERP."""

from __future__ import annotations

from typing import Any, Literal

from connectors.delivery import DeliveryResult
from connectors.errors import PermanentError, TransientError
from connectors.http import AnswerLost, HttpClient, RequestNotProcessed, RequestRejected

Guarantee = Literal["effectively_once", "at_least_once"]


class DocumentTarget:
    """Sends documents to one of the ERP's collections and finds them again by their reference, which equals the
    idempotency key.

    `guarantee` says what the ERP promises: `effectively_once` where it honours idempotency keys or can be searched by
    reference. `longest_processing_seconds` is how long after a lost answer a document may still turn up.

    Raises PermanentError where no answer can be had until a person acts: a token that is not accepted, a wrong URL.
    """

    name: str
    path: str

    def __init__(
        self,
        http: HttpClient,
        *,
        guarantee: Guarantee = "effectively_once",
        longest_processing_seconds: float = 60.0,
    ):
        self.http = http
        self.guarantee = guarantee
        self.longest_processing_seconds = longest_processing_seconds

    def send(self, document: dict[str, Any], idempotency_key: str) -> DeliveryResult:
        """Sends once, never again by itself."""
        if document.get("reference") != idempotency_key:
            raise PermanentError(
                "A document's reference must equal its idempotency key, or a lost answer could not be looked up."
            )
        try:
            answer = self.http.post(self.path, document, {"Idempotency-Key": idempotency_key})
        except RequestNotProcessed as error:
            return DeliveryResult("not_sent", reason=str(error))
        except AnswerLost as error:
            return DeliveryResult("unknown", reason=str(error))
        except RequestRejected as error:
            return DeliveryResult("rejected", reason=str(error))
        return DeliveryResult("delivered", answer["number"])

    def find(self, idempotency_key: str) -> DeliveryResult | None:
        """What became of a document: delivered, None when the ERP does not have it, unknown when it cannot be asked."""
        try:
            found = self.http.get(self.path, {"reference": idempotency_key})["records"]
        except TransientError as error:
            return DeliveryResult("unknown", reason=str(error))
        if not found:
            return None
        twice = f"{len(found)} documents carry this reference; cancel all but one." if len(found) > 1 else None
        return DeliveryResult("delivered", found[0]["number"], twice)


class PurchaseOrderTarget(DocumentTarget):
    """A document is {"reference", "supplier_code", "location_code", "currency", "expected_on" (ISO date or None),
    "lines": [{"line_reference", "item_code", "quantity", "unit", "unit_price"}]}, with the ERP's codes and decimals as
    text."""

    name = "sandbox_erp"
    path = "erp/purchase-orders"


class TransferTarget(DocumentTarget):
    """A document is {"reference", "from_location_code", "to_location_code", "lines": [{"line_reference", "item_code",
    "quantity", "unit"}]}."""

    name = "sandbox_erp_transfers"
    path = "erp/transfers"
