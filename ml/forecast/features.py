"""The features of the learned models, in this one place.

Belongs here: everything a model may know about (series, origin, lead day). Does not belong here: models, targets' losses.

For an origin `t` (the number of days known), the features of N series and H lead days come as one float32 block
[N, H, F]; nothing after day t is read except known-future covariates and the calendar. Quantities are divided by the
series' level at the origin, so that one model serves a product that sells 0.3 a day and one that sells 300.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.demand import exposed, recover_demand
from ml.forecast.drift import RECENT, common_drift, drift_so_far, stretch
from ml.forecast.panel import Panel

_WINDOWS = (7, 14, 28, 56)
_RESPONSE_DAYS = 112
_STOCK_WINDOWS = (1, 3, 7, 14, 28)
# A season is known from two years on. In less, most days to learn from have no year before them, and that there is one
# would tell trees no more than that it is late in the history.
_MONTHS_KNOWN, _YEAR_KNOWN = 180, 784
_NEW_DAYS = 28
_LEAST = 1e-6
_OWN = frozenset(
    {
        "lead", "weekday", "day_of_month", "day_of_year", "log_level", "trend", "age", "zero_share", "spread", "highest",
        "days_since_sale", "profile", "year_ago", "all_year_ago",
    }
)  # fmt: skip


def called(column: str) -> str:
    """What the features of a known-future column are named after: the column, unless a feature of the models' own has its name."""
    return f"told_{column}" if column in _OWN else column


def least_level(demand: np.ndarray) -> float:
    """The level of series of `demand` [N, T] (NaN: not observed) that have not sold for so long that theirs is 0, to divide by
    and to take the logarithm of: next to nothing against the usual selling day, in whatever unit."""
    days = np.count_nonzero(demand > 0)
    return _LEAST * float(np.nansum(demand, dtype=np.float64)) / days if days else _LEAST


@dataclass(frozen=True)
class Block:
    """Features `values` [N, H, F] of one origin with their `names`, the `level` [N] that quantities were divided by, and how
    far all series together had moved from their levels by then, `drift`."""

    values: np.ndarray
    names: tuple[str, ...]
    level: np.ndarray
    drift: float

    def ordered(self, names: tuple[str, ...]) -> np.ndarray:
        """Features [N, H, len(names)] in the order that a model knows; NaN for one that this panel does not have."""
        # A panel without a covariate's history may lack a feature, and one with more groups may have another.
        if names == self.names:
            return self.values
        position = {name: index for index, name in enumerate(self.names)}
        values = np.full((*self.values.shape[:2], len(names)), np.nan, np.float32)
        for target, name in enumerate(names):
            if name in position:
                values[:, :, target] = self.values[:, :, position[name]]
        return values


class FeatureBuilder:
    """Features of a panel at any origin. `demand` [N, T] is recovered demand, NaN where nothing was observed; `asked` [N, T]
    what was asked for while there was stock (`ml.demand`), which targets are made of: what was sold unless it is given."""

    def __init__(self, panel: Panel, demand: np.ndarray, asked: np.ndarray | None = None):
        self.panel = panel
        self.seen = np.isfinite(demand)
        self.demand = np.where(self.seen, demand, 0.0).astype(np.float32)
        self.asked = np.nan_to_num(panel.sales if asked is None else asked)
        self.exposure = exposed(panel.sales, panel.share)
        self.least = np.float32(least_level(demand))
        self.wanted = None
        if panel.columns.recorded and panel.stocked is not None:
            self.wanted = np.nan_to_num(recover_demand(panel.sales, panel.stocked).expected)
        self.groups = {
            name: _codes(panel.keys[name].to_numpy()) for name in ("sku", "location") if panel.keys[name].nunique() > 1
        }
        for number, name in enumerate(panel.columns.static):
            codes = panel.static[number].astype(int) + 1
            if len(np.unique(codes)) > 1:
                self.groups[name] = codes
        self.groups["all"] = np.zeros(len(panel.keys), int)
        self.group_sums = {
            name: (_by_group(self.demand, codes), _by_group(self.seen.astype(np.float32), codes), codes)
            for name, codes in self.groups.items()
        }
        self._variances: dict[int, list[float]] = {}
        first = panel.first
        self.first = first
        self.days_of_week = (panel.dates.astype("datetime64[D]").astype(int) + 3) % 7
        month = panel.dates.astype("datetime64[M]")
        self.day_of_month = (panel.dates - month).astype(int) + 1
        self.day_of_year = (panel.dates - panel.dates.astype("datetime64[Y]")).astype(int)

    def level(self, origin: int) -> np.ndarray:
        """The level [N] at `origin`: the mean of the last 28 days, drawn towards that of the last year; `least` where that is 0."""
        recent, seen = self._sum(origin, 28)
        older, older_seen = self._sum(origin, 364)
        long_run = older / np.maximum(older_seen, 1)
        level = (recent + 3 * long_run) / (seen + 3)
        return np.where(level > 0, level, self.least).astype(np.float32)

    def drift(self, origin: int, horizon: int) -> float:
        """How far all series together moved from their levels in the `horizon` days after `origin`."""
        begun, days = self.first <= origin - min(7, origin), stretch(origin, horizon, self.demand.shape[1])
        return common_drift(self.asked[begun, days], self.exposure[begun, days], self.level(origin)[begun])

    def block(self, origin: int, horizon: int, rows: np.ndarray | None = None) -> Block:
        """Features of the `horizon` days after day `origin`, for all series or those in `rows`."""
        take = slice(None) if rows is None else rows
        level = self.level(origin)[take]
        columns: dict[str, np.ndarray] = {}
        count = len(level)
        lead = np.arange(1, horizon + 1, dtype=np.float32)
        columns["lead"] = np.broadcast_to(lead, (count, horizon))
        self._calendar(columns, origin, horizon, count)
        profile = self._own(columns, origin, horizon, take, level)
        self._stock(columns, origin, horizon, take, level)
        self._groups(columns, origin, horizon, take)
        self._year(columns, origin, horizon, take, level)
        self._covariates(columns, origin, horizon, take, level, profile)
        for number, name in enumerate(self.panel.columns.static):
            columns[f"static_{name}"] = _wide(self.panel.static[number][take], horizon)
        values = np.empty((count, horizon, len(columns)), np.float32)
        for position, column in enumerate(columns.values()):
            values[:, :, position] = column
        return Block(values, tuple(columns), level, drift_so_far(*self._sum(origin, RECENT), self.level(origin)))

    def _sum(self, origin: int, days: int, take=slice(None), back: int = 0) -> tuple[np.ndarray, np.ndarray]:
        window = slice(max(origin - back - days, 0), max(origin - back, 0))
        return self.demand[take, window].sum(1), self.seen[take, window].sum(1)

    def _calendar(self, columns, origin, horizon, count) -> None:
        days = slice(origin, origin + horizon)
        columns["weekday"] = np.broadcast_to(self.days_of_week[days].astype(np.float32), (count, horizon))
        # Over a short history a date tells time, and trees would take a passing rise for the season.
        if self.panel.days >= _MONTHS_KNOWN:
            columns["day_of_month"] = np.broadcast_to(self.day_of_month[days].astype(np.float32), (count, horizon))
        if self.panel.days >= _YEAR_KNOWN:
            columns["day_of_year"] = np.broadcast_to(self.day_of_year[days].astype(np.float32), (count, horizon))

    def _own(self, columns, origin, horizon, take, level) -> np.ndarray:
        """The series' own past; returns its weekday profile [N, 7] whose first column is the weekday of origin + 1."""
        columns["log_level"] = _wide(np.log(level), horizon)
        means = {}
        for days in _WINDOWS:
            total, seen = self._sum(origin, days, take)
            means[days] = np.where(seen > 0, total / np.maximum(seen, 1), np.nan) / level
            columns[f"mean_{days}"] = _wide(means[days], horizon)
        columns["trend"] = _wide(means[7] - means[28], horizon)
        columns["age"] = _wide(np.minimum(origin - self.first[take], _NEW_DAYS).astype(np.float32), horizon)
        recent = slice(max(origin - 28, 0), origin)
        demand, seen = self.demand[take, recent], self.seen[take, recent]
        count = np.maximum(seen.sum(1), 1)
        columns["zero_share"] = _wide(((demand == 0) & seen).sum(1) / count, horizon)
        spread = np.sqrt(np.maximum((demand**2).sum(1) / count - (demand.sum(1) / count) ** 2, 0))
        columns["spread"] = _wide(spread / level, horizon)
        columns["highest"] = _wide(demand.max(1, initial=0) / level, horizon)
        sold = demand > 0
        since = np.where(sold.any(1), sold[:, ::-1].argmax(1), sold.shape[1])
        columns["days_since_sale"] = _wide(since, horizon)
        position = np.arange(horizon) % 7
        for weeks in (1, 2, 4, 8):
            total, seen = _by_weekday(self.demand[take], self.seen[take], origin, weeks)
            mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan) / level[:, None]
            columns[f"weekday_mean_{weeks}"] = mean[:, position]
        profile = (total + 3 * level[:, None]) / (seen + 3) / level[:, None]
        columns["profile"] = profile[:, position]
        return profile

    def _stock(self, columns, origin, horizon, take, level) -> None:
        """How often the series and its store ran out; where sales are forecast, also the demand that they are cut from."""
        stocked = self.panel.stocked
        if stocked is None:
            return
        for days in _STOCK_WINDOWS:
            columns[f"in_stock_{days}"] = _wide(stocked[take, max(origin - days, 0) : origin].mean(1), horizon)
        position = np.arange(horizon) % 7
        total, seen = _by_weekday(stocked[take], self.seen[take], origin, 4)
        columns["in_stock_weekday"] = (total / np.maximum(seen, 1))[:, position]
        if "location" in self.groups:
            week = stocked[:, max(origin - 7, 0) : origin].mean(1, keepdims=True)
            codes = self.groups["location"]
            mean = _by_group(week, codes)[:, 0] / np.maximum(np.bincount(codes), 1)
            columns["location_in_stock"] = _wide(mean[codes][take], horizon)
        if self.wanted is None:
            return
        wanted = self.wanted[take]
        for days in (7, 28):
            part = slice(max(origin - days, 0), origin)
            mean = wanted[:, part].sum(1) / np.maximum(self.seen[take, part].sum(1), 1)
            columns[f"demand_{days}"] = _wide(mean / level, horizon)
        for weeks in (1, 4):
            total, seen = _by_weekday(wanted, self.seen[take], origin, weeks)
            columns[f"demand_weekday_{weeks}"] = (total / np.maximum(seen, 1) / level[:, None])[:, position]

    def _groups(self, columns, origin, horizon, take) -> None:
        """Where the store, the product elsewhere and the category are heading, and their weekday profiles."""
        position = np.arange(horizon) % 7
        for name, (sums, counts, codes) in self.group_sums.items():
            rows = codes[take]
            window = {}
            for days in (7, 28):
                part = slice(max(origin - days, 0), origin)
                window[days] = sums[:, part].sum(1) / np.maximum(counts[:, part].sum(1), 1)
            # Of all series together it would only name the origin, and trees would learn what followed each.
            if name != "all":
                trend = (window[7] + self.least) / (window[28] + self.least)
                columns[f"{name}_trend"] = _wide(trend[rows], horizon)
            total, seen = _by_weekday(sums, counts, origin, 8)
            profile = total / np.maximum(seen, 1) / (window[28][:, None] + self.least)
            columns[f"{name}_profile"] = np.minimum(profile, 20)[rows][:, position]

    def _year(self, columns, origin, horizon, take, level) -> None:
        """The same days a year ago, against the level then; only where the history reaches back so far."""
        if self.panel.days < _YEAR_KNOWN:
            return
        shape = (len(level), horizon)
        own, group = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        before = origin - 364
        if before >= 28:
            then = self.level(before)[take]
            width = 3
            sums, counts, _ = self.group_sums["all"]
            base = slice(max(before - 28, 0), before)
            group_then = sums[0, base].sum() / max(counts[0, base].sum(), 1)
            for lead in range(horizon):
                part = slice(before + lead - width, before + lead + width + 1)
                seen = self.seen[take, part].sum(1)
                value = self.demand[take, part].sum(1) / np.maximum(seen, 1) / then
                own[:, lead] = np.where((seen > 0) & (then > self.least), np.minimum(value, 50), np.nan)
                group[:, lead] = sums[0, part].sum() / max(counts[0, part].sum(), 1) / max(group_then, self.least)
        columns["year_ago"] = own
        columns["all_year_ago"] = group

    def _covariates(self, columns, origin, horizon, take, level, profile) -> None:
        """Known-future values with their neighbours, against their usual value, and each product's own response."""
        panel = self.panel
        window = slice(max(origin - _RESPONSE_DAYS, 0), origin)
        days = np.arange(window.start, origin)
        seasonal = profile[:, (days - origin) % 7] * level[:, None]
        seen_demand = self.seen[take, window]
        ratio = np.clip(self.demand[take, window] / np.maximum(seasonal, self.least), 0, 10)
        for number, name in enumerate(map(called, panel.columns.known_future)):
            known = panel.known[number][take]
            ahead = known[:, origin : origin + horizon]
            columns[name] = ahead
            columns[f"{name}_before"] = known[:, origin - 1 : origin - 1 + horizon]
            after = np.full_like(ahead, np.nan)
            following = known[:, origin + 1 : origin + 1 + horizon]
            after[:, : following.shape[1]] = following
            columns[f"{name}_after"] = after
            past = known[:, window]
            seen = np.isfinite(past) & seen_demand
            count = np.maximum(seen.sum(1, keepdims=True), 1)
            value = np.where(seen, past, 0.0)
            usual = value.sum(1, keepdims=True) / count
            columns[f"{name}_change"] = ahead - usual
            apart = np.where(seen, past - usual, 0.0)
            variance = (apart**2).sum(1, keepdims=True)
            mean_ratio = np.where(seen, ratio, 0.0).sum(1, keepdims=True) / count
            joint = (apart * (ratio - mean_ratio)).sum(1, keepdims=True)
            # Ridge: a response seen on few days counts for little.
            prior = 5 * max(self._usual_variance(origin)[number], 1e-9)
            columns[f"{name}_response"] = np.clip(joint / (variance + prior) * (ahead - usual), -5, 5)
        for number, name in enumerate(panel.columns.past_only):
            past = panel.past[number][take]
            columns[f"{name}_last"] = _wide(past[:, origin - 1], horizon)
            recent = past[:, max(origin - 7, 0) : origin]
            seen = np.isfinite(recent)
            mean = np.where(seen, recent, 0.0).sum(1) / np.maximum(seen.sum(1), 1)
            columns[f"{name}_mean_7"] = _wide(np.where(seen.any(1), mean, np.nan), horizon)

    def _usual_variance(self, origin: int) -> list[float]:
        """Of each known-future covariate, its variance within a series in the newest days, over all series: what a series is
        told must not depend on which others are asked for with it."""
        if origin not in self._variances:
            window = slice(max(origin - _RESPONSE_DAYS, 0), origin)
            found = []
            for known in self.panel.known:
                past = known[:, window]
                seen = np.isfinite(past) & self.seen[:, window]
                value = np.where(seen, past, 0.0)
                usual = value.sum(1, keepdims=True) / np.maximum(seen.sum(1, keepdims=True), 1)
                apart = np.where(seen, past - usual, 0.0)
                found.append(float((apart**2).sum(1).sum() / max(seen.sum(), 1)))
            self._variances[origin] = found
        return self._variances[origin]


def _wide(values: np.ndarray, horizon: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(values, np.float32)[:, None], (len(values), horizon))


def _codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values.astype(str), return_inverse=True)[1]


def _by_group(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sums [G, T] of the rows of each group."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
    sums = np.zeros((int(codes.max()) + 1 if len(codes) else 0, values.shape[1]), np.float32)
    if len(codes):
        sums[codes[order][starts]] = np.add.reduceat(values[order], starts, axis=0)
    return sums


def _by_weekday(values, seen, origin: int, weeks: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts [N, 7] over the last `weeks` weeks; the first column is the weekday of the day after `origin`."""
    start = max(origin - 7 * weeks, 0)
    part, mask = values[:, start:origin], seen[:, start:origin]
    short = -part.shape[1] % 7
    if short:
        part, mask = (np.pad(a, ((0, 0), (short, 0))) for a in (part, mask))
    shape = (len(part), -1, 7)
    return part.reshape(shape).sum(1), mask.reshape(shape).sum(1)
