"""On both real sets the blend beats seasonal naive, on days nobody trained on."""

from __future__ import annotations

import pytest

from benchmarks import datasets, measures
from benchmarks.rolling import roll
from ml.forecast import ForecastConfig, RecurrentConfig

CONFIG = ForecastConfig(recurrent=RecurrentConfig(enabled=False))

pytestmark = [pytest.mark.real_data, pytest.mark.long]


def _compare(data):
    return measures.means(measures.scores(data, roll(data, 2, {"naive"}, 0, CONFIG)))


def test_fresh(real_data):
    table = _compare(datasets.fresh(real_data, 300))
    for horizon in (7, 14):
        blend, sales, naive = (table.loc[(horizon, name)] for name in ("blend", "sales", "SeasonalNaive"))
        assert max(blend["WAPE"], sales["WAPE"]) < naive["WAPE"]
        assert sales["WAPE in stock"] < 0.8 * naive["WAPE in stock"]
        assert sales["pinball in stock"] < 0.8 * naive["pinball in stock"]
        assert abs(blend["bias in stock"]) < abs(naive["bias in stock"])


def test_gifts(real_data):
    table = _compare(datasets.gifts(real_data, 300))
    blend, naive = table.loc[(28, "blend")], table.loc[(28, "SeasonalNaive")]
    assert blend["weekly WAPE"] < 0.85 * naive["weekly WAPE"]
    assert blend["pinball"] < 0.8 * naive["pinball"]
