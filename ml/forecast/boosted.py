"""The global gradient-boosted trees (XGBoost): one booster, direct over lead days.

Belongs here: drawing training rows and the XGBoost calls. Does not belong here: what the features are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.demand import evidence
from ml.forecast.config import BoostedConfig
from ml.forecast.drift import damping
from ml.forecast.features import Block, FeatureBuilder

if TYPE_CHECKING:
    import xgboost

# Targets are relative to the series' level; a single day further out is the business of the quantiles.
_LARGEST = 20.0
# On fewer rows threads wait for each other longer than they work; a row's Shapley values cost as much as many predictions.
_ROWS_FOR_THREADS, _SHAPLEY_COST = 150_000, 200


@dataclass
class Boosted:
    """A trained booster, the names of the features it expects, and how far common drifts were taken out of its targets."""

    booster: xgboost.Booster
    names: tuple[str, ...]
    damping: float = 0.0

    def predict(self, builder: FeatureBuilder, origin: int, horizon: int) -> np.ndarray:
        """Mean demand [N, H] of the days after `origin`."""
        block = builder.block(origin, horizon)
        count = len(block.level)
        if not count:
            return np.zeros((0, horizon), np.float32)
        self._use_threads(count * horizon)
        mean = self.booster.inplace_predict(self._matrix(block), validate_features=False).reshape(count, horizon)
        return np.minimum(mean, _LARGEST) * block.level[:, None] * builder.drift_so_far(origin) ** self.damping

    def factors(
        self, builder: FeatureBuilder, origin: int, horizon: int, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For the series in `rows`: mean demand [n, H] as `predict` gives it, and the logarithm of the factor that each
        feature of `names` multiplies it by [n, H, F] (Shapley values)."""
        import xgboost

        block = builder.block(origin, horizon, rows)
        shape = (len(rows), horizon)
        self._use_threads(len(rows) * horizon * _SHAPLEY_COST)
        shapley = self.booster.predict(xgboost.DMatrix(self._matrix(block)), pred_contribs=True)
        mean = np.minimum(np.exp(shapley.sum(1)), _LARGEST).reshape(shape)
        mean = mean * block.level[:, None] * builder.drift_so_far(origin) ** self.damping
        return mean.astype(np.float64), shapley[:, :-1].reshape(*shape, -1).astype(np.float64)

    def _matrix(self, block: Block) -> np.ndarray:
        """The block's features [N * H, F] in the order the booster knows."""
        # A panel without a covariate's history may lack a feature, and one with more groups may have another.
        position = {name: index for index, name in enumerate(block.names)}
        flat = block.values.reshape(-1, len(block.names))
        values = np.full((len(flat), len(self.names)), np.nan, np.float32)
        for target, name in enumerate(self.names):
            if name in position:
                values[:, target] = flat[:, position[name]]
        return values

    def _use_threads(self, rows: int) -> None:
        self.booster.set_param({"nthread": threads() if rows > _ROWS_FOR_THREADS else 1})


@dataclass(frozen=True)
class Rows:
    """Training rows: features [n, F], target relative to the level [n], weight [n]."""

    values: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    names: tuple[str, ...]
    damping: float = 0.0


def training_rows(
    builder: FeatureBuilder,
    config: BoostedConfig,
    until: int,
    horizon: int,
    seed: int,
    dispersion: tuple[float, float],
) -> Rows:
    """Rows from origins before `until` whose target days lie before it too, at most `config.rows` of them.

    The target is what sold over the part of the day in which it could sell, and a row weighs what it tells of that
    (`ml.demand.evidence`, by the `dispersion` found there). Errors count in units: a row also weighs what its series sells.
    """
    rng = np.random.default_rng(seed)
    origins = _origins(until, horizon)
    wanted = max(config.rows_least, config.rows_per_series * len(builder.first))
    per_origin = max(1, min(config.rows, wanted) // max(len(origins), 1))
    values, targets, levels, exposures, names = [], [], [], [], ()
    damped = damping(until, horizon)
    for origin in origins:
        ahead = min(horizon, until - origin)
        alive = np.flatnonzero(builder.first <= origin - min(7, origin))
        count = max(1, per_origin // ahead)
        rows = np.sort(rng.permutation(alive)[:count]) if len(alive) > count else alive
        if not len(rows):
            continue
        block = builder.block(origin, ahead, rows)
        names = block.names
        target = slice(origin, origin + ahead)
        exposure = builder.exposure[rows, target]
        seen = (exposure > 0) & (block.level > 1e-5)[:, None]
        level, exposure = np.repeat(block.level[:, None], ahead, axis=1)[seen], exposure[seen]
        values.append(block.values[seen])
        drift = builder.drift(origin, horizon) ** damped
        targets.append(np.minimum(builder.sales[rows, target][seen] / (exposure * level * drift), _LARGEST))
        levels.append(level)
        exposures.append(exposure)
    if not sum(map(len, targets)):
        return Rows(np.empty((0, 0), np.float32), np.empty(0, np.float32), np.empty(0, np.float32), ())
    level = np.concatenate(levels)
    weight = np.minimum(level, np.quantile(level, 0.995)) * evidence(np.concatenate(exposures), level, dispersion)
    return Rows(np.concatenate(values), np.concatenate(targets), weight / weight.mean(), names, damped)


def fit_boosted(rows: Rows, config: BoostedConfig, seed: int) -> Boosted:
    """Train the booster; the Tweedie loss suits non-negative demand with many zeros and estimates the mean."""
    import xgboost

    workers = threads() if len(rows.target) > _ROWS_FOR_THREADS else 1
    data = xgboost.QuantileDMatrix(rows.values, rows.target, weight=rows.weight, max_bin=128, nthread=workers)
    parameters = {
        "objective": "reg:tweedie",
        "tweedie_variance_power": 1.2,
        "base_score": 1.0,
        "tree_method": "hist",
        "max_depth": config.depth,
        "learning_rate": config.learning_rate,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
        "colsample_bytree": config.columns,
        "max_bin": 128,
        "seed": seed,
        "nthread": workers,
    }
    return Boosted(xgboost.train(parameters, data, config.rounds), rows.names, rows.damping)


def threads() -> int:
    """Threads to use: OMP_NUM_THREADS where set, else all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1


def _origins(until: int, horizon: int) -> list[int]:
    """Origins to learn from: the last ten weeks every second day, before that every week, never the first week."""
    earliest = 7 if until < 84 else 28
    recent = list(range(until - 1, max(until - 70, earliest) - 1, -2))
    older = list(range(recent[-1] - 7, earliest - 1, -7)) if recent and recent[-1] > earliest + 7 else []
    return sorted(recent + older)
