"""The forecast frame: who is forecast, who is withheld, and the rows that come out.

Belongs here: keys, limits and the shape of the result. Does not belong here: training, models.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.demand import Demand
from ml.forecast import distribution, heldout, segments
from ml.forecast.backtest import highest_means
from ml.forecast.config import QUANTILE_COLUMNS, ForecastConfig
from ml.forecast.heldout import BLEND
from ml.forecast.launch import Similar
from ml.forecast.newcomers import judges_short, shared
from ml.forecast.panel import Panel
from ml.wording import how_many

# A quantile this many times above the highest day on record is a fault of the tail, not demand.
_QUANTILE_LIMIT = 4.0


def withhold(panel: Panel, config: ForecastConfig) -> tuple[Panel, pd.DataFrame]:
    """Set aside series that nothing can be said about, with the reason."""
    seen = panel.seen
    last = np.where(seen.any(1), panel.days - 1 - seen[:, ::-1].argmax(1), -1) if panel.days else np.zeros(0, int)
    never = last < 0
    stale = ~never & (panel.days - 1 - last >= config.stale_days)
    reasons = np.full(len(panel.keys), "", object)
    reasons[never] = "no usable day in the history"
    for row in np.flatnonzero(stale):
        reasons[row] = (
            f"no row since {panel.dates[last[row]]}, {how_many(int(panel.days - 1 - last[row]), 'day')} before the end"
            f" (stale_days = {config.stale_days})"
        )
    out = never | stale
    withheld = pd.concat([panel.keys[out].assign(reason=reasons[out]), panel.left_out], ignore_index=True)
    withheld = withheld.sort_values(["sku", "location"], kind="stable", ignore_index=True)
    return panel.select(~out) if out.any() else panel, _typed(withheld, panel)


def _typed(frame: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """Keys as the file had them: numbers stay numbers."""
    return frame.astype(dict.fromkeys(panel.whole_keys, "int64"))


def forecast_frame(
    model, panel: Panel, demand: Demand, means, kind, factor, horizon: int, wanted, similar: Similar | None
) -> pd.DataFrame:
    """The forecast frame, sorted by model, sku, location and date; `factor` [N, H]."""
    count = len(panel.keys)
    kinds = np.repeat(kind, horizon)
    weeks = np.tile(segments.horizon_week(horizon), count)
    factors, whole = factor.reshape(-1), np.repeat(panel.whole, horizon)
    size = distribution.selling_day(demand.expected).repeat(horizon)
    judged, common = _by_similar(model, kind, horizon, similar)
    ceiling = _QUANTILE_LIMIT * np.nan_to_num(demand.expected).max(axis=1, initial=0).repeat(horizon)
    # Few days are no record yet.
    of_similar = _QUANTILE_LIMIT * highest_means(panel, demand)[1].repeat(horizon)
    ceiling = np.where(judged > 0, of_similar, ceiling)
    keys = _typed(panel.keys.loc[panel.keys.index.repeat(horizon)].reset_index(drop=True), panel)
    dates = np.tile(panel.dates[panel.days : panel.days + horizon].astype("datetime64[ns]"), count)
    frames = []
    for name in wanted:
        if name == BLEND:
            number, mean = len(model.names), model.lessons.blend(means.reshape(len(model.names), -1), kinds, weeks)
        elif name in model.names:
            number = model.names.index(name)
            mean = means[number].reshape(-1)
        else:
            continue
        values = heldout.quantiles_of(model.lessons, number, mean, kinds, weeks, factors, whole, size)
        values = np.minimum(values, ceiling[:, None].astype(np.float32))
        columns = {"model": pd.Categorical.from_codes(np.zeros(len(mean), np.int8), [name]), "mean": mean}
        columns |= {column: values[:, position] for position, column in enumerate(QUANTILE_COLUMNS)}
        by_similar = name == BLEND
        columns |= {"similar": judged * by_similar, "shared": common * np.float32(by_similar), "whole": whole}
        frames.append(pd.DataFrame({"sku": keys["sku"], "location": keys["location"], "date": dates, **columns}))
    if not frames:
        return empty_frame()
    names = [frame["model"].cat.categories[0] for frame in frames]
    for frame in frames:
        frame["model"] = frame["model"].cat.set_categories(names)
    return pd.concat(frames, ignore_index=True).astype({"model": str})


def _by_similar(model, kind, horizon: int, similar: Similar | None) -> tuple[np.ndarray, np.ndarray]:
    """For each series-day [N * H], how many similar series the blend judges by besides the series' own few days, 0 where it
    does not, and the part of the variance that comes from the level."""
    judged, common = np.zeros((len(kind), horizon), np.int32), np.zeros((len(kind), horizon), np.float32)
    short = np.flatnonzero(kind == segments.SHORT)
    if similar is not None and len(short) and judges_short(model.lessons, model.names):
        mean, squared = similar.forecast(short, horizon)
        common[short] = shared(squared, mean, model.base_spread)
        judged[short] = similar.judged_by(similar.codes[:, short], short)[0][:, None]
    return judged.reshape(-1), common.reshape(-1)


def empty_frame() -> pd.DataFrame:
    empty = {"sku": str, "location": str, "date": "datetime64[ns]", "model": str, "mean": "float32"}
    after = {"similar": "int32", "shared": "float32", "whole": bool}
    return pd.DataFrame(
        {
            name: pd.Series(dtype=kind)
            for name, kind in (empty | dict.fromkeys(QUANTILE_COLUMNS, "float32") | after).items()
        }
    )
