"""Stock movements that people post here: counts, write-offs, corrections.

Belongs here: taking one in, with its business date and its actor. Does not belong here: the ledger itself; these
movements meet those of other systems in the warehouse, where a count becomes an adjustment against the book balance.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from operations import audit
from operations.access import Principal
from operations.errors import Conflict, Invalid, NotFound
from operations.schema import item, item_unit, location, movement_kind, stock_movement

_CONTENT = (
    "kind", "location_key", "item_key", "moved_at", "quantity", "counted_quantity", "unit", "unit_cost", "currency",
    "document_code", "expires_on", "reason",
)  # fmt: skip


def business_date(moment: dt.datetime, timezone: str, business_day_start: int) -> dt.date:
    """The day of business that an instant belongs to: it begins `business_day_start` minutes after local midnight.

    >>> business_date(dt.datetime(2026, 3, 2, 1, 30, tzinfo=dt.UTC), "Europe/London", 240)
    datetime.date(2026, 3, 1)
    """
    try:
        local = moment.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Invalid(f"There is no time zone {timezone}: correct the location's.") from error
    # By the clock on the wall, so that a day of 23 or 25 hours begins at the same hour as any other.
    return (local.replace(tzinfo=None) - dt.timedelta(minutes=business_day_start)).date()


def post(
    engine: Engine,
    who: Principal,
    *,
    kind: str,
    location_key: str,
    item_key: str,
    moved_at: dt.datetime,
    reason: str,
    quantity: Decimal | None = None,
    counted_quantity: Decimal | None = None,
    unit: str | None = None,
    unit_cost: Decimal | None = None,
    currency: str | None = None,
    document_code: str | None = None,
    expires_on: dt.date | None = None,
    movement_id: str | None = None,
) -> dict[str, Any]:
    """Posts one movement and returns it with its id and business date.

    A `count` states `counted_quantity`; any other kind the signed `quantity`. `unit` is the item's base unit where none
    is given. A `movement_id` of the caller's own makes repeating safe: the same content gives the same movement,
    another content is a Conflict.
    """
    who.need("planner")
    movement_id = movement_id or f"mov_{uuid.uuid4().hex}"
    with engine.begin() as db:
        given = {
            "kind": kind, "location_key": location_key, "item_key": item_key, "moved_at": moved_at,
            "quantity": quantity, "counted_quantity": counted_quantity, "unit": unit, "unit_cost": unit_cost,
            "currency": currency, "document_code": document_code, "expires_on": expires_on, "reason": reason,
        }  # fmt: skip
        row = _checked(db, given)
        db.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.movement ' || :id, 0))"),
            {"id": movement_id},
        )
        known = db.execute(
            sa.select(stock_movement).where(stock_movement.c.movement_id == movement_id)
        ).mappings().first()  # fmt: skip
        if known is not None:
            if any(known[name] != row[name] for name in _CONTENT):
                raise Conflict(f"Movement {movement_id} has been posted with another content: use a new id.")
            return dict(known)
        posted = db.execute(
            stock_movement.insert()
            .values(movement_id=movement_id, posted_by=who.actor, **row)
            .returning(*stock_movement.c)
        ).mappings().one()  # fmt: skip
        audit.record(
            db, actor=who.actor, action="post", subject="stock_movement", subject_ids=[movement_id],
            detail={name: row[name] for name in ("kind", "item_key", "location_key", "reason")},
        )  # fmt: skip
        return dict(posted)


def find(
    engine: Engine,
    *,
    item_key: str | None = None,
    location_key: str | None = None,
    posted_after: dt.datetime | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """Posted movements in the order they were posted."""
    query = sa.select(stock_movement).order_by(stock_movement.c.posted_at, stock_movement.c.movement_id).limit(limit)
    if item_key is not None:
        query = query.where(stock_movement.c.item_key == item_key)
    if location_key is not None:
        query = query.where(stock_movement.c.location_key == location_key)
    if posted_after is not None:
        query = query.where(stock_movement.c.posted_at > posted_after)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def _checked(db: Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    rule = db.execute(sa.select(movement_kind).where(movement_kind.c.code == row["kind"])).first()
    if rule is None or not rule.is_postable:
        postable = db.execute(
            sa.select(movement_kind.c.code).where(movement_kind.c.is_postable).order_by(movement_kind.c.code)
        ).scalars()
        raise Invalid(f"A {row['kind']} cannot be posted here: post {', '.join(postable)}.")
    if not row["reason"].strip():
        raise Invalid("Say why: a movement without a reason explains nothing.")
    if (row["unit_cost"] is None) != (row["currency"] is None):
        raise Invalid("A unit cost needs its currency, and a currency its unit cost.")
    if row["kind"] == "count":
        if row["counted_quantity"] is None or row["quantity"] is not None or row["counted_quantity"] < 0:
            raise Invalid("A count states the counted quantity, 0 or more, and no change.")
    elif row["quantity"] is None or row["counted_quantity"] is not None or not row["quantity"]:
        raise Invalid(f"A {row['kind']} states the change of stock, and no counted quantity.")
    elif row["quantity"] * rule.sign < 0:
        raise Invalid(f"A {row['kind']} has a {'positive' if rule.sign > 0 else 'negative'} quantity.")
    where = db.execute(sa.select(location).where(location.c.location_key == row["location_key"])).first()
    if where is None:
        raise NotFound(f"There is no location {row['location_key']}.")
    what = db.execute(sa.select(item.c.base_unit).where(item.c.item_key == row["item_key"])).first()
    if what is None:
        raise NotFound(f"There is no item {row['item_key']}.")
    units = {what.base_unit, *db.execute(
        sa.select(item_unit.c.unit).where(item_unit.c.item_key == row["item_key"])
    ).scalars()}  # fmt: skip
    unit = row["unit"] or what.base_unit
    if unit not in units:
        raise Invalid(f"The item has no unit {unit}: use {', '.join(sorted(units))}.")
    if row["moved_at"].tzinfo is None:
        raise Invalid("The time of a movement needs its time zone.")
    if row["moved_at"] > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5):
        raise Invalid("A movement cannot lie in the future.")
    on = business_date(row["moved_at"], where.timezone, where.business_day_start)
    return {**row, "unit": unit, "business_date": on}
