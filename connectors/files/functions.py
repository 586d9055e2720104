"""The functions a mapping may call, and nothing else: each renders its own SQL from compiled values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb

from connectors.files.values import Kind, Value, as_instant, first_line, parser_session

if TYPE_CHECKING:
    from connectors.files.expression import Compiler

Function = Callable[["Compiler", list[Value]], Value]


def _arguments(c: Compiler, name: str, values: list[Value], least: int, most: int | None = None) -> None:
    if len(values) < least or (most is not None and len(values) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise c.refuse(f"{name}() takes {wanted} values, not {len(values)}.")


def _text_function(name: str, sql: str, count: int = 1, result: Kind = Kind.TEXT) -> Function:
    def function(c: Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, count, count)
        return c.made(sql.format(*(c.text_of(v).sql for v in values)), result, *values)

    return function


def _number_function(name: str, sql: str, count: int = 1) -> Function:
    def function(c: Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, count, count)
        return c.made(sql.format(*(c.double_of(v) for v in values)), Kind.NUMBER, *values, computed=True)

    return function


def _same_kind(name: str, sql_name: str, least: int, most: int | None = None) -> Function:
    def function(c: Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, least, most)
        return c.common(sql_name, values)

    return function


def _minus(c: Compiler, values: list[Value]) -> Value:
    signed = " - ".join(c.double_of(v) for v in values) if len(values) == 2 else f"-{c.double_of(values[0])}"
    return c.made(f"({signed})", Kind.NUMBER, *values, computed=True)


def _round(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "round", values, 1, 2)
    digits = values[1].sql if len(values) == 2 else "0"
    if not digits.lstrip("-").isdigit():
        raise c.refuse("round() takes the number of decimals as a constant whole number.")
    return c.made(f"round({c.double_of(values[0])}, {digits})", Kind.NUMBER, values[0], computed=True)


def _concat(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "concat", values, 1)
    return c.made(f"concat({', '.join(c.text_of(v).sql for v in values)})", Kind.TEXT, *values)


def _substr(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "substr", values, 2, 3)
    rest = "".join(f", TRY_CAST({c.number_of(v).sql} AS BIGINT)" for v in values[1:])
    return c.made(f"substr({c.text_of(values[0]).sql}{rest})", Kind.TEXT, *values)


def _matches(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "matches", values, 2, 2)
    pattern = c.constant_text(values[1], "the pattern of matches()")
    with parser_session().cursor() as db:
        try:
            db.execute(f"SELECT regexp_matches('', {pattern})")
        except duckdb.Error as error:
            raise c.refuse(f"the pattern {pattern} cannot be read: {first_line(error)}.") from error
    return c.made(f"regexp_matches({c.text_of(values[0]).sql}, {pattern})", Kind.FLAG, values[0])


def _number(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_number", values, 1, 1)
    return c.number_of(values[0])


def _text(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_text", values, 1, 1)
    return c.text_of(values[0])


def _flag(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_flag", values, 1, 1)
    return c.flag_of(values[0])


def _by_format(c: Compiler, values: list[Value], name: str) -> Value:
    """The first value, parsed by the format that is the second one, as a local time."""
    layout = c.constant_text(values[1], f"the format of {name}()")
    try:
        with parser_session().cursor() as db:
            db.execute(f"SELECT try_strptime('', {layout})")
    except duckdb.Error as error:
        raise c.refuse(f"the format {layout} cannot be read: {first_line(error)}.") from error
    text = c.text_of(values[0])
    return c.converted(f"try_strptime(trim({text.sql}), {layout})", Kind.TIME, text)


def _date(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_date", values, 1, 2)
    return c.date_of(values[0] if len(values) == 1 else _by_format(c, values, "to_date"))


def _instant(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_instant", values, 1, 3)
    zone = None
    if len(values) == 3:
        zone = c.constant_text(values[2], "the time zone of to_instant()")[1:-1]
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise c.refuse(f"there is no time zone {zone!r}; write one like 'Europe/London'.") from error
    x = values[0] if len(values) == 1 else _by_format(c, values, "to_instant")
    return c.converted(as_instant(x, c.scope, zone), Kind.INSTANT, x)


def _days_after(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "days_after", values, 2, 2)
    days = f"TRY_CAST({c.number_of(values[1]).sql} AS INTEGER)"
    return c.made(f"({c.date_of(values[0]).sql} + {days})", Kind.DATE, *values)


def _aggregate(name: str, sql: str, kind: Kind | None = None) -> Function:
    def function(c: Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, 1, 1)
        x = values[0]
        if x.aggregate:
            raise c.refuse(f"{name}() cannot gather what is already gathered.")
        inner = c.double_of(x) if kind is Kind.NUMBER and name == "sum" else x.sql
        return c.made(sql.format(inner), kind or x.kind, x, computed=x.computed or name == "sum")

    return function


def _count(c: Compiler, values: list[Value]) -> Value:
    _arguments(c, "count", values, 1, 1)
    return c.made(f"count({values[0].sql})", Kind.NUMBER, values[0])


AGGREGATES = {"mode", "min", "max", "sum", "count"}
FUNCTIONS: dict[str, Function] = {
    "upper": _text_function("upper", "upper({0})"),
    "lower": _text_function("lower", "lower({0})"),
    "trim": _text_function("trim", "trim({0})"),
    "length": _text_function("length", "length({0})", 1, Kind.NUMBER),
    "starts_with": _text_function("starts_with", "starts_with({0}, {1})", 2, Kind.FLAG),
    "ends_with": _text_function("ends_with", "ends_with({0}, {1})", 2, Kind.FLAG),
    "contains": _text_function("contains", "contains({0}, {1})", 2, Kind.FLAG),
    "replace": _text_function("replace", "replace({0}, {1}, {2})", 3),
    "matches": _matches,
    "substr": _substr,
    "concat": _concat,
    "||": _concat,
    "nullif": _same_kind("nullif", "nullif", 2, 2),
    "greatest": _same_kind("greatest", "greatest", 2),
    "least": _same_kind("least", "least", 2),
    "+": _number_function("+", "({0} + {1})", 2),
    "-": _minus,
    "*": _number_function("*", "({0} * {1})", 2),
    "/": _number_function("/", "({0} / nullif({1}, 0))", 2),
    "abs": _number_function("abs", "abs({0})"),
    "round": _round,
    "to_number": _number,
    "to_text": _text,
    "to_flag": _flag,
    "to_date": _date,
    "to_instant": _instant,
    "days_after": _days_after,
    # The most frequent value; among equally frequent ones the first in order, so that row order does not matter.
    "mode": _aggregate("mode", "mode({0} ORDER BY {0})"),
    "min": _aggregate("min", "min({0})"),
    "max": _aggregate("max", "max({0})"),
    "sum": _aggregate("sum", "sum({0})", Kind.NUMBER),
    "count": _count,
}


def function_names() -> list[str]:
    """Every function a mapping may call, for messages and for the test of the documentation."""
    special = ["coalesce", "hash_customer", "line_id"]
    return sorted([name for name in FUNCTIONS if name.isidentifier()] + special)
