"""One kind of a mapping, compiled against the columns of one file: the SQL that makes its records.

    source ── values ──► base ──► one query per record mapping ──► fields, record_id, payload, reason
                          └─ base_reason: quarantine rules, or that no record applies

`compile_kind` raises before any row is read when the mapping asks for a column the file does not have or combines kinds
that do not fit. The SQL is run by `importer`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping as Dict
from dataclasses import dataclass

from connectors.errors import PermanentError
from connectors.files import validate
from connectors.files.expression import (
    ExpressionError,
    Kind,
    Scope,
    Value,
    column_names,
    compile_condition,
    compile_expression,
    kind_of,
    literal,
    quote,
)
from connectors.files.mapping import KindMapping, Mapping, RecordMapping
from connectors.files.readers import column_name
from connectors.files.validate import Check, final, raw
from connectors.records import ENTITIES, Record, field_type


@dataclass(frozen=True)
class RecordPlan:
    """SQL of one record mapping.

    `query` yields file_row, every field of the entity, record_id, payload and `reason` (index into `checks`, null when
    the row passes). `repeats` fills a table (file_row, ordinal) with the second and later identical lines; `conflicts`
    finds rows of one key with different values. For a record with `one_per` the query also yields `row_count`, and
    `members` joins base rows to the keys of its groups.
    """

    index: int
    entity: str
    query: str
    checks: tuple[Check, ...]
    grouped: bool
    repeats: str | None
    conflicts: str | None
    members: str | None


@dataclass(frozen=True)
class KindPlan:
    """What `importer` runs for one kind of one file. `base` selects from the view `source`; `customer_ids` are the
    argument SQLs whose hashes it expects in the tables of those names."""

    base: str
    base_reasons: tuple[tuple[str, str], ...]
    customer_ids: Dict[str, str]
    records: tuple[RecordPlan, ...]
    entity: str
    drop_repeats: bool


NO_RULE = ("no_rule_applies", "no record of the mapping applies to this row")
CONFLICT = ("key_repeated", "the file has this key more than once, with different values")


def wanted_columns(kind: KindMapping) -> frozenset[str]:
    """Every name a kind's expressions mention."""
    texts = [*kind.values.values(), *kind.quarantine.values()]
    for record in kind.records:
        texts += [*record.fields.values(), *([record.when] if record.when else [])]
    return frozenset().union(*(column_names(text) for text in texts))


def compile_kind(mapping: Mapping, name: str, columns: Dict[str, str], latest: dt.datetime) -> KindPlan:
    """Compiles one kind for a file with these columns (name -> DuckDB type).

    `latest` is the instant after which a fact counts as being in the future. Raises PermanentError (ExpressionError)
    naming the first expression, column or field that does not fit.
    """
    return _Compiler(mapping, name, columns, latest).compile()


class _Compiler:
    def __init__(self, mapping: Mapping, name: str, columns: Dict[str, str], latest: dt.datetime):
        self.mapping, self.kind, self.latest = mapping, mapping.kind(name), latest
        self.file_columns = {
            column: Value(column_name(column), kind_of(sql_type), columns=frozenset([column]))
            for column, sql_type in columns.items()
        }
        self.names = dict(self.file_columns)
        self.customer_ids: dict[str, str] = {}
        self.used: set[str] = set()

    def compile(self) -> KindPlan:
        steps = []
        for name, text in self.kind.values.items():
            value = self.expression(text)
            steps.append((name, value.sql))
            self.names[name] = Value(quote(f"v:{name}"), value.kind, value.computed, value.columns)
        rules = [(name, self.condition(text)) for name, text in self.kind.quarantine.items()]
        whens = [self.condition(record.when) if record.when else "TRUE" for record in self.kind.records]
        compiled = [self.record(i, r, w) for i, (r, w) in enumerate(zip(self.kind.records, whens, strict=True))]
        rows_own = [w for r, w in zip(self.kind.records, whens, strict=True) if not r.one_per] or whens
        applies = " OR ".join(f"coalesce({when}, FALSE)" for when in rows_own)
        arms = "".join(f"WHEN {sql} THEN {i} " for i, (_, sql) in enumerate(rules))
        routed = f"CASE {arms}WHEN NOT ({applies}) THEN {len(rules)} END AS base_reason"
        payload = self.payload_columns()
        reasons = [(name, f"rule of the mapping: {self.kind.quarantine[name]}") for name, _ in rules]
        return KindPlan(
            base=self.base(steps, routed, payload),
            base_reasons=(*reasons, NO_RULE),
            customer_ids={alias: sql for sql, alias in self.customer_ids.items()},
            records=tuple(compiled),
            entity=self.kind.records[0].entity,
            drop_repeats=self.kind.repeated_lines == "drop",
        )

    # -- Expressions ---------------------------------------------------------------------------------------------------

    def scope(self, **changes: object) -> Scope:
        return Scope(
            self.names,
            self.file_columns,
            timezone=self.mapping.timezone,
            decimal_comma=self.mapping.reading.decimal_comma,
            personal=self.mapping.personal,
            customer_ids=self.customer_ids,
            **changes,
        )

    def expression(self, text: str, **changes: object) -> Value:
        value = compile_expression(text, self.scope(**changes))
        self.used |= value.columns
        return value

    def condition(self, text: str) -> str:
        value = compile_condition(text, self.scope())
        self.used |= value.columns
        return value.sql

    # -- Base ----------------------------------------------------------------------------------------------------------

    def payload_columns(self) -> list[str]:
        """Columns the landed payload keeps: those the mapping uses or asks to keep, never personal ones.

        A column that nobody mentioned may hold anything, a telephone number too, and is not kept.
        """
        absent = [column for column in self.mapping.keep_columns if column not in self.file_columns]
        if absent:
            raise PermanentError(
                f"keep_columns names {absent[0]!r}, which the file does not have; it has: {', '.join(self.file_columns)}."
            )
        kept = self.used | set(self.mapping.keep_columns)
        return [column for column in self.file_columns if column in kept and column not in self.mapping.personal]

    def base(self, steps: list[tuple[str, str]], routed: str, payload: list[str]) -> str:
        columns = [column for column in self.file_columns if column in self.used or column in payload]
        selected = "".join(f", source.{column_name(column)}" for column in columns)
        hashes = "".join(f", {quote(alias)}.hash AS {quote(alias)}" for alias in self.customer_ids.values())
        joins = "".join(
            f" LEFT JOIN customer_hashes AS {quote(alias)} ON {quote(alias)}.id = {sql}"
            for sql, alias in self.customer_ids.items()
        )
        query = f"SELECT source.file_row{selected}{hashes} FROM source{joins}"
        for name, sql in steps:
            query = f"SELECT *, {sql} AS {quote(f'v:{name}')} FROM ({query})"
        return f"SELECT *, {routed}, {self.payload(payload)} AS payload FROM ({query})"

    def payload(self, columns: list[str]) -> str:
        parts = []
        for column in columns:
            value = self.file_columns[column]
            sql = value.sql
            if value.kind is Kind.NUMBER:
                # JSON knows no NaN and no infinity.
                sql = f"CASE WHEN isfinite(CAST({sql} AS DOUBLE)) THEN {sql} END"
            elif value.kind in (Kind.DATE, Kind.TIME, Kind.INSTANT):
                sql = f"CAST({sql} AS VARCHAR)"
            parts.append(f"{literal(column)}, {sql}")
        return f"CAST(json_object({', '.join(parts)}) AS VARCHAR)"

    # -- Records -------------------------------------------------------------------------------------------------------

    def record(self, index: int, record: RecordMapping, when: str) -> RecordPlan:
        model, grouped = ENTITIES[record.entity], bool(record.one_per)
        lines: list[tuple[str, ...]] = []
        values = {}
        for name, text in record.fields.items():
            try:
                values[name] = self.expression(
                    text,
                    allow_aggregates=grouped and name not in record.one_per,
                    line_ids=lines,
                    fields={} if grouped else {f: Value(final(f), Kind.TEXT) for f in model.model_fields},
                )
            except ExpressionError as error:
                raise ExpressionError(f"{record.entity}.{name}: {error}") from error
        self.complete(model, record)
        late = [n for n in values if '"line_id"' in values[n].sql]
        early = [n for n in values if n not in late]
        if len(set(lines)) > 1:
            raise PermanentError(f"{record.entity}: line_id() may be used with one set of fields only.")
        if lines and set(lines[0]) & set(late):
            raise PermanentError(f"{record.entity}: line_id() cannot be made of the field it makes.")
        latest = None if model.plannable else self.latest
        every = [c for n in model.model_fields if n in values for c in validate.checks(model, n, values[n].kind, latest)]
        chosen = f"base_reason IS NULL AND coalesce({when}, FALSE) AND file_row NOT IN (SELECT file_row FROM set_aside)"
        rows = self.rows(index, record, values, early, chosen, bool(lines), grouped)
        fields = self.converted(model, values, early, rows, absent=[n for n in model.model_fields if n not in values])
        repeats = conflicts = members = None
        if lines:
            repeats = self.repeats(index, model, lines[0], late, fields)
            line = ", ".join(f"coalesce({_as_text(model, n)}, '')" for n in lines[0])
            fields = (
                f"SELECT *, substr(md5(concat_ws(chr(31), {line})), 1, 16) || '-' || ordinal AS \"line_id\" FROM ({fields})"
            )
            raws = "".join(f", {values[n].sql} AS {raw(n)}" for n in late)
            fields = self.converted(model, values, late, f"SELECT *{raws} FROM ({fields})", absent=[])
        elif not grouped:
            conflicts = self.conflicts(model, fields)
        if grouped:
            on = " AND ".join(f"groups.{raw(n)} IS NOT DISTINCT FROM ({values[n].sql})" for n in record.one_per)
            members = f"base JOIN bad_groups AS groups ON {on} WHERE {chosen}"
        return RecordPlan(
            index, record.entity, self.query(model, record, fields, every), tuple(every), grouped, repeats, conflicts, members
        )

    def complete(self, model: type[Record], record: RecordMapping) -> None:
        """Every field that must have a value gets one from the mapping."""
        for name, info in model.model_fields.items():
            if info.is_required() and name not in record.fields and name not in self.mapping.defaults:
                raise PermanentError(
                    f"The mapping {self.mapping.source} gives {record.entity} no {name}; add it to its fields or to defaults."
                )

    def rows(
        self, index: int, record: RecordMapping, values: Dict[str, Value], early: list[str], chosen: str, lines: bool,
        grouped: bool,
    ) -> str:  # fmt: skip
        if grouped:
            keys = ", ".join(values[n].sql for n in record.one_per)
            # A field without an aggregate is the same in the whole group; were it not, min() does not mind row order.
            raws = "".join(
                f", {v.sql if n in record.one_per or v.aggregate else f'min({v.sql})'} AS {raw(n)}"
                for n, v in values.items()
            )
            return (
                f"SELECT min(file_row) AS file_row, count(*) AS row_count, json_object('rows', count(*), "
                f"'first_row', min(file_row))::VARCHAR AS payload{raws} FROM base WHERE {chosen} GROUP BY {keys}"
            )
        raws = "".join(f", {values[n].sql} AS {raw(n)}" for n in early)
        # What a line_id field is made of besides the id must come along too.
        extra = ", * EXCLUDE (file_row, payload, base_reason, ordinal)" if lines else ""
        if not lines:
            return f"SELECT file_row, payload{raws} FROM base WHERE {chosen}"
        dropped = f" AND repeats_{index}.ordinal IS NULL" if self.kind.repeated_lines == "drop" else ""
        return (
            f"SELECT file_row, payload{raws}{extra}, coalesce(ordinal, 1) AS ordinal "
            f"FROM base LEFT JOIN repeats_{index} USING (file_row) WHERE {chosen}{dropped}"
        )

    def converted(
        self, model: type[Record], values: Dict[str, Value], names: list[str], rows: str, absent: list[str]
    ) -> str:
        scope = self.scope()
        step = "".join(f", {validate.conversion(model, n, values[n], scope)} AS {validate.converted(n)}" for n in names)
        last = ""
        for name in [*names, *absent]:
            default = validate.default_of(model, name, self.mapping.defaults)
            if name in self.mapping.defaults:
                default = validate.checked_default(model, name, default)
            fallback = validate.constant(model, name, default)
            if name in absent:
                last += f", {fallback} AS {final(name)}"
            elif default is None:
                last += f", {validate.converted(name)} AS {final(name)}"
            else:
                last += f", coalesce({validate.converted(name)}, {fallback}) AS {final(name)}"
        return f"SELECT *{last} FROM (SELECT *{step} FROM ({rows}))"

    def repeats(self, index: int, model: type[Record], line: tuple[str, ...], late: list[str], fields: str) -> str:
        """Fills `repeats_<index>` with the ordinal of each line after the first of those with the same `line` fields."""
        same = ", ".join(final(n) for n in line)
        # Lines that agree in `line` but differ elsewhere are numbered by their content, so that row order is no matter.
        order = ", ".join(final(n) for n in model.model_fields if n not in late)
        return (
            f"WITH lines AS (SELECT *, hash({same}) AS same FROM ({fields})) "
            f"SELECT file_row, ordinal FROM (SELECT file_row, "
            f"row_number() OVER (PARTITION BY {same} ORDER BY {order}, file_row) AS ordinal FROM lines "
            f"WHERE same IN (SELECT same FROM lines GROUP BY same HAVING count(*) > 1)) WHERE ordinal > 1"
        )

    def conflicts(self, model: type[Record], fields: str) -> str:
        key = ", ".join(final(n) for n in model.key)
        content = ", ".join(final(n) for n in model.model_fields)
        return (
            f"WITH lines AS (SELECT file_row, hash({key}) AS k, hash({content}) AS content FROM ({fields})) "
            f"SELECT file_row FROM lines WHERE k IN "
            f"(SELECT k FROM lines GROUP BY k HAVING count(*) > 1 AND min(content) <> max(content))"
        )

    def query(self, model: type[Record], record: RecordMapping, fields: str, every: list[Check]) -> str:
        arms = " ".join(f"WHEN {check.fails} THEN {i}" for i, check in enumerate(every))
        reason = f"CAST(CASE {arms} END AS SMALLINT)" if every else "CAST(NULL AS SMALLINT)"
        shown = ", ".join(
            f"CAST({final(n)} AS {validate.sql_type(field_type(model, n)[0])}) AS {quote(n)}" for n in model.model_fields
        )
        counted = ", row_count" if record.one_per else ""
        keys = "".join(f", {raw(n)}" for n in record.one_per)
        return (
            f"SELECT file_row, {shown}, {validate.record_id_sql(model)} AS record_id, payload, "
            f"{reason} AS reason{counted}{keys} FROM ({fields})"
        )


def _as_text(model: type[Record], name: str) -> str:
    """A field in a spelling that will never change: line ids are made of it."""
    target, f = validate.sql_type(field_type(model, name)[0]), final(name)
    if target == "TIMESTAMPTZ":
        return f"CAST(epoch_us({f}) AS VARCHAR)"
    return f if target == "VARCHAR" else f"CAST({f} AS VARCHAR)"
