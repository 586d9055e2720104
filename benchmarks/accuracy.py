"""Accuracy against what anyone would pick instead (`benchmarks.peers`), side by side in one run: `make bench-accuracy`.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.accuracy [--data fresh,gifts,shop] [--series 2000] [--origins 4]

fresh: FreshRetailNet-50K (Dingdong-Inc, CC BY 4.0, arXiv 2505.16319), daily, horizons 7 and 14, origins a week apart.
gifts: Online Retail II (UCI 502, CC BY 4.0), daily sums per stock code, horizons 28 and 56, weekly totals.
shop: the generated shop, horizon 14, judged by what its customers wanted, sold or not, which no model sees.

Observed sales are demand cut by stock-outs, and a forecast of the one is no forecast of the other. `blend` is demand: its
bias is measured on the hours in stock (fresh) and on the latent demand (shop). `sales` is what will be recorded as sold if
shelves stay as full as they are: what the peers forecast, and what WAPE and pinball on sales compare like with like.
Nothing is tuned on the days evaluated: every model sees only the history before its origin. The last table of each set
gives the better of blend and sales against the best peer, measure by measure.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import peers
from benchmarks.peers import KEY
from ml.demand import share_by_hours
from ml.forecast import QUANTILE_COLUMNS, ForecastConfig, forecast, scoring

OURS = ("blend", "sales", "xgboost", "lstm")
Measures = Callable[[pd.DataFrame, pd.DataFrame], dict[str, float]]


@dataclass(frozen=True)
class DataSet:
    """`frame`: sku, location, date, quantity, covariates and what only the measures see. `observe` makes a history of
    the rows known at an origin; `roles` say what its columns mean."""

    name: str
    frame: pd.DataFrame
    horizons: tuple[int, ...]
    step: int
    measures: Measures
    roles: Mapping[str, object]
    observe: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame


# -- Data --------------------------------------------------------------------------------------------------------------


def fresh(folder: Path, series: int | None) -> DataSet:
    columns = {
        "product_id": "sku", "store_id": "location", "dt": "date", "sale_amount": "quantity",
        "third_category_id": "category", "city_id": "city",
    }  # fmt: skip
    kept = ["stock_hour6_22_cnt", "discount", "holiday_flag", "activity_flag", "precpt", "avg_temperature"]
    hours = ["hours_sale", "hours_stock_status"]
    frame = pd.read_parquet(folder / "freshretailnet_dev.parquet", columns=[*columns, *kept, *hours])
    frame = _some(frame.rename(columns=columns), series)
    frame["date"] = pd.to_datetime(frame["date"])
    frame["full_day"] = frame.pop("stock_hour6_22_cnt") == 0
    # For the measures alone: what sold in hours in stock, and what part of a usual day those hours are.
    sold, out = _hours(frame)
    usual = sold[frame["full_day"]].sum(0) / sold[frame["full_day"]].sum()
    frame["sold_in_stock"], frame["usual_part"] = (sold * ~out).sum(1), (~out) @ usual

    def observe(known: pd.DataFrame) -> pd.DataFrame:
        share = share_by_hours(*_hours(known), known.groupby(KEY).ngroup().to_numpy())
        return known.assign(in_stock_share=share).drop(columns=hours)

    roles = {
        "known_future": ["discount", "holiday_flag", "activity_flag"],
        "past_only": ["precpt", "avg_temperature"],
        "static": ["category", "city"],
        "availability": "in_stock_share",
    }
    return DataSet("fresh", frame, (7, 14), 7, fresh_measures, roles, observe)


def _hours(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return np.stack(frame["hours_sale"].to_numpy()), np.stack(frame["hours_stock_status"].to_numpy()) == 1


def gifts(folder: Path, series: int | None) -> DataSet:
    """Daily sums of what was sold: products only, no cancellations, no free lines, each line once."""
    lines = pd.read_parquet(folder / "online_retail_ii.parquet").drop_duplicates()
    sku = lines["stock_code"].astype(str).str.upper()
    sold = sku.str.match(r"^\d{5}") & ~lines["invoice"].astype(str).str.startswith("C")
    sold &= (lines["quantity"] > 0) & (lines["unit_price"] > 0)
    daily = lines[sold].assign(sku=sku[sold], date=pd.to_datetime(lines.loc[sold, "invoice_ts"]).dt.normalize())
    daily = daily.groupby(["sku", "date"], as_index=False)["quantity"].sum().assign(location="UK")
    return DataSet("gifts", _some(daily, series), (28, 56), 28, weekly_measures, {})


def shop(_: Path, series: int | None) -> DataSet:
    """A year of the generated shop; demand depends on weekday, season, promotion and weather, and stock-outs on demand."""
    from connectors.sandbox.shop import ShopConfig, generate

    latent = generate(ShopConfig(), dt.date(2026, 11, 1)).latent.to_pandas()
    latent = latent.rename(columns={"item": "sku", "sold": "quantity"}).assign(
        date=lambda f: pd.to_datetime(f["date"]), sku=lambda f: f["sku"].astype(str)
    )
    frame = latent[latent["date"] >= latent["date"].max() - pd.Timedelta(days=365)].drop(columns="lost")
    return DataSet("shop", _some(frame, series), (14,), 14, shop_measures, {"availability": "in_stock_share"})


def _some(frame: pd.DataFrame, series: int | None) -> pd.DataFrame:
    keys = frame[KEY].drop_duplicates()
    chosen = frame if series is None or series >= len(keys) else frame.merge(keys.sample(series, random_state=1))
    return chosen.reset_index(drop=True)


# -- Measures ----------------------------------------------------------------------------------------------------------


def fresh_measures(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    joined = truth.merge(frame, on=[*KEY, "date"])
    sales, full = joined["quantity"].to_numpy(), joined["full_day"].to_numpy()
    quantiles, median = joined[list(QUANTILE_COLUMNS)].to_numpy(), joined["q50"].to_numpy()
    return {
        "WAPE": scoring.wape(sales, median),
        "WAPE in stock": scoring.wape(sales[full], median[full]),
        "pinball": scoring.pinball(sales, quantiles),
        "pinball in stock": scoring.pinball(sales[full], quantiles[full]),
        "bias in stock": scoring.bias(joined["sold_in_stock"], joined["mean"] * joined["usual_part"]),
        "80 % hit in stock": scoring.coverage(sales[full], quantiles[full]),
    }


def weekly_measures(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    joined = frame.merge(truth, on=[*KEY, "date"], how="left").fillna({"quantity": 0.0})
    week = (joined["date"] - joined["date"].min()).dt.days // 7
    totals = joined.groupby([*KEY, week])[["quantity", "mean"]].sum()
    return {
        "weekly WAPE": scoring.wape(totals["quantity"].to_numpy(), totals["mean"].to_numpy()),
        **_daily(joined, joined["quantity"].to_numpy()),
    }


def shop_measures(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    joined = truth.merge(frame, on=[*KEY, "date"])
    wanted = joined["latent_demand"].to_numpy()
    return {"WAPE": scoring.wape(wanted, joined["q50"].to_numpy()), **_daily(joined, wanted)}


def _daily(joined: pd.DataFrame, actual: np.ndarray) -> dict[str, float]:
    quantiles = joined[list(QUANTILE_COLUMNS)].to_numpy()
    return {
        "pinball": scoring.pinball(actual, quantiles),
        "bias": scoring.bias(actual, joined["mean"].to_numpy()),
        "80 % hit": scoring.coverage(actual, quantiles),
    }


# -- Comparing ---------------------------------------------------------------------------------------------------------


def compare(data: DataSet, origins: int, others: set[str], ets_series: int, config: ForecastConfig) -> pd.DataFrame:
    """One row per horizon and model, averaged over the origins."""
    longest, frame = max(data.horizons), data.frame
    rows = []
    for number in range(origins):
        end = frame["date"].max() - pd.Timedelta(days=longest + data.step * number)
        history, future = data.observe(frame[frame["date"] <= end]), frame[frame["date"] > end]
        started = time.perf_counter()
        ours = forecast(history, future, horizon=longest, config=config, sales=True, **data.roles)
        took = [f"ours {time.perf_counter() - started:.0f} s"]
        told = {name: part for name, part in ours.forecasts.groupby("model") if name in OURS}
        for name in sorted(others):
            started = time.perf_counter()
            told |= _peer(name, history, future, longest, data.roles, ets_series)
            took.append(f"{name} {time.perf_counter() - started:.0f} s")
        if "AutoETS" in told:
            told["blend (AutoETS's series)"] = told["blend"].merge(told["AutoETS"][KEY].drop_duplicates())
        print(f"# {data.name} {end:%Y-%m-%d}: {', '.join(took)}", flush=True)
        # Series that are withheld by us are left out for everybody.
        covered = told["blend"][KEY].drop_duplicates()
        for horizon in data.horizons:
            last = end + pd.Timedelta(days=horizon)
            truth = future[future["date"] <= last]
            for name, part in told.items():
                part = part[part["date"] <= last].merge(covered)
                rows.append({"horizon": horizon, "model": name, **data.measures(part, truth)})
    order = list(dict.fromkeys(row["model"] for row in rows))
    table = pd.DataFrame(rows).groupby(["horizon", "model"]).mean()
    return table.reindex([(h, name) for h in data.horizons for name in order])


def _peer(name: str, history, future, horizon: int, roles, ets_series: int) -> dict[str, pd.DataFrame]:
    if name in ("lightgbm", "autogluon"):
        return peers.foreign(name, history, future, horizon, roles.get("known_future", []), roles.get("static", []))
    if name == "ets":
        # AutoETS refuses series of a few days.
        begun = history.groupby(KEY, as_index=False)["date"].min()
        keys = begun.loc[begun["date"] <= history["date"].max() - pd.Timedelta(days=28), KEY]
        return peers.auto_ets(history.merge(keys.sample(min(ets_series, len(keys)), random_state=2)), horizon)
    return peers.naive(history, horizon)


def against_the_best(table: pd.DataFrame) -> pd.DataFrame:
    """For each horizon and measure of error: ours, the best peer over all series, and the ratio."""
    rows = []
    for horizon in table.index.unique("horizon"):
        part = table.loc[horizon]
        rivals = part.drop(index=[name for name in part.index if name in OURS or name.startswith(("blend", "AutoETS"))])
        for measure in (name for name in part.columns if "WAPE" in name or "pinball" in name):
            mine = part.loc[[name for name in ("blend", "sales") if name in part.index], measure]
            best = rivals[measure].idxmin()
            ratio = mine.min() / rivals[measure].min()
            rows.append((horizon, measure, mine.idxmin(), mine.min(), best, rivals[measure].min(), ratio))
    columns = ["horizon", "measure", "ours", "value", "best peer", "its value", "ratio"]
    return pd.DataFrame(rows, columns=columns).set_index(["horizon", "measure"])


def _markdown(table: pd.DataFrame) -> str:
    flat = table.reset_index()
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row] for row in flat.itertuples(index=False)]
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fresh,gifts,shop")
    parser.add_argument("--series", type=int, default=2000, help="series drawn from each set; 0 takes all")
    parser.add_argument("--origins", type=int, default=4)
    parser.add_argument("--peers", default="naive,ets,lightgbm")
    parser.add_argument("--ets-series", type=int, default=100, help="series AutoETS is fitted to")
    arguments = parser.parse_args()
    folder = os.environ.get("STOCKFLOW_TEST_DATA")
    if not folder:
        raise SystemExit("Set STOCKFLOW_TEST_DATA to the folder that holds the two data sets (see the README).")
    others = set(arguments.peers.split(","))
    if others & {"lightgbm", "autogluon"} and not peers.PYTHON.exists():
        others -= {"lightgbm", "autogluon"}
        print(f"LightGBM and AutoGluon are left out: there is no {peers.PYTHON}; make bench-accuracy sets it up.")
    for name in arguments.data.split(","):
        data = {"fresh": fresh, "gifts": gifts, "shop": shop}[name](Path(folder), arguments.series or None)
        table = compare(data, arguments.origins, others, arguments.ets_series, ForecastConfig())
        count = len(data.frame[KEY].drop_duplicates())
        print(f"\n{name}: {count:,} series, mean of {arguments.origins} origins\n\n{_markdown(table)}\n")
        print(f"{_markdown(against_the_best(table))}\n", flush=True)


if __name__ == "__main__":
    main()
