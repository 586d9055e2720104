"""What a cycle proposes to buy, move and mark down, and what it withholds: saved once, however often it is planned.

Belongs here: taking a plan in, and finding what is in it. Does not belong here: deciding on it
(`operations.approvals`), or computing it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from operations import audit
from operations.errors import Invalid, NotFound
from operations.schema import OWN_PARTY, cycle, decision, item, location, party, proposal, withheld

FIELDS = (
    "proposal_id", "kind", "item_key", "location_key", "from_location_key", "supplier_id", "quantity", "unit",
    "pack_quantity", "minimum_quantity", "unit_price", "currency", "amount", "expected_on", "stockout_risk", "reason",
    "evidence", "party_id",
)  # fmt: skip
"""What a proposal is given as. proposal_id is derived from the content, so that the same plan has the same ids."""

_DEFAULTS = {"pack_quantity": Decimal(1), "minimum_quantity": Decimal(0), "party_id": OWN_PARTY}
_REQUIRED = ("proposal_id", "kind", "item_key", "location_key", "quantity", "unit", "reason", "evidence")
_DECIDED = ("approved", "ordered", "rejected")


@dataclass(frozen=True)
class Saved:
    """How many proposals of a plan were new, known already, opened again; how many open ones it lacks (superseded);
    and how many were held back, because people have already decided on that item there, or a newer cycle exists."""

    new: int
    unchanged: int
    reopened: int
    superseded: int
    held_back: int
    withheld: int


def save(
    engine: Engine,
    *,
    cycle_date: dt.date,
    frozen_hash: str,
    proposals: Iterable[Mapping[str, Any]],
    withheld_skus: Iterable[Mapping[str, Any]] = (),
    actor: str = "system:planner",
) -> Saved:
    """Takes in one cycle's whole plan, in one transaction. Repeating it doubles nothing.

    `proposals` have `FIELDS`; `withheld_skus` have item_key, location_key, reason (a short code), detail (a sentence),
    value_at_risk and currency. Open proposals that this plan lacks are superseded, and so are those of earlier cycles:
    today's plan stands for them. What people decided is never touched, and an item that they decided on at a location
    in this cycle is not proposed there a second time. A cycle older than the newest is kept to compare, not to approve.

    Raises Invalid, with nothing saved, when a proposal contradicts itself or names an unknown item or place.
    """
    plan = {row["proposal_id"]: row for row in map(_checked, proposals)}
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.planning', 0))"))
        newest = db.execute(sa.select(sa.func.max(cycle.c.cycle_date))).scalar()
        is_current = newest is None or cycle_date >= newest
        cycle_row = db.execute(sa.select(cycle).where(cycle.c.cycle_date == cycle_date)).first()
        if cycle_row is None:
            db.execute(
                cycle.insert().values(
                    cycle_date=cycle_date, frozen_hash=frozen_hash, planned_by=actor,
                    status="proposed" if is_current else "superseded",
                )
            )  # fmt: skip
        known = _known(db, plan, cycle_date)
        decided = _decided_elsewhere(db, cycle_date, plan)
        new = [row for key, row in plan.items() if key not in known]
        open_new = [row for row in new if is_current and _place(row) not in decided]
        _insert(db, new, {row["proposal_id"] for row in open_new}, cycle_date, frozen_hash, actor)
        back = [
            key for key, status in known.items()
            if status == "superseded" and is_current and _place(plan[key]) not in decided
        ]  # fmt: skip
        _set_status(db, proposal.c.proposal_id == _any(back), "superseded", "proposed")
        gone = _set_status(
            db,
            sa.and_(
                # A superseded plan supersedes nothing itself.
                proposal.c.cycle_date <= cycle_date if is_current else proposal.c.cycle_date == cycle_date,
                proposal.c.proposal_id != sa.all_(sa.cast(list(plan), sa.ARRAY(sa.Text))),
            ),
            "proposed",
            "superseded",
        )
        kept_back = _withhold(db, cycle_date, withheld_skus)
        unchanged = sum(status != "superseded" for status in known.values())
        saved = Saved(
            len(open_new), unchanged, len(back), gone,
            len(plan) - len(open_new) - len(back) - unchanged, kept_back,
        )  # fmt: skip
        if cycle_row is None or cycle_row.frozen_hash != frozen_hash or saved.new or saved.reopened or saved.superseded:
            db.execute(
                cycle.update()
                .where(cycle.c.cycle_date == cycle_date)
                .values(frozen_hash=frozen_hash, planned_by=actor, planned_at=sa.func.now())
            )
            audit.record(
                db, actor=actor, action="plan", subject="cycle", subject_ids=[cycle_date.isoformat()],
                detail={"frozen_hash": frozen_hash, **vars(saved)},
            )  # fmt: skip
        settle_cycles(db)
    return saved


def settle_cycles(db: Connection) -> None:
    """Brings each cycle's status up to date: `proposed` while something awaits a decision; for the newest cycle
    `decided`, for others `superseded` afterwards. Part of the caller's transaction."""
    is_open = sa.exists().where(proposal.c.cycle_date == cycle.c.cycle_date, proposal.c.status == "proposed")
    newest = sa.select(sa.func.max(cycle.c.cycle_date)).scalar_subquery()
    status = sa.case((is_open, "proposed"), (cycle.c.cycle_date == newest, "decided"), else_="superseded")
    # Only the last two weeks can still change; the rest is history.
    recent = cycle.c.cycle_date > newest - 14
    db.execute(cycle.update().where(recent, cycle.c.status != status).values(status=status))


# -- Reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """Which proposals: every given condition must hold."""

    cycle_date: dt.date | None = None
    status: str | None = None
    kind: str | None = None
    item_key: str | None = None
    location_key: str | None = None
    supplier_id: str | None = None
    minimum_risk: float | None = None
    maximum_amount: Decimal | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        equal = ("cycle_date", "status", "kind", "item_key", "location_key", "supplier_id")
        found = [proposal.c[name] == getattr(self, name) for name in equal if getattr(self, name) is not None]
        if self.minimum_risk is not None:
            found.append(proposal.c.stockout_risk >= self.minimum_risk)
        if self.maximum_amount is not None:
            found.append(proposal.c.amount <= self.maximum_amount)
        return found


def find(
    engine: Engine, where: Filter | None = None, *, after: str | None = None, limit: int = 100
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of proposals without their evidence, highest stock-out risk first, and the cursor of the next page (None
    at the end). Names of item, location and supplier come along."""
    risk = sa.func.coalesce(proposal.c.stockout_risk, -1.0)
    conditions = (where or Filter()).conditions()
    if after is not None:
        last_risk, last_id = _from_cursor(after)
        conditions.append(sa.or_(risk < last_risk, sa.and_(risk == last_risk, proposal.c.proposal_id > last_id)))
    query = _with_names().where(*conditions).order_by(risk.desc(), proposal.c.proposal_id).limit(limit + 1)
    with engine.connect() as db:
        rows = [dict(row) for row in db.execute(query).mappings()]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], _to_cursor(
        -1.0 if last["stockout_risk"] is None else last["stockout_risk"], last["proposal_id"]
    )


def get(engine: Engine, proposal_id: str) -> dict[str, Any]:
    """One proposal with its evidence and the decisions on it."""
    with engine.connect() as db:
        row = db.execute(
            _with_names().add_columns(proposal.c.evidence).where(proposal.c.proposal_id == proposal_id)
        ).mappings().first()  # fmt: skip
        if row is None:
            raise NotFound(f"There is no proposal {proposal_id}.")
        decisions = db.execute(
            sa.select(decision).where(decision.c.proposal_id == proposal_id).order_by(decision.c.decision_id)
        ).mappings()
        return {**row, "decisions": [dict(one) for one in decisions]}


def find_withheld(engine: Engine, cycle_date: dt.date | None = None) -> list[dict[str, Any]]:
    """What a cycle (None: the newest) could not plan, the highest value at risk first."""
    newest = sa.select(sa.func.max(cycle.c.cycle_date)).scalar_subquery()
    query = (
        sa.select(withheld)
        .where(withheld.c.cycle_date == (newest if cycle_date is None else cycle_date))
        .order_by(withheld.c.value_at_risk.desc().nulls_last(), withheld.c.item_key, withheld.c.location_key)
    )
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def cycles(engine: Engine, limit: int = 30) -> list[dict[str, Any]]:
    """The newest cycles: date, frozen_hash, status, planned_by, planned_at, and proposals by status."""
    counts = (
        sa.select(proposal.c.cycle_date, proposal.c.status, sa.func.count().label("n"))
        .group_by(proposal.c.cycle_date, proposal.c.status)
        .subquery()
    )
    by_status = sa.select(sa.func.jsonb_object_agg(counts.c.status, counts.c.n)).where(
        counts.c.cycle_date == cycle.c.cycle_date
    )
    query = sa.select(cycle, by_status.scalar_subquery().label("proposals")).order_by(cycle.c.cycle_date.desc())
    with engine.connect() as db:
        return [{**row, "proposals": row["proposals"] or {}} for row in db.execute(query.limit(limit)).mappings()]


def _with_names() -> sa.Select:
    columns = [column for column in proposal.c if column.name != "evidence"]
    supplier = party.alias("supplier")
    return sa.select(
        *columns,
        item.c.name.label("item_name"),
        location.c.name.label("location_name"),
        supplier.c.name.label("supplier_name"),
    ).select_from(
        proposal.join(item, item.c.item_key == proposal.c.item_key)
        .join(location, location.c.location_key == proposal.c.location_key)
        .outerjoin(supplier, supplier.c.party_id == proposal.c.supplier_id)
    )


def _to_cursor(risk: float, proposal_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([risk, proposal_id]).encode()).decode()


def _from_cursor(text: str) -> tuple[float, str]:
    try:
        risk, proposal_id = json.loads(base64.urlsafe_b64decode(text.encode()))
        return float(risk), str(proposal_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Invalid("The page cursor is not one that a former page returned.") from error


# -- Saving ------------------------------------------------------------------------------------------------------------


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """A proposal with all fields, in exact types, or Invalid."""
    unknown = set(row) - set(FIELDS)
    missing = [name for name in _REQUIRED if row.get(name) is None]
    if unknown or missing:
        raise Invalid(
            f"Proposal {row.get('proposal_id')} "
            + (f"lacks {', '.join(missing)}." if missing else f"has unknown fields {', '.join(sorted(unknown))}.")
        )
    full = {name: row.get(name) if row.get(name) is not None else _DEFAULTS.get(name) for name in FIELDS}
    check_quantity(full, full["quantity"])
    return full


def check_quantity(row: Mapping[str, Any], quantity: Decimal) -> None:
    """Raises Invalid unless `quantity` can be ordered: whole packs, and at least the minimum."""
    name = f"Proposal {row['proposal_id']}"
    if quantity <= 0:
        raise Invalid(f"{name}: a quantity must be more than 0; to order nothing, reject it.")
    if quantity % row["pack_quantity"]:
        raise Invalid(f"{name}: {quantity:f} {row['unit']} is not a multiple of the pack of {row['pack_quantity']:f}.")
    if quantity < row["minimum_quantity"]:
        raise Invalid(f"{name}: the supplier's minimum is {row['minimum_quantity']:f} {row['unit']}.")


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["kind"], row["item_key"], row["location_key"]


def _any(values: Sequence[str]) -> sa.CollectionAggregate:
    return sa.any_(sa.cast(list(values), sa.ARRAY(sa.Text)))


def _known(db: Connection, plan: Mapping[str, Any], cycle_date: dt.date) -> dict[str, str]:
    rows = db.execute(
        sa.select(proposal.c.proposal_id, proposal.c.status, proposal.c.cycle_date)
        .where(proposal.c.proposal_id == _any(list(plan)))
        .with_for_update()
    ).all()
    for row in rows:
        if row.cycle_date != cycle_date:
            raise Invalid(f"Proposal {row.proposal_id} belongs to the cycle of {row.cycle_date}, not {cycle_date}.")
    return {row.proposal_id: row.status for row in rows}


def _decided_elsewhere(db: Connection, cycle_date: dt.date, plan: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """(kind, item, location) on which people decided in this cycle through a proposal that the plan does not have."""
    rows = db.execute(
        sa.select(proposal.c.proposal_id, proposal.c.kind, proposal.c.item_key, proposal.c.location_key).where(
            proposal.c.cycle_date == cycle_date, proposal.c.status.in_(_DECIDED)
        )
    )
    return {(row.kind, row.item_key, row.location_key) for row in rows if row.proposal_id not in plan}


def _insert(
    db: Connection, new: list[dict[str, Any]], is_open: set[str], cycle_date: dt.date, frozen_hash: str, actor: str
) -> None:
    if not new:
        return
    fixed = {"cycle_date": cycle_date, "frozen_hash": frozen_hash, "proposed_by": actor}
    try:
        with db.begin_nested():
            db.execute(
                proposal.insert(),
                [
                    {**row, **fixed, "status": "proposed" if row["proposal_id"] in is_open else "superseded"}
                    for row in new
                ],
            )
    except (sa.exc.IntegrityError, sa.exc.DataError) as error:
        said = error.orig.diag
        broken = (said.constraint_name or "").removeprefix("proposal_").removesuffix("_check").replace("_", " ")
        row = (said.message_detail or "").removeprefix("Failing row contains (").split(",")[0]
        why = f"proposal {row} breaks the rule '{broken}'" if row.startswith("prp") else said.message_detail
        raise Invalid(f"The plan was not saved: {why or said.message_primary}.") from error


def _set_status(db: Connection, where: sa.ColumnElement[bool], before: str, after: str) -> int:
    return db.execute(
        proposal.update().where(where, proposal.c.status == before).values(status=after, status_at=sa.func.now())
    ).rowcount


def _withhold(db: Connection, cycle_date: dt.date, rows: Iterable[Mapping[str, Any]]) -> int:
    db.execute(withheld.delete().where(withheld.c.cycle_date == cycle_date))
    columns = ("item_key", "location_key", "reason", "detail", "value_at_risk", "currency")
    listed = [{"cycle_date": cycle_date, **{name: row.get(name) for name in columns}} for row in rows]
    if listed:
        db.execute(insert(withheld).on_conflict_do_nothing(), listed)
    return len(listed)
