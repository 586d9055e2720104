"""What forecasts are made from: daily demand by item and stock location, and what is known of the days to come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from connectors.errors import PermanentError
from orchestration.planning import covariates

if TYPE_CHECKING:
    import pandas as pd

    from ml.forecast import FeaturesConfig

HORIZON_DAYS = 28

_HISTORY = """
    SELECT d.item_key AS sku, d.location_key AS location, d.business_date AS date,
           CAST(d.quantity AS DOUBLE) AS quantity, d.in_stock_share, d.discount, d.is_open::INT AS is_open, i.category
           {attributes}
    FROM intermediate.int_demand__stocked AS d
    JOIN marts.dim_item AS i USING (item_key)
    LEFT JOIN marts.dim_location AS l USING (location_key)
    WHERE d.business_date < $cycle AND i.is_active AND NOT i.is_kit
"""

_FUTURE = """
    WITH series AS (SELECT sku, location FROM history UNION SELECT sku, location FROM newcomers),
    days AS (SELECT CAST(d AS DATE) AS date FROM generate_series(CAST($cycle AS TIMESTAMP),
             CAST($cycle AS TIMESTAMP) + to_days($horizon - 1), INTERVAL 1 DAY) AS t(d)),
    selling AS (SELECT location_key, stock_location_key AS location FROM marts.dim_location),
    -- Only promotions that had been announced by that morning.
    promoted AS (
        SELECT item.key AS sku, CASE WHEN p.location_code = '' THEN NULL ELSE selling.location END AS location,
               days.date, max(p.discount) AS discount
        FROM landing.promotion AS p
        JOIN days ON days.date BETWEEN p.starts_on AND p.ends_on
        LEFT JOIN operations.xref AS item ON item.kind = 'item' AND item.source = p.source AND item.source_id = p.item_code
        LEFT JOIN operations.xref AS place
            ON place.kind = 'location' AND place.source = p.source AND place.source_id = p.location_code
        LEFT JOIN selling ON selling.location_key = place.key
        WHERE p.superseded_load IS NULL AND coalesce(p.announced_on, p.starts_on) < $cycle
            -- Without a code it is of everything; a code that nobody knows is of nothing.
            AND (p.item_code = '' OR item.key IS NOT NULL) AND (p.location_code = '' OR selling.location IS NOT NULL)
        GROUP BY ALL
    ),
    closed AS (
        SELECT selling.location, o.date_on AS date, bool_or(o.is_open) AS is_open
        FROM landing.opening_day AS o
        JOIN operations.xref AS place
            ON place.kind = 'location' AND place.source = o.source AND place.source_id = o.location_code
        JOIN selling ON selling.location_key = place.key
        WHERE o.superseded_load IS NULL GROUP BY ALL
    )
    SELECT s.sku, s.location, days.date,
           greatest(coalesce(max(here.discount), 0), coalesce(max(anywhere.discount), 0)) AS discount,
           coalesce(any_value(closed.is_open), true)::INT AS is_open
    FROM series AS s CROSS JOIN days
    LEFT JOIN promoted AS here ON here.date = days.date AND here.location = s.location AND (here.sku = s.sku OR here.sku IS NULL)
    LEFT JOIN promoted AS anywhere
        ON anywhere.date = days.date AND anywhere.location IS NULL AND (anywhere.sku = s.sku OR anywhere.sku IS NULL)
    LEFT JOIN closed ON closed.date = days.date AND closed.location = s.location
    GROUP BY s.sku, s.location, days.date
"""

_ATTRIBUTES = ", i.brand, l.kind AS location_kind, l.country"

# What can be sold but has not been: stocked for less than $days days, coming on an order, or launched, where most of what is
# stocked is sold (a central warehouse keeps it for others). Stock that was there when its ledger began tells no first day.
_NEWCOMERS = """
    WITH known AS (SELECT DISTINCT sku, location FROM history),
    evening AS (
        SELECT item_key AS sku, location_key AS location, closing FROM marts.fct_inventory_daily
        WHERE business_date = $cycle::DATE - 1 AND is_known
    ),
    selling AS (
        SELECT e.location FROM evening AS e
        JOIN marts.dim_item AS i ON i.item_key = e.sku AND i.is_active
        LEFT JOIN known AS k USING (sku, location)
        WHERE e.closing > 0 GROUP BY e.location HAVING 2 * count(k.sku) >= count(*)
    ),
    unsold AS (
        SELECT sku, location, min(expected_on) AS expected_on FROM (
            SELECT sku, location, NULL::DATE AS expected_on FROM evening
            UNION ALL
            SELECT item_key, location_key, expected_on FROM marts.fct_purchase_order_line
            WHERE ordered_on < $cycle AND status IN ('open', 'draft') AND item_key <> 'unmatched'
        ) ANTI JOIN known USING (sku, location) SEMI JOIN selling USING (location)
        GROUP BY ALL
    ),
    -- Since when the books know of each; what was stated for the first time may have lain there before.
    booked AS (
        SELECT item_key AS sku, location_key AS location,
               CASE WHEN is_opened_by_statement THEN stated_date ELSE first_date END AS since
        FROM intermediate.int_stock__series WHERE is_known
    ),
    ledger AS (SELECT location, min(since) AS began FROM booked GROUP BY ALL),
    stocked AS (
        SELECT i.item_key AS sku, i.location_key AS location, greatest(min(i.business_date), any_value(b.since)) AS since
        FROM marts.fct_inventory_daily AS i
        SEMI JOIN unsold AS u ON u.sku = i.item_key AND u.location = i.location_key
        JOIN booked AS b ON b.sku = i.item_key AND b.location = i.location_key
        WHERE i.business_date < $cycle AND i.closing > 0 GROUP BY ALL
    ),
    dated AS (
        SELECT u.sku, u.location, i.category {attributes},
               greatest(coalesce(CASE WHEN s.since > ledger.began THEN s.since WHEN s.since IS NULL
                                 THEN greatest(u.expected_on, $cycle::DATE) END, i.launched_on), i.launched_on) AS first_day
        FROM unsold AS u
        JOIN marts.dim_item AS i ON i.item_key = u.sku AND i.is_active AND NOT i.is_kit
        LEFT JOIN marts.dim_location AS l ON l.location_key = u.location
        LEFT JOIN ledger ON ledger.location = u.location
        LEFT JOIN stocked AS s ON s.sku = u.sku AND s.location = u.location
    )
    SELECT * FROM dated WHERE first_day >= $cycle::DATE - $days AND first_day < $cycle::DATE + $horizon
"""
NEWCOMER_DAYS = 28


@dataclass(frozen=True)
class DemandData:
    """`history`: sku, location, date, quantity, in_stock_share and the covariates that `features` switches on (see
    `covariates`). `future`: sku, location, date and the covariates known ahead, for the HORIZON_DAYS from the cycle date
    on, of the history's series and of newcomers. `newcomers`: sku, location, what does not change of them, and first_day of what
    can be sold and never has been, or None. Sorted; nothing later than was known that morning. `notes`: what the calendar does not know."""

    history: pd.DataFrame
    future: pd.DataFrame
    newcomers: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    def closed_days(self) -> pd.DataFrame:
        """The location and date of each day ahead on which a place is closed."""
        closed = self.future["is_open"] == 0
        return self.future.loc[closed, ["location", "date"]].drop_duplicates(ignore_index=True)


def _is_built(db: duckdb.DuckDBPyConnection) -> bool:
    """Whether there are marts to read demand from."""
    views = db.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'intermediate'").fetchall()
    return ("int_demand__stocked",) in views


def next_morning(db: duckdb.DuckDBPyConnection, today: dt.date) -> dt.date | None:
    """The morning whose forecast follows the newest complete day of demand, not later than `today`; None where there is
    no demand yet."""
    if not _is_built(db):
        return None
    (newest,) = db.execute("SELECT max(business_date) FROM intermediate.int_demand__stocked").fetchone()
    return newest and min(today, newest + dt.timedelta(days=1))


def find_series(db: duckdb.DuckDBPyConnection, item: str, location: str) -> tuple[str, str]:
    """The keys (sku, location) by which the product and the place that somebody named are forecast.

    Items go by code, key or name, places by name or key; capitals do not matter. Raises PermanentError for what is not
    there, or is there more than once.
    """
    found = []
    for what, told, sql in (
        ("item", item, "SELECT item_key FROM marts.dim_item WHERE lower(item_code) = lower($name) OR item_key = $name "
         "OR lower(name) = lower($name)"),
        ("location", location, "SELECT DISTINCT stock_location_key FROM marts.dim_location "
         "WHERE lower(name) = lower($name) OR location_key = $name"),
    ):  # fmt: skip
        keys = [key for (key,) in db.execute(sql, {"name": told}).fetchall()]
        if len(keys) != 1:
            raise PermanentError(
                f"There is more than one {what} {told!r}; name it by its key in marts.dim_{what}, such as {min(keys)}."
                if keys
                else f"There is no {what} {told!r}; marts.dim_{what} lists those there are."
            )
        found.append(keys[0])
    return found[0], found[1]


def read_demand(
    db: duckdb.DuckDBPyConnection, cycle_date: dt.date, features: FeaturesConfig, horizon: int = HORIZON_DAYS
) -> DemandData | None:
    """From the warehouse, as of the morning of `cycle_date`; None where there is no day of demand before it."""
    cycle = {"cycle": cycle_date}
    if not _is_built(db):
        return None
    history = _HISTORY.format(attributes=_ATTRIBUTES if features.attributes else "")
    days = db.execute(f"CREATE OR REPLACE TEMP TABLE history AS {history}", cycle).fetchone()[0]
    if not days:
        return None
    newcomers = _NEWCOMERS.format(attributes=_ATTRIBUTES if features.attributes else "")
    ahead = {**cycle, "horizon": horizon}
    db.execute(f"CREATE OR REPLACE TEMP TABLE newcomers AS {newcomers}", {**ahead, "days": NEWCOMER_DAYS})
    db.execute(f"CREATE OR REPLACE TEMP TABLE future AS {_FUTURE}", ahead)
    (first,) = db.execute("SELECT min(date) FROM history").fetchone()
    places, notes = covariates.read_places(db, first, cycle_date, horizon, features)
    known = [("places", places, "location, date")]
    if features.price:
        known.append(("prices", covariates.read_prices(db, cycle_date), "sku, location, date"))
    past = [*known]
    if features.index:
        indices = covariates.read_indices(db, first, cycle_date)
        past += [("indices", indices, "category, date")] if len(indices) else []
    new = db.execute("SELECT * FROM newcomers ORDER BY sku, location").df()
    return DemandData(_with(db, "history", past), _with(db, "future", known), new if len(new) else None, notes)


def _with(db: duckdb.DuckDBPyConnection, table: str, frames: list[tuple[str, pd.DataFrame, str]]) -> pd.DataFrame:
    """The rows of `table`, each with what `frames` say of it: (name, frame, columns that find its row)."""
    selected, joins = ["t.*"], []
    for name, frame, keys in frames:
        db.register(name, frame)
        selected.append(f"{name}.* EXCLUDE ({keys})")
        on = " AND ".join(f"{name}.{key} = {_KEYS.get(key, f't.{key}')}" for key in keys.split(", "))
        joins.append(f"LEFT JOIN {name} ON {on}")
    rows = db.execute(
        f"SELECT {', '.join(selected)} FROM {table} AS t {' '.join(joins)} ORDER BY t.sku, t.location, t.date"
    ).df()
    for name, _, _ in frames:
        db.unregister(name)
    return rows


_KEYS = {"category": "coalesce(t.category, '')"}
