"""From approved proposals to documents: purchase orders, transfer orders and price changes, each on its way out once.

Belongs here: grouping, document keys, the document's content, and what its delivery means for orders and proposals.
Does not belong here: deciding (`operations.approvals`) and sending (`operations.outbox`).

One document per supplier, location, expected date and currency (per pair of locations and date; per location). What is
approved later for the same group joins a document that nobody has begun to send. A document's key is derived from its
group and a number, and is the idempotency key at the target; a line's key is its proposal's id.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations import settings
from operations.access import Principal
from operations.errors import Conflict, NotFound
from operations.schema import (
    OWN_PARTY,
    currency,
    item,
    location,
    outbox,
    party,
    proposal,
    purchase_order,
    purchase_order_line,
    xref,
)
from operations.transitions import OUTBOX, PROPOSAL, PURCHASE_ORDER, move

DOCUMENT_KIND = {"buy": "purchase_order", "transfer": "transfer_order", "markdown": "price_change"}
_PREFIX = {"purchase_order": "po", "transfer_order": "to", "price_change": "pc"}
_GROUP = {
    "buy": ("cycle_date", "supplier_id", "location_key", "expected_on", "currency"),
    "transfer": ("cycle_date", "from_location_key", "location_key", "expected_on"),
    "markdown": ("cycle_date", "location_key", "currency"),
}


def line_amount(db: Connection, unit_price: Decimal, quantity: Decimal, code: str) -> Decimal:
    """Price times quantity, rounded half to even to what the currency can pay."""
    digits = db.execute(sa.select(currency.c.minor_digits).where(currency.c.code == code)).scalar_one()
    return (unit_price * quantity).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)


def group(rows: Iterable[Mapping[str, Any]]) -> dict[tuple, list[Mapping[str, Any]]]:
    """Proposals by the document they belong to."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kind"], *(row[name] for name in _GROUP[row["kind"]])), []).append(row)
    return groups


def assign_documents(db: Connection, groups: Iterable[tuple]) -> dict[tuple, str]:
    """The key of the document that each group's lines go to: one not yet begun, or the next new one.

    Locks the documents it names, so that nobody begins to send them before the caller's transaction ends.
    """
    keys: dict[tuple, str] = {}
    open_groups, number = list(groups), 0
    while open_groups:
        candidates = {_document_key(one, number): one for one in open_groups}
        taken = {
            row.document_key: row
            for row in db.execute(
                sa.select(outbox.c.document_key, outbox.c.status, outbox.c.attempts)
                .where(outbox.c.document_key == sa.any_(sa.cast(list(candidates), sa.ARRAY(sa.Text))))
                .with_for_update()
            )
        }
        open_groups = []
        for key, one in candidates.items():
            if key not in taken or (taken[key].status == "pending" and taken[key].attempts == 0):
                keys[one] = key
            else:
                open_groups.append(one)
        number += 1
    return keys


def write_documents(db: Connection, keys: Mapping[tuple, str], actor: str, now: dt.datetime) -> None:
    """Writes orders, lines and outbox rows of documents whose proposals have just been approved."""
    targets = settings.get(db, "delivery_targets", {})
    kinds = {key: DOCUMENT_KIND[one[0]] for one, key in keys.items()}
    for kind in sorted(set(kinds.values())):
        if kind not in targets and "default" not in targets:
            raise Conflict(
                f"Nothing says where a {kind.replace('_', ' ')} goes: set the delivery target (setting "
                "delivery_targets)."
            )
    _write_purchase_orders(db, [one for one in keys if one[0] == "buy"], keys, actor)
    documents = build_documents(db, kinds)
    existing = set(
        db.execute(
            sa.select(outbox.c.document_key).where(
                outbox.c.document_key == sa.any_(sa.cast(list(kinds), sa.ARRAY(sa.Text)))
            )
        ).scalars()
    )
    new = [key for key in kinds if key not in existing]
    if new:
        db.execute(
            outbox.insert(),
            [
                {
                    "document_key": key, "kind": kinds[key], "document": documents[key], "available_at": now,
                    "target": targets.get(kinds[key], targets.get("default")),
                    "party_id": documents[key].get("supplier", {}).get("party_id", OWN_PARTY),
                }
                for key in new
            ],
        )  # fmt: skip
    for key in existing:
        db.execute(outbox.update().where(outbox.c.document_key == key).values(document=documents[key]))


def build_documents(db: Connection, kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The content of each document, whole: a target needs nothing else to write it.

    Every item, location and supplier comes with `codes`, what each source calls it now.
    """
    rows = db.execute(
        sa.select(proposal, item.c.name.label("item_name"))
        .join(item, item.c.item_key == proposal.c.item_key)
        .where(proposal.c.document_key == sa.any_(sa.cast(list(kinds), sa.ARRAY(sa.Text))))
        .order_by(proposal.c.document_key, proposal.c.proposal_id)
    ).mappings().all()  # fmt: skip
    names = {
        **dict(db.execute(sa.select(location.c.location_key, location.c.name)).all()),
        **dict(db.execute(sa.select(party.c.party_id, party.c.name)).all()),
    }
    wanted = {
        row[n] for row in rows for n in ("item_key", "location_key", "from_location_key", "supplier_id") if row[n]
    }
    codes: dict[str, dict[str, str]] = {}
    for row in db.execute(
        sa.select(xref.c.key, xref.c.source, sa.func.min(xref.c.source_id).label("code"))
        .where(xref.c.valid_to.is_(None), xref.c.key == sa.any_(sa.cast(sorted(wanted), sa.ARRAY(sa.Text))))
        .group_by(xref.c.key, xref.c.source)
        .order_by(xref.c.source)
    ):
        codes.setdefault(row.key, {})[row.source] = row.code
    numbers = dict(
        db.execute(
            sa.select(purchase_order.c.document_key, purchase_order.c.number).where(
                purchase_order.c.document_key == sa.any_(sa.cast(list(kinds), sa.ARRAY(sa.Text)))
            )
        ).all()
    )

    def place(key: str) -> dict[str, Any]:
        return {"location_key": key, "name": names[key], "codes": codes.get(key, {})}

    documents: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = row["document_key"]
        if key not in documents:
            head = {
                "document_key": key, "kind": kinds[key], "cycle_date": row["cycle_date"].isoformat(),
                "location": place(row["location_key"]),
                "expected_on": row["expected_on"] and row["expected_on"].isoformat(), "currency": row["currency"],
            }  # fmt: skip
            if row["kind"] == "buy":
                supplier = row["supplier_id"]
                head["number"] = f"PO-{numbers[key]:06d}"
                head["supplier"] = {"party_id": supplier, "name": names[supplier], "codes": codes.get(supplier, {})}
            if row["kind"] == "transfer":
                head["from_location"] = place(row["from_location_key"])
            documents[key] = {**head, "lines": []}
        documents[key]["lines"].append(
            {
                "line_key": row["proposal_id"], "item_key": row["item_key"], "item_name": row["item_name"],
                "codes": codes.get(row["item_key"], {}), "quantity": _plain(row["approved_quantity"]),
                "unit": row["unit"], "unit_price": _plain(row["unit_price"]), "amount": _plain(row["approved_amount"]),
            }
        )  # fmt: skip
    return documents


def on_delivery(
    db: Connection, key: str, kind: str, to: str, *, actor: str, at: dt.datetime, reference: str | None = None
) -> None:
    """What a document's new state in the outbox means for its order and its proposals; in the same transaction."""
    if kind == "purchase_order":
        values = {"reference": reference} if reference is not None else {}
        move(db, PURCHASE_ORDER, [key], "approved" if to == "pending" else to, actor=actor, at=at, **values)
    if to in ("sent", "cancelled"):
        ids = db.execute(sa.select(proposal.c.proposal_id).where(proposal.c.document_key == key)).scalars().all()
        if to == "sent":
            move(db, PROPOSAL, ids, "ordered", actor=actor, at=at, detail={"document_key": key})
        else:
            move(db, PROPOSAL, ids, "rejected", actor=actor, at=at, detail={"document_key": key}, document_key=None)


def cancel(engine: Engine, who: Principal, key: str, *, reason: str) -> None:
    """Takes a document back that was never sent, or that the target refused; its proposals count as rejected."""
    who.need("approver")
    now = dt.datetime.now(dt.UTC)
    with engine.begin() as db:
        row = db.execute(
            sa.select(outbox.c.kind, outbox.c.status).where(outbox.c.document_key == key).with_for_update()
        ).first()
        if row is None:
            raise NotFound(f"There is no document {key}.")
        if row.status == "cancelled":
            return
        if not move(db, OUTBOX, [key], "cancelled", actor=who.actor, at=now, detail={"reason": reason}):
            raise Conflict(f"Document {key} is {row.status}: only one that waits or was refused can be cancelled.")
        on_delivery(db, key, row.kind, "cancelled", actor=who.actor, at=now)


def find(
    engine: Engine, *, status: str | None = None, after: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Purchase orders, newest first, with supplier's and location's names; `after` is the last page's last number."""
    query = _with_names().order_by(purchase_order.c.number.desc()).limit(limit)
    if status is not None:
        query = query.where(purchase_order.c.status == status)
    if after is not None:
        query = query.where(purchase_order.c.number < after)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def get(engine: Engine, key: str) -> dict[str, Any]:
    """One purchase order with its lines and how its delivery stands."""
    with engine.connect() as db:
        head = db.execute(_with_names().where(purchase_order.c.document_key == key)).mappings().first()
        if head is None:
            raise NotFound(f"There is no purchase order {key}.")
        lines = db.execute(
            sa.select(purchase_order_line, item.c.name.label("item_name"))
            .join(item, item.c.item_key == purchase_order_line.c.item_key)
            .where(purchase_order_line.c.document_key == key)
            .order_by(purchase_order_line.c.line_number)
        ).mappings()
        names = ("target", "status", "attempts", "available_at", "reference", "reason", "needs_person")
        delivery = db.execute(sa.select(*(outbox.c[n] for n in names)).where(outbox.c.document_key == key)).mappings()
        return {**head, "lines": [dict(line) for line in lines], "delivery": dict(delivery.one())}


def _with_names() -> sa.Select:
    return (
        sa.select(purchase_order, party.c.name.label("supplier_name"), location.c.name.label("location_name"))
        .join(party, party.c.party_id == purchase_order.c.supplier_id)
        .join(location, location.c.location_key == purchase_order.c.location_key)
    )


def _document_key(one: tuple, number: int) -> str:
    kind, *parts = one
    text = "\x1f".join([kind, *("" if part is None else str(part) for part in parts), str(number)])
    return f"{_PREFIX[DOCUMENT_KIND[kind]]}_{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"


def _write_purchase_orders(db: Connection, groups: list[tuple], keys: Mapping[tuple, str], actor: str) -> None:
    if not groups:
        return
    mine = {keys[one]: one for one in groups}
    of_ours = proposal.c.document_key == sa.any_(sa.cast(list(mine), sa.ARRAY(sa.Text)))
    rows = db.execute(sa.select(proposal).where(of_ours).order_by(proposal.c.proposal_id)).mappings().all()
    written = db.execute(
        sa.select(purchase_order_line.c.proposal_id, purchase_order_line.c.document_key).where(
            purchase_order_line.c.document_key == sa.any_(sa.cast(list(mine), sa.ARRAY(sa.Text)))
        )
    ).all()
    counts = Counter(row.document_key for row in written)
    has_line = {row.proposal_id for row in written}
    joined = set(counts)
    totals: dict[str, Decimal] = {}
    heads: dict[str, dict[str, Any]] = {}
    lines = []
    for row in rows:
        key = row["document_key"]
        totals[key] = totals.get(key, Decimal(0)) + row["approved_amount"]
        if key not in joined:
            heads[key] = {
                "document_key": key, "cycle_date": row["cycle_date"], "supplier_id": row["supplier_id"],
                "location_key": row["location_key"], "expected_on": row["expected_on"], "currency": row["currency"],
                "status": "approved", "approved_by": actor, "party_id": row["supplier_id"],
            }  # fmt: skip
        if row["proposal_id"] not in has_line:
            counts[key] += 1
            lines.append(
                {
                    "document_key": key, "line_number": counts[key], "proposal_id": row["proposal_id"],
                    "item_key": row["item_key"], "quantity": row["approved_quantity"], "unit": row["unit"],
                    "unit_price": row["unit_price"], "amount": row["approved_amount"], "party_id": row["supplier_id"],
                }
            )  # fmt: skip
    if heads:
        db.execute(purchase_order.insert(), [{**head, "amount": totals[key]} for key, head in heads.items()])
    for key in joined:
        db.execute(purchase_order.update().where(purchase_order.c.document_key == key).values(amount=totals[key]))
    if lines:
        db.execute(purchase_order_line.insert(), lines)
