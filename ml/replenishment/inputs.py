"""The tables one cycle decides from, their columns and types, in one canonical order.

Belongs here: what a decision may see. Does not belong here: how it is stored (`freezing`) or weighed (`policy`).
Quantities are decimal(18, 6) in the row's `unit`; `units` holds exact conversions to the item's base unit. Money is
decimal; `price` and `unit_cost` of `items`, `stock_value` and `transfer_cost` are in the reporting currency.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.replenishment.errors import InvalidInputs
from ml.replenishment.parameters import Parameters

QUANTILES = (0.01, 0.025, *(round(0.05 * k, 2) for k in range(1, 20)), 0.975, 0.99)
QUANTILE_COLUMNS = tuple("q" + f"{q:.3f}"[2:].rstrip("0").ljust(2, "0") for q in QUANTILES)

_TEXT, _DAY, _FLAG, _REAL, _WHOLE = pa.string(), pa.date32(), pa.bool_(), pa.float64(), pa.int64()
_QUANTITY, _MONEY, _RATE = pa.decimal128(18, 6), pa.decimal128(18, 4), pa.decimal128(18, 8)
_INSTANT = pa.timestamp("us", tz="UTC")

REQUIRED = object()
"""Marks a column that must be there and hold no nulls; any other default fills both missing columns and nulls."""

TABLES: dict[str, dict[str, tuple[pa.DataType, Any]]] = {
    # One row per batch. `expires_on` is the last day on which the batch may be sold.
    "position": {
        "item": (_TEXT, REQUIRED), "location": (_TEXT, REQUIRED), "expires_on": (_DAY, None),
        "on_hand": (_QUANTITY, REQUIRED), "reserved": (_QUANTITY, Decimal(0)), "unit": (_TEXT, REQUIRED),
        "counted_at": (_INSTANT, None), "stock_value": (_MONEY, None),
    },
    # What is still to come on purchase orders and transfers; `supplier` is null on transfers.
    "open_orders": {
        "item": (_TEXT, REQUIRED), "location": (_TEXT, REQUIRED), "document": (_TEXT, REQUIRED),
        "supplier": (_TEXT, None), "expected_on": (_DAY, None), "quantity": (_QUANTITY, REQUIRED),
        "unit": (_TEXT, REQUIRED),
    },
    # One row per price step: `unit_price` per `unit` from `minimum_quantity` units on. `exchange_rate`: reporting
    # currency for one unit of `currency`.
    "offers": {
        "supplier": (_TEXT, REQUIRED), "item": (_TEXT, REQUIRED), "valid_from": (_DAY, None), "valid_to": (_DAY, None),
        "minimum_quantity": (_QUANTITY, Decimal(0)), "unit_price": (_QUANTITY, REQUIRED),
        "currency": (_TEXT, REQUIRED), "exchange_rate": (_RATE, None), "unit": (_TEXT, REQUIRED),
        "pack_quantity": (_QUANTITY, Decimal(1)), "moq": (_QUANTITY, Decimal(0)),
    },
    # `order_weekdays`: ISO weekdays, comma-separated, empty for any day; `cut_off`: HH:MM or empty;
    # `typical_delay_days`: how late its late deliveries are; `landed_cost_share`: freight and duty on top of the price;
    # `exchange_rate`: reporting currency for one unit of `currency`, in which its minimum order amount is.
    "suppliers": {
        "supplier": (_TEXT, REQUIRED), "name": (_TEXT, ""), "currency": (_TEXT, REQUIRED),
        "order_weekdays": (_TEXT, ""), "cut_off": (_TEXT, ""), "lead_time_days": (_REAL, None),
        "lead_time_sd_days": (_REAL, None), "typical_delay_days": (_REAL, None),
        "payment_terms_days": (_WHOLE, 0), "minimum_order_amount": (_MONEY, Decimal(0)),
        "landed_cost_share": (_REAL, 0.0), "exchange_rate": (_RATE, None),
    },
    # Observed: `receipts` deliveries of the supplier arrived `lead_time_days` after they were ordered.
    "lead_times": {
        "supplier": (_TEXT, REQUIRED), "lead_time_days": (_REAL, REQUIRED), "receipts": (_WHOLE, 1),
    },
    # Days that are not named are open.
    "calendar": {"location": (_TEXT, REQUIRED), "date": (_DAY, REQUIRED), "is_open": (_FLAG, REQUIRED)},
    # A kit is never ordered: its demand is on its components before it gets here.
    "items": {
        "item": (_TEXT, REQUIRED), "base_unit": (_TEXT, REQUIRED), "item_class": (_TEXT, ""),
        "shelf_life_days": (_WHOLE, None), "is_kit": (_FLAG, False), "price": (_QUANTITY, None),
        "unit_cost": (_QUANTITY, None),
    },
    # `numerator / denominator` base units make one `unit`.
    "units": {
        "item": (_TEXT, REQUIRED), "unit": (_TEXT, REQUIRED), "numerator": (_WHOLE, REQUIRED),
        "denominator": (_WHOLE, 1),
    },
    # Where a location's goods come from: `source` is `supplier` (it buys) or `location` (it is sent goods from
    # `from_location`); both rows: it buys, but takes what the other location has too much of where that is cheaper.
    # An empty `item` speaks for all items; rows that name the item win. No row: it buys.
    "sourcing": {
        "location": (_TEXT, REQUIRED), "item": (_TEXT, ""), "source": (_TEXT, "supplier"),
        "from_location": (_TEXT, ""), "lead_time_days": (_REAL, 1.0), "order_weekdays": (_TEXT, ""),
        "transfer_pack": (_QUANTITY, Decimal(1)), "transfer_cost": (_QUANTITY, Decimal(0)),
    },
    # Demand per day from the cycle date on, in base units. `similar`: how many series a new product was judged by, 0 for
    # others; `shared`: the part of a day's variance that comes from its level, which all its days share;
    # `whole`: whether the series sells whole units, where that is known.
    "forecasts": {
        "sku": (_TEXT, REQUIRED), "location": (_TEXT, REQUIRED), "model": (_TEXT, REQUIRED), "date": (_DAY, REQUIRED),
        "mean": (_REAL, None), **dict.fromkeys(QUANTILE_COLUMNS, (_REAL, None)),
        "similar": (_WHOLE, 0), "shared": (_REAL, 0.0), "whole": (_FLAG, None),
    },
    # People's corrections. `kind`: `exclude`, `service_target` (value 0..1) or `demand_factor` (value >= 0).
    "overrides": {
        "item": (_TEXT, REQUIRED), "location": (_TEXT, REQUIRED), "kind": (_TEXT, REQUIRED), "value": (_REAL, None),
        "valid_from": (_DAY, None), "valid_to": (_DAY, None), "reason": (_TEXT, ""),
    },
}  # fmt: skip


def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table; columns that always hold a value are not nullable."""
    return pa.schema(
        [pa.field(name, kind, nullable=default is None) for name, (kind, default) in TABLES[table].items()]
    )


def item_column(table: str) -> str | None:
    """The column that says which item a row is about (empty: about all), None where a table speaks of no item."""
    return next((column for column in ("item", "sku") if column in TABLES[table]), None)


def _empty() -> pd.DataFrame:
    return pd.DataFrame()


@dataclass(frozen=True)
class FrozenInputs:
    """One cycle's tables. Whatever order rows and columns come in, the same content makes the same FrozenInputs.

    Every frame is brought to its schema in `TABLES` on construction; a column that has a default may be missing.
    Raises InvalidInputs for a column that is missing, unknown, of the wrong type, or null where it may not be.
    """

    position: pd.DataFrame
    offers: pd.DataFrame
    suppliers: pd.DataFrame
    items: pd.DataFrame
    forecasts: pd.DataFrame
    open_orders: pd.DataFrame = field(default_factory=_empty)
    units: pd.DataFrame = field(default_factory=_empty)
    lead_times: pd.DataFrame = field(default_factory=_empty)
    calendar: pd.DataFrame = field(default_factory=_empty)
    sourcing: pd.DataFrame = field(default_factory=_empty)
    overrides: pd.DataFrame = field(default_factory=_empty)
    parameters: Parameters = field(default_factory=Parameters)
    # How the days of a scenario hang together, as whoever draws them needs to know it again: kept, not read here.
    dependence: Mapping[str, float] = field(default_factory=dict)
    # Which trained model the forecasts are from, `id` and `trained_until`: kept for who scores them, not read here.
    issued_by: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in TABLES:
            object.__setattr__(self, name, to_frame(canonical(name, getattr(self, name))))
        _meaningful(self)

    def only(self, items: Collection[str]) -> FrozenInputs:
        """What concerns `items`: their rows, and all of the tables that speak of no item."""
        tables = {name: getattr(self, name) for name in TABLES if item_column(name)}
        return replace(
            self, **{name: table[table[item_column(name)].isin([*items, ""])] for name, table in tables.items()}
        )

    def table(self, name: str) -> pa.Table:
        """One table as canonical Arrow."""
        return canonical(name, getattr(self, name))


def _meaningful(inputs: FrozenInputs) -> None:
    """Refuses what no column type can: texts that have a form, and overrides that say nothing."""
    weekdays, clock = r"([1-7](,[1-7])*)?", r"(([01]\d|2[0-3]):[0-5]\d)?"
    for frame, column, form, owner in (
        (inputs.suppliers, "order_weekdays", weekdays, "supplier"),
        (inputs.suppliers, "cut_off", clock, "supplier"),
        (inputs.sourcing, "order_weekdays", weekdays, "location"),
        (inputs.sourcing, "source", "supplier|location", "location"),
    ):
        wrong = frame[~frame[column].astype(str).str.fullmatch(form)]
        if len(wrong):
            row = wrong.iloc[0]
            raise InvalidInputs(f"Correct {column} {row[column]!r} of {owner} {row[owner]}: it must match {form}.")
    for row in inputs.overrides.itertuples(index=False):
        value_fits = {
            "exclude": True,
            "service_target": 0 < row.value < 1,
            "demand_factor": 0 <= row.value < np.inf,
        }
        if row.kind not in value_fits:
            raise InvalidInputs(
                f"Correct the override kind {row.kind!r} of {row.item} at {row.location}: it must be one of "
                f"{', '.join(value_fits)}."
            )
        if not value_fits[row.kind]:
            raise InvalidInputs(f"Correct the {row.kind} value {row.value} of {row.item} at {row.location}.")


def canonical(name: str, data: pd.DataFrame | pa.Table) -> pa.Table:
    """`data` with exactly the columns, types and row order of table `name`."""
    columns = TABLES[name]
    unknown = sorted(set(_names(data)) - set(columns))
    if unknown:
        raise InvalidInputs(
            f"Table {name} has the unknown column {unknown[0]!r}; its columns are {', '.join(columns)}."
        )
    arrays = [_column(name, column, data, kind, default) for column, (kind, default) in columns.items()]
    table = pa.Table.from_arrays(arrays, schema=schema(name))
    order = pc.sort_indices(table, sort_keys=[(column, "ascending") for column in columns])
    return table.take(order).combine_chunks()


def _names(data: pd.DataFrame | pa.Table) -> list[str]:
    return [str(name) for name in (data.columns if isinstance(data, pd.DataFrame) else data.column_names)]


def _column(table: str, name: str, data: pd.DataFrame | pa.Table, kind: pa.DataType, default: Any) -> pa.Array:
    rows = len(data)
    if name not in _names(data):
        if default is REQUIRED and rows:
            raise InvalidInputs(f"Table {table} lacks the column {name!r}.")
        filled = None if default is REQUIRED else default
        return pa.array([filled] * rows, type=kind)
    try:
        values = _cast(data[name], kind)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InvalidInputs(f"Column {name!r} of table {table} cannot be read as {kind}: {error}") from error
    if values.null_count and default is REQUIRED:
        raise InvalidInputs(f"Column {name!r} of table {table} is empty in {values.null_count} of {rows} rows.")
    if values.null_count and default is not None:
        values = pc.fill_null(values, pa.scalar(default, type=kind))
    return values


def _cast(values: pd.Series | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pd.Series):
        if pa.types.is_decimal(kind) and values.dtype == object:
            values = pd.Series([_decimal(value, kind.scale) for value in values], dtype=object)
            return pa.array(values, type=kind, from_pandas=True)
        if pa.types.is_date(kind) and values.dtype == object:
            values = pd.Series(
                [None if pd.isna(value) else pd.Timestamp(value).date() for value in values], dtype=object
            )
            return pa.array(values, type=kind, from_pandas=True)
        values = pa.array(values, from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if values.type.equals(kind):
        return values
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), kind)
    if pa.types.is_decimal(kind) and pa.types.is_integer(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type) and values.type.tz is None:
        raise ValueError("its times have no time zone")
    return values.cast(kind)


def _decimal(value: Any, scale: int) -> Decimal | None:
    if value is None or value is pd.NA or value != value:
        return None
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    return number.quantize(Decimal(1).scaleb(-scale))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A canonical table as pandas: decimals as Decimal, dates as datetime64[s], numbers that may be null as float."""
    frame = {}
    for column in table.schema:
        values = table[column.name]
        if pa.types.is_date(column.type):
            frame[column.name] = values.cast(pa.timestamp("s")).to_pandas().astype("datetime64[s]")
        elif pa.types.is_integer(column.type) and column.nullable:
            frame[column.name] = values.cast(pa.float64()).to_pandas()
        else:
            frame[column.name] = values.to_pandas()
    return pd.DataFrame(frame)


def day_numbers(dates: pd.Series, cycle_date: np.datetime64) -> np.ndarray:
    """Days from the cycle date, float64; NaN where there is no date."""
    days = (dates.to_numpy().astype("datetime64[D]") - cycle_date).astype("timedelta64[D]")
    return np.where(np.isnat(days), np.nan, days.astype("int64").astype(float))
