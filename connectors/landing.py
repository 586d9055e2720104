"""Landing: where records from outside first rest, append-only and immutable.

An `Extract` becomes one batch: a Parquet file per entity, and one for quarantined records, written once under a unique
final key (temporary file, fsync, rename, fsync of the folder; or one object PUT), then ONE transaction of the manifest
store inserts the batch's rows and advances the stream's cursor. A file without a manifest row does not exist: readers
go by the manifest, and `sweep` deletes what a killed process left.

received = accepted + unchanged + quarantined, for each entity, always. A record is unchanged when the newest landed
version of the same (source, record_id) has the same content, by the hash that `content` defines.

Layout below the landing location:
    <source>/<entity>/<batch_id>.parquet          columns of LANDED
    <source>/_quarantine/<batch_id>.parquet       columns of extract.REJECTED
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.content import content_hashes
from connectors.errors import PermanentError, TransientError
from connectors.extract import Extract, utc_now
from connectors.records import SCHEMA_VERSION, arrow_schema

LANDED_META = [
    pa.field("source", pa.string(), nullable=False),
    pa.field("batch_id", pa.string(), nullable=False),
    # Position within the batch: the later of two versions of one record in one batch wins.
    pa.field("ordinal", pa.int64(), nullable=False),
    pa.field("content_hash", pa.uint64(), nullable=False),
    pa.field("schema_version", pa.int32(), nullable=False),
    pa.field("ingested_at", pa.timestamp("us", tz="UTC"), nullable=False),
]


def landed_schema(entity: str) -> pa.Schema:
    """Columns of a landed file: the entity's own (`arrow_schema`), then `LANDED_META`."""
    return pa.schema(list(arrow_schema(entity)) + LANDED_META)


@dataclass(frozen=True)
class LandedFile:
    """One manifest row. `path` is relative to the landing location; counts are records."""

    batch_id: str
    source: str
    entity: str
    path: str | None
    accepted: int
    unchanged: int
    quarantined: int
    reasons: dict[str, int] = field(default_factory=dict)
    sequence: int = 0
    """Assigned by the manifest store: batches are loaded in this order."""


@dataclass(frozen=True)
class Landed:
    """What became of one `Extract`. `fresh` holds, by entity, the 1-based positions of the accepted records in the
    extract's table; every other record was unchanged."""

    batch_id: str
    files: tuple[LandedFile, ...]
    fresh: Mapping[str, pa.Array] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        return sum(f.accepted for f in self.files)

    @property
    def unchanged(self) -> int:
        return sum(f.unchanged for f in self.files)

    @property
    def quarantined(self) -> int:
        return sum(f.quarantined for f in self.files)


class ManifestStore(Protocol):
    """The operational store's side of landing; `operations.manifest` implements it, orchestration injects it.

    It takes and gives plain mappings with the fields of `LandedFile`, so that neither side imports the other.
    """

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
        """One transaction: the manifest rows and the cursor.

        False, with nothing written, when the stream's cursor is no longer `cursor_before`: another pull was faster.
        """
        ...

    def cursor(self, source: str, stream: str) -> str | None: ...

    def files(self, *, source: str | None = None, entity: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Manifest rows with `sequence > after`, in order of `sequence`."""
        ...


WRITERS = 2
"""Files of one batch that are written at the same time."""


class Landing:
    """Writes and reads landed batches below one data location (any fsspec URL; a local folder by default)."""

    def __init__(self, location: str, manifest: ManifestStore, clock: Callable[[], dt.datetime] = utc_now):
        self.location = location.rstrip("/")
        self.manifest = manifest
        self._clock = clock
        self._fs, self._root = fsspec.core.url_to_fs(self.location)
        self._is_local = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))

    # -- Writing -------------------------------------------------------------------------------------------------------

    def pull(self, source: str, stream: str, extracts: Callable[[str | None], Iterable[Extract]]) -> Iterator[Landed]:
        """Lands each step of a pull that starts from the stream's stored cursor, as it arrives."""
        cursor = self.manifest.cursor(source, stream)
        for extract in extracts(cursor):
            landed = self.land(source, extract, cursor_before=cursor)
            cursor = cursor if extract.cursor is None else extract.cursor
            yield landed

    def land(
        self, source: str, extract: Extract, *, cursor_before: str | None, earlier: Collection[str] = ()
    ) -> Landed:
        """Lands one extract and advances its cursor, or neither.

        `earlier` are the batches that the same pull has landed: the entities that the extract calls distinct are not
        compared with them.
        Raises TransientError when another process advanced the cursor meanwhile, PermanentError when the location
        cannot be written (disk full, no permission).
        """
        now = self._clock()
        batch_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}"
        rejected = _by_entity(extract.rejected)
        files: list[LandedFile] = []
        accepted_at: dict[str, pa.Array] = {}
        with duckdb.connect() as db, ThreadPoolExecutor(max_workers=WRITERS) as writers:
            if self.filesystem is not None:
                db.register_filesystem(self.filesystem)
            written: list[Future[None]] = []
            for entity in sorted(set(extract.records) | set(rejected)):
                received, reasons, path, accepted = extract.records.get(entity), rejected.get(entity, {}), None, 0
                if received is not None:
                    known = self._comparable(source, entity, entity in extract.distinct, earlier)
                    fresh = self._changed(db, source, entity, received, batch_id, now, known)
                    accepted_at[entity], accepted = fresh.column("ordinal").combine_chunks(), fresh.num_rows
                    if accepted:
                        path = f"{source}/{entity}/{batch_id}.parquet"
                        written.append(writers.submit(self._write, path, fresh))
                files.append(
                    LandedFile(
                        batch_id=batch_id,
                        source=source,
                        entity=entity,
                        path=path,
                        accepted=accepted,
                        unchanged=(0 if received is None else received.num_rows) - accepted,
                        quarantined=sum(reasons.values()),
                        reasons=reasons,
                    )
                )
            for write in written:
                write.result()
        if extract.rejected.num_rows:
            self._write(f"{source}/_quarantine/{batch_id}.parquet", extract.rejected)
        rows = [{k: v for k, v in vars(f).items() if k != "sequence"} for f in files]
        committed = self.manifest.commit(
            source=source,
            stream=extract.stream,
            batch_id=batch_id,
            files=rows,
            cursor_before=cursor_before,
            cursor_after=cursor_before if extract.cursor is None else extract.cursor,
            landed_at=now,
        )
        if not committed:
            raise TransientError(
                f"Another process pulled {source}/{extract.stream} at the same time; nothing of this pull was kept. "
                "It will be pulled again from the newer position."
            )
        return Landed(batch_id, tuple(files), accepted_at)

    def _comparable(self, source: str, entity: str, distinct: bool, earlier: Collection[str]) -> list[str] | None:
        """The landed files that may hold earlier versions of records just received; None when there is nothing at all
        to compare them with, not even each other."""
        landed = [f for f in self.manifest.files(source=source, entity=entity) if f["path"]]
        known = [f["path"] for f in landed if not (distinct and f["batch_id"] in earlier)]
        return known if known or not distinct else None

    def _changed(
        self,
        db: duckdb.DuckDBPyConnection,
        source: str,
        entity: str,
        table: pa.Table,
        batch_id: str,
        now: dt.datetime,
        known: list[str] | None,
    ) -> pa.Table:
        """The rows of `table` that differ from what is landed in the files `known`, and from the row before them in
        `table` (all of them when `known` is None), as they are written: the columns of `landed_schema`, texts that
        repeat dictionary encoded."""
        expected, schema = arrow_schema(entity), landed_schema(entity)
        if table.schema != expected:
            table = table.select(expected.names).cast(expected)
        for index, column in enumerate(expected):
            # Encoded once, for the hash and for the file.
            if pa.types.is_string(column.type) and column.name not in _ALL_DIFFERENT:
                table = table.set_column(index, column.name, table.column(index).dictionary_encode())
        hashes = pa.array(content_hashes(entity, table))
        ordinal = pa.array(np.arange(1, table.num_rows + 1))
        landed = table.append_column("ordinal", ordinal).append_column("content_hash", hashes)
        unchanged = np.empty(0, np.int64)
        if known is not None:
            unchanged = self._unchanged(db, known, landed.select(["record_id", "ordinal", "content_hash"]))
        if len(unchanged):
            fresh = np.ones(table.num_rows, bool)
            fresh[unchanged - 1] = False
            landed = landed.filter(pa.array(fresh))
        for name, value in (
            ("source", source),
            ("batch_id", batch_id),
            ("schema_version", SCHEMA_VERSION),
            ("ingested_at", now),
        ):
            landed = landed.append_column(name, _same(value, schema.field(name).type, landed.num_rows))
        columns = landed.select(schema.names).columns
        fields = [field.with_type(column.type) for field, column in zip(schema, columns, strict=True)]
        return pa.table(columns, schema=pa.schema(fields))

    def _unchanged(self, db: duckdb.DuckDBPyConnection, files: list[str], received: pa.Table) -> np.ndarray:
        """Ordinals of the received records (record_id, ordinal, content_hash) whose version before them is the same:
        the newest landed one, or the one before them in the batch."""
        # A table of its own: into an Arrow one DuckDB would push comparisons that Arrow cannot make.
        db.register("received_arrow", received)
        db.execute("CREATE OR REPLACE TEMP TABLE received AS SELECT *, hash(record_id) AS id_hash FROM received_arrow")
        db.execute(
            "CREATE OR REPLACE TEMP TABLE landed (ordinal BIGINT, same BOOLEAN, place STRUCT(a TIMESTAMPTZ, b BIGINT))"
        )
        if files:
            # Only the records at hand are looked up, so that memory follows the batch and not the history.
            db.execute(
                "INSERT INTO landed SELECT received.ordinal, known.content_hash = received.content_hash, "
                "row(known.ingested_at, known.ordinal) FROM read_parquet($files) AS known JOIN received USING (record_id)",
                {"files": [self.duckdb_path(path) for path in files]},
            )
        found = db.execute(
            """
            -- Few records have more than one landed version, of which the newest counts.
            WITH several AS (SELECT ordinal FROM landed GROUP BY ordinal HAVING count(*) > 1),
            newest AS (
                SELECT ordinal, same FROM landed ANTI JOIN several USING (ordinal)
                UNION ALL
                SELECT ordinal, arg_max(same, place) AS same FROM landed SEMI JOIN several USING (ordinal) GROUP BY ordinal
            ),
            repeated AS (SELECT id_hash FROM received GROUP BY id_hash HAVING count(*) > 1),
            -- A record that comes several times in one batch is compared with the version before it.
            versions AS (
                SELECT ordinal, content_hash,
                       lag(content_hash) OVER (PARTITION BY record_id ORDER BY ordinal) AS previous
                FROM received SEMI JOIN repeated USING (id_hash)
            )
            SELECT ordinal FROM versions WHERE content_hash = previous
            UNION ALL
            SELECT ordinal FROM newest
            WHERE same AND ordinal NOT IN (SELECT ordinal FROM versions WHERE previous IS NOT NULL)
            """
        )
        return found.fetchnumpy()["ordinal"]

    def _write(self, path: str, table: pa.Table) -> None:
        target = f"{self._root}/{path}"
        try:
            if self._is_local:
                _write_durably(target, table)
            else:
                with self._fs.open(target, "wb") as out:
                    _write_parquet(table, out)
        except OSError as error:
            raise PermanentError(
                f"Cannot write to the landing location {self.location}: {error.strerror or error}. "
                "Free space or correct STOCKFLOW_LANDING, then run the pull again; nothing of this batch was kept."
            ) from error

    # -- Reading -------------------------------------------------------------------------------------------------------

    def duckdb_path(self, path: str) -> str:
        """Where DuckDB finds a manifest path; for remote locations call `register_filesystem(landing.filesystem)`."""
        return f"{self._root}/{path}" if self._is_local else f"{self.location}/{path}"

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem | None:
        """The file system DuckDB must be given to read this location, None for a local folder."""
        return None if self._is_local else self._fs

    def exists(self, path: str) -> bool:
        """Whether a manifest path is there."""
        return self._fs.exists(f"{self._root}/{path}")

    def read(self, file: LandedFile) -> pa.Table:
        """One landed file, whole."""
        with self._fs.open(f"{self._root}/{file.path}", "rb") as source:
            return pq.read_table(source)

    def quarantined(self, batch_id: str, source: str) -> pa.Table:
        """What a batch set aside, with reasons and positions (`extract.REJECTED`)."""
        with self._fs.open(f"{self._root}/{source}/_quarantine/{batch_id}.parquet", "rb") as rejected:
            return pq.read_table(rejected)

    def sweep(self, older_than: dt.timedelta = dt.timedelta(hours=6)) -> list[str]:
        """Deletes files that no manifest row names: what a process killed between file and manifest left behind.

        Files younger than `older_than` may belong to a pull under way and stay. Returns the deleted paths.
        """
        named = named_paths(self.manifest.files())
        oldest = self._clock() - older_than
        deleted = []
        for found in self._fs.find(self._root) if self._fs.exists(self._root) else []:
            path = str(found)[len(str(self._root)) :].lstrip("/")
            if path not in named and _modified(self._fs, found) < oldest:
                self._fs.rm_file(found)
                deleted.append(path)
        return deleted


def named_paths(files: Iterable[Mapping[str, Any]]) -> set[str]:
    """The paths, relative to the landing location, that exist by these manifest rows, quarantine included."""
    named = set()
    for file in files:
        if file["path"]:
            named.add(file["path"])
        if file["quarantined"]:
            named.add(f"{file['source']}/_quarantine/{file['batch_id']}.parquet")
    return named


def _same(value: object, kind: pa.DataType, count: int) -> pa.Array:
    """One value for every row, which the file holds once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value], kind))


def _by_entity(rejected: pa.Table) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    grouped = rejected.group_by(["entity", "reason"]).aggregate([([], "count_all")])
    for row in grouped.to_pylist():
        counts.setdefault(row["entity"], {})[row["reason"]] = row["count_all"]
    return counts


def _modified(fs: fsspec.AbstractFileSystem, path: str) -> dt.datetime:
    modified = fs.modified(path)
    return modified if modified.tzinfo else modified.replace(tzinfo=dt.UTC)


_ALL_DIFFERENT = {"record_id", "payload", "line_code", "ordinal", "content_hash"}
"""A dictionary of values that are all different only costs time."""


def _write_parquet(table: pa.Table, out: Any) -> None:
    names = table.column_names
    pq.write_table(
        table,
        out,
        compression="zstd",
        use_dictionary=[name for name in names if name not in _ALL_DIFFERENT],
        # Records are looked up by id; every other column is read whole, and statistics are a fifth of the writing.
        write_statistics=[name for name in names if name == "record_id"],
        # That a text was dictionary encoded in memory is nothing that readers should care about.
        store_schema=False,
    )


def _write_durably(target: str, table: pa.Table) -> None:
    """After this returns the file is whole and survives a power cut; before, nothing is at `target`."""
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as out:
            _write_parquet(table, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
