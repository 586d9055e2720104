"""The data that forecasts are judged on, and what each model is judged by.

Belongs here: reading or generating histories, and what truth each kind of forecast is set against. Does not belong here:
models, measures over all rows, tables.

fresh: FreshRetailNet-50K (Dingdong-Inc, CC BY 4.0, arXiv 2505.16319), daily, horizons 7 and 14, origins a week apart. Its
  bias is judged by the hours in stock. Shelves run dry on the days that sell much, which then have fewer hours in stock: over
  all hours even the right forecast is found too high, over the morning, before most of that, hardly.
gifts: Online Retail II (UCI 502, CC BY 4.0), daily sums per stock code, horizons 28 and 56, weekly totals.
shop: the generated shop, horizon 14, judged by what its customers wanted, sold or not, which no model sees.
stores: revenue a day of the generated shop's stores, with their promotions, holidays and closed days.
countries: revenue a day of Online Retail II in its larger countries, closed on Saturdays and holidays.
"""

from __future__ import annotations

import datetime as dt
import os
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers import KEY
from ml.demand import share_by_hours
from ml.forecast import QUANTILE_COLUMNS, scoring

Measures = Callable[[pd.DataFrame, pd.DataFrame], dict[str, float]]
_NOON = 12
_SHOP_END = dt.date(2026, 11, 1)
# Five stores each; one shop alone would be too few series to tell anything.
_SHOP_SEEDS = (7, 8, 9, 10)
_COUNTRIES = ("United Kingdom", "EIRE", "Netherlands", "Germany", "France")


@dataclass(frozen=True)
class DataSet:
    """`frame`: sku, location, date, quantity, covariates and what only the judges see. `observe` makes a history of the
    rows known at an origin; `roles` say what its columns mean. `measures` are of a forecast against the rows to come;
    `truth` joins the two for the named model, with the actual value as `y` and, where that is only a lower bound, `ran_out`.
    Quantiles of `calibrated` models are checked day by day and those of `summed` models over several days."""

    name: str
    frame: pd.DataFrame
    horizons: tuple[int, ...]
    step: int
    measures: Measures
    truth: Callable[[str, pd.DataFrame, pd.DataFrame], pd.DataFrame]
    roles: Mapping[str, object]
    observe: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    calibrated: tuple[str, ...] = ("blend",)
    summed: tuple[str, ...] = ("blend",)

    @property
    def series(self) -> int:
        return len(self.frame[KEY].drop_duplicates())

    def split(self, number: int) -> tuple[pd.Timestamp, pd.DataFrame, pd.DataFrame]:
        """The last day known at an origin, 0 being the newest that leaves the longest horizon to be judged, what is known then
        and the rows to come."""
        end = self.frame["date"].max() - pd.Timedelta(days=max(self.horizons) + self.step * number)
        known = self.frame["date"] <= end
        return end, self.observe(self.frame[known]), self.frame[~known]


def names_among(known: Iterable[str]) -> Callable[[str], list[str]]:
    """For argparse: reads names separated by commas, all of which are `known`."""
    known = list(known)

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(known)}")
        return names

    return read


def data_folder() -> Path:
    """The folder that holds the public data sets; ends the program with what to do where it is not told."""
    folder = os.environ.get("STOCKFLOW_TEST_DATA")
    if not folder:
        raise SystemExit("Set STOCKFLOW_TEST_DATA to the folder that holds the two data sets (see the README).")
    return Path(folder)


# -- Fresh groceries ---------------------------------------------------------------------------------------------------


def fresh(folder: Path, series: int | None, others: bool = False) -> DataSet:
    """`others`: as many series that the benchmark does not draw, for choosing anything."""
    columns = {
        "product_id": "sku", "store_id": "location", "dt": "date", "sale_amount": "quantity",
        "third_category_id": "category", "city_id": "city",
    }  # fmt: skip
    kept = ["stock_hour6_22_cnt", "discount", "holiday_flag", "activity_flag", "precpt", "avg_temperature"]
    hours = ["hours_sale", "hours_stock_status"]
    frame = pd.read_parquet(folder / "freshretailnet_dev.parquet", columns=[*columns, *kept, *hours])
    frame = frame.rename(columns=columns)
    frame = _others(frame, 2_000, series) if others else _some(frame, series)
    frame["date"] = pd.to_datetime(frame["date"])
    frame["full_day"] = frame.pop("stock_hour6_22_cnt") == 0
    # For the judges alone.
    frame = frame.assign(**in_stock(*by_hour(frame), frame["full_day"].to_numpy()))

    def observe(known: pd.DataFrame) -> pd.DataFrame:
        share = share_by_hours(*by_hour(known), known.groupby(KEY).ngroup().to_numpy())
        return known.assign(in_stock_share=share).drop(columns=hours)

    roles = {
        "known_future": ["discount", "holiday_flag", "activity_flag"],
        "past_only": ["precpt", "avg_temperature"],
        "static": ["category", "city"],
        "availability": "in_stock_share",
    }
    return DataSet(
        "fresh", frame, (7, 14), 7, _fresh_measures, _fresh_truth, roles, observe, ("blend", "sales"), ("sales",)
    )


def in_stock(sold: np.ndarray, out: np.ndarray, full_day: np.ndarray) -> dict[str, np.ndarray]:
    """What sold [n] in the hours in stock and what part [n] of a usual day they are, of the whole day and of its morning, from
    what sold [n, 24] by hour and whether it was `out` [n, 24]; a usual day is one of those in stock all day."""
    usual = sold[full_day].sum(0) / sold[full_day].sum()
    found = {}
    for part, hours in {"": 24, "_morning": _NOON}.items():
        found[f"sold_in_stock{part}"] = (sold * ~out)[:, :hours].sum(1)
        found[f"usual_part{part}"] = (~out)[:, :hours] @ usual[:hours]
    return found


def by_hour(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return np.stack(frame["hours_sale"].to_numpy()), np.stack(frame["hours_stock_status"].to_numpy()) == 1


def _fresh_truth(model: str, told: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
    """Recorded sales, which of demand say only what it was at least on days that ran out."""
    joined = future.merge(told, on=[*KEY, "date"])
    return joined.assign(y=joined["quantity"], ran_out=False if model == "sales" else ~joined["full_day"])


def _fresh_measures(told: pd.DataFrame, future: pd.DataFrame) -> dict[str, float]:
    joined = future.merge(told, on=[*KEY, "date"])
    sales, full = joined["quantity"].to_numpy(), joined["full_day"].to_numpy()
    quantiles, median = joined[list(QUANTILE_COLUMNS)].to_numpy(), joined["q50"].to_numpy()
    return {
        "WAPE": scoring.wape(sales, median),
        "WAPE in stock": scoring.wape(sales[full], median[full]),
        "pinball": scoring.pinball(sales, quantiles),
        "pinball in stock": scoring.pinball(sales[full], quantiles[full]),
        "bias in stock": scoring.bias(joined["sold_in_stock"], joined["mean"] * joined["usual_part"]),
        "bias of mornings": scoring.bias(
            joined["sold_in_stock_morning"], joined["mean"] * joined["usual_part_morning"]
        ),
        "80 % hit in stock": scoring.coverage(sales[full], quantiles[full]),
    }


# -- Gifts -------------------------------------------------------------------------------------------------------------


def gifts(folder: Path, series: int | None, others: bool = False) -> DataSet:
    """Daily sums of what was sold: products only, no cancellations, no free lines, each line once. `others` as in `fresh`."""
    daily = _sold_lines(folder).groupby(["sku", "date"], as_index=False)["quantity"].sum().assign(location="UK")
    daily = _others(daily, 500, series) if others else _some(daily, series)
    return DataSet("gifts", daily, (28, 56), 28, _gift_measures, _gift_truth, {})


def _sold_lines(folder: Path) -> pd.DataFrame:
    lines = pd.read_parquet(folder / "online_retail_ii.parquet").drop_duplicates()
    sku = lines["stock_code"].astype(str).str.upper()
    sold = sku.str.match(r"^\d{5}") & ~lines["invoice"].astype(str).str.startswith("C")
    sold &= (lines["quantity"] > 0) & (lines["unit_price"] > 0)
    return lines[sold].assign(sku=sku[sold], date=pd.to_datetime(lines.loc[sold, "invoice_ts"]).dt.normalize())


def _gift_truth(_: str, told: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
    """A day without a row is a day without a sale."""
    joined = told.merge(future, on=[*KEY, "date"], how="left")
    return joined.assign(y=joined["quantity"].fillna(0.0), ran_out=False)


def _gift_measures(told: pd.DataFrame, future: pd.DataFrame) -> dict[str, float]:
    joined = _gift_truth("", told, future)
    return {"weekly WAPE": weekly_wape(joined), **_daily(joined)}


# -- The generated shop ------------------------------------------------------------------------------------------------


def shop(_: Path, series: int | None) -> DataSet:
    """A year of the generated shop; demand depends on weekday, season, promotion and weather, and stock-outs on demand."""
    latent = latent_demand()
    frame = latent[latent["date"] >= latent["date"].max() - pd.Timedelta(days=365)]
    return DataSet(
        "shop", _some(frame, series), (14,), 14, _shop_measures, _shop_truth, {"availability": "in_stock_share"}
    )


def latent_demand() -> pd.DataFrame:
    """sku, location, date, latent_demand, quantity (what was sold of it) and in_stock_share of the generated shop."""
    from connectors.sandbox.shop import ShopConfig, generate

    latent = generate(ShopConfig(), _SHOP_END).latent.to_pandas()
    return latent.rename(columns={"item": "sku", "sold": "quantity"}).drop(columns="lost").assign(
        date=lambda f: pd.to_datetime(f["date"]), sku=lambda f: f["sku"].astype(str)
    )  # fmt: skip


def shop_lines() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The days of every product at every location of the generated shop (date_on, location, item, latent_demand, sold,
    in_stock_share), and the lines sold (date_on, location, item, quantity and `part`, how much of the time open was over)."""
    from connectors.sandbox.catalogue import day_number
    from connectors.sandbox.conditions import opening_hours
    from connectors.sandbox.shop import ShopConfig, generate

    shop = generate(ShopConfig(), _SHOP_END)
    days = shop.facts["latent"].to_pandas()
    orders = shop.facts["orders"].select(["order_key", "ordered_at"]).to_pandas()
    lines = shop.facts["lines"].select(["date_on", "location", "order_key", "item", "quantity"]).to_pandas()
    opened = days[["date_on", "location"]].drop_duplicates()
    hours = [
        opening_hours(shop.catalogue.places[place], day_number(date)) for date, place in opened.itertuples(index=False)
    ]
    opened = opened.assign(**dict(zip(("opens", "closes"), np.array(hours).T, strict=True)))
    lines = lines.merge(orders, on="order_key").merge(opened, on=["date_on", "location"])
    moment = lines["ordered_at"].astype("datetime64[us, UTC]").astype(np.int64)
    part = (moment - lines["opens"]) / (lines["closes"] - lines["opens"])
    return days, lines.assign(part=part.clip(0, np.nextafter(1, 0)))


def _shop_truth(_: str, told: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
    """What customers wanted, on the days the shop was open."""
    return future.merge(told, on=[*KEY, "date"]).assign(y=lambda f: f["latent_demand"], ran_out=False)


def _shop_measures(told: pd.DataFrame, future: pd.DataFrame) -> dict[str, float]:
    joined = _shop_truth("", told, future)
    return {"WAPE": scoring.wape(joined["y"].to_numpy(), joined["q50"].to_numpy()), **_daily(joined)}


# -- Revenue -----------------------------------------------------------------------------------------------------------


def stores(_: Path, series: int | None) -> DataSet:
    """Two years of revenue a day of every store of four generated shops; `promotion` is the discount of its usual basket."""
    from connectors.sandbox.shop import ShopConfig, generate

    parts = [_revenue(generate(ShopConfig(seed=seed), _SHOP_END), seed) for seed in _SHOP_SEEDS]
    roles = {"known_future": ["is_open", "promotion", "holiday"], "static": ["country"]}
    frame = _some(pd.concat(parts, ignore_index=True), series)
    return DataSet("stores", frame, (14, 28), 28, _revenue_measures, _revenue_truth, roles)


def _revenue(shop, seed: int) -> pd.DataFrame:
    import holidays

    from connectors.sandbox.catalogue import day_number
    from connectors.sandbox.conditions import Promotions, is_open

    days = pd.date_range(shop.config.start, shop.end, inclusive="left")
    orders = shop.facts["orders"].select(["date_on", "location", "total_cents"]).to_pandas()
    sold = (
        orders.assign(date=pd.to_datetime(orders["date_on"])).groupby(["location", "date"])["total_cents"].sum() / 100
    )
    promotions, basket = Promotions(shop.catalogue), shop.catalogue.rate * shop.catalogue.price_cents
    discounts = np.stack([promotions.discounts(day_number(day.date())) for day in days], axis=1)
    parts = []
    for number, place in enumerate(shop.catalogue.places):
        public = holidays.country_holidays(place.country)
        parts.append(
            pd.DataFrame(
                {
                    "sku": "revenue", "location": f"{place.code} of shop {seed}", "country": place.country, "date": days,
                    "quantity": [float(sold.get((number, day), 0.0)) for day in days],
                    "is_open": [float(is_open(place, day_number(day.date()))) for day in days],
                    "promotion": np.average(discounts[number], axis=1, weights=basket[number]),
                    "holiday": [float(day.date() in public) for day in days],
                }
            )
        )  # fmt: skip
    return pd.concat(parts)


def countries(folder: Path, series: int | None) -> DataSet:
    """Revenue a day by country. The house is closed on Saturdays, on England's bank holidays and over Christmas."""
    import holidays

    lines = _sold_lines(folder)
    lines = lines[lines["country"].isin(_COUNTRIES)].assign(revenue=lines["quantity"] * lines["unit_price"])
    daily = lines.pivot_table(index="date", columns="country", values="revenue", aggfunc="sum", observed=True)
    daily = daily.reindex(pd.date_range(daily.index.min(), daily.index.max())).fillna(0.0).rename_axis("date")
    public = holidays.country_holidays("GB", subdiv="ENG")
    days = daily.index
    christmas = ((days.month == 12) & (days.day >= 24)) | ((days.month == 1) & (days.day <= 3))
    holiday = np.array([day.date() in public for day in days])
    calendar = pd.DataFrame(
        {"is_open": ~(christmas | holiday | (days.weekday == 5)), "holiday": holiday}, index=days
    ).astype(float)  # fmt: skip
    frame = daily.reset_index().melt("date", var_name="location", value_name="quantity").merge(calendar, on="date")
    roles = {"known_future": ["is_open", "holiday"]}
    frame = _some(frame.assign(sku="revenue", location=frame["location"].astype(str)), series)
    return DataSet("countries", frame, (14, 28), 28, _revenue_measures, _revenue_truth, roles)


def _revenue_truth(_: str, told: pd.DataFrame, future: pd.DataFrame) -> pd.DataFrame:
    return future.merge(told, on=[*KEY, "date"]).assign(y=lambda f: f["quantity"], ran_out=False)


def _revenue_measures(told: pd.DataFrame, future: pd.DataFrame) -> dict[str, float]:
    joined = _revenue_truth("", told, future)
    closed = joined["is_open"] == 0
    return {
        "WAPE": scoring.wape(joined["y"].to_numpy(), joined["q50"].to_numpy()),
        "weekly WAPE": weekly_wape(joined),
        **_daily(joined),
        # Of what is sold on a day open; 0 is right.
        "said of closed days": float(joined.loc[closed, "mean"].mean() / joined.loc[~closed, "y"].mean()),
    }


# -- What they share ---------------------------------------------------------------------------------------------------


def _some(frame: pd.DataFrame, series: int | None) -> pd.DataFrame:
    keys = frame[KEY].drop_duplicates()
    chosen = frame if series is None or series >= len(keys) else frame.merge(keys.sample(series, random_state=1))
    return chosen.reset_index(drop=True)


def _others(frame: pd.DataFrame, drawn: int, series: int | None) -> pd.DataFrame:
    """As many series, or all, beside the first `drawn` that `_some` would draw."""
    others = frame[KEY].drop_duplicates().sample(frac=1, random_state=1).iloc[drawn:]
    return frame.merge(others.iloc[:series]).reset_index(drop=True)


def weekly_wape(joined: pd.DataFrame) -> float:
    """WAPE of the weekly totals of `mean` against those of `y` (sku, location, date)."""
    week = (joined["date"] - joined["date"].min()).dt.days // 7
    totals = joined.groupby([*KEY, week])[["y", "mean"]].sum()
    return scoring.wape(totals["y"].to_numpy(), totals["mean"].to_numpy())


def _daily(joined: pd.DataFrame) -> dict[str, float]:
    actual, quantiles = joined["y"].to_numpy(), joined[list(QUANTILE_COLUMNS)].to_numpy()
    return {
        "pinball": scoring.pinball(actual, quantiles),
        "bias": scoring.bias(actual, joined["mean"].to_numpy()),
        "80 % hit": scoring.coverage(actual, quantiles),
    }


DATA_SETS: dict[str, Callable[[Path, int | None], DataSet]] = {
    "fresh": fresh, "gifts": gifts, "shop": shop, "stores": stores, "countries": countries,
}  # fmt: skip
