"""What each group of features earns: `STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.ablation [--series 1000]`.

Trees alone forecast recorded sales of FreshRetailNet-50K's series that `benchmarks.accuracy` does not draw, at three origins
a week apart, horizon 14; then once more without each group. A group is left out of the training rows, so that the trees never
see it. Printed is how much worse WAPE of the mean gets, on all days and on those fully in stock, each the mean of two seeds,
and how far a single seed is from that mean without leaving anything out: less than that is nothing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.datasets import DataSet, data_folder, fresh
from benchmarks.markdown import markdown
from benchmarks.peers import KEY
from ml.demand import recover_demand
from ml.forecast import ForecastConfig, scoring
from ml.forecast.boosted import fit_boosted
from ml.forecast.features import FeatureBuilder
from ml.forecast.panel import Columns, Panel, build_panel
from ml.forecast.sample import Sample, draw_sample

HORIZON, ORIGINS, SEEDS = 14, 3, (0, 1)
_NOISE = "nothing, one seed alone"

_PLANNED = r"(discount|holiday_flag|activity_flag)"
GROUPS = {
    "planned discount, promotion, holiday; days before and after; own response": rf"{_PLANNED}(_.+)?",
    "stock-outs and the demand recovered from them": r"(.+_)?in_stock(_.+)?|demand_.+",
    "trends and weekday profiles of product, store, category, city": r"(sku|location|category|city|all)_(trend|profile)",
    "category and city as such": r"static_.+",
    "own weekday means": r"weekday_mean_\d+|profile",
    "each product's own response to discount, promotion, holiday": rf"{_PLANNED}_response",
    "own spread, highest day, share of days without a sale, age": r"spread|highest|zero_share|days_since_sale|age",
    "own level and means": r"log_level|mean_\d+|trend",
    "stock-outs alone, recovered demand staying": r"(.+_)?in_stock(_.+)?",
    "recovered demand alone, stock-outs staying": r"demand_.+",
    "weather of past days": r"(precpt|avg_temperature)_.+",
    "calendar": r"weekday|day_of_.+|year_ago|all_year_ago",
}
"""Title -> pattern of the whole name of a feature. Groups may overlap; each is left out by itself."""


def members(group: str, names: tuple[str, ...]) -> np.ndarray:
    """Which [F] of the features belong to a group."""
    pattern = re.compile(GROUPS[group])
    return np.array([bool(pattern.fullmatch(name)) for name in names])


def without(sample: Sample, leave_out: np.ndarray) -> Sample:
    keep = ~leave_out
    names = tuple(name for name, kept in zip(sample.names, keep, strict=True) if kept)
    return replace(sample, values=np.ascontiguousarray(sample.values[..., keep]), names=names)


def ablation(data: DataSet, config: ForecastConfig, origins: int = ORIGINS) -> pd.DataFrame:
    """One row per group: its features, and how much worse WAPE gets without it."""
    found: dict[str, list[np.ndarray]] = {}
    sizes = {_NOISE: 0}
    for builder, panel, dispersion, truth in _origins(data, config, origins):
        sample = draw_sample(builder, config.boosted, HORIZON, 0, dispersion)
        block = builder.block(panel.days, HORIZON)

        def errors(sample: Sample, block=block, panel=panel, truth=truth) -> np.ndarray:
            trees = (fit_boosted(sample, config.boosted, seed) for seed in SEEDS)
            return np.stack([_wapes(one.predict(block), panel, truth) for one in trees])

        each = errors(sample)
        whole = each.mean(0)
        found.setdefault(_NOISE, []).append(np.abs(each[0] / whole - 1))
        for group in GROUPS:
            mine = members(group, sample.names)
            sizes[group] = int(mine.sum())
            found.setdefault(group, []).append(errors(without(sample, mine)).mean(0) / whole - 1)
    table = {group: np.mean(changes, axis=0) for group, changes in found.items()}
    return pd.DataFrame(
        [
            (group, sizes[group], f"{all_days:+.1%}", f"{in_stock:+.1%}")
            for group, (all_days, in_stock) in table.items()
        ],
        columns=["left out", "features", "WAPE", "WAPE in stock"],
    )


def _origins(
    data: DataSet, config: ForecastConfig, origins: int
) -> Iterator[tuple[FeatureBuilder, Panel, tuple[float, float], pd.DataFrame]]:
    """As the model `sales` is trained: on sales as they were recorded, in-stock shares and recovered demand being features."""
    roles = data.roles
    columns = Columns(
        *(tuple(roles[name]) for name in ("known_future", "past_only", "static")), roles["availability"], recorded=True
    )
    for number in range(origins):
        _, history, future = data.split(number)
        panel = build_panel(history, future, HORIZON, columns, config)
        demand = recover_demand(panel.sales, panel.share)
        yield FeatureBuilder(panel, demand.expected, demand.asked), panel, demand.dispersion, future


def _wapes(mean: np.ndarray, panel: Panel, future: pd.DataFrame) -> np.ndarray:
    """WAPE of the mean [N, HORIZON], on all days and on those fully in stock."""
    keys = panel.keys.loc[panel.keys.index.repeat(HORIZON)].reset_index(drop=True)
    told = keys.assign(
        date=np.tile(panel.dates[-HORIZON:].astype("datetime64[ns]"), len(panel.keys)), mean=mean.ravel()
    )
    joined = future.assign(**{name: future[name].astype(str) for name in KEY}).merge(told, on=[*KEY, "date"])
    full = joined["full_day"]
    return np.array([scoring.wape(part["quantity"], part["mean"]) for part in (joined, joined[full])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--origins", type=int, default=ORIGINS)
    arguments = parser.parse_args()
    data = fresh(data_folder(), arguments.series, others=True)
    print(markdown(ablation(data, ForecastConfig(), arguments.origins)))


if __name__ == "__main__":
    main()
