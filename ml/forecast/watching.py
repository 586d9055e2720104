"""Whether issued forecasts are as good as training said they would be: a verdict on days that have come since.

Belongs here: the rule. Does not belong here: where scores come from, who is told, what is done about it.

Each of n days d has e_d, the absolute error of its forecasts, and x_d, the error that sales of that day would have had at
the WAPE of training. Their ratio R = sum(e) / sum(x) is 1 when nothing has changed; its standard error treats days as the
observations, since one day's errors have causes in common (Cochran 1977, Sampling Techniques, 6.5):

    se(R) = sqrt(n / (n - 1) * sum((e_d - R x_d)^2)) / sum(x)                                                      (1)

Quality is worse when R - t se(R) > 1 + margin, with t of Student's distribution with n - 1 degrees of freedom, and back
once R <= 1 + margin: what is in between neither raises nor settles anything. The bias is judged likewise by the absolute
value of its difference from that of training.

The bias is of all days: those that ran out are the ones that sold most, and by the others alone a right forecast is found too
high. Over days that ran out the mean counts by the in-stock share, which for any rule by which shelves run dry makes the errors of a
right forecast sum to 0 against what was asked for (`ml.demand.exposed`). The purchase that emptied a shelf asked for more than
was sold; issued and held-out forecasts are both set against sales and miss that alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ml.forecast.config import AccuracyConfig
from ml.forecast.heldout import BLEND, WEEKS
from ml.wording import how_many

Trained = Mapping[int, tuple[float, float]]
"""Held-out WAPE (days in stock) and bias (against sales) of a model's blend for each week ahead, 1 to 4."""


@dataclass(frozen=True)
class Verdict:
    """`is_worse` and `is_well` are both False where the evidence does not tell; the figures are NaN where there is none.

    `wape_bound` and `bias_bound`: what they are at least, at the confidence asked for, bias as distance from training's.
    """

    days: int
    sales: float
    wape: float = math.nan
    wape_trained: float = math.nan
    wape_bound: float = math.nan
    bias: float = math.nan
    bias_trained: float = math.nan
    bias_bound: float = math.nan
    is_worse: bool = False
    is_well: bool = False

    @property
    def says(self) -> str:
        if math.isnan(self.wape):
            return f"{how_many(self.days, 'day has', 'days have')} been scored, too few to judge by."
        return (
            f"WAPE of the last {self.days} days {self.wape:.3f}, {self.wape_trained:.3f} at training; "
            f"bias {self.bias:+.1%}, {self.bias_trained:+.1%} at training."
        )


def trained_quality(scores: pd.DataFrame) -> Trained:
    """From `Model.scores`; a week without rows of its own, as in a short history, has what all of them have."""
    blend = scores[scores["model"] == BLEND].set_index("segment") if len(scores) else scores
    found = {}
    for week in range(1, WEEKS + 1):
        name = next((segment for segment in (f"week {week}", "all") if segment in blend.index), None)
        if name is not None:
            wape, bias = blend.loc[name, ["wape_in_stock", "bias_of_sales"]]
            if np.isfinite(wape) and np.isfinite(bias):
                found[week] = (float(wape), float(bias))
    return found


def judge(scored: pd.DataFrame, trained: Mapping[str, Trained], config: AccuracyConfig) -> Verdict:
    """`scored`: one row per business_date, model_id and week, with the sums sales, error over all days, and
    sales_in_stock, absolute_error over days fully in stock, of which `selling` series sold. `trained`: by model_id; rows of others are left out."""
    known = [week in trained.get(model, {}) for model, week in zip(scored["model_id"], scored["week"], strict=True)]
    rows = scored[np.array(known, dtype=bool)]
    rows = rows[rows["business_date"].isin(np.sort(rows["business_date"].unique())[-config.days :])]
    quality = [trained[model][week] for model, week in zip(rows["model_id"], rows["week"], strict=True)]
    wape, bias = np.array(quality, dtype=float).reshape(-1, 2).T
    rows = rows.assign(
        expected=wape * rows["sales_in_stock"].to_numpy(float), offset=bias * rows["sales"].to_numpy(float)
    )
    numbers = ["sales", "error", "sales_in_stock", "absolute_error", "expected", "offset"]
    days = rows.groupby("business_date")[numbers].sum().astype(float)
    sales, in_stock, expected = (float(days[name].sum()) for name in ("sales", "sales_in_stock", "expected"))
    # Of several weeks ahead and models it is mostly the same sales that are seen.
    selling = rows.groupby("business_date")["selling"].max().sum()
    if len(days) < config.least_days or selling < config.least_selling_days or expected <= 0:
        return Verdict(len(days), sales)
    t = float(stdtrit(len(days) - 1, config.confidence))
    ratio, ratio_error = _ratio(days["absolute_error"], days["expected"])
    moved, moved_error = _ratio(days["error"] - days["offset"], days["sales"])
    wape_trained = expected / in_stock
    wape_bound, bias_bound = ratio - t * ratio_error, abs(moved) - t * moved_error
    return Verdict(
        len(days), sales, ratio * wape_trained, wape_trained, wape_bound * wape_trained,
        float(days["error"].sum()) / sales, float(days["offset"].sum()) / sales, bias_bound,
        is_worse=wape_bound > 1 + config.wape_margin or bias_bound > config.bias_margin,
        is_well=ratio <= 1 + config.wape_margin and abs(moved) <= config.bias_margin,
    )  # fmt: skip


def _ratio(numerator: pd.Series, denominator: pd.Series) -> tuple[float, float]:
    """The ratio of two sums over days, and its standard error (1)."""
    e, x = numerator.to_numpy(), denominator.to_numpy()
    ratio = e.sum() / x.sum()
    return float(ratio), float(math.sqrt(len(e) / (len(e) - 1) * np.sum((e - ratio * x) ** 2)) / x.sum())
