"""Moving averages: the unit cost of each series after every day on which one could change; between them it stays.

An average is made from the one before it, and what one place receives costs what it cost the other, so the days must be
gone through one after the other, all series at once; a recursive query took seventy times as long. Within a day goods at
known prices and what others sent earlier come first, then what is sent on leaves at `sent_cost`, then what others sent the
same day arrives, and everything else comes and leaves at `unit_cost`. NaN is a cost that nothing is known of.
"""

import numpy as np
import pyarrow as pa

DIGITS = 8


def averaged(stock, cost, quantity, value):
    """The unit cost after `quantity` has come in for `value` on top of `stock`; what has no cost has no weight."""
    weight = np.where(np.isnan(cost), 0.0, stock)
    with np.errstate(divide="ignore", invalid="ignore"):
        average = (weight * np.nan_to_num(cost) + value) / (weight + quantity)
    return np.where(quantity > 0, np.round(average, DIGITS), cost)


KINDS = ("transfers", "production")


def arriving(arrivals, sent_cost, begin, size):
    """(quantity, cost) by kind, each by series of the day, of some arrivals; nothing where the cost of any is unknown."""
    to, sender = arrivals["receiver"] - begin, arrivals["sender"]
    unit = np.where(sender >= 0, sent_cost[sender], arrivals["cost_before"])
    value = arrivals["sent_quantity"] * unit
    is_known = np.bincount(to, np.isnan(value), size) == 0
    found = []
    for chosen in (arrivals["is_transfer"], ~arrivals["is_transfer"]):
        quantity = np.bincount(to, arrivals["quantity"] * chosen, size)
        cost = np.round(np.bincount(to, np.where(chosen, value, 0), size), 4)
        found.append((np.where(is_known, quantity, 0), np.where(is_known, cost, 0)))
    return found


def walk(steps, arrivals, cost, is_average):
    """Costs and arrivals at each step, in order. `steps` and `arrivals` are columns in order of `day`; `cost` and
    `is_average` are by series, as they stood before the first step, and change."""
    rows = len(steps["day"])
    found = {name: np.full(rows, np.nan) for name in ("sent_cost", "unit_cost")}
    found |= {f"{kind}_{part}": np.zeros(rows) for kind in KINDS for part in ("quantity", "cost")}
    found["is_average"] = np.zeros(rows, bool)
    days, begins = np.unique(steps["day"], return_index=True)
    firsts, lasts = (np.searchsorted(arrivals["day"], days, side) for side in ("left", "right"))
    for begin, end, first, last in zip(begins, np.append(begins, rows)[1:], firsts, lasts, strict=True):
        step = {name: column[begin:end] for name, column in steps.items()}
        came = {name: column[first:last] for name, column in arrivals.items()}
        today, series = slice(begin, end), step["series"]
        quantity, value = step["known_quantity"], step["known_cost"]
        stock, unit = step["carried"], cost[series]
        unit = np.where(np.isnan(unit) & step["is_first_known"], step["first_cost"], unit)
        for is_early in (True, False):
            chosen = came["is_early"] == is_early
            some = {name: column[chosen] for name, column in came.items()}
            for kind, (more, worth) in zip(KINDS, arriving(some, found["sent_cost"], begin, end - begin), strict=True):
                found[f"{kind}_quantity"][today] += more
                found[f"{kind}_cost"][today] += worth
                quantity, value = quantity + more, value + worth
            unit = averaged(stock, unit, quantity, value)
            is_average[series] |= quantity > 0
            if is_early:
                found["sent_cost"][today] = unit
                stock = np.maximum(stock + quantity - step["sent_quantity"], 0)
                quantity, value = np.zeros(end - begin), np.zeros(end - begin)
        cost[series] = found["unit_cost"][today] = unit
        found["is_average"][today] = is_average[series]
    return found


def columns(relation):
    table = relation.to_arrow_table()
    return {name: table[name].to_numpy() for name in table.column_names}


NOWHERE = """(
    SELECT NULL::VARCHAR AS item_key, NULL::VARCHAR AS location_key, NULL::DATE AS business_date,
        NULL::DOUBLE AS sent_cost, NULL::DOUBLE AS unit_cost, NULL::BOOLEAN AS is_average
)"""

STEP = """
    SELECT *, row_number() OVER (ORDER BY business_date, item_key, location_key) - 1 AS position,
        dense_rank() OVER (ORDER BY item_key, location_key) - 1 AS series
    FROM steps ORDER BY position
"""

WALKED = """
    SELECT datediff('day', DATE '2000-01-01', business_date) AS day, series, carried, known_quantity, known_cost, sent_quantity,
        coalesce(first_cost, 'nan'::DOUBLE) AS first_cost, coalesce(is_first_known, false) AS is_first_known
    FROM step ORDER BY position
"""

ARRIVALS = """
    SELECT datediff('day', DATE '2000-01-01', l.business_date) AS day, receiver.position AS receiver,
        coalesce(sender.position, -1) AS sender, l.quantity::DOUBLE AS quantity, l.sent_quantity::DOUBLE AS sent_quantity,
        l.from_item_key = l.item_key AS is_transfer, l.sent_on < l.business_date AS is_early, coalesce(b.sent_cost, 'nan'::DOUBLE) AS cost_before
    FROM links AS l
    JOIN step AS receiver ON receiver.item_key = l.item_key AND receiver.location_key = l.location_key
        AND receiver.business_date = l.business_date
    LEFT JOIN step AS sender ON sender.item_key = l.from_item_key AND sender.location_key = l.from_location_key
        AND sender.business_date = l.sent_on
    LEFT JOIN {before} AS b ON b.item_key = l.from_item_key AND b.location_key = l.from_location_key
        AND b.business_date = l.sent_on
    ORDER BY receiver, l.from_item_key, l.from_location_key, l.sent_on
"""

START = """
    SELECT coalesce(b.unit_cost, 'nan'::DOUBLE) AS unit_cost, coalesce(b.is_average, false) AS is_average
    FROM (SELECT DISTINCT series, item_key, location_key FROM step) AS s
    LEFT JOIN (
        SELECT item_key, location_key, arg_max(unit_cost, business_date) AS unit_cost,
            arg_max(is_average, business_date) AS is_average
        FROM {before} GROUP BY ALL
    ) AS b USING (item_key, location_key)
    ORDER BY series
"""

FOUND = """
    SELECT s.item_key, s.location_key, s.business_date, nullif(c.sent_cost, 'nan'::DOUBLE) AS sent_cost,
        nullif(c.unit_cost, 'nan'::DOUBLE) AS unit_cost, c.* EXCLUDE (sent_cost, unit_cost)
    FROM step AS s POSITIONAL JOIN costs AS c
"""


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append")
    # DuckDB finds what is read by the names of these variables.
    steps, links = dbt.ref("int_stock__steps"), dbt.ref("int_stock_links")  # noqa: F841
    dbt.ref("int_stock_value__touched")
    before = dbt.this if dbt.is_incremental else NOWHERE
    step = session.sql(STEP).to_arrow_table()  # noqa: F841
    walked = columns(session.sql(WALKED))
    arrivals = columns(session.sql(ARRIVALS.format(before=before)))
    start = columns(session.sql(START.format(before=before)))
    costs = pa.table(walk(walked, arrivals, start["unit_cost"].copy(), start["is_average"].copy()))  # noqa: F841
    return session.sql(FOUND)
