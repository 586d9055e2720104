import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks import accuracy, newcomers, smoothing
from benchmarks.datasets import _others, _some, in_stock
from ml.forecast import scoring


def test_the_right_forecast_is_found_too_high_over_all_hours_in_stock_and_hardly_over_mornings():
    """Who sells much today runs dry today: sales then have fewer hours in stock to be compared in."""
    rng = np.random.default_rng(0)
    days = 60_000
    mean = rng.lognormal(1.5, 0.7, days)
    profile = np.where((np.arange(24) >= 8) & (np.arange(24) < 22), 1 / 14, 0.0)
    demand = rng.poisson((mean * rng.gamma(5, 1 / 5, days))[:, None] * profile)
    stock = np.ceil(1.3 * mean * rng.lognormal(0, 0.3, days))
    before = np.cumsum(demand, axis=1) - demand
    sold, out = np.clip(stock[:, None] - before, 0, demand), before >= stock[:, None]
    full = ~out.any(1)
    assert 0.25 < 1 - full.mean() < 0.35
    judged = in_stock(sold.astype(float), out, full)
    over_all, mornings = (
        scoring.bias(judged[f"sold_in_stock{part}"], mean * judged[f"usual_part{part}"]) for part in ("", "_morning")
    )
    assert over_all > 0.04
    assert abs(mornings) < 0.005


def test_what_is_chosen_on_is_none_of_what_is_judged():
    frame = pd.DataFrame({"sku": [f"P{i}" for i in range(100)], "location": "S", "quantity": 1}).merge(
        pd.DataFrame({"date": pd.date_range("2025-01-01", periods=2)}), how="cross"
    )
    judged, all_others, some = _some(frame, 30), _others(frame, 30, None), _others(frame, 30, 20)
    assert set(judged["sku"]).isdisjoint(all_others["sku"])
    assert set(judged["sku"]) | set(all_others["sku"]) == set(frame["sku"])
    assert some["sku"].nunique() == 20
    assert set(some["sku"]) < set(all_others["sku"])


@pytest.mark.parametrize("table", [accuracy, newcomers, smoothing])
def test_a_data_set_that_there_is_not_is_said_before_anything_is_read(table, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["table", "--data", "fresh,gfits"])
    with pytest.raises(SystemExit):
        table.main()
    assert "there is no 'gfits'; there are fresh, gifts" in capsys.readouterr().err
