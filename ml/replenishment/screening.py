"""Which SKUs can be decided on, and which are withheld, why, and what is at risk meanwhile.

Belongs here: judging a series' data. Does not belong here: deciding about those that pass.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.replenishment.inputs import FrozenInputs, day_numbers
from ml.wording import how_many

WITHHELD = ["item", "location", "reason_code", "reason", "value_at_risk", "currency", "cycle_date"]


def universe(inputs: FrozenInputs) -> pd.DataFrame:
    """item, location: every series that has a forecast or a stock count, kits left out; sorted."""
    forecast = inputs.forecasts[["sku", "location"]].drop_duplicates().rename(columns={"sku": "item"})
    counted = inputs.position[["item", "location"]].drop_duplicates()
    found = pd.concat([forecast, counted]).drop_duplicates()
    kits = inputs.items.loc[inputs.items["is_kit"], "item"]
    found = found[~found["item"].isin(kits)]
    return found.sort_values(["item", "location"], ignore_index=True)


def overrides_now(inputs: FrozenInputs, kind: str, cycle_date: np.datetime64) -> pd.DataFrame:
    """The overrides of a kind that are in force on the cycle date, the last one per item and location."""
    rows = inputs.overrides[inputs.overrides["kind"] == kind]
    first, last = day_numbers(rows["valid_from"], cycle_date), day_numbers(rows["valid_to"], cycle_date)
    rows = rows[~(first > 0) & ~(last < 0)]
    return rows.drop_duplicates(["item", "location"], keep="last")


def screen(
    inputs: FrozenInputs,
    series: pd.DataFrame,
    batches: pd.DataFrame,
    orders: pd.DataFrame,
    forecast_problems: pd.Series,
    source_problems: dict[int, str],
    parents: np.ndarray,
    cycle_date: np.datetime64,
) -> pd.DataFrame:
    """reason_code and reason per row of `series`, both empty for those that pass.

    `series` has item, location, has_forecast; `parents`: the row that regularly supplies each row, -1 none, -2 one that
    has no stock count.
    """
    parameters = inputs.parameters
    keys = pd.MultiIndex.from_frame(series[["item", "location"]])
    per = batches.groupby(["item", "location"])
    stock = per.agg(
        on_hand=("on_hand", lambda values: values.sum(skipna=False)),
        reserved=("reserved", "sum"),
        counted=("counted_day", "max"),
    ).reindex(keys)
    counted = keys.isin(pd.MultiIndex.from_frame(batches[["item", "location"]]))
    unconverted = orders.loc[orders["quantity"].isna(), ["item", "location"]]
    code = np.full(len(series), "", dtype=object)
    reason = np.full(len(series), "", dtype=object)

    def withhold(where: np.ndarray, name: str, texts: object) -> None:
        new = np.asarray(where) & (code == "")
        code[new] = name
        reason[new] = np.asarray(texts, dtype=object)[new] if not isinstance(texts, str) else texts

    excluded = overrides_now(inputs, "exclude", cycle_date).set_index(["item", "location"])["reason"]
    texts = excluded.reindex(keys).fillna("").map(lambda text: "A person excluded it" + (f": {text}" if text else "."))
    withhold(keys.isin(excluded.index), "excluded", texts.to_numpy())
    withhold(
        ~series["item"].isin(inputs.items["item"]).to_numpy(), "unknown_item", "The item is not in the product data."
    )
    withhold(~counted, "no_stock_count", "There is no stock count for it; count it or send its stock level.")
    unreal = pd.MultiIndex.from_frame(orders.loc[orders["quantity"] < 0, ["item", "location"]])
    withhold(keys.isin(unreal), "negative_open_order", "An open order of it is below zero; correct it.")
    on_hand = stock["on_hand"].to_numpy(dtype=float)
    withhold(
        np.isnan(on_hand) & counted, "missing_conversion", "Its stock is in a unit without conversion to the base unit."
    )
    withhold(
        keys.isin(pd.MultiIndex.from_frame(unconverted)),
        "missing_conversion",
        "An open order of it is in a unit without conversion to the base unit.",
    )
    below = np.array([f"Its book stock is {value:g}, which cannot be; count it." for value in on_hand], dtype=object)
    withhold(on_hand < -parameters.negative_stock_tolerance, "negative_stock", below)
    if parameters.stock_count_max_age_days is not None:
        age = -stock["counted"].to_numpy(dtype=float)
        withhold(
            age > parameters.stock_count_max_age_days,
            "stale_stock_count",
            np.array(
                [f"Its stock was last stated {how_many(int(days), 'day')} ago." for days in np.nan_to_num(age)],
                dtype=object,
            ),
        )
    problems = pd.Series(forecast_problems, dtype=object).reindex(keys)
    sends = np.isin(np.arange(len(series)), parents)
    withhold(
        problems.notna().to_numpy(),
        "no_usable_forecast",
        problems.map(lambda text: f"It cannot be planned: {text}.").to_numpy(),
    )
    withhold(
        ~series["has_forecast"].to_numpy() & ~sends,
        "no_usable_forecast",
        "There is no forecast for it: its history is missing or too short.",
    )
    unsourced = np.array([f"{_capital(source_problems.get(row, ''))}." for row in range(len(series))], dtype=object)
    withhold(np.isin(np.arange(len(series)), list(source_problems)), "no_source", unsourced)
    withhold(parents == -2, "no_source", "The location that supplies it has no stock count for it.")
    withhold(_in_a_circle(parents), "no_source", "The locations it is supplied from supply each other in a circle.")
    for _ in range(len(series)):
        cut_off = (parents >= 0) & (code == "") & (code[np.maximum(parents, 0)] != "")
        if not cut_off.any():
            break
        sources = series["location"].to_numpy()[np.maximum(parents, 0)]
        withhold(
            cut_off,
            "source_withheld",
            np.array([f"{name}, which supplies it, is itself withheld." for name in sources], dtype=object),
        )
    return pd.DataFrame({"reason_code": code, "reason": reason})


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _in_a_circle(parents: np.ndarray) -> np.ndarray:
    up = np.arange(len(parents))
    for _ in range(min(len(parents), 32) + 1):
        up = np.where(up >= 0, parents[np.maximum(up, 0)], -1)
    return up >= 0
