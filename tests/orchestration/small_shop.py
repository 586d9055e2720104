"""A warehouse without the operational store: records in, marts out, for tests of SQL alone."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from connectors.extract import Collector
from connectors.landing import Landing
from connectors.records import Record
from ml.forecast import LEVELS, QUANTILE_COLUMNS
from ml.replenishment.inputs import canonical
from orchestration.warehouse.build import Done, build_marts
from orchestration.warehouse.identify import XREF
from orchestration.warehouse.issued import put
from orchestration.warehouse.load import load, replace_operations
from orchestration.warehouse.store import Warehouse
from tests.connectors.manifest import MemoryManifest


def at(day: int, hour: int = 12, month: int = 1) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, tzinfo=dt.UTC)


def on(day: int, month: int = 1) -> dt.date:
    return dt.date(2026, month, day)


class SmallShop:
    """`add` records, `build` up to a morning, read `table`s. Codes become keys by upper-casing, so that two codes can be
    made to mean one item."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = MemoryManifest()
        self.landing = Landing(str(folder / "landing"), self.manifest)
        self.warehouse = Warehouse(folder / "warehouse" / "w.duckdb")
        self.keys: dict[tuple[str, str], str] = {}
        self.issued: dict[dt.date, pa.Table] = {}
        self.holiday = "New Year's Day"
        self._pending = Collector()

    def add(self, model: type[Record], **values: object) -> None:
        numbers = {k: Decimal(str(v)) if isinstance(v, int | float) and not isinstance(v, bool) else v
                   for k, v in values.items()}  # fmt: skip
        self._pending.add(model, numbers, payload={}, position="test")

    def issue(self, morning: dt.date, item: str, means: list[float], model: str = "blend") -> None:
        """A forecast as the morning froze it: uniform between 0 and twice the mean, so that q50 is the mean itself."""
        rows = [
            {"sku": f"item:{item}", "location": "location:S1", "model": model, "date": morning + dt.timedelta(days=ahead),
             "mean": float(mean), **{q: 2 * mean * level for q, level in zip(QUANTILE_COLUMNS, LEVELS, strict=True)}}
            for ahead, mean in enumerate(means)
        ]  # fmt: skip
        fresh = canonical("forecasts", pa.Table.from_pylist(rows))
        self.issued[morning] = pa.concat_tables([self.issued[morning], fresh]) if morning in self.issued else fresh

    def land(self) -> None:
        extract, self._pending = self._pending.extract("all"), Collector()
        assert extract.rejected.num_rows == 0, extract.rejected.to_pylist()
        self.landing.land("shop", extract, cursor_before=None)

    def build(self, morning: dt.date) -> None:
        done = self.try_build(morning)
        assert not done.problems(), done.problems()
        assert all(node.status != "warn" for node in done.nodes)

    def try_build(self, morning: dt.date) -> Done:
        self.load()
        return build_marts(self.warehouse, morning, timezone="UTC", reporting_currency="EUR")

    def load(self) -> None:
        self.land()
        with self.warehouse.connect() as db:
            load(db, self.landing, self.manifest.files())
            replace_operations(
                db,
                {
                    "xref": self._xref(db),
                    "source": pa.table({"source": ["shop"], "priority": pa.array([0], pa.int64())}),
                    "holiday": pa.table({"country": ["DE"], "date_on": [on(1)], "name": [self.holiday]}),
                },
            )
            held = {day for (day,) in db.execute("SELECT cycle_date FROM planning.issued_cycle").fetchall()}
            for day, forecasts in self.issued.items():
                if day not in held:
                    put(db, day, "frozen", forecasts, {"id": "m1", "trained_until": "2025-12-31"}, range(1, 29))

    def table(self, name: str) -> list[dict[str, object]]:
        with self.warehouse.connect() as db:
            return db.execute(f'SELECT * FROM marts."{name}" ORDER BY ALL').to_arrow_table().to_pylist()

    def marts(self) -> dict[str, list[dict[str, object]]]:
        with self.warehouse.connect() as db:
            names = db.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'").fetchall()
        return {name: self.table(name) for (name,) in names}

    def rebuilt(self, folder: Path) -> SmallShop:
        """The same records in a new warehouse, to compare what was restated with what is built at once."""
        other = SmallShop(folder)
        other.landing, other.manifest, other.keys, other.issued = self.landing, self.manifest, self.keys, self.issued
        return other

    def _xref(self, db) -> pa.Table:
        rows = []
        for kind, column, entities in (
            ("item", "item_code", ("product", "order_line", "stock_level", "stock_movement", "receipt_line")),
            ("location", "location_code", ("location", "order_line", "stock_level", "stock_movement")),
            ("party", "supplier_code", ("supplier",)),
        ):
            union = " UNION ".join(f"SELECT {column} FROM landing.{entity}" for entity in entities)
            for (code,) in sorted(db.execute(union).fetchall()):
                key = self.keys.get((kind, code), f"{kind}:{code.upper()}")
                rows.append({"kind": kind, "source": "shop", "source_id": code, "key": key})
        return pa.Table.from_pylist(rows, schema=XREF)
