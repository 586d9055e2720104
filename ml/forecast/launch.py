"""What similar products sell: the level, weekdays and launch curve of a product that has hardly been sold itself.

Belongs here: the statistics of likeness, as pure functions on a panel. Does not belong here: which series are forecast so,
how the forecast is calibrated and written (`ml.forecast.newcomers`).

Every series i sells `lambda_i * index_t * curve(age) * share_t` on day t in the mean: its level, what all series do on that
day, what launches do at that age, and the part of the day that it was in stock (`ml.demand.exposed`). Of a day to come the
index is the weekday's, times what all series did on days of which as much was known (`ml.forecast.responses`). Levels hang together
by crossed random effects of the product, the location, each static column and each pair of location and static column:

    log lambda_i = mu + sum_g u_g[i] + e_i,   u_g ~ N(0, tau_g^2),   e_i ~ N(0, rho^2)                                 (1)

(`ml.forecast.effects` finds them). So the same product elsewhere says most where products differ most, times its location's
usual ratio; the category says something where the product is sold nowhere, and all series where even that is unknown. What
the other series say of series i (its own days left out) is a log-normal prior with mean m_i and variance v_i, an effect
that nothing is known of adding its whole variance. Its own days are added by the likelihood of S sold over the exposure
A = sum of index * curve * share, whose variance is phi(lambda) per unit of its mean A lambda and grows with it: a negative binomial,
in units of how much a purchase is (McCullagh & Nelder 1989, 9.2, for sales that are no counts),

    p(lambda | days) ~ p(lambda) (A lambda / (A lambda + a r))^(S / a) (a r / (A lambda + a r))^r                      (2)

with phi(lambda) = a + A lambda / r. No day gives the prior; each day narrows it, the less the more days vary: a product that sells once
a week has not ceased to sell because it did not yesterday. Where all others sell hundreds alike, that prior is so sure of itself
that the days of one that sells two would hardly be heard. Sales as low as are improbable under it (the predictive check of Box 1980)
therefore widen it: its variance is then what their distance says. Sales that are as improbable for being high do not: first days
are often bulk.

Where rows are sales, nothing says whether what has not sold lately is on sale at all, as a new product is: equation (1) hears only
what sold. And the first day of a series was picked for having a sale. It tells how much is sold at a time and not how often: it
stands for as many days as such a product takes to sell once, and how much it sold is drawn to what the others sell at a time
(`ml.forecast.first_sale`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammainc

from ml.demand import exposed
from ml.forecast import distribution, first_sale, responses
from ml.forecast.curve import SETTLED, Curve, learn_curve
from ml.forecast.distribution import Spread
from ml.forecast.effects import Effects, fit_effects, shrunk
from ml.forecast.panel import Panel
from ml.forecast.responses import Responses

LAUNCH = "launch"
_LEVEL_DAYS = 56
_LOOK_BACK = 182
_RECENT = 14
# Series whose first day is earlier than this after the history's began before it.
_WELL_AFTER = 14
_VAGUE = 4.0
# A prior is doubted where a series' own days are less probable under it than this.
_IMPROBABLE = 0.001
# Of a normal distribution, where levels are told apart, and of how many series at once.
_SCORES, _AT_ONCE = np.linspace(-6, 6, 161), 2_000
# Less than this of what was expected is as good as nothing.
_LEAST_SHARE = 1e-6
OTHER_ORDER = 10.0
"""So many times what a series sold itself is more than similar ones can say of it."""
_MOST_CELLS = 200_000
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Similar:
    """What the N series of a panel teach; see `study`."""

    panel: Panel
    groups: tuple[tuple[str, ...], ...]
    codes: np.ndarray
    labels: tuple[dict, ...]
    effects: Effects
    curve: Curve
    spread: Spread
    lasting: float
    smear: tuple[float, float]
    stretch: tuple[float, float]
    profiles: tuple[np.ndarray, ...]
    profile: np.ndarray
    now: float
    first: np.ndarray
    """[N] age 0 of each series as an index of the panel's days; long ago for those that began before the history."""
    sold: np.ndarray
    exposure: np.ndarray
    """[N, D] of the newest days, the exposure in days of an average index at a settled age."""
    picked: tuple[np.ndarray, np.ndarray]
    """What was sold [N] on first days that were picked for having a sale, and the exposure [N] that they stand for; 0 and 0 for
    others. They are not in `sold`."""
    responses: Responses
    heard: np.ndarray
    """Whether a series [N] tells what others sell."""

    # -- Priors --

    def prior(self, rows: np.ndarray, unknown: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean level and its squared coefficient of variation [n] as the other series say. `unknown` [n]: as if the product
        were sold nowhere else."""
        known, alone = self._others(False), self._others(True)
        pick = np.zeros(len(rows), bool) if unknown is None else unknown
        mean, variance = (np.where(pick, a[rows], k[rows]) for a, k in zip(alone, known, strict=True))
        smear, stretch = (np.where(pick, pair[1], pair[0]) for pair in (self.smear, self.stretch))
        return _moments(mean, variance * stretch, smear)

    def _others(self, alone: bool) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.array([group == ("sku",) for group in self.groups]) if alone else None
        mean, variance = self.effects.without_own(unknown)
        full = np.zeros(len(self.panel.keys))
        return full + mean, full + variance

    # -- Forecasts --

    def forecast(
        self, rows: np.ndarray, horizon: int, days: np.ndarray | None = None, unknown: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean [n, horizon] of the days after the panel and the squared coefficient of variation of the mean itself.

        `days` [n]: as if only the last so many days of a series were known, whose launch was over.
        """
        sold, exposure = self.sold[rows], self.exposure[rows]
        if days is not None:
            shown = np.arange(sold.shape[1]) >= sold.shape[1] - days[:, None]
            sold, exposure = np.where(shown, sold, 0.0), np.where(shown, exposure, 0.0)
        else:
            sold, exposure = (
                np.column_stack([seen, first[rows]]) for seen, first in zip((sold, exposure), self.picked, strict=True)
            )
        level, squared = self._posterior(*self.prior(rows, unknown), sold, exposure)
        age = (self.panel.days - self.first[rows])[:, None] + np.arange(horizon)
        if days is not None:
            age = np.full_like(age, SETTLED)
        ahead = self.panel.known[:, rows, self.panel.days : self.panel.days + horizon]
        known = np.full((*ahead.shape[:2], horizon), np.nan, np.float32)
        known[:, :, : ahead.shape[2]] = ahead
        return self._ahead(level, squared, age, self.codes[:, rows], self.panel.static[:, rows].astype(int), known)

    def forecast_new(
        self, codes: np.ndarray, static: np.ndarray, age: np.ndarray, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for series without a day, and their level [n]: group `codes` [G, n], `static` codes [S, n], `age`
        [n, horizon] on the days after the panel, and the `known`-future columns [K, n, horizon] of these."""
        mean, variance = self.effects.of(codes)
        alone = codes[self.groups.index(("sku",))] < 0 if ("sku",) in self.groups else np.ones(len(mean), bool)
        smear, stretch = (np.where(alone, pair[1], pair[0]) for pair in (self.smear, self.stretch))
        level, squared = _moments(mean, variance * stretch, smear)
        return *self._ahead(level, squared, age, codes, static, known), level

    def _ahead(self, level, squared, age, codes, static, known) -> tuple[np.ndarray, np.ndarray]:
        horizon = age.shape[1]
        weekday = _weekday(self.panel.dates[self.panel.days - 1] + 1 + np.arange(horizon))
        shape = self.profile * np.ones((len(level), 1))
        for code, ratios in zip(self._profiled(codes), self.profiles, strict=True):
            shape = shape * np.where(code[:, None] >= 0, ratios[np.maximum(code, 0)], 1.0)
        # However the groups' weekdays meet, a week sells seven days at the level.
        shape = shape / np.maximum(shape.mean(1, keepdims=True), 1e-9)
        mean = level[:, None] * self.now * shape[:, weekday] * self.curve.at(age, static)
        mean = mean * self.responses.at(known).prod(0)
        return mean.astype(np.float32), (1 + squared[:, None]) * (1 + self.curve.variance_at(age)) - 1

    def _profiled(self, codes: np.ndarray) -> list[np.ndarray]:
        """The codes [n] of each group that has weekday profiles."""
        return [codes[number] for number, group in enumerate(self.groups) if len(group) == 1]

    def _posterior(self, mean, squared, sold, exposure) -> tuple[np.ndarray, np.ndarray]:
        """Mean and squared coefficient of variation [n] of (2), summed over levels that lie evenly by their logarithm."""
        total, days = sold.sum(1), exposure.sum(1)
        share, noise, gamma = self._predictive(mean, squared, sold, exposure)
        # So little as is sold is improbable under the prior.
        doubted = (days > 0) & (gammainc(gamma, gamma * (share + noise / 2)) < _IMPROBABLE)
        variance = np.log1p(squared)
        distance = np.log(np.maximum(share + noise / 2, _LEAST_SHARE))
        variance = np.where(doubted, np.maximum(variance, distance**2), variance)
        # What days vary by was learned from the others, of whom it is none: relative to its level, as theirs.
        unit = self.lasting * self.spread.unit * np.where(doubted, np.maximum(share, _IMPROBABLE), 1.0)
        shape = _ratio(days * self.spread.shape, self.lasting * _usual(exposure), 0.0)
        expected = np.where(days > 0, mean * days, 1.0) / np.maximum(unit * shape, _TINY)
        level, squared = np.empty_like(mean), np.empty_like(mean)
        for start in range(0, len(mean), _AT_ONCE):
            n = slice(start, start + _AT_ONCE)
            relative = np.exp(np.sqrt(variance[n])[:, None] * _SCORES - variance[n, None] / 2)
            over = relative * expected[n, None]
            told = total[n, None] / unit[n, None] * -np.log1p(1 / over) - shape[n, None] * np.log1p(over)
            weight = np.where(days[n, None] > 0, told, 0.0) - _SCORES**2 / 2
            weight = np.exp(weight - weight.max(1, keepdims=True))
            weight /= weight.sum(1, keepdims=True)
            first, second = (weight * relative).sum(1), (weight * relative**2).sum(1)
            level[n], squared[n] = mean[n] * first, second / first**2 - 1
        return level, np.maximum(squared, 1e-6)

    def _predictive(self, mean, squared, sold, exposure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is sold over what the prior expects [n], the variance of that around a known level, and the Gamma shape of both."""
        expected = exposure.sum(1) * mean
        usual = self.lasting * _variance_per_unit(mean, exposure, self.spread)
        noise = _ratio(usual, expected)
        return _ratio(sold.sum(1), expected), noise, 1 / (squared + noise)

    # -- Words --

    def judged_by(self, codes: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """How many series [n] stand nearest to those with these group `codes` [G, n], and what they share: `sku`, a static
        column, `location` or, for all series alike, an empty text. Nearest is the same product, then what levels differ by
        most. `rows` [n], if they are of the panel themselves: none counts for itself."""
        told = [number for number, group in enumerate(self.groups) if len(group) == 1]
        order = sorted(told, key=lambda number: (self.groups[number] == ("sku",), self.effects.tau[number]))
        itself = np.zeros(codes.shape[1], int) if rows is None else self.heard[rows].astype(int)
        count, by = int(self.heard.sum()) - itself, np.full(codes.shape[1], "", object)
        for number in order:
            of, code = self.codes[number], codes[number]
            members = np.bincount(of[self.heard & (of >= 0)], minlength=max(len(self.labels[number]), 1))
            found = np.where(code >= 0, members[np.maximum(code, 0)] - itself, 0)
            count, by = np.where(found > 0, found, count), np.where(found > 0, self.groups[number][0], by)
        return count, by

    def codes_of(self, keys, static: np.ndarray) -> np.ndarray:
        """Group codes [G, n] of series outside the panel: `keys` frame of sku and location, `static` [S, n]."""
        parts = _parts(keys, self.panel.columns.static, static)
        return np.array(
            [
                [found.get(value, -1) for value in zip(*(parts[name] for name in group), strict=True)]
                for group, found in zip(self.groups, self.labels, strict=True)
            ],
            dtype=int,
        ).reshape(len(self.groups), len(keys))


def study(panel: Panel, asked: np.ndarray | None = None) -> Similar:
    """Learn from the newest days of a panel what equation (1) and (2) need; `asked` [N, T] is what was asked for while there
    was stock (`ml.demand`), what was sold unless it is given."""
    start = max(panel.days - _LOOK_BACK, 0)
    sales = panel.sales[:, start:]
    exposure = exposed(sales, None if panel.share is None else panel.share[:, start:]).astype(np.float64)
    sold = np.where(exposure > 0, np.nan_to_num(sales if asked is None else asked[:, start:]), 0.0).astype(np.float64)
    # A series begins with the first day on which it could be sold.
    begun = panel.seen if panel.share is None else exposed(panel.sales, panel.share) > 0
    first = np.where(begun.any(1), begun.argmax(1), panel.days)
    first = np.where(first >= _WELL_AFTER, first, -SETTLED)
    picked, on = np.zeros(0, int), np.zeros(0, int)
    first_sold, first_exposure = np.zeros(len(sold)), np.zeros(len(sold))
    if panel.missing_days == "zero":
        # Where rows are sales, a first day is picked for having one.
        picked = np.flatnonzero((first >= start) & (first < panel.days))
        on = first[picked] - start
        first_sold[picked], first_exposure[picked] = sold[picked, on], exposure[picked, on]
        sold[picked, on] = exposure[picked, on] = 0.0
    days = sold.shape[1]
    age = np.arange(start, panel.days) - first[:, None]
    settled = age >= SETTLED
    weekday = _weekday(panel.dates[start : panel.days])
    recent = slice(max(days - _LEVEL_DAYS, 0), days)
    static = panel.static.astype(int)

    level = _ratio(sold[:, recent].sum(1), exposure[:, recent].sum(1))
    steady = settled if settled[:, recent].any() else np.ones_like(settled)
    # The largest series, or one wrong number, must not set what a day is for all.
    part = np.where(steady, _ratio(np.minimum(level, np.quantile(level, 0.95)), level)[:, None], 0.0)
    top, low = (part * sold).sum(0), (part * exposure * level[:, None]).sum(0)
    profile = _by_weekday(top[recent], low[recent], weekday[recent])
    level = _ratio(sold[:, recent].sum(1), (exposure * profile[weekday])[:, recent].sum(1))
    spread, lasting = _spread(sold[:, recent], exposure[:, recent], (level[:, None] * profile[weekday])[:, recent])
    low = (part * exposure * level[:, None]).sum(0) * profile[weekday]
    error = (part**2 * exposure * spread.variance(level)[:, None]).sum(0) / np.maximum(low, _TINY) ** 2
    noise = np.where(low > 0, lasting * error, np.inf)
    common = 1 + np.clip(shrunk(_ratio(top, low, 1.0) - 1, noise), -0.9, 4.0)
    index, now = profile[weekday] * common, float(common[-_RECENT:].mean())

    told = responses.learn(
        panel.known[:, :, start : panel.days], sold, exposure, level, profile[weekday], common, spread, lasting
    )
    curve = learn_curve(sold, exposure * index, age, static, [len(v) for v in _labels(panel)], spread, lasting)
    at_age = curve.at(age, static)
    first_exposure[picked] *= index[on] * at_age[picked, on]
    exposure = exposure * index * at_age
    sold, exposure = sold[:, recent], exposure[:, recent]
    known = panel.known[:, :, start : panel.days][:, :, recent]
    exposure = exposure * told.apart(known, level[:, None] * exposure)
    chance = first_sale.chance_of_sale(first_sold, sold, exposure)
    first_sold = first_sale.size_of_sale(first_sold, sold, exposure, _IMPROBABLE, OTHER_ORDER)
    first_exposure = first_exposure / chance
    total, seen = sold.sum(1), exposure.sum(1)
    phi = lasting * _variance_per_unit(_ratio(total, seen), exposure, spread)
    heard = seen > 0.5
    if panel.missing_days == "zero" and (heard & (total > 0)).any():
        heard &= total > 0
    value = np.log((total + phi / 2) / np.maximum(seen, 1e-9))
    noise = np.where(heard, phi / (total + phi / 2), np.inf)
    groups, codes, labels = _groups(panel, static)
    effects = fit_effects(value, noise, codes, [len(found) for found in labels])
    profiles = _profiles(sold, exposure, _ratio(total, seen), weekday[recent], groups, codes, labels, spread)
    similar = Similar(
        panel, groups, codes, labels, effects, curve, spread, lasting, (1.0, 1.0), (1.0, 1.0), profiles, profile, now, first,
        sold, exposure, (first_sold, first_exposure), told, heard,
    )  # fmt: skip
    return _checked(similar, value, noise, _ratio(total, seen))


def _checked(similar: Similar, value, noise, level) -> Similar:
    """How far the others' word of each series is off: the smearing factor of the mean (Duan 1983) and the factor of the
    variance that fit the levels that were measured, for products sold elsewhere and as if they were not."""
    heard, found = similar.heard, []
    for alone in (False, True):
        mean, variance = similar._others(alone)
        if heard.sum() < 20:
            found.append((1.0, 1.0))
            continue
        score = (value - mean)[heard] ** 2 / (variance + noise)[heard]
        stretch = float(np.clip(score.mean(), 0.5, 3.0))
        told = _moments(mean, variance * stretch, np.ones(len(mean)))[0][heard]
        found.append((float(np.clip(level[heard].sum() / told.sum(), 0.5, 2.0)), stretch))
    return replace(similar, smear=tuple(f[0] for f in found), stretch=tuple(f[1] for f in found))


def _moments(mean: np.ndarray, variance: np.ndarray, smear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and squared coefficient of variation of a log-normal level."""
    variance = np.minimum(variance, _VAGUE)
    return smear * np.exp(mean + variance / 2), np.expm1(variance) + 1e-6


def _variance_per_unit(level: np.ndarray, exposure: np.ndarray, spread: Spread) -> np.ndarray:
    """phi [n] of (2) for independent days: the variance of what is sold over `exposure` [n, D] per unit of its mean."""
    return spread.unit + level * _usual(exposure) / spread.shape


def _usual(exposure: np.ndarray) -> np.ndarray:
    """The exposure [n] of a usual day of `exposure` [n, D]; 1 where there is none."""
    return _ratio((exposure**2).sum(1), exposure.sum(1), 1.0)


def _ratio(top, low, otherwise: float = 0.0) -> np.ndarray:
    return np.where(low > 0, top / np.maximum(low, _TINY), otherwise)


def _weekday(dates: np.ndarray) -> np.ndarray:
    return dates.astype("datetime64[D]").astype(int) % 7


def _by_weekday(top: np.ndarray, low: np.ndarray, weekday: np.ndarray) -> np.ndarray:
    tops, lows = np.bincount(weekday, top, 7), np.bincount(weekday, low, 7)
    profile = np.maximum(_ratio(tops, lows, 1.0), 0.02)
    return profile / profile.mean() if tops.sum() > 0 else np.ones(7)


def _spread(sold: np.ndarray, exposure: np.ndarray, mean: np.ndarray) -> tuple[Spread, float]:
    """How days vary around `mean` [N, D] at full exposure, and how much more the sum of a week varies than seven
    independent days would let it: what a few days tell of the level is less by that."""
    full = exposure > 0.999
    cells = np.flatnonzero(full.ravel())
    if len(cells) > _MOST_CELLS:
        cells = np.sort(np.random.default_rng(0).permutation(cells)[:_MOST_CELLS])
    spread = distribution.fit_spread(sold.ravel()[cells], mean.ravel()[cells])
    weeks = sold.shape[1] // 7
    if weeks < 3:
        return spread, 2.0
    rest = np.where(exposure > 0, sold - mean * exposure, 0.0)[:, -7 * weeks :]
    scale = spread.variance(np.maximum(mean[:, -1:], 1e-6 * spread.unit))
    whole = (exposure[:, -7 * weeks :] > 0).all(1)
    rest = np.clip((rest / np.sqrt(scale))[whole], -4, 4).reshape(-1, weeks, 7)
    daily = float((rest**2).sum())
    weekly = float((rest.sum(2) ** 2).sum()) * weeks / (weeks - 1)
    return spread, float(np.clip(weekly / daily, 1.0, 7.0)) if daily > 0 else 2.0


def _labels(panel: Panel) -> list[list[str]]:
    return [panel.categories[name] for name in panel.columns.static]


def _parts(keys, names: tuple[str, ...], static: np.ndarray) -> dict[str, list]:
    """The values by which series are alike; None where not known."""
    parts = {"sku": list(keys["sku"].astype(str)), "location": list(keys["location"].astype(str))}
    for name, code in zip(names, static.astype(int), strict=True):
        parts[name] = [int(c) if c >= 0 else None for c in code]
    return parts


def _groups(panel: Panel, static: np.ndarray) -> tuple[tuple[tuple[str, ...], ...], np.ndarray, tuple[dict, ...]]:
    """The groupings of (1) that can tell anything, the codes [G, N] and, for each, the code of each value."""
    names = panel.columns.static
    parts = _parts(panel.keys, names, static)
    groups, codes, labels = [], [], []
    wanted = [*((name,) for name in names), ("location",), ("sku",), *(("location", name) for name in names)]
    sizes: dict[str, int] = {}
    for group in wanted:
        code, found = np.empty(len(panel.keys), int), {}
        for row, value in enumerate(zip(*(parts[name] for name in group), strict=True)):
            code[row] = -1 if None in value else found.setdefault(value, len(found))
        if len(group) == 1:
            sizes[group[0]] = len(found)
            if len(found) < 2 and group != ("sku",):
                continue
        elif len(found) in {sizes[name] for name in group} or len(found) < 3:
            continue  # the same as one of the two
        groups.append(group)
        codes.append(code)
        labels.append(found)
    return tuple(groups), np.array(codes, int).reshape(len(groups), len(panel.keys)), tuple(labels)


def _profiles(sold, exposure, level, weekday, groups, codes, labels, spread) -> tuple[np.ndarray, ...]:
    """Weekday ratios [K, 7] of each plain group on top of the common index, each drawn to 1 and read after the ones before."""
    table = np.stack([sold[:, weekday == day].sum(1) for day in range(7)], axis=1)
    mean = level[:, None] * np.stack([exposure[:, weekday == day].sum(1) for day in range(7)], axis=1)
    variance = (spread.unit + level / spread.shape)[:, None] * mean
    found = []
    for number, group in enumerate(groups):
        if len(group) != 1:
            continue
        size, code = len(labels[number]), np.where(codes[number] >= 0, codes[number], len(labels[number]))
        top, low, error = (
            np.stack([np.bincount(code, part[:, day], size + 1) for day in range(7)], axis=1)[:size]
            for part in (table, mean, variance)
        )
        noise = np.where(low > 0, error / np.maximum(low, _TINY) ** 2, np.inf)
        ratios = 1 + np.clip(shrunk(_ratio(top, low, 1.0) - 1, noise), -0.9, 3.0)
        ratios = ratios / np.maximum(ratios.mean(1, keepdims=True), 1e-9)
        found.append(ratios)
        mean = mean * np.vstack([ratios, np.ones(7)])[code]
    return tuple(found)
