"""One key for one thing: items, locations and parties, whatever each source calls them.

Belongs here: finding or making our key for a source's code, and people's word on it. Does not belong here: what the
source says about the thing beyond what matching needs; that is landed and modelled in the warehouse.

A code is matched by, in this order
    1. the mapping it already has,
    2. its GTIN, where an item has that GTIN (items only),
    3. a declared pair: a person or a file says that two sources' codes are the same thing,
    4. assignment, where the source may assign: a new key, derived from source and code, so that it is the same on
       every machine.
What matches nothing waits in the unmatched queue until a later product, pair or person settles it.

Everything works on whole sets: some ten statements for any number of codes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from operations import audit, matching
from operations.errors import Conflict, NotFound
from operations.schema import unmatched, xref

SINCE_EVER = dt.date(1, 1, 1)


@dataclass(frozen=True)
class Resolution:
    """`keys` maps each code to its key; codes in `unmatched` have none yet.

    `matched` counts how keys were found (known, gtin, declared, assigned). `gtin_conflicts` names codes whose GTIN
    belongs to another item than their own.
    """

    keys: dict[str, str]
    matched: dict[str, int]
    unmatched: list[str]
    gtin_conflicts: list[str]


def resolve(
    engine: Engine,
    kind: str,
    source: str,
    records: Iterable[Mapping[str, Any]],
    *,
    assigns: bool,
    actor: str = "system:identity",
) -> Resolution:
    """Our keys for a source's codes: `records` are products (item_code, name, gtin, category, base_unit), locations
    (location_code, name, kind, timezone, ...) or suppliers (supplier_code, name, currency).

    One transaction; processes that resolve at once do it one after the other. Repeating it changes nothing. Codes of
    any source that waited unmatched are tried again, since what has just arrived may settle them.
    """
    of = matching.KINDS[kind]
    wanted = {str(record[of.code]): record for record in records}
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.identity', 0))"))
        keys = matching.current(db, kind, source, wanted)
        matched = {"known": len(keys), "gtin": 0, "declared": 0, "assigned": 0}
        matching.refresh(db, of, source, {code: wanted[code] for code in keys})
        missing = {code: wanted[code] for code in sorted(wanted) if code not in keys}
        conflicts = matching.learn_gtins(db, keys, wanted) if kind == "item" else []
        # Assigning may give a GTIN that the next code of the same set matches by, hence a second look after it.
        for step in ("gtin", "declared", "assigned", "gtin", "declared"):
            if not missing:
                break
            if step == "gtin":
                found = matching.by_gtin(db, missing) if kind == "item" else {}
            elif step == "declared":
                found = matching.by_declaration(db, kind, [(source, code) for code in missing])
                found = {code: key for (_, code), key in found.items()}
            else:
                found = matching.assign(db, of, source, missing) if assigns else {}
            matching.add_mappings(db, kind, {(source, code): key for code, key in found.items()}, step, actor)
            keys |= found
            matched[step] += len(found)
            missing = {code: record for code, record in missing.items() if code not in found}
        matching.queue(db, kind, source, missing)
        matching.retry_queue(db, kind, actor)
        keys |= matching.current(db, kind, source, missing)
    return Resolution(keys, matched, [code for code in missing if code not in keys], conflicts)


def declare(engine: Engine, kind: str, pairs: Iterable[tuple[str, str, str, str]], *, actor: str) -> int:
    """Records that (source, code) and (other source, code) are the same thing; returns how many pairs were new.

    A pair takes effect when either side has a key and the other has none; it never moves a code that has one.
    """
    rows = []
    for source_a, code_a, source_b, code_b in pairs:
        one, other = sorted([(source_a, code_a), (source_b, code_b)])
        if one != other:
            rows.append({"kind": kind, "source_a": one[0], "code_a": one[1], "source_b": other[0],
                         "code_b": other[1], "declared_by": actor})  # fmt: skip
    if not rows:
        return 0
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.identity', 0))"))
        new = db.execute(
            sa.text(
                "INSERT INTO operations.declared_pair (kind, source_a, code_a, source_b, code_b, declared_by) "
                "SELECT :kind, a, b, c, d, :actor FROM unnest(CAST(:a AS text[]), CAST(:b AS text[]), "
                "CAST(:c AS text[]), CAST(:d AS text[])) AS pair (a, b, c, d) ON CONFLICT DO NOTHING"
            ),
            {"kind": kind, "actor": actor, "a": [r["source_a"] for r in rows], "b": [r["code_a"] for r in rows],
             "c": [r["source_b"] for r in rows], "d": [r["code_b"] for r in rows]},
        ).rowcount  # fmt: skip
        matching.retry_queue(db, kind, actor)
    return new


def match(
    engine: Engine,
    kind: str,
    source: str,
    code: str,
    key: str,
    *,
    actor: str,
    valid_from: dt.date | None = None,
) -> None:
    """A person says what a code means. From `valid_from` on, or, where that is None, since ever.

    The first settles a code that waits, or one that the source has begun to use for another thing; the second also
    corrects a wrong match. What the code meant before stays in the audit log.
    """
    of = matching.KINDS[kind]
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.identity', 0))"))
        if db.execute(sa.select(of.table.c[of.key]).where(of.table.c[of.key] == key)).scalar() is None:
            raise NotFound(f"There is no {kind} {key}.")
        ours = (xref.c.kind == kind, xref.c.source == source, xref.c.source_id == code)
        before = db.execute(sa.select(xref.c.key, xref.c.valid_from, xref.c.valid_to).where(*ours)).all()
        if not before and db.execute(
            sa.select(unmatched.c.source_id).where(
                unmatched.c.kind == kind, unmatched.c.source == source, unmatched.c.source_id == code
            )
        ).scalar() is None:  # fmt: skip
            raise NotFound(f"No {kind} with the code {code} has come from {source}.")
        if valid_from is None:
            db.execute(xref.delete().where(*ours))
        else:
            if any(row.valid_from >= valid_from for row in before):
                raise Conflict(
                    f"{code} of {source} already has a meaning that begins on or after {valid_from}: give a later "
                    "date, or none to replace what it means altogether."
                )
            db.execute(xref.update().where(*ours, xref.c.valid_to.is_(None)).values(valid_to=valid_from))
        db.execute(
            xref.insert().values(
                kind=kind, source=source, source_id=code, key=key, matched_by="manual", actor=actor,
                valid_from=valid_from if before and valid_from else SINCE_EVER,
            )
        )  # fmt: skip
        matching.settle_queue(db, kind, [(source, code)], actor)
        audit.record(
            db, actor=actor, action="match", subject=kind, subject_ids=[key],
            detail={"source": source, "code": code, "valid_from": valid_from,
                    "before": [{"key": r.key, "valid_from": r.valid_from, "valid_to": r.valid_to} for r in before]},
        )  # fmt: skip


def ignore(engine: Engine, kind: str, source: str, code: str, *, actor: str) -> None:
    """A person says that a waiting code is nothing of ours (postage, a test product): it leaves the queue."""
    with engine.begin() as db:
        done = db.execute(
            unmatched.update()
            .where(unmatched.c.kind == kind, unmatched.c.source == source, unmatched.c.source_id == code,
                   unmatched.c.status == "open")
            .values(status="ignored", settled_at=sa.func.now(), settled_by=actor)
        ).rowcount  # fmt: skip
        if not done:
            raise NotFound(f"No {kind} with the code {code} of {source} waits to be matched.")
        audit.record(db, actor=actor, action="ignore", subject=f"unmatched_{kind}", subject_ids=[f"{source} {code}"])


def waiting(engine: Engine, kind: str | None = None, source: str | None = None) -> list[dict[str, Any]]:
    """The unmatched queue: kind, source, source_id, name, gtin, first_seen_at, last_seen_at."""
    columns = [unmatched.c[n] for n in ("kind", "source", "source_id", "name", "gtin", "first_seen_at", "last_seen_at")]
    query = sa.select(*columns).where(unmatched.c.status == "open").order_by(*columns[:3])
    if kind is not None:
        query = query.where(unmatched.c.kind == kind)
    if source is not None:
        query = query.where(unmatched.c.source == source)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def xref_table(engine: Engine) -> list[dict[str, Any]]:
    """Every mapping, for the warehouse: kind, source, source_id, key, valid_from, valid_to, matched_by.

    It holds from `valid_from` until before `valid_to` (None: still); sorted, so that equal tables are equal.
    """
    columns = [xref.c[n] for n in ("kind", "source", "source_id", "key", "valid_from", "valid_to", "matched_by")]
    with engine.connect() as db:
        return [
            dict(row) for row in db.execute(sa.select(*columns).order_by(*columns[:3], xref.c.valid_from)).mappings()
        ]
