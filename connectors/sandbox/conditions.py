"""What the generated shop cannot choose: weather, holidays, exchange rates; and what it announces: promotions.

Every value of a day comes from streams of random numbers of that day (or month), so any day can be asked for on its
own and a longer run never changes an earlier day.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

from connectors.sandbox.catalogue import KIT, Catalogue, Place, date_of, day_number

FORECAST_DAYS = 10
MEMORY = 10

WEATHER, PROMOTION, CURRENCY = 11, 12, 13

CHINESE_NEW_YEAR = {
    2023: (1, 22), 2024: (2, 10), 2025: (1, 29), 2026: (2, 17), 2027: (2, 6), 2028: (1, 26), 2029: (2, 13),
    2030: (2, 3), 2031: (1, 23), 2032: (2, 11), 2033: (1, 31), 2034: (2, 19), 2035: (2, 8),
}  # fmt: skip


def stream(seed: int, purpose: int, day: int) -> np.random.Generator:
    """Random numbers that belong to one purpose on one day."""
    return np.random.default_rng([seed, purpose, day])


@cache
def new_year_offset(day: int) -> int:
    """Days since the nearest Chinese New Year's Day; negative before it. 999 outside the years that are known."""
    date = date_of(day)
    known = [
        (date - dt.date(year, *CHINESE_NEW_YEAR[year])).days
        for year in (date.year - 1, date.year, date.year + 1)
        if year in CHINESE_NEW_YEAR
    ]
    return min(known, key=abs, default=999)


@cache
def _public_holidays(country: str, year: int) -> frozenset[dt.date]:
    import holidays

    return frozenset(holidays.country_holidays(country, years=year))


@cache
def is_open(place: Place, day: int) -> bool:
    """Whether customers can buy there on a business day. The web shop never closes; the warehouse only sends goods."""
    if place.kind != "store":
        return True
    date = date_of(day)
    if date.isoweekday() in place.closed or 0 <= new_year_offset(day) <= 2:
        return False
    if place.country == "PT":
        return (date.month, date.day) not in {(12, 25), (1, 1)}
    return date not in _public_holidays(place.country, date.year)


@cache
def opening_hours(place: Place, day: int) -> tuple[int, int]:
    """When a business day opens and closes, in microseconds since 1970 UTC."""
    return local_instant(place, day, place.opens), local_instant(place, day, place.closes)


@cache
def local_instant(place: Place, day: int, minutes: int) -> int:
    """Microseconds since 1970 UTC of a time on a place's own clock, as minutes after midnight of a day."""
    # Arithmetic on an aware datetime moves the wall clock, which is what is meant here, also when clocks change.
    local = dt.datetime.combine(date_of(day), dt.time(), ZoneInfo(place.timezone)) + dt.timedelta(minutes=minutes)
    return int(local.timestamp()) * 1_000_000


# -- Weather -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weather:
    """(locations,) each: degrees Celsius, millimetres, per cent, metres a second."""

    temperature: np.ndarray
    rain: np.ndarray
    humidity: np.ndarray
    wind: np.ndarray


class Skies:
    """Weather that happened and weather as it was forecast."""

    def __init__(self, seed: int, places: tuple[Place, ...]):
        self._seed = seed
        self._places = places
        self._drawn: dict[int, np.ndarray] = {}
        self._cached: dict[int, Weather] = {}

    def _shocks(self, day: int) -> np.ndarray:
        if day not in self._drawn:
            self._drawn[day] = stream(self._seed, WEATHER, day).normal(size=(4, len(self._places)))
        return self._drawn[day]

    def actual(self, day: int) -> Weather:
        if day not in self._cached:
            # A moving average of daily shocks: warm and wet spells without a state to carry along.
            recent = sum(0.7**lag * self._shocks(day - lag) for lag in range(MEMORY))
            year_part = 2 * np.pi * (date_of(day).timetuple().tm_yday - 200) / 365.25
            mild = np.array([4.0 if place.country == "PT" else 0.0 for place in self._places])
            wet = recent[1] + 0.6 * self._shocks(day)[2]
            self._cached[day] = Weather(
                temperature=np.round(11 + mild + (9 - mild / 2) * np.cos(year_part) + 2.4 * recent[0], 1),
                rain=np.round(np.maximum(wet - 0.4, 0) * 4, 1),
                humidity=np.round(np.clip(68 + 8 * wet, 25, 100), 0),
                wind=np.round(np.abs(3 + 1.5 * self._shocks(day)[3]), 1),
            )
        return self._cached[day]

    def forecast(self, issued: int, ahead: int) -> Weather:
        """Issued on the evening of `issued` for the day `ahead` days later; its error grows with `ahead`."""
        truth = self.actual(issued + ahead)
        error = stream(self._seed, WEATHER, issued * 100 + ahead + 10_000_000).normal(size=(4, len(self._places)))
        return Weather(
            temperature=np.round(truth.temperature + 0.35 * ahead * error[0], 1),
            rain=np.round(np.maximum(truth.rain + 0.4 * ahead * error[1], 0), 1),
            humidity=np.round(np.clip(truth.humidity + ahead * error[2], 25, 100), 0),
            wind=np.round(np.abs(truth.wind + 0.2 * ahead * error[3]), 1),
        )


# -- Promotions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promo:
    """`location` is -1 for everywhere. The discount holds from `starts` to `ends`, both included."""

    code: str
    item: int
    location: int
    starts: int
    ends: int
    announced: int
    discount: float


class Promotions:
    """The shop's promotion calendar, drawn month by month."""

    def __init__(self, catalogue: Catalogue):
        self._catalogue = catalogue
        self._months: dict[tuple[int, int], list[Promo]] = {}

    def month(self, year: int, month: int) -> list[Promo]:
        if (year, month) not in self._months:
            self._months[year, month] = self._draw(year, month)
        return self._months[year, month]

    def _draw(self, year: int, month: int) -> list[Promo]:
        catalogue = self._catalogue
        rng = stream(catalogue.config.seed, PROMOTION, year * 12 + month)
        first = day_number(dt.date(year, month, 1))
        able = np.flatnonzero((catalogue.kind != KIT) & (catalogue.launch_day < first))
        # December and the weeks before Chinese New Year see more of them.
        count = round(len(able) * (0.07 if month in (1, 12) else 0.045))
        promos = []
        for number, item in enumerate(sorted(rng.choice(able, count, replace=False))):
            starts = first + int(rng.choice([2, 9, 16, 23]))
            everywhere = rng.random() < 0.8
            sold_at = np.flatnonzero(catalogue.rate[:, item])
            promos.append(
                Promo(
                    code=f"P{year}{month:02d}-{number + 1:02d}",
                    item=int(item),
                    location=-1 if everywhere else int(rng.choice(sold_at)),
                    starts=starts,
                    ends=starts + int(rng.choice([6, 6, 9, 13])),
                    announced=starts - int(rng.integers(14, 29)),
                    discount=float(rng.choice([0.1, 0.15, 0.2, 0.25, 0.3])),
                )
            )
        return promos

    def between(self, first: int, last: int) -> list[Promo]:
        """Promotions of the months from one day to another."""
        date, end, found = date_of(first).replace(day=1), date_of(last), []
        while date <= end:
            found += self.month(date.year, date.month)
            date = (date + dt.timedelta(days=32)).replace(day=1)
        return found

    def discounts(self, day: int) -> np.ndarray:
        """(L, N): the fraction off the list price on one day."""
        share = np.zeros(self._catalogue.rate.shape)
        for promo in self.between(day - 31, day):
            if promo.starts <= day <= promo.ends:
                where = slice(None) if promo.location < 0 else promo.location
                share[where, promo.item] = np.maximum(share[where, promo.item], promo.discount)
        return share


# -- Exchange rates ----------------------------------------------------------------------------------------------------


class Rates:
    """Euros for one unit of a foreign currency; a slow walk around its starting value."""

    def __init__(self, seed: int, start: int, at_start: dict[str, float]):
        self._seed, self._start = seed, start
        self._names = [name for name in at_start if name != "EUR"]
        self._base = np.array([at_start[name] for name in self._names])
        self._walk = [np.zeros(len(self._names))]

    def on(self, day: int) -> dict[str, float]:
        """Rates fixed on the afternoon of a day since the start."""
        while len(self._walk) <= day - self._start:
            shock = stream(self._seed, CURRENCY, self._start + len(self._walk)).normal(size=len(self._names))
            self._walk.append(self._walk[-1] * 0.995 + 0.004 * shock)
        values = np.round(self._base * np.exp(self._walk[day - self._start]), 6)
        return {"EUR": 1.0, **dict(zip(self._names, values.tolist(), strict=True))}
