"""Series with few days or none: their rows in the forecast, and what they are calibrated on.

Belongs here: who is a newcomer, what a newcomers table must hold, established series that are taken for new to learn from,
and the forecast of products without a day. Does not belong here: the statistics of likeness (`ml.forecast.launch`).

A history seldom holds enough launches to learn from how far such a forecast errs, so established series are taken for new
at each held-out origin: only their last 0 to 21 days are shown to the models, half of those without a day as if their
product were sold nowhere else. What these rows teach is the blend and the spread of the demand class `short`, and the
spread of products without a day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.demand import Demand, recover_demand
from ml.forecast import distribution, heldout, segments
from ml.forecast.config import QUANTILE_COLUMNS
from ml.forecast.distribution import Spread
from ml.forecast.errors import ForecastError
from ml.forecast.heldout import BLEND, LEARNED, HeldOut, Lessons
from ml.forecast.launch import LAUNCH, Similar
from ml.forecast.panel import Panel, as_text, fill_future
from ml.forecast.reading import read_dates
from ml.forecast.segments import SHORT
from ml.wording import how_many

COLUMNS = ["sku", "location", "first_day", "similar", "alike"]
"""Of the list of newcomers: how many `similar` series each was judged by, and what those share with it (`sku`, a static
column, `location`; empty: nothing but the history)."""
_SHOWN = (0, 0, 1, 3, 7, 14, 21)
_SERIES, _OTHERS = 1_000, 2_000
_DAY = np.dtype("datetime64[D]")


# -- Uncertainty -------------------------------------------------------------------------------------------------------


def widened(squared: np.ndarray, mean: np.ndarray, spread: Spread, own: np.ndarray | float = 1.0) -> np.ndarray:
    """Factor on the variance that `spread` gives to a day with this `mean` whose own squared coefficient of variation is
    `squared`, all of the same form: the posterior variance of the level is added to the spread of the day, which is `own`
    times the usual one for this series."""
    # Squares of a mean and its variance over their common factor, the mean, which may be 0.
    return own + squared * mean / (spread.unit + mean / spread.shape)


def judges_short(lessons: Lessons, names: tuple[str, ...]) -> bool:
    """Whether similar products count in the blend of series that are short."""
    return bool(lessons.weights[SHORT, :, names.index(LAUNCH)].any())


def shared(squared: np.ndarray, mean: np.ndarray, spread: Spread) -> np.ndarray:
    """The part of a day's variance that comes from the level, which all days share: what `sample_paths` lets them share."""
    return 1 - 1 / widened(squared, mean, spread)


# -- Learning ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pretended:
    """Held-out rows of series taken for new at an `origin`: with `some` days (all models) and with none (`LAUNCH` alone)."""

    origin: int
    some: HeldOut
    none: HeldOut


def pretend(
    before: Panel,
    similar: Similar,
    simple: Callable[[Panel, Demand, np.ndarray], tuple[np.ndarray, np.ndarray]],
    dispersion: tuple[float, float],
    names: tuple[str, ...],
    seen: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    base: Spread,
    seed: int,
) -> Pretended:
    """Series of the panel `before` an origin as if they were new, beside what they then sold.

    `simple(panel, demand, told)` gives the means [M, n, H] of the models that need no training and of similar products, which
    say `told` [n, H], and the series' own variance ratios [n]; `seen` are sales, what was asked for, drawn demand and share
    [N, H] of the days after.
    """
    sales, asked, drawn, share = seen
    ahead = sales.shape[1]
    able = np.flatnonzero(similar.heard & (similar.exposure.sum(1) >= 7) & np.isfinite(sales).any(1))
    rng = np.random.default_rng([seed, before.days])
    rows = np.sort(rng.permutation(able)[:_SERIES])
    shown = rng.choice(_SHOWN, len(rows))
    alone = (shown == 0) & (rng.random(len(rows)) < 0.5)
    told, squared = similar.forecast(rows, ahead, shown, alone)
    # As a new product, they are forecast among series with a history, from which the models learn what all have in common.
    others = np.sort(rng.permutation(len(before.keys))[:_OTHERS])
    panel, new = before.select(np.concatenate([others, rows])), slice(len(others), None)
    hidden = np.arange(before.days) < before.days - shown[:, None]
    panel.sales[new][hidden] = np.nan
    demand = recover_demand(panel.sales, panel.share, dispersion)
    every, own = simple(panel, demand, np.pad(told, ((len(others), 0), (0, 0))))
    every, own = every[:, new], own[new]
    factor = widened(squared, told, base, own[:, None])
    size = distribution.selling_day(demand.expected[new])
    whole = np.where(shown > 0, panel.whole[new], _whole_without_a_day(before))
    parts = []
    for chosen in (shown > 0, shown == 0):
        at, lead = np.nonzero(chosen[:, None] & np.isfinite(sales[rows]))
        whose = rows[at]
        parts.append(
            HeldOut(
                every[:, at, lead], sales[whose, lead], asked[whose, lead], drawn[whose, lead], share[whose, lead],
                np.full(len(at), before.days), whose, lead, np.full(len(at), SHORT),
                segments.horizon_week(ahead)[lead], whole[at], factor[at, lead], size[at],
            )
        )  # fmt: skip
    only = names.index(LAUNCH)
    return Pretended(before.days, parts[0], replace(parts[1], means=parts[1].means[only : only + 1]))


def _whole_without_a_day(panel: Panel) -> bool:
    """Whether a product without a day is taken to sell whole units: as most series of the `panel` do."""
    return bool(panel.whole.mean() > 0.5)


def learn(held: HeldOut, pretended: list[Pretended], names: tuple[str, ...], seed: int) -> Lessons:
    """What `held` teaches; of the class `short`, what its rows and series taken for new at the same origins do."""
    lessons = heldout.learn(held, names, seed)
    origins = np.unique(held.origin)
    alike = [part.some for part in pretended if part.origin in origins]
    some = _joined([*alike, held.take(held.kind == SHORT)])
    if not some.rows:
        return lessons
    # The same correction as everywhere else, launch's own excepted, which no other class uses.
    only = names.index(LAUNCH)
    lessons.correction[only] = heldout.learn_correction(some, only, LAUNCH)
    of_short = heldout.learn(some, names, seed, lessons.correction)
    lessons.weights[SHORT] = of_short.weights[SHORT]
    # Learned models say nothing of series taken for new.
    told = np.flatnonzero([*(name not in LEARNED for name in names), True])
    for name in ("units", "shapes", "levels", "edges", "chances"):
        getattr(lessons, name)[told, SHORT] = getattr(of_short, name)[told, SHORT]
    return lessons


def learn_without_a_day(pretended: list[Pretended], sales: np.ndarray, seed: int) -> Lessons:
    """The lessons of products without a day, of `LAUNCH` alone; `sales` [N, T] of all series tell the unit where there are none."""
    none = _joined([part.none for part in pretended])
    if none.rows:
        return heldout.learn(none, (LAUNCH,), seed)
    return heldout.default_lessons((LAUNCH,), heldout.wide_spread(sales))


def _joined(parts: list[HeldOut]) -> HeldOut:
    names = list(HeldOut.__dataclass_fields__)
    return HeldOut(
        np.concatenate([part.means for part in parts], axis=1),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in names[1:]),
    )


# -- Forecasting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Newcomers:
    """Products without a day of history: `keys` frame [n] of sku and location, `static` codes [S, n], `first_day` [n]."""

    keys: pd.DataFrame
    static: np.ndarray
    first_day: np.ndarray

    def select(self, rows: np.ndarray) -> Newcomers:
        """Only those of a mask."""
        return Newcomers(self.keys[rows].reset_index(drop=True), self.static[:, rows], self.first_day[rows])


def with_days(frame: pd.DataFrame) -> pd.DataFrame:
    """The newcomers table with `first_day`, if given, as days. Raises `ForecastError` for one without sku and location or with
    a day that is none."""
    lacking = [name for name in ("sku", "location") if name not in frame.columns]
    if lacking:
        raise ForecastError(
            f"The newcomers lack the column {lacking[0]}; they have {', '.join(map(str, frame.columns)) or 'none'}."
        )
    return frame.assign(first_day=read_dates(frame, "newcomers", "first_day")) if "first_day" in frame else frame


def read_newcomers(frame: pd.DataFrame, panel: Panel) -> tuple[Newcomers, list[str]]:
    """The newcomers table (sku, location and, if given, the static columns and first_day) against the history's panel.

    A static value that is not given is taken from the same product or the same location where they have one only; one that
    the history does not have is not known. Returns the newcomers and notes on what was left out or not understood. Raises `ForecastError` for a table that cannot be used.
    """
    frame = with_days(frame)
    notes = [] if len(frame) else ["the newcomers table has no rows"]
    empty = frame[["sku", "location"]].isna().any(axis=1)
    if empty.any():
        notes.append(
            how_many(
                int(empty.sum()),
                "newcomer without sku or location is left out",
                "newcomers without sku or location are left out",
            )
        )
    frame = frame[~empty].reset_index(drop=True)
    keys = pd.DataFrame({name: as_text(frame[name]).astype(object) for name in ("sku", "location")})
    for name in panel.whole_keys:
        if not keys[name].astype(str).str.fullmatch(r"-?\d+").all():
            raise ForecastError(f"The newcomers' {name} must be whole numbers, as they are in the history.")
    known = pd.MultiIndex.from_frame(panel.keys)
    old = pd.MultiIndex.from_frame(keys).isin(known) if len(keys) else np.zeros(0, bool)
    if old.any():
        some = how_many(
            int(old.sum()),
            "newcomer has a history and is forecast from it",
            "newcomers have a history and are forecast from it",
        )
        notes.append(f"{some}: {_named(keys[old])}")
    again = keys.duplicated().to_numpy() & ~old
    if again.any():
        notes.append(
            f"{how_many(int(again.sum()), 'row of the newcomers table names', 'rows of the newcomers table name')} a product and location"
            f" that a row before names, whose word counts: {_named(keys[again])}"
        )
    keep = ~old & ~again
    frame, keys = frame[keep].reset_index(drop=True), keys[keep].reset_index(drop=True).astype(object)
    next_day = panel.dates[panel.days - 1] + 1
    first_day = np.full(len(keys), next_day, _DAY)
    if "first_day" in frame:
        given = frame["first_day"]
        first_day = np.where(given.isna(), first_day, given.to_numpy().astype(_DAY))
    order = np.lexsort((keys["location"], keys["sku"])) if len(keys) else np.zeros(0, int)
    keys, first_day = keys.iloc[order].reset_index(drop=True), first_day[order]
    static = np.full((len(panel.columns.static), len(keys)), -1)
    for number, name in enumerate(panel.columns.static):
        given = np.zeros(len(keys), bool)
        if name in frame:
            values = frame[name].iloc[order]
            given = values.notna().to_numpy()
            known = pd.Index(panel.categories[name], dtype=object)
            static[number] = np.where(given, known.get_indexer(as_text(values).to_numpy(object)), -1)
            unseen = int((given & (static[number] < 0)).sum())
            if unseen:
                notes.append(
                    f"{how_many(unseen, 'newcomer has', 'newcomers have')} a {name} that nothing in the history has; it counts as not known"
                )
        for key in ("sku", "location"):
            missing = ~given & (static[number] < 0)
            static[number] = np.where(missing, _of_the_same(panel, number, key, keys[key]), static[number])
    return Newcomers(keys, static, first_day), notes


def _named(keys: pd.DataFrame, most: int = 3) -> str:
    """The first few of `keys` (sku, location) in words."""
    keys = keys.drop_duplicates()
    told = ", ".join(f"{sku} at {place}" for sku, place in keys.head(most).itertuples(index=False))
    return told + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _of_the_same(panel: Panel, number: int, key: str, wanted: pd.Series) -> np.ndarray:
    """The static code that all series with the same `key` share; -1 where they do not or there is none."""
    codes = pd.Series(panel.static[number].astype(int)).groupby(panel.keys[key].to_numpy())
    same = codes.min().where(codes.min() == codes.max(), -1)
    return same.reindex(wanted.to_numpy(), fill_value=-1).to_numpy()


@dataclass(frozen=True)
class Outlook:
    """What is expected of n newcomers over H days: `mean` [n, H] (0 before their first day), the squared coefficient of
    variation of it, `squared` [n, H], `level` [n] before season and launch `curve` [n, H], group `codes` [G, n], and what is known of
    the days ahead, `responses` [K, n, H], as factors."""

    mean: np.ndarray
    squared: np.ndarray
    level: np.ndarray
    curve: np.ndarray
    codes: np.ndarray
    responses: np.ndarray


def outlook(similar: Similar, newcomers: Newcomers, lessons: Lessons, horizon: int) -> Outlook:
    """What similar products say of `newcomers`, corrected by what was held out."""
    panel = similar.panel
    codes = similar.codes_of(newcomers.keys, newcomers.static)
    ahead = panel.dates[panel.days - 1] + 1 + np.arange(horizon)
    age = (ahead[None, :] - newcomers.first_day[:, None]).astype(int)
    known = _known_ahead(panel, newcomers.keys, horizon)
    mean, squared, level = similar.forecast_new(codes, newcomers.static, age, known)
    correction = np.float32(lessons.correction[0])
    curve = similar.curve.at(age, newcomers.static)
    responses = similar.responses.at(known)
    return Outlook(np.where(age >= 0, mean * correction, 0), squared, level * correction, curve, codes, responses)


def _known_ahead(panel: Panel, keys: pd.DataFrame, horizon: int) -> np.ndarray:
    """The known-future columns [K, n, H] of newcomers: as their own rows of the future table say, else as all series of the
    place do, else as all series do; NaN where none tells."""
    known = np.full((len(panel.columns.known_future), len(keys), horizon), np.nan, np.float32)
    if panel.future is None:
        return known
    fill_future(known, panel.future, keys, panel.dates[panel.days - 1], panel.columns)
    ahead = panel.known[:, :, panel.days : panel.days + horizon]
    places = pd.Index(panel.keys["location"].unique())
    by_place = [places.get_indexer(table["location"]) for table in (panel.keys, keys)]
    as_one = [np.zeros(len(table), int) for table in (panel.keys, keys)]
    for own, column in zip(known, ahead, strict=True):
        for of_series, of_newcomers in (by_place, as_one):
            told = np.where((of_newcomers >= 0)[:, None], _agreed(column, of_series)[of_newcomers], np.nan)
            own[:] = np.where(np.isnan(own), told, own)
    return known


def _agreed(column: np.ndarray, group: np.ndarray) -> np.ndarray:
    """What all series of a group share on a day, [groups, H], of a known-future `column` [N, H] with each series' `group` [N];
    NaN where nothing is known, and everywhere for a column in which those of any group ever differ, such as a discount."""
    days = pd.DataFrame(column).groupby(group)
    low, high = days.min().to_numpy(), days.max().to_numpy()
    # Of one series nobody can say whether its day is the group's.
    several = (np.bincount(group) > 1)[:, None]
    return np.where(several & ~(several & (low < high)).any(), low, np.nan)


def forecast_newcomers(
    similar: Similar, newcomers: Newcomers, lessons: Lessons, base: Spread, horizon: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The forecast rows of products without a day, of model `blend`, and the list of them (`COLUMNS`).

    Days before `first_day` are 0. Empty where the history has nothing that they could be judged by.
    """
    panel, count = similar.panel, len(newcomers.keys)
    told = outlook(similar, newcomers, lessons, horizon)
    mean, squared = told.mean, told.squared
    ahead = panel.dates[panel.days - 1] + 1 + np.arange(horizon)
    factor = widened(squared, mean, base)
    week, kind = np.tile(segments.horizon_week(horizon), count), np.full(count * horizon, SHORT)
    whole = np.full(count * horizon, _whole_without_a_day(panel))
    values = heldout.quantiles_of(
        lessons, 0, mean.ravel(), kind, week, factor.ravel(), whole, np.full(mean.size, np.nan), baseline=-1
    )
    similar_ones, alike = similar.judged_by(told.codes)
    keys = newcomers.keys.astype(dict.fromkeys(panel.whole_keys, "int64"))
    frame = pd.DataFrame(
        {
            "sku": np.repeat(keys["sku"].to_numpy(), horizon),
            "location": np.repeat(keys["location"].to_numpy(), horizon),
            "date": np.tile(ahead.astype("datetime64[ns]"), count),
            "model": BLEND,
            "mean": mean.ravel().astype(np.float32),
            **{name: values[:, position] for position, name in enumerate(QUANTILE_COLUMNS)},
            "similar": np.repeat(similar_ones, horizon).astype(np.int32),
            "shared": shared(squared, mean, base).ravel().astype(np.float32),
            "whole": whole,
        }
    )
    told = keys.assign(first_day=newcomers.first_day.astype("datetime64[ns]"), similar=similar_ones, alike=alike)
    return frame, told[COLUMNS]


def append(
    frame: pd.DataFrame,
    withheld: pd.DataFrame,
    panel: Panel,
    similar: Similar | None,
    table: pd.DataFrame,
    lessons: Lessons,
    base: Spread,
    horizon: int,
    written: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """The forecast `frame` with the rows of the newcomers in `table`, what is `withheld`, the list of newcomers, and notes.

    A product that is withheld for what its own rows say, and that the table names, comes back: it is a newcomer alone.
    `similar` is None where the `panel` has no series that they could be judged by.
    """
    new, notes = read_newcomers(table, panel)
    none = pd.DataFrame(columns=COLUMNS)
    if not len(new.keys):
        return frame, withheld, none, notes
    keys = new.keys.astype(dict.fromkeys(panel.whole_keys, "int64"))
    back = pd.MultiIndex.from_frame(withheld[["sku", "location"]]).isin(pd.MultiIndex.from_frame(keys))
    if similar is None or not similar.heard.any():
        reason = "a new product, and no series of the history has been in stock that it could be judged by"
        withheld = pd.concat([withheld[~back], keys.assign(reason=reason)], ignore_index=True)
        return frame, withheld, none, notes
    if back.any():
        first = withheld[back].iloc[0]
        notes.append(
            f"{how_many(int(back.sum()), 'newcomer with rows', 'newcomers with rows')} in the history that nothing is forecast from, taken for"
            f" new and judged by similar products: {_named(withheld.loc[back, ['sku', 'location']])} ({first['sku']}: {first['reason']})"
        )
    rows, told = forecast_newcomers(similar, new, lessons, base, horizon)
    if written:
        order = ["sku", "location", "date"]
        blend, rest = frame[frame["model"] == BLEND], frame[frame["model"] != BLEND]
        blend = pd.concat([blend, rows], ignore_index=True).sort_values(order, kind="stable")
        frame = pd.concat([blend, rest], ignore_index=True)
    return frame, withheld[~back].reset_index(drop=True), told, [*notes, note(told)]


def judged(similar: int, alike: str) -> str:
    """In words what a new product was judged by: how many `similar` series, and what makes them `alike`."""
    words = {"sku": "of the same product elsewhere", "location": "at its location", "": "of all kinds"}
    return f"{similar:,} series {words.get(alike, f'of its {alike}')}"


def note(told: pd.DataFrame) -> str:
    """One sentence on newcomers (rows of `COLUMNS`)."""
    alone = int((told["alike"] != "sku").sum())
    return (
        f"{how_many(len(told), 'new product')} without a day of history judged by similar ones, {alone:,} of them by others than the same"
        " product elsewhere, with wide intervals"
    )
