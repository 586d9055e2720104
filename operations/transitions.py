"""The state machines: which state may follow which, and the one way to move from one to the next.

Belongs here: the machines as data and `move`. Does not belong here: who may move what, and why (`operations.approvals`,
`operations.outbox`). Tables change state through `move` or not at all; each move is written to the audit log.

    proposal         proposed ──► approved ──► ordered
                      │  ▲  └───► rejected ◄── (its order was cancelled before it was sent)
                      ▼  │
                     superseded (a newer plan lacks it; a plan that has it again opens it again)

    purchase order   approved ──► sending ──► sent
                      ▲   │        │  ▲ └───► unknown (looked up, never resent blindly) ──► sent | approved | failed
                      │   ▼        ▼  └ retry
                      │  cancelled failed
                      └────────────┘ a person tries again
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from operations import audit
from operations.schema import outbox, proposal, purchase_order


@dataclass(frozen=True)
class Machine:
    """`may` maps each state to those that may follow it."""

    name: str
    table: sa.Table
    key: str
    may: Mapping[str, frozenset[str]]

    def sources(self, to: str) -> list[str]:
        """The states from which `to` can be reached in one step."""
        return sorted(state for state, following in self.may.items() if to in following)


PROPOSAL = Machine(
    "proposal",
    proposal,
    "proposal_id",
    {
        "proposed": frozenset({"approved", "rejected", "superseded"}),
        "superseded": frozenset({"proposed"}),
        "approved": frozenset({"ordered", "rejected"}),
        "rejected": frozenset(),
        "ordered": frozenset(),
    },
)

PURCHASE_ORDER = Machine(
    "purchase_order",
    purchase_order,
    "document_key",
    {
        "approved": frozenset({"sending", "cancelled"}),
        "sending": frozenset({"sent", "unknown", "failed", "approved"}),
        "unknown": frozenset({"sent", "approved", "failed"}),
        "failed": frozenset({"approved", "cancelled", "sent"}),
        "sent": frozenset(),
        "cancelled": frozenset(),
    },
)

OUTBOX = Machine(
    "document",
    outbox,
    "document_key",
    {
        "pending": frozenset({"sending", "cancelled"}),
        "sending": frozenset({"sent", "unknown", "failed", "pending"}),
        "unknown": frozenset({"sent", "pending", "failed"}),
        "failed": frozenset({"pending", "cancelled", "sent"}),
        "sent": frozenset(),
        "cancelled": frozenset(),
    },
)


def move(
    db: Connection,
    machine: Machine,
    ids: Iterable[str],
    to: str,
    *,
    actor: str,
    at: dt.datetime | None = None,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> list[str]:
    """Moves those of `ids` that are in a state from which `to` may follow, and returns them.

    Part of the caller's transaction: rows are locked until it ends. `values` are other columns to set with the state.
    """
    column = machine.table.c[machine.key]
    rows = db.execute(
        sa.select(column.label("id"), machine.table.c.status)
        .where(
            column == sa.any_(sa.cast(list(ids), sa.ARRAY(sa.Text))),
            machine.table.c.status.in_(machine.sources(to)),
        )
        .order_by(column)
        .with_for_update()
    ).all()
    if not rows:
        return []
    moved = [row.id for row in rows]
    db.execute(
        machine.table.update()
        .where(column == sa.any_(sa.cast(moved, sa.ARRAY(sa.Text))))
        .values(status=to, status_at=at or sa.func.now(), **values)
    )
    for state in sorted({row.status for row in rows}):
        audit.record(
            db,
            actor=actor,
            action=to,
            subject=machine.name,
            subject_ids=[row.id for row in rows if row.status == state],
            detail={"from": state, **(detail or {})},
        )
    return moved
