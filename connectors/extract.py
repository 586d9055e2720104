"""What every pull yields: one page, window or file of canonical records, with the cursor that follows it.

A pull is a generator of `Extract`. It never raises for one bad record: that record goes to `rejected` with its reason
and the stream goes on, so that one deleted product cannot stop the sync.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from connectors.privacy import redact
from connectors.records import Record, arrow_schema, record_id

REJECTED = pa.schema(
    [
        pa.field("entity", pa.string(), nullable=False),
        # Where in the source: a row number of a file, a path into a payload.
        pa.field("position", pa.string(), nullable=False),
        # A short stable code to count by, e.g. `quantity_not_positive`; and the sentence for a person.
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("payload", pa.string()),
    ]
)
"""Schema of quarantined records; payloads are redacted like accepted ones."""


@dataclass(frozen=True)
class Extract:
    """One atomic step of a pull: landed together, with the cursor, or not at all.

    `stream` names what the cursor belongs to; `cursor` is the position AFTER this step, in the source's own notation,
    None where the source has none. `records` maps entity -> table with `arrow_schema(entity)`. `received` counts the
    records of each entity that the source sent, accepted or not.
    """

    stream: str
    records: Mapping[str, pa.Table]
    cursor: str | None = None
    rejected: pa.Table = field(default_factory=REJECTED.empty_table)

    @property
    def received(self) -> dict[str, int]:
        counts = {entity: table.num_rows for entity, table in self.records.items()}
        for entity in self.rejected.column("entity").to_pylist():
            counts[entity] = counts.get(entity, 0) + 1
        return counts


WHOLE: Any = object()
"""Stands for: the payload of the record is the whole payload that was mapped."""


class Mapped(NamedTuple):
    """One record that a payload became. `payload` is the part of it to keep beside this record."""

    model: type[Record]
    values: Mapping[str, Any]
    payload: Any = WHOLE


class Rejected(ValueError):
    """Raised while mapping a payload that must not be believed; `reason` is the short stable code to count by."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class Collector:
    """Gathers mapped payloads of one page into an `Extract`.

    Records are validated together, a page at a time, because validating them one by one costs three times as much.

    >>> c = Collector()
    >>> c.add(Product, {"item_code": "A", "name": "Apple"}, payload={"id": "A"}, position="products[0]")
    >>> c.extract("products", cursor="1").records["product"].num_rows
    1
    """

    def __init__(self) -> None:
        self._added: dict[type[Record], list[_Added]] = {}
        self._rejected: list[dict[str, Any]] = []
        self._documents = 0

    def add(
        self, model: type[Record], values: Mapping[str, Any], *, payload: Any, position: str, document: int = 0
    ) -> None:
        """Takes one record; `extract` rejects it with its reason if it does not pass.

        Records with the same `document` (not 0) pass together or not at all: half an order is worse than none.
        """
        self._added.setdefault(model, []).append(_Added(values, _json(payload), position, document))

    def map(
        self,
        source: Iterable[Any],
        convert: Callable[[Any], Iterable[Mapped | tuple[type[Record], Mapping[str, Any]]]],
        entity: str,
        where: str,
        personal: Set[str] = frozenset(),
    ) -> None:
        """Maps each payload with `convert`, which yields `Mapped` or (record model, values); whatever it raises for one
        payload (a missing key, an unparsable date) rejects that payload alone. The records of one payload pass together
        or not at all. Fields named in `personal` are kept out of the stored payloads, at any depth."""
        for index, payload in enumerate(source):
            position = f"{where}[{index}]"
            try:
                mapped = [Mapped(*one) for one in convert(payload)]
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                reason = error.reason if isinstance(error, Rejected) else "payload_not_understood"
                kept = _json(redact(payload, personal) if personal else payload)
                self.reject(entity, position, reason, f"{type(error).__name__}: {error}", kept)
                continue
            self._documents += 1
            for model, values, part in mapped:
                kept = payload if part is WHOLE else part
                kept = redact(kept, personal) if personal else kept
                self.add(model, values, payload=kept, position=position, document=self._documents)

    def reject(self, entity: str, position: str, reason: str, detail: str | None, payload: str | None) -> None:
        self._rejected.append(
            {"entity": entity, "position": position, "reason": reason, "detail": detail, "payload": payload}
        )

    def extract(self, stream: str, cursor: str | None = None) -> Extract:
        """What was gathered since the last call."""
        broken: set[int] = set()
        valid: dict[type[Record], list[tuple[_Added, Record]]] = {}
        for model, added in self._added.items():
            valid[model] = self._validate(model, added, broken)
        records = {}
        for model, passed in valid.items():
            whole = [(one, record) for one, record in passed if not one.document or one.document not in broken]
            for one, _ in passed:
                if one.document in broken:
                    detail = "Another part of the same document was rejected."
                    self.reject(model.entity, one.position, "document_incomplete", detail, one.payload)
            if whole:
                records[model.entity] = _table(model, whole)
        rejected = pa.Table.from_pylist(self._rejected, schema=REJECTED)
        self._added, self._rejected, self._documents = {}, [], 0
        return Extract(stream, records, cursor, rejected)

    def _validate(self, model: type[Record], added: list[_Added], broken: set[int]) -> list[tuple[_Added, Record]]:
        """The records that pass; rejects the others and notes their documents in `broken`."""
        adapter = _adapter(model)
        try:
            return list(zip(added, adapter.validate_python([one.values for one in added]), strict=True))
        except ValidationError as error:
            first: dict[int, Any] = {}
            for found in error.errors(include_url=False, include_input=False, include_context=False):
                first.setdefault(found["loc"][0], found)
        for index, found in first.items():
            one, where = added[index], ".".join(str(part) for part in found["loc"][1:]) or model.entity
            self.reject(model.entity, one.position, f"{where}_{found['type']}", f"{where}: {found['msg']}", one.payload)
            broken.update({one.document} - {0})
        passing = [one for index, one in enumerate(added) if index not in first]
        return list(zip(passing, adapter.validate_python([one.values for one in passing]), strict=True))


class _Added(NamedTuple):
    values: Mapping[str, Any]
    payload: str
    position: str
    document: int


@cache
def _adapter(model: type[Record]) -> TypeAdapter[list[Record]]:
    return TypeAdapter(list[model])


def _json(payload: Any) -> str:
    return orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _table(model: type[Record], passed: list[tuple[_Added, Record]]) -> pa.Table:
    schema = arrow_schema(model.entity)
    rows = [record.__dict__ for _, record in passed]
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in model.model_fields}
    columns["record_id"] = [record_id(model, row) for row in rows]
    columns["payload"] = [one.payload for one, _ in passed]
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def utc_now() -> dt.datetime:
    """The clock that callers pass in, so that tests can replace it."""
    return dt.datetime.now(dt.UTC)
