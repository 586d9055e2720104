"""Public holidays of the countries that have locations, as a table to join to."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

SCHEMA = pa.schema([("country", pa.string()), ("date_on", pa.date32()), ("name", pa.string())])


def holiday_table(
    db: duckdb.DuckDBPyConnection, more_countries: Iterable[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """(country, date_on, name) for every year of the sales in the warehouse and the year after them, and a sentence for
    whatever of it is not known.

    Countries are those of the landed locations and `more_countries`; one that has no calendar has no rows.
    """
    from ml.forecast.calendar import calendar_of, known_countries

    countries = {row[0] for row in db.execute("SELECT DISTINCT country FROM landing.location").fetchall() if row[0]}
    first, last = db.execute("SELECT min(year(ordered_at)), max(year(ordered_at)) FROM landing.order_line").fetchone()
    if first is None:
        return SCHEMA.empty_table(), ()
    calendars = [
        calendar_of(code, first, last + 1) for code in sorted((countries | set(more_countries)) & known_countries())
    ]
    rows = [
        {"country": calendar.country, "date_on": day, "name": name}
        for calendar in calendars
        for day, name in calendar.holidays.items()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA), tuple(note for calendar in calendars for note in calendar.notes)
