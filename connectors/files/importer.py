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
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import PermanentError, TransientError
from connectors.extract import REJECTED, Extract, utc_now
from connectors.files.mapping import SNAPSHOTS, Mapping
from connectors.files.plan import CONFLICT, KindPlan, RecordPlan, compile_kind, wanted_columns
from connectors.files.readers import SourceTable, checked_path, open_source
from connectors.landing import Landed, Landing
from connectors.privacy import hash_customer
from connectors.records import arrow_schema

CHUNK_ROWS = 1_000_000
FUTURE_TOLERANCE = dt.timedelta(days=1)
"""Clocks and time zones differ; a fact later than this is a typing error."""
SHARPEST_DROP = 0.8
_ATTEMPTS = 5


@dataclass
class ImportReport:
    """What became of the rows of one file. `records` counts what was landed new, by entity."""

    kind: str
    source: str
    file: str
    note: str = ""
    accepted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    repeats_dropped: bool = False
    records: Counter[str] = field(default_factory=Counter)
    quarantined_batches: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def received(self) -> int:
        return self.accepted + self.unchanged + self.quarantined

    @property
    def rows_per_second(self) -> float:
        return self.received / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """What the command prints."""
        shown = [f"{self.file}: {self.kind} of {self.source}" + (f" ({self.note})" if self.note else "")]
        shown += [f"accepted {self.accepted}", f"unchanged {self.unchanged}"]
        if self.repeated and self.repeats_dropped:
            shown.append(f"  {self.repeated} repeated_line: identical to another line of its document, dropped")
        shown += self._counted(self.skipped)
        shown.append(f"quarantined {self.quarantined}")
        shown += self._counted(self.reasons)
        if self.repeated and not self.repeats_dropped:
            shown.append(
                f"{self.repeated} of the rows repeat a line of their document and are kept as lines of their own"
            )
        if self.records:
            shown.append("landed " + ", ".join(f"{count} {entity}" for entity, count in sorted(self.records.items())))
        shown.append(f"{self.received} rows in {self.seconds:.1f} s ({self.rows_per_second:,.0f} rows/s)")
        return shown

    def _counted(self, reasons: Counter[str]) -> list[str]:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return [f"  {count} {reason}: {self.explained[reason]}" for reason, count in ordered]


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
    chunk_rows: int = CHUNK_ROWS,
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
                _refuse_drop(landing, mapping.source, kind, table.received, real.name, allow_drop)
            plan = compile_kind(mapping, kind, table.columns, latest)
            with _stage(report, "prepare"):
                session = _Session(db, plan, table, hash_key, chunk_rows)
                session.prepare()
            report.repeats_dropped = plan.drop_repeats
            for low, high in session.chunks():
                with _stage(report, "validate"):
                    chunk = session.chunk(low, high)
                with _stage(report, "land"):
                    cursor = json.dumps({"rows": table.received, "landed_to": high})
                    landed = _land(landing, mapping.source, chunk.extract(f"files/{kind}", cursor))
                _count(report, chunk, landed)
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


# -- One file in one DuckDB session ------------------------------------------------------------------------------------


@dataclass
class _Chunk:
    """What became of the rows of one chunk, before landing. `file_rows` runs parallel to each table of `records`."""

    rows: int
    own: bool
    records: dict[str, list[pa.Table]] = field(default_factory=dict)
    file_rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    counts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    rejected: list[pa.Table] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    repeated: int = 0

    def extract(self, stream: str, cursor: str) -> Extract:
        tables = {entity: pa.concat_tables(parts) for entity, parts in self.records.items()}
        rejected = pa.concat_tables(self.rejected) if self.rejected else REJECTED.empty_table()
        return Extract(stream, tables, cursor, rejected)


class _Session:
    """The DuckDB side: prepares what concerns the whole file, then yields one chunk of rows after the other."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, plan: KindPlan, table: SourceTable, hash_key: bytes, chunk_rows: int
    ):
        self.db, self.plan, self.table, self.hash_key, self.chunk_rows = db, plan, table, hash_key, chunk_rows
        self.own = any(not record.grouped for record in plan.records)

    def prepare(self) -> None:
        """Customer hashes, repeated lines, keys that contradict each other, and records gathered from many rows."""
        self._hash_customers()
        db = self.db
        db.execute("CREATE TEMP TABLE set_aside (file_row BIGINT, entity VARCHAR, reason VARCHAR, detail VARCHAR)")
        db.execute("CREATE TEMP TABLE bad_groups (none INTEGER)")
        whole = self.table.last_row <= self.chunk_rows
        db.execute(f"CREATE TEMP {'TABLE' if whole else 'VIEW'} base_rows AS {self.plan.base}")
        db.execute("CREATE TEMP VIEW base AS SELECT * FROM base_rows")
        for record in self.plan.records:
            db.execute(f"CREATE TEMP TABLE repeats_{record.index} (file_row BIGINT, ordinal BIGINT)")
            if record.repeats:
                db.execute(f"INSERT INTO repeats_{record.index} {record.repeats}")
        for record in self.plan.records:
            if record.conflicts:
                self._aside(record.entity, *CONFLICT, record.conflicts)
        for record in self.plan.records:
            if record.grouped:
                self._gather(record)

    def _hash_customers(self) -> None:
        """The keyed hash of every distinct customer id: the only step that leaves SQL, once per customer."""
        ids: set[str] = set()
        for sql in self.plan.customer_ids.values():
            rows = self.db.execute(f"SELECT DISTINCT {sql} AS id FROM source WHERE id IS NOT NULL").fetchall()
            ids.update(row[0] for row in rows)
        ordered = sorted(ids)
        hashes = pa.table(
            {
                "id": pa.array(ordered, pa.string()),
                "hash": pa.array([hash_customer(i, self.hash_key) for i in ordered], pa.string()),
            }
        )
        self.db.register("hashes_arrow", hashes)
        self.db.execute("CREATE TEMP TABLE customer_hashes AS SELECT * FROM hashes_arrow")
        self.db.unregister("hashes_arrow")

    def _aside(self, entity: str, reason: str, detail: str, rows: str) -> None:
        self.db.execute(
            f"INSERT INTO set_aside SELECT file_row, $entity, $reason, $detail FROM ({rows}) "
            "WHERE file_row NOT IN (SELECT file_row FROM set_aside)",
            {"entity": entity, "reason": reason, "detail": detail},
        )

    def _gather(self, record: RecordPlan) -> None:
        self.db.execute(f"CREATE TEMP TABLE gathered_{record.index} AS {record.query}")
        for (code,) in self.db.execute(
            f"SELECT DISTINCT reason FROM gathered_{record.index} WHERE reason IS NOT NULL ORDER BY reason"
        ).fetchall():
            check = record.checks[code]
            self.db.execute(
                f"CREATE OR REPLACE TEMP TABLE bad_groups AS SELECT * FROM gathered_{record.index} WHERE reason = {code}"
            )
            self._aside(record.entity, check.reason, check.detail, f"SELECT {record.members}")

    def chunks(self) -> Iterator[tuple[int, int]]:
        low = 0
        while low < self.table.last_row:
            high = min(low + self.chunk_rows, self.table.last_row)
            yield low + 1, high
            low = high

    def chunk(self, low: int, high: int) -> _Chunk:
        if self.table.last_row > self.chunk_rows:
            self.db.execute("DROP VIEW base")
            self.db.execute("DROP TABLE IF EXISTS base_chunk")
            self.db.execute(
                f"CREATE TEMP TABLE base_chunk AS SELECT * FROM base_rows WHERE file_row BETWEEN {low} AND {high}"
            )
            self.db.execute("CREATE TEMP VIEW base AS SELECT * FROM base_chunk")
        return _ChunkReader(self, low, high).read()


class _ChunkReader:
    def __init__(self, session: _Session, low: int, high: int):
        self.session, self.db, self.low, self.high = session, session.db, low, high
        (rows,) = self.db.execute("SELECT count(*) FROM base").fetchone()
        self.broken = [b for b in session.table.broken if low <= b.row <= high]
        self.out = _Chunk(rows + len(self.broken), session.own)
        self.refused: list[np.ndarray] = []

    def read(self) -> _Chunk:
        self._reject_by_rule()
        self._reject_set_aside()
        self._reject_broken()
        found = []
        for record in self.session.plan.records:
            if record.grouped:
                if self.low == 1:
                    found.append((record, self._gathered(record)))
            else:
                # sql() gathers the result on all cores, execute() would stream it through one.
                found.append((record, self.db.sql(record.query).to_arrow_table()))
        for record, table in found:
            self._reject_by_check(record, table)
        refused = np.unique(np.concatenate(self.refused)) if self.refused else np.empty(0, np.int64)
        for record, table in found:
            self._keep(record, table, refused)
        return self.out

    def _gathered(self, record: RecordPlan) -> pa.Table:
        return self.db.execute(f"SELECT * FROM gathered_{record.index} WHERE reason IS NULL").to_arrow_table()

    def _reject_by_rule(self) -> None:
        plan = self.session.plan
        codes = [reason for reason, _ in plan.base_reasons]
        details = [detail for _, detail in plan.base_reasons]
        skips = f"base_reason BETWEEN {plan.skips.start} AND {plan.skips.stop - 1}"
        table = self.db.sql(
            f"SELECT file_row, base_reason AS reason, {plan.payload} AS payload FROM base "
            f"WHERE base_reason IS NOT NULL AND NOT ({skips}) ORDER BY file_row"
        ).to_arrow_table()
        self._reject(plan.entity, table, codes, details)
        for code, count in self.db.sql(f"SELECT base_reason, count(*) FROM base WHERE {skips} GROUP BY ALL").fetchall():
            self.out.skipped[codes[code]] += count
            self.out.explained[codes[code]] = details[code]

    def _reject_set_aside(self) -> None:
        for entity, reason, detail in self.db.execute(
            "SELECT DISTINCT entity, reason, detail FROM set_aside ORDER BY ALL"
        ).fetchall():
            table = self.db.execute(
                f"SELECT file_row, 0 AS reason, {self.session.plan.payload} AS payload FROM base SEMI JOIN "
                "(SELECT file_row FROM set_aside WHERE entity = $entity AND reason = $reason) USING (file_row)",
                {"entity": entity, "reason": reason},
            ).to_arrow_table()
            self._reject(entity, table, [reason], [detail])

    def _reject_broken(self) -> None:
        for broken in self.broken:
            row = {
                "entity": self.session.plan.entity,
                "position": f"row {broken.row}",
                "reason": broken.reason,
                "detail": broken.detail,
                "payload": None,
            }
            self.out.rejected.append(pa.Table.from_pylist([row], schema=REJECTED))
            self.out.explained[broken.reason] = "the row has more or fewer fields than the header"

    def _reject_by_check(self, record: RecordPlan, table: pa.Table) -> None:
        reason = table.column("reason")
        if reason.null_count == table.num_rows:
            return
        bad = table.filter(pc.is_valid(reason))
        if self.refused:
            # The first reason found is the one a row is set aside for.
            earlier = pa.array(np.concatenate(self.refused))
            bad = bad.filter(pc.invert(pc.is_in(bad.column("file_row"), earlier)))
        codes = [check.reason for check in record.checks]
        details = [check.detail for check in record.checks]
        self._reject(record.entity, bad, codes, details)
        self.refused.append(bad.column("file_row").to_numpy())

    def _reject(self, entity: str, table: pa.Table, codes: list[str], details: list[str]) -> None:
        if not table.num_rows:
            return
        index = table.column("reason").cast(pa.int64())
        positions = pc.binary_join_element_wise("row", table.column("file_row").cast(pa.string()), " ")
        self.out.rejected.append(
            pa.table(
                [
                    pa.array([entity] * table.num_rows, pa.string()),
                    positions,
                    pa.array(codes, pa.string()).take(index),
                    pa.array(details, pa.string()).take(index),
                    table.column("payload"),
                ],
                schema=REJECTED,
            )
        )
        self.out.explained.update(zip(codes, details, strict=True))

    def _keep(self, record: RecordPlan, table: pa.Table, refused: np.ndarray) -> None:
        keep = None
        if table.column("reason").null_count != table.num_rows:
            keep = pc.is_null(table.column("reason"))
        if refused.size and not record.grouped:
            others = pc.invert(pc.is_in(table.column("file_row"), pa.array(refused)))
            keep = others if keep is None else pc.and_(keep, others)
        if keep is not None:
            table = table.filter(keep)
        if record.repeats:
            repeated = pc.greater(table.column("ordinal"), 1)
            self.out.repeated += pc.sum(repeated).as_py() or 0
            if self.session.plan.drop_repeats:
                table = table.filter(pc.invert(repeated))
        if not table.num_rows:
            return
        schema = arrow_schema(record.entity)
        self.out.records.setdefault(record.entity, []).append(table.select(schema.names).cast(schema))
        self.out.file_rows.setdefault(record.entity, []).append(table.column("file_row").to_numpy())
        counts = table.column("row_count").to_numpy() if record.grouped else np.zeros(table.num_rows, np.int64)
        self.out.counts.setdefault(record.entity, []).append(counts)


# -- Landing and counting ----------------------------------------------------------------------------------------------


def _land(landing: Landing, source: str, extract: Extract) -> Landed:
    """Lands one chunk; when another import of the source was faster, what it landed is compared with again."""
    for attempt in range(_ATTEMPTS):
        try:
            return landing.land(source, extract, cursor_before=landing.manifest.cursor(source, extract.stream))
        except TransientError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _count(report: ImportReport, chunk: _Chunk, landed: Landed) -> None:
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
    if chunk.own and own_rows:
        accepted = len(np.unique(np.concatenate(own_rows)))
    report.accepted += accepted
    report.quarantined += quarantined
    # Records gathered from many rows land with the first chunk and answer for the rows of all of them.
    report.unchanged += chunk.rows - quarantined - accepted
    report.skipped += chunk.skipped
    report.repeated += chunk.repeated
    report.reasons += rejected
    report.explained.update(chunk.explained)


def _refuse_drop(landing: Landing, source: str, kind: str, rows: int, name: str, allow_drop: bool) -> None:
    """A snapshot that shrank sharply is more often a broken export than the truth."""
    cursor = landing.manifest.cursor(source, f"files/{kind}")
    if kind not in SNAPSHOTS or cursor is None or allow_drop:
        return
    before = json.loads(cursor)["rows"]
    if rows < (1 - SHARPEST_DROP) * before:
        raise PermanentError(
            f"{name} has {rows} rows where the last {kind} of {source} had {before}; "
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
