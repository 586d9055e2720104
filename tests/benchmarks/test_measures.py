"""The tables of errors name the right winner and hold ours to the limits they state."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import measures
from benchmarks.datasets import DataSet
from benchmarks.markdown import markdown
from benchmarks.rolling import WITHOUT_LSTM, Origin
from ml.forecast import QUANTILE_COLUMNS, Dependence, scoring


def _told(means: dict[str, float], dates: pd.DatetimeIndex) -> dict[str, pd.DataFrame]:
    frame = pd.DataFrame({"sku": "A", "location": "L", "date": dates})
    return {name: frame.assign(mean=mean, **dict.fromkeys(QUANTILE_COLUMNS, mean)) for name, mean in means.items()}


def _origin(end: str, means: dict[str, float]) -> Origin:
    dates = pd.date_range(pd.Timestamp(end) + pd.Timedelta(days=1), periods=7)
    future = pd.DataFrame({"sku": "A", "location": "L", "date": dates, "quantity": 10.0})
    classes = pd.DataFrame({"sku": ["A"], "location": ["L"], "class": ["smooth"]})
    weights = pd.DataFrame({"segment": ["smooth"], "week": [1], "model": ["lstm"], "weight": [0.3]})
    return Origin(pd.Timestamp(end), _told(means, dates), future, classes, {"blend": Dependence()}, weights)


def _judge(told: pd.DataFrame, future: pd.DataFrame) -> dict[str, float]:
    joined = future.merge(told)
    return {
        "WAPE": scoring.wape(joined["quantity"].to_numpy(), joined["q50"].to_numpy()),
        "bias": scoring.bias(joined["quantity"].to_numpy(), joined["mean"].to_numpy()),
    }


@pytest.fixture
def data() -> DataSet:
    return DataSet(
        "made", pd.DataFrame(), (7,), 7, _judge,
        lambda model, told, future: future.merge(told).assign(y=lambda f: f["quantity"], ran_out=False), {},
    )  # fmt: skip


MEANS = {"blend": 11.0, "xgboost": 11.1, "lstm": 10.9, WITHOUT_LSTM: 11.5, "Plain": 12.0, "Flat": 8.5, "AutoETS": 10.0}


def test_ours_is_set_against_the_best_peer_that_forecasts_all_series(data):
    table = measures.means(measures.scores(data, [_origin("2025-01-01", MEANS)]))
    row = measures.against_the_best(table).iloc[0]
    assert (row["ours"], row["best peer"]) == ("blend", "Flat")
    assert row["ratio"] == pytest.approx(0.1 / 0.15)


def test_bias_is_held_at_each_origin_to_the_best_peer_there_and_on_average_to_its_limit(data):
    origins = [
        _origin("2025-01-01", {"blend": 11.0, "Plain": 10.9, "Flat": 9.5}),
        _origin("2025-01-08", {"blend": 9.1, "Plain": 13.0, "Flat": 9.5}),
    ]
    table = measures.bias_by_origin(measures.scores(data, origins)).set_index("origin")
    assert list(table["held"]) == ["NO", "NO", "yes"]  # 5 and 4 points further than Flat; 0.5 % on average
    assert list(table["best peer"])[:2] == ["Flat", "Flat"]
    assert table.loc["mean", "bias"] == pytest.approx(0.005)
    assert set(table["measure"]) == {"bias"}


def test_the_blend_is_held_to_its_better_learned_model(data):
    table = measures.means(measures.scores(data, [_origin("2025-01-01", MEANS)]))
    row = measures.against_its_models(table).iloc[0]
    assert (row["better model"], row["held"]) == ("lstm", "NO")
    assert row["ratio"] == pytest.approx(0.1 / 0.09)


def test_what_the_lstm_earns_is_the_loss_it_takes_away(data):
    gains = measures.lstm_gains(data, [_origin("2025-01-01", MEANS), _origin("2025-01-08", MEANS)])
    row = gains.loc[("smooth", 1)]
    assert row["LSTM's weight"] == pytest.approx(0.3)
    assert row["absolute error gained"] == pytest.approx(1 - 1.0 / 1.5)
    assert row["pinball gained"] == pytest.approx(1 - 1.0 / 1.5)


def test_tables_are_markdown():
    table = pd.DataFrame({"a": ["x"], "b": [np.float64(0.5)]})
    assert markdown(table) == "| a | b |\n| --- | --- |\n| x | 0.5000 |"
