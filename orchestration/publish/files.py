"""The file targets: a DuckDB copy that anyone may open, and Parquet files for any engine.

Both become visible by one `os.replace`, so a reader that opens them sees one whole snapshot, and goes on seeing it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import duckdb

from orchestration.publish.parts import WHOLE, Checksums, Mart, Snapshot, gone, stale
from orchestration.warehouse.store import transaction


class DuckDBTarget:
    """One DuckDB file with schema `marts`; the next snapshot is made in a copy beside it, which then replaces it."""

    name = "duckdb"

    def __init__(self, path: Path):
        self.path = path

    def publish(
        self, db: duckdb.DuckDBPyConnection, marts: Iterable[Mart], wanted: Checksums, snapshot: Snapshot
    ) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for left in self.path.parent.glob(f"{self.path.name}.*.next*"):
            left.unlink()
        following = self.path.with_name(f"{self.path.name}.{os.getpid()}.next")
        if self.path.exists():
            shutil.copyfile(self.path, following)
        db.execute(f"ATTACH '{following}' AS published")
        try:
            with transaction(db):
                written = self._bring(db, marts, wanted, snapshot)
            db.execute("CHECKPOINT published")
        finally:
            db.execute("DETACH published")
        _sync(following)
        os.replace(following, self.path)
        return written

    def _bring(
        self, db: duckdb.DuckDBPyConnection, marts: Iterable[Mart], wanted: Checksums, snapshot: Snapshot
    ) -> int:
        db.execute("CREATE SCHEMA IF NOT EXISTS published.marts")
        db.execute(
            "CREATE TABLE IF NOT EXISTS published.marts.snapshot_part "
            "(table_name VARCHAR, part VARCHAR, checksum VARCHAR)"
        )
        held = {(t, p): c for t, p, c in db.execute("FROM published.marts.snapshot_part").fetchall()}
        written = 0
        for mart in marts:
            write, drop = stale(wanted, held, mart)
            if not write and not drop:
                continue
            present = db.execute(
                "SELECT column_name, data_type FROM duckdb_columns() "
                "WHERE database_name = 'published' AND schema_name = 'marts' AND table_name = ? ORDER BY column_index",
                [mart.name],
            ).fetchall()
            if present != list(mart.columns):
                db.execute(f'CREATE OR REPLACE TABLE published.marts."{mart.name}" AS FROM marts."{mart.name}" LIMIT 0')
                write, drop = sorted(p for n, p in wanted if n == mart.name), []
            outdated = mart.condition(sorted({*write, *drop}))
            db.execute(f'DELETE FROM published.marts."{mart.name}" WHERE {outdated}')
            if write:
                condition = mart.condition(write)
                db.execute(
                    f'INSERT INTO published.marts."{mart.name}" SELECT * FROM marts."{mart.name}" WHERE {condition}'
                )
                written += db.execute(f'SELECT count(*) FROM marts."{mart.name}" WHERE {condition}').fetchone()[0]
        for name in gone(wanted, held):
            db.execute(f'DROP TABLE IF EXISTS published.marts."{name}"')
        db.execute("DELETE FROM published.marts.snapshot_part")
        db.executemany(
            "INSERT INTO published.marts.snapshot_part VALUES (?, ?, ?)",
            [(table, part, checksum) for (table, part), checksum in wanted.items()],
        )
        db.execute(
            "CREATE OR REPLACE TABLE published.marts.snapshot "
            "(snapshot_id VARCHAR, cycle_date DATE, published_at TIMESTAMPTZ)"
        )
        db.execute(
            "INSERT INTO published.marts.snapshot VALUES (?, ?, ?)",
            [snapshot.snapshot_id, snapshot.cycle_date, snapshot.published_at],
        )
        return written


class ParquetTarget:
    """Immutable Parquet files, a month of a fact each, and `current.json`, which names the files of the snapshot:

    {"snapshot_id": ..., "cycle_date": ..., "published_at": ..., "tables": {"dim_item": ["dim_item/whole-....parquet"]}}

    Files that no longer belong to one of the last `keep` snapshots are deleted.
    """

    name = "parquet"

    def __init__(self, folder: Path, keep: int = 3):
        self.folder = folder
        self._keep = keep

    def publish(
        self, db: duckdb.DuckDBPyConnection, marts: Iterable[Mart], wanted: Checksums, snapshot: Snapshot
    ) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, list[str]] = {}
        written = 0
        for mart in marts:
            for month, digest in _months(mart, wanted).items():
                relative = f"{mart.name}/{month}-{digest}.parquet"
                tables.setdefault(mart.name, []).append(relative)
                target = self.folder / relative
                if target.exists():
                    continue
                target.parent.mkdir(exist_ok=True)
                temporary = target.with_suffix(f".{os.getpid()}.tmp")
                condition = "true" if month == WHOLE else f"strftime({mart.part_column}, '%Y-%m') = '{month}'"
                rows = db.execute(
                    f"COPY (SELECT * FROM marts.\"{mart.name}\" WHERE {condition}) TO '{temporary}' "
                    "(FORMAT parquet, COMPRESSION zstd)"
                ).fetchone()[0]
                _sync(temporary)
                os.replace(temporary, target)
                written += rows
        content = {
            "snapshot_id": snapshot.snapshot_id,
            "cycle_date": snapshot.cycle_date.isoformat(),
            "published_at": snapshot.published_at.isoformat(),
            "tables": tables,
        }
        for path in (self.folder / "snapshots" / f"{snapshot.snapshot_id}.json", self.folder / "current.json"):
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(content, indent=1))
            _sync(temporary)
            os.replace(temporary, path)
        self._forget()
        return written

    def _forget(self) -> None:
        kept = sorted((self.folder / "snapshots").glob("*.json"), key=_sequence)
        for old in kept[: -self._keep]:
            old.unlink()
        named = {
            relative
            for path in kept[-self._keep :]
            for files in json.loads(path.read_text())["tables"].values()
            for relative in files
        }
        for path in self.folder.glob("*/*.parquet"):
            if str(path.relative_to(self.folder)) not in named:
                path.unlink()
        # What a killed publication left half-written; nobody else publishes at the same time.
        for path in [*self.folder.glob("*.tmp"), *self.folder.glob("*/*.tmp")]:
            path.unlink()


def _months(mart: Mart, wanted: Checksums) -> dict[str, str]:
    """File key -> digest of its parts' checksums: a month of a fact, or the whole of a small table."""
    grouped: dict[str, list[str]] = {}
    for (table, part), checksum in sorted(wanted.items()):
        if table == mart.name:
            grouped.setdefault(part if part == WHOLE else part[:7], []).append(f"{part}={checksum}")
    return {key: _digest("\n".join(values)) for key, values in grouped.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sequence(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
