"""On both real sets the blend beats seasonal naive, on days nobody trained on."""

from __future__ import annotations

import pytest

from benchmarks import accuracy
from ml.forecast import ForecastConfig, RecurrentConfig

CONFIG = ForecastConfig(recurrent=RecurrentConfig(enabled=False))

pytestmark = [pytest.mark.real_data, pytest.mark.long]


def test_fresh(real_data):
    frame = accuracy.fresh(real_data, 300)
    table = accuracy.compare(frame, (7, 14), 2, 7, accuracy.FRESH_ROLES, accuracy.daily_measures, 0, CONFIG)
    for horizon in (7, 14):
        blend, naive = table.loc[(horizon, "blend")], table.loc[(horizon, "SeasonalNaive")]
        assert blend["WAPE"] < naive["WAPE"]
        assert blend["WAPE in stock"] < 0.9 * naive["WAPE in stock"]
        assert blend["pinball"] < 0.85 * naive["pinball"]
        assert abs(blend["bias in stock"]) < abs(naive["bias in stock"])


def test_gifts(real_data):
    frame = accuracy.gifts(real_data, 300)
    table = accuracy.compare(frame, (28,), 2, 28, {}, accuracy.weekly_measures, 0, CONFIG)
    blend, naive = table.loc[(28, "blend")], table.loc[(28, "SeasonalNaive")]
    assert blend["weekly WAPE"] < 0.85 * naive["weekly WAPE"]
    assert blend["pinball"] < 0.8 * naive["pinball"]
