"""One file in one private DuckDB session: prepared as a whole, then read chunk by chunk into Arrow.

Belongs here: running what `plan` compiled, and sorting rows into records and rejections. Does not belong here: landing
and counting (`importer`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.extract import REJECTED, Extract
from connectors.files.plan import CONFLICT, KindPlan, RecordPlan, Twins
from connectors.files.readers import SourceTable
from connectors.privacy import hash_customer
from connectors.records import arrow_schema

KEPT_ROWS = 1_200_000
"""Files of up to so many rows are mapped once and kept; the rows of larger ones are mapped chunk by chunk."""
SAMPLE, SHARED_BY = 100_000, 1.5
"""When the first rows of a file become more records than this each, their payload is made once and kept for all."""


@dataclass
class Chunk:
    """What became of the rows of one chunk, before landing. `file_rows` runs parallel to each table of `records`."""

    low: int
    high: int
    rows: int
    own: bool
    records: dict[str, list[pa.Table]] = field(default_factory=dict)
    file_rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    counts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    rejected: list[pa.Table] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    distinct: frozenset[str] = frozenset()

    def extract(self, stream: str, cursor: str) -> Extract:
        tables = {entity: pa.concat_tables(parts) for entity, parts in self.records.items()}
        rejected = pa.concat_tables(self.rejected) if self.rejected else REJECTED.empty_table()
        return Extract(stream, tables, cursor, rejected, self.distinct)


class Session:
    """The DuckDB side: prepares what concerns the whole file, then yields one chunk of rows after the other."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, plan: KindPlan, table: SourceTable, hash_key: bytes, chunk_rows: int
    ):
        self.db, self.plan, self.table, self.hash_key, self.chunk_rows = db, plan, table, hash_key, chunk_rows
        self.own = any(not record.grouped for record in plan.records)
        self.whole = table.last_row <= KEPT_ROWS

    def prepare(self) -> None:
        """Customer hashes, repeated lines, keys that contradict each other, and records gathered from many rows."""
        self._hash_customers()
        db = self.db
        db.execute("CREATE TEMP TABLE set_aside (file_row BIGINT, entity VARCHAR, reason VARCHAR, detail VARCHAR)")
        db.execute("CREATE TEMP TABLE bad_groups (none INTEGER)")
        if self.whole:
            for name, query in self.plan.lookups.items():
                db.execute(f"CREATE TEMP TABLE {name} AS {query}")
        self.rows = self.plan.base if self.whole else self.plan.streamed_base
        (self.shared,) = db.execute(
            f"SELECT avg({self.plan.made_of_a_row}) > {SHARED_BY} FROM (SELECT * FROM ({self.rows}) LIMIT {SAMPLE})"
        ).fetchone()
        if self.whole:
            self.rows = self._kept("base_rows", self.rows)
            db.execute(f"CREATE TEMP VIEW base AS {self.rows}")
        else:
            db.execute(f"CREATE TEMP VIEW base AS {self._with_payload(self.rows)}")
        for record in self.plan.records:
            db.execute(f"CREATE TEMP TABLE repeats_{record.index} (file_row BIGINT, ordinal BIGINT)")
            if record.repeats and self._has_candidates(record.repeats):
                db.execute(f"INSERT INTO repeats_{record.index} {record.repeats.rows}")
        unsure = {record.index for record in self.plan.records if not record.numbered}
        for record in self.plan.records:
            if record.conflicts:
                if self._has_candidates(record.conflicts):
                    self._aside(record.entity, *CONFLICT, record.conflicts.rows)
                else:
                    unsure.discard(record.index)
        made = Counter(record.entity for record in self.plan.records)
        self.distinct = frozenset(r.entity for r in self.plan.records if r.index not in unsure and made[r.entity] == 1)
        for record in self.plan.records:
            if record.grouped:
                self._gather(record)

    def _has_candidates(self, twins: Twins) -> bool:
        """Fills `candidates` with the rows whose hash occurs more than once."""
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE hashes AS {twins.hashes}")
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE candidates AS SELECT file_row FROM hashes "
            "WHERE same IN (SELECT same FROM hashes GROUP BY same HAVING count(*) > 1)"
        )
        return self.db.execute("SELECT count(*) > 0 FROM candidates").fetchone()[0]

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
                "CREATE OR REPLACE TEMP TABLE bad_groups AS "
                f"SELECT * FROM gathered_{record.index} WHERE reason = {code}"
            )
            self._aside(record.entity, check.reason, check.detail, f"SELECT {record.members}")

    def _kept(self, table: str, rows: str) -> str:
        """The rows with their payload: kept as a table, in which the payload is when several records need it."""
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {self._with_payload(rows) if self.shared else rows}")
        return f"SELECT * FROM {table}" if self.shared else self._with_payload(f"SELECT * FROM {table}")

    def _with_payload(self, rows: str) -> str:
        return f"SELECT *, {self.plan.payload} AS payload FROM ({rows})"

    def chunks(self) -> Iterator[tuple[int, int]]:
        low = 0
        while low < self.table.last_row:
            high = min(low + self.chunk_rows, self.table.last_row)
            yield low + 1, high
            low = high

    def chunk(self, low: int, high: int) -> Chunk:
        rows = f"SELECT * FROM ({self.rows}) WHERE file_row BETWEEN {low} AND {high}"
        if not self.whole:
            self.db.execute("DROP VIEW base")
            rows = self._kept("base_chunk", rows)
        self.db.execute(f"CREATE OR REPLACE TEMP VIEW base AS {rows}")
        return ChunkReader(self, low, high).read()


class ChunkReader:
    def __init__(self, session: Session, low: int, high: int):
        self.session, self.db, self.low, self.high = session, session.db, low, high
        (rows,) = self.db.execute("SELECT count(*) FROM base").fetchone()
        self.broken = [b for b in session.table.broken if low <= b.row <= high]
        self.out = Chunk(low, high, rows + len(self.broken), session.own, distinct=session.distinct)
        self.refused: list[np.ndarray] = []

    def read(self) -> Chunk:
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
            f"SELECT file_row, base_reason AS reason, payload FROM base "
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
                "SELECT file_row, 0 AS reason, payload FROM base SEMI JOIN "
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
