"""The small expression language of mappings: DuckDB's syntax, a fixed list of functions, nothing else.

A mapping is configuration that somebody wrote, perhaps copied from a forum: it may say how a value is made from the
columns of ITS row, and must not be able to read a file, run a statement or change a setting. So an expression is parsed
(never executed) by DuckDB's own parser, the tree is walked against a list of what is allowed, and new SQL is rendered
from the tree with our own quoting. What is not on the list is refused with a sentence that names it.

Values have a kind (text, number, date, time, instant, flag). Columns of a CSV or XLSX file are text; where a number or
a date is needed, text is converted, and what cannot be converted becomes absent instead of stopping the import: the
field's own check then quarantines the row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    fit as it is. `columns` are the file's columns it reads.
    """

    sql: str
    kind: Kind
    computed: bool = False
    columns: frozenset[str] = frozenset()
    aggregate: bool = False
    unread: tuple[str, ...] = ()
    """Conditions under which a text inside could not be converted; where one holds, an absent value is a mistake."""


@dataclass
class Scope:
    """Names an expression may use, and where the special functions put what they need.

    `customer_ids` collects the SQL of each argument of `hash_customer`; `line_ids` the arguments of each `line_id`.
    """

    names: Mapping[str, Value]
    file_columns: Mapping[str, Value] = field(default_factory=dict)
    timezone: str = "UTC"
    decimal_comma: bool = False
    personal: frozenset[str] = frozenset()
    customer_ids: dict[str, str] = field(default_factory=dict)
    line_ids: list[tuple[str, ...]] = field(default_factory=list)
    fields: Mapping[str, Value] = field(default_factory=dict)
    allow_aggregates: bool = False
    unknown_names_hint: str = ""


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


_NUMERIC = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
    "FLOAT", "DOUBLE",
}  # fmt: skip


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def column_names(text: str) -> set[str]:
    """Every name an expression mentions, without knowing which of them exist."""
    found: set[str] = set()
    pending: list[Any] = [parse(text)]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("class") == "COLUMN_REF":
                found.update(node["column_names"][-1:])
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return found


@cache
def _session() -> duckdb.DuckDBPyConnection:
    """One private in-memory session for parsing and for trying patterns; each use takes a cursor of its own."""
    return duckdb.connect()


@cache
def parse(text: str) -> dict[str, Any]:
    """The syntax tree of one expression; refuses what is not exactly one."""
    if "\x00" in text or len(text) > 5000:
        raise ExpressionError(f"The expression {text[:60]!r} is too long or holds a NUL character; shorten it.")
    with _session().cursor() as db:
        try:
            row = db.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [f"SELECT {text}\n"]).fetchone()
        except duckdb.Error as error:
            raise ExpressionError(f"The expression {text!r} cannot be read: {_first_line(error)}.") from error
    tree = json.loads(row[0])
    if tree.get("error"):
        raise ExpressionError(f"The expression {text!r} cannot be read: {str(tree.get('error_message'))[:200]}.")
    statements = tree["statements"]
    node = statements[0]["node"]
    plain = (
        len(statements) == 1
        and node.get("type") == "SELECT_NODE"
        and not node.get("modifiers")
        and not node["cte_map"]["map"]
        and node["from_table"]["type"] == "EMPTY"
        and all(not node.get(part) for part in ("where_clause", "group_expressions", "having", "qualify", "sample"))
        and len(node["select_list"]) == 1
        and not node["select_list"][0].get("alias")
    )
    if not plain:
        raise ExpressionError(f"{text!r} is more than one expression; a mapping takes a value, never a statement.")
    return node["select_list"][0]


def compile_expression(text: str, scope: Scope) -> Value:
    """SQL for one expression of a mapping. Raises ExpressionError naming what is not allowed."""
    try:
        return _Compiler(scope, text).value(parse(text))
    except RecursionError as error:
        raise ExpressionError(
            f"The expression {text[:60]!r}... is nested too deeply; split it into `values`."
        ) from error


def compile_condition(text: str, scope: Scope) -> Value:
    """SQL that is true, false or null. Raises ExpressionError when the expression is no condition."""
    value = compile_expression(text, scope)
    if value.kind not in (Kind.FLAG, Kind.NOTHING):
        raise ExpressionError(f"{text!r} is a {value.kind}, not a condition; compare it with something.")
    return value


class _Compiler:
    def __init__(self, scope: Scope, text: str):
        self.scope, self.text = scope, text

    def refuse(self, what: str) -> ExpressionError:
        return ExpressionError(f"In the expression {self.text!r}: {what}")

    def value(self, node: dict[str, Any]) -> Value:
        handler = getattr(self, f"_{node['class'].lower()}", None)
        if handler is None:
            raise self.refuse(f"{node['class'].lower()} is not allowed in a mapping.")
        return handler(node)

    # -- Leaves --------------------------------------------------------------------------------------------------------

    def _column_ref(self, node: dict[str, Any]) -> Value:
        parts = node["column_names"]
        name = parts[-1]
        if len(parts) == 1 and name in self.scope.names:
            value = self.scope.names[name]
            hidden = value.columns & self.scope.personal
            if hidden:
                raise self.refuse(f"{sorted(hidden)[0]!r} is personal and may only stand inside hash_customer().")
            return value
        known = ", ".join(self.scope.names)
        raise self.refuse(
            f"there is no column {'.'.join(parts)!r}; there are: {known or 'none'}. "
            f"A constant text is written in single quotes inside double quotes: \"'{name}'\".{self.scope.unknown_names_hint}"
        )

    def _constant(self, node: dict[str, Any]) -> Value:
        constant = node["value"]
        if constant["is_null"]:
            return Value("NULL", Kind.NOTHING)
        type_id, raw = constant["type"]["id"], constant["value"]
        if type_id == "VARCHAR":
            return Value(literal(raw), Kind.TEXT)
        if type_id == "DECIMAL":
            scale = constant["type"]["type_info"]["scale"]
            if isinstance(raw, int):
                return Value(f"{Decimal(raw).scaleb(-scale):f}", Kind.NUMBER)
        if type_id in ("INTEGER", "BIGINT", "DOUBLE") and isinstance(raw, int | float):
            return Value(repr(raw), Kind.NUMBER)
        raise self.refuse(f"a constant of type {type_id} is not allowed.")

    # -- Operators -----------------------------------------------------------------------------------------------------

    def _comparison(self, node: dict[str, Any]) -> Value:
        operator = _COMPARISONS.get(node["type"])
        if operator is None:
            raise self.refuse(f"{node['type']} is not allowed.")
        left, right = self.alike([self.value(node["left"]), self.value(node["right"])])
        return self.made(f"({left.sql} {operator} {right.sql})", Kind.FLAG, left, right)

    def _between(self, node: dict[str, Any]) -> Value:
        x, low, high = self.alike([self.value(node[part]) for part in ("input", "lower", "upper")])
        return self.made(f"({x.sql} BETWEEN {low.sql} AND {high.sql})", Kind.FLAG, x, low, high)

    def _conjunction(self, node: dict[str, Any]) -> Value:
        word = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[node["type"]]
        parts = [self.flag(child) for child in node["children"]]
        return self.made("(" + word.join(p.sql for p in parts) + ")", Kind.FLAG, *parts)

    def _operator(self, node: dict[str, Any]) -> Value:
        kind, children = node["type"], node["children"]
        if kind == "OPERATOR_NOT":
            x = self.flag(children[0])
            return self.made(f"(NOT {x.sql})", Kind.FLAG, x)
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            x = self.value(children[0])
            return self.made(f"({x.sql} {kind[9:].replace('_', ' ')})", Kind.FLAG, x)
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            x, *options = self.alike([self.value(child) for child in children])
            word = "IN" if kind == "COMPARE_IN" else "NOT IN"
            return self.made(f"({x.sql} {word} ({', '.join(o.sql for o in options)}))", Kind.FLAG, x, *options)
        if kind == "OPERATOR_COALESCE":
            return self.forgiving(self.common("coalesce", [self.value(child) for child in children]))
        raise self.refuse(f"{kind.lower()} is not allowed in a mapping.")

    def _case(self, node: dict[str, Any]) -> Value:
        checks = node["case_checks"]
        whens = [self.flag(check["when_expr"]) for check in checks]
        results = [self.value(check["then_expr"]) for check in checks] + [self.value(node["else_expr"])]
        results = self.alike(results)
        arms = " ".join(f"WHEN {w.sql} THEN {r.sql}" for w, r in zip(whens, results, strict=False))
        return self.forgiving(self.like(f"(CASE {arms} ELSE {results[-1].sql} END)", results, *whens))

    def _cast(self, node: dict[str, Any]) -> Value:
        # The parser writes `true` and `false` as casts; every other conversion has a function of its own.
        child = node["child"]
        if (
            node["cast_type"]["id"] == "BOOLEAN"
            and child["class"] == "CONSTANT"
            and child["value"]["value"] in ("t", "f")
        ):
            return Value("TRUE" if child["value"]["value"] == "t" else "FALSE", Kind.FLAG)
        raise self.refuse("casts are not allowed; use to_number(), to_text(), to_date(), to_instant() or to_flag().")

    def _function(self, node: dict[str, Any]) -> Value:
        name = node["function_name"].lower()
        extras = node.get("filter") or node.get("order_bys", {}).get("orders") or node.get("distinct")
        if node.get("schema", "") not in ("", "main") or node.get("catalog") or extras or node.get("export_state"):
            raise self.refuse(f"{name} can only be called plainly, as {name}(...).")
        if name == "line_id":
            return self.line_id(node["children"])
        if name == "hash_customer":
            return self.hash_customer(node["children"])
        function = _FUNCTIONS.get(name)
        if function is None:
            raise self.refuse(f"there is no function {name!r}; there are: {', '.join(function_names())}.")
        if name in AGGREGATES and not self.scope.allow_aggregates:
            raise self.refuse(f"{name}() gathers several rows and may only stand in a record with `one_per`.")
        value = function(self, [self.value(child) for child in node["children"]])
        return replace(value, aggregate=True) if name in AGGREGATES else value

    def line_id(self, children: list[dict[str, Any]]) -> Value:
        if not self.scope.fields:
            raise self.refuse("line_id() may only make a field of a record without `one_per`.")
        names = []
        for child in children:
            if child["class"] != "COLUMN_REF" or len(child["column_names"]) != 1:
                raise self.refuse("line_id() takes names of this record's fields, e.g. line_id(item_code, quantity).")
            name = child["column_names"][0]
            if name not in self.scope.fields:
                raise self.refuse(f"line_id() knows no field {name!r}; there are: {', '.join(self.scope.fields)}.")
            names.append(name)
        if not names:
            raise self.refuse("line_id() needs the fields that tell the lines of a document apart.")
        self.scope.line_ids.append(tuple(names))
        return Value('"line_id"', Kind.TEXT)

    def hash_customer(self, children: list[dict[str, Any]]) -> Value:
        if len(children) != 1:
            raise self.refuse("hash_customer() takes one customer id.")
        # Only here may personal columns be read; and only the file's own, because the hashes are joined to its rows.
        inner = _Compiler(Scope(self.scope.file_columns), self.text)
        argument = inner.text_of(inner.value(children[0]))
        undeclared = argument.columns - self.scope.personal
        if undeclared:
            raise self.refuse(f"hash_customer() reads {sorted(undeclared)[0]!r}; name it under `personal` as well.")
        alias = self.scope.customer_ids.setdefault(argument.sql, f"customer_{len(self.scope.customer_ids)}")
        # The hash itself is no longer personal: it does not carry the column's name on.
        return Value(quote(alias), Kind.TEXT)

    # -- Kinds ---------------------------------------------------------------------------------------------------------

    def made(self, sql: str, kind: Kind, *sources: Value, computed: bool = False) -> Value:
        columns = frozenset().union(*(s.columns for s in sources))
        unread = tuple(dict.fromkeys(u for s in sources for u in s.unread))
        return Value(sql, kind, computed, columns, any(s.aggregate for s in sources), unread)

    def converted(self, sql: str, kind: Kind, x: Value) -> Value:
        """`x` converted by `sql`, remembering where that did not work."""
        value = self.made(sql, kind, x)
        if x.kind is not Kind.TEXT or not x.columns:
            return value
        return replace(value, unread=(*value.unread, f"(trim({x.sql}) <> '' AND {sql} IS NULL)"))

    def like(self, sql: str, values: list[Value], *others: Value) -> Value:
        kind = next((v.kind for v in values if v.kind is not Kind.NOTHING), Kind.NOTHING)
        return self.made(sql, kind, *values, *others, computed=any(v.computed for v in values))

    def forgiving(self, value: Value) -> Value:
        """Whoever writes alternatives expects that one of them cannot be read."""
        return replace(value, unread=())

    def flag(self, node: dict[str, Any]) -> Value:
        x = self.value(node)
        if x.kind not in (Kind.FLAG, Kind.NOTHING):
            raise self.refuse(f"a condition is needed where there is a {x.kind}.")
        return x

    def alike(self, values: list[Value]) -> list[Value]:
        """The values converted to one kind: text meets a number, a date or a time as that."""
        kinds = {v.kind for v in values} - {Kind.NOTHING}
        if len(kinds) <= 1:
            return values
        for target, convert in (
            (Kind.NUMBER, self.number_of), (Kind.DATE, self.date_of), (Kind.TIME, self.time_of),
            (Kind.INSTANT, self.instant_of), (Kind.FLAG, self.flag_of),
        ):  # fmt: skip
            if kinds == {Kind.TEXT, target}:
                if target is Kind.NUMBER and any(v.kind is Kind.TEXT and not v.columns for v in values):
                    break
                return [convert(v) if v.kind is Kind.TEXT else v for v in values]
        raise self.refuse(f"{' and '.join(sorted(kinds))} cannot be compared or mixed; convert one of them.")

    def common(self, function: str, values: list[Value]) -> Value:
        values = self.alike(values)
        return self.like(f"{function}({', '.join(v.sql for v in values)})", values)

    def text_of(self, x: Value) -> Value:
        if x.kind is Kind.NUMBER:
            # A whole number that pandas or a spreadsheet made a float is the same code: 13085.0 is 13085.
            whole = f"(CASE WHEN {x.sql} = trunc({x.sql}) AND abs({x.sql}) < 1e15 THEN TRY_CAST({x.sql} AS BIGINT) END)"
            return self.made(f"coalesce(CAST({whole} AS VARCHAR), CAST({x.sql} AS VARCHAR))", Kind.TEXT, x)
        if x.kind is Kind.OTHER:
            raise self.refuse("a list or structure cannot be used as a value.")
        return x if x.kind is Kind.TEXT else self.made(f"CAST({x.sql} AS VARCHAR)", Kind.TEXT, x)

    def number_of(self, x: Value) -> Value:
        if x.kind is Kind.TEXT:
            return self.converted(f"TRY_CAST({self.decimal_text(x)} AS DOUBLE)", Kind.NUMBER, x)
        if x.kind is Kind.FLAG:
            return self.made(f"CAST({x.sql} AS INTEGER)", Kind.NUMBER, x)
        if x.kind not in (Kind.NUMBER, Kind.NOTHING):
            raise self.refuse(f"a {x.kind} is no number.")
        return x

    def decimal_text(self, x: Value) -> str:
        if self.scope.decimal_comma:
            return f"replace(replace(trim({x.sql}), '.', ''), ',', '.')"
        return f"trim({x.sql})"

    def double_of(self, x: Value) -> str:
        return f"CAST({self.number_of(x).sql} AS DOUBLE)"

    def date_of(self, x: Value) -> Value:
        return self.converted(as_date(x, self.scope), Kind.DATE, x)

    def time_of(self, x: Value) -> Value:
        return self.converted(as_time(x), Kind.TIME, x)

    def instant_of(self, x: Value) -> Value:
        return self.converted(as_instant(x, self.scope), Kind.INSTANT, x)

    def flag_of(self, x: Value) -> Value:
        return self.converted(as_flag(x), Kind.FLAG, x)

    def constant_text(self, x: Value, what: str) -> str:
        if x.kind is not Kind.TEXT or x.columns or not x.sql.startswith("'") or not x.sql.endswith("'"):
            raise self.refuse(f"{what} must be a constant text.")
        return x.sql


# -- Conversions that `validate` shares --------------------------------------------------------------------------------

_ISO_DATE = r"\d{4}-\d{2}-\d{2}"
_ISO_TIME = _ISO_DATE + r"([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?"
_OFFSET = r"(Z|[+-]\d{2}(:?\d{2})?)"


def as_time(x: Value) -> str:
    """A local time without zone; text must be ISO (2010-01-31 or 2010-01-31 17:05), any other form needs a format."""
    if x.kind is Kind.TEXT:
        return (
            f"(CASE WHEN regexp_full_match(trim({x.sql}), '{_ISO_TIME}') THEN TRY_CAST(trim({x.sql}) AS TIMESTAMP) END)"
        )
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
        f"CASE WHEN regexp_full_match(trim({x.sql}), '{_ISO_TIME}{_OFFSET}') "
        f"THEN TRY_CAST(trim({x.sql}) AS TIMESTAMPTZ) END"
    )
    return f"coalesce({local}, {offset})"


def as_date(x: Value, scope: Scope) -> str:
    if x.kind is Kind.TEXT:
        return f"(CASE WHEN regexp_full_match(trim({x.sql}), '{_ISO_DATE}') THEN TRY_CAST(trim({x.sql}) AS DATE) END)"
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


# -- Functions ---------------------------------------------------------------------------------------------------------

Function = Callable[[_Compiler, list[Value]], Value]


def _arguments(c: _Compiler, name: str, values: list[Value], least: int, most: int | None = None) -> None:
    if len(values) < least or (most is not None and len(values) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise c.refuse(f"{name}() takes {wanted} values, not {len(values)}.")


def _text_function(name: str, sql: str, count: int = 1, result: Kind = Kind.TEXT) -> Function:
    def function(c: _Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, count, count)
        return c.made(sql.format(*(c.text_of(v).sql for v in values)), result, *values)

    return function


def _number_function(name: str, sql: str, count: int = 1) -> Function:
    def function(c: _Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, count, count)
        return c.made(sql.format(*(c.double_of(v) for v in values)), Kind.NUMBER, *values, computed=True)

    return function


def _same_kind(name: str, sql_name: str, least: int, most: int | None = None) -> Function:
    def function(c: _Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, least, most)
        return c.common(sql_name, values)

    return function


def _minus(c: _Compiler, values: list[Value]) -> Value:
    signed = " - ".join(c.double_of(v) for v in values) if len(values) == 2 else f"-{c.double_of(values[0])}"
    return c.made(f"({signed})", Kind.NUMBER, *values, computed=True)


def _round(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "round", values, 1, 2)
    digits = values[1].sql if len(values) == 2 else "0"
    if not digits.lstrip("-").isdigit():
        raise c.refuse("round() takes the number of decimals as a constant whole number.")
    return c.made(f"round({c.double_of(values[0])}, {digits})", Kind.NUMBER, values[0], computed=True)


def _concat(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "concat", values, 1)
    return c.made(f"concat({', '.join(c.text_of(v).sql for v in values)})", Kind.TEXT, *values)


def _substr(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "substr", values, 2, 3)
    rest = "".join(f", TRY_CAST({c.number_of(v).sql} AS BIGINT)" for v in values[1:])
    return c.made(f"substr({c.text_of(values[0]).sql}{rest})", Kind.TEXT, *values)


def _matches(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "matches", values, 2, 2)
    pattern = c.constant_text(values[1], "the pattern of matches()")
    with _session().cursor() as db:
        try:
            db.execute(f"SELECT regexp_matches('', {pattern})")
        except duckdb.Error as error:
            raise c.refuse(f"the pattern {pattern} cannot be read: {_first_line(error)}.") from error
    return c.made(f"regexp_matches({c.text_of(values[0]).sql}, {pattern})", Kind.FLAG, values[0])


def _number(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_number", values, 1, 1)
    return c.number_of(values[0])


def _text(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_text", values, 1, 1)
    return c.text_of(values[0])


def _flag(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_flag", values, 1, 1)
    return c.flag_of(values[0])


def _by_format(c: _Compiler, values: list[Value], name: str) -> Value:
    """The first value, parsed by the format that is the second one, as a local time."""
    layout = c.constant_text(values[1], f"the format of {name}()")
    try:
        with _session().cursor() as db:
            db.execute(f"SELECT try_strptime('', {layout})")
    except duckdb.Error as error:
        raise c.refuse(f"the format {layout} cannot be read: {_first_line(error)}.") from error
    text = c.text_of(values[0])
    return c.converted(f"try_strptime(trim({text.sql}), {layout})", Kind.TIME, text)


def _date(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "to_date", values, 1, 2)
    return c.date_of(values[0] if len(values) == 1 else _by_format(c, values, "to_date"))


def _instant(c: _Compiler, values: list[Value]) -> Value:
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


def _days_after(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "days_after", values, 2, 2)
    days = f"TRY_CAST({c.number_of(values[1]).sql} AS INTEGER)"
    return c.made(f"({c.date_of(values[0]).sql} + {days})", Kind.DATE, *values)


def _aggregate(name: str, sql: str, kind: Kind | None = None) -> Function:
    def function(c: _Compiler, values: list[Value]) -> Value:
        _arguments(c, name, values, 1, 1)
        x = values[0]
        if x.aggregate:
            raise c.refuse(f"{name}() cannot gather what is already gathered.")
        inner = c.double_of(x) if kind is Kind.NUMBER and name == "sum" else x.sql
        return c.made(sql.format(inner), kind or x.kind, x, computed=x.computed or name == "sum")

    return function


def _count(c: _Compiler, values: list[Value]) -> Value:
    _arguments(c, "count", values, 1, 1)
    return c.made(f"count({values[0].sql})", Kind.NUMBER, values[0])


AGGREGATES = {"mode", "min", "max", "sum", "count"}
_COMPARISONS = {
    "COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM", "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}  # fmt: skip
_FUNCTIONS: dict[str, Function] = {
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
    return sorted([name for name in _FUNCTIONS if name.isidentifier()] + special)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200].rstrip(".")
