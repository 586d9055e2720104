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
PRICE = "price"
STATIC = ("category", "brand", "location_kind", "country")
AVAILABILITY = "in_stock_share"


def columns_of(history: pd.DataFrame) -> Columns:
    """The columns of `history` that a model can learn from."""
    from ml.forecast.calendar import HOLIDAY_COLUMNS, NEW_YEAR_COLUMNS
    from ml.forecast.explaining import INDEX_PREFIX
    from ml.forecast.panel import Columns

    def varying(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in history and history[name].nunique() > 1)

    indices = sorted(name for name in history if name.startswith(INDEX_PREFIX))
    known = (*ALWAYS, PRICE, *HOLIDAY_COLUMNS, *NEW_YEAR_COLUMNS, *weather.FORECAST_COLUMNS)
    return Columns(varying(known), varying((*weather.OBSERVED_COLUMNS, *indices)), varying(STATIC), AVAILABILITY)


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

    from ml.forecast.calendar import (
        CELEBRATES_NEW_YEAR,
        HOLIDAY_COLUMNS,
        NEW_YEAR_COLUMNS,
        day_features,
        known_countries,
    )

    listed = {country for (country,) in db.execute("SELECT DISTINCT country FROM operations.holiday").fetchall()}
    named = listed - set(places["country"].dropna())
    new_year = {"on": True, "off": False, "auto": None if CELEBRATES_NEW_YEAR.isdisjoint(named) else True}
    wanted = [
        *(HOLIDAY_COLUMNS if features.calendar else ()),
        *(NEW_YEAR_COLUMNS if features.new_year != "off" else ()),
    ]
    frames, notes = [], []
    for country, group in places.groupby(places["country"].fillna("")):
        countries = {country} & known_countries() if country else named
        told = day_features(countries, days.date, new_year=new_year[features.new_year])
        notes += told.attrs["notes"]
        frames.append(group[["location"]].merge(told[["date", *wanted]], how="cross"))
    return pd.concat(frames, ignore_index=True), tuple(dict.fromkeys(notes))


# -- Prices ------------------------------------------------------------------------------------------------------------

_PRICES = """
    WITH sold AS (
        SELECT d.item_key AS sku, l.stock_location_key AS location, d.business_date AS date,
               -- What promotions took off is told by itself.
               CAST(sum(d.unit_price * d.quantity) / sum(d.quantity) AS DOUBLE) / nullif(1 - max(d.discount), 0) AS regular
        FROM marts.fct_demand_daily AS d JOIN marts.dim_location AS l USING (location_key)
        WHERE d.business_date < $cycle AND d.quantity > 0 AND d.net_reporting_amount > 0 GROUP BY ALL
    ),
    known AS (
        SELECT sku, location, date,
               median(regular) OVER (PARTITION BY sku, location ORDER BY date ROWS 4 PRECEDING)
               / nullif(median(regular) OVER (
                   PARTITION BY sku, location ORDER BY date RANGE BETWEEN INTERVAL 90 DAY PRECEDING AND CURRENT ROW), 0) AS price
        FROM sold
    )
    SELECT t.sku, t.location, t.date, k.price
    FROM (SELECT sku, location, date FROM history UNION ALL SELECT sku, location, date FROM future) AS t
    -- What a day's customers paid is known the day after, and nothing of the days to come.
    ASOF JOIN known AS k ON k.sku = t.sku AND k.location = t.location AND t.date > k.date
"""


def read_prices(db: duckdb.DuckDBPyConnection, cycle: dt.date) -> pd.DataFrame:
    """sku, location, date, price of the days in the tables history and future: the regular price of the last five selling
    days before the day, over its median of the 90 days before. No row where nothing was sold yet."""
    return db.execute(_PRICES, {"cycle": cycle}).df()


# -- Indices -----------------------------------------------------------------------------------------------------------

_INDICES = """
    WITH issued AS (
        SELECT name, category, value, date_on, issued_at,
               CAST(timezone($timezone, issued_at - INTERVAL 1 MICROSECOND) AS DATE) AS issued_on
        FROM landing.category_index WHERE superseded_load IS NULL
    ),
    -- The newest value by the end of each day on which one was issued; one that was corrected counts as corrected from then.
    newest AS (
        SELECT name, category, issued_on, arg_max(value, {'on': date_on, 'at': issued_at}) OVER (
                   PARTITION BY name, category ORDER BY issued_on RANGE UNBOUNDED PRECEDING) AS value
        FROM issued QUALIFY row_number() OVER (PARTITION BY name, category, issued_on) = 1
    ),
    days AS (
        SELECT n.name, n.category, CAST(d AS DATE) AS date
        FROM (SELECT DISTINCT name, category FROM issued) AS n
        CROSS JOIN generate_series(CAST($first AS TIMESTAMP) - INTERVAL 28 DAY, CAST($cycle AS TIMESTAMP) - INTERVAL 1 DAY,
                                   INTERVAL 1 DAY) AS t(d)
    ),
    daily AS (
        SELECT d.name, d.category, d.date, n.value
        FROM days AS d ASOF LEFT JOIN newest AS n
            ON n.name = d.name AND n.category = d.category AND d.date >= n.issued_on
    ),
    changes AS (
        SELECT name, category, date, value,
               value - lag(value, 7) OVER each AS change_7, value - lag(value, 28) OVER each AS change_28
        FROM daily WINDOW each AS (PARTITION BY name, category ORDER BY date)
    ),
    -- What is said of a category itself counts before what is said of those above it.
    meant AS (
        SELECT i.category, c.name, c.category AS said_of
        FROM (SELECT DISTINCT coalesce(category, '') AS category FROM history) AS i
        JOIN (SELECT DISTINCT name, category FROM issued) AS c
            ON c.category IN ('', i.category) OR starts_with(i.category, c.category || '/')
        QUALIFY row_number() OVER (PARTITION BY i.category, c.name ORDER BY length(c.category) DESC) = 1
    )
    SELECT m.category, m.name, c.date, c.value, c.change_7, c.change_28
    FROM meant AS m JOIN changes AS c ON c.name = m.name AND c.category = m.said_of
    WHERE c.date >= $first
"""


def read_indices(db: duckdb.DuckDBPyConnection, first: dt.date, cycle: dt.date) -> pd.DataFrame:
    """One row per category of the table history and day before `cycle`: `category`, `date`, and for each index its newest
    value by the end of that day, and how far that is from what was known 7 and 28 days before. Empty where there is none."""
    from ml.forecast.explaining import INDEX_PREFIX

    (timezone,) = db.execute("SELECT timezone FROM landing.build_request").fetchone()
    told = db.execute(_INDICES, {"timezone": timezone, "first": first, "cycle": cycle}).df()
    wide = told.pivot(index=["category", "date"], columns="name", values=["value", "change_7", "change_28"])
    wide.columns = [
        f"{INDEX_PREFIX}{name}" if what == "value" else f"{INDEX_PREFIX}{name}_{what}" for what, name in wide.columns
    ]
    return wide.reset_index()
