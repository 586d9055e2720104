"""One kind of a mapping, compiled against the columns of one file: the SQL that makes its records.

    source ── values ──► base ──► one query per record mapping ──► fields, record_id, payload, reason
                          └─ base_reason: quarantine rules, or that no record applies

`compile_kind` raises before any row is read when the mapping asks for a column the file does not have or combines kinds
that do not fit. The SQL is run by `importer`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace

from connectors.errors import PermanentError
from connectors.files import validate
from connectors.files.expression import column_names, compile_condition, compile_expression
from connectors.files.lookups import TIMES, Lookups
from connectors.files.mapping import KindMapping, Mapping, RecordMapping
from connectors.files.readers import column_name
from connectors.files.validate import Check, final, raw
from connectors.files.values import ExpressionError, Kind, Scope, Value, literal, of_column, quote
from connectors.records import ENTITIES, Record, field_type


@dataclass(frozen=True)
class Twins:
    """How rows that share something are found in two passes, so that only those few are sorted.

    `hashes` gives (file_row, same) of all rows; `rows` looks closer at those listed in the table `candidates`.
    """

    hashes: str
    rows: str


@dataclass(frozen=True)
class RecordPlan:
    """SQL of one record mapping.

    `query` yields file_row, every field of the entity, record_id, payload and `reason` (index into `checks`, null when
    the row passes); with `one_per` also `row_count`. `repeats` gives (file_row, ordinal) of the second and later
    identical lines, for the table `repeats_<index>`, `conflicts` the rows of one key with different values, `members`
    the rows of the groups in the table `bad_groups`. `numbered`: its line ids tell all its records apart.
    """

    index: int
    entity: str
    query: str
    checks: tuple[Check, ...]
    grouped: bool
    repeats: Twins | None
    conflicts: Twins | None
    members: str | None
    numbered: bool

    def queries(self) -> list[str]:
        """All its SQL."""
        twins = [sql for two in (self.repeats, self.conflicts) if two for sql in (two.hashes, two.rows)]
        return [self.query, *twins, *([self.members] if self.members else [])]


@dataclass(frozen=True)
class KindPlan:
    """What `importer` runs for one kind of one file. `base` selects from the view `source`; `customer_ids` are the
    argument SQLs whose hashes it expects in the tables of those names, `lookups` the tables it expects, with their
    queries. `streamed_base` is the same without lookups, for files too large to be gone through twice. The records'
    queries expect `payload` beside the columns of `base`; `made_of_a_row` counts the records that a row becomes.
    `number_texts` are the texts of `source` that are read as numbers."""

    base: str
    streamed_base: str
    lookups: Dict[str, str]
    payload: str
    made_of_a_row: str
    base_reasons: tuple[tuple[str, str], ...]
    skips: range
    customer_ids: Dict[str, str]
    records: tuple[RecordPlan, ...]
    entity: str
    drop_repeats: bool
    number_texts: frozenset[str]


@dataclass(frozen=True)
class Draft:
    """One record mapping, its expressions compiled: `late` are the fields made with line_id, `line` its arguments."""

    record: RecordMapping
    model: type[Record]
    values: Dict[str, Value]
    late: tuple[str, ...]
    line: tuple[str, ...]


NO_RULE = ("no_rule_applies", "no record of the mapping applies to this row")
_TIME_FIELDS = {"DATE": Kind.DATE, "TIMESTAMPTZ": Kind.INSTANT}
CONFLICT = ("key_repeated", "the file has this key more than once, with different values")


def wanted_columns(kind: KindMapping) -> frozenset[str]:
    """Every name a kind's expressions mention."""
    texts = [*kind.values.values(), *kind.quarantine.values(), *kind.skip.values()]
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
        self.mapping, self.kind, self.latest, self.types = mapping, mapping.kind(name), latest, columns
        self.file_columns = {
            column: of_column(column_name(column), column, sql_type) for column, sql_type in columns.items()
        }
        self.names = dict(self.file_columns)
        self.customer_ids: dict[str, str] = {}
        self.hoisted: dict[str, str] = {}
        self.lookups = Lookups()
        # The same names without a column of `base` in them: lookups are made before it.
        self.spelled = dict(self.file_columns)
        self.used: set[str] = set()
        self.number_texts: set[str] = set()

    def compile(self) -> KindPlan:
        rules = {**self.kind.quarantine, **self.kind.skip}
        steps: list[dict[str, str]] = []
        decisive = self.decisive_values([*rules.values(), *(record.when or "TRUE" for record in self.kind.records)])
        for name, text in self.kind.values.items():
            self.names[name] = value = self.expression(text)
            self.spelled[name] = self.spell(text)
            if name in decisive:
                steps.append({f"v:{name}": value.sql})
                self.names[name] = replace(value, sql=quote(f"v:{name}"))
        conditions = [self.condition(record.when) if record.when else "TRUE" for record in self.kind.records]
        steps.append({f"w:{i}": sql for i, sql in enumerate(conditions)})
        whens = [quote(f"w:{i}") for i in range(len(conditions))]
        arms = "".join(f"WHEN {self.condition(text)} THEN {i} " for i, text in enumerate(rules.values()))
        drafts = [self.draft(record) for record in self.kind.records]
        records = [self.record(i, draft, when) for i, (draft, when) in enumerate(zip(drafts, whens, strict=True))]
        own = [i for i, record in enumerate(self.kind.records) if not record.one_per] or range(len(whens))
        applies = " OR ".join(f"coalesce({whens[i]}, FALSE)" for i in own)
        # Where a condition cannot be decided because a value cannot be read, that record's checks say which.
        undecided = " ".join(f"WHEN ({whens[i]}) IS NULL THEN {i}" for i in own)
        maybe = f"CASE WHEN {applies} THEN NULL {undecided} END"
        nothing = f"NOT ({applies}) AND ({maybe}) IS NULL"
        routed = {
            "base_reason": f"CAST(CASE {arms}WHEN {nothing} THEN {len(rules)} END AS SMALLINT)",
            "maybe": f"CAST({maybe} AS SMALLINT)",
        }
        # Every column is known to be used or not from here on.
        payload = self.payload(self.payload_columns())
        made_of_a_row = " + ".join(f"CAST(coalesce({whens[i]}, FALSE) AS INTEGER)" for i in own)
        later = " ".join([payload, made_of_a_row, *(sql for record in records for sql in record.queries())])
        return KindPlan(
            base=self.base(steps, routed, later),
            streamed_base=self.base(steps, routed, later, streamed=True),
            lookups=self.lookups.tables,
            payload=payload,
            made_of_a_row=made_of_a_row,
            base_reasons=(*((name, f"rule of the mapping: {text}") for name, text in rules.items()), NO_RULE),
            skips=range(len(self.kind.quarantine), len(rules)),
            customer_ids={alias: sql for sql, alias in self.customer_ids.items()},
            records=tuple(records),
            entity=self.kind.records[0].entity,
            drop_repeats=self.kind.repeated_lines == "drop",
            number_texts=frozenset(self.number_texts),
        )

    def decisive_values(self, texts: list[str]) -> set[str]:
        """The `values` that conditions need, so every row does; the others are made only where a record uses them."""
        needed: set[str] = set()
        pending = set().union(*(column_names(text) for text in texts))
        while pending:
            name = pending.pop()
            if name in self.kind.values and name not in needed:
                needed.add(name)
                pending |= column_names(self.kind.values[name])
        return needed

    # -- Expressions ---------------------------------------------------------------------------------------------------

    def scope(self, **changes: object) -> Scope:
        usual = Scope(
            self.names,
            self.file_columns,
            timezone=self.mapping.timezone,
            decimal_comma=bool(self.mapping.reading.decimal_comma),
            personal=self.mapping.personal,
            customer_ids=self.customer_ids,
            hoisted=self.hoisted,
        )
        return replace(usual, **changes)

    def expression(self, text: str, kind: Kind | None = None, **changes: object) -> Value:
        value = compile_expression(text, self.scope(**changes), kind)
        self.used |= value.columns
        return value

    def spell(self, text: str, target: str = "", **changes: object) -> Value:
        """The value of an expression by the columns of `source` alone, for a field of the SQL type `target`."""
        scope = self.scope(**changes, names=self.spelled, hoisted=None, number_texts=self.number_texts)
        value = compile_expression(text, scope, _TIME_FIELDS.get(target))
        if value.kind is Kind.TEXT and validate.is_number(target):
            scope.reads_number(value)
        return value

    def field(self, text: str, target: str, **changes: object) -> Value:
        """The value of a field of the SQL type `target`."""
        ids: dict[str, str] = {}
        value = self.spell(text, target, **changes, customer_ids=ids)
        if value.kind in TIMES and len(value.columns) == 1 and not value.aggregate and not ids:
            (column,) = value.columns
            if value.sql != self.file_columns[column].sql:
                self.used.add(column)
                return self.lookups.add(column, value)
        return self.expression(text, _TIME_FIELDS.get(target), **changes)

    def condition(self, text: str) -> str:
        value = compile_condition(text, self.scope())
        self.spell(text)
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
                f"keep_columns names {absent[0]!r}, which is not in the file; it has: {', '.join(self.file_columns)}."
            )
        kept = self.used | set(self.mapping.keep_columns)
        return [column for column in self.file_columns if column in kept and column not in self.mapping.personal]

    def base(self, steps: list[dict[str, str]], routed: dict[str, str], later: str, streamed: bool = False) -> str:
        """SQL of the rows with what concerns all records: the columns that the SQL `later` mentions, and those of
        `routed`. Each of `steps` (name -> SQL) may use the names of those before it."""
        kept = self.used | set(self.mapping.keep_columns)
        columns = [f"s:{column}" for column in self.file_columns if column in kept]
        query = "SELECT source.file_row" + "".join(f", source.{quote(name)}" for name in columns)
        query += "".join(f", {quote(alias)}.hash AS {quote(alias)}" for alias in self.customer_ids.values())
        query += "".join(f", {sql} AS {quote(alias)}" for sql, alias in self.hoisted.items())
        query += self.lookups.anew if streamed else "".join(f", {quote(name)}" for name in self.lookups.names)
        query += " FROM source" + "".join(
            f" LEFT JOIN customer_hashes AS {quote(alias)} ON {quote(alias)}.id = {sql}"
            for sql, alias in self.customer_ids.items()
        )
        query += "" if streamed else self.lookups.joins
        for step in steps:
            query = f"SELECT *{_columns(step)} FROM ({query})"
        names = [*columns, *self.customer_ids.values(), *self.hoisted.values(), *self.lookups.names]
        names += [name for step in steps for name in step]
        shown = "".join(f", {quote(name)}" for name in names if quote(name) in later)
        return f"SELECT file_row{shown}{_columns(routed)} FROM ({query})"

    def payload(self, columns: list[str]) -> str:
        parts = []
        for column in columns:
            value = self.file_columns[column]
            sql = value.sql
            if self.types[column] in ("FLOAT", "DOUBLE"):
                # JSON knows no NaN and no infinity.
                sql = f"CASE WHEN isfinite({sql}) THEN {sql} END"
            elif value.kind in TIMES:
                sql = f"CAST({sql} AS VARCHAR)"
            parts.append(f"{literal(column)}, {sql}")
        return f"CAST(json_object({', '.join(parts)}) AS VARCHAR)"

    # -- Records -------------------------------------------------------------------------------------------------------

    def draft(self, record: RecordMapping) -> Draft:
        """The record's expressions, compiled; refuses what cannot go together."""
        model, grouped = ENTITIES[record.entity], bool(record.one_per)
        lines: list[tuple[str, ...]] = []
        values = {}
        for name, text in record.fields.items():
            try:
                values[name] = self.field(
                    text,
                    validate.sql_type(field_type(model, name)[0]),
                    allow_aggregates=grouped and name not in record.one_per,
                    line_ids=lines,
                    fields={} if grouped else {f: Value(final(f), Kind.TEXT) for f in model.model_fields},
                )
            except ExpressionError as error:
                raise ExpressionError(f"{record.entity}.{name}: {error}") from error
        self.complete(model, record)
        late = tuple(n for n in values if '"line_id"' in values[n].sql)
        if len(set(lines)) > 1:
            raise PermanentError(f"{record.entity}: line_id() may be used with one set of fields only.")
        if lines and set(lines[0]) & set(late):
            raise PermanentError(f"{record.entity}: line_id() cannot be made of the field it makes.")
        return Draft(record, model, values, late, lines[0] if lines else ())

    def record(self, index: int, draft: Draft, when: str) -> RecordPlan:
        record, model, values = draft.record, draft.model, draft.values
        latest = None if model.plannable else self.latest
        every = [c for n in model.model_fields if n in values for c in validate.checks(model, n, values[n], latest)]
        every.append(Check("", *NO_RULE, "maybe IS NOT NULL"))
        possible = f"(coalesce({when}, FALSE) OR maybe = {index})"
        chosen = f"base_reason IS NULL AND {possible} AND file_row NOT IN (SELECT file_row FROM set_aside)"
        early = [n for n in values if n not in draft.late]
        absent = [n for n in model.model_fields if n not in values]

        def fields_of(which: str) -> str:
            return self.converted(model, values, early, self.rows(index, draft, which), absent)

        fields = fields_of(chosen)
        among = fields_of(f"{chosen} AND file_row IN (SELECT file_row FROM candidates)")
        repeats = conflicts = members = None
        if draft.line:
            repeats = _repeats(draft, fields, among)
            fields = f"SELECT *, {_line_text(model, draft.line)} AS line_text FROM ({fields})"
            raws = "".join(_raws(values, n) for n in draft.late)
            short = "CASE WHEN strlen(line_text) > 120 THEN md5(line_text) ELSE line_text END"
            numbered = f"SELECT *, {short} || '#' || ordinal AS \"line_id\" FROM ({fields})"
            fields = self.converted(model, values, list(draft.late), f"SELECT *{raws} FROM ({numbered})", absent=[])
        elif record.one_per:
            on = " AND ".join(f"groups.{raw(n)} IS NOT DISTINCT FROM ({values[n].sql})" for n in record.one_per)
            members = f"base.file_row FROM base JOIN bad_groups AS groups ON {on} "
            members += f"WHERE {chosen.replace('file_row NOT IN', 'base.file_row NOT IN')}"
        else:
            conflicts = _conflicts(model, fields, among)
        query = self.query(model, record, fields, every, bool(draft.line))
        grouped, numbered = bool(record.one_per), any(values[n].sql == '"line_id"' for n in model.key if n in values)
        return RecordPlan(index, record.entity, query, tuple(every), grouped, repeats, conflicts, members, numbered)

    def complete(self, model: type[Record], record: RecordMapping) -> None:
        """Every field that must have a value gets one from the mapping."""
        for name, info in model.model_fields.items():
            if info.is_required() and name not in record.fields and name not in self.mapping.defaults:
                raise PermanentError(
                    f"The mapping {self.mapping.source} gives {record.entity} no {name}; add it to fields or defaults."
                )

    def rows(self, index: int, draft: Draft, chosen: str) -> str:
        values, record = draft.values, draft.record
        if record.one_per:
            keys = ", ".join(values[n].sql for n in record.one_per)
            # A field without an aggregate is the same in the whole group; were it not, min() does not mind row order.
            raws = "".join(
                f", {v.sql if n in record.one_per or v.aggregate else f'min({v.sql})'} AS {raw(n)}"
                + (f", bool_or({' OR '.join(v.unread)}) AS {validate.unread(n)}" if v.unread else "")
                for n, v in values.items()
            )
            return (
                "SELECT min(file_row) AS file_row, count(*) AS row_count, "
                "CAST(json_object('rows', count(*), 'first_row', min(file_row)) AS VARCHAR) AS payload"
                f"{raws}, min(maybe) AS maybe FROM base WHERE {chosen} GROUP BY {keys}"
            )
        raws = "".join(_raws(values, n) for n in values if n not in draft.late)
        if not draft.line:
            return f"SELECT file_row, maybe, payload{raws} FROM base WHERE {chosen}"
        # What a line_id field is made of besides the id comes along; what nothing uses is pruned by DuckDB.
        return (
            f"SELECT file_row, payload{raws}, * EXCLUDE (file_row, payload, base_reason, ordinal), "
            f"coalesce(ordinal, 1) AS ordinal FROM base LEFT JOIN repeats_{index} USING (file_row) WHERE {chosen}"
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

    def query(self, model: type[Record], record: RecordMapping, fields: str, every: list[Check], lines: bool) -> str:
        arms = " ".join(f"WHEN {check.fails} THEN {i}" for i, check in enumerate(every))
        reason = f"CAST(CASE {arms} END AS SMALLINT)" if every else "CAST(NULL AS SMALLINT)"
        shown = ", ".join(
            f"CAST({final(n)} AS {validate.sql_type(field_type(model, n)[0])}) AS {quote(n)}"
            for n in model.model_fields
        )
        counted = ", row_count" if record.one_per else ", ordinal" if lines else ""
        keys = "".join(f", {raw(n)}" for n in record.one_per)
        return (
            f"SELECT file_row, {shown}, {validate.record_id_sql(model)} AS record_id, payload, "
            f"{reason} AS reason{counted}{keys} FROM ({fields})"
        )


def _columns(made: Dict[str, str]) -> str:
    return "".join(f", {sql} AS {quote(name)}" for name, sql in made.items())


def _raws(values: Dict[str, Value], name: str) -> str:
    value = values[name]
    failed = f", ({' OR '.join(value.unread)}) AS {validate.unread(name)}" if value.unread else ""
    return f", {value.sql} AS {raw(name)}{failed}"


def _repeats(draft: Draft, fields: str, among: str) -> Twins:
    """Rows after the first of those that are the same line of the same document, with their ordinals."""
    same = ", ".join(final(n) for n in (*draft.model.key, *draft.line) if n not in draft.late)
    # Lines that agree in their line_id but differ elsewhere are numbered by content, so that row order is no matter.
    order = ", ".join(final(n) for n in draft.model.model_fields if n not in draft.late)
    numbered = (
        f"SELECT file_row, row_number() OVER (PARTITION BY {same} ORDER BY {order}, file_row) AS ordinal FROM ({among})"
    )
    return Twins(_hashes(same, fields), f"SELECT file_row, ordinal FROM ({numbered}) WHERE ordinal > 1")


def _conflicts(model: type[Record], fields: str, among: str) -> Twins:
    """Rows whose key the file has again with other values: nobody can know which of them is meant."""
    key = ", ".join(final(n) for n in model.key)
    content = ", ".join(final(n) for n in model.model_fields)
    differing = f"SELECT file_row, count(DISTINCT hash({content})) OVER (PARTITION BY {key}) AS contents FROM ({among})"
    return Twins(_hashes(key, fields), f"SELECT file_row FROM ({differing}) WHERE contents > 1")


def _hashes(of: str, fields: str) -> str:
    return f"SELECT file_row, hash({of}) AS same FROM ({fields})"


def _line_text(model: type[Record], line: tuple[str, ...]) -> str:
    """The fields that tell a document's lines apart, in a spelling that never changes: line ids are made of it.

    Different lines never have the same spelling: with several texts among them, the separator is escaped.
    """
    types = [validate.sql_type(field_type(model, name)[0]) for name in line]
    parts = []
    for name, target in zip(line, types, strict=True):
        text = final(name)
        if target == "TIMESTAMPTZ":
            text = f"strftime({text}, '%Y%m%dT%H%M%S.%f')"
        elif target.startswith("DECIMAL"):
            text = validate.plain_decimal(text)
        elif target != "VARCHAR":
            text = f"CAST({text} AS VARCHAR)"
        elif types.count("VARCHAR") > 1:
            text = f"replace(replace({text}, '\\', '\\\\'), '|', '\\|')"
        parts.append(f"coalesce({text}, '')")
    return f"concat_ws('|', {', '.join(parts)})"
