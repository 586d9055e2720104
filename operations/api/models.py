"""What requests and responses hold. Quantities and money are exact decimals, written as text."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

Exact = Annotated[Decimal, PlainSerializer(lambda value: f"{value.normalize():f}", return_type=str)]
Key = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=2000)]
Quantity = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Price = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProposalRow(BaseModel):
    proposal_id: str
    cycle_date: dt.date
    kind: str
    status: str
    item_key: str
    item_name: str
    location_key: str
    location_name: str
    from_location_key: str | None
    supplier_id: str | None
    supplier_name: str | None
    quantity: Exact
    approved_quantity: Exact | None
    unit: str
    pack_quantity: Exact
    minimum_quantity: Exact
    unit_price: Exact | None
    currency: str | None
    amount: Exact | None
    approved_amount: Exact | None
    expected_on: dt.date | None
    stockout_risk: float | None
    reason: str
    frozen_hash: str
    document_key: str | None
    proposed_by: str
    created_at: dt.datetime
    status_at: dt.datetime
    party_id: str


class DecisionRow(BaseModel):
    action: str
    actor: str
    via: str
    proposed_quantity: Exact
    decided_quantity: Exact
    reason: str | None
    decided_at: dt.datetime


class Proposal(ProposalRow):
    evidence: Any
    decisions: list[DecisionRow]


class ProposalPage(BaseModel):
    proposals: list[ProposalRow]
    next: str | None = Field(description="The cursor of the next page; null at the end")


class ProposalFilter(Request):
    """Every given condition must hold; none given means every open proposal."""

    cycle_date: dt.date | None = None
    kind: Literal["buy", "transfer", "markdown"] | None = None
    item_key: Key | None = None
    location_key: Key | None = None
    supplier_id: Key | None = None
    minimum_risk: Annotated[float, Field(ge=0, le=1)] | None = None
    maximum_amount: Annotated[Decimal, Field(ge=0)] | None = None


class Decide(Request):
    """Either `ids` or `where`."""

    ids: Annotated[list[Key], Field(min_length=1, max_length=50_000)] | None = None
    where: ProposalFilter | None = None
    reason: Reason | None = None


class Approve(Decide):
    quantities: dict[Key, Quantity] = Field(default={}, description="Other quantities by proposal; they need a reason")


class ApproveOne(Request):
    quantity: Quantity | None = None
    reason: Reason | None = None


class RejectOne(Request):
    reason: Reason | None = None


class Decided(BaseModel):
    decided: list[str]
    already: list[str]
    documents: list[str]


class Cycle(BaseModel):
    cycle_date: dt.date
    frozen_hash: str
    status: str
    planned_by: str
    planned_at: dt.datetime
    proposals: dict[str, int]


class Withheld(BaseModel):
    cycle_date: dt.date
    item_key: str
    location_key: str
    reason: str
    detail: str
    value_at_risk: Exact | None
    currency: str | None


class PurchaseOrderRow(BaseModel):
    document_key: str
    number: int
    cycle_date: dt.date
    supplier_id: str
    supplier_name: str
    location_key: str
    location_name: str
    expected_on: dt.date | None
    currency: str
    amount: Exact
    status: str
    reference: str | None
    approved_by: str
    created_at: dt.datetime
    status_at: dt.datetime


class PurchaseOrderLine(BaseModel):
    line_number: int
    proposal_id: str
    item_key: str
    item_name: str
    quantity: Exact
    unit: str
    unit_price: Exact
    amount: Exact


class DeliveryState(BaseModel):
    target: str
    status: str
    attempts: int
    available_at: dt.datetime
    reference: str | None
    reason: str | None
    needs_person: bool


class DeliveryRow(DeliveryState):
    document_key: str
    kind: str
    created_at: dt.datetime
    status_at: dt.datetime


class PurchaseOrder(PurchaseOrderRow):
    lines: list[PurchaseOrderLine]
    delivery: DeliveryState


class PurchaseOrderPage(BaseModel):
    purchase_orders: list[PurchaseOrderRow]
    next: int | None


class Because(Request):
    reason: Reason


class Settle(Request):
    arrived: bool
    reference: Key | None = None
    reason: Reason


class Unmatched(BaseModel):
    kind: str
    source: str
    source_id: str
    name: str | None
    gtin: str | None
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime


class UnmatchedCode(Request):
    kind: Literal["item", "location", "party"]
    source: Key
    source_id: Key


class Match(UnmatchedCode):
    key: Key
    valid_from: dt.date | None = None


class Movement(Request):
    """A `count` states counted_quantity, any other kind the signed quantity."""

    kind: Key
    location_key: Key
    item_key: Key
    moved_at: AwareDatetime
    reason: Reason
    quantity: Quantity | None = None
    counted_quantity: Annotated[Quantity, Field(ge=0)] | None = None
    unit: Key | None = None
    unit_cost: Price | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    document_code: Key | None = None
    expires_on: dt.date | None = None
    movement_id: Key | None = Field(default=None, description="Your own id: repeating the request is then safe")


class PostedMovement(BaseModel):
    movement_id: str
    kind: str
    location_key: str
    item_key: str
    moved_at: dt.datetime
    business_date: dt.date
    quantity: Exact | None
    counted_quantity: Exact | None
    unit: str
    unit_cost: Exact | None
    currency: str | None
    document_code: str | None
    expires_on: dt.date | None
    reason: str
    posted_by: str
    posted_at: dt.datetime


class AuditEntry(BaseModel):
    audit_id: int
    happened_at: dt.datetime
    actor: str
    action: str
    subject: str
    subject_id: str
    detail: Any


class Alert(BaseModel):
    alert_key: str
    severity: str
    message: str
    detail: Any
    status: str
    count: int
    first_at: dt.datetime
    last_at: dt.datetime
    settled_by: str | None


class Received(BaseModel):
    """`new`: false when the event had been delivered before."""

    new: bool
