"""One more day costs in proportion to the day: load, dbt and publish at 30, 90 and 365 days of history.

    python -m benchmarks.marts [--series 2000]

A generated chain of ten stores: every series sells on about half of the days. Each history is imported at once and built;
then one day more is imported and brought through the same steps, and for comparison the marts are built anew. The shop
is invented and only its size matters.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import tempfile
import time
from pathlib import Path

import duckdb

from connectors.files.importer import import_file
from connectors.files.mapping import Mapping
from orchestration.application import Application
from orchestration.assets.marts import publish_now
from orchestration.settings import Business, Settings
from orchestration.warehouse.build import build_marts
from orchestration.warehouse.holidays import holiday_table
from orchestration.warehouse.identify import identify, source_table, xref_table
from orchestration.warehouse.load import load, prepare, replace_operations

HISTORIES = (30, 90, 365)
STORES = 10
LAST = dt.date(2026, 6, 30)
STEPS = ("load", "dbt", "publish")

CHAIN = Mapping.model_validate(
    {
        "source": "chain",
        "timezone": "Europe/Berlin",
        "defaults": {"currency": "EUR", "unit": "each", "channel": "store", "unit_price": 2},
        "orders": {
            "records": [
                {
                    "entity": "order_line",
                    "fields": {
                        "order_code": "concat(store, '|', to_text(dt))",
                        "line_code": "product",
                        "location_code": "store",
                        "item_code": "product",
                        "ordered_at": "to_instant(concat(to_text(dt), ' 12:00'), '%Y-%m-%d %H:%M')",
                        "quantity": "sold",
                    },
                }
            ]
        },
        "stock": {
            "records": [
                {
                    "entity": "stock_level",
                    "fields": {
                        "location_code": "store",
                        "item_code": "product",
                        "counted_at": "to_instant(concat(to_text(dt), ' 05:00'), '%Y-%m-%d %H:%M')",
                        "on_hand": "on_hand",
                    },
                }
            ]
        },
    }
)


def write_sales(path: Path, series: int, first: dt.date, days: int) -> None:
    duckdb.execute(
        f"""
        COPY (
            SELECT 'S' || s % {STORES} AS store, 'P' || s // {STORES} AS product, DATE '{first}' + d::INT AS dt,
                   1 + hash(s, d, 'quantity') % 5 AS sold
            FROM range({series}) AS a(s), range({days}) AS b(d) WHERE hash(s, DATE '{first}' + d::INT) % 2 = 0
        ) TO '{path}' (FORMAT parquet)
        """
    )


def write_stock(path: Path, series: int, day: dt.date) -> None:
    duckdb.execute(
        f"COPY (SELECT 'S' || s % {STORES} AS store, 'P' || s // {STORES} AS product, DATE '{day}' AS dt, 5000 AS on_hand "
        f"FROM range({series}) AS a(s)) TO '{path}' (FORMAT parquet)"
    )


def take(app: Application, kind: str, path: Path) -> None:
    import_file(app.landing, kind, path, CHAIN, hash_key=app.hash_key)


def refresh(app: Application, morning: dt.date, *, anew: bool = False) -> dict[str, float]:
    """What the daily job does between pulling and forecasting; seconds by step."""
    seconds = {}
    began = time.perf_counter()
    with app.warehouse.connect() as db:
        prepare(db)
        load(db, app.landing, app.manifest.files())
        identify(db, app.engine, [])
        tables = {"xref": xref_table(app.engine), "source": source_table([]), "holiday": holiday_table(db)[0]}
        replace_operations(db, tables)
        if anew:
            db.execute("DELETE FROM landing.build")
    seconds["load"] = time.perf_counter() - began
    began = time.perf_counter()
    done = build_marts(app.warehouse, morning, timezone="Europe/Berlin", reporting_currency="EUR")
    if done.problems() or not done.is_new:
        raise SystemExit(done.problems() or "Nothing was built.")
    seconds["dbt"] = time.perf_counter() - began
    began = time.perf_counter()
    publish_now(app, morning)
    seconds["publish"] = time.perf_counter() - began
    return seconds


def measure(series: int, days: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of one more day after `days`, and of building everything anew."""
    first = LAST - dt.timedelta(days=days)
    with tempfile.TemporaryDirectory(prefix="stockflow-bench-") as folder:
        os.chmod(folder, 0o711)  # the embedded PostgreSQL passes through as an account of its own
        home = Path(folder) / "home"
        settings = Settings(home, str(home / "landing"), Business(timezone="Europe/Berlin"))
        with Application(settings) as app:
            file = Path(folder) / "file.parquet"
            write_stock(file, series, first)
            take(app, "stock", file)
            write_sales(file, series, first, days)
            take(app, "orders", file)
            refresh(app, LAST)
            write_sales(file, series, LAST, 1)
            take(app, "orders", file)
            one_day = refresh(app, LAST + dt.timedelta(days=1))
            return one_day, refresh(app, LAST + dt.timedelta(days=1), anew=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=2000)
    series = parser.parse_args().series
    print(f"{series:,} series in {STORES} stores, {os.cpu_count()} cores; seconds\n")
    print("| history | one more day | load | dbt | publish | everything anew | load | dbt | publish |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for days in HISTORIES:
        cells = []
        for seconds in measure(series, days):
            cells += [sum(seconds.values()), *(seconds[step] for step in STEPS)]
        print(f"| {days} days | " + " | ".join(f"{value:.1f}" for value in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
