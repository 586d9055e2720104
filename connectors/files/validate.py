"""The limits of the canonical records, compiled to SQL.

A field's type and limits are declared once, on its pydantic model (`connectors.records`). Here they become, for each
field, one SQL expression that converts a raw value to the field's Arrow type (null where it cannot) and a list of
checks, so that DuckDB validates all rows of a file in one pass. A test proves that both accept and reject the same.

The reason codes are those of pydantic, prefixed with the field (`quantity_greater_than`), so that quarantined rows of
files and of APIs are counted by the same words.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal

import annotated_types
import pyarrow as pa
from pydantic_core import PydanticUndefined

from connectors.errors import PermanentError
from connectors.files.decimals import sql_with_point
from connectors.files.values import Kind, Scope, Value, as_date, as_flag, as_instant, as_text, literal
from connectors.records import KEY_SEPARATOR, Record, field_type


@dataclass(frozen=True)
class Check:
    """`fails` is SQL over `r:<field>` (raw), `u:<field>` (whether a text inside could not be read), `c:<field>`
    (converted, before defaults) and `f:<field>` (final)."""

    field: str
    code: str
    sentence: str
    fails: str

    @property
    def reason(self) -> str:
        return f"{self.field}_{self.code}" if self.field else self.code

    @property
    def detail(self) -> str:
        return f"{self.field}: {self.sentence}" if self.field else self.sentence


def raw(name: str) -> str:
    return f'"r:{name}"'


def converted(name: str) -> str:
    return f'"c:{name}"'


def unread(name: str) -> str:
    return f'"u:{name}"'


def final(name: str) -> str:
    return f'"f:{name}"'


def sql_type(arrow: pa.DataType) -> str:
    """DuckDB's name of a field's Arrow type."""
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision}, {arrow.scale})"
    return _SQL_TYPES[arrow]


_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def is_number(target: str) -> bool:
    """Whether that SQL type of a field takes numbers."""
    return target in ("BIGINT", "DOUBLE") or target.startswith("DECIMAL")


def conversion(model: type[Record], name: str, value: Value, scope: Scope) -> str:
    """SQL from the raw value (column `r:<name>`, of `value.kind`) to the field's type; null where it does not fit.

    Blank text is absent. A number straight from a column must fit the field's decimals as it is; a computed one is
    rounded to them, half away from zero. Raises PermanentError when no value of that kind can ever fit.
    """
    arrow, _ = field_type(model, name)
    target, r, kind = sql_type(arrow), raw(name), value.kind
    if kind is Kind.NOTHING:
        return f"CAST(NULL AS {target})"
    given = replace(value, sql=r)
    if kind is Kind.OTHER:
        raise PermanentError(f"{model.entity}.{name} cannot take a list or structure; name a plain column.")
    if target == "VARCHAR":
        if kind is Kind.TEXT:
            # trim() is only called for the few texts that begin with a blank.
            return f"CASE WHEN {r} <> '' AND NOT starts_with({r}, ' ') THEN {r} WHEN trim({r}) <> '' THEN {r} END"
        return as_text(given)
    if target == "DATE":
        return as_date(given, scope)
    if target == "TIMESTAMPTZ":
        return as_instant(given, scope)
    if target == "BOOLEAN":
        if kind not in (Kind.FLAG, Kind.TEXT, Kind.NUMBER):
            raise _misfit(model, name, kind, "true or false")
        return as_flag(given)
    if kind not in (Kind.NUMBER, Kind.TEXT):
        raise _misfit(model, name, kind, "a number")
    if kind is Kind.TEXT:
        clean = sql_with_point(r) if scope.decimal_comma else r
        if target == "DOUBLE":
            return f"CASE WHEN isfinite(TRY_CAST({clean} AS DOUBLE)) THEN TRY_CAST({clean} AS DOUBLE) END"
        exact, wide = f"TRY_CAST({clean} AS {target})", f"TRY_CAST({clean} AS DECIMAL(38, 18))"
        if target == "BIGINT":
            return f"CASE WHEN {wide} = TRY_CAST({wide} AS BIGINT) THEN TRY_CAST({wide} AS BIGINT) END"
        # Whether a cast rounded is seen in floating point up to 14 digits; only longer numbers need the slow way.
        small = 10 ** (14 - arrow.scale)
        return (
            f"CASE WHEN abs({exact}) < {small} THEN CASE WHEN CAST({exact} AS DOUBLE) = TRY_CAST({clean} AS DOUBLE) "
            f"THEN {exact} END WHEN {wide} = {exact} THEN {exact} END"
        )
    if target == "DOUBLE":
        return f"CASE WHEN isfinite(CAST({r} AS DOUBLE)) THEN CAST({r} AS DOUBLE) END"
    if value.whole or (value.computed and target != "BIGINT"):
        return f"TRY_CAST({r} AS {target})"
    return f"CASE WHEN TRY_CAST({r} AS {target}) = {r} THEN TRY_CAST({r} AS {target}) END"


def _misfit(model: type[Record], name: str, kind: Kind, wanted: str) -> PermanentError:
    return PermanentError(f"{model.entity}.{name} is {wanted}, and the mapping gives it a {kind}; convert it.")


def default_of(model: type[Record], name: str, defaults: Mapping[str, Any]) -> Any:
    """What an absent value becomes: the mapping's default, else the record's own, else None."""
    if name in defaults:
        return defaults[name]
    default = model.model_fields[name].default
    return None if default is PydanticUndefined else default


def constant(model: type[Record], name: str, value: Any) -> str:
    """A default as a SQL constant of the field's type. Raises PermanentError when it breaks the field's own limits."""
    arrow, _ = field_type(model, name)
    target = sql_type(arrow)
    if value is None:
        return f"CAST(NULL AS {target})"
    if isinstance(value, bool):
        return f"CAST({'TRUE' if value else 'FALSE'} AS {target})"
    if isinstance(value, int | float | Decimal):
        return f"CAST({value} AS {target})"
    text = value.isoformat() if isinstance(value, dt.date | dt.datetime) else str(value)
    return f"CAST({literal(text)} AS {target})"


def checked_default(model: type[Record], name: str, value: Any) -> Any:
    """The mapping's default as pydantic understands it, once per mapping rather than once per row."""
    from pydantic import TypeAdapter, ValidationError

    info = model.model_fields[name]
    try:
        return TypeAdapter(
            Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        ).validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise PermanentError(f"The mapping's default for {name} does not fit {model.entity}: {message}.") from error


def checks(model: type[Record], name: str, value: Value, latest: dt.datetime | None = None) -> Iterator[Check]:
    """Checks of one mapped field, in the order in which a person would want to be told.

    `value` is the raw one, whose failed conversions are in `u:<field>`. Facts after `latest` are refused: only the
    model's `occurred` field is held against it.
    """
    arrow, optional = field_type(model, name)
    info = model.model_fields[name]
    r, c, f = raw(name), converted(name), final(name)
    target = sql_type(arrow)
    if target != "VARCHAR":
        not_blank = f"trim({r}) <> ''" if value.kind is Kind.TEXT else f"{r} IS NOT NULL"
        if value.unread:
            not_blank = f"({not_blank} OR {unread(name)})"
        yield Check(name, _PARSING.get(target, "decimal_parsing"), _cannot_read(target), f"{not_blank} AND {c} IS NULL")
    if not optional:
        yield Check(name, "missing", "a value is needed", f"{f} IS NULL")
    for limit in _limits(info.annotation, info.metadata):
        yield from _limit_checks(name, target, limit, f)
    if latest is not None and name == model.occurred:
        bound = f"TIMESTAMPTZ {literal(latest.isoformat())}"
        if target == "DATE":
            bound = f"DATE {literal(latest.date().isoformat())}"
        yield Check(name, "in_the_future", f"later than {latest:%Y-%m-%d %H:%M} UTC", f"{f} > {bound}")


_PARSING = {
    "BIGINT": "int_parsing",
    "DOUBLE": "float_parsing",
    "BOOLEAN": "bool_parsing",
    "DATE": "date_parsing",
    "TIMESTAMPTZ": "datetime_parsing",
}


def _cannot_read(target: str) -> str:
    if target.startswith("DECIMAL"):
        digits, scale = target[8:-1].split(", ")
        return f"no number, or not one of {int(digits) - int(scale)} digits before and {scale} after the decimal point"
    return {
        "BIGINT": "no whole number",
        "DOUBLE": "no finite number",
        "BOOLEAN": "neither true nor false",
        "DATE": "no date as 2026-01-31; give to_date() a format",
        "TIMESTAMPTZ": "no time as 2026-01-31 17:05; give to_instant() a format",
    }[target]


def _limits(annotation: Any, metadata: typing.Iterable[Any]) -> Iterator[Any]:
    """Every limit of a field's annotation, single ones as `annotated_types`, patterns and literals as found."""
    for item in metadata:
        yield from _single(item)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for arm in typing.get_args(annotation):
            yield from _limits(arm, ())
    elif typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        yield from _limits(inner, more)
    elif typing.get_origin(annotation) is Literal:
        yield annotation


def _single(item: Any) -> Iterator[Any]:
    yield from getattr(item, "metadata", [item])


def _limit_checks(name: str, target: str, limit: Any, f: str) -> Iterator[Check]:
    if isinstance(limit, annotated_types.Gt):
        yield Check(name, "greater_than", f"must be greater than {limit.gt}", f"NOT ({f} > {limit.gt})")
    elif isinstance(limit, annotated_types.Ge):
        yield Check(name, "greater_than_equal", f"must be at least {limit.ge}", f"NOT ({f} >= {limit.ge})")
    elif isinstance(limit, annotated_types.Lt):
        yield Check(name, "less_than", f"must be less than {limit.lt}", f"NOT ({f} < {limit.lt})")
    elif isinstance(limit, annotated_types.Le):
        yield Check(name, "less_than_equal", f"must be at most {limit.le}", f"NOT ({f} <= {limit.le})")
    elif isinstance(limit, annotated_types.MinLen):
        short = f"{f} = ''" if limit.min_length == 1 else f"length({f}) < {limit.min_length}"
        yield Check(name, "string_too_short", f"needs {limit.min_length} characters or more", short)
    elif isinstance(limit, annotated_types.MaxLen):
        # Bytes are there without counting, and are never fewer than characters.
        long = f"strlen({f}) > {limit.max_length} AND length({f}) > {limit.max_length}"
        yield Check(name, "string_too_long", f"has more than {limit.max_length} characters", long)
    elif typing.get_origin(limit) is Literal:
        options = typing.get_args(limit)
        listed = ", ".join(literal(option) for option in options)
        yield Check(name, "literal_error", f"must be one of {', '.join(options)}", f"{f} NOT IN ({listed})")
    elif getattr(limit, "pattern", None) is not None:
        fails = f"NOT regexp_matches({f}, {literal(limit.pattern)})"
        yield Check(name, "string_pattern_mismatch", f"does not match {limit.pattern}", fails)
    # max_digits and decimal_places are the decimal type itself; see `conversion`.


def plain_decimal(sql: str) -> str:
    """SQL that writes a decimal without trailing zeros: 2.5, 100, 0.

    Trimming is slow, so it is left to what the faster ways do not spell exactly: many digits, very small numbers.
    """
    return (
        f"(CASE WHEN {sql} % 1 = 0 THEN CAST(CAST({sql} AS BIGINT) AS VARCHAR) "
        f"WHEN abs({sql}) BETWEEN 0.001 AND 99999999 THEN CAST(CAST({sql} AS DOUBLE) AS VARCHAR) "
        f"ELSE rtrim(rtrim(CAST({sql} AS VARCHAR), '0'), '.') END)"
    )


def record_id_sql(model: type[Record]) -> str:
    """SQL of `connectors.records.record_id` over the final fields, character for character."""
    parts = []
    for name in model.key:
        f, target = final(name), sql_type(field_type(model, name)[0])
        if target == "TIMESTAMPTZ":
            # isoformat() writes microseconds only when there are any.
            fraction = f"CASE WHEN epoch_us({f}) % 1000000 = 0 THEN '' ELSE strftime({f}, '.%f') END"
            text = f"strftime({f}, '%Y-%m-%dT%H:%M:%S') || {fraction} || '+00:00'"
        elif target.startswith("DECIMAL"):
            text = plain_decimal(f)
        else:
            text = f"CAST({f} AS VARCHAR)" if target != "VARCHAR" else f
        parts.append(f"coalesce({text}, '')")
    return f" || chr({ord(KEY_SEPARATOR)}) || ".join(parts)
