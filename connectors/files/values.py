"""What a mapping's expressions are made of: values with a kind, the names in scope, and conversions between kinds.

Shared by the compiler of expressions, its functions and the validation of fields. Does not belong here: which syntax is
allowed (`expression`) and which functions there are (`functions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

import duckdb

from connectors.errors import PermanentError


class Kind(StrEnum):
    """What a value is, as far as a mapping has to know."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    TIME = "local time"
    INSTANT = "instant"
    FLAG = "true/false"
    NOTHING = "nothing"
    OTHER = "list or structure"


@dataclass(frozen=True)
class Value:
    """A compiled expression: SQL over the scope's columns, its kind, and what it was made from.

    `computed`: a number that arithmetic made, which is rounded to its field's decimals; one straight from a column must
    fit as it is. `whole`: a number of a type that has no decimals. `columns` are the file's columns it reads.
    """

    sql: str
    kind: Kind
    computed: bool = False
    columns: frozenset[str] = frozenset()
    aggregate: bool = False
    whole: bool = False
    unread: tuple[str, ...] = ()
    """Conditions under which a text inside could not be converted; where one holds, an absent value is a mistake."""


@dataclass
class Scope:
    """Names an expression may use, and where the special functions put what they need.

    `customer_ids` collects the SQL of each argument of `hash_customer`, `line_ids` the arguments of each `line_id`,
    `hoisted` the conversions of plain columns, which are made once for a row however often it is asked about them,
    `number_texts` the SQL of each text of the file that is read as a number.
    """

    names: Mapping[str, Value]
    file_columns: Mapping[str, Value] = field(default_factory=dict)
    timezone: str = "UTC"
    decimal_comma: bool = False
    personal: frozenset[str] = frozenset()
    customer_ids: dict[str, str] = field(default_factory=dict)
    hoisted: dict[str, str] | None = None
    line_ids: list[tuple[str, ...]] = field(default_factory=list)
    number_texts: set[str] = field(default_factory=set)
    fields: Mapping[str, Value] = field(default_factory=dict)
    allow_aggregates: bool = False

    def reads_number(self, x: Value) -> None:
        """Notes that the text `x` is read as a number; where more than a row of the file makes it, the columns of the row."""
        columns = {self.file_columns[column].sql for column in x.columns}
        beyond = x.aggregate or any(quote(alias) in x.sql for alias in self.customer_ids.values())
        self.number_texts |= {x.sql} if columns and not beyond else columns


class ExpressionError(PermanentError):
    """The expression is not allowed or not understood; the text says which part and what is possible."""


def kind_of(sql_type: str) -> Kind:
    """Kind of a DuckDB type as DESCRIBE names it."""
    name = sql_type.upper()
    if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION", "BLOB")):
        return Kind.OTHER
    if name.startswith("DECIMAL") or name in _NUMERIC:
        return Kind.NUMBER
    if name.startswith("TIMESTAMP"):
        return Kind.INSTANT if "TIME ZONE" in name else Kind.TIME
    return {"DATE": Kind.DATE, "BOOLEAN": Kind.FLAG}.get(name, Kind.TEXT)


_WHOLE = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_NUMERIC = _WHOLE | {"FLOAT", "DOUBLE"}


def of_column(sql: str, name: str, sql_type: str) -> Value:
    """The plain value of a file's column of this DuckDB type."""
    return Value(sql, kind_of(sql_type), columns=frozenset([name]), whole=sql_type.upper() in _WHOLE)


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@cache
def parser_session() -> duckdb.DuckDBPyConnection:
    """One private in-memory session for parsing and for trying patterns; each use takes a cursor of its own."""
    return duckdb.connect()


def first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200].rstrip(".")


# -- Conversions that `validate` shares --------------------------------------------------------------------------------

_WITH_OFFSET = r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)"


def _is_iso(text: str, *, time: bool) -> str:
    """Whether a text has the shape of an ISO date, or date and time: DuckDB's casts alone would take more than that.

    By the places of its marks, which is several times faster than a pattern.
    """
    date = f"substr({text}, 5, 1) = '-' AND substr({text}, 8, 1) = '-'"
    if not time:
        return f"(strlen({text}) = 10 AND {date})"
    minutes = f"substr({text}, 11, 1) IN (' ', 'T') AND substr({text}, 14, 1) = ':'"
    seconds = f"substr({text}, 17, 1) = ':'"
    fraction = f"substr({text}, 20, 1) = '.'"
    return (
        f"({date} AND CASE strlen({text}) "
        f"WHEN 10 THEN TRUE WHEN 16 THEN {minutes} WHEN 19 THEN {minutes} AND {seconds} "
        f"ELSE strlen({text}) BETWEEN 21 AND 26 AND {minutes} AND {seconds} AND {fraction} END)"
    )


def as_text(x: Value) -> str:
    if x.kind is Kind.NUMBER and not x.whole:
        # A whole number that pandas or a spreadsheet made a float is the same code: 13085.0 is 13085.
        whole = f"CASE WHEN {x.sql} = trunc({x.sql}) AND abs({x.sql}) < 1e15 THEN TRY_CAST({x.sql} AS BIGINT) END"
        return f"coalesce(CAST({whole} AS VARCHAR), CAST({x.sql} AS VARCHAR))"
    return f"CAST({x.sql} AS VARCHAR)"


def as_time(x: Value) -> str:
    """A local time without zone; text must be ISO (2010-01-31 or 2010-01-31 17:05), any other form needs a format."""
    if x.kind is Kind.TEXT:
        return f"(CASE WHEN {_is_iso(f'trim({x.sql})', time=True)} THEN TRY_CAST({x.sql} AS TIMESTAMP) END)"
    _refuse_timeless(x)
    return f"CAST({x.sql} AS TIMESTAMP)"


def _refuse_timeless(x: Value) -> None:
    if x.kind in (Kind.NUMBER, Kind.FLAG, Kind.OTHER):
        raise ExpressionError(
            f"A {x.kind} is no date or time; write it as to_text() and give to_date() or to_instant() a format."
        )


def as_instant(x: Value, scope: Scope, zone: str | None = None) -> str:
    """A time with zone. What has no offset of its own is in the mapping's time zone (or in `zone`)."""
    if x.kind is Kind.INSTANT:
        return x.sql
    local = f"timezone({literal(zone or scope.timezone)}, {as_time(x)})"
    if x.kind is not Kind.TEXT:
        return local
    offset = (
        f"CASE WHEN regexp_full_match(trim({x.sql}), '{_WITH_OFFSET}') THEN TRY_CAST(trim({x.sql}) AS TIMESTAMPTZ) END"
    )
    return f"coalesce({local}, {offset})"


def as_date(x: Value, scope: Scope) -> str:
    if x.kind is Kind.TEXT:
        return f"(CASE WHEN {_is_iso(f'trim({x.sql})', time=False)} THEN TRY_CAST({x.sql} AS DATE) END)"
    if x.kind is Kind.INSTANT:
        return f"CAST(timezone({literal(scope.timezone)}, {x.sql}) AS DATE)"
    _refuse_timeless(x)
    return f"CAST({x.sql} AS DATE)"


def as_flag(x: Value) -> str:
    if x.kind is Kind.TEXT:
        return (
            f"(CASE WHEN lower(trim({x.sql})) IN ('1', 'on', 't', 'true', 'y', 'yes') THEN TRUE "
            f"WHEN lower(trim({x.sql})) IN ('0', 'off', 'f', 'false', 'n', 'no') THEN FALSE END)"
        )
    if x.kind is Kind.NUMBER:
        return f"(CASE WHEN {x.sql} = 1 THEN TRUE WHEN {x.sql} = 0 THEN FALSE END)"
    return x.sql
