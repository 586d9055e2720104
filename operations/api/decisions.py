"""Proposals and what is decided on them; the orders that follow and their delivery."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from operations import approvals, orders, outbox, proposals
from operations.api import models
from operations.api.caller import Caller, Database
from operations.api.problems import RESPONSES
from operations.errors import NotFound
from operations.proposals import Filter

router = APIRouter(prefix="/v1", tags=["decisions"], responses=RESPONSES)
Limit = Annotated[int, Query(ge=1, le=1000)]
VIA = "api"


@router.get("/cycles")
def list_cycles(_: Caller, database: Database, limit: Limit = 30) -> list[models.Cycle]:
    """The newest cycles and how many of their proposals are in each state."""
    return [models.Cycle(**row) for row in proposals.cycles(database, limit)]


@router.get("/proposals")
def list_proposals(
    _: Caller,
    database: Database,
    cycle_date: dt.date | None = None,
    status: Literal["proposed", "approved", "rejected", "superseded", "ordered"] | None = None,
    kind: Literal["buy", "transfer", "markdown"] | None = None,
    item_key: str | None = None,
    location_key: str | None = None,
    supplier_id: str | None = None,
    minimum_risk: Annotated[float, Query(ge=0, le=1)] | None = None,
    maximum_amount: Annotated[Decimal, Query(ge=0)] | None = None,
    after: str | None = None,
    limit: Limit = 100,
) -> models.ProposalPage:
    """Proposals, highest stock-out risk first."""
    where = Filter(
        cycle_date, status, kind, item_key, location_key, supplier_id, minimum_risk, maximum_amount
    )  # fmt: skip
    rows, after = proposals.find(database, where, after=after, limit=limit)
    return models.ProposalPage(proposals=[models.ProposalRow(**row) for row in rows], next=after)


@router.get("/proposals/{proposal_id}")
def one_proposal(_: Caller, database: Database, proposal_id: str) -> models.Proposal:
    """One proposal with its evidence and the decisions on it."""
    return models.Proposal(**proposals.get(database, proposal_id))


@router.get("/proposals/{proposal_id}/explanation")
def explain(_: Caller, database: Database, request: Request, proposal_id: str) -> dict[str, Any]:
    """The number, recomputed from the inputs that were frozen for it."""
    proposals.get(database, proposal_id)
    if request.app.state.explainer is None:
        raise NotFound("This server explains no proposals: it was started without their frozen inputs.")
    return dict(request.app.state.explainer(proposal_id))


@router.post("/proposals/approve")
def approve(who: Caller, database: Database, body: models.Approve) -> models.Decided:
    """Approves proposals by their ids, or all open ones that a filter finds. All or nothing; may be repeated."""
    done = approvals.approve(
        database, who, ids=body.ids, where=_filter(body.where), quantities=body.quantities, reason=body.reason, via=VIA
    )
    return models.Decided(**vars(done))


@router.post("/proposals/reject")
def reject(who: Caller, database: Database, body: models.Decide) -> models.Decided:
    """Rejects proposals by their ids, or all open ones that a filter finds. All or nothing; may be repeated."""
    done = approvals.reject(database, who, ids=body.ids, where=_filter(body.where), reason=body.reason, via=VIA)
    return models.Decided(**vars(done))


@router.post("/proposals/{proposal_id}/approve")
def approve_one(who: Caller, database: Database, proposal_id: str, body: models.ApproveOne) -> models.Decided:
    """Approves one proposal, with another quantity if given (whole packs; needs a reason). May be repeated."""
    quantities = {} if body.quantity is None else {proposal_id: body.quantity}
    done = approvals.approve(
        database, who, ids=[proposal_id], quantities=quantities, reason=body.reason, via=VIA
    )  # fmt: skip
    return models.Decided(**vars(done))


@router.post("/proposals/{proposal_id}/reject")
def reject_one(who: Caller, database: Database, proposal_id: str, body: models.RejectOne) -> models.Decided:
    """Rejects one proposal. May be repeated."""
    return models.Decided(**vars(approvals.reject(database, who, ids=[proposal_id], reason=body.reason, via=VIA)))


@router.get("/withheld")
def list_withheld(_: Caller, database: Database, cycle_date: dt.date | None = None) -> list[models.Withheld]:
    """What a cycle (none given: the newest) could not plan and why, the highest value at risk first."""
    return [models.Withheld(**row) for row in proposals.find_withheld(database, cycle_date)]


@router.get("/purchase-orders")
def list_orders(
    _: Caller,
    database: Database,
    status: Literal["approved", "sending", "unknown", "sent", "failed", "cancelled"] | None = None,
    after: int | None = None,
    limit: Limit = 100,
) -> models.PurchaseOrderPage:
    """Purchase orders, newest first."""
    rows = orders.find(database, status=status, after=after, limit=limit)
    return models.PurchaseOrderPage(
        purchase_orders=[models.PurchaseOrderRow(**row) for row in rows],
        next=rows[-1]["number"] if len(rows) == limit else None,
    )


@router.get("/purchase-orders/{document_key}")
def one_order(_: Caller, database: Database, document_key: str) -> models.PurchaseOrder:
    """One purchase order with its lines and how its delivery stands."""
    return models.PurchaseOrder(**orders.get(database, document_key))


@router.get("/deliveries")
def list_deliveries(
    _: Caller, database: Database, status: str | None = None, target: str | None = None, limit: Limit = 200
) -> list[models.DeliveryRow]:
    """Documents on their way out, newest first."""
    return [models.DeliveryRow(**row) for row in outbox.find(database, status=status, target=target, limit=limit)]


@router.post("/deliveries/{document_key}/cancel", status_code=204)
def cancel(who: Caller, database: Database, document_key: str, body: models.Because) -> None:
    """Takes back a document that was never sent, or that was refused."""
    orders.cancel(database, who, document_key, reason=body.reason)


@router.post("/deliveries/{document_key}/retry", status_code=204)
def retry(who: Caller, database: Database, document_key: str) -> None:
    """Lets a failed document be tried again."""
    outbox.retry(database, who, document_key)


@router.post("/deliveries/{document_key}/settle", status_code=204)
def settle(who: Caller, database: Database, document_key: str, body: models.Settle) -> None:
    """Says whether a document whose fate is unknown has arrived, after looking."""
    outbox.settle(
        database, who, document_key, arrived=body.arrived, reference=body.reference, reason=body.reason
    )  # fmt: skip


def _filter(where: models.ProposalFilter | None) -> Filter | None:
    return None if where is None else Filter(**where.model_dump())
