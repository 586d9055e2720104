"""The Arrow side of records: the types of their columns, and the columns that every source adds."""

from __future__ import annotations

import datetime as dt
import types
import typing
from decimal import Decimal
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AwareDatetime

from connectors.records.entities import ENTITIES
from connectors.records.fields import Record

META: list[pa.Field] = [
    pa.field("record_id", pa.string(), nullable=False),
    # The source's payload for this record as JSON text, without personal data.
    pa.field("payload", pa.string()),
]
"""Columns that a source adds to each record it yields. Landing adds `source`, `batch_id`, `content_hash`,
`schema_version` and `ingested_at`; see `connectors.landing.LANDED`."""

_ARROW = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    dt.date: pa.date32(),
    dt.datetime: pa.timestamp("us", tz="UTC"),
}


def field_type(model: type[Record], name: str) -> tuple[pa.DataType, bool]:
    """Arrow type and nullability of one field of a record."""
    info = model.model_fields[name]
    annotation, optional = info.annotation, False
    metadata = list(info.metadata)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arms = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional, annotation = True, arms[0]
    while typing.get_origin(annotation) is Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata += [m for part in more for m in getattr(part, "metadata", [part])]
    if typing.get_origin(annotation) is Literal:
        annotation = str
    if annotation is AwareDatetime:
        annotation = dt.datetime
    if annotation is Decimal:
        scale = next(m.decimal_places for m in metadata if getattr(m, "decimal_places", None) is not None)
        return pa.decimal128(18, scale), optional
    return _ARROW[annotation], optional


def arrow_schema(entity: str) -> pa.Schema:
    """Columns of one entity as a source yields it: the record's own fields, then `META`."""
    model = ENTITIES[entity]
    fields = []
    for name in model.model_fields:
        kind, optional = field_type(model, name)
        fields.append(pa.field(name, kind, nullable=optional))
    return pa.schema(fields + META)
