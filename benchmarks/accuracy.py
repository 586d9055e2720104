"""Accuracy on two public retail data sets, against what anyone would pick instead, side by side in one run.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.accuracy [--data fresh,gifts] [--series 1000] [--origins 3]

fresh: FreshRetailNet-50K (Dingdong-Inc, CC BY 4.0, arXiv 2505.16319), daily, horizons 7 and 14, origins a week apart. WAPE
of the median on all days and on days fully in stock, mean pinball loss over all levels (days fully in stock, per unit
sold), bias of the mean times the in-stock share against sales, coverage of the 80 % interval.
gifts: Online Retail II (UCI 502, CC BY 4.0), daily sums per stock code, horizon 28, weekly totals, WAPE of the mean.

Forecasts are of demand, and observed sales are demand cut by stock-outs: on fresh, a model of sales has an advantage in
WAPE that no demand forecast can have, and a bias that no sales forecast can avoid. Nothing here is tuned on the days
evaluated: every model sees only the history before its origin.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ml.forecast import LEVELS, QUANTILE_COLUMNS, ForecastConfig, predict, scoring, train

KEY = ["sku", "location"]
FRESH_ROLES = {
    "known_future": ["discount", "holiday_flag", "activity_flag"],
    "past_only": ["precpt", "avg_temperature"],
    "static": ["category", "city"],
    "availability": "in_stock_share",
}


def fresh(folder: Path, series: int | None) -> pd.DataFrame:
    columns = {
        "product_id": "sku", "store_id": "location", "dt": "date", "sale_amount": "quantity",
        "third_category_id": "category", "city_id": "city",
    }  # fmt: skip
    wanted = [*columns, "stock_hour6_22_cnt", "discount", "holiday_flag", "activity_flag", "precpt", "avg_temperature"]
    frame = pd.read_parquet(folder / "freshretailnet_dev.parquet", columns=wanted).rename(columns=columns)
    frame["date"] = pd.to_datetime(frame["date"])
    frame["in_stock_share"] = 1 - frame.pop("stock_hour6_22_cnt") / 16
    return _some(frame, series)


def gifts(folder: Path, series: int | None) -> pd.DataFrame:
    """Daily sums of what was sold: products only, no cancellations, no free lines, each line once."""
    lines = pd.read_parquet(folder / "online_retail_ii.parquet").drop_duplicates()
    sku = lines["stock_code"].astype(str).str.upper()
    sold = sku.str.match(r"^\d{5}") & ~lines["invoice"].astype(str).str.startswith("C")
    sold &= (lines["quantity"] > 0) & (lines["unit_price"] > 0)
    daily = lines[sold].assign(sku=sku[sold], date=pd.to_datetime(lines.loc[sold, "invoice_ts"]).dt.normalize())
    daily = daily.groupby(["sku", "date"], as_index=False)["quantity"].sum().assign(location="UK")
    return _some(daily, series)


def _some(frame: pd.DataFrame, series: int | None) -> pd.DataFrame:
    keys = frame[KEY].drop_duplicates()
    return frame if series is None or series >= len(keys) else frame.merge(keys.sample(series, random_state=1))


def wide(history: pd.DataFrame) -> pd.DataFrame:
    """Quantities [series, day]; a day without a row after a series' first is a day without a sale."""
    table = history.pivot(index=KEY, columns="date", values="quantity")
    table = table.reindex(columns=pd.date_range(history["date"].min(), history["date"].max()))
    begun = table.notna().cummax(axis=1)
    return table.fillna(0.0).where(begun)


def naive_frame(history: pd.DataFrame, horizon: int) -> dict[str, pd.DataFrame]:
    """Seasonal naive and the 28-day moving average, with the empirical quantiles of each series' own past errors."""
    table = wide(history)
    values = table.to_numpy(float)
    lead = np.arange(horizon)
    repeated = np.nan_to_num(values[:, -7:])[:, lead % 7]
    average = np.repeat(np.nanmean(values[:, -28:], axis=1)[:, None], horizon, axis=1)
    errors = {"SeasonalNaive": (values[:, 7:] - values[:, :-7])[:, -91:]}
    errors["MovingAverage28"] = (values - np.nanmean(values[:, -91:], axis=1, keepdims=True))[:, -91:]
    result = {}
    for name, mean in (("SeasonalNaive", repeated), ("MovingAverage28", average)):
        known = np.where(np.isfinite(errors[name]).any(axis=1, keepdims=True), errors[name], 0.0)
        spread = np.nanquantile(known, LEVELS, axis=1).T
        result[name] = _long(table, mean, np.maximum(mean[:, :, None] + spread[:, None, :], 0), horizon)
    result["SeasonalNaive"]["q50"] = result["SeasonalNaive"]["mean"]
    return result


def ets_frame(history: pd.DataFrame, horizon: int) -> pd.DataFrame:
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    table = wide(history)
    long = table.reset_index(drop=True).rename_axis(index="unique_id").melt(
        ignore_index=False, var_name="ds", value_name="y"
    ).dropna().reset_index()  # fmt: skip
    levels = [round(100 * (1 - 2 * level), 1) for level in LEVELS if level < 0.5]
    sf = StatsForecast(models=[AutoETS(season_length=7)], freq="D", n_jobs=1)
    told = sf.forecast(df=long, h=horizon, level=levels).sort_values(["unique_id", "ds"])
    lows = [told[f"AutoETS-lo-{level}"].to_numpy() for level in levels]
    highs = [told[f"AutoETS-hi-{level}"].to_numpy() for level in reversed(levels)]
    mean = np.maximum(told["AutoETS"].to_numpy(), 0)
    quantiles = np.maximum(np.stack([*lows, mean, *highs], axis=1), 0)
    return _long(table, mean.reshape(-1, horizon), quantiles.reshape(len(table), horizon, -1), horizon)


def _long(table: pd.DataFrame, mean: np.ndarray, quantiles: np.ndarray, horizon: int) -> pd.DataFrame:
    keys = table.index.to_frame(index=False).loc[lambda f: f.index.repeat(horizon)].reset_index(drop=True)
    dates = np.tile(pd.date_range(table.columns[-1], periods=horizon + 1)[1:], len(table))
    frame = keys.assign(date=dates, mean=mean.ravel())
    return frame.assign(**dict(zip(QUANTILE_COLUMNS, quantiles.reshape(-1, len(LEVELS)).T, strict=True)))


def daily_measures(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    joined = truth.merge(frame, on=[*KEY, "date"])
    sales, full = joined["quantity"].to_numpy(), joined["in_stock_share"].to_numpy() >= 0.999
    quantiles, median = joined[list(QUANTILE_COLUMNS)].to_numpy(), joined["q50"].to_numpy()
    return {
        "WAPE": scoring.wape(sales, median),
        "WAPE in stock": scoring.wape(sales[full], median[full]),
        "pinball": scoring.pinball(sales[full], quantiles[full]),
        "bias in stock": scoring.bias(sales, (joined["mean"] * joined["in_stock_share"]).to_numpy()),
        "80 % hit": scoring.coverage(sales[full], quantiles[full]),
    }


def weekly_measures(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    joined = frame.merge(truth, on=[*KEY, "date"], how="left").fillna({"quantity": 0.0})
    week = (joined["date"] - joined["date"].min()).dt.days // 7
    totals = joined.groupby([*KEY, week])[["quantity", "mean"]].sum()
    quantiles = joined[list(QUANTILE_COLUMNS)].to_numpy()
    return {
        "weekly WAPE": scoring.wape(totals["quantity"].to_numpy(), totals["mean"].to_numpy()),
        "pinball": scoring.pinball(joined["quantity"].to_numpy(), quantiles),
        "bias": scoring.bias(joined["quantity"].to_numpy(), joined["mean"].to_numpy()),
        "80 % hit": scoring.coverage(joined["quantity"].to_numpy(), quantiles),
    }


def compare(frame, horizons, origins, step, roles, measures, ets_series, config) -> pd.DataFrame:
    """One row per horizon and model, averaged over the origins."""
    longest = max(horizons)
    ends = [frame["date"].max() - pd.Timedelta(days=longest + step * k) for k in range(origins)]
    rows = []
    for end in ends:
        history, future = frame[frame["date"] <= end], frame[frame["date"] > end]
        started = time.perf_counter()
        model = train(history, horizon=longest, config=config, **roles)
        trained = time.perf_counter()
        forecasts, _, _ = predict(model, history, future)
        print(
            f"# {end:%Y-%m-%d}: trained {trained - started:.0f} s, predicted {time.perf_counter() - trained:.1f} s",
            flush=True,
        )
        told = naive_frame(history, longest)
        told |= {name: part for name, part in forecasts.groupby("model") if name != "seasonal_naive"}
        if ets_series:
            keys = history[KEY].drop_duplicates()
            sampled = keys.sample(min(ets_series, len(keys)), random_state=2)
            told["AutoETS (sample)"] = ets_frame(history.merge(sampled), longest)
            told["blend (same sample)"] = told["blend"].merge(sampled)
        # Series that are withheld by us are left out for everybody.
        covered = told["blend"][KEY].drop_duplicates()
        for horizon in horizons:
            truth = future[future["date"] <= end + pd.Timedelta(days=horizon)]
            for name, part in told.items():
                part = part[part["date"] <= end + pd.Timedelta(days=horizon)].merge(covered)
                rows.append({"horizon": horizon, "model": name, **measures(part, truth)})
    order = list(dict.fromkeys(row["model"] for row in rows))
    table = pd.DataFrame(rows).groupby(["horizon", "model"]).mean()
    return table.reindex([(h, name) for h in horizons for name in order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fresh,gifts")
    parser.add_argument("--series", type=int, default=1000, help="series drawn from each set; 0 takes all")
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument("--ets-series", type=int, default=100, help="series AutoETS is fitted to")
    arguments = parser.parse_args()
    folder = os.environ.get("STOCKFLOW_TEST_DATA")
    if not folder:
        raise SystemExit("Set STOCKFLOW_TEST_DATA to the folder that holds the two data sets (see the README).")
    series, config = arguments.series or None, ForecastConfig()
    if "fresh" in arguments.data:
        frame = fresh(Path(folder), series)
        table = compare(frame, (7, 14), arguments.origins, 7, FRESH_ROLES, daily_measures, arguments.ets_series, config)
        print(
            f"\nfresh, {frame[KEY].drop_duplicates().shape[0]} series, {arguments.origins} origins (mean)\n{table.round(4).to_string()}\n"
        )
    if "gifts" in arguments.data:
        frame = gifts(Path(folder), series)
        table = compare(frame, (28,), arguments.origins, 28, {}, weekly_measures, arguments.ets_series, config)
        print(
            f"\ngifts, {frame[KEY].drop_duplicates().shape[0]} series, {arguments.origins} origins (mean)\n{table.round(4).to_string()}\n"
        )


if __name__ == "__main__":
    main()
