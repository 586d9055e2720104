"""From the codes that facts and master data use to our keys, set by set, before dbt joins to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from sqlalchemy import Engine

from connectors.records import ENTITIES
from operations import identity

MASTER = {"item": "product", "location": "location", "party": "supplier"}
"""Where each kind of thing is described; codes that only facts use are things too, known by their code alone."""

CODE = {"item": "item_code", "location": "location_code", "party": "supplier_code"}

XREF = pa.schema(
    [
        ("kind", pa.string()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("key", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
    ]
)


@dataclass(frozen=True)
class Identified:
    """Counts over all sources."""

    keys: int
    unmatched: int
    gtin_conflicts: int


def identify(db: duckdb.DuckDBPyConnection, engine: Engine, assigns: Mapping[str, bool]) -> Identified:
    """Resolves the codes of every source in the warehouse. `assigns` says which sources' codes become keys of ours when
    nothing matches; a source it does not name (an imported file) does. Sources that assign go first, so that the others
    find what to match."""
    keys = unmatched = conflicts = 0
    rank = {source: position for position, source in enumerate(assigns)}
    for kind in MASTER:
        for source in sorted(_sources(db, kind), key=lambda s: (not assigns.get(s, True), rank.get(s, len(rank)), s)):
            records = _codes(db, kind, source)
            # Every location and supplier of a source is real; only products may be somebody else's under another code.
            found = identity.resolve(
                engine, kind, source, records, assigns=assigns.get(source, True) if kind == "item" else True
            )
            keys += len(found.keys)
            unmatched += len(found.unmatched)
            conflicts += len(found.gtin_conflicts)
    return Identified(keys, unmatched, conflicts)


def xref_table(engine: Engine) -> pa.Table:
    """(kind, source, source_id) -> key and the dates between which it holds; a first mapping holds since ever."""
    rows = [
        {**row, "valid_from": None if row["valid_from"] == identity.SINCE_EVER else row["valid_from"]}
        for row in identity.xref_table(engine)
    ]
    return pa.Table.from_pylist([{name: row[name] for name in XREF.names} for row in rows], schema=XREF)


def source_table(sources: Sequence[str]) -> pa.Table:
    """The order in which sources' master data is believed."""
    return pa.table({"source": pa.array(sources, pa.string()), "priority": pa.array(range(len(sources)), pa.int64())})


def _using(kind: str) -> list[str]:
    return [entity for entity, model in ENTITIES.items() if CODE[kind] in model.model_fields]


def _sources(db: duckdb.DuckDBPyConnection, kind: str) -> list[str]:
    union = " UNION ".join(f'SELECT source FROM landing."{entity}"' for entity in _using(kind))
    return [row[0] for row in db.execute(union).fetchall()]


def _codes(db: duckdb.DuckDBPyConnection, kind: str, source: str) -> list[dict[str, object]]:
    """What the source says of each code it uses."""
    master, code = MASTER[kind], CODE[kind]
    fields = [name for name in ENTITIES[master].model_fields if name not in (code, "source_updated_at")]
    described = ", ".join(f'm."{name}"' for name in fields)
    used = " UNION ".join(
        f'SELECT "{code}" AS code FROM landing."{entity}" WHERE source = $source AND superseded_load IS NULL'
        for entity in _using(kind)
    )
    result = db.execute(
        f"""
        SELECT u.code AS "{code}", {described}
        FROM ({used}) AS u
        LEFT JOIN landing."{master}" AS m ON m.source = $source AND m."{code}" = u.code AND m.superseded_load IS NULL
        WHERE u.code <> '' ORDER BY u.code
        """,
        {"source": source},
    )
    names = [column[0] for column in result.description]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in result.fetchall()
    ]
