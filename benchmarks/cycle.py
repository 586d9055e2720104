"""The whole daily cycle on real sales: load, marts, publish, forecasts, proposals, with and without training.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.cycle [--series 12221]

FreshRetailNet-50K (Dingdong-Inc, CC BY 4.0, arXiv 2505.16319): 12,221 series of 76 days, imported through the ready mapping.
Assumed, because the data says nothing of it: five days of mean sales on hand at the end, a list price of 10 and a cost of 6
for everything, one supplier who delivers two days after an order in packs of one. Training happens in the first cycle; then
one day more is imported and planned for with the models there are.

Peak memory is that of the run with dbt; the embedded PostgreSQL is counted beside it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import psutil

from benchmarks.datasets import data_folder
from connectors.files.importer import import_file
from connectors.files.mapping import Mapping, load_mapping
from orchestration.application import Application
from orchestration.settings import CHECKOUT, Settings

LAST = dt.date(2024, 6, 11)
CONFIG = "timezone: Asia/Shanghai\nreporting_currency: CNY\nholiday_countries: [CN]\n"

ASSUMED = Mapping.model_validate(
    {
        "source": "freshretailnet",
        "timezone": "Asia/Shanghai",
        "defaults": {"currency": "CNY", "unit": "each"},
        "catalog": {
            "records": [
                {
                    "entity": "product",
                    "one_per": ["item_code"],
                    "fields": {
                        "item_code": "product_id",
                        "name": "concat('Product ', to_text(product_id))",
                        "category": "to_text(third_category_id)",
                        "list_price": "10",
                    },
                }
            ]
        },
        "stock": {
            "records": [
                {
                    "entity": "stock_level",
                    "fields": {
                        "location_code": "store_id",
                        "item_code": "product_id",
                        "counted_at": "to_instant(concat(to_text(dt), ' 23:00'), '%Y-%m-%d %H:%M')",
                        "on_hand": "on_hand",
                    },
                }
            ]
        },
        "suppliers": {
            "records": [
                {
                    "entity": "supplier",
                    "one_per": ["supplier_code"],
                    "fields": {"supplier_code": "'DC'", "name": "'Distribution centre'", "lead_time_days": "2"},
                },
                {
                    "entity": "supplier_offer",
                    "one_per": ["supplier_code", "item_code"],
                    "fields": {"supplier_code": "'DC'", "item_code": "product_id", "unit_price": "6"},
                },
            ]
        },
    }
)

RUN = """
import datetime as dt, json, sys, time
from orchestration.application import Application
from orchestration.execution import execute, failures
from orchestration.settings import Settings
steps = {}
def told(step, outcome, seconds):
    if outcome != "start":
        steps[step] = seconds
with Application(Settings.from_environment()) as app:
    began = time.perf_counter()
    result = execute(app, "daily_planning_job", dt.date.fromisoformat(sys.argv[1]), told)
    wall = time.perf_counter() - began
if not result.success:
    sys.exit("; ".join(failures(result)))
print(json.dumps({"wall": wall, "steps": steps}))
"""


def write(db: duckdb.DuckDBPyConnection, path: Path, query: str) -> Path:
    db.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def prepare(data: Path, folder: Path, series: int) -> dict[str, Path]:
    """The files to import: everything but the last day, the last day, and what is assumed on the mornings after."""
    with duckdb.connect() as db:
        db.execute(
            f"CREATE VIEW sales AS SELECT * FROM read_parquet('{data}') SEMI JOIN (SELECT DISTINCT store_id, product_id "
            f"FROM read_parquet('{data}') ORDER BY ALL LIMIT {series}) USING (store_id, product_id)"
        )
        stock = (
            "SELECT store_id, product_id, DATE '{}' AS dt, round(5 * avg(sale_amount), 3) AS on_hand "
            "FROM sales GROUP BY store_id, product_id"
        )
        day_before = LAST - dt.timedelta(days=1)
        return {
            "history": write(db, folder / "history.parquet", f"FROM sales WHERE CAST(dt AS DATE) < DATE '{LAST}'"),
            "last day": write(db, folder / "day.parquet", f"FROM sales WHERE CAST(dt AS DATE) = DATE '{LAST}'"),
            "stock": write(db, folder / "stock.parquet", stock.format(day_before)),
            "last stock": write(db, folder / "last_stock.parquet", stock.format(LAST)),
        }


def take(app: Application, kind: str, path: Path, mapping: Mapping) -> None:
    import_file(app.landing, kind, path, mapping, hash_key=app.hash_key)


class Memory:
    """Peak resident memory of a process and of those it started, and of the PostgreSQL server, sampled."""

    def __init__(self, pid: int, server: int):
        self.run = self.server = 0
        self._of, self._done = {"run": pid, "server": server}, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for name, pid in self._of.items():
                setattr(self, name, max(getattr(self, name), _resident(pid)))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def _resident(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def cycle(app: Application, morning: dt.date) -> tuple[dict, Memory]:
    import json

    server = int((app.postgres.data / "postmaster.pid").read_text().split()[0])
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, morning.isoformat()], cwd=CHECKOUT, text=True,
        env={**os.environ, "STOCKFLOW_HOME": str(app.settings.home), "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    memory = Memory(process.pid, server)
    output, errors = process.communicate()
    memory.stop()
    if process.returncode:
        raise SystemExit(errors[-3000:])
    return json.loads(output.splitlines()[-1]), memory


def report(name: str, told: dict, memory: Memory) -> None:
    overhead = told["wall"] - sum(told["steps"].values())
    print(
        f"| {name} | {told['wall']:.0f} s | {overhead:.1f} s | {memory.run / 1e9:.1f} GB | {memory.server / 1e9:.1f} GB |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=12_221)
    series = parser.parse_args().series
    data = data_folder() / "freshretailnet_dev.parquet"
    fresh = load_mapping("freshretailnet")
    with tempfile.TemporaryDirectory(prefix="stockflow-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the embedded PostgreSQL passes through as an account of its own
        files = prepare(data, folder, series)
        home = folder / "home"
        home.mkdir()
        (home / "config.yaml").write_text(CONFIG)
        settings = Settings.from_environment({**os.environ, "STOCKFLOW_HOME": str(home)})
        with Application(settings) as app:
            app.set_up()
            began = time.perf_counter()
            take(app, "orders", files["history"], fresh)
            print(
                f"{series:,} series, {os.cpu_count()} cores; history imported in {time.perf_counter() - began:.0f} s\n"
            )
            take(app, "catalog", files["history"], ASSUMED)
            take(app, "suppliers", files["history"], ASSUMED)
            take(app, "stock", files["stock"], ASSUMED)
            print("| cycle | wall | of it orchestration | peak memory | PostgreSQL |")
            print("| --- | ---: | ---: | ---: | ---: |")
            runs = [("first, with training", *cycle(app, LAST))]
            report(*runs[0])
            take(app, "orders", files["last day"], fresh)
            take(app, "stock", files["last stock"], ASSUMED)
            runs.append(("next day, without training", *cycle(app, LAST + dt.timedelta(days=1))))
            report(*runs[1])
    print("\n| step | with training | without |\n| --- | ---: | ---: |")
    for step in runs[0][1]["steps"]:
        print(f"| {step} | {runs[0][1]['steps'][step]:.1f} s | {runs[1][1]['steps'].get(step, 0):.1f} s |")


if __name__ == "__main__":
    main()
