"""Demand recovered from stock-outs against the demand that was: `python -m benchmarks.recovery`.

Two generators whose shelves run dry because demand was high, and which know what was wanted: the generated shop, and one
that is nothing like it (`noisy_stock`). Given are sales and the in-stock share of each day, as to any user; of the shop as time
open, from the hours of its sales as the part of a usual day's customers, and as the daily cycle makes shares: of time open or of
the last sale, by the profile that its SQL learns from order lines, and without one. Printed is
recovered over true demand: of everything, of the days that ran out, and by how much of the day was out of stock. It is held
to `OVERALL` of everything and to `BAND` within each band.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.datasets import latent_demand, shop_lines
from benchmarks.markdown import markdown
from ml.demand import recover_demand, share_by_hours

OVERALL, BAND = 0.03, 0.05
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))

_HALF_A_DAY = 0.5

# What the models that weigh shares read, as the marts before them would have made it of the generated shop.
_WEIGHING = ("int_sales_by_time", "int_day_profile", "int_demand__stocked")
_GIVEN = """
    CREATE SCHEMA landing; CREATE SCHEMA intermediate; CREATE SCHEMA marts;
    CREATE TABLE landing.build_request AS SELECT getvariable('morning') AS cycle_date, NULL AS built_to;
    CREATE TABLE intermediate.int_locations AS
        SELECT location::VARCHAR AS location_key, location_key AS stock_location_key, timezone, business_day_start FROM places;
    CREATE TABLE marts.dim_location AS FROM intermediate.int_locations;
    CREATE TABLE intermediate.int_demand_lines AS
        SELECT item::VARCHAR AS item_key, location::VARCHAR AS location_key, date_on AS business_date, ordered_at,
               false AS from_kit, NULL::BIGINT AS superseded_load FROM lines;
    CREATE TABLE marts.fct_demand_daily AS
        SELECT item::VARCHAR AS item_key, location::VARCHAR AS location_key, date_on AS business_date, sold AS quantity,
               in_stock_share, ran_dry_at::TIMESTAMPTZ AS ran_dry_at, basis AS availability_basis, 0 AS discount,
               true AS is_open FROM demand;
"""
_FOUND = """
    SELECT item_key::INT AS item, location_key::INT AS location, business_date AS date_on, in_stock_share
    FROM intermediate.int_demand__stocked
"""


@dataclass(frozen=True)
class Truth:
    """`demand`, `sales` and in-stock `share`, each [series, days]; NaN: the shop was closed or did not carry it."""

    demand: np.ndarray
    sales: np.ndarray
    share: np.ndarray


def shop() -> Truth:
    """Two years of the generated shop: lines of several units, a busy afternoon, promotions, seasons, launches."""
    table = latent_demand().pivot(index=["sku", "location"], columns="date")
    return Truth(*(table[name].to_numpy(float) for name in ("latent_demand", "quantity", "in_stock_share")))


def shop_by_hours(parts: int = 12) -> Truth:
    """The same, with shares as `stockflow forecast --hourly` makes them of what sold in each twelfth of the time open."""
    days, lines = shop_lines()
    keys = ["date_on", "location", "item"]
    sold = np.zeros((len(days), parts))
    row = lines.merge(days[keys].assign(row=np.arange(len(days))), on=keys)
    np.add.at(sold, (row["row"], (row["part"] * parts).astype(int)), row["quantity"])
    share = days["in_stock_share"].to_numpy()
    out = np.arange(1, parts + 1) / parts > share[:, None] + 1e-9
    series = days.groupby(["item", "location"]).ngroup().to_numpy()
    return _truth(days, share_by_hours(sold, out, series))


def shop_by_profile() -> Truth:
    """The same, with shares of the time open as the daily cycle weighs them."""
    days, lines = shop_lines()
    return _weighed(days, lines, days["in_stock_share"], None)


def shop_by_ledger() -> Truth:
    """The same where nobody states a share: the ledger knows that a day ran out, and order lines tell when."""
    days, lines = shop_lines()
    share, keys = _of_ledger(days), ["date_on", "location", "item"]
    last = days.merge(lines.groupby(keys)["ordered_at"].max(), how="left", on=keys)["ordered_at"]
    return _weighed(days, lines, share, last.where(share == _HALF_A_DAY))


def shop_by_bare_ledger() -> Truth:
    """The same where order lines tell no time."""
    days, _ = shop_lines()
    return _truth(days, _of_ledger(days))


def _of_ledger(days: pd.DataFrame) -> pd.Series:
    """As `fct_demand_daily` says: 0 where nothing was there, half a day where it ran out."""
    return days["in_stock_share"].where(days["in_stock_share"].isin((0.0, 1.0)), _HALF_A_DAY)


def _weighed(days: pd.DataFrame, lines: pd.DataFrame, share: pd.Series, ran_dry_at: pd.Series | None) -> Truth:
    """The shares that the dbt models make of those of the demand mart, which are stated unless the ledger tells when a day
    `ran_dry_at`, and of the order lines. `share` and `ran_dry_at` have one value for each of `days`."""
    from orchestration.warehouse.build import run_dbt
    from orchestration.warehouse.store import Warehouse

    demand = days.assign(
        in_stock_share=share, ran_dry_at=ran_dry_at, basis="stated" if ran_dry_at is None else "ledger"
    )
    with tempfile.TemporaryDirectory(prefix="stockflow-bench-") as folder:
        warehouse = Warehouse(Path(folder) / "warehouse.duckdb")
        with warehouse.connect() as db:
            for name, frame in (("demand", demand), ("lines", lines), ("places", _places())):
                db.register(name, frame)
            db.execute("SET VARIABLE morning = ?", [f"{days['date_on'].max() + dt.timedelta(days=1)}"])
            db.execute(_GIVEN)
        nodes = run_dbt(warehouse, ["run", "--select", *_WEIGHING])
        if failed := [node.message for node in nodes if node.status != "success"]:
            raise SystemExit(failed[0])
        with warehouse.connect() as db:
            table = db.execute(_FOUND).df()
    keys = ["item", "location", "date_on"]
    told = days.assign(date_on=pd.to_datetime(days["date_on"]))[keys].merge(table, how="left", on=keys)
    return _truth(days, told["in_stock_share"])


def _truth(days: pd.DataFrame, share: pd.Series | np.ndarray) -> Truth:
    table = days.assign(share=share).pivot(index=["item", "location"], columns="date_on")
    return Truth(*(table[name].to_numpy(float) for name in ("latent_demand", "sold", "share")))


def _places() -> pd.DataFrame:
    """location, timezone and business_day_start of the generated shop."""
    from connectors.sandbox.catalogue import ShopConfig, build_catalogue

    places = build_catalogue(ShopConfig()).places
    rows = [(number, place.timezone, place.business_day_start) for number, place in enumerate(places)]
    return pd.DataFrame(rows, columns=["location", "timezone", "business_day_start"])


def noisy_stock(series: int = 1_000, days: int = 180, seed: int = 5) -> Truth:
    """Gamma-Poisson customers through the day, shelves filled each morning to a forecast that errs by half.

    About every third day runs out. A fresh forecast error each week makes some stretches short for days on end.
    """
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(1.0, 1.0, (series, 1)) * (1 + 0.25 * np.sin(2 * np.pi * np.arange(days) / 120))
    mean = mean * np.array([0.8, 0.85, 0.9, 1, 1.1, 1.3, 1.05])[np.arange(days) % 7]
    demand = rng.poisson(mean * rng.gamma(3.0, 1 / 3.0, mean.shape))
    error = np.repeat(rng.lognormal(0, 0.5, (series, days // 7 + 1)), 7, axis=1)[:, :days]
    stock = np.ceil(1.3 * mean * error)
    share = np.ones(demand.shape)
    out = demand >= stock
    # The moment at which the last of `stock` customers came, of `demand` who come at uniform moments.
    share[out] = rng.beta(stock[out], demand[out] - stock[out] + 1)
    return Truth(demand.astype(float), np.minimum(demand, stock).astype(float), share)


def recovery(truth: Truth) -> pd.DataFrame:
    """One row for everything, one for the days that ran out, and one per band of stock-out length."""
    expected = recover_demand(truth.sales, truth.share).expected
    seen = np.isfinite(truth.sales)
    out = np.where(seen, 1 - truth.share, 0.0)
    parts = [("all days", seen, OVERALL), ("days that ran out", seen & (out > 0), None)]
    parts += [
        (f"{low:.0%} to {high:.0%} of the day out", seen & (out > low) & (out <= high), BAND) for low, high in BANDS
    ]
    rows = []
    for name, mine, limit in parts:
        if not mine.any():
            continue
        ratio = float(expected[mine].sum() / truth.demand[mine].sum())
        rows.append(
            {
                "part": name, "series-days": f"{int(mine.sum()):,}",
                "sold / wanted": f"{truth.sales[mine].sum() / max(truth.demand[mine].sum(), 1e-9):.3f}",
                "recovered / wanted": f"{ratio:.3f}", "limit": "" if limit is None else f"{limit:.0%}",
                "held": "" if limit is None else "yes" if abs(ratio - 1) <= limit else "NO",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


GENERATORS: dict[str, Callable[[], Truth]] = {
    "the generated shop, shares of the time open": shop,
    "the generated shop, hours known": shop_by_hours,
    "the generated shop, shares of the time open by the learned profile": shop_by_profile,
    "the generated shop, days that ran out by the ledger and the last sale": shop_by_ledger,
    "the generated shop, days that ran out by the ledger alone": shop_by_bare_ledger,
    "shelves filled to a noisy forecast": noisy_stock,
}


def main() -> None:
    for name, generate in GENERATORS.items():
        print(f"\n{name}\n\n{markdown(recovery(generate()))}", flush=True)


if __name__ == "__main__":
    main()
