"""Products with few days or none, by similar products against simple rules: `python -m benchmarks.newcomers`.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.newcomers [--data fresh,gifts] [--series 200] [--origins 3]

FreshRetailNet-50K (Dingdong-Inc, CC BY 4.0, arXiv 2505.16319), every fourth store. Series outside those that
`benchmarks.accuracy` draws are taken for new at origins a week apart: only their last 0, 3, 7 or 14 days are in the history
(`nowhere`: none, and no other store sells the product either), and the 14 days after are judged.
No trees and no LSTM are trained, since neither serves such series.

The rules: the mean of the series' own days (`own average`), of the category, of the same product in other stores; with the
quantiles of the category's or the product's days, set against the mean of each series where the rule knows the level; what a
rule knows nothing of is as the rule before it says.
WAPE of the median and pinball loss on days fully in stock, the latter per unit sold; bias of the mean against sales over
the part of the days in stock.

Online Retail II (UCI 502, CC BY 4.0), codes outside those that `benchmarks.accuracy` draws: nobody has to be taken for new, for
some began to sell in the four weeks before an origin. Its rows are sales. The 56 days after each of eight origins four weeks apart are judged,
by pinball loss, by the error of what each product sells in all of them over what all sell, which is set beside that of what it
has sold a day since its first sale (`own rate`), and by the share of products of which less than half a piece is forecast.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.datasets import by_hour, data_folder, gifts, names_among
from benchmarks.markdown import markdown
from benchmarks.peers import KEY
from ml.demand import share_by_hours
from ml.forecast import LEVELS, QUANTILE_COLUMNS, BoostedConfig, ForecastConfig, RecurrentConfig, forecast, scoring

HORIZON = 14
SHOWN = (0, 3, 7, 14)
CONFIG = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))
_OF_THE_ACCURACY_BENCHMARK = 2_000
_LAUNCHES, _NEW_DAYS, _AGES = 8, 27, (0, 3, 10, 27)


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The days of every fourth store, and the keys of its series that the accuracy benchmark does not draw."""
    columns = {
        "product_id": "sku", "store_id": "location", "dt": "date", "sale_amount": "quantity",
        "third_category_id": "category", "city_id": "city",
    }  # fmt: skip
    hours = ["hours_sale", "hours_stock_status"]
    frame = pd.read_parquet(folder / "freshretailnet_dev.parquet", columns=[*columns, *hours]).rename(columns=columns)
    keys = frame[KEY].drop_duplicates()
    judged_elsewhere = keys.sample(_OF_THE_ACCURACY_BENCHMARK, random_state=1)
    stores = np.sort(keys["location"].unique())[::4]
    frame = frame[frame["location"].isin(stores)].reset_index(drop=True)
    frame["in_stock_share"] = share_by_hours(*by_hour(frame), frame.groupby(KEY).ngroup().to_numpy())
    frame = frame.drop(columns=hours).assign(date=pd.to_datetime(frame["date"]))
    keys = keys[keys["location"].isin(stores)].merge(judged_elsewhere.assign(drawn=1), how="left")
    return frame, keys.loc[keys["drawn"].isna(), KEY].reset_index(drop=True)


def rules(history: pd.DataFrame, new: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rule-of-thumb forecasts of the `new` series (sku, location, category): one row each with mean and quantiles. What a
    rule knows nothing of is as the rule before it says."""
    sold = history[history["in_stock_share"] > 0.999]
    sold = sold.assign(relative=sold["quantity"] / sold.groupby(KEY)["quantity"].transform("mean").clip(1e-9), all=0)
    new, columns = new.assign(all=0).set_index(KEY), ["mean", *QUANTILE_COLUMNS]

    def of(by: str, what: str = "quantity") -> pd.DataFrame:
        groups = sold.groupby(by)[what]
        told = (
            groups.quantile(list(LEVELS)).unstack().set_axis(list(QUANTILE_COLUMNS), axis=1).assign(mean=groups.mean())
        )
        return told.reindex(new[by].to_numpy() if by != "sku" else new.index.get_level_values(0))[columns].set_axis(
            new.index
        )

    told = {"category mean": of("category").fillna(of("all"))}
    told["same product elsewhere"] = of("sku").fillna(told["category mean"])
    own = sold.groupby(KEY)["quantity"].mean().reindex(new.index)
    own_days = of("category", "relative").fillna(of("all", "relative")).assign(mean=1.0).mul(own, axis=0)
    told["own average"] = own_days.fillna(told["same product elsewhere"])
    if own.isna().all():
        del told["own average"]
    return {name: table.reset_index() for name, table in told.items()}


def measures(told: pd.DataFrame, truth: pd.DataFrame, by: list[str]) -> dict[str, float]:
    joined = truth.merge(told.drop(columns=["category", "city"], errors="ignore"), on=by)
    full = joined[joined["in_stock_share"] > 0.999]
    sales, quantiles = full["quantity"].to_numpy(), full[list(QUANTILE_COLUMNS)].to_numpy()
    return {
        "series": len(joined[KEY].drop_duplicates()),
        "WAPE": scoring.wape(sales, full["q50"].to_numpy()),
        "pinball": scoring.pinball(sales, quantiles),
        "bias": scoring.bias(joined["quantity"].to_numpy(), (joined["mean"] * joined["in_stock_share"]).to_numpy()),
        "80 % hit": scoring.coverage(sales, quantiles),
    }


def compare(frame: pd.DataFrame, eligible: pd.DataFrame, series: int, origins: int) -> pd.DataFrame:
    rows = []
    attributes = frame[[*KEY, "category", "city"]].drop_duplicates(KEY)
    for number in range(origins):
        end = frame["date"].max() - pd.Timedelta(days=HORIZON + 7 * number)
        chosen = eligible.sample(series, random_state=100 + number)
        products = eligible["sku"].drop_duplicates().sample(100, random_state=200 + number)
        for shown in ("nowhere", *SHOWN):
            new = eligible[eligible["sku"].isin(products)] if shown == "nowhere" else chosen
            days = 0 if shown == "nowhere" else shown
            marked = frame.merge(new.assign(new=True), how="left")
            hidden = marked["new"].notna() & (marked["date"] <= end - pd.Timedelta(days=days))
            if shown == "nowhere":
                hidden |= marked["sku"].isin(products)
            history = marked[(marked["date"] <= end) & ~hidden].drop(columns="new")
            truth = marked[(marked["date"] > end) & (marked["date"] <= end + pd.Timedelta(days=HORIZON))]
            truth = truth[truth["new"].notna()].drop(columns="new")
            new = new.merge(attributes)
            told = forecast(
                history, None, horizon=HORIZON, static=("category", "city"), availability="in_stock_share",
                newcomers=new if days == 0 else None, config=CONFIG,
            ).forecasts  # fmt: skip
            told = told[told["model"] == "blend"]
            found = {"similar products": measures(told, truth, [*KEY, "date"])}
            found |= {name: measures(table, truth, KEY) for name, table in rules(history, new).items()}
            rows += [{"days": str(shown), "by": name, **values} for name, values in found.items()]
        print(f"# {end:%Y-%m-%d}", flush=True)
    order = list(dict.fromkeys((row["days"], row["by"]) for row in rows))
    table = pd.DataFrame(rows).groupby(["days", "by"]).mean().reindex(order)
    return table.astype({"series": int})


def launches(folder: Path) -> pd.DataFrame:
    """Gifts that had sold for a few days at an origin, by how many."""
    data, parts = gifts(folder, None, others=True), []
    for number in range(_LAUNCHES):
        end, history, future = data.split(number)
        known = history.groupby(KEY).agg(first=("date", "min"), sold=("quantity", "sum")).reset_index()
        known["age"] = (end - known["first"]).dt.days + 1
        new = known[known["age"] <= _NEW_DAYS]
        told = forecast(history, horizon=max(data.horizons), config=CONFIG).forecasts
        told = told[told["model"] == "blend"].merge(new)
        parts.append(data.truth("blend", told, future).assign(end=end))
        print(f"# {end:%Y-%m-%d}", flush=True)
    joined = pd.concat(parts, ignore_index=True)
    groups = joined.groupby(pd.cut(joined["age"], _AGES), observed=True)
    rows = [_of_launches(part) | {"days": f"{age.left + 1:g} to {age.right:g}"} for age, part in groups]
    return pd.DataFrame([*rows, _of_launches(joined) | {"days": "all"}]).set_index("days")


def _of_launches(joined: pd.DataFrame) -> dict[str, float]:
    each = joined.groupby(["end", *KEY]).agg(
        y=("y", "sum"), mean=("mean", "sum"), sold=("sold", "first"), age=("age", "first"), days=("date", "size")
    )
    actual, own = each["y"].to_numpy(), (each["sold"] / each["age"] * each["days"]).to_numpy()
    return {
        "series": len(each),
        "pinball": scoring.pinball(joined["y"].to_numpy(), joined[list(QUANTILE_COLUMNS)].to_numpy()),
        "error of totals": scoring.wape(actual, each["mean"].to_numpy()),
        "of own rate": scoring.wape(actual, own),
        "bias": scoring.bias(actual, each["mean"].to_numpy()),
        "forecast as nothing": float((each["mean"] < 0.5).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200, help="series taken for new at each origin")
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument("--data", type=names_among(["fresh", "gifts"]), default="fresh,gifts", help="which data sets")
    arguments = parser.parse_args()
    if "fresh" in arguments.data:
        frame, eligible = read(data_folder())
        print(f"{len(frame[KEY].drop_duplicates()):,} series in {frame['location'].nunique()} stores")
        print(markdown(compare(frame, eligible, arguments.series, arguments.origins)))
    if "gifts" in arguments.data:
        print(markdown(launches(data_folder())))


if __name__ == "__main__":
    main()
