"""From a table of daily rows to arrays [series, day], and the rules for what is odd in them.

Belongs here: reading, cleaning and aligning history and future frames. Does not belong here: features, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ml.forecast.config import ForecastConfig
from ml.forecast.errors import ForecastError
from ml.phantom import phantom_days

_KEY = ["sku", "location"]
_DAY = np.dtype("datetime64[D]")


@dataclass(frozen=True)
class Columns:
    """Which columns of the frames mean what."""

    known_future: tuple[str, ...] = ()
    past_only: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    availability: str | None = None
    recorded: bool = False
    """Forecast what will be recorded as sold: availability is known of the past and tells, but nothing is recovered."""


@dataclass(frozen=True)
class Panel:
    """N series over T days of history and H days to come. Missing is NaN; all arrays are float32 unless said otherwise.

    `keys`: frame [N] of sku and location. `dates`: [T + H] days. `sales`: [N, T], never negative. `stocked`: [N, T] in-stock
    share or None; `share` is the same where demand is recovered by it, None otherwise. `known`: [K, N, T + H]. `past`: [P, N, T]. `static`: [S, N] codes, -1 where not known. `first`: [N]
    index of the first observed day. `whole`: [N] whether a series sells whole units. `notes`: what was cleaned. `whole_keys`: the keys that were numbers in the file.
    """

    keys: pd.DataFrame
    dates: np.ndarray
    sales: np.ndarray
    stocked: np.ndarray | None
    known: np.ndarray
    past: np.ndarray
    static: np.ndarray
    horizon: int
    columns: Columns
    categories: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing_days: str = "unknown"
    whole_keys: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        return self.sales.shape[1]

    @property
    def share(self) -> np.ndarray | None:
        return None if self.columns.recorded else self.stocked

    @property
    def seen(self) -> np.ndarray:
        return np.isfinite(self.sales)

    @property
    def first(self) -> np.ndarray:
        seen = self.seen
        return np.where(seen.any(1), seen.argmax(1), self.days)

    @property
    def whole(self) -> np.ndarray:
        return (np.nan_to_num(self.sales) % 1 == 0).all(1)

    def select(self, rows: np.ndarray) -> Panel:
        """The same panel with only some series (indices or a mask)."""
        return replace(
            self,
            keys=self.keys.loc[rows].reset_index(drop=True) if rows.dtype == bool else self.keys.iloc[rows].reset_index(drop=True),
            sales=self.sales[rows],
            stocked=None if self.stocked is None else self.stocked[rows],
            known=self.known[:, rows],
            past=self.past[:, rows],
            static=self.static[:, rows],
        )  # fmt: skip

    def until(self, day: int, horizon: int) -> Panel:
        """The panel as it was known after `day` days: what the models may see at a held-out origin."""
        return replace(
            self,
            dates=self.dates[: day + horizon],
            sales=self.sales[:, :day],
            stocked=None if self.stocked is None else self.stocked[:, :day],
            known=self.known[:, :, : day + horizon],
            past=self.past[:, :, :day],
            horizon=horizon,
        )


def build_panel(
    history: pd.DataFrame,
    future: pd.DataFrame | None,
    horizon: int,
    columns: Columns,
    config: ForecastConfig,
    categories: dict[str, list[str]] | None = None,
    missing_days: str | None = None,
) -> Panel:
    """Align `history` and `future` into a `Panel`; `categories` and `missing_days` come from training when predicting."""
    whole_keys = tuple(name for name in _KEY if name in history and history[name].dtype.kind in "iu")
    history, notes = _clean(history, columns, needs_quantity=True)
    codes, keys = _series(history)
    days = history["date"].to_numpy().astype(_DAY)
    last = days.max() if len(days) else np.datetime64("2000-01-01", "D")
    start = max(days.min(), last - np.timedelta64(config.history_days - 1, "D")) if len(days) else last
    total = int((last - start).astype(int)) + 1
    dates = start + np.arange(total + horizon)
    at = (days - start).astype(int)
    keep = at >= 0
    if not keep.all():
        notes.append(f"days before {start} are left out (history_days = {config.history_days})")
    codes, at, history = codes[keep], at[keep], history[keep]
    shape = (len(keys), total)

    quantity = history["quantity"].to_numpy(np.float64)
    negative = quantity < 0
    if negative.any():
        notes.append(f"{int(negative.sum())} days with negative quantity count as 0: returns are not demand")
    sales = _dense(shape, codes, at, np.maximum(quantity, 0.0))
    sales, spikes = _cut_spikes(sales, config.spike_factor)
    if spikes:
        notes.append(f"{spikes} days above {config.spike_factor:g} times the usual selling day were cut to that")
    if missing_days is None:
        stated = bool((quantity == 0).any())
        missing_days = config.missing_days if config.missing_days != "auto" else ("unknown" if stated else "zero")
    if missing_days == "zero" and sales.size:
        seen = np.isfinite(sales)
        after = np.arange(total) >= np.where(seen.any(1), seen.argmax(1), total)[:, None]
        gaps = after & ~seen
        sales[gaps] = 0.0
        if gaps.any():
            notes.append(f"{int(gaps.sum())} days without a row count as days without a sale")

    stocked = None
    if columns.availability:
        stocked = _dense(shape, codes, at, history[columns.availability].to_numpy(np.float64))
        stocked = np.clip(np.nan_to_num(stocked, nan=1.0), 0.0, 1.0)
        if config.phantom_stock and sales.size:
            places = np.unique(keys["location"].to_numpy(str), return_inverse=True)[1]
            phantom = phantom_days(sales, stocked, places, config.phantom_days)
            if phantom.any():
                stocked[phantom] = 0.0
                notes.append(
                    f"{int(phantom.sum())} days of {int(phantom.any(1).sum())} series count as days without stock: by the"
                    " books there was some, but so long a run without a sale is improbable (phantom stock)"
                )
    past = _stack(shape, codes, at, history, columns.past_only)
    known = np.full((len(columns.known_future), len(keys), total + horizon), np.nan, np.float32)
    known[:, :, :total] = _stack(shape, codes, at, history, columns.known_future)
    if columns.known_future and horizon:
        notes += _fill_future(known, total, horizon, future, keys, last, columns)
    static, categories = _static(history, codes, len(keys), columns.static, categories)
    return Panel(
        keys, dates, sales, stocked, known, past, static, horizon, columns, categories, tuple(notes), missing_days, whole_keys
    )  # fmt: skip


def _clean(frame: pd.DataFrame, columns: Columns, needs_quantity: bool) -> tuple[pd.DataFrame, list[str]]:
    """The columns needed, with usable types, one row per series and day; and what had to be mended."""
    what = "history" if needs_quantity else "future"
    wanted = [*_KEY, "date", *columns.known_future]
    if needs_quantity:
        wanted += ["quantity", *columns.past_only, *columns.static, *filter(None, [columns.availability])]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ForecastError(
            f"The {what} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}."
        )  # fmt: skip
    repeated = sorted({name for name in wanted if wanted.count(name) > 1})
    if repeated:
        raise ForecastError(f"The column {repeated[0]} is named twice; give each column one role.")
    frame = frame[wanted].copy()
    notes: list[str] = []
    try:
        dates = pd.to_datetime(frame["date"], format=None if frame["date"].dtype.kind == "M" else "ISO8601")
    except (ValueError, TypeError) as error:
        raise ForecastError(f"The {what}'s column date holds a value that is not a date such as 2025-01-31.") from error
    if getattr(dates.dt, "tz", None) is not None:
        dates = dates.dt.tz_localize(None)
    frame["date"] = dates.dt.normalize()
    numeric = [*columns.known_future]
    if needs_quantity:
        numeric += ["quantity", *columns.past_only, *filter(None, [columns.availability])]
    for name in numeric:
        values = frame[name]
        if values.dtype.kind not in "biuf":
            try:
                values = pd.to_numeric(values)
            except (ValueError, TypeError) as error:
                raise ForecastError(
                    f"The {what}'s column {name} must hold numbers ({error}); a text column can be given as static."
                ) from error
        frame[name] = pd.to_numeric(values).astype("float64").replace([np.inf, -np.inf], np.nan)
    incomplete = frame[[*_KEY, "date"]].isna().any(axis=1)
    if needs_quantity:
        incomplete |= frame["quantity"].isna()
    if incomplete.any():
        notes.append(f"{int(incomplete.sum())} {what} rows without sku, location, date or quantity are left out")
        frame = frame[~incomplete]
    for name in _KEY:
        frame[name] = _text(frame[name])
    repeats = frame.duplicated([*_KEY, "date"], keep=False)
    if repeats.any():
        exact = frame.duplicated()
        frame = frame[~exact]
        rest = int(frame.duplicated([*_KEY, "date"]).sum())
        how = {name: "first" for name in frame.columns if name not in (*_KEY, "date")} | {"quantity": "sum"}
        if rest and needs_quantity:
            frame = frame.groupby([*_KEY, "date"], as_index=False, sort=False).agg(how)
        elif rest:
            frame = frame.drop_duplicates([*_KEY, "date"], keep="last")
        if needs_quantity:
            notes.append(
                f"{int(exact.sum())} repeated rows were counted once, and {rest} further rows of a day were added to it"
            )
    return frame, notes


def _text(values: pd.Series) -> pd.Series:
    """Codes as text, so that 7 in a CSV file and "7" in a Parquet file are one product."""
    if values.dtype.kind == "f" and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str)


def _series(history: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The series index of each row and the sorted keys, so that the order of the rows never matters."""
    skus, sku_names = pd.factorize(history["sku"], sort=True)
    places, place_names = pd.factorize(history["location"], sort=True)
    joint = skus.astype(np.int64) * max(len(place_names), 1) + places
    unique, codes = np.unique(joint, return_inverse=True)
    width = max(len(place_names), 1)
    keys = pd.DataFrame(
        {"sku": np.asarray(sku_names)[unique // width], "location": np.asarray(place_names)[unique % width]}
    )
    return codes, keys.astype(object)


def _dense(shape: tuple[int, int], codes: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    dense = np.full(shape, np.nan, np.float32)
    dense[codes, at] = values
    return dense


def _stack(shape, codes, at, history: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    if not names:
        return np.empty((0, *shape), np.float32)
    return np.stack([_dense(shape, codes, at, history[name].to_numpy(np.float64)) for name in names])


def _cut_spikes(sales: np.ndarray, factor: float) -> tuple[np.ndarray, int]:
    """Cut days far above the series' usual selling day (the mean of its selling days without the largest tenth).

    A wrong decimal point or a cancelled bulk order must not set the level of a product that sells 0 to 4. Series with
    fewer than four selling days are judged by nothing but themselves and stay.
    """
    positive = np.where(sales > 0, sales, np.nan)
    count = np.isfinite(positive).sum(1)
    enough = np.flatnonzero(count >= 4)
    if not len(enough):
        return sales, 0
    ordered = np.sort(positive[enough].astype(np.float64), axis=1)  # NaN last
    kept = count[enough] - np.maximum(1, count[enough] // 10)
    totals = np.cumsum(np.nan_to_num(ordered), axis=1)
    limit = factor * totals[np.arange(len(enough)), kept - 1] / kept
    # What sells whole units is still seen to do so after the cut: its quantiles are whole, and 0 where most days are.
    limit = np.where((np.nan_to_num(sales[enough]) % 1 == 0).all(1), np.rint(limit), limit)
    high = sales[enough] > limit[:, None]
    cut = sales.copy()
    cut[enough] = np.where(high, limit[:, None].astype(np.float32), sales[enough])
    return cut, int(high.sum())


def _fill_future(known, total, horizon, future, keys, last, columns) -> list[str]:
    """Write the known-future covariates of the days to come; say what is missing and leave it NaN."""
    if future is None:
        raise ForecastError(
            f"The known-future columns {', '.join(columns.known_future)} need a future table with sku, location, date"
            f" and these columns for the {horizon} days after {last}."
        )
    future, notes = _clean(future, columns, needs_quantity=False)
    index = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(future[_KEY]))
    at = (future["date"].to_numpy().astype(_DAY) - last).astype(int) - 1
    use = (index >= 0) & (at >= 0) & (at < horizon)
    filled = np.zeros((len(keys), horizon), bool)
    filled[index[use], at[use]] = True
    for number, name in enumerate(columns.known_future):
        known[number, index[use], total + at[use]] = future[name].to_numpy(np.float32)[use]
    lacking = int((~filled).sum())
    if lacking:
        notes.append(
            f"the future table lacks {lacking} of {filled.size} series-days; their covariates count as not known"
        )
    return notes


def _static(history, codes, count, names, categories) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Codes [S, N] of the last value of each static column; values not seen in training become -1."""
    static = np.full((len(names), count), -1, np.float32)
    found: dict[str, list[str]] = {}
    order = np.argsort(history["date"].to_numpy(), kind="stable")
    for number, name in enumerate(names):
        values = history[name].to_numpy()[order]
        present = ~pd.isna(values)
        text = pd.Series(values[present]).astype(str).to_numpy()
        labels = categories[name] if categories is not None else sorted(set(text))
        found[name] = list(labels)
        coded = pd.Index(labels).get_indexer(text) if len(labels) else np.full(len(text), -1)
        static[number, codes[order][present]] = coded
    return static, found
