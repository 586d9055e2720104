"""Marts that tell of themselves whether they belong together, a publisher of them and readers, each in a process.

Generation k: `dim_item` has one row that says k, the quantities of `fct_order_line` over five days add up to k (each
generation changes one day), `rpt_purchase_plan` has k % 3 rows, and the snapshot has the sequence k.

    python -m tests.orchestration.generations publish FOLDER PG_URL FIRST LAST [LINE]   kills itself before that line
    python -m tests.orchestration.generations read FOLDER PG_URL TARGET READS GENERATIONS
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import duckdb
import psycopg

import orchestration.publish
from orchestration.publish.files import DuckDBTarget, ParquetTarget
from orchestration.publish.parts import Snapshot
from orchestration.publish.postgres import PostgresTarget
from orchestration.publish.run import Published, publish
from orchestration.warehouse.store import Warehouse, transaction

CYCLE = dt.date(2026, 3, 2)
DAYS = 5
TARGETS = ("postgres", "duckdb", "parquet")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def warehouse(folder: Path) -> Warehouse:
    return Warehouse(folder / "warehouse" / "w.duckdb")


def targets(folder: Path, url: str) -> list:
    return [
        PostgresTarget(lambda: psycopg.connect(url)),
        DuckDBTarget(folder / "published" / "stockflow.duckdb"),
        ParquetTarget(folder / "published" / "parquet"),
    ]


def make_generation(db: duckdb.DuckDBPyConnection, k: int) -> None:
    with transaction(db):
        db.execute("CREATE SCHEMA IF NOT EXISTS marts")
        db.execute("CREATE OR REPLACE TABLE marts.dim_item AS SELECT 'A' AS item_key, ?::BIGINT AS generation", [k])
        db.execute(
            "CREATE OR REPLACE TABLE marts.fct_order_line AS SELECT DATE '2026-02-01' + d::INT AS business_date, "
            "'line ' || n AS line, CAST((? + ? - 1 - d) // ? AS DECIMAL(18, 4)) / 4 AS quantity "
            "FROM range(?) AS a(d), range(4) AS b(n)", [k, DAYS, DAYS, DAYS],
        )  # fmt: skip
        db.execute(
            "CREATE OR REPLACE TABLE marts.rpt_purchase_plan AS SELECT n AS line, true AS is_open FROM range(?) AS t(n)",
            [k % 3],
        )


def publish_generation(folder: Path, url: str, k: int) -> list[Published]:
    with warehouse(folder).connect() as db:
        make_generation(db, k)
        return publish(db, targets(folder, url), Snapshot(k, CYCLE, now()))


class Torn(AssertionError):
    """Parts of different generations in one read."""


def whole(snapshot_id: str, item: int, quantities: float, planned: int) -> int:
    """The generation that all of these say they are; raises Torn when they differ."""
    k = int(snapshot_id.split("-")[1])
    if (item, quantities, planned) != (k, k, k % 3):
        raise Torn(f"snapshot {snapshot_id}: dim_item {item}, fct_order_line {quantities}, plan {planned} rows")
    return k


QUERIES = (
    "SELECT snapshot_id FROM marts.snapshot",
    "SELECT max(generation) FROM marts.dim_item",
    "SELECT sum(quantity) FROM marts.fct_order_line",
    "SELECT count(*) FROM marts.rpt_purchase_plan",
)


def read(folder: Path, url: str, target: str, pause: float = 0.0) -> int:
    """The generation that a report of several queries sees, one after the other with pauses between them."""
    if target == "postgres":
        with psycopg.connect(url) as db:
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return whole(*_answers(lambda query: db.execute(query).fetchone()[0], pause))
    if target == "duckdb":
        with duckdb.connect(str(folder / "published" / "stockflow.duckdb"), read_only=True) as db:
            return whole(*_answers(lambda query: db.execute(query).fetchone()[0], pause))
    return whole(*_parquet_answers(folder / "published" / "parquet", pause))


def _answers(ask, pause: float) -> list:
    found = []
    for query in QUERIES:
        found.append(ask(query))
        time.sleep(pause)
    return found


def _parquet_answers(folder: Path, pause: float) -> list:
    current = json.loads((folder / "current.json").read_text())
    with duckdb.connect() as db:
        for name, files in current["tables"].items():
            time.sleep(pause)
            db.read_parquet([str(folder / file) for file in files]).create(name)
        return [current["snapshot_id"], *(db.execute(q.replace("marts.", "")).fetchone()[0] for q in QUERIES[1:])]


def die_before_line(n: int) -> None:
    """Kills this process before the n-th line that it executes in `orchestration.publish` from now on."""
    package = os.path.dirname(orchestration.publish.__file__)
    left = n

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(package):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def _publish(folder: Path, url: str, first: int, last: int, line: int | None = None) -> None:
    for k in range(first, last + 1):
        if line:
            die_before_line(line)
        publish_generation(folder, url, k)
        print(k, flush=True)


def _read(folder: Path, url: str, target: str, reads: int, generations: int) -> None:
    """Reads until it has read so often and, however busy the machine, seen so many generations; prints how often, and how many."""
    dice, seen, done, gone = random.Random(target), set(), 0, 0
    while done < reads or len(seen) < generations:
        # A Parquet file of an old snapshot may be deleted before it is opened: the report starts again.
        with contextlib.suppress(FileNotFoundError, duckdb.IOException):
            gone += 1
            seen.add(read(folder, url, target, dice.choice([0, 0, 0.002, 0.01])))
            gone -= 1
            done += 1
    print(json.dumps({"reads": done, "started again": gone, "generations": len(seen)}), flush=True)


if __name__ == "__main__":
    action, folder, url, *rest = sys.argv[1:]
    if action == "publish":
        _publish(Path(folder), url, *map(int, rest))
    else:
        _read(Path(folder), url, rest[0], *map(int, rest[1:]))
