"""What records are made of: the types of their fields, and what every record has."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _to_utc(value: dt.datetime) -> dt.datetime:
    return value.astimezone(dt.UTC)


Code = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2000)]
Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Quantity = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Price = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Unit = Annotated[str, Field(min_length=1, max_length=20)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base of all canonical records.

    `entity` names the table, `key` the fields that identify a record within its source, `occurred` the field that says
    when the fact happened (None for master data), `plannable` that this may lie ahead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    entity: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    occurred: ClassVar[str | None] = None
    plannable: ClassVar[bool] = False

    source_updated_at: Instant | None = None
