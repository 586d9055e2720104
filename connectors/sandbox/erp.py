"""Writing to the generated ERP: what it accepts, what it refuses, and how that becomes goods on the way.

A written purchase order is delivered like the shop's own: after a lead time drawn for it, from its day on. Days that
were already known never change.
"""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from connectors.sandbox.buying import current_offer
from connectors.sandbox.catalogue import KIT, ShopConfig, day_number
from connectors.sandbox.documents import Clock, Document, Documents
from connectors.sandbox.shop import generate
from connectors.sandbox.simulate import WrittenOrder
from connectors.sandbox.systems import Systems

PURCHASE_ORDER, TRANSFER = "purchase_order", "transfer"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PurchaseLine(_Strict):
    line_reference: str = Field(min_length=1, max_length=100)
    item_code: str
    quantity: Decimal = Field(gt=0)
    unit: str
    unit_price: Decimal = Field(ge=0)


class PurchaseOrder(_Strict):
    reference: str = Field(min_length=1, max_length=100)
    supplier_code: str
    location_code: str
    currency: str
    expected_on: dt.date | None = None
    lines: list[PurchaseLine] = Field(min_length=1)


class TransferLine(_Strict):
    line_reference: str = Field(min_length=1, max_length=100)
    item_code: str
    quantity: Decimal = Field(gt=0)
    unit: str


class Transfer(_Strict):
    reference: str = Field(min_length=1, max_length=100)
    from_location_code: str
    to_location_code: str
    lines: list[TransferLine] = Field(min_length=1)


class Refused(ValueError):
    """The document can never be accepted as it is; the message says why."""


class Erp:
    """The shop with its clock: time passes when told to, documents are accepted on the virtual date.

    State lives under `home`; a new instance there goes on where a killed one stopped. `as_of` moves the clock forward
    when it is later than where it stands, and is ignored otherwise. Raises ValueError when `home` has another shop.
    """

    def __init__(self, home: Path, config: ShopConfig, as_of: dt.date):
        self.documents = Documents(Path(home) / "erp.sqlite")
        clock = self.documents.clock() or Clock(repr(config), as_of, as_of)
        if clock.shop != repr(config):
            raise ValueError(f"{home} belongs to a shop with other settings; use those, or another folder.")
        shop = generate(config, clock.began, Path(home) / "cache")
        self._lock = threading.Lock()
        self._simulation = shop.simulation()
        self.systems = Systems(shop)
        self.catalogue = shop.catalogue
        self._items = {code: i for i, code in enumerate(shop.catalogue.erp_code)}
        self._suppliers = {code: i for i, code in enumerate(shop.catalogue.suppliers.code)}
        self._stock_places = {code: i for i, code in enumerate(shop.stock_codes)}
        for document in self.documents.all():
            self._live_until(document.accepted_on)
            self._take_over(document)
        self._live_until(max(as_of, clock.as_of))
        self.documents.set_clock(clock._replace(as_of=self.as_of))

    @property
    def as_of(self) -> dt.date:
        return self.systems.as_of

    def advance(self, as_of: dt.date) -> None:
        """Lets business days pass until the morning of `as_of`. Raises Refused for a date in the past."""
        with self._lock:
            if as_of < self.as_of:
                raise Refused(f"The clock stands at {self.as_of} and only moves forward; {as_of} is over.")
            self._live_until(as_of)
            self.documents.set_clock(self.documents.clock()._replace(as_of=as_of))

    def write(self, document: PurchaseOrder | Transfer, idempotency_key: str | None) -> tuple[str, bool]:
        """(its number, whether it is new). With a key that was seen before, the number of then. Raises Refused."""
        kind = PURCHASE_ORDER if isinstance(document, PurchaseOrder) else TRANSFER
        with self._lock:
            seen = self.documents.by_key(kind, idempotency_key) if idempotency_key else None
            if seen:
                return number_of(seen), False
            self._understand(document, 1)
            body = document.model_dump_json()
            accepted = self.documents.accept(kind, document.reference, idempotency_key, self.as_of, body)
            self._take_over(accepted)
            return number_of(accepted), True

    def _live_until(self, as_of: dt.date) -> None:
        if as_of > self.as_of:
            self._simulation.advance(day_number(as_of))
            self.systems.append(self._simulation.ledger.take(), as_of)

    def _take_over(self, document: Document) -> None:
        model = PurchaseOrder if document.kind == PURCHASE_ORDER else Transfer
        order = self._understand(model.model_validate_json(document.body), document.id)
        self._simulation.write(order)
        if document.kind == PURCHASE_ORDER:
            self.systems.refer(order.number, document.reference)
        # The order itself is known at once; its goods come with the days.
        self.systems.append(self._simulation.ledger.take(), self.as_of)

    # -- Checks --------------------------------------------------------------------------------------------------------

    def _understand(self, document: PurchaseOrder | Transfer, number: int) -> WrittenOrder:
        references = [line.line_reference for line in document.lines]
        if len(set(references)) < len(references):
            raise Refused("Two lines have the same line_reference.")
        if isinstance(document, Transfer):
            source, target = (self._place(c) for c in (document.from_location_code, document.to_location_code))
            if source == target:
                raise Refused("A transfer needs two different locations.")
            # Numbers of transfers start one further on: -1 is no document.
            lines = tuple((item, units, 0) for item, units, _ in map(self._quantity, document.lines))
            return WrittenOrder(-number - 1, target, lines, source=source)
        supplier = self._suppliers.get(document.supplier_code)
        if supplier is None:
            raise Refused(f"There is no supplier {document.supplier_code}.")
        currency = self.catalogue.suppliers.currency[supplier]
        if document.currency != currency:
            raise Refused(f"Supplier {document.supplier_code} is paid in {currency}, not {document.currency}.")
        lines = tuple(self._purchase_line(line, supplier) for line in document.lines)
        return WrittenOrder(-number, self._place(document.location_code), lines, supplier)

    def _place(self, code: str) -> int:
        if code not in self._stock_places:
            raise Refused(f"There is no stock at a location {code}.")
        return self._stock_places[code]

    def _quantity(self, line: PurchaseLine | TransferLine) -> tuple[int, int, int]:
        item = self._items.get(line.item_code)
        if item is None or self.catalogue.kind[item] == KIT:
            raise Refused(f"There is no item {line.item_code} that is kept in stock.")
        size = {"each": 1, "case": int(self.catalogue.case_size[item])}.get(line.unit)
        if size is None:
            raise Refused(f"Item {line.item_code} has no unit {line.unit}.")
        units = line.quantity * size
        if units != int(units):
            raise Refused(f"Item {line.item_code} comes in whole pieces, not {units.normalize():f}.")
        return item, int(units), size

    def _purchase_line(self, line: PurchaseLine, supplier: int) -> tuple[int, int, int]:
        item, units, size = self._quantity(line)
        offers = self._simulation.buyer.offers.get((supplier, item))
        if not offers:
            raise Refused(f"Supplier {self.catalogue.suppliers.code[supplier]} does not offer {line.item_code}.")
        offer = current_offer(offers, day_number(self.as_of))
        if units < offer.moq or units % offer.pack:
            orderable = f"at least {offer.moq} and multiples of {offer.pack} pieces"
            raise Refused(f"{line.item_code}: {orderable} can be ordered, not {units}.")
        return item, units, int((line.unit_price / size * 10_000).to_integral_value())


def number_of(document: Document) -> str:
    """The ERP's own number for a written document."""
    return f"PX-{document.id:06d}" if document.kind == PURCHASE_ORDER else f"TX-{document.id + 1:06d}"
