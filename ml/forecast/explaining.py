"""Why a forecast says what it says: the contributions of level, season, trend, stock-outs and each covariate.

Belongs here: taking a blended mean apart into parts that sum to it, and saying them in words. Does not belong here: how
the mean is made.

The blend is taken apart along the trees where they count in it, else along the weekday profile. Both are products: the
level of what was sold, times what stock-outs hid of it, times the season, and so on; for the trees the logarithms of the
factors are the Shapley values of the features (TreeSHAP, Lundberg et al. 2020), summed by driver. A product is turned
into a sum by the logarithmic mean, L(f, f0) = (f - f0) / ln(f / f0): each driver contributes L times its logarithm, and
the parts sum to the whole exactly (Ang 2005, the LMDI decomposition). What the other models of the blend say beyond it
is a part of its own. A product that is judged by similar ones has their level, season and launch curve for its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ml.demand import recover_demand
from ml.forecast import newcomers as new_products
from ml.forecast import segments, statistical
from ml.forecast.calendar import HOLIDAY_COLUMNS, NEW_YEAR_COLUMNS
from ml.forecast.closing import CLOSED
from ml.forecast.errors import ForecastError
from ml.forecast.features import FeatureBuilder, called, least_level
from ml.forecast.frame import withhold
from ml.forecast.launch import LAUNCH, study
from ml.forecast.model import Model, means_of
from ml.forecast.newcomers import judges_short
from ml.forecast.panel import Columns, build_panel

LEVEL, SEASON, TREND, STOCK_OUTS, OTHER_MODELS = "level", "season", "trend", "stock_outs", "other_models"
SIMILAR = "similar_products"
_SEASONAL = {"weekday", "day_of_month", "day_of_year", "profile", "year_ago", "all_year_ago"}
_OF_COVARIATE = ("", "_before", "_after", "_change", "_response", "_last", "_mean_7")
# What is not forecast to sell at all, against the level of what has not sold for a year.
_LEAST = 1e-3
# A factor of 0, which has no logarithm.
_NOTHING = 1e-9
WEATHER, HOLIDAYS, NEW_YEAR, INDICES = "weather", "holidays", "new_year", "indices"
INDEX_PREFIX = "index_"
# Columns that are told apart for the models' sake and are one thing to people.
_TOGETHER = {
    **dict.fromkeys(("temperature", "precipitation", "humidity", "wind"), WEATHER),
    **dict.fromkeys(("observed_temperature", "observed_precipitation"), WEATHER),
    **dict.fromkeys(HOLIDAY_COLUMNS, HOLIDAYS),
    **dict.fromkeys(NEW_YEAR_COLUMNS, NEW_YEAR),
}


def driver(feature: str, columns: Columns) -> str:
    """What a feature of `ml.forecast.features` is about."""
    for name in (*columns.known_future, *columns.past_only):
        if any(feature == called(name) + part for part in _OF_COVARIATE):
            return INDICES if name.startswith(INDEX_PREFIX) else _TOGETHER.get(name, name)
    if feature.startswith(("in_stock_", "demand_")) or feature == "location_in_stock":
        return STOCK_OUTS
    if feature in _SEASONAL or feature.startswith("weekday_mean_") or feature.endswith("_profile"):
        return SEASON
    if feature == "trend" or feature.endswith("_trend"):
        return TREND
    return LEVEL


def explain(
    model: Model,
    history: pd.DataFrame,
    future: pd.DataFrame | None = None,
    horizon: int | None = None,
    *,
    series: Iterable[tuple[object, object]] | None = None,
    newcomers: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The parts of the blended mean that `predict` gives for the same frames: sku, location, date, driver, contribution, and
    `similar`, how many series a new product was judged by (0 for others).

    The contributions of one day, in its unit, sum to its mean. `series` are the (sku, location) wanted, all by default;
    the whole history is needed all the same, for a product is forecast from its store and its category too. Raises
    `ForecastError` for a series that is not in the history or that no forecast is made for.
    """
    horizon = horizon or model.horizon
    panel = build_panel(history, future, horizon, model.columns, model.config, model.categories, model.missing_days)
    panel, withheld = withhold(panel, model.config)
    empty = pd.DataFrame({name: [] for name in ("sku", "location", "date", "driver", "contribution", "similar")})
    if not len(panel.keys):
        return empty
    demand = recover_demand(panel.sales, panel.share, model.dispersion)
    short = segments.demand_class(demand.expected, model.config.min_days) == segments.SHORT
    similar = study(panel, demand.asked) if newcomers is not None or short.any() else None
    wanted, told = None if series is None else list(series), empty
    if newcomers is not None:
        new, _ = new_products.read_newcomers(newcomers, panel)
        new, wanted = _wanted(new, wanted)
        told = _of_new(similar, new, model, horizon)
    rows = _rows(panel.keys, wanted, withheld)
    if not len(rows):
        return told
    means = means_of(model, panel, demand, horizon, similar=similar)
    kind = np.repeat(segments.demand_class(demand.expected, model.config.min_days)[:, None], horizon, axis=1)
    week = np.broadcast_to(segments.horizon_week(horizon), kind.shape)
    blend = model.lessons.blend(means, kind, week)[rows].astype(np.float64)

    builder = FeatureBuilder(panel, demand.expected)
    sold = FeatureBuilder(panel, np.where(panel.seen, panel.sales, np.nan)).level(panel.days)[rows, None]
    level = builder.level(panel.days)[rows, None]
    least = _LEAST * float(builder.least)
    stock_outs = np.log(level) - np.log(sold)
    # Along the weekday profile, for the classes in which trees do not count.
    profile = statistical.weekday_profile(demand.expected[rows], horizon).astype(np.float64)
    season = np.log(np.maximum(profile, least)) - np.log(np.maximum(profile.mean(1, keepdims=True), least))
    parts = _parts(sold, profile, {STOCK_OUTS: np.broadcast_to(stock_outs, profile.shape), SEASON: season}, least)
    reference = profile
    if model.boosted is not None:
        mean, factors = model.boosted.factors(builder.block(panel.days, horizon, rows))
        logs = {STOCK_OUTS: np.broadcast_to(stock_outs, mean.shape).copy()}
        for position, name in enumerate(model.boosted.names):
            about = driver(name, model.columns)
            logs[about] = logs.get(about, 0.0) + factors[:, :, position]
        by_trees = model.lessons.weights[kind[rows], week[rows], model.names.index("xgboost")] > 0
        of_trees = _parts(sold, mean, logs, least)
        nothing = np.zeros(mean.shape)
        parts = {
            name: np.where(by_trees, of_trees.get(name, nothing), parts.get(name, nothing))
            for name in dict.fromkeys([*of_trees, *parts])
        }
        reference = np.where(by_trees, mean, profile)
    parts[OTHER_MODELS] = blend - reference
    if short[rows].any():
        number = model.names.index(LAUNCH)
        beyond = model.lessons.weights[kind[rows], week[rows], number] * (means[number][rows] - reference)
        parts[SIMILAR] = np.where(short[rows, None], beyond, 0.0)
        parts[OTHER_MODELS] = parts[OTHER_MODELS] - parts[SIMILAR]
    judged = np.zeros(len(panel.keys), int)
    if short.any() and judges_short(model.lessons, model.names):
        judged[short] = similar.judged_by(similar.codes[:, short], np.flatnonzero(short))[0]
    keys = panel.keys.iloc[rows].astype(dict.fromkeys(panel.whole_keys, "int64"))
    known = _frame(keys, panel, horizon, parts, judged[rows])
    return pd.concat([known, told], ignore_index=True) if len(told) else known


def sentence(parts: pd.DataFrame, least: float = 0.02) -> str:
    """The parts of one day (rows of `explain`) in words, those below `least` of the mean left out; of a closed day, of what
    the mean would be if it were open."""
    contributions = parts.set_index("driver")["contribution"]
    if_open = contributions.drop(CLOSED, errors="ignore").sum()
    mean = 0.0 if CLOSED in contributions else if_open
    base, of = (LEVEL, "what was sold") if LEVEL in contributions else (SIMILAR, "similar products")
    others = contributions.drop(base).sort_values(key=np.abs, ascending=False)
    told = [f"{_WORDS.get(name, name)} {value:+.3g}" for name, value in others.items() if abs(value) >= least * if_open]
    similar = int(parts["similar"].iloc[0])
    return (
        f"{mean:.3g}: the level of {of} {contributions[base]:.3g}"
        + "".join(f", {part}" for part in told)
        + (f" (a new product: judged by {similar:,} similar ones)" if similar else "")
    )


_WORDS = {
    SEASON: "weekday and season",
    TREND: "trend",
    STOCK_OUTS: "what stock-outs hid",
    OTHER_MODELS: "the other models",
    NEW_YEAR: "the lunar new year",
    INDICES: "outside indices",
    "is_open": "opening days",
    CLOSED: "closed",
    SIMILAR: "what similar products sell",
    LAUNCH: "as launches go",
}


def _wanted(new: new_products.Newcomers, series) -> tuple[new_products.Newcomers, list | None]:
    """The newcomers among `series`, and those of `series` that are none of them; all of them for None."""
    if series is None:
        return new, None
    asked = {(str(sku), str(location)) for sku, location in series}
    keys = list(zip(new.keys["sku"], new.keys["location"], strict=True))
    keep = np.array([key in asked for key in keys], bool)
    return new.select(keep), [pair for pair in series if (str(pair[0]), str(pair[1])) not in set(keys)]


def _of_new(similar, new: new_products.Newcomers, model: Model, horizon: int) -> pd.DataFrame:
    """The parts of products without a day of history: the level of similar ones, their season, the launch curve."""
    outlook = new_products.outlook(similar, new, model.newcomers, horizon)
    mean = outlook.mean.astype(np.float64)
    level = np.where(mean > 0, outlook.level[:, None], 0.0)
    least = _LEAST * least_level(similar.panel.sales)
    # Curves are at least 0.05; a factor may be 0.
    curve = np.log(outlook.curve)
    logs = {SEASON: np.log(np.maximum(mean, least)) - np.log(np.maximum(level, least)) - curve, LAUNCH: curve}
    for name, factor in zip(model.columns.known_future, outlook.responses, strict=True):
        told, about = np.log(np.maximum(factor, _NOTHING)), driver(name, model.columns)
        logs[about] = logs.get(about, 0.0) + told
        logs[SEASON] = logs[SEASON] - told
    parts = _parts(level, mean, {name: np.where(mean > 0, part, 0.0) for name, part in logs.items()}, least)
    parts = {SIMILAR: parts.pop(LEVEL), **parts}
    keys = new.keys.astype(dict.fromkeys(similar.panel.whole_keys, "int64"))
    return _frame(keys, similar.panel, horizon, parts, similar.judged_by(outlook.codes)[0])


def _rows(keys: pd.DataFrame, series, withheld: pd.DataFrame) -> np.ndarray:
    """Rows of the panel that are wanted."""
    if series is None:
        return np.arange(len(keys))
    position = {(str(sku), str(location)): row for row, (sku, location) in enumerate(keys.itertuples(index=False))}
    reasons = {(str(sku), str(place)): reason for sku, place, reason in withheld.itertuples(index=False)}
    rows = []
    for sku, location in series:
        key = (str(sku), str(location))
        if key in reasons:
            raise ForecastError(f"There is no forecast of {sku} at {location}: {reasons[key]}.")
        if key not in position:
            raise ForecastError(f"The history has no row of {sku} at {location}.")
        rows.append(position[key])
    return np.array(rows, int)


def _parts(base: np.ndarray, whole: np.ndarray, logs: dict[str, np.ndarray], least: float) -> dict[str, np.ndarray]:
    """Contributions [n, H] that sum to `whole`, from `base` [n, 1] and the logarithms of all factors but the level's; both are
    taken for `least` where they are less."""
    base, whole = np.maximum(base, least), np.maximum(whole, least)
    ratio = np.log(whole / base)
    # Near 1 the logarithmic mean is the mean.
    mean = np.where(np.abs(ratio) > 1e-6, (whole - base) / np.where(ratio == 0, 1, ratio), (whole + base) / 2)
    parts = {name: mean * values for name, values in logs.items() if name != LEVEL}
    return {LEVEL: whole - sum(parts.values()), **parts}


def _frame(keys: pd.DataFrame, panel, horizon: int, parts: dict[str, np.ndarray], similar: np.ndarray) -> pd.DataFrame:
    dates = panel.dates[panel.days : panel.days + horizon].astype("datetime64[ns]")
    each = horizon * len(parts)
    return pd.DataFrame(
        {
            "sku": np.repeat(keys["sku"].to_numpy(), each),
            "location": np.repeat(keys["location"].to_numpy(), each),
            "date": np.tile(np.repeat(dates, len(parts)), len(keys)),
            "driver": np.tile(list(parts), len(keys) * horizon),
            "contribution": np.stack(list(parts.values()), axis=2).reshape(-1),
            "similar": np.repeat(similar, each),
        }
    )
