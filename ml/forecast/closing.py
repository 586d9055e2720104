"""Days on which a place is closed: nothing sells there, whatever models say.

A history need not have rows of closed days (that of the daily cycle has none), and then no model can learn what they sell.
Belongs here: forecasts of such days, and what of an explanation they take away. Does not belong here: which days they are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.forecast.config import QUANTILE_COLUMNS

CLOSED = "closed"
"""The driver, in the parts of a forecast, by which a closed day sells nothing."""


def nothing_sells(forecasts: pd.DataFrame, closed: pd.DataFrame) -> pd.DataFrame:
    """`forecasts`, as `predict` gives them, with 0 for the mean and every quantile of the `closed` days (location, date)."""
    shut = _among(forecasts, closed)
    if not shut.any():
        return forecasts
    forecasts = forecasts.copy()
    forecasts.loc[shut, ["mean", *QUANTILE_COLUMNS]] = 0
    return forecasts


def with_closing(parts: pd.DataFrame, closed: pd.DataFrame) -> pd.DataFrame:
    """`parts`, as `explain` gives them, with a driver for each of the `closed` days (location, date) that takes away what the
    others contribute, so that the parts sum to 0 there."""
    shut = parts[_among(parts, closed)]
    taken = shut.groupby(["sku", "location", "date", "similar"], as_index=False, sort=False)["contribution"].sum()
    taken["contribution"] *= -1
    rows = pd.concat([parts, taken.assign(driver=CLOSED)[parts.columns]], ignore_index=True)
    return rows.sort_values(["sku", "location", "date"], kind="stable", ignore_index=True) if len(taken) else parts


def _among(rows: pd.DataFrame, closed: pd.DataFrame) -> np.ndarray:
    """Which `rows` [n] are of a closed day of their place."""
    days = ["location", "date"]
    found = rows[days].merge(closed[days].drop_duplicates(), how="left", indicator=True)
    return (found["_merge"] == "both").to_numpy()
