"""What days are like: opening days, promotions, weather, what is published of a category, exchange rates."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from connectors.records.fields import Code, Currency, Instant, Ratio, Record, Text


class OpeningDay(Record):
    """One row per location and date that differs from 'open': a closed day, or an opening on a usual closing day."""

    entity = "opening_day"
    key = ("location_code", "date_on")
    occurred = "date_on"
    plannable = True

    location_code: Code
    date_on: dt.date
    is_open: bool


class Promotion(Record):
    """`discount` is the fraction off the regular price; an empty item or location means all of them."""

    entity = "promotion"
    key = ("promotion_code", "item_code", "location_code", "starts_on")
    occurred = "starts_on"
    plannable = True

    promotion_code: Code
    item_code: Annotated[str, Field(max_length=200)] = ""
    location_code: Annotated[str, Field(max_length=200)] = ""
    starts_on: dt.date
    ends_on: dt.date
    discount: Ratio = 0.0
    announced_on: dt.date | None = None


class WeatherDay(Record):
    """Keyed by when it was issued: a plan made in the morning may only use what had been issued by then."""

    entity = "weather_day"
    key = ("location_code", "date_on", "issued_at")
    occurred = "date_on"
    plannable = True

    location_code: Code
    date_on: dt.date
    issued_at: Instant
    temperature: float | None = None
    precipitation: Annotated[float, Field(ge=0)] | None = None
    humidity: float | None = None
    wind: Annotated[float, Field(ge=0)] | None = None


class CategoryIndex(Record):
    """What somebody outside publishes about a category: sentiment, search interest, a price index. An empty category means
    all of them, and a path such as `Food` those below it (`Food/Dairy`) too.

    Keyed by when it was issued: a plan made in the morning may only use what had been issued by then.
    """

    entity = "category_index"
    key = ("name", "category", "date_on", "issued_at")
    occurred = "date_on"

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    category: Text = ""
    date_on: dt.date
    issued_at: Instant
    value: float


class ExchangeRate(Record):
    """One unit of `from_currency` is `rate` units of `to_currency` on `date_on`."""

    entity = "exchange_rate"
    key = ("from_currency", "to_currency", "date_on")
    occurred = "date_on"

    from_currency: Currency
    to_currency: Currency
    date_on: dt.date
    rate: Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=8)]
