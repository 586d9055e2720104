"""The generated series of the scale benchmark, and a case small enough to run."""

from __future__ import annotations

import numpy as np

from benchmarks import scale


def test_series_look_like_retail_demand_and_the_frame_is_small():
    history, future = scale.demand(scale.Case(2_000, 120, 14))
    assert len(history) == 2_000 * 120
    assert len(future) == 2_000 * 14
    assert "quantity" not in future
    assert history.groupby(["sku", "location"], observed=True).size().eq(120).all()
    assert history["date"].max() < future["date"].min()
    sold = history["quantity"].to_numpy()
    assert 0.3 < (sold == 0).mean() < 0.8
    assert 0.01 < (history["in_stock_share"] < 1).mean() < 0.4
    assert sold[history["discount"] < 1].mean() > 1.2 * sold[history["discount"] == 1].mean()
    assert history.memory_usage(deep=True).sum() < 40 * len(history)


def test_a_case_is_trained_forecast_and_told(monkeypatch):
    monkeypatch.setitem(scale.CASES, "tiny", scale.Case(15, 60, 7, predict=600, gigabytes=1e-3))
    told = {"tiny": scale.run(scale.CASES["tiny"])}
    assert told["tiny"]["seconds"]["train"] > 0
    row = scale.summary(told).iloc[0]
    assert row["limit"] == "predict 600 s, peak 0.001 GB"
    assert row["held"] == "NO"  # nothing fits into a megabyte
    assert np.isin(["train", "predict"], scale.steps(told)["step"]).all()
