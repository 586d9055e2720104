"""People decide on proposals: approve, approve with another quantity, reject.

Belongs here: who may decide on what, and the one transaction that a decision is: proposals, decisions, documents, their
outbox rows and the audit log, all or nothing. Does not belong here: what documents look like (`operations.orders`).

Nobody approves what they proposed. An approver with a limit approves no document above it, joined lines included.
Repeating a decision gives the same result; deciding otherwise on what is decided is a Conflict.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations import orders
from operations.access import Principal
from operations.errors import Conflict, Invalid, NotAllowed, NotFound
from operations.proposals import Filter, check_quantity, settle_cycles
from operations.schema import decision, exchange_rate, proposal
from operations.transitions import PROPOSAL, move


@dataclass(frozen=True)
class Decided:
    """`decided` are the proposals that changed, `already` those that had been decided the same way before.
    `documents` are the keys of the documents that carry them."""

    decided: list[str]
    already: list[str]
    documents: list[str]


def approve(
    engine: Engine,
    who: Principal,
    *,
    ids: Sequence[str] | None = None,
    where: Filter | None = None,
    quantities: Mapping[str, Decimal] | None = None,
    reason: str | None = None,
    via: str,
) -> Decided:
    """Approves the proposals with these ids, or all open ones that a filter finds, and puts their documents out.

    `quantities` overrides some of them; that needs a reason. All or nothing: NotAllowed, NotFound, Conflict or Invalid
    name the first proposal that stands in the way.
    """
    who.need("approver")
    quantities = dict(quantities or {})
    now = dt.datetime.now(dt.UTC)
    with engine.begin() as db:
        rows, already = _selected(db, ids, where, done=("approved", "ordered"))
        _check_overrides(quantities, rows, already, reason)
        for row in rows:
            if row["proposed_by"] == who.actor:
                raise NotAllowed(
                    f"{who.username} proposed {row['proposal_id']}, and nobody approves what they proposed: ask "
                    "another approver."
                )
        approved = [_with_quantity(db, row, quantities.get(row["proposal_id"])) for row in rows]
        groups = orders.group(approved)
        keys = orders.assign_documents(db, groups)
        _check_limit(db, who, groups, keys, now)
        _move_approved(db, [(row, keys[one]) for one, members in groups.items() for row in members], who.actor, now)
        _record(db, approved, who.actor, via, reason, now)
        orders.write_documents(db, keys, who.actor, now)
        settle_cycles(db)
        carriers = sorted({*keys.values(), *(row["document_key"] for row in already)})
    return Decided([r["proposal_id"] for r in approved], [r["proposal_id"] for r in already], carriers)


def reject(
    engine: Engine,
    who: Principal,
    *,
    ids: Sequence[str] | None = None,
    where: Filter | None = None,
    reason: str | None = None,
    via: str,
) -> Decided:
    """Rejects the proposals with these ids, or all open ones that a filter finds."""
    who.need("approver")
    now = dt.datetime.now(dt.UTC)
    with engine.begin() as db:
        rows, already = _selected(db, ids, where, done=("rejected",))
        found = [row["proposal_id"] for row in rows]
        move(db, PROPOSAL, found, "rejected", actor=who.actor, at=now, detail={"reason": reason, "via": via})
        if rows:
            db.execute(
                decision.insert(),
                [
                    {
                        "proposal_id": row["proposal_id"], "action": "reject", "actor": who.actor, "via": via,
                        "proposed_quantity": row["quantity"], "decided_quantity": Decimal(0), "reason": reason,
                        "decided_at": now, "party_id": row["party_id"],
                    }
                    for row in rows
                ],
            )  # fmt: skip
        settle_cycles(db)
    return Decided(found, [row["proposal_id"] for row in already], [])


def decisions_of(engine: Engine, cycle_date: dt.date) -> dict[str, tuple[str, str]]:
    """(action, actor) of the newest decision on each proposal of a cycle."""
    query = (
        sa.select(decision.c.proposal_id, decision.c.action, decision.c.actor)
        .join(proposal, proposal.c.proposal_id == decision.c.proposal_id)
        .where(proposal.c.cycle_date == cycle_date)
        .order_by(decision.c.decision_id)
    )
    with engine.connect() as db:
        return {row.proposal_id: (row.action, row.actor) for row in db.execute(query)}


def _selected(
    db: Connection, ids: Sequence[str] | None, where: Filter | None, done: tuple[str, ...]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(open proposals, those already decided this way), locked; Conflict for one in any other state."""
    if (ids is None) == (where is None):
        raise Invalid("Name the proposals by their ids or by a filter, one of both.")
    # One decision at a time: two approvers' lines for one supplier meet in one order, and never wait for each other.
    db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.approvals', 0))"))
    columns = [column for column in proposal.c if column.name != "evidence"]
    query = sa.select(*columns).order_by(proposal.c.proposal_id).with_for_update()
    if ids is None:
        query = query.where(*where.conditions(), proposal.c.status == "proposed")
        return [dict(row) for row in db.execute(query).mappings()], []
    query = query.where(proposal.c.proposal_id == sa.any_(sa.cast(list(ids), sa.ARRAY(sa.Text))))
    found = [dict(row) for row in db.execute(query).mappings()]
    unknown = set(ids) - {row["proposal_id"] for row in found}
    if unknown:
        raise NotFound(f"There is no proposal {min(unknown)}.")
    for row in found:
        if row["status"] not in ("proposed", *done):
            raise Conflict(f"Proposal {row['proposal_id']} is {row['status']}: it can no longer be decided on.")
    return (
        [row for row in found if row["status"] == "proposed"],
        [row for row in found if row["status"] in done],
    )


def _check_overrides(
    quantities: Mapping[str, Decimal], rows: list[dict[str, Any]], already: list[dict[str, Any]], reason: str | None
) -> None:
    known = {row["proposal_id"]: row for row in rows}
    before = {row["proposal_id"]: row for row in already}
    for proposal_id, quantity in quantities.items():
        if proposal_id in before:
            if before[proposal_id]["approved_quantity"] != quantity:
                raise Conflict(
                    f"Proposal {proposal_id} has been approved with {before[proposal_id]['approved_quantity']:f}."
                )
            continue
        if proposal_id not in known:
            raise Invalid(f"Another quantity is given for {proposal_id}, which is not among the proposals to approve.")
        check_quantity(known[proposal_id], quantity)
        if quantity != known[proposal_id]["quantity"] and not (reason or "").strip():
            raise Invalid(f"Say why {proposal_id} is approved with another quantity: it is how overrides are judged.")


def _with_quantity(db: Connection, row: dict[str, Any], quantity: Decimal | None) -> dict[str, Any]:
    if quantity is None or quantity == row["quantity"]:
        return {**row, "approved_quantity": row["quantity"], "approved_amount": row["amount"]}
    amount = None
    if row["amount"] is not None:
        amount = orders.line_amount(db, row["unit_price"], quantity, row["currency"])
    return {**row, "approved_quantity": quantity, "approved_amount": amount}


def _move_approved(db: Connection, rows: list[tuple[dict[str, Any], str]], actor: str, now: dt.datetime) -> None:
    """Quantity and document differ by row and are set first; the state then moves for all of them at once."""
    if not rows:
        return
    db.execute(
        proposal.update()
        .where(proposal.c.proposal_id == sa.bindparam("of_id"))
        .values(
            approved_quantity=sa.bindparam("to_quantity"),
            approved_amount=sa.bindparam("to_amount"),
            document_key=sa.bindparam("to_document"),
        ),
        [
            {
                "of_id": row["proposal_id"], "to_quantity": row["approved_quantity"],
                "to_amount": row["approved_amount"], "to_document": key,
            }
            for row, key in rows
        ],
    )  # fmt: skip
    moved = move(db, PROPOSAL, [row["proposal_id"] for row, _ in rows], "approved", actor=actor, at=now)
    if len(moved) != len(rows):
        raise Conflict("Some of these proposals were decided on at the same moment: look at them again.")


def _record(
    db: Connection, rows: list[dict[str, Any]], actor: str, via: str, reason: str | None, now: dt.datetime
) -> None:
    if rows:
        db.execute(
            decision.insert(),
            [
                {
                    "proposal_id": row["proposal_id"], "actor": actor, "via": via, "reason": reason,
                    "action": "approve" if row["approved_quantity"] == row["quantity"] else "override",
                    "proposed_quantity": row["quantity"], "decided_quantity": row["approved_quantity"],
                    "decided_at": now, "party_id": row["party_id"],
                }
                for row in rows
            ],
        )  # fmt: skip


def _check_limit(
    db: Connection,
    who: Principal,
    groups: Mapping[tuple, Sequence[Mapping[str, Any]]],
    keys: Mapping[tuple, str],
    now: dt.datetime,
) -> None:
    if who.limit is None:
        return
    limit, currency = who.limit
    for one, members in groups.items():
        if one[0] != "buy":
            continue
        total = sum((m["approved_amount"] for m in members), Decimal(0))
        total += db.execute(
            sa.select(sa.func.coalesce(sa.func.sum(proposal.c.approved_amount), 0)).where(
                proposal.c.document_key == keys[one]
            )
        ).scalar_one()
        total_in_limit = _convert(db, total, members[0]["currency"], currency, now.date())
        if total_in_limit > limit:
            raise NotAllowed(
                f"The order that {members[0]['proposal_id']} belongs to comes to {total_in_limit:.2f} {currency}, "
                f"above the {limit:.2f} {currency} that {who.username} may approve: ask one with more."
            )


def _convert(db: Connection, amount: Decimal, source: str, to: str, on: dt.date) -> Decimal:
    """By the newest rate up to the date, in either direction."""
    if source == to:
        return amount
    pairs = ((source, to), (to, source))
    row = db.execute(
        sa.select(exchange_rate)
        .where(sa.tuple_(exchange_rate.c.from_currency, exchange_rate.c.to_currency).in_(pairs))
        .where(exchange_rate.c.date_on <= on)
        .order_by(exchange_rate.c.date_on.desc(), exchange_rate.c.from_currency == to)
        .limit(1)
    ).first()
    if row is None:
        raise NotAllowed(
            f"No exchange rate from {source} to {to} is known, so the limit in {to} cannot be checked: ask an approver "
            "without a limit, or load exchange rates."
        )
    return amount * row.rate if row.from_currency == source else amount / row.rate
