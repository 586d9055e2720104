"""Landed batches into the warehouse, each exactly once, every version kept.

`landing.<entity>` has the columns of the landed files except the payload, plus
    valid_load       the load that brought this version
    superseded_load  the load that brought a newer version, NULL while this one is current
A load is numbered by the highest manifest sequence it includes; one that brought no new version of anything counts to the
load before it, so that there is nothing to build after it. The ids of the files it loaded are written in its own
transaction, so a killed load leaves nothing and a repeated one does nothing. What a load changed is exactly the rows
with valid_load or superseded_load above the previous build: dbt restates just the keys they touch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from connectors.landing import LANDED_META, Landing
from connectors.records import ENTITIES, arrow_schema
from orchestration.warehouse import issued
from orchestration.warehouse.store import transaction

SKIPPED = {"payload"}


@dataclass(frozen=True)
class Load:
    """`load_id` is the newest load in the warehouse; `rows` counts new versions per entity in this one."""

    load_id: int
    files: int
    rows: dict[str, int]


def table_columns(entity: str) -> list[pa.Field]:
    fields = [f for f in arrow_schema(entity) if f.name not in SKIPPED] + LANDED_META
    return [*fields, pa.field("valid_load", pa.int64()), pa.field("superseded_load", pa.int64())]


def prepare(db: duckdb.DuckDBPyConnection) -> None:
    """Creates what is missing: a new warehouse, or columns that a newer version of the records added."""
    db.execute("CREATE SCHEMA IF NOT EXISTS landing")
    db.execute("CREATE SCHEMA IF NOT EXISTS operations")
    db.execute(
        "CREATE TABLE IF NOT EXISTS landing.loaded_file "
        "(sequence BIGINT PRIMARY KEY, batch_id VARCHAR, source VARCHAR, entity VARCHAR, load_id BIGINT)"
    )
    db.execute(
        "CREATE TABLE IF NOT EXISTS landing.touched_code "
        "(kind VARCHAR, source VARCHAR, code VARCHAR, old_key VARCHAR, new_key VARCHAR)"
    )
    issued.prepare(db)
    db.execute("CREATE TABLE IF NOT EXISTS landing.build (load_id BIGINT, cycle_date DATE, models VARCHAR)")
    for column in ("inputs", "nodes"):
        db.execute(f"ALTER TABLE landing.build ADD COLUMN IF NOT EXISTS {column} VARCHAR")
    for entity in ENTITIES:
        empty = pa.schema(table_columns(entity)).empty_table()
        db.register("empty_landed", empty)
        db.execute(f'CREATE TABLE IF NOT EXISTS landing."{entity}" AS FROM empty_landed')
        present = {row[0] for row in db.execute(f'DESCRIBE landing."{entity}"').fetchall()}
        wanted = db.execute("DESCRIBE empty_landed").fetchall()
        for name, kind, *_ in wanted:
            if name not in present:
                db.execute(f'ALTER TABLE landing."{entity}" ADD COLUMN "{name}" {kind}')
        db.unregister("empty_landed")


def load(db: duckdb.DuckDBPyConnection, landing: Landing, files: Iterable[Mapping[str, Any]]) -> Load:
    """Loads the manifest rows that are not in the warehouse yet, in one transaction."""
    prepare(db)
    if landing.filesystem is not None:
        db.register_filesystem(landing.filesystem)
    known = {row[0] for row in db.execute("SELECT sequence FROM landing.loaded_file").fetchall()}
    fresh = [f for f in files if f["sequence"] not in known]
    if not fresh:
        return Load(newest_load(db), 0, {})
    before = newest_load(db)
    load_id = max([before, *(f["sequence"] for f in fresh)])
    by_entity: dict[str, list[str]] = {}
    for f in fresh:
        if f["path"]:
            by_entity.setdefault(f["entity"], []).append(landing.duckdb_path(f["path"]))
    rows = {}
    with transaction(db):
        for entity, paths in sorted(by_entity.items()):
            rows[entity] = _upsert(db, entity, paths, load_id)
        load_id = load_id if any(rows.values()) else before
        db.executemany(
            "INSERT INTO landing.loaded_file VALUES (?, ?, ?, ?, ?)",
            [(f["sequence"], f["batch_id"], f["source"], f["entity"], load_id) for f in fresh],
        )
    return Load(load_id, len(fresh), rows)


def newest_load(db: duckdb.DuckDBPyConnection) -> int:
    return db.execute("SELECT coalesce(max(load_id), 0) FROM landing.loaded_file").fetchone()[0]


def _upsert(db: duckdb.DuckDBPyConnection, entity: str, paths: list[str], load_id: int) -> int:
    """New versions become current, unless an already loaded one is newer by the source's own clock."""
    names = [f.name for f in table_columns(entity) if f.name not in ("valid_load", "superseded_load")]
    columns = ", ".join(f'"{n}"' for n in names)
    present = {
        r[0]
        for r in db.execute("DESCRIBE SELECT * FROM read_parquet($f, union_by_name = true)", {"f": paths}).fetchall()
    }
    selected = ", ".join(f'"{n}"' if n in present else f'NULL AS "{n}"' for n in names)
    version = "coalesce({0}.source_updated_at, {0}.ingested_at)"
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE incoming AS
        SELECT {selected} FROM read_parquet($files, union_by_name = true) AS f
        QUALIFY row_number() OVER (
            PARTITION BY source, record_id ORDER BY {version.format("f")} DESC, ingested_at DESC, ordinal DESC
        ) = 1
        """,
        {"files": paths},
    )
    db.execute(
        f"""
        DELETE FROM incoming USING landing."{entity}" AS c
        WHERE c.superseded_load IS NULL AND c.source = incoming.source AND c.record_id = incoming.record_id
          AND {version.format("c")} > {version.format("incoming")}
        """
    )
    db.execute(
        f"""
        UPDATE landing."{entity}" AS c SET superseded_load = {load_id} FROM incoming
        WHERE c.superseded_load IS NULL AND c.source = incoming.source AND c.record_id = incoming.record_id
        """
    )
    db.execute(f'INSERT INTO landing."{entity}" ({columns}, valid_load) SELECT {columns}, {load_id} FROM incoming')
    return db.execute("SELECT count(*) FROM incoming").fetchone()[0]


def replace_operations(db: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Small tables of the operational store that SQL joins to (`xref` above all), replaced whole.

    Codes whose key changed since the last time are noted in `landing.touched_code`, for facts under them must be
    restated though no record of theirs changed.
    """
    prepare(db)
    with transaction(db):
        for name, table in tables.items():
            db.register("operations_table", table)
            exists = db.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'operations' AND table_name = ?", [name]
            ).fetchone()[0]
            if name == "xref" and exists:
                db.execute(
                    """
                    INSERT INTO landing.touched_code
                    SELECT coalesce(n.kind, o.kind), coalesce(n.source, o.source), coalesce(n.source_id, o.source_id),
                           o.key, n.key
                    FROM operations_table AS n
                    FULL JOIN operations.xref AS o
                        ON n.kind = o.kind AND n.source = o.source AND n.source_id = o.source_id
                        AND n.valid_from IS NOT DISTINCT FROM o.valid_from
                    WHERE n.key IS DISTINCT FROM o.key OR n.valid_to IS DISTINCT FROM o.valid_to
                    """
                )
            db.execute(f'CREATE OR REPLACE TABLE operations."{name}" AS FROM operations_table')
            db.unregister("operations_table")


@dataclass(frozen=True)
class BuildState:
    """What the marts have been built up to: `load_id` -1 and no date before the first build.

    `models` is the fingerprint of the dbt project that built them; with another one they are built anew. `inputs` is that
    of everything else they depend on; with the same one and the same load there is nothing to build.
    """

    load_id: int = -1
    cycle_date: dt.date | None = None
    models: str | None = None
    inputs: str | None = None


def build_state(db: duckdb.DuckDBPyConnection) -> BuildState:
    row = db.execute("SELECT load_id, cycle_date, models, inputs FROM landing.build").fetchone()
    return BuildState(*row) if row else BuildState()


def record_build(db: duckdb.DuckDBPyConnection, built: BuildState, nodes: str) -> None:
    """Marks everything up to `built.load_id` as restated, with what was said of each model and test (JSON). Not called
    after a failed build, so that the next one restates the same keys again."""
    with transaction(db):
        db.execute("DELETE FROM landing.build")
        db.execute(
            "INSERT INTO landing.build (load_id, cycle_date, models, inputs, nodes) VALUES (?, ?, ?, ?, ?)",
            [built.load_id, built.cycle_date, built.models, built.inputs, nodes],
        )
        db.execute("DELETE FROM landing.touched_code")
        issued.scored(db)
