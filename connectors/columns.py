"""Validates mapped records a column at a time, as strictly as their pydantic models and several times as fast.

Records have no rules across fields (asserted below), so a field may be checked alone; and in a page most values of a
field repeat, so each distinct value is checked once. Belongs here: values to checked Arrow columns. Does not belong
here: what happens to records that fail (`extract`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, TypeAdapter, ValidationError

from connectors.records import KEY_SEPARATOR, Record, arrow_schema, key_text

_MISSING = object()


@dataclass(frozen=True)
class Failure:
    """Why one record does not pass: its first field that fails, in the model's order."""

    reason: str
    detail: str


@dataclass(frozen=True)
class _Column:
    """Row i holds `values[codes[i]]`."""

    codes: np.ndarray
    values: list[Any]

    def arrow(self, kind: pa.DataType, rows: np.ndarray) -> pa.Array:
        return pa.array(self.values, kind).take(pa.array(self.codes[rows]))


class Checked:
    """`failures` by row; `table` of rows that are to be kept."""

    def __init__(self, model: type[Record], columns: dict[str, _Column], failures: dict[int, Failure]):
        self._model = model
        self._columns = columns
        self.failures = failures

    def table(self, rows: np.ndarray, payloads: Sequence[str]) -> pa.Table:
        """(len(rows), ) with `arrow_schema`; `rows` must not contain failures, `payloads` has all rows."""
        schema = arrow_schema(self._model.entity)
        key = [
            pa.array([key_text(value) for value in column.values], pa.string()).take(pa.array(column.codes[rows]))
            for column in (self._columns[name] for name in self._model.key)
        ]
        arrays = {name: column.arrow(schema.field(name).type, rows) for name, column in self._columns.items()}
        arrays["record_id"] = pc.binary_join_element_wise(*key, KEY_SEPARATOR)
        arrays["payload"] = pa.array([payloads[row] for row in rows], pa.string())
        return pa.table([arrays[name] for name in schema.names], schema=schema)


def check(model: type[Record], rows: Sequence[Mapping[str, Any]]) -> Checked:
    """Checks the values of many records of one model."""
    failures: dict[int, Failure] = {}
    columns = {}
    for name, info in model.model_fields.items():
        absent = _MISSING if info.is_required() else info.get_default(call_default_factory=True)
        codes, distinct = _factorise([row.get(name, absent) for row in rows])
        values, wrong = _validate(model, name, distinct)
        if wrong:
            for row in np.flatnonzero(np.isin(codes, list(wrong))):
                failures.setdefault(int(row), wrong[int(codes[row])])
        columns[name] = _Column(codes, values)
    known = model.model_fields.keys()
    for row, given in enumerate(rows):
        if not given.keys() <= known:
            extra = min(given.keys() - known)
            failures.setdefault(row, Failure(f"{extra}_extra_forbidden", f"{extra}: Extra inputs are not permitted"))
    return Checked(model, columns, failures)


def _factorise(values: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """(codes, distinct values): `values[i]` is `distinct[codes[i]]`, of the same type."""
    try:
        if len(set(map(type, values)) - {NoneType}) <= 1:
            distinct = list(dict.fromkeys(values))
            number = {value: code for code, value in enumerate(distinct)}
            return np.fromiter(map(number.__getitem__, values), np.int64, len(values)), distinct
        # True, 1 and 1.0 are equal, but a field may take one and refuse the other.
        typed = [(type(value), value) for value in values]
        number = {}
        codes = [number.setdefault(value, len(number)) for value in typed]
        return np.array(codes, np.int64), [value for _, value in number]
    except TypeError:
        # A list or an object where a value should be: nothing to look up by.
        return np.arange(len(values)), values


def _validate(model: type[Record], name: str, values: list[Any]) -> tuple[list[Any], dict[int, Failure]]:
    """Validated values, None where they fail, and the failures by position."""
    adapter = _adapter(model, name)
    try:
        return adapter.validate_python(values), {}
    except ValidationError as error:
        wrong: dict[int, Failure] = {}
        for found in error.errors(include_url=False, include_input=False, include_context=False):
            wrong.setdefault(found["loc"][0], Failure(f"{name}_{found['type']}", f"{name}: {found['msg']}"))
    for position, value in enumerate(values):
        if value is _MISSING:
            wrong[position] = Failure(f"{name}_missing", f"{name}: Field required")
    passing = [position for position in range(len(values)) if position not in wrong]
    checked: list[Any] = [None] * len(values)
    for position, value in zip(passing, adapter.validate_python([values[p] for p in passing]), strict=True):
        checked[position] = value
    return checked, wrong


@cache
def _adapter(model: type[Record], name: str) -> TypeAdapter[list[Any]]:
    decorators = model.__pydantic_decorators__
    if decorators.model_validators or decorators.field_validators or decorators.root_validators:
        raise TypeError(f"{model.__name__} has validators that a check by column would skip.")
    info = model.model_fields[name]
    kind = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return TypeAdapter(list[kind], config=ConfigDict(allow_inf_nan=model.model_config.get("allow_inf_nan", True)))
