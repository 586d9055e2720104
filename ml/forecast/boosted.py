"""The global gradient-boosted trees (XGBoost): one booster, direct over lead days.

Belongs here: the XGBoost calls. Does not belong here: what the features are, which days are learned from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.forecast.config import BoostedConfig
from ml.forecast.features import Block
from ml.forecast.sample import LARGEST, POWER, Sample, matching

if TYPE_CHECKING:
    import xgboost

# On fewer rows threads wait for each other longer than they work; a row's Shapley values cost as much as many predictions.
_ROWS_FOR_THREADS, _SHAPLEY_COST = 150_000, 200
_LEAST_ROWS = 500


@dataclass
class Boosted:
    """A trained booster, the names of the features it expects, how far common drifts were taken out of its targets, and the
    factor after which its predictions sum to them."""

    booster: xgboost.Booster
    names: tuple[str, ...]
    damping: float = 0.0
    scale: float = 1.0

    def predict(self, block: Block) -> np.ndarray:
        """Mean demand [N, H] of the block's days."""
        count, horizon = block.values.shape[:2]
        if not count:
            return np.zeros((0, horizon), np.float32)
        self._use_threads(count * horizon)
        mean = self.booster.inplace_predict(self._matrix(block), validate_features=False).reshape(count, horizon)
        return np.minimum(mean, LARGEST) * self._unit(block)

    def factors(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Mean demand [N, H] as `predict` gives it, and the logarithm of the factor that each feature of `names` multiplies
        it by [N, H, F] (Shapley values)."""
        import xgboost

        shape = block.values.shape[:2]
        self._use_threads(shape[0] * shape[1] * _SHAPLEY_COST)
        shapley = self.booster.predict(xgboost.DMatrix(self._matrix(block)), pred_contribs=True)
        mean = np.minimum(np.exp(shapley.sum(1)), LARGEST).reshape(shape)
        mean = mean * self._unit(block)
        return mean.astype(np.float64), shapley[:, :-1].reshape(*shape, -1).astype(np.float64)

    def _unit(self, block: Block) -> np.ndarray:
        """Demand [N, 1] that a prediction of 1 stands for."""
        return block.level[:, None] * block.drift**self.damping * self.scale

    def _matrix(self, block: Block) -> np.ndarray:
        """The block's features [N * H, F] in the order the booster knows."""
        return block.ordered(self.names).reshape(-1, len(self.names))

    def _use_threads(self, rows: int) -> None:
        self.booster.set_param({"nthread": threads() if rows > _ROWS_FOR_THREADS else 1})


def fit_boosted(sample: Sample, config: BoostedConfig, seed: int) -> Boosted | None:
    """Train the booster, or None where there is too little to learn from."""
    import xgboost

    seen = sample.weight > 0
    target = sample.target[seen]
    if len(target) < _LEAST_ROWS or not target.any():
        return None
    workers = threads() if len(target) > _ROWS_FOR_THREADS else 1
    values, weight = sample.values[seen], sample.weight[seen]
    learned = np.minimum(target, LARGEST)
    data = xgboost.QuantileDMatrix(values, learned, weight=weight, max_bin=128, nthread=workers)
    parameters = {
        "objective": "reg:tweedie",
        "tweedie_variance_power": POWER,
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
    booster = xgboost.train(parameters, data, config.rounds)
    scale = matching(target, booster.inplace_predict(values, validate_features=False), weight)
    return Boosted(booster, sample.names, sample.damping, scale)


def threads() -> int:
    """Threads to use: OMP_NUM_THREADS where set, else all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1
