"""Days and numbers from the columns of a frame, and what is said of a value that is neither.

Belongs here: one column at a time. Does not belong here: what rows of a product and day mean together (`ml.forecast.panel`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from ml.forecast.errors import ForecastError

# Numbers beyond this are no measurement, and their squares would not fit.
_LARGEST = 1e15


def read_dates(frame: pd.DataFrame, what: str, column: str = "date") -> pd.Series:
    """`column` of the `frame` named `what` as days without a time zone; NaT where there is none. `ForecastError` names the
    first value that is no date."""
    values = frame[column]
    try:
        dates = _dates(values)
    except (ValueError, TypeError) as error:
        raise ForecastError(
            f"The column {column} of the {what} has {_first_odd(frame, column, _dates)}, which is not a date such as 2025-01-31;"
            " write all dates so."
        ) from error
    return dates.dt.tz_localize(None)


def _dates(values: pd.Series) -> pd.Series:
    with warnings.catch_warnings():
        # Offsets that differ, as those of summer and winter do, come as objects; the local day is what counts.
        warnings.simplefilter("ignore", FutureWarning)
        dates = pd.to_datetime(values, format=None if values.dtype.kind == "M" else "ISO8601")
    if dates.dtype == object:
        dates = pd.to_datetime(dates.map(lambda at: at.replace(tzinfo=None), na_action="ignore"))
    return dates


def read_numbers(frame: pd.DataFrame, name: str, what: str) -> np.ndarray:
    """Numbers [n] as float32; NaN where there is none or one beyond `_LARGEST`. Quantities are float64, so that adding rows up loses nothing."""
    values = frame[name]
    if values.dtype.kind not in "biuf":
        try:
            values = pd.to_numeric(values)
        except (ValueError, TypeError) as error:
            told = f"The column {name} of the {what} must hold numbers such as 1234.5 and has {_first_odd(frame, name, pd.to_numeric)}"
            raise ForecastError(
                f"{told}; correct it." if name == "quantity" else f"{told}; a text column can be given as static."
            ) from error
    with np.errstate(over="ignore"):
        numbers = values.to_numpy("float64" if name == "quantity" else "float32", na_value=np.nan)
    usable = np.abs(numbers) <= _LARGEST
    return numbers if usable.all() else np.where(usable, numbers, np.nan)


def _first_odd(frame: pd.DataFrame, column: str, read: Callable[[pd.Series], pd.Series]) -> str:
    """The first value of `column` that `read` refuses, and where it is: by row, as spreadsheets count them below one of
    names, by product and place."""
    values = frame[column].reset_index(drop=True)
    # Halved again and again, for a file may have millions of rows before it.
    while len(values) > 1:
        before = values.iloc[: len(values) // 2]
        values = before if not _readable(before, read) else values.iloc[len(before) :]
    if _readable(values, read):
        return "values of several kinds"
    at = int(values.index[0])
    whose = " at ".join(str(frame[key].iloc[at]) for key in ("sku", "location") if key in frame)
    return f"{str(values.iloc[0])!r} in row {at + 2}" + (f" ({whose})" if whose else "")


def _readable(values: pd.Series, read: Callable[[pd.Series], pd.Series]) -> bool:
    try:
        read(values)
    except (ValueError, TypeError):
        return False
    return True
