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
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb

from connectors.files.decimals import sql_with_point
from connectors.files.functions import AGGREGATES, FUNCTIONS, function_names
from connectors.files.values import (
    ExpressionError,
    Kind,
    Scope,
    Value,
    as_date,
    as_flag,
    as_instant,
    as_text,
    as_time,
    first_line,
    literal,
    parser_session,
    quote,
)  # fmt: skip

_COMPARISONS = {
    "COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM", "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}  # fmt: skip

LONGEST = 5000


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
def parse(text: str) -> dict[str, Any]:
    """The syntax tree of one expression; refuses what is not exactly one, and says where quotes are missing."""
    try:
        return _tree(text)
    except ExpressionError as error:
        words = [] if "\x00" in text or len(text) > LONGEST else _unquoted(text)
        if not words:
            raise
        raise ExpressionError(
            f"The expression {text!r} cannot be read: a column whose name is a word of SQL stands in double quotes, "
            f"here {' and '.join(map(quote, words))}."
        ) from error


def _unquoted(text: str) -> list[str]:
    """Words of SQL with which the expression can be read as soon as they are quoted, as names are."""
    data = text.encode()  # the parser counts in bytes
    tokens = duckdb.tokenize(text)
    ends = [*(start for start, _ in tokens[1:]), len(data)]
    found = [
        (start, data[start:end].rstrip().decode())
        for (start, kind), end in zip(tokens, ends, strict=False)
        if kind == duckdb.token_type.keyword and data[end : end + 1] != b"("
    ]
    words = list(dict.fromkeys(word for _, word in found))
    for chosen in (*([word] for word in words), words):
        quoted = data
        for start, word in reversed(found):
            if word in chosen:
                quoted = quoted[:start] + quote(word).encode() + quoted[start + len(word) :]
        try:
            _tree(quoted.decode())
        except ExpressionError:
            continue
        return chosen
    return []


def _tree(text: str) -> dict[str, Any]:
    if "\x00" in text or len(text) > LONGEST:
        raise ExpressionError(f"The expression {text[:60]!r} is too long or holds a NUL character; shorten it.")
    with parser_session().cursor() as db:
        try:
            row = db.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [f"SELECT {text}\n"]).fetchone()
        except duckdb.Error as error:
            raise ExpressionError(f"The expression {text!r} cannot be read: {first_line(error)}.") from error
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


def compile_expression(text: str, scope: Scope, kind: Kind | None = None) -> Value:
    """SQL for one expression of a mapping; a text, date or time is converted to `kind`, a date or an instant, unless it
    gathers rows. Raises ExpressionError naming what is not allowed."""
    compiler = Compiler(scope, text)
    try:
        value = compiler.value(parse(text))
        if kind and value.kind in (Kind.TEXT, Kind.DATE, Kind.TIME) and value.kind is not kind and not value.aggregate:
            value = compiler.date_of(value) if kind is Kind.DATE else compiler.instant_of(value)
        return value
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


class Compiler:
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
            f"A constant text is written in single quotes inside double quotes: \"'{name}'\"."
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
        function = FUNCTIONS.get(name)
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
        inner = Compiler(Scope(self.scope.file_columns), self.text)
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
        return Value(sql, kind, computed, columns, any(s.aggregate for s in sources), unread=unread)

    def converted(self, sql: str, kind: Kind, x: Value) -> Value:
        """`x` converted by `sql`, remembering where that did not work."""
        if self.scope.hoisted is not None and any(x.sql == column.sql for column in self.scope.file_columns.values()):
            sql = quote(self.scope.hoisted.setdefault(sql, f"h:{len(self.scope.hoisted)}"))
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
        if x.kind is Kind.OTHER:
            raise self.refuse("a list or structure cannot be used as a value.")
        return x if x.kind is Kind.TEXT else self.made(as_text(x), Kind.TEXT, x)

    def number_of(self, x: Value) -> Value:
        if x.kind is Kind.TEXT:
            self.scope.reads_number(x)
            return self.converted(f"TRY_CAST({self.decimal_text(x)} AS DOUBLE)", Kind.NUMBER, x)
        if x.kind is Kind.FLAG:
            return self.made(f"CAST({x.sql} AS INTEGER)", Kind.NUMBER, x)
        if x.kind not in (Kind.NUMBER, Kind.NOTHING):
            raise self.refuse(f"a {x.kind} is no number.")
        return x

    def decimal_text(self, x: Value) -> str:
        # A cast passes over blanks around the number by itself.
        return sql_with_point(x.sql) if self.scope.decimal_comma else x.sql

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
