"""What forecasts are told besides past sales: groups of columns, what of them a history has, and what they are as of a
morning.

Belongs here: which columns there are, what of `features` in forecast.yaml they belong to, and reading those of places and
days. Does not belong here: what models make of a column (`ml.forecast.features`), how weather is understood (`weather`).

A group that is switched off is not read. A column with one value in the whole history can teach nothing and is left out of
training, so that a home without lunar new year, weather or indices pays nothing for them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING

import duckdb

from orchestration.planning import weather

if TYPE_CHECKING:
    import pandas as pd

    from ml.forecast import FeaturesConfig, Model
    from ml.forecast.panel import Columns

ALWAYS = ("discount", "is_open")
CALENDAR = ("holiday", "makeup_day", "holiday_ahead", "holiday_behind")
NEW_YEAR = ("new_year_ahead", "new_year_behind")
ATTRIBUTES = ("brand", "location_kind", "country")
KNOWN_FUTURE = (*ALWAYS, *CALENDAR, *NEW_YEAR, *weather.FORECAST_COLUMNS)
PAST_ONLY = weather.OBSERVED_COLUMNS
STATIC = ("category", *ATTRIBUTES)
AVAILABILITY = "in_stock_share"


def columns_of(history: pd.DataFrame) -> Columns:
    """The columns of `history` that a model can learn from."""
    from ml.forecast.panel import Columns

    def varying(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in history and history[name].nunique() > 1)

    return Columns(varying(KNOWN_FUTURE), varying(PAST_ONLY), varying(STATIC), AVAILABILITY)


def lacking(model: Model, history: pd.DataFrame) -> str | None:
    """A sentence for people where `history` does not have the columns that `model` was trained with."""
    columns = model.columns
    missing = [
        name for name in (*columns.known_future, *columns.past_only, *columns.static) if name not in history.columns
    ]
    if not missing:
        return None
    return (
        f"it was trained with {', '.join(missing)}, which there is no more: after an upgrade, a change of `features` in "
        "forecast.yaml or the end of a source"
    )


# -- Places and days ---------------------------------------------------------------------------------------------------


def read_places(
    db: duckdb.DuckDBPyConnection, first: dt.date, cycle: dt.date, horizon: int, features: FeaturesConfig
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row per stock location and day from `first` to the end of the horizon: `location`, `date` and the columns of
    the calendar and the weather, as of the morning of `cycle`; and what of it is not known, in sentences."""
    import pandas as pd

    places = db.execute(_PLACES).df()
    days = pd.date_range(first, cycle + dt.timedelta(days=horizon - 1))
    frame = pd.MultiIndex.from_product([places["location"], days], names=["location", "date"]).to_frame(index=False)
    notes: tuple[str, ...] = ()
    if features.calendar or features.new_year != "off":
        calendars, notes = _calendars(db, places, days, features)
        frame = frame.merge(calendars, how="left", on=["location", "date"])
    if features.weather:
        known = weather.forecast_weather(db, first, cycle, horizon)
        frame = frame.merge(known, how="left", on=["location", "date"])
    if features.observed_weather:
        db.register("place_days", frame[["location", "date"]])
        frame = frame.merge(weather.observed_weather(db, first, cycle, horizon), how="left", on=["location", "date"])
        db.unregister("place_days")
    return frame, notes


_PLACES = """
    SELECT stock_location_key AS location, any_value(country) FILTER (location_key = stock_location_key) AS country
    FROM marts.dim_location GROUP BY ALL ORDER BY ALL
"""


def _calendars(
    db: duckdb.DuckDBPyConnection, places: pd.DataFrame, days: pd.DatetimeIndex, features: FeaturesConfig
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The calendar of each place. One whose country is not known keeps the holidays of `holiday_countries`."""
    import pandas as pd

    from ml.forecast.calendar import CELEBRATES_NEW_YEAR, day_features, known_countries

    listed = {country for (country,) in db.execute("SELECT DISTINCT country FROM operations.holiday").fetchall()}
    named = listed - set(places["country"].dropna())
    new_year = {"on": True, "off": False, "auto": None if CELEBRATES_NEW_YEAR.isdisjoint(named) else True}
    wanted = [*(CALENDAR if features.calendar else ()), *(NEW_YEAR if features.new_year != "off" else ())]
    frames, notes = [], []
    for country, group in places.groupby(places["country"].fillna("")):
        countries = {country} & known_countries() if country else named
        told = day_features(countries, days.date, new_year=new_year[features.new_year])
        notes += told.attrs["notes"]
        frames.append(group[["location"]].merge(told[["date", *wanted]], how="cross"))
    return pd.concat(frames, ignore_index=True), tuple(dict.fromkeys(notes))
