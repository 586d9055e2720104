"""What all stock is worth at cost, in one figure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import duckdb


class StockValue(NamedTuple):
    """`amount` in `currency`; `unvalued` series have stock and no known cost, and no part in the amount."""

    amount: Decimal
    currency: str
    unvalued: int

    def __str__(self) -> str:
        left_out = f"; {self.unvalued} series of unknown cost not among it" if self.unvalued else ""
        return f"{self.amount:,.0f} {self.currency} at cost{left_out}"


def stock_value(db: duckdb.DuckDBPyConnection) -> StockValue | None:
    """At the end of the newest day in the marts; None where no stock is known."""
    row = db.execute(
        """
        SELECT coalesce(sum(closing_value), 0), any_value(currency), count(*) FILTER (closing <> 0 AND unit_cost IS NULL)
        FROM marts.fct_inventory_value_daily
        WHERE business_date = (SELECT max(business_date) FROM marts.fct_inventory_value_daily)
        """
    ).fetchone()
    return StockValue(*row) if row[1] else None
