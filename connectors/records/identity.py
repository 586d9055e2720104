"""What makes two records of one source the same."""

from __future__ import annotations

import datetime as dt
import typing
from decimal import Decimal

from connectors.records.fields import Record

KEY_SEPARATOR = "\x1f"


def record_id(model: type[Record], values: typing.Mapping[str, object]) -> str:
    """Identity of a record within its source, from the fields its model names as key; an absent part is empty."""
    return KEY_SEPARATOR.join(key_text(values.get(name)) for name in model.key)


def key_text(value: object) -> str:
    """One part of a `record_id`, the same for equal values however they are written."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, Decimal):
        # A negative zero equals zero and must read like it.
        return f"{(value + 0).normalize():f}"
    return str(value)
