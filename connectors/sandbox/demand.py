"""What customers of the generated shop want on a day, whether or not it is in stock: the latent truth.

`expected` is the mean demand by location and item; `wanted_lines` draws the customers' lines from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.sandbox.catalogue import CATEGORIES, INTERMITTENT, NEW, SEASONAL, STEADY, Catalogue, date_of
from connectors.sandbox.conditions import Promotions, Skies, is_open, new_year_offset, opening_hours, stream

DEMAND = 21

STORE_WEEK = np.array([0.85, 0.85, 0.9, 1.0, 1.25, 1.45, 1.2])
WEB_WEEK = np.array([1.15, 1.1, 1.0, 1.0, 0.95, 0.8, 1.05])


@dataclass(frozen=True)
class Wanted:
    """Lines that customers of one day want, ordered by (location, item, moment). `moment` is microseconds UTC."""

    location: np.ndarray
    item: np.ndarray
    quantity: np.ndarray
    moment: np.ndarray

    def take(self, chosen: np.ndarray) -> Wanted:
        return Wanted(self.location[chosen], self.item[chosen], self.quantity[chosen], self.moment[chosen])


class Demand:
    def __init__(self, catalogue: Catalogue, skies: Skies, promotions: Promotions):
        self.catalogue = catalogue
        self.skies = skies
        self.promotions = promotions
        categories = [CATEGORIES[c] for c in catalogue.category]
        self._heat = np.array([c.heat for c in categories])
        self._rain = np.array([c.rain for c in categories])
        self._new_year = np.array([c.new_year for c in categories])
        self._peak = np.array([c.peak_day for c in categories])
        self._is_web = np.array([place.kind == "web" for place in catalogue.places])

    def open_places(self, day: int) -> np.ndarray:
        """(L,) which locations sell on a business day."""
        return np.array([is_open(place, day) for place in self.catalogue.places])

    def expected(self, day: int) -> np.ndarray:
        """(L, N): mean units wanted on a day; 0 where closed, not ranged or not launched yet."""
        catalogue, date = self.catalogue, date_of(day)
        weekday = date.isoweekday() - 1
        log = catalogue.season * np.cos(2 * np.pi * (date.timetuple().tm_yday - self._peak) / 365.25)
        log = log - catalogue.season**2 / 4  # The mean over a year stays near the item's rate.
        log = log + catalogue.growth * (day - catalogue.launch_day.min()) / 365.25
        offset = new_year_offset(day)
        if -15 <= offset < 0:
            log = log + np.log1p(self._new_year * (16 + offset) / 15)
        if date.month == 12 and 5 <= date.day <= 24:
            log = log + np.where(catalogue.kind == SEASONAL, 0.3, 0.12)
        weather = self.skies.actual(day)
        by_place = np.outer((weather.temperature - 12) / 10, self._heat)
        by_place += np.outer(np.minimum(weather.rain / 5, 2), self._rain)
        by_place += (np.where(self._is_web, 0.04, -0.06) * np.minimum(weather.rain / 8, 1))[:, None]
        by_place += np.log(np.where(self._is_web, WEB_WEEK[weekday], STORE_WEEK[weekday]))[:, None]
        by_place += catalogue.promotion_pull * self.promotions.discounts(day)
        if date.day >= 27 or date.day <= 3:
            by_place += 0.06
        rate = catalogue.rate * np.exp(log + by_place) * self._launch_curve(day)
        return np.where(self.open_places(day)[:, None], rate, 0.0)

    def _launch_curve(self, day: int) -> np.ndarray:
        """0 before the launch, then curiosity that settles to the item's rate."""
        age = day - self.catalogue.launch_day
        young = (1 - np.exp(-(age + 1) / 12)) * (1 + 0.8 * np.exp(-age / 25))
        return np.where(age < 0, 0.0, np.where(self.catalogue.kind == NEW, young, 1.0))

    def wanted_lines(self, day: int) -> Wanted:
        """Draws the lines of one day: overdispersed counts, geometric quantities, moments within opening hours."""
        catalogue = self.catalogue
        rng = stream(catalogue.config.seed, DEMAND, day)
        mean = self.expected(day)
        places, items = mean.shape
        mood = rng.gamma(60, 1 / 60, (places, 1)) * rng.gamma(25, 1 / 25, (1, items))
        shape = np.where(catalogue.kind == INTERMITTENT, 0.8, np.where(catalogue.kind == STEADY, 8.0, 4.0))
        scatter = rng.gamma(np.broadcast_to(shape, mean.shape)) / shape
        counts = rng.poisson(mean / catalogue.line_quantity * mood * scatter)
        cell = np.repeat(np.arange(places * items), counts.ravel())
        location, item = np.divmod(cell, items)
        quantity = rng.geometric(1 / catalogue.line_quantity[item])
        hours = np.array([opening_hours(place, day) for place in catalogue.places])
        # Most customers come after noon; nobody in the very first or last seconds.
        part = 0.002 + 0.996 * rng.beta(2.2, 1.8, len(cell))
        moment = hours[location, 0] + (part * (hours[location, 1] - hours[location, 0])).astype(np.int64)
        moment -= moment % 1_000_000
        order = np.lexsort((moment, cell))
        return Wanted(*(column[order] for column in (location, item, np.minimum(quantity, 40), moment)))
