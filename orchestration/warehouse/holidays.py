"""Public holidays of the countries that have locations, from the `holidays` library."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

SCHEMA = pa.schema([("country", pa.string()), ("date_on", pa.date32()), ("name", pa.string())])


def holiday_table(db: duckdb.DuckDBPyConnection, more_countries: Iterable[str] = ()) -> pa.Table:
    """(country, date_on, name) for every year of the sales in the warehouse and the year after them.

    Countries are those of the landed locations and `more_countries`; one the library does not know has no rows.
    """
    import holidays

    countries = {row[0] for row in db.execute("SELECT DISTINCT country FROM landing.location").fetchall() if row[0]}
    first, last = db.execute("SELECT min(year(ordered_at)), max(year(ordered_at)) FROM landing.order_line").fetchone()
    if first is None:
        return SCHEMA.empty_table()
    supported = holidays.list_supported_countries()
    rows = []
    for country in sorted(countries | set(more_countries)):
        if country in supported:
            calendar = holidays.country_holidays(country, years=range(first, last + 2), language="en_US")
            rows += [{"country": country, "date_on": day, "name": name} for day, name in sorted(calendar.items())]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
