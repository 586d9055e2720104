"""Public holidays, weekends that are worked, and the lunar new year, as features of a day known as far ahead as wanted.

Belongs here: what the calendar of a country says of a day, and where it does not know. Does not belong here: which places
are in which country, and when a single shop opens.

China's holidays come from `chinesecalendar`, which has the days that the State Council announces each autumn for the year
after: the whole stretch that is off, and the weekends worked for it. Years it does not know, and all other countries, come
from `holidays`; `Calendar.notes` says where that leaves something unknown.

The lunar new year is the second new moon after the winter solstice (the third where a leap month lies between), by
Beijing's time. Korea and Vietnam reckon by their own meridians and begin a day apart once or twice in a generation.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd

from ml.forecast.errors import ForecastError
from ml.forecast.reading import read_dates

HOLIDAY_COLUMNS = ("holiday", "makeup_day", "holiday_ahead", "holiday_behind")
NEW_YEAR_COLUMNS = ("new_year_ahead", "new_year_behind")

CELEBRATES_NEW_YEAR = frozenset({"CN", "HK", "MO", "TW", "SG", "MY", "VN", "KR", "ID", "BN"})
"""Countries where shops feel the lunar new year; it is a public holiday in all of them."""

HOLIDAY_AHEAD, HOLIDAY_BEHIND = 7, 3
NEW_YEAR_AHEAD, NEW_YEAR_BEHIND = 21, 15
"""Days before and after that still feel it: a week's shopping before a holiday and what is left over after it; the three
weeks of buying gifts and going home before the lunar new year, and up to the lantern festival after it."""

_NEW_YEAR_FIRST = 1990
# Days from 20 January to the new year's day of 1990 and the years after it.
_NEW_YEAR_DAYS = (
    7, 26, 15, 3, 21, 11, 30, 18, 8, 27, 16, 4, 23, 12, 2, 20, 9, 29, 18, 6, 25, 14, 3, 21, 11, 30, 19, 8, 27, 16, 5, 23,
    12, 2, 21, 9, 28, 17, 6, 24, 14, 3, 22, 11, 30, 19, 8, 26, 15, 4, 23, 12, 2, 21, 10, 28, 17, 6, 25, 13, 3, 22, 12, 30,
    19, 8, 26, 15, 4, 23, 13, 1, 20, 9, 28, 16, 6, 25, 14, 3, 22, 11, 30, 18, 7, 26, 16, 4, 23, 13, 2, 20, 9, 28, 17, 6,
    25, 14, 4, 21, 10, 29, 18, 7, 26, 16, 5, 23, 12, 1, 20,
)  # fmt: skip


def lunar_new_year(year: int) -> dt.date | None:
    """The first day of the Chinese year that begins in `year`; None outside 1990 to 2100.

    >>> lunar_new_year(2024).isoformat()
    '2024-02-10'
    """
    at = year - _NEW_YEAR_FIRST
    if not 0 <= at < len(_NEW_YEAR_DAYS):
        return None
    return dt.date(year, 1, 20) + dt.timedelta(days=_NEW_YEAR_DAYS[at])


@dataclass(frozen=True)
class Calendar:
    """Of one country and some years. `holidays`: name by day off. `makeup_days`: days of a weekend that are worked, as
    announced for a holiday near by. `notes`: a sentence for what is not known of these years."""

    country: str
    holidays: dict[dt.date, str] = field(default_factory=dict)
    makeup_days: frozenset[dt.date] = frozenset()
    notes: tuple[str, ...] = ()


@cache
def known_countries() -> frozenset[str]:
    """The countries that have a calendar, two letters each."""
    import holidays

    return frozenset(code for code in holidays.list_supported_countries() if len(code) == 2)


def calendar_of(country: str, first_year: int, last_year: int) -> Calendar:
    """The calendar of `country` for the years from `first_year` to `last_year`. Raises `ForecastError` for a country that
    is not among `known_countries`."""
    if country not in known_countries():
        raise ForecastError(f"There is no calendar of the country {country!r}; give two letters such as CN or DE.")
    import holidays

    found = holidays.country_holidays(country, years=range(first_year, last_year + 1), language="en_US")
    off = {day: name for day, name in sorted(found.items()) if first_year <= day.year <= last_year}
    makeup = {day for day in found.weekend_workdays if first_year <= day.year <= last_year}
    if country != "CN":
        return Calendar(country, off, frozenset(makeup))
    unknown = []
    for year in range(first_year, last_year + 1):
        announced = _announced_in_china(year)
        if announced is None:
            unknown.append(year)
            continue
        off = {day: name for day, name in off.items() if day.year != year} | announced[0]
        makeup = {day for day in makeup if day.year != year} | announced[1]
    return Calendar(country, dict(sorted(off.items())), frozenset(makeup), _not_announced(unknown))


def _announced_in_china(year: int) -> tuple[dict[dt.date, str], set[dt.date]] | None:
    """Days off by name and weekends worked, None for a year that chinesecalendar does not know."""
    import chinese_calendar

    first, last = dt.date(year, 1, 1), dt.date(year, 12, 31)
    try:
        days = chinese_calendar.get_holidays(first, last, include_weekends=False)
        worked = chinese_calendar.get_workdays(first, last)
    except NotImplementedError:
        return None
    return (
        {day: chinese_calendar.get_holiday_detail(day)[1] or "Holiday" for day in days},
        {day for day in worked if day.weekday() >= 5},
    )


def _not_announced(years: list[int]) -> tuple[str, ...]:
    if not years:
        return ()
    which = str(years[0]) if len(years) == 1 else f"{years[0]} to {years[-1]}"
    return (
        f"chinesecalendar does not know China's days off and working weekends of {which}: only the holidays by law are"
        " counted (upgrade chinesecalendar once the State Council has announced them)",
    )


def day_features(countries: Iterable[str], days: Iterable[dt.date], *, new_year: bool | None = None) -> pd.DataFrame:
    """What the calendar says of each of `days`, which must be sorted: a frame of `date`, HOLIDAY_COLUMNS and
    NEW_YEAR_COLUMNS, with the notes in `attrs["notes"]`.

    A day is a holiday where any of `countries` has one. `holiday_ahead` and `new_year_ahead` rise from 0 to 1 on the day
    before, `..._behind` fall from 1 on the day after to 0; on the day itself all are 0. The lunar new year counts where a
    country celebrates it, or as `new_year` says; where it does not, its columns are 0.
    """
    countries = sorted(set(countries))
    days = np.array(list(days), "datetime64[D]")
    columns = dict.fromkeys((*HOLIDAY_COLUMNS, *NEW_YEAR_COLUMNS), np.zeros(len(days), np.float32))
    notes: list[str] = []
    if len(days):
        first, last = days[0].item() - dt.timedelta(HOLIDAY_BEHIND), days[-1].item() + dt.timedelta(HOLIDAY_AHEAD)
        calendars = [calendar_of(country, first.year, last.year) for country in countries]
        notes = [note for calendar in calendars for note in calendar.notes]
        off = {day for calendar in calendars for day in calendar.holidays}
        makeup = {day for calendar in calendars for day in calendar.makeup_days}
        columns["holiday"] = _is_in(days, off)
        columns["makeup_day"] = _is_in(days, makeup - off)
        columns["holiday_ahead"], columns["holiday_behind"] = _nearness(days, off, HOLIDAY_AHEAD, HOLIDAY_BEHIND)
        if new_year if new_year is not None else not CELEBRATES_NEW_YEAR.isdisjoint(countries):
            begins = {lunar_new_year(year) for year in range(first.year - 1, last.year + 2)} - {None}
            columns["new_year_ahead"], columns["new_year_behind"] = _nearness(
                days, begins, NEW_YEAR_AHEAD, NEW_YEAR_BEHIND
            )
    frame = pd.DataFrame({"date": days.astype("datetime64[ns]"), **columns})
    frame.attrs["notes"] = notes
    return frame


@dataclass(frozen=True)
class WithCalendar:
    """`history` and `future` with the columns `names`, which are known ahead; `notes` as those of `Calendar`."""

    history: pd.DataFrame
    future: pd.DataFrame
    names: tuple[str, ...]
    notes: tuple[str, ...]


def add_calendar(
    history: pd.DataFrame, future: pd.DataFrame | None, horizon: int, countries: Iterable[str]
) -> WithCalendar:
    """`history` and `future` (made where there is none) with what the calendar of `countries` says of their days.

    Columns that are the same on every day of the history, such as weekends worked where there are none, are left out.
    Raises `ForecastError` for an unknown country and where a column of that name is there already.
    """
    frames = [
        _with_days(frame, what) for frame, what in ((history, "history"), (future, "future")) if frame is not None
    ]
    last = frames[0]["date"].max()
    if len(frames) == 1:
        ahead = pd.DataFrame({"date": pd.date_range(last + pd.Timedelta(days=1), periods=horizon)})
        frames.append(frames[0][["sku", "location"]].drop_duplicates().merge(ahead, how="cross"))
    told = day_features(countries, pd.date_range(frames[0]["date"].min(), last + pd.Timedelta(days=horizon)).date)
    notes = tuple(told.attrs["notes"])
    told = told.set_index("date")
    past = told[told.index <= last]
    names = tuple(name for name in told if past[name].nunique() > 1)
    for frame in frames:
        for name in names:
            frame[name] = frame["date"].dt.normalize().map(told[name])
    return WithCalendar(*frames, names, notes)


def _with_days(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """`frame` with its dates read; a new frame."""
    missing = [name for name in ("sku", "location", "date") if name not in frame]
    if missing:
        raise ForecastError(f"The {what} lacks the column {missing[0]}; it has {', '.join(map(str, frame.columns))}.")
    there = [name for name in (*HOLIDAY_COLUMNS, *NEW_YEAR_COLUMNS) if name in frame]
    if there:
        raise ForecastError(
            f"The {what} has a column {there[0]} already; name it among the known-future columns or ask for the calendar,"
            " not both."
        )
    dates = read_dates(frame, what)
    if not dates.notna().any():
        raise ForecastError(f"The {what} has no row with a date.")
    return frame.assign(date=dates)


def _is_in(days: np.ndarray, wanted: set[dt.date]) -> np.ndarray:
    return np.isin(days, np.array(sorted(wanted), "datetime64[D]")).astype(np.float32)


def _nearness(days: np.ndarray, events: set[dt.date], ahead: int, behind: int) -> tuple[np.ndarray, np.ndarray]:
    """How near the next event and the last one are, 1 the day before and the day after, 0 beyond `ahead` and `behind`."""
    if not events:
        return np.zeros(len(days), np.float32), np.zeros(len(days), np.float32)
    at = np.array(sorted(events), "datetime64[D]")
    following = np.searchsorted(at, days)  # the first event on or after the day
    far = np.timedelta64(10_000, "D")
    to_next = np.where(following < len(at), at[np.minimum(following, len(at) - 1)] - days, far).astype(int)
    since = np.where(following > 0, days - at[np.maximum(following - 1, 0)], far).astype(int)
    near = [
        np.where(to_next == 0, 0, np.clip(1 - (gap - 1) / reach, 0, 1))
        for gap, reach in ((to_next, ahead), (since, behind))
    ]
    return near[0].astype(np.float32), near[1].astype(np.float32)
