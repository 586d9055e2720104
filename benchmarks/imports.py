"""How fast files come in: `python -m benchmarks.imports FOLDER`, with the two public data sets in FOLDER.

Prints, for each set and kind, seconds by stage and rows per second from file to landed Parquet, beside what DuckDB
alone takes to read the same file and cast its columns: the limit on the machine at hand. Landing writes to a temporary
folder and keeps its manifest in memory, so that no database is measured. DuckDB loads pandas when it is first given
an Arrow table; that is loaded before the clock starts, as are DuckDB and Arrow themselves.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas  # noqa: F401

from connectors.files.importer import ImportReport, import_file
from connectors.files.mapping import load_mapping
from connectors.landing import Landing

RUNS = [
    ("online_retail_ii", "online_retail_ii.parquet", "orders"),
    ("online_retail_ii", "online_retail_ii.csv", "orders"),
    ("online_retail_ii", "online_retail_ii.parquet", "catalog"),
    ("freshretailnet", "freshretailnet_dev.parquet", "orders"),
    ("freshretailnet", "freshretailnet_dev.parquet", "promotions"),
]


class MemoryManifest:
    """The manifest store's promises without a database."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.cursors: dict[tuple[str, str], str | None] = {}

    def commit(
        self,
        *,
        source: str,
        stream: str,
        batch_id: str,
        files: Sequence[dict[str, Any]],
        cursor_before: str | None,
        cursor_after: str | None,
        landed_at: dt.datetime,
    ) -> bool:
        if self.cursors.get((source, stream)) != cursor_before:
            return False
        self.rows += [{**file, "sequence": len(self.rows) + i + 1} for i, file in enumerate(files)]
        self.cursors[source, stream] = cursor_after
        return True

    def cursor(self, source: str, stream: str) -> str | None:
        return self.cursors.get((source, stream))

    def files(self, *, source: str | None = None, entity: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        return [r for r in self.rows if source in (None, r["source"]) and entity in (None, r["entity"])]


def limit(path: Path) -> float:
    """Seconds in which DuckDB alone reads every column of the file, casts it and counts."""
    started = time.perf_counter()
    with duckdb.connect() as db:
        read = f"read_csv('{path}', all_varchar => true)" if path.suffix == ".csv" else f"read_parquet('{path}')"
        names = [name for name, *_ in db.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
        casts = ", ".join(f'count(CAST("{name}" AS VARCHAR))' for name in names)
        db.execute(f"SELECT count(*), {casts} FROM {read}").fetchall()
    return time.perf_counter() - started


def measure(landing: Landing, name: str, path: Path, kind: str) -> tuple[ImportReport, float]:
    """The report of one import, and the seconds of processor time it took on all cores."""
    cpu = time.process_time()
    report = import_file(landing, kind, path, load_mapping(name), hash_key=b"benchmark key, no secret")
    return report, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where online_retail_ii.parquet and freshretailnet_dev.parquet lie")
    folder = parser.parse_args().folder
    head = (
        "file",
        "kind",
        "run",
        "rows",
        "read",
        "prepare",
        "validate",
        "land",
        "total s",
        "cpu s",
        "rows/s",
        "DuckDB alone",
    )
    table: list[tuple[Any, ...]] = [head]
    with tempfile.TemporaryDirectory() as scratch:
        for index, (name, file, kind) in enumerate(RUNS):
            path = folder / file
            if not path.exists():
                path = _as_csv(folder / f"{Path(file).stem}.parquet", Path(scratch) / file)
            alone = limit(path)
            landing = Landing(f"{scratch}/landing-{index}", MemoryManifest())
            for run in ("first", "again"):
                report, cpu = measure(landing, name, path, kind)
                stages = [f"{report.stages.get(stage, 0):.2f}" for stage in ("read", "prepare", "validate", "land")]
                speed = f"{report.rows_per_second:,.0f}"
                row = (
                    file,
                    kind,
                    run,
                    f"{report.received:,}",
                    *stages,
                    f"{report.seconds:.2f}",
                    f"{cpu:.2f}",
                    speed,
                    f"{alone:.2f} s",
                )
                table.append(row)
    widths = [max(len(str(row[i])) for row in table) for i in range(len(head))]
    for row in table:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{os.cpu_count()} cores, load of the last 1, 5, 15 minutes: {load}")


def _as_csv(parquet: Path, path: Path) -> Path:
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT * FROM read_parquet('{parquet}')) TO '{path}' (HEADER)")
    return path


if __name__ == "__main__":
    main()
