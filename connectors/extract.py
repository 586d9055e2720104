"""What every pull yields: one page, window or file of canonical records, with the cursor that follows it.

A pull is a generator of `Extract`. It never raises for one bad record: that record goes to `rejected` with its reason
and the stream goes on, so that one deleted product cannot stop the sync.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from connectors.columns import Failure, check
from connectors.privacy import redact
from connectors.records import Record

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
    records of each entity that the source sent, accepted or not. `distinct` are the entities of which no record comes
    twice, in this step or in others of the same pull: landing need not look for that.
    """

    stream: str
    records: Mapping[str, pa.Table]
    cursor: str | None = None
    rejected: pa.Table = field(default_factory=REJECTED.empty_table)
    distinct: Set[str] = frozenset()

    @property
    def received(self) -> dict[str, int]:
        counts = {entity: table.num_rows for entity, table in self.records.items()}
        for found in self.rejected.column("entity").value_counts().to_pylist():
            counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
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

    Records are checked together, when the page is complete (`columns`).

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
        checked = {model: check(model, [one.values for one in added]) for model, added in self._added.items()}
        broken = {
            self._added[model][row].document for model, found in checked.items() for row in found.failures
        } - {0}  # fmt: skip
        records = {}
        for model, added in self._added.items():
            kept = []
            for row, one in enumerate(added):
                failure = checked[model].failures.get(row)
                if failure is None and one.document in broken:
                    failure = Failure("document_incomplete", "Another part of the same document was rejected.")
                if failure is None:
                    kept.append(row)
                else:
                    self.reject(model.entity, one.position, failure.reason, failure.detail, one.payload)
            if kept:
                table = checked[model].table(np.array(kept), [one.payload for one in added])
                records[model.entity] = table
        rejected = pa.Table.from_pylist(self._rejected, schema=REJECTED)
        self._added, self._rejected, self._documents = {}, [], 0
        return Extract(stream, records, cursor, rejected)


class _Added(NamedTuple):
    values: Mapping[str, Any]
    payload: str
    position: str
    document: int


def _json(payload: Any) -> str:
    return orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def utc_now() -> dt.datetime:
    """The clock that callers pass in, so that tests can replace it."""
    return dt.datetime.now(dt.UTC)
