"""Two models on the same days that neither was trained on.

Belongs here: what each would have said and how wrong it was. Does not belong here: which of them is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.forecast import scoring
from ml.forecast.config import QUANTILE_COLUMNS
from ml.forecast.heldout import BLEND
from ml.forecast.model import Model, predict

_KEY = ["sku", "location", "date"]
_FULL = 0.999


@dataclass(frozen=True)
class Figures:
    """`pinball` (the loss, per unit sold) and `wape` on days fully in stock, `bias` on all."""

    pinball: float
    wape: float
    bias: float


@dataclass(frozen=True)
class Contest:
    """`first` to `last`: the days, ISO dates. `selling_days`: days of series that were scored and sold, fully in stock."""

    first: str
    last: str
    days: int
    series: int
    selling_days: int
    champion: Figures
    challenger: Figures


def hold_contest(champion: Model, challenger: Model, history: pd.DataFrame, days: int) -> Contest:
    """Both forecast the last `days` of `history` from the days before them; neither may have been trained on them.

    `history` as for `predict`. Only series that both forecast are scored.
    """
    before, after = split(history, days)
    said = [
        predict(model, before, after, days, models=(BLEND,))[0].drop(columns="model")
        for model in (champion, challenger)
    ]
    both = said[0].merge(said[1], on=_KEY, suffixes=("", "_challenger"))
    availability = champion.columns.availability
    kept = after[[*_KEY, "quantity", *([availability] if availability else [])]]
    kept = kept.assign(sku=kept["sku"].astype(str), location=kept["location"].astype(str))
    kept = kept.assign(date=pd.to_datetime(kept["date"]))
    both = both.assign(date=pd.to_datetime(both["date"])).merge(kept, on=_KEY)
    sales = both["quantity"].to_numpy(float)
    share = both[availability].fillna(1.0).to_numpy(float) if availability else np.ones(len(both))
    dates = pd.to_datetime(after["date"])
    return Contest(
        str(dates.min().date()), str(dates.max().date()), days, len(both[["sku", "location"]].drop_duplicates()),
        int(((sales > 0) & (share >= _FULL)).sum()), _figures(both, "", sales, share),
        _figures(both, "_challenger", sales, share),
    )  # fmt: skip


def split(history: pd.DataFrame, days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The history up to `days` before its end, and the rest."""
    dates = pd.to_datetime(history["date"])
    is_before = dates <= dates.max() - pd.Timedelta(days=days)
    return history[is_before], history[~is_before]


def _figures(both: pd.DataFrame, suffix: str, sales: np.ndarray, share: np.ndarray) -> Figures:
    quantiles = both[[name + suffix for name in QUANTILE_COLUMNS]].to_numpy(float)
    full = share >= _FULL
    return Figures(
        round(scoring.pinball(sales[full], quantiles[full]), 6),
        round(scoring.wape(sales[full], quantiles[full, scoring.MEDIAN]), 6),
        round(scoring.bias(sales, both["mean" + suffix].to_numpy(float) * share), 6),
    )
