"""What the simulation writes down: one append-only table per kind of fact, as Arrow.

`item`, `location`, `supplier` and `customer` are positions in the catalogue; the last location is the web shop in
tables of sales and the warehouse in tables of stock. Items from the end of the catalogue on are `STRAYS`. Money is in
cents, prices to suppliers (`*_e4`) in 1/10,000 of the currency, quantities in base units.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa

DATE, INSTANT = pa.date32(), pa.timestamp("us", tz="UTC")
SMALL, INT, LONG = pa.int16(), pa.int32(), pa.int64()

MOVEMENTS = ("opening", "transfer_in", "transfer_out", "adjustment", "write_off", "production", "consumption")

FACTS: dict[str, pa.Schema] = {
    "orders": pa.schema(
        {"date_on": DATE, "location": SMALL, "order_key": LONG, "ordered_at": INSTANT, "total_cents": LONG,
         "customer": INT}
    ),
    "lines": pa.schema(
        {"date_on": DATE, "location": SMALL, "order_key": LONG, "line": SMALL, "item": INT, "quantity": INT,
         "price_cents": LONG, "discount_cents": LONG, "tax_cents": LONG}
    ),
    "returns": pa.schema(
        {"date_on": DATE, "location": SMALL, "return_key": LONG, "order_key": LONG, "line": SMALL, "item": INT,
         "quantity": INT, "refund_cents": LONG, "returned_at": INSTANT, "restocked": pa.bool_(), "customer": INT}
    ),
    "latent": pa.schema(
        {"date_on": DATE, "location": SMALL, "item": INT, "latent_demand": INT, "sold": INT, "lost": INT,
         "in_stock_share": pa.float64()}
    ),
    "movements": pa.schema(
        {"date_on": DATE, "location": SMALL, "item": INT, "kind": SMALL, "quantity": INT, "moved_at": INSTANT,
         "document": LONG, "expires_on": DATE}
    ),
    "stock": pa.schema(
        {"date_on": DATE, "location": SMALL, "item": INT, "on_hand": INT, "expires_on": DATE, "is_count": pa.bool_(),
         "counted_at": INSTANT}
    ),
    "purchase_orders": pa.schema(
        {"date_on": DATE, "order_number": LONG, "line": SMALL, "supplier": SMALL, "location": SMALL, "item": INT,
         "quantity": INT, "price_e4": LONG, "expected_on": DATE, "ordered_at": INSTANT}
    ),
    "receipts": pa.schema(
        {"date_on": DATE, "order_number": LONG, "line": SMALL, "supplier": SMALL, "location": SMALL, "item": INT,
         "quantity": INT, "price_e4": LONG, "expires_on": DATE, "received_at": INSTANT}
    ),
}  # fmt: skip


class Ledger:
    """Collects the facts of days; `take` hands them over as tables and starts afresh."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, list[np.ndarray]]] = {}
        self.take()

    def add(self, table: str, **columns: object) -> None:
        """Appends rows; scalars are repeated. A date or document below 0 is none."""
        arrays = np.broadcast_arrays(*(np.atleast_1d(value) for value in columns.values()))
        if len(arrays[0]):
            for name, array in zip(columns, arrays, strict=True):
                self._columns[table][name].append(array)

    def take(self) -> dict[str, pa.Table]:
        tables = {
            name: pa.table([_column(self._columns[name][f.name], f.type) for f in schema], schema=schema)
            for name, schema in FACTS.items()
            if self._columns
        }
        self._columns = {name: defaultdict(list) for name in FACTS}
        return tables


def _column(parts: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    values = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if kind == DATE:
        return pa.array(values.astype(np.int32), mask=values < 0).cast(kind)
    if kind == INSTANT:
        return pa.array(values.astype(np.int64)).cast(kind)
    return pa.array(values.astype(kind.to_pandas_dtype()))
