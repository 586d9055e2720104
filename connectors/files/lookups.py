"""Dates and times of a file, made once for each value of the column they are made of.

Time zones and formats are the slowest thing there is in SQL, while a file has few days and minutes: a million lines of
two years have some forty thousand times.
"""

from __future__ import annotations

from dataclasses import replace

from connectors.files.readers import column_name
from connectors.files.values import Kind, Value, quote

TIMES = (Kind.DATE, Kind.TIME, Kind.INSTANT)


class Lookups:
    """Collects expressions over one column each, and gives the SQL that makes them: from tables with a row for each
    value of the column, or, for files too large to be gone through twice, from every row anew."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, str]] = {}

    def add(self, column: str, value: Value) -> Value:
        """`value`, which is made of `column` alone, by way of columns that the lookup makes."""
        unread = (" OR ".join(value.unread),) if value.unread else ()
        return replace(value, sql=self._alias(column, value.sql), unread=tuple(self._alias(column, u) for u in unread))

    def _alias(self, column: str, sql: str) -> str:
        made = self._made.setdefault(column, {})
        return quote(made.setdefault(sql, f"t:{column}:{len(made)}"))

    @property
    def names(self) -> list[str]:
        """The columns made."""
        return [alias for made in self._made.values() for alias in made.values()]

    @property
    def anew(self) -> str:
        """The columns, made for every row of `source`; to follow a list of columns."""
        return "".join(_shown(made) for made in self._made.values())

    @property
    def tables(self) -> dict[str, str]:
        """Table -> query."""
        return {
            f"lookup_{index}": f"SELECT {column_name(column)} AS given{_shown(made)} "
            f"FROM (SELECT DISTINCT {column_name(column)} FROM source)"
            for index, (column, made) in enumerate(self._made.items())
        }

    @property
    def joins(self) -> str:
        """Joins the tables to the rows of `source`."""
        return "".join(
            f" LEFT JOIN lookup_{index} ON lookup_{index}.given IS NOT DISTINCT FROM source.{column_name(column)}"
            for index, column in enumerate(self._made)
        )


def _shown(made: dict[str, str]) -> str:
    return "".join(f", ({sql}) AS {quote(alias)}" for sql, alias in made.items())
