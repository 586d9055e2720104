"""Weather as it was known: of each day what had been forecast before it, of the days to come what that is worth.

A model that learned from the weather that came and is then given the weather that was forecast trusts it too much. So a
past day has the last forecast issued before it began, never what was measured. A day `k` ahead of the morning has a
forecast of its own age, less reliable than those the model learned from, and far ahead there is none at all: in place of
it stands what is to be expected of the last forecast given the one there is,

    E[last | forecast k days ahead] = usual + slope(k) * (forecast - usual)                                         (1)

with `usual` of that place and time of the year and `slope(k)` found by least squares on past days, 0 where nothing has
been forecast. (Regression calibration: Carroll et al., Measurement Error in Nonlinear Models, 2nd ed., chapter 4.)

Where weather comes only after its day, it is no more than the past: the newest that had been measured by each evening.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import duckdb
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

VALUES = ("temperature", "precipitation")
FORECAST_COLUMNS = VALUES
OBSERVED_COLUMNS = tuple(f"observed_{name}" for name in VALUES)

_ISSUED = """
    CREATE OR REPLACE TEMP TABLE weather_issued AS
    SELECT l.stock_location_key AS location, w.date_on AS date,
           -- The business day in which it was issued; what is issued as a day begins is known that morning.
           CAST(timezone(l.timezone, w.issued_at - INTERVAL 1 MICROSECOND) - to_minutes(l.business_day_start) AS DATE)
               AS issued_on,
           avg(w.temperature) AS temperature, avg(w.precipitation) AS precipitation
    FROM landing.weather_day AS w
    JOIN operations.xref AS place
        ON place.kind = 'location' AND place.source = w.source AND place.source_id = w.location_code
        AND w.date_on >= coalesce(place.valid_from, DATE '0001-01-01') AND w.date_on < coalesce(place.valid_to, DATE '9999-12-31')
    JOIN marts.dim_location AS l ON l.location_key = place.key
    WHERE w.superseded_load IS NULL AND w.date_on >= $first AND w.date_on < $cycle::DATE + $horizon
    GROUP BY l.stock_location_key, w.date_on, w.issued_at, issued_on
    -- Of those issued in one day the last one counts.
    QUALIFY row_number() OVER (PARTITION BY l.stock_location_key, w.date_on, issued_on ORDER BY w.issued_at DESC) = 1
"""

_AHEAD = """
    SELECT location, date, date - issued_on AS lead, temperature, precipitation FROM weather_issued
    WHERE issued_on < least(date, $cycle)
    QUALIFY row_number() OVER (PARTITION BY location, date ORDER BY issued_on DESC) = 1 ORDER BY location, date
"""

_EARLIER = """
    SELECT location, date, date - issued_on AS lead, temperature, precipitation FROM weather_issued
    WHERE issued_on < date AND date < $cycle AND date >= $cycle::DATE - $days AND date - issued_on <= $horizon
    ORDER BY ALL
"""

_OBSERVED = """
    SELECT p.location, p.date, o.temperature AS observed_temperature, o.precipitation AS observed_precipitation
    FROM place_days AS p
    ASOF JOIN (
        SELECT location, issued_on, arg_max(temperature, date) AS temperature, arg_max(precipitation, date) AS precipitation
        FROM weather_issued WHERE issued_on >= date GROUP BY ALL
    ) AS o ON o.location = p.location AND p.date::DATE >= o.issued_on
    WHERE p.date < $cycle AND p.date::DATE - o.issued_on <= 7
"""

_RELIABILITY_DAYS = 365
_RECENT_DAYS, _SEASON_DAYS, _LEAST_PAIRS = 28, 7, 30


def forecast_weather(db: duckdb.DuckDBPyConnection, first: dt.date, cycle: dt.date, horizon: int) -> pd.DataFrame:
    """location, date, FORECAST_COLUMNS of each place and day from `first` to the end of the horizon, as of the morning of
    `cycle`; no row of a place that nothing was forecast for."""
    import pandas as pd

    db.execute(_ISSUED, {"first": first, "cycle": cycle, "horizon": horizon})
    known = db.execute(_AHEAD, {"cycle": cycle}).df()
    if known.empty:
        return known.drop(columns="lead")
    earlier = db.execute(_EARLIER, {"cycle": cycle, "days": _RELIABILITY_DAYS, "horizon": horizon}).df()
    past = known[known["date"] < pd.Timestamp(cycle)]
    if past.empty:
        return known.drop(columns="lead")
    days = pd.date_range(cycle, periods=horizon)
    coming = pd.MultiIndex.from_product([known["location"].unique(), days], names=["location", "date"]).to_frame(
        index=False
    )
    coming = coming.merge(known, how="left", on=["location", "date"])
    for name in VALUES:
        slope = _slopes(past, earlier, name, horizon)
        usual = _usual(past, coming, name)
        lead = coming["lead"].fillna(horizon + 1).astype(int).clip(1, horizon + 1)
        apart = (coming[name] - usual).fillna(0.0)
        coming[name] = usual + slope[lead] * apart
    return pd.concat([past, coming], ignore_index=True)[["location", "date", *FORECAST_COLUMNS]]


def observed_weather(db: duckdb.DuckDBPyConnection, first: dt.date, cycle: dt.date, horizon: int) -> pd.DataFrame:
    """location, date, OBSERVED_COLUMNS: the newest weather measured by the end of each past day, for a week at most. Needs
    the table place_days (location, date)."""
    db.execute(_ISSUED, {"first": first, "cycle": cycle, "horizon": horizon})
    return db.execute(_OBSERVED, {"cycle": cycle}).df()


def _slopes(past: pd.DataFrame, earlier: pd.DataFrame, name: str, horizon: int) -> np.ndarray:
    """slope(k) of (1) at index k, over all places; 1 where too few days tell, 0 beyond the horizon."""
    # The usual of a past day is the month around it.
    month = past.groupby("location")[name].transform(
        lambda values: values.rolling(29, center=True, min_periods=8).mean()
    )
    last = past.assign(usual=month, last=past[name])[["location", "date", "usual", "last"]]
    pairs = earlier.merge(last, on=["location", "date"]).dropna(subset=[name, "usual", "last"])
    apart, truth = pairs[name] - pairs["usual"], pairs["last"] - pairs["usual"]
    lead = pairs["lead"].to_numpy(int)
    size = horizon + 2
    count = np.bincount(lead, minlength=size)[:size]
    joint, spread = (np.bincount(lead, weights=values, minlength=size)[:size] for values in (apart * truth, apart**2))
    slope = np.where((count >= _LEAST_PAIRS) & (spread > 0), joint / np.maximum(spread, 1e-12), 1.0).clip(0, 1)
    slope[-1] = 0.0
    return slope


def _usual(past: pd.DataFrame, coming: pd.DataFrame, name: str) -> np.ndarray:
    """What a place usually has on each coming day: the days around it a year ago, else the last four weeks."""
    import pandas as pd

    table = past.pivot(index="date", columns="location", values=name)
    table = table.reindex(pd.date_range(table.index.min(), table.index.max()))
    recent = table.tail(_RECENT_DAYS).mean()
    around = table.rolling(2 * _SEASON_DAYS + 1, center=True, min_periods=_SEASON_DAYS + 1).mean()
    season = around.reindex(coming["date"].unique() - pd.Timedelta(days=364)).set_axis(coming["date"].unique())
    of_season = (
        season.stack(future_stack=True).reindex(pd.MultiIndex.from_frame(coming[["date", "location"]])).to_numpy()
    )
    return np.where(np.isfinite(of_season), of_season, recent.reindex(coming["location"]).to_numpy())
