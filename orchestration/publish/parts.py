"""What is published, cut into parts that can be compared and replaced."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

PART_COLUMN = {
    "fct_order_line": "business_date",
    "fct_return_line": "business_date",
    "fct_demand_daily": "business_date",
    "fct_inventory_daily": "business_date",
    "fct_inventory_value_daily": "business_date",
    "fct_purchase_order_line": "ordered_on",
    "rpt_margin": "week_on",
    "fct_forecast_accuracy": "business_date",
}
"""The day that cuts a large mart into parts; the others are one part each."""

WHOLE = "whole"

Checksums = Mapping[tuple[str, str], str]
"""(table, part) -> checksum. A part is an ISO date, or `WHOLE` for a table that has no days or no rows."""


@dataclass(frozen=True)
class Snapshot:
    """Identity of one publication. `sequence` grows with each and is never used twice."""

    sequence: int
    cycle_date: dt.date
    published_at: dt.datetime

    @property
    def snapshot_id(self) -> str:
        return f"{self.cycle_date:%Y%m%d}-{self.sequence:06d}"


@dataclass(frozen=True)
class Mart:
    """A published table and its columns as (name, DuckDB type), in order."""

    name: str
    columns: tuple[tuple[str, str], ...]

    @property
    def part_column(self) -> str | None:
        return PART_COLUMN.get(self.name)

    @property
    def part_expression(self) -> str:
        return f"strftime({self.part_column}, '%Y-%m-%d')" if self.part_column else f"'{WHOLE}'"

    def condition(self, parts: list[str]) -> str:
        """SQL that selects `parts`; they come from our own checksums, never from input."""
        if self.part_column is None:
            return "true"
        days = [f"DATE {_quoted(part)}" for part in parts if part != WHOLE]
        return f"{self.part_column} IN ({', '.join(days)})" if days else "false"


def _quoted(part: str) -> str:
    return "'" + dt.date.fromisoformat(part).isoformat() + "'"


def marts(db: duckdb.DuckDBPyConnection) -> list[Mart]:
    """The tables of the warehouse's schema `marts`, by name."""
    rows = db.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE schema_name = 'marts' AND database_name = current_database() ORDER BY table_name, column_index"
    ).fetchall()
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        columns.setdefault(table, []).append((column, kind))
    return [Mart(name, tuple(cols)) for name, cols in columns.items()]


def checksums(db: duckdb.DuckDBPyConnection, mart: Mart) -> dict[tuple[str, str], str]:
    """Checksum of each part: its columns, its row count and the sum of its rows' hashes.

    DuckDB's hash may change between its versions, so the version is part of the checksum: after an upgrade everything
    is published once more.
    """
    shape = f"{duckdb.__version__}:{_shape(mart):08x}"
    rows = db.execute(
        f"SELECT {mart.part_expression} AS part, count(*), sum(CAST(hash(t) AS HUGEINT)) "
        f'FROM marts."{mart.name}" AS t GROUP BY 1'
    ).fetchall()
    found = {(mart.name, part): f"{shape}:{count}:{total}" for part, count, total in rows}
    # An empty table is a part too: it is to be there, with its columns, and without the rows it had.
    return found or {(mart.name, WHOLE): f"{shape}:0:0"}


def _shape(mart: Mart) -> int:
    """A stable number for the names and types of a mart's columns."""
    return zlib.crc32(repr(mart.columns).encode())


def stale(wanted: Checksums, held: Checksums, mart: Mart) -> tuple[list[str], list[str]]:
    """The parts of `mart` to write (new or different) and those to drop (no longer there), each in order."""
    write = [part for (name, part), value in wanted.items() if name == mart.name and held.get((name, part)) != value]
    drop = [part for (name, part) in held if name == mart.name and (name, part) not in wanted]
    return sorted(write), sorted(drop)


def gone(wanted: Checksums, held: Checksums) -> list[str]:
    """The tables that were published and are marts no more."""
    return sorted({name for name, _ in held} - {name for name, _ in wanted})
