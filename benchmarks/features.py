"""What each group of `features:` in forecast.yaml earns in the daily cycle of a generated shop.

    python -m benchmarks.features [--seed 23] [--groups none,calendar,weather,default] [--mornings 2025-11-17,2026-01-26]

A shop of 120 products and 26 months is pulled, loaded and built once; then each morning is forecast with the groups on, 28
days ahead, without the LSTM. WAPE is of the mean against the mean demand that the shop was drawn from, and of the median
against the demand drawn, sold or not.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from connectors.sandbox.catalogue import ShopConfig, day_number
from connectors.sandbox.conditions import Promotions, Skies
from connectors.sandbox.demand import Demand
from connectors.sandbox.platform import TOKEN, serve
from connectors.sandbox.shop import Shop, generate
from ml.forecast import QUANTILE_COLUMNS, FeaturesConfig, ForecastConfig, RecurrentConfig, predict, scoring
from orchestration.application import Application
from orchestration.cli.project import prepare_project
from orchestration.execution import execute, failures
from orchestration.planning.forecasting import _train
from orchestration.planning.history import HORIZON_DAYS, read_demand
from orchestration.settings import Settings

END = dt.date(2026, 3, 30)
MORNINGS = "2025-06-16,2025-09-08,2025-11-17,2026-01-05,2026-01-26,2026-02-23"
CONFIG = """\
timezone: Europe/Berlin
reporting_currency: EUR
holiday_countries: [CN]
sources:
  - {{connector: sandbox, url: "{url}", token: {token}}}
"""
QUICK = "origins: 1\nrecurrent: {enabled: false}\nboosted: {rounds: 5, depth: 3, rows: 5000}\n"
OFF = {"calendar": False, "new_year": "off", "weather": False, "index": False, "attributes": False}
GROUPS = {
    "none": OFF,
    "calendar": {**OFF, "calendar": True},
    "new_year": {**OFF, "new_year": "auto"},
    "weather": {**OFF, "weather": True},
    "price": {**OFF, "price": True},
    "attributes": {**OFF, "attributes": True},
    "default": {},
}


def build(folder: Path, shop: ShopConfig) -> Path:
    """A home below `folder` with the shop in its warehouse up to END; returns the warehouse."""
    prepare_project()
    home = folder / "home"
    home.mkdir()
    with serve(folder / "shop", END, shop) as url:
        (home / "config.yaml").write_text(CONFIG.format(url=url, token=TOKEN))
        (home / "forecast.yaml").write_text(QUICK)
        with Application(Settings.from_environment({**os.environ, "STOCKFLOW_HOME": str(home)})) as app:
            app.set_up()
            result = execute(app, "daily_planning_job", END)
            if not result.success:
                raise SystemExit("; ".join(failures(result)))
            return app.settings.warehouse


def truth_of(shop: Shop, first: dt.date, db: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """sku, location, date, drawn and mean demand of the stock locations, by our keys."""
    catalogue = shop.catalogue
    demand = Demand(catalogue, Skies(catalogue.config.seed, catalogue.places), Promotions(catalogue))
    frame = shop.latent.to_pandas().assign(date=lambda rows: pd.to_datetime(rows["date"]))
    frame = frame[frame["date"] >= pd.Timestamp(first)].reset_index(drop=True)
    place = {found.code: row for row, found in enumerate(catalogue.places)}
    item = {code: row for row, code in enumerate(catalogue.erp_code) if code}
    at = frame["location"].map(place).to_numpy(int), frame["item"].map(item).to_numpy(int)
    frame["mean_demand"] = 0.0
    for day, rows in frame.groupby("date").indices.items():
        frame.loc[rows, "mean_demand"] = demand.expected(day_number(day.date()))[at[0][rows], at[1][rows]]
    keys = "SELECT kind, source_id, key FROM operations.xref WHERE source = 'sandbox_erp'"
    xref = db.execute(keys).df().set_index(["kind", "source_id"])["key"]
    stock = db.execute("SELECT location_key, stock_location_key FROM marts.dim_location").df().set_index("location_key")
    frame["sku"] = frame["item"].map(xref["item"])
    frame["location"] = frame["location"].map(xref["location"]).map(stock["stock_location_key"])
    return frame.groupby(["sku", "location", "date"], as_index=False)[["latent_demand", "mean_demand"]].sum()


def measure(db: duckdb.DuckDBPyConnection, truth: pd.DataFrame, morning: dt.date, group: str) -> dict[str, float]:
    config = ForecastConfig(recurrent=RecurrentConfig(enabled=False), features=FeaturesConfig(**GROUPS[group]))
    data = read_demand(db, morning, config.features)
    model = _train(data.history, config, None)
    frame = predict(model, data.history, data.future, HORIZON_DAYS, models=["blend"])[0]
    both = frame.assign(date=pd.to_datetime(frame["date"])).merge(truth, on=["sku", "location", "date"])
    drawn, mean = both["latent_demand"].to_numpy(float), both["mean_demand"].to_numpy()
    return {
        "group": group,
        "WAPE of the mean": scoring.wape(mean, both["mean"].to_numpy()),
        "WAPE of the median": scoring.wape(drawn, both["q50"].to_numpy()),
        "pinball": scoring.pinball(drawn, both[list(QUANTILE_COLUMNS)].to_numpy()),
        "bias": scoring.bias(drawn, both["mean"].to_numpy()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--mornings", default=MORNINGS)
    given = parser.parse_args()
    shop = ShopConfig(seed=given.seed, start=dt.date(2024, 1, 15), items=120)
    mornings = [dt.date.fromisoformat(day) for day in given.mornings.split(",")]
    with tempfile.TemporaryDirectory(prefix="stockflow-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the embedded PostgreSQL passes through as an account of its own
        with duckdb.connect(str(build(folder, shop))) as db:
            truth = truth_of(generate(shop, END), min(mornings), db)
            rows = []
            for morning in mornings:
                for group in given.groups.split(","):
                    rows.append(measure(db, truth, morning, group))
                    print(f"# {morning} {rows[-1]}", flush=True)
    table = pd.DataFrame(rows).groupby("group", sort=False).mean()
    print("\n| on | " + " | ".join(table.columns) + " |\n| --- |" + " ---: |" * len(table.columns))
    for group, row in table.iterrows():
        print(f"| {group} | " + " | ".join(f"{value:.4f}" for value in row) + " |")


if __name__ == "__main__":
    main()
