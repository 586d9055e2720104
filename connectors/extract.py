"""What every pull yields: one page, window or file of canonical records, with the cursor that follows it.

A pull is a generator of `Extract`. It never raises for one bad record: that record goes to `rejected` with its reason
and the stream goes on, so that one deleted product cannot stop the sync.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

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
        for found in self.rejected.column("entity").value_counts().to_pylist():
            counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
        return counts


Mapped = tuple[type[Record], Mapping[str, Any]]


class Collector:
    """Gathers mapped payloads of one page into an `Extract`.

    >>> c = Collector()
    >>> c.add(Product, {"item_code": "A", "name": "Apple"}, payload={"id": "A"}, position="products[0]")
    >>> c.extract("products", cursor="1").records["product"].num_rows
    1
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._rejected: list[dict[str, Any]] = []

    def add(self, model: type[Record], values: Mapping[str, Any], *, payload: Any, position: str) -> None:
        """Validates one record; what does not pass is rejected with its reason instead of raised."""
        text = json.dumps(payload, ensure_ascii=False, sort_keys=True, default=str)
        try:
            record = model.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or model.entity
            self.reject(model.entity, position, f"{where}_{first['type']}", f"{where}: {first['msg']}", text)
            return
        row = record.model_dump()
        row["record_id"] = record_id(model, row)
        row["payload"] = text
        self._rows.setdefault(model.entity, []).append(row)

    def map(self, source: Iterable[Any], convert: Callable[[Any], Iterable[Mapped]], entity: str, where: str) -> None:
        """Maps each payload with `convert`, which yields (record model, values); whatever it raises for one payload
        (a missing key, an unparsable date) rejects that payload alone."""
        for index, payload in enumerate(source):
            position = f"{where}[{index}]"
            try:
                mapped = list(convert(payload))
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                text = json.dumps(payload, ensure_ascii=False, sort_keys=True, default=str)
                self.reject(entity, position, "payload_not_understood", f"{type(error).__name__}: {error}", text)
                continue
            for model, values in mapped:
                self.add(model, values, payload=payload, position=position)

    def reject(self, entity: str, position: str, reason: str, detail: str | None, payload: str | None) -> None:
        self._rejected.append(
            {"entity": entity, "position": position, "reason": reason, "detail": detail, "payload": payload}
        )

    def extract(self, stream: str, cursor: str | None = None) -> Extract:
        records = {
            entity: pa.Table.from_pylist(rows, schema=arrow_schema(entity)) for entity, rows in self._rows.items()
        }
        return Extract(stream, records, cursor, pa.Table.from_pylist(self._rejected, schema=REJECTED))


def utc_now() -> dt.datetime:
    """The clock that callers pass in, so that tests can replace it."""
    return dt.datetime.now(dt.UTC)
