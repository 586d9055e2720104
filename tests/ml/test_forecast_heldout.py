"""What is held out: drawn by whole stretches, known as it was at the origin, and scored as it is forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ml.forecast import heldout, newcomers
from ml.forecast.heldout import HeldOut
from ml.forecast.launch import LAUNCH
from ml.forecast.newcomers import Pretended
from ml.forecast.segments import CLASSES, SHORT


def held_out(
    series: int, leads: int, origins: tuple[int, ...] = (60, 67), kind: str = "smooth", seed: int = 0
) -> HeldOut:
    """Days of Poisson demand around means that two models say as they are, and each a tenth too high or low."""
    origin, number, lead = (part.ravel() for part in np.meshgrid(origins, range(series), range(leads), indexing="ij"))
    rng = np.random.default_rng(seed)
    mean = rng.gamma(3, 2, series)[number]
    sold = rng.poisson(mean).astype(np.float32)
    full, rows = np.ones(len(sold), np.float32), len(sold)
    return HeldOut(
        np.stack([1.1 * mean, 0.9 * mean]).astype(np.float32), sold, sold, sold, full, origin, number, lead,
        np.full(rows, CLASSES.index(kind)), lead // 7, np.ones(rows, bool), full, 5 * full,
    )  # fmt: skip


def test_what_is_scored_of_many_series_are_whole_stretches_of_every_origin(monkeypatch):
    held = held_out(series=400, leads=14)
    monkeypatch.setattr(heldout, "_SCORE_ROWS", 2_000)
    few = heldout.sample(held, seed=3)
    assert 1_900 <= few.rows <= 2_000
    assert (np.bincount(few.stretch) == 14).all()
    assert set(few.origin) == set(held.origin)
    assert np.array_equal(few.sales, heldout.sample(held, seed=3).sales)
    assert not np.array_equal(few.series, heldout.sample(held, seed=4).series)
    # The same series at two origins has two stretches, and a week of it two numbers.
    assert len(np.unique(few.series_week)) == 2 * len(np.unique(few.stretch))


def test_series_taken_for_new_are_corrected_as_all_others_are_and_once():
    names = ("weekday_profile", LAUNCH)
    held = held_out(series=100, leads=14)
    held = replace(held, means=0.6 * held.means)
    lessons = heldout.learn(held, names, seed=0)
    assert lessons.correction[0] > 1.1
    new = replace(held, kind=np.full(held.rows, SHORT))
    smooth, correction = CLASSES.index("smooth"), lessons.correction[0]
    newcomers.learn([Pretended(new, new.take(np.zeros(0, int)))], held, lessons, names, seed=0)
    assert lessons.correction[0] == correction
    # What is learned from the same days is the same.
    for learned in (lessons.levels, lessons.units, lessons.shapes):
        assert np.array_equal(learned[0, SHORT], learned[0, smooth])
