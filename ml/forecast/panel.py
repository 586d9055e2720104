"""From a table of daily rows to arrays [series, day], and the rules for what is odd in them.

Belongs here: reading, cleaning and aligning history and future frames. Does not belong here: features, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ml.forecast.config import ForecastConfig
from ml.forecast.doubted import Doubted, said
from ml.forecast.errors import ForecastError
from ml.forecast.reading import read_dates, read_numbers
from ml.forecast.segments import are_counts
from ml.forecast.spikes import Usual, beyond_others, cut_spikes, usual_days
from ml.phantom import phantom_days
from ml.wording import how_many

_KEY = ["sku", "location"]
_DAY = np.dtype("datetime64[D]")
_STRAY_DAYS, _FEW_STRAYS = 366, 0.01


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
    index of the first observed day. `whole`: [N] whether a series sells whole units, as most do where it has not sold. `notes`: what was cleaned. `whole_keys`: the keys that were numbers in the file.
    `left_out`: sku, location and reason of series of the file that are not among the N. `future`: the rows of the future
    table, of any series, with the K columns; None without one. `doubted`: what the file says of days that are not believed;
    None at a held-out origin.
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
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*_KEY, "reason"]))
    future: pd.DataFrame | None = None
    doubted: Doubted | None = None

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
        whole, sold = are_counts(self.sales, 1), (self.sales > 0).any(1)
        # What has not sold does not say; it is taken for one of the others.
        return np.where(sold, whole, whole[sold].mean() > 0.5 if sold.any() else True)

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
            doubted=None if self.doubted is None else self.doubted.select(rows),
        )  # fmt: skip

    def until(self, day: int, horizon: int) -> Panel:
        """The panel as it was known after `day` days: what the models may see at a held-out origin."""
        sales, stocked = self.doubted.sales_until(day, self.sales), None
        if self.stocked is not None:
            stocked = self.doubted.stocked_until(day, sales, self.stocked, _places(self.keys))
        return replace(
            self,
            dates=self.dates[: day + horizon],
            sales=sales,
            stocked=stocked,
            known=self.known[:, :, : day + horizon],
            past=self.past[:, :, :day],
            horizon=horizon,
            doubted=None,
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
    history, notes, left_out = _clean(history, columns, config.history_days)
    codes, keys = _series(history)
    days = history["date"].to_numpy().astype(_DAY)
    last = days.max() if len(days) else np.datetime64("2000-01-01", "D")
    start = days.min() if len(days) else last
    total = int((last - start).astype(int)) + 1
    dates = start + np.arange(total + horizon)
    at = (days - start).astype(int)

    quantity = history["quantity"].to_numpy(np.float64)
    negative = quantity < 0
    if negative.any():
        notes.append(
            f"{how_many(int(negative.sum()), 'day with negative quantity counts', 'days with negative quantity count')} as 0:"
            " returns are not demand"
        )
    sales = _dense((len(keys), total), codes, at, np.maximum(quantity, 0.0))
    usual = usual_days(sales, config.spike_factor)
    beyond, largest = beyond_others(usual, config.spike_factor)
    if beyond.any():
        left_out = pd.concat([left_out, _beyond(sales, keys, dates, beyond, largest)], ignore_index=True)
        believed = ~beyond[codes]
        history, at, codes = history[believed], at[believed], (np.cumsum(~beyond) - 1)[codes[believed]]
        quantity, keys, sales = quantity[believed], keys[~beyond].reset_index(drop=True), sales[~beyond]
        usual = Usual(usual.days[~beyond], usual.mean[~beyond], usual.median[~beyond])
    cut, high = cut_spikes(sales, usual, config.spike_factor)
    spikes = said(sales, high)
    if high.any():
        notes.append(_told_spikes(sales, cut, high, keys, dates, config.spike_factor))
    sales, shape = cut, (len(keys), total)
    if missing_days is None:
        stated = bool((quantity == 0).any())
        missing_days = config.missing_days if config.missing_days != "auto" else ("unknown" if stated else "zero")
    if missing_days == "zero" and sales.size:
        seen = np.isfinite(sales)
        after = np.arange(total) >= np.where(seen.any(1), seen.argmax(1), total)[:, None]
        gaps = after & ~seen
        sales[gaps] = 0.0
        if gaps.any():
            notes.append(
                how_many(
                    int(gaps.sum()),
                    "day without a row counts as one without a sale",
                    "days without a row count as days without a sale",
                )
            )

    stocked, quiet = None, None
    if columns.availability:
        stocked = _dense(shape, codes, at, history[columns.availability].to_numpy(np.float64))
        stocked = np.clip(np.nan_to_num(stocked, nan=1.0), 0.0, 1.0)
        disproved = _disproved(sales, stocked)
        if disproved.any():
            stocked[disproved] = 1.0
            notes.append(
                f"{int(disproved.sum())} series sold on most days on which {columns.availability} says that they were out of"
                " stock all day: for them it is not believed"
            )
        if config.phantom_stock and sales.size:
            phantom = phantom_days(sales, stocked, _places(keys), config.phantom_days)
            quiet = said(stocked, phantom)
            if phantom.any():
                stocked[phantom] = 0.0
                notes.append(
                    f"{how_many(int(phantom.sum()), 'day')} of {int(phantom.any(1).sum()):,} series taken to be without stock: by the"
                    " books there was some, but so long a run without a sale is improbable (phantom stock)"
                )
    past = _stack(shape, codes, at, history, columns.past_only)
    known = np.full((len(columns.known_future), len(keys), total + horizon), np.nan, np.float32)
    known[:, :, :total] = _stack(shape, codes, at, history, columns.known_future)
    if columns.known_future and horizon:
        future, told = read_future(future, columns, horizon, last)
        notes += [*told, *fill_future(known[:, :, total:], future, keys, last, columns)]
    static, categories = _static(history, codes, len(keys), columns.static, categories)
    return Panel(
        keys, dates, sales, stocked, known, past, static, horizon, columns, categories, tuple(notes), missing_days, whole_keys,
        left_out, future if columns.known_future and horizon else None,
        Doubted(spikes, quiet, config.spike_factor, config.phantom_days),
    )  # fmt: skip


def _places(keys: pd.DataFrame) -> np.ndarray:
    """A code [N] for each location."""
    return np.unique(keys["location"].to_numpy(str), return_inverse=True)[1]


def _clean(frame: pd.DataFrame, columns: Columns, newest: int | None) -> tuple[pd.DataFrame, list[str], pd.DataFrame]:
    """The columns needed, with usable types, one row per series and day; what had to be mended; and the series (sku, location,
    reason) of which no row is usable.

    Codes become categories, so that rows by the ten million cost no text each. Of a history the `newest` days are kept;
    None stands for a future, which has no quantity.
    """
    is_history = newest is not None
    what = "history" if is_history else "future"
    numeric = [*columns.known_future]
    if is_history:
        numeric += ["quantity", *columns.past_only, *filter(None, [columns.availability])]
    wanted = [*_KEY, "date", *numeric, *(columns.static if is_history else ())]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ForecastError(
            f"The {what} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}."
            f" Add {'them' if len(missing) > 1 else 'it'}, or rename what stands for {'them' if len(missing) > 1 else 'it'}."
        )  # fmt: skip
    repeated = sorted({name for name in wanted if wanted.count(name) > 1})
    if repeated:
        raise ForecastError(f"The column {repeated[0]} is named twice; give each column one role.")
    dates = read_dates(frame, what).to_numpy().astype(_DAY)
    numbers = {name: read_numbers(frame, name, what) for name in numeric}
    notes: list[str] = []
    complete = (frame["sku"].notna() & frame["location"].notna()).to_numpy() & ~np.isnat(dates)
    if is_history:
        complete &= ~np.isnan(numbers["quantity"])
    if not complete.all():
        lacking = "sku, location, date or a usable quantity" if is_history else "sku, location or date"
        some = int((~complete).sum())
        notes.append(
            how_many(some, f"{what} row without {lacking} is left out", f"{what} rows without {lacking} are left out")
        )
    if is_history:
        strays = _strays(dates[complete])
        if len(strays):
            first, last = strays.min(), strays.max()
            told = str(first) if first == last else f"{first} to {last}"
            stray = complete & (dates >= first)
            few = how_many(int(stray.sum()), "row")
            notes.append(f"left out for being dated more than a year after all others: {few} ({told})")
            complete &= ~stray
    keep, left_out = complete, pd.DataFrame(columns=[*_KEY, "reason"])
    if is_history and complete.any():
        start = dates[complete].max() - np.timedelta64(newest - 1, "D")
        keep = complete & (dates >= start)
        if (keep != complete).any():
            notes.append(f"days before {start} are left out (history_days = {newest})")
    keys = {name: as_text(frame[name]) for name in _KEY}
    if is_history and not keep.all():
        left_out = _unusable(keys, dates, keep, complete, newest)
    keep = slice(None) if keep.all() else keep
    kept = {name: codes[keep] for name, codes in keys.items()} | {"date": dates[keep].astype("datetime64[s]")}
    kept |= {name: values[keep] for name, values in numbers.items()}
    if is_history:
        kept |= {name: as_text(frame[name][keep]) for name in columns.static}
    return _once(pd.DataFrame(kept, copy=False), notes, is_history), notes, left_out


def _unusable(keys: dict[str, pd.Series], dates, keep: np.ndarray, complete: np.ndarray, newest: int) -> pd.DataFrame:
    """The series that have rows, but none to `keep`, with the reason: sku, location, reason."""
    sku, place = (keys[name].cat for name in _KEY)
    width = max(len(place.categories), 1)
    number = np.where(
        (sku.codes >= 0) & (place.codes >= 0), sku.codes.to_numpy(np.int64) * width + place.codes.to_numpy(), -1
    )
    gone = ~np.isin(number, np.unique(number[keep])) & (number >= 0)
    rows = pd.DataFrame(
        {"number": number[gone], "date": np.where(complete[gone], dates[gone], np.datetime64("NaT", "s"))}
    )
    last = rows.groupby("number")["date"].max()
    reasons = [
        "none of its rows has a date and a quantity that can be used; correct them"
        if pd.isna(day)
        else f"no row since {day:%Y-%m-%d}: days so old are left out (history_days = {newest})"
        for day in last
    ]
    found = last.index.to_numpy()
    return pd.DataFrame(
        {
            "sku": np.asarray(sku.categories, object)[found // width],
            "location": np.asarray(place.categories, object)[found % width],
            "reason": reasons,
        }
    )


def _strays(dates: np.ndarray) -> np.ndarray:
    """Days far behind all others, as a mistyped year makes them: the history must not end on one, for every other series
    would seem to have ended long before."""
    days, rows = np.unique(dates, return_counts=True)
    gaps = np.flatnonzero(np.diff(days) > np.timedelta64(_STRAY_DAYS, "D"))
    if not len(gaps) or rows[gaps[0] + 1 :].sum() > _FEW_STRAYS * rows.sum():
        return days[:0]
    return days[gaps[0] + 1 :]


def _once(frame: pd.DataFrame, notes: list[str], is_history: bool) -> pd.DataFrame:
    """One row per series and day: rows that say the same count once, other quantities of a day are added up."""
    if frame.empty:
        return frame
    day = frame["date"].to_numpy().astype(_DAY)
    span = int((day.max() - day.min()).astype(int)) + 1
    places = len(frame["location"].cat.categories)
    number = frame["sku"].cat.codes.to_numpy(np.int64) * places + frame["location"].cat.codes.to_numpy()
    series, at = pd.factorize(number)[0], (day - day.min()).astype(int)
    found = np.zeros((int(series.max()) + 1, span), bool)
    found[series, at] = True
    if int(found.sum()) == len(frame):
        return frame
    repeats = frame.duplicated([*_KEY, "date"], keep=False)
    again = frame[repeats]
    exact = again.duplicated()
    again = again[~exact]
    rest = int(again.duplicated([*_KEY, "date"]).sum())
    if is_history:
        how = {name: "first" for name in frame.columns if name not in (*_KEY, "date")} | {"quantity": "sum"}
        again = again.groupby([*_KEY, "date"], as_index=False, sort=False, observed=True).agg(how)
        sku, place, day = frame.loc[repeats, [*_KEY, "date"]].iloc[0]
        same, added = (
            f"{int(exact.sum())} repeated rows were counted once",
            f"{rest} further rows of a day were added to it",
        )
        told = " and ".join(part for part, some in ((same, exact.any()), (added, rest)) if some)
        notes.append(f"{told} (such as {sku} at {place} on {day:%Y-%m-%d})")
    else:
        again = again.drop_duplicates([*_KEY, "date"], keep="last")
    return pd.concat([frame[~repeats], again], ignore_index=True)


def as_text(values: pd.Series) -> pd.Series:
    """Codes as text, so that 7 in a CSV file and "7" in a Parquet file are one product; the sorted texts as categories."""
    if values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    codes, found = pd.factorize(values)
    same, texts = pd.factorize(pd.Index(found).astype(str), sort=True)
    codes = np.where(codes >= 0, same[codes], -1) if len(same) else codes
    return pd.Series(pd.Categorical.from_codes(codes.astype(np.int32), texts), index=values.index)


def _series(history: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The series index of each row and the sorted keys, so that the order of the rows never matters."""
    skus, places = history["sku"].cat, history["location"].cat
    width = max(len(places.categories), 1)
    joint = skus.codes.to_numpy(np.int64) * width + places.codes.to_numpy()
    found, unique = pd.factorize(joint, sort=True)
    keys = pd.DataFrame(
        {"sku": np.asarray(skus.categories)[unique // width], "location": np.asarray(places.categories)[unique % width]}
    )
    return found, keys.astype(object)


def _dense(shape: tuple[int, int], codes: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    dense = np.full(shape, np.nan, np.float32)
    dense[codes, at] = values
    return dense


def _stack(shape, codes, at, history: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    if not names:
        return np.empty((0, *shape), np.float32)
    return np.stack([_dense(shape, codes, at, history[name].to_numpy(np.float64)) for name in names])


def _disproved(sales: np.ndarray, stocked: np.ndarray) -> np.ndarray:
    """Series [N] whose sales contradict their in-stock share: where it is a constant 0, say, nothing could have sold."""
    out = (stocked <= 0) & np.isfinite(sales)
    return (out.sum(1) >= 7) & (2 * (out & (sales > 0)).sum(1) > out.sum(1))


def _beyond(sales: np.ndarray, keys: pd.DataFrame, dates, beyond: np.ndarray, largest: float) -> pd.DataFrame:
    """The series whose few sales cannot be believed, with the reason: sku, location, reason."""
    reasons = []
    for row in np.flatnonzero(beyond):
        highest, days = int(np.nanargmax(sales[row])), int((sales[row] > 0).sum())
        reasons.append(
            f"its sales cannot be believed: {_number(sales[row, highest])} on {dates[highest]}"
            + (f", of {days} days that sold" if days > 1 else ", the only day that sold")
            + f", where no other series usually sells more than {_number(largest)} a day. A typing error or another unit? Correct"
            " the row, or raise spike_factor if it is true"
        )
    return keys[beyond].assign(reason=reasons)


def _number(value: float) -> str:
    """As people write it: 1,000,000,000 or 0.25."""
    return f"{value:,.0f}" if value >= 100 or value % 1 == 0 else f"{value:.3g}"


def _told_spikes(sales, cut, high, keys: pd.DataFrame, dates, factor: float) -> str:
    """A note on the days that were cut, naming the largest."""
    row, day = np.unravel_index(np.argmax(np.where(high, sales, -1)), sales.shape)
    sku, place = keys.iloc[row]
    return (
        f"{how_many(int(high.sum()), 'day')} of {int(high.any(1).sum()):,} series cut to {factor:g} times the usual selling day; the"
        f" largest, {_number(sales[row, day])} of {sku} at {place} on {dates[day]}, to {_number(cut[row, day])}. If that is true, raise"
        " spike_factor"
    )


def read_future(future, columns: Columns, horizon: int, last="the history") -> tuple[pd.DataFrame, list[str]]:
    """The usable rows of the future table, and notes. Raises `ForecastError` for one that is not there or cannot be used."""
    if future is None:
        raise ForecastError(
            f"The known-future columns {', '.join(columns.known_future)} need a future table with sku, location, date"
            f" and these columns for the {how_many(horizon, 'day')} after {last}."
        )
    return _clean(future, columns, None)[:2]


def fill_future(known: np.ndarray, future: pd.DataFrame, keys: pd.DataFrame, last, columns: Columns) -> list[str]:
    """Write the known-future covariates of the days after `last` into `known` [K, N, H]; say what is missing and leave it NaN."""
    index, horizon = _position(keys, future), known.shape[2]
    at = (future["date"].to_numpy().astype(_DAY) - last).astype(int) - 1
    use = (index >= 0) & (at >= 0) & (at < horizon)
    filled = np.zeros((len(keys), horizon), bool)
    filled[index[use], at[use]] = True
    for number, name in enumerate(columns.known_future):
        known[number, index[use], at[use]] = future[name].to_numpy(np.float32)[use]
    if not len(keys):
        return []
    notes = []
    if not filled.any():
        return [
            f"no row of the future table is of a day from {last + 1} to {last + horizon} and a series of the history; what it"
            " should tell counts as not known"
        ]
    if lacking := int((~filled).sum()):
        row, day = np.argwhere(~filled)[0]
        notes.append(
            f"the future table lacks {lacking} of {filled.size} series-days, such as {keys['sku'].iloc[row]} at"
            f" {keys['location'].iloc[row]} on {last + 1 + day}; their covariates count as not known"
        )
    empty = [name for name, told in zip(columns.known_future, known, strict=True) if np.isnan(told).all()]
    if empty:
        notes.append(f"the future table says nothing of {', '.join(empty)}, which counts as not known")
    return notes


def _position(keys: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """The row of `keys` that each of `rows` belongs to, -1 where there is none."""
    skus, places = pd.Index(keys["sku"].unique()), pd.Index(keys["location"].unique())
    width = len(places) + 1
    known = skus.get_indexer(keys["sku"]).astype(np.int64) * width + places.get_indexer(keys["location"])
    sku, place = (
        at.get_indexer(rows[name].cat.categories)[rows[name].cat.codes]
        for name, at in (("sku", skus), ("location", places))
    )
    joint = np.where((sku >= 0) & (place >= 0), sku.astype(np.int64) * width + place, -1)
    return pd.Index(known).get_indexer(joint)


def _static(history, codes, count, names, categories) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Codes [S, N] of the last value of each static column; values not seen in training become -1."""
    static = np.full((len(names), count), -1, np.float32)
    found: dict[str, list[str]] = {}
    day = history["date"].to_numpy().astype(np.int64)
    for number, name in enumerate(names):
        texts = history[name].cat
        found[name] = list(categories[name] if categories is not None else texts.categories)
        coded = (
            pd.Index(found[name], dtype=object).get_indexer(texts.categories)
            if found[name]
            else np.full(len(texts.categories), -1)
        )
        stated = np.flatnonzero(texts.codes.to_numpy() >= 0)
        newest = np.full(count, np.iinfo(np.int64).min)
        np.maximum.at(newest, codes[stated], day[stated])
        last = stated[day[stated] == newest[codes[stated]]]
        static[number, codes[last]] = coded[texts.codes.to_numpy()[last]]
    return static, found
