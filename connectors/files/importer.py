"""A user's file, start to finish: read, mapped, validated, landed, and every row of it accounted for.

The file is read and mapped by one private DuckDB session and landed in chunks of rows, so that memory does not grow
with the file. Each chunk is one atomic batch. An import killed between two chunks is finished by running it again: what
had landed is found unchanged, because every record's identity comes from its content and never from its place in the
file.

File rows are what is counted: accepted + unchanged + quarantined = the rows received.
    accepted      at least one record of the row is new or changed
    unchanged     every record of the row was landed before; or the row repeats another and the mapping drops repeats
    quarantined   the row is set aside whole, with the first reason found; nothing of it lands
Rows gathered into one record (`one_per`) share that record's fate when the kind makes nothing else of them.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np

from connectors.errors import PermanentError, TransientError
from connectors.extract import Extract, utc_now
from connectors.files.decimals import tells_decimal_comma
from connectors.files.mapping import SNAPSHOTS, Mapping
from connectors.files.plan import KindPlan, compile_kind, wanted_columns
from connectors.files.readers import SourceTable, checked_path, open_source
from connectors.files.report import ImportReport
from connectors.files.session import Chunk, Session
from connectors.files.values import literal
from connectors.landing import Landed, Landing

PARALLEL_ROWS = 122_880
"""DuckDB hands whole blocks of so many rows to its threads."""
LEAST_BLOCKS, MOST_BLOCKS = 2, 8
"""Blocks of a chunk, unless the caller says how many rows: a quarter of the file within these, so that two cores
validate it together and writing overlaps validating."""
FUTURE_TOLERANCE = dt.timedelta(days=1)
"""Clocks and time zones differ; a fact later than this is a typing error."""
SHARPEST_DROP = 0.8
_ATTEMPTS = 5


def import_file(
    landing: Landing,
    kind: str,
    path: str | Path,
    mapping: Mapping,
    *,
    hash_key: bytes,
    clock: Callable[[], dt.datetime] = utc_now,
    root: str | Path | None = None,
    allow_drop: bool = False,
    chunk_rows: int | None = None,
    memory_limit: str = "3GB",
) -> ImportReport:
    """Lands one file as the records its mapping says; see the module's docstring for what is counted.

    `hash_key` hashes customer ids. With `root` the file must lie in that folder, without symbolic links. A snapshot
    kind (stock, catalog, suppliers) whose file has less than a fifth of the rows of the last one is refused unless
    `allow_drop`. `memory_limit` bounds the working session, which spills to a temporary folder.
    Raises PermanentError with one sentence when the file or the mapping cannot be used; nothing has landed then.
    """
    started = time.perf_counter()
    part = mapping.kind(kind)
    real = checked_path(path, root)
    latest = clock() + FUTURE_TOLERANCE
    report = ImportReport(kind, mapping.source, Path(path).name)
    with tempfile.TemporaryDirectory(prefix="stockflow-import-") as scratch, duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"SET temp_directory = '{scratch}'")
        db.execute(f"SET memory_limit = '{memory_limit}'")
        try:
            with _stage(report, "read"):
                wanted = wanted_columns(part) | frozenset(mapping.keep_columns)
                table = open_source(db, real, mapping.reading, wanted, Path(scratch))
                report.note = table.note
                _lock(db, real)
                _refuse_drop(landing, mapping.source, kind, table.received, real.name, allow_drop)
            with _stage(report, "prepare"):
                plan = compile_kind(mapping, kind, table.columns, latest)
                if mapping.reading.decimal_comma is None and _tells_decimal_comma(db, table, plan):
                    plan = compile_kind(mapping.with_decimal_comma(), kind, table.columns, latest)
                    report.note += ", decimal commas"
                session = Session(db, plan, table, hash_key, chunk_rows or _chunk_rows(table.last_row))
                session.prepare()
            report.repeats_dropped = plan.drop_repeats
            _land_all(landing, session, report, table.received)
        except duckdb.OutOfMemoryException as error:
            raise PermanentError(
                f"{real.name} needs more memory or temporary disk space than there is; free some or split the file."
            ) from error
        except duckdb.IOException as error:
            raise PermanentError(
                f"{real.name} cannot be read to its end: {_first_line(error)}; copy it again."
            ) from error
    report.seconds = time.perf_counter() - started
    return report


def _tells_decimal_comma(db: duckdb.DuckDBPyConnection, table: SourceTable, plan: KindPlan) -> bool:
    """Whether a text file whose commas do not separate has decimal commas in what the plan reads as numbers."""
    if table.delimiter in (None, ",") or not plan.number_texts:
        return False

    def has(pattern: str) -> bool:
        # Most numbers have neither mark, and looking for one is much faster than a pattern.
        found = " OR ".join(
            f"((contains({text}, ',') OR contains({text}, '.')) AND regexp_full_match(trim({text}), {literal(pattern)}))"
            for text in sorted(plan.number_texts)
        )
        return db.execute(f"SELECT coalesce(bool_or({found}), FALSE) FROM source").fetchone()[0]

    return tells_decimal_comma(has)


# -- Landing and counting ----------------------------------------------------------------------------------------------


def _land_all(landing: Landing, session: Session, report: ImportReport, received: int) -> None:
    """Lands chunk after chunk, in order; while one is written the next is already being validated."""
    stream = f"files/{report.kind}"
    batches: list[str] = []

    def land(chunk: Chunk) -> None:
        with _stage(report, "land"):
            cursor = json.dumps({"rows": received, "landed_to": chunk.high})
            landed = _land(landing, report.source, chunk.extract(stream, cursor), batches)
            batches.append(landed.batch_id)
            _count(report, chunk, landed)

    with ThreadPoolExecutor(max_workers=1) as writer:
        landing_now: Future[None] | None = None
        for low, high in session.chunks():
            with _stage(report, "validate"):
                chunk = session.chunk(low, high)
            if landing_now is not None:
                landing_now.result()
            landing_now = writer.submit(land, chunk)
        if landing_now is not None:
            landing_now.result()


def _land(landing: Landing, source: str, extract: Extract, batches: list[str]) -> Landed:
    """Lands one chunk; when another import of the source was faster, what it landed is compared with again."""
    for attempt in range(_ATTEMPTS):
        try:
            cursor = landing.manifest.cursor(source, extract.stream)
            return landing.land(source, extract, cursor_before=cursor, earlier=batches)
        except TransientError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _count(report: ImportReport, chunk: Chunk, landed: Landed) -> None:
    if chunk.rejected:
        report.quarantined_batches.append(landed.batch_id)
    rejected = Counter()
    for table in chunk.rejected:
        for entry in table.column("reason").value_counts().to_pylist():
            rejected[entry["values"]] += entry["counts"]
    quarantined = sum(rejected.values())
    accepted = 0
    own_rows = []
    for entity, parts in chunk.file_rows.items():
        fresh = landed.fresh[entity].to_numpy() - 1
        report.records[entity] += len(fresh)
        rows, counts = np.concatenate(parts)[fresh], np.concatenate(chunk.counts[entity])[fresh]
        own_rows.append(rows[counts == 0])
        if not chunk.own:
            accepted += int(counts.sum())
    if chunk.own:
        touched = np.zeros(chunk.high - chunk.low + 1, bool)
        for rows in own_rows:
            touched[rows - chunk.low] = True
        accepted = int(touched.sum())
    report.accepted += accepted
    report.quarantined += quarantined
    # Records gathered from many rows land with the first chunk and answer for the rows of all of them.
    report.unchanged += chunk.rows - quarantined - accepted
    report.skipped += chunk.skipped
    report.repeated += chunk.repeated
    report.reasons += rejected
    report.explained.update(chunk.explained)


def _chunk_rows(rows: int) -> int:
    blocks = math.ceil(rows / 4 / PARALLEL_ROWS)
    return PARALLEL_ROWS * min(MOST_BLOCKS, max(LEAST_BLOCKS, blocks))


def _lock(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """From here on the session can read this one file and nothing else, whatever SQL it is given."""
    db.execute("SET allowed_paths = [" + literal(str(path)) + "]")
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")


def _refuse_drop(landing: Landing, source: str, kind: str, rows: int, name: str, allow_drop: bool) -> None:
    """A snapshot that shrank sharply is more often a broken export than the truth."""
    cursor = landing.manifest.cursor(source, f"files/{kind}")
    if kind not in SNAPSHOTS or cursor is None or allow_drop:
        return
    before = json.loads(cursor)["rows"]
    if rows < (1 - SHARPEST_DROP) * before:
        raise PermanentError(
            f"{name} has {rows} of the {before} rows that the last {kind} of {source} had; "
            "if that is right, import it with --allow-drop."
        )


class _stage:
    """Adds the seconds spent inside to one stage of the report."""

    def __init__(self, report: ImportReport, name: str):
        self.report, self.name = report, name

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self.started
        self.report.stages[self.name] = self.report.stages.get(self.name, 0.0) + spent


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
