"""The databases behind the generated shop's three systems, each with its own codes: DuckDB in memory.

Belongs here: tables of facts and master data as of the virtual date, and reading a page of a feed as JSON. The feeds
themselves are in `feeds`, HTTP is in `platform`.

Every fact has a change number (`rid`), given in the order in which facts came to be. The virtual date `as_of` is the
morning after the last business day that is known.
"""

from __future__ import annotations

import datetime as dt
import threading

import duckdb
import numpy as np
import pyarrow as pa

from connectors.sandbox.catalogue import (
    CATEGORIES,
    KIT,
    RATE_AT_START,
    STRAYS,
    WAREHOUSE,
    Catalogue,
    date_of,
    day_number,
)
from connectors.sandbox.conditions import FORECAST_DAYS, Promotions, Rates, Skies, is_open
from connectors.sandbox.dirt import spoiled
from connectors.sandbox.facts import FACTS
from connectors.sandbox.people import person
from connectors.sandbox.shop import Shop, declared_pairs

DAYS_PLANNED_AHEAD = 120
"""How far ahead closed days and promotions are asked for."""

MACROS = """
CREATE MACRO money(cents) AS CAST(CAST(cents AS DECIMAL(15, 0)) * 0.01 AS VARCHAR);
CREATE MACRO price(e4) AS CAST(CAST(e4 AS DECIMAL(14, 0)) * 0.0001 AS VARCHAR);
CREATE MACRO iso(instant) AS strftime(instant, '%Y-%m-%dT%H:%M:%SZ');
CREATE MACRO order_code(key) AS printf('W%d', key);
CREATE MACRO return_code(key) AS printf('R%d', key);
CREATE MACRO po_code(number) AS CASE WHEN number > 0 THEN printf('PO-%d', number) ELSE printf('PX-%06d', -number) END;
CREATE MACRO transfer_code(number) AS CASE WHEN number > 0 THEN printf('T-%d', number)
                                           WHEN number < -1 THEN printf('TX-%06d', -number) END;
"""


class Systems:
    """Facts and master data of one shop. Threads may read while one of them appends."""

    def __init__(self, shop: Shop):
        self.catalogue: Catalogue = shop.catalogue
        self.as_of = shop.config.start
        self._lock = threading.Lock()
        self._db = duckdb.connect(":memory:", config={"threads": 2})
        self._db.execute(MACROS)
        self._skies = Skies(shop.config.seed, shop.catalogue.places)
        self._promotions = Promotions(shop.catalogue)
        self._rates = Rates(shop.config.seed, day_number(shop.config.start), RATE_AT_START)
        self._master_data()
        for name, schema in FACTS.items():
            self._create(name, self._plain(schema.empty_table()))
            self._db.execute(f"ALTER TABLE {name} ADD COLUMN rid BIGINT")
        for name, schema in (("weather", WEATHER), ("exchange_rates", RATES)):
            self._create(name, schema.empty_table())
        self._create("spoiled", spoiled(shop.catalogue))
        self._db.execute("CREATE TABLE reference (order_number BIGINT PRIMARY KEY, reference VARCHAR)")
        self.append(shop.facts, shop.end)

    # -- Reading -------------------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: dict[str, object] | None = None) -> list[tuple]:
        """Runs a query on a connection of its own; `$as_of` is the virtual date where the query names it."""
        given = dict(parameters or {})
        if "$as_of" in sql:
            given["as_of"] = self.as_of
        with self._db.cursor() as cursor:
            return cursor.execute(sql, given).fetchall()

    # -- Growing -------------------------------------------------------------------------------------------------------

    def append(self, facts: dict[str, pa.Table], as_of: dt.date) -> None:
        """Adds what happened until the morning of `as_of`, atomically."""
        with self._lock:
            self._db.begin()
            for name, table in facts.items():
                if table.num_rows:
                    self._insert(name, self._plain(table))
            days = range(day_number(self.as_of), day_number(as_of))
            if days:
                self._insert("weather", self._weather(days))
                self._insert("exchange_rates", self._exchange(days))
            self._promote(as_of)
            self._close_days(as_of)
            self._db.commit()
            self.as_of = as_of

    def refer(self, order_number: int, reference: str) -> None:
        """Notes the reference that came with a written purchase order."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO reference VALUES (?, ?)", [order_number, reference])

    def _insert(self, name: str, table: pa.Table) -> None:
        self._db.register("incoming", table)
        first = self._db.execute(f"SELECT coalesce(max(rid), 0) FROM {name}").fetchone()[0]
        self._db.execute(f"INSERT INTO {name} BY NAME SELECT *, row_number() OVER () + {first} AS rid FROM incoming")
        self._db.unregister("incoming")

    def _create(self, name: str, table: pa.Table) -> None:
        self._db.register("incoming", table)
        self._db.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
        self._db.unregister("incoming")

    @staticmethod
    def _plain(table: pa.Table) -> pa.Table:
        """Instants without a zone: all of them are UTC, and DuckDB is quicker with plain ones."""
        plain = [
            pa.field(f.name, pa.timestamp("us")) if pa.types.is_timestamp(f.type) else pa.field(f.name, f.type)
            for f in table.schema
        ]
        return table.cast(pa.schema(plain))

    # -- Master data ---------------------------------------------------------------------------------------------------

    def _master_data(self) -> None:
        c, n = self.catalogue, len(self.catalogue.kind)
        in_web, in_tills = c.rate[-1] > 0, c.rate[:-1].any(axis=0)
        strays = range(len(STRAYS))
        self._create(
            "item",
            pa.table(
                {
                    "item": np.arange(n + len(STRAYS)),
                    "erp_code": [*c.erp_code, *(None for _ in strays)],
                    "sku": [
                        *(s if ok else None for s, ok in zip(c.sku, in_web, strict=True)),
                        *(code if system == "webshop" else None for system, code, *_ in STRAYS),
                    ],
                    "plu": [
                        *(s if ok else None for s, ok in zip(c.plu, in_tills, strict=True)),
                        *(code if system == "tills" else None for system, code, *_ in STRAYS),
                    ],
                    "gtin": [*c.gtin, *(None for _ in strays)],
                    "gtin_in_webshop": [*c.gtin_in_webshop, *(False for _ in strays)],
                    "gtin_in_tills": [*c.gtin_in_tills, *(False for _ in strays)],
                    "name": [*c.name, *(name for _, _, name, _ in STRAYS)],
                    "brand": [*c.brand, *(None for _ in strays)],
                    "category": [*(CATEGORIES[x].name for x in c.category), *(None for _ in strays)],
                    "is_kit": [*(c.kind == KIT), *(False for _ in strays)],
                    "shelf_life": [*c.shelf_life, *(0 for _ in strays)],
                    "case_size": [*c.case_size, *(1 for _ in strays)],
                    "launch_on": _dates([*c.launch_day, *(day_number(c.config.start) - 400 for _ in strays)]),
                    "cost_cents": [*c.cost_cents, *(0 for _ in strays)],
                    "price_cents": [*c.price_cents, *(price for *_, price in STRAYS)],
                    "risen_cents": [*c.list_price(10**9), *(price for *_, price in STRAYS)],
                    "rise_on": _dates([*c.price_rise_day, *(day_number(c.config.start) for _ in strays)]),
                }
            ),
        )
        kits = np.array(c.kit_parts).reshape(-1, 3)
        self._create("kit_part", pa.table({"kit": kits[:, 0], "item": kits[:, 1], "quantity": kits[:, 2]}))
        self._create("place", self._places())
        s = c.suppliers
        self._create(
            "supplier",
            pa.table(
                {
                    "supplier": np.arange(len(s.code)),
                    "code": s.code,
                    "name": s.name,
                    "currency": s.currency,
                    "lead_mean": s.lead_mean,
                    "lead_sd": s.lead_sd,
                    "order_weekdays": [",".join(map(str, days)) if len(days) < 7 else "" for days in s.order_weekdays],
                    "terms_days": s.terms_days,
                    "quotes_cases": s.quotes_cases,
                    "minimum_order": s.minimum_order,
                }
            ),
        )
        steps = [
            (o.supplier, o.item, date_of(o.valid_from), date_of(o.announced), o.moq, o.pack, quantity, price)
            for o in c.offers
            for quantity, price in o.steps
        ]
        names = ("supplier", "item", "valid_from", "announced", "moq", "pack", "from_quantity", "price_e4")
        self._create("offer", pa.table(dict(zip(names, zip(*steps, strict=True), strict=True))))
        people = [person(number) for number in range(c.config.web_customers)]
        columns = dict(zip(people[0]._fields, zip(*people, strict=True), strict=True))
        self._create("customer", pa.table({"customer": np.arange(len(people)), **columns}))
        pairs = list(zip(*declared_pairs(c), strict=True)) or [[], [], [], []]
        names = ("source", "code", "other_source", "other_code")
        self._create(
            "declared_pair", pa.table({k: pa.array(v, pa.string()) for k, v in zip(names, pairs, strict=True)})
        )
        self._db.execute(
            "CREATE TABLE promotion (code VARCHAR, item INT, location INT, starts DATE, ends DATE, announced DATE,"
            " discount DOUBLE); CREATE TABLE closed_day (location INT, date_on DATE)"
        )

    def _places(self) -> pa.Table:
        """`sale_code` and `stock_code` differ for the last location only; see `catalogue`."""
        places = [*self.catalogue.places, WAREHOUSE]
        last = len(places) - 2
        return pa.table(
            {
                "location": [*range(last + 1), last],
                "sells": [*(True for _ in range(last + 1)), False],
                "code": [p.code for p in places],
                "stock_code": [*(p.code for p in places[:-2]), WAREHOUSE.code, WAREHOUSE.code],
                "name": [p.name for p in places],
                "kind": [p.kind for p in places],
                "timezone": [p.timezone for p in places],
                "country": [p.country for p in places],
                "business_day_start": [p.business_day_start for p in places],
                "supplied_from": [*(WAREHOUSE.code for _ in range(last + 1)), None],
            }
        )

    def _promote(self, as_of: dt.date) -> None:
        """Promotions of the months since the last time, until the planning horizon."""
        known = {row[0] for row in self._db.execute("SELECT code FROM promotion").fetchall()}
        first = day_number(self.as_of) if known else day_number(self.catalogue.config.start)
        found = self._promotions.between(first, day_number(as_of) + DAYS_PLANNED_AHEAD)
        rows = [
            (p.code, p.item, p.location, date_of(p.starts), date_of(p.ends), date_of(p.announced), p.discount)
            for p in found
            if p.code not in known
        ]
        if rows:
            self._db.executemany("INSERT INTO promotion VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _close_days(self, as_of: dt.date) -> None:
        latest = self._db.execute("SELECT max(date_on) FROM closed_day").fetchone()[0]
        first = day_number(self.catalogue.config.start) if latest is None else day_number(latest) + 1
        days = range(first, day_number(as_of) + DAYS_PLANNED_AHEAD)
        closed = [(i, d) for d in days for i, place in enumerate(self.catalogue.places) if not is_open(place, d)]
        if closed:
            location, day = zip(*closed, strict=True)
            self._db.register("incoming", pa.table({"location": location, "date_on": _dates(day)}))
            self._db.execute("INSERT INTO closed_day SELECT location, date_on FROM incoming")
            self._db.unregister("incoming")

    # -- Conditions ----------------------------------------------------------------------------------------------------

    def _weather(self, days: range) -> pa.Table:
        columns: dict[str, list] = {name: [] for name in WEATHER.names[:-1]}
        places = np.arange(len(self.catalogue.places))
        for day in days:
            # What happened is reported in the night after; the forecast is issued in the evening.
            reports = [(day, (day + 1) * 86400 + 2 * 3600, self._skies.actual(day))]
            for ahead in range(1, FORECAST_DAYS + 1):
                reports.append((day + ahead, day * 86400 + 18 * 3600, self._skies.forecast(day, ahead)))
            for about, issued, weather in reports:
                columns["location"].append(places)
                columns["date_on"].append(np.full(len(places), about, np.int32))
                columns["issued_at"].append(np.full(len(places), issued * 1_000_000))
                for name in ("temperature", "rain", "humidity", "wind"):
                    columns[name].append(getattr(weather, name))
        arrays = [pa.array(np.concatenate(columns[f.name])).cast(f.type) for f in WEATHER if f.name != "rid"]
        return pa.table(arrays, names=WEATHER.names[:-1])

    def _exchange(self, days: range) -> pa.Table:
        rows = [
            (currency, date_of(day), rate)
            for day in days
            for currency, rate in self._rates.on(day).items()
            if currency != "EUR"
        ]
        return pa.table(dict(zip(RATES.names[:-1], zip(*rows, strict=True), strict=True)))


WEATHER = pa.schema(
    {"location": pa.int32(), "date_on": pa.date32(), "issued_at": pa.timestamp("us"), "temperature": pa.float64(),
     "rain": pa.float64(), "humidity": pa.float64(), "wind": pa.float64(), "rid": pa.int64()}
)  # fmt: skip
RATES = pa.schema({"currency": pa.string(), "date_on": pa.date32(), "rate": pa.float64(), "rid": pa.int64()})


def _dates(days) -> pa.Array:
    return pa.array(np.asarray(days, np.int32)).cast(pa.date32())
