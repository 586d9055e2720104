"""The tables a cycle decides from, read as of its morning; `ml.replenishment.inputs` says what each holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import sqlalchemy as sa
from sqlalchemy import Engine

from connectors.errors import PermanentError
from operations.schema import proposal, purchase_order, purchase_order_line

if TYPE_CHECKING:
    import pandas as pd

    from ml.replenishment.inputs import FrozenInputs
    from ml.replenishment.parameters import Parameters

# The balance the evening before; by expiry batch where a system states batches that add up to it.
_POSITION = """
    WITH closing AS (
        SELECT item_key, location_key, business_date, coalesce(stated_on_hand, closing) AS on_hand
        FROM marts.fct_inventory_daily
        WHERE business_date = $cycle::DATE - 1 AND is_known
    ),
    levels AS (
        SELECT item_key, stock_location_key AS location_key, expires_on, counted_at, quantity_base,
               sum(quantity_base) OVER (PARTITION BY item_key, stock_location_key) AS total
        FROM intermediate.int_stock_levels__resolved
        WHERE superseded_load IS NULL AND business_date < $cycle
        QUALIFY counted_at = max(counted_at) OVER (PARTITION BY item_key, stock_location_key)
    ),
    counted AS (
        SELECT item_key, stock_location_key AS location_key, max(counted_at) AS counted_at
        FROM intermediate.int_stock_levels__resolved
        WHERE superseded_load IS NULL AND business_date < $cycle GROUP BY ALL
    ),
    batches AS (
        SELECT l.item_key, l.location_key, l.expires_on, sum(l.quantity_base) AS on_hand
        FROM levels AS l JOIN closing AS c USING (item_key, location_key)
        WHERE l.total = c.on_hand AND l.quantity_base > 0 AND l.expires_on IS NOT NULL GROUP BY ALL
    )
    SELECT c.item_key AS item, c.location_key AS location, b.expires_on, coalesce(b.on_hand, c.on_hand) AS on_hand,
           i.base_unit AS unit, n.counted_at
    FROM closing AS c
    JOIN marts.dim_item AS i USING (item_key)
    LEFT JOIN batches AS b USING (item_key, location_key)
    LEFT JOIN counted AS n USING (item_key, location_key)
    WHERE NOT i.is_kit AND i.is_active
"""

_OPEN_ORDERS = """
    WITH received AS (
        SELECT source, purchase_order_code, purchase_order_line_code AS line_code, sum(quantity_base) AS quantity
        FROM intermediate.int_receipt_lines__resolved
        WHERE superseded_load IS NULL AND business_date < $cycle GROUP BY ALL
    )
    SELECT p.item_key AS item, p.location_key AS location, p.purchase_order_code AS document,
           nullif(p.party_key, 'unmatched') AS supplier, p.expected_on,
           p.quantity_base - coalesce(r.quantity, 0) AS quantity, i.base_unit AS unit
    FROM marts.fct_purchase_order_line AS p
    JOIN marts.dim_item AS i USING (item_key)
    LEFT JOIN received AS r USING (source, purchase_order_code, line_code)
    WHERE p.ordered_on < $cycle AND p.status <> 'cancelled' AND p.item_key <> 'unmatched'
        AND p.quantity_base > coalesce(r.quantity, 0)
        -- What the source has closed short is not coming any more.
        AND (p.status IN ('open', 'draft') OR p.last_received_on >= $cycle)
"""

# The newest of each currency on the morning.
_RATES = """
    SELECT currency, arg_max(rate, date_on) AS rate FROM intermediate.int_exchange_rates
    WHERE date_on < $cycle GROUP BY ALL
"""

_OFFERS = f"""
    SELECT o.party_key AS supplier, o.item_key AS item, o.valid_from, o.valid_to, o.minimum_quantity, o.unit_price,
           o.currency, CASE WHEN o.currency = $reporting THEN 1 ELSE rate.rate END AS exchange_rate, o.unit,
           o.pack_quantity, o.moq
    FROM intermediate.int_supplier_offers AS o
    LEFT JOIN ({_RATES}) AS rate USING (currency)
"""

_SUPPLIERS = f"""
    SELECT p.party_key AS supplier, p.name, p.currency, p.order_weekdays, p.lead_time_days, p.lead_time_sd_days,
           late.typical_delay_days, p.payment_terms_days, p.minimum_order_amount,
           CASE WHEN p.currency = $reporting THEN 1 ELSE rate.rate END AS exchange_rate
    FROM marts.dim_party AS p
    LEFT JOIN (
        SELECT party_key, median(days_late) AS typical_delay_days FROM marts.fct_purchase_order_line
        WHERE days_late > 0 AND first_received_on < $cycle GROUP BY ALL
    ) AS late USING (party_key)
    LEFT JOIN ({_RATES}) AS rate ON rate.currency = p.currency
    WHERE p.party_key <> 'unmatched' AND p.currency IS NOT NULL
"""

_LEAD_TIMES = """
    SELECT party_key AS supplier, CAST(lead_time_days AS DOUBLE) AS lead_time_days, count(*) AS receipts
    FROM marts.fct_purchase_order_line
    WHERE lead_time_days >= 0 AND first_received_on < $cycle AND first_received_on >= $cycle::DATE - 365
        AND party_key <> 'unmatched'
    GROUP BY ALL
"""

_CALENDAR = """
    SELECT l.stock_location_key AS location, o.date_on AS date, bool_or(o.is_open) AS is_open
    FROM landing.opening_day AS o
    JOIN operations.xref AS x ON x.kind = 'location' AND x.source = o.source AND x.source_id = o.location_code
    JOIN marts.dim_location AS l ON l.location_key = x.key
    WHERE o.superseded_load IS NULL AND o.date_on >= $cycle::DATE - 7 AND o.date_on < $cycle::DATE + 120
    GROUP BY ALL
"""

_ITEMS = """
    SELECT i.item_key AS item, i.base_unit, coalesce(i.category, '') AS item_class, i.shelf_life_days, i.is_kit,
           CASE WHEN i.currency IS NULL OR i.currency = $reporting THEN i.list_price END AS price, cost.unit_cost
    FROM marts.dim_item AS i
    LEFT JOIN (
        SELECT item_key, CAST(sum(line_reporting_amount) / nullif(sum(quantity_base), 0) AS DECIMAL(18, 6)) AS unit_cost
        FROM marts.fct_purchase_order_line
        WHERE ordered_on < $cycle AND ordered_on >= $cycle::DATE - 180 GROUP BY ALL
    ) AS cost USING (item_key)
    WHERE i.item_key <> 'unmatched'
"""

_UNITS = "SELECT item_key AS item, unit, numerator, denominator FROM intermediate.int_item_units"

_SOURCING = """
    SELECT location_key AS location,
           CASE WHEN supplied_from_key IS NULL THEN 'supplier' ELSE 'location' END AS source,
           coalesce(supplied_from_key, '') AS from_location
    FROM marts.dim_location
    WHERE location_key <> 'unmatched' AND stock_location_key = location_key
"""


def read_parameters(path: Path, reporting_currency: str) -> Parameters:
    """What the business decided about replenishment: `<home>/parameters.yaml`, or the defaults; in the reporting
    currency of config.yaml."""
    from ml.replenishment.parameters import Parameters
    from ml.replenishment.parameters import read_parameters as parse

    if not path.exists():
        return Parameters(reporting_currency=reporting_currency)
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"{path} cannot be read ({error}): correct it and plan again.") from None
    if "reporting_currency" not in found.model_fields_set:
        return found.model_copy(update={"reporting_currency": reporting_currency})
    if found.reporting_currency != reporting_currency:
        raise PermanentError(
            f"{path} reckons in {found.reporting_currency} and config.yaml in {reporting_currency}: "
            "take reporting_currency out of the former."
        )
    return found


def read_inputs(
    db: duckdb.DuckDBPyConnection,
    engine: Engine,
    cycle_date: dt.date,
    forecasts: pd.DataFrame,
    parameters: Parameters,
    dependence: Mapping[str, float],
    issued_by: Mapping[str, str],
) -> FrozenInputs:
    """Everything the cycle decides from, as it stood on the morning of `cycle_date`."""
    import pandas as pd

    from ml.replenishment.inputs import FrozenInputs

    def read(query: str) -> pd.DataFrame:
        wanted = {"cycle": cycle_date, "reporting": parameters.reporting_currency}
        named = {name: value for name, value in wanted.items() if f"${name}" in query}
        return db.execute(query, named).to_arrow_table().to_pandas(date_as_object=True)

    ours = _ours_under_way(engine, cycle_date)
    known = {row[0] for row in db.execute("SELECT DISTINCT reference FROM marts.fct_purchase_order_line").fetchall()}
    open_orders = pd.concat([read(_OPEN_ORDERS), ours[~ours["document"].isin(known)]], ignore_index=True)
    return FrozenInputs(
        position=read(_POSITION),
        offers=read(_OFFERS),
        suppliers=read(_SUPPLIERS),
        items=read(_ITEMS),
        forecasts=forecasts,
        open_orders=open_orders,
        units=read(_UNITS),
        lead_times=read(_LEAD_TIMES),
        calendar=read(_CALENDAR),
        sourcing=read(_SOURCING),
        dependence=dependence,
        issued_by=issued_by,
        parameters=parameters,
    )


def _ours_under_way(engine: Engine, cycle_date: dt.date) -> pd.DataFrame:
    """What was approved here and no source shows yet: orders on their way to the ERP, transfers until they arrive."""
    import pandas as pd

    p, line, moved = purchase_order, purchase_order_line, proposal
    orders = (
        sa.select(
            line.c.item_key.label("item"), p.c.location_key.label("location"), p.c.document_key.label("document"),
            p.c.supplier_id.label("supplier"), p.c.expected_on, line.c.quantity, line.c.unit,
        )
        .join(line, line.c.document_key == p.c.document_key)
        .where(p.c.status.in_(("approved", "sending", "unknown", "sent")), p.c.cycle_date < cycle_date)
        .where(p.c.cycle_date >= cycle_date - dt.timedelta(days=90))
    )  # fmt: skip
    transfers = sa.select(
        moved.c.item_key.label("item"), moved.c.location_key.label("location"), moved.c.document_key.label("document"),
        sa.null().label("supplier"), moved.c.expected_on,
        sa.func.coalesce(moved.c.approved_quantity, moved.c.quantity).label("quantity"), moved.c.unit,
    ).where(
        moved.c.kind == "transfer", moved.c.status.in_(("approved", "ordered")), moved.c.cycle_date < cycle_date,
        moved.c.expected_on >= cycle_date,
    )  # fmt: skip
    with engine.connect() as db:
        rows = [dict(row) for query in (orders, transfers) for row in db.execute(query).mappings()]
    columns = ["item", "location", "document", "supplier", "expected_on", "quantity", "unit"]
    return pd.DataFrame(rows, columns=columns)
