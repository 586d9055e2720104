"""The steps by which codes find their keys; each works on a whole set within the caller's transaction.

Belongs here: the statements behind `operations.identity`. Does not belong here: their order, or anything people do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from operations.schema import item, location, party, unmatched, xref


@dataclass(frozen=True)
class Kind:
    """What differs between items, locations and parties: the table, its key, the prefix of new keys, and which
    attributes of a record are kept (`refreshed` ones follow the source that the thing came from)."""

    name: str
    table: sa.Table
    key: str
    prefix: str
    code: str
    kept: tuple[str, ...]
    refreshed: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("item", item, "item_key", "itm_", "item_code",
             ("name", "category", "base_unit", "gtin"), ("name", "category"), {"base_unit": "each"}),
        Kind("location", location, "location_key", "loc_", "location_code",
             ("name", "kind", "timezone", "business_day_start", "country", "currency"),
             ("name", "kind", "timezone", "business_day_start", "country", "currency"),
             {"kind": "store", "timezone": "UTC", "business_day_start": 0}),
        Kind("party", party, "party_id", "pty_", "supplier_code",
             ("kind", "name", "currency"), ("name", "currency"), {"kind": "supplier"}),
    )
}  # fmt: skip


def any_of(values: Iterable[str]) -> sa.CollectionAggregate:
    """One bound array, however many values: `column == any_of(values)`."""
    return sa.any_(sa.cast(list(values), sa.ARRAY(sa.Text)))


def normalise_gtin(gtin: str | None) -> str | None:
    """14 digits, padded with zeros; None for none or for one whose check digit is wrong.

    Check digit: GS1 General Specifications, section 7.9.1.

    >>> normalise_gtin("4006381333931")
    '04006381333931'
    >>> normalise_gtin("4006381333932") is None
    True
    """
    digits = (gtin or "").strip()
    if not digits.isascii() or not digits.isdigit() or not 8 <= len(digits) <= 14:
        return None
    padded = digits.zfill(14)
    total = sum(int(digit) * (3 if position % 2 == 0 else 1) for position, digit in enumerate(padded[:-1]))
    if (10 - total % 10) % 10 != int(padded[-1]) or not int(padded):
        return None
    return padded


def current(db: Connection, kind: str, source: str, codes: Iterable[str]) -> dict[str, str]:
    rows = db.execute(
        sa.select(xref.c.source_id, xref.c.key).where(
            xref.c.kind == kind, xref.c.source == source, xref.c.valid_to.is_(None),
            xref.c.source_id == any_of(codes),
        )
    )  # fmt: skip
    return {row.source_id: row.key for row in rows}


def refresh(db: Connection, of: Kind, source: str, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Brings names and the like up to date from the source that a thing came from."""
    t = of.table
    rows = db.execute(
        sa.select(t.c.origin_code, *(t.c[name] for name in of.refreshed)).where(
            t.c.origin_source == source, t.c.origin_code == any_of(records)
        )
    ).all()
    changed = []
    for row in rows:
        fresh = {n: records[row.origin_code].get(n) for n in of.refreshed}
        fresh = {n: row._mapping[n] if value is None else value for n, value in fresh.items()}
        if any(row._mapping[n] != value for n, value in fresh.items()):
            changed.append({"of_code": row.origin_code, **fresh})
    if changed:
        db.execute(
            t.update()
            .where(t.c.origin_source == source, t.c.origin_code == sa.bindparam("of_code"))
            .values({n: sa.bindparam(n) for n in of.refreshed}),
            changed,
        )


def learn_gtins(db: Connection, keys: Mapping[str, str], records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gives items without a GTIN the one their product now has; returns codes whose GTIN is another item's."""
    said = {code: gtin for code in keys if (gtin := normalise_gtin(records[code].get("gtin")))}
    if not said:
        return []
    rows = db.execute(
        sa.select(item.c.item_key, item.c.gtin).where(
            sa.or_(
                item.c.gtin == any_of(list(said.values())),
                item.c.item_key == any_of([keys[code] for code in said]),
            )
        )
    ).all()
    owner = {row.gtin: row.item_key for row in rows if row.gtin}
    has = {row.item_key: row.gtin for row in rows}
    conflicts, learned = [], []
    for code in sorted(said):
        gtin, key = said[code], keys[code]
        if owner.get(gtin, key) != key:
            conflicts.append(code)
        elif has[key] is None:
            learned.append({"of_key": key, "gtin": gtin})
            has[key], owner[gtin] = gtin, key
    if learned:
        db.execute(item.update().where(item.c.item_key == sa.bindparam("of_key")), learned)
    return conflicts


def by_gtin(db: Connection, missing: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    said = {code: gtin for code, record in missing.items() if (gtin := normalise_gtin(record.get("gtin")))}
    rows = db.execute(sa.select(item.c.gtin, item.c.item_key).where(item.c.gtin == any_of(sorted(set(said.values())))))
    keys = {row.gtin: row.item_key for row in rows}
    return {code: keys[gtin] for code, gtin in said.items() if gtin in keys}


def by_declaration(db: Connection, kind: str, codes: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Keys of codes that a pair ties to one with a key; where pairs disagree, none: a person must say."""
    rows = db.execute(
        sa.text(
            """
            WITH wanted AS (
                SELECT source, code FROM unnest(CAST(:sources AS text[]), CAST(:codes AS text[])) AS w (source, code)
            ),
            tied AS (
                SELECT w.source, w.code, p.source_b AS other_source, p.code_b AS other_code
                FROM wanted w JOIN operations.declared_pair p
                  ON p.kind = :kind AND p.source_a = w.source AND p.code_a = w.code
                UNION ALL
                SELECT w.source, w.code, p.source_a, p.code_a
                FROM wanted w JOIN operations.declared_pair p
                  ON p.kind = :kind AND p.source_b = w.source AND p.code_b = w.code
            )
            SELECT tied.source, tied.code, min(x.key) AS key
            FROM tied JOIN operations.xref x
              ON x.kind = :kind AND x.source = tied.other_source AND x.source_id = tied.other_code
            WHERE x.valid_to IS NULL
            GROUP BY tied.source, tied.code HAVING count(DISTINCT x.key) = 1
            """
        ),
        {"kind": kind, "sources": [s for s, _ in codes], "codes": [c for _, c in codes]},
    )
    return {(row.source, row.code): row.key for row in rows}


def assign(db: Connection, of: Kind, source: str, missing: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """New things for codes that match nothing. Of several codes with one new GTIN only the first gets one."""
    digests = {code: hashlib.sha256(f"{source}\x1f{code}".encode()).hexdigest() for code in missing}
    column = of.table.c[of.key]
    taken: dict[str, tuple[str | None, str | None]] = {}
    for row in db.execute(
        sa.select(column.label("key"), of.table.c.origin_source, of.table.c.origin_code).where(
            sa.func.left(column, len(of.prefix) + 12) == any_of([of.prefix + d[:12] for d in digests.values()])
        )
    ):
        taken[row.key] = (row.origin_source, row.origin_code)
    keys, rows, gtins = {}, [], set()
    for code, digest in digests.items():
        record = missing[code]
        gtin = normalise_gtin(record.get("gtin")) if of.name == "item" else None
        if gtin and gtin in gtins:
            continue
        # 12 digits are enough but for one set of a million codes in five hundred; then the key grows.
        length = 12
        while taken.get(key := of.prefix + digest[:length], (source, code)) != (source, code):
            length += 1
        keys[code] = key
        if key in taken:
            continue
        taken[key] = (source, code)
        values = {n: of.defaults.get(n) if record.get(n) is None else record[n] for n in of.kept}
        if of.name == "item":
            values["gtin"] = gtin
            gtins.add(gtin)
        values["name"] = values["name"] or code
        rows.append({of.key: key, "origin_source": source, "origin_code": code, **values})
    if rows:
        db.execute(of.table.insert(), rows)
    return keys


def add_mappings(db: Connection, kind: str, found: Mapping[tuple[str, str], str], how: str, actor: str) -> None:
    """Adds mappings; a code whose last meaning ended means the new thing from that day, any other since ever."""
    if not found:
        return
    db.execute(
        sa.text(
            """
            INSERT INTO operations.xref (kind, source, source_id, key, matched_by, actor, valid_from)
            SELECT :kind, f.source, f.code, f.key, :how, :actor, coalesce(
                (SELECT max(x.valid_to) FROM operations.xref x
                 WHERE x.kind = :kind AND x.source = f.source AND x.source_id = f.code), date '0001-01-01')
            FROM unnest(CAST(:sources AS text[]), CAST(:codes AS text[]), CAST(:keys AS text[]))
                 AS f (source, code, key)
            """
        ),
        {"kind": kind, "how": how, "actor": actor, "sources": [s for s, _ in found],
         "codes": [c for _, c in found], "keys": list(found.values())},
    )  # fmt: skip
    settle_queue(db, kind, list(found), actor)


def settle_queue(db: Connection, kind: str, codes: list[tuple[str, str]], actor: str) -> None:
    db.execute(
        sa.text(
            """
            UPDATE operations.unmatched u SET status = 'matched', settled_at = now(), settled_by = :actor
            FROM unnest(CAST(:sources AS text[]), CAST(:codes AS text[])) AS f (source, code)
            WHERE u.kind = :kind AND u.source = f.source AND u.source_id = f.code AND u.status <> 'matched'
            """
        ),
        {"kind": kind, "actor": actor, "sources": [s for s, _ in codes], "codes": [c for _, c in codes]},
    )


def queue(db: Connection, kind: str, source: str, missing: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts codes into the queue, or notes that they were seen again; what a person ignored stays ignored."""
    if not missing:
        return
    added = insert(unmatched)
    rows = [
        {"kind": kind, "source": source, "source_id": code, "name": record.get("name"),
         "gtin": normalise_gtin(record.get("gtin"))}
        for code, record in missing.items()
    ]  # fmt: skip
    db.execute(
        added.on_conflict_do_update(
            index_elements=["kind", "source", "source_id"],
            set_={
                "name": added.excluded.name,
                "gtin": added.excluded.gtin,
                "last_seen_at": sa.func.now(),
                # A code whose mapping was ended waits again.
                "status": sa.case((unmatched.c.status == "matched", "open"), else_=unmatched.c.status),
            },
        ),
        rows,
    )


def retry_queue(db: Connection, kind: str, actor: str) -> None:
    rows = db.execute(
        sa.select(unmatched.c.source, unmatched.c.source_id, unmatched.c.gtin).where(
            unmatched.c.kind == kind, unmatched.c.status == "open"
        )
    ).all()
    if not rows:
        return
    if kind == "item":
        by_gtin = dict(
            db.execute(
                sa.select(item.c.gtin, item.c.item_key).where(item.c.gtin == any_of([r.gtin for r in rows if r.gtin]))
            ).all()
        )
        found = {(r.source, r.source_id): by_gtin[r.gtin] for r in rows if r.gtin in by_gtin}
        add_mappings(db, kind, found, "gtin", actor)
        rows = [r for r in rows if (r.source, r.source_id) not in found]
    add_mappings(db, kind, by_declaration(db, kind, [(r.source, r.source_id) for r in rows]), "declared", actor)
