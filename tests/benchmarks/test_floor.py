"""What is said of a day by who knows all others must not know the day itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.floor import _COVARIATES, Around
from benchmarks.peers import KEY


def days(changed: tuple[str, str, int] | None = None) -> pd.DataFrame:
    """Four series of 60 days, two products in two stores; `changed`: one day of one of them sold ten times as much."""
    rng = np.random.default_rng(1)
    keys = pd.MultiIndex.from_product([["P", "Q"], ["S", "T"], pd.date_range("2025-01-01", periods=60)])
    frame = keys.to_frame(index=False, name=[*KEY, "date"])
    frame = frame.assign(quantity=rng.gamma(4.0, 1.0, len(frame)), full_day=True, **dict.fromkeys(_COVARIATES, 0.0))
    if changed:
        sku, location, day = changed
        at = (frame["sku"] == sku) & (frame["location"] == location)
        frame.loc[frame.index[at][day], "quantity"] *= 10
    return frame


@pytest.mark.parametrize("same_day", [False, True])
def test_nothing_that_is_known_of_a_day_changes_with_what_it_sold(same_day):
    before, after = (Around(frame).known(same_day) for frame in (days(), days(("P", "S", 30))))
    np.testing.assert_array_equal(before[0, 30], after[0, 30])
    assert not np.array_equal(before[0, 31], after[0, 31], equal_nan=True)


def test_only_who_knows_the_same_day_learns_what_others_sold_on_it():
    """The same product in another store."""
    for same_day in (False, True):
        before, after = (Around(frame).known(same_day) for frame in (days(), days(("P", "T", 30))))
        assert np.array_equal(before[0, 30], after[0, 30], equal_nan=True) is not same_day
