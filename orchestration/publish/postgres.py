"""The PostgreSQL target: schema `marts`, read by BI tools as the role `bi`.

One transaction per publication, so that a reader sees all of one snapshot or all of the one before; a report of several
queries opens a REPEATABLE READ transaction. Tables are never swapped: that would lose grants, and a report under way
would find the new table empty. Columns that changed are dropped and added, which old snapshots survive.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import sql

from orchestration.publish.parts import WHOLE, Checksums, Mart, Snapshot, gone, stale

_LOCK = 0x53746F63  # arbitrary and constant: one publisher at a time

_TYPES = {
    "VARCHAR": "text",
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "DOUBLE": "double precision",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}


class PostgresTarget:
    """Publishes as the role that owns schema `marts`, whose default privileges let readers select from new tables.

    `connect` opens a psycopg connection as that role.
    """

    name = "postgres"

    def __init__(self, connect: Callable[[], psycopg.Connection]):
        self._connect = connect

    def publish(
        self, db: duckdb.DuckDBPyConnection, marts: Iterable[Mart], wanted: Checksums, snapshot: Snapshot
    ) -> int:
        """Brings the target to `wanted`; returns how many rows were written. Raises psycopg.Error with nothing done."""
        written = 0
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            self._prepare(cursor)
            cursor.execute("SELECT table_name, part, checksum FROM marts.snapshot_part")
            held = {(table, part): checksum for table, part, checksum in cursor.fetchall()}
            for mart in marts:
                write, drop = stale(wanted, held, mart)
                if not write and not drop:
                    continue
                if self._ensure_table(cursor, mart):
                    drop = [part for name, part in held if name == mart.name]
                    write = sorted(part for name, part in wanted if name == mart.name)
                written += self._replace(cursor, db, mart, write, drop)
                self._remember(cursor, mart, wanted, write, drop)
            for name in gone(wanted, held):
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("marts", name)))
                cursor.execute("DELETE FROM marts.snapshot_part WHERE table_name = %s", (name,))
            cursor.execute("DELETE FROM marts.snapshot")
            cursor.execute(
                "INSERT INTO marts.snapshot (snapshot_id, cycle_date, published_at) VALUES (%s, %s, %s)",
                (snapshot.snapshot_id, snapshot.cycle_date, snapshot.published_at),
            )
        return written

    def _prepare(self, cursor: psycopg.Cursor) -> None:
        cursor.execute("SELECT to_regclass('marts.snapshot_part') IS NULL")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(
            "CREATE TABLE marts.snapshot (snapshot_id text NOT NULL, cycle_date date NOT NULL, "
            "published_at timestamptz NOT NULL)"
        )
        cursor.execute(
            "CREATE TABLE marts.snapshot_part (table_name text, part text, checksum text NOT NULL, "
            "PRIMARY KEY (table_name, part))"
        )

    def _ensure_table(self, cursor: psycopg.Cursor, mart: Mart) -> bool:
        """True when the table was made or got other columns: then everything must be written."""
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (f'marts."{mart.name}"',),
        )
        present = {name: _normal(kind) for name, kind in cursor.fetchall()}
        wanted = {name: _normal(_postgres_type(kind)) for name, kind in mart.columns}
        if present == wanted:
            return False
        table = sql.Identifier("marts", mart.name)
        if not present:
            cursor.execute(sql.SQL("CREATE TABLE {} ()").format(table))
        for name in present:
            if present[name] != wanted.get(name):
                cursor.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(table, sql.Identifier(name)))
        for name, kind in mart.columns:
            if present.get(name) != wanted[name]:
                column = sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_postgres_type(kind)))
                cursor.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(table, column))
        if mart.part_column:
            index = sql.Identifier(f"{mart.name}_{mart.part_column}")
            column = sql.Identifier(mart.part_column)
            cursor.execute(sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(index, table, column))
        return True

    def _replace(
        self, cursor: psycopg.Cursor, db: duckdb.DuckDBPyConnection, mart: Mart, write: list[str], drop: list[str]
    ) -> int:
        table = sql.Identifier("marts", mart.name)
        days = sorted({*write, *drop} - {WHOLE})
        if mart.part_column is None:
            cursor.execute(sql.SQL("DELETE FROM {}").format(table))
        else:
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE {} = ANY(%s::date[])").format(table, sql.Identifier(mart.part_column)),
                (days,),
            )
        if not write:
            return 0
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in mart.columns)
        rows = 0
        reader = db.execute(f'SELECT * FROM marts."{mart.name}" WHERE {mart.condition(write)}').to_arrow_reader(100_000)
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)) as copy:
            for batch in reader:
                copy.write(_csv(batch))
                rows += batch.num_rows
        return rows

    @staticmethod
    def _remember(cursor: psycopg.Cursor, mart: Mart, wanted: Checksums, write: list[str], drop: list[str]) -> None:
        cursor.execute(
            "DELETE FROM marts.snapshot_part WHERE table_name = %s AND part = ANY(%s)", (mart.name, [*write, *drop])
        )
        with cursor.copy("COPY marts.snapshot_part (table_name, part, checksum) FROM STDIN") as copy:
            for part in write:
                copy.write_row((mart.name, part, wanted[mart.name, part]))


def _csv(batch: pa.RecordBatch) -> bytes:
    """CSV as PostgreSQL reads it: NULL is empty and unquoted, text is quoted."""
    out = io.BytesIO()
    pacsv.write_csv(batch, out, pacsv.WriteOptions(include_header=False))
    return out.getvalue()


def _postgres_type(kind: str) -> str:
    if kind.startswith("DECIMAL"):
        return kind.replace("DECIMAL", "numeric")
    if kind == "HUGEINT":
        return "numeric(38,0)"
    return _TYPES[kind]


def _normal(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz").replace(" ", "")
