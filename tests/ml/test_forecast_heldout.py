"""What is held out: drawn by whole stretches, known as it was at the origin, and scored as it is forecast."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from ml.demand import recover_demand
from ml.forecast import BoostedConfig, ForecastConfig, RecurrentConfig, backtest, heldout, newcomers
from ml.forecast.backtest import as_of, hold_out, means_at
from ml.forecast.heldout import BLEND, HeldOut
from ml.forecast.launch import LAUNCH, study
from ml.forecast.newcomers import Pretended
from ml.forecast.panel import Columns, Panel, build_panel
from ml.forecast.segments import CLASSES, SHORT
from ml.forecast.statistical import METHODS

CONFIG = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))
NAMES = ("weekday_profile", LAUNCH)


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


def taken_for_new(held: HeldOut) -> list[Pretended]:
    """The rows of `held` as if they were of series of some days."""
    new = replace(held, kind=np.full(held.rows, SHORT))
    parts = (new.take(new.origin == origin) for origin in np.unique(held.origin))
    return [Pretended(int(some.origin[0]), some, some.take(np.zeros(0, int))) for some in parts]


def test_series_taken_for_new_are_corrected_as_all_others_are_and_once():
    held = held_out(series=100, leads=14)
    held = replace(held, means=0.6 * held.means)
    lessons = newcomers.learn(held, taken_for_new(held), NAMES, seed=0)
    assert lessons.correction[0] == heldout.learn(held, NAMES, seed=0).correction[0] > 1.1
    # What is learned from the same days is the same.
    for learned in (lessons.levels, lessons.units, lessons.shapes):
        assert np.array_equal(learned[0, SHORT], learned[0, CLASSES.index("smooth")])


def test_the_score_of_short_series_is_that_of_the_forecast_they_get():
    held = held_out(series=100, leads=14)
    short = held.series < 3  # too few to teach anything themselves
    held = replace(held, kind=np.where(short, SHORT, held.kind))
    right = held.means[0] / 1.1
    held = replace(held, means=np.stack([right, np.where(short, 3, 1) * right]))
    others = replace(held, means=np.stack([right, 3 * right]))
    learn = partial(newcomers.learn, pretended=taken_for_new(others), names=NAMES, seed=0)
    assert learn(held).weights[SHORT, 0].tolist() == [1, 0]
    scores = heldout.score(held, NAMES, learn).set_index(["segment", "model"])
    forecast, profile, similar = (scores.loc[("short", name)] for name in (BLEND, *NAMES))
    assert forecast["wape"] == pytest.approx(profile["wape"], rel=0.1)
    assert similar["wape"] > 1.2 * forecast["wape"]


def test_an_origin_is_scored_by_what_series_taken_for_new_at_the_others_teach():
    held = held_out(series=100, leads=14)
    held = replace(held, means=held.means / np.array([[1.1], [0.9]], np.float32))
    held = replace(held, kind=np.where(held.series < 50, SHORT, held.kind))
    misled = taken_for_new(held)
    some = misled[0].some
    misled[0] = replace(misled[0], some=replace(some, sales=9 * some.sales, asked=9 * some.asked, drawn=9 * some.drawn))
    lessons = newcomers.learn(held.take(held.origin == misled[1].origin), misled, NAMES, seed=0)
    other = newcomers.learn(held.take(held.origin == misled[0].origin), misled, NAMES, seed=0)
    assert lessons.correction[1] == pytest.approx(1, abs=0.05)
    assert other.correction[1] > 1.1


DAYS, ORIGIN, AHEAD = 112, 98, 14
ALL = (*METHODS, LAUNCH)


def shop(series: int = 60, seed: int = 0) -> pd.DataFrame:
    """Levels that differ tenfold, sold in whole units; closed on one day of the week."""
    rng = np.random.default_rng(seed)
    mean = 8 * np.exp(rng.normal(0, 0.8, series))[:, None] * np.array([1, 1, 1.2, 1.4, 2, 1.6, 0])[np.arange(DAYS) % 7]
    index = pd.MultiIndex.from_product(
        [[f"P{i:02d}" for i in range(series)], pd.date_range("2025-01-06", periods=DAYS)], names=["sku", "date"]
    )
    return index.to_frame(index=False).assign(location="S1", quantity=rng.poisson(mean).ravel(), in_stock_share=1.0)


def read(frame: pd.DataFrame, availability: str | None = None) -> Panel:
    return build_panel(frame, None, 0, Columns(availability=availability), CONFIG)


def held_out_of(panel: Panel):
    recovered = recover_demand(panel.sales, panel.share)
    return hold_out(panel, recovered, [ORIGIN], AHEAD, recovered.dispersion, CONFIG, None, None, ALL, seed=0)


def test_a_series_taken_for_new_is_forecast_as_one_that_is(monkeypatch):
    monkeypatch.setattr(newcomers, "_SHOWN", (3,))
    panel = read(shop())
    some = held_out_of(panel)[2][0].some
    sales = panel.sales.copy()
    sales[7, : ORIGIN - 3] = np.nan
    before, demand = as_of(replace(panel, sales=sales), ORIGIN)
    real = means_at(before, demand, ORIGIN, AHEAD, None, None, ALL, ALL, study(before, demand.asked))[:, 7]
    mine = some.series == 7
    for number, name in enumerate(ALL):
        assert some.means[number, mine] == pytest.approx(real[number], rel=0.1, abs=0.2), name


def test_similar_products_are_believed_of_a_series_taken_for_new_as_far_as_its_days_allow(monkeypatch):
    monkeypatch.setattr(newcomers, "_SHOWN", (0, 3))
    monkeypatch.setattr(backtest, "OTHER_ORDER", 1.0)
    panel = read(shop())
    pretended = held_out_of(panel)[2][0]
    some = pretended.some
    assert (some.means[-1] <= panel.sales[some.series, ORIGIN - 3 : ORIGIN].max(1)).all()
    assert (pretended.none.means > 0).any()


def test_whole_units_are_those_of_the_days_before_an_origin(monkeypatch):
    monkeypatch.setattr(newcomers, "_SHOWN", (0, 3))
    weighed = ("P00", "P01", "P02", "P03")
    frame = shop()
    later = frame["date"] >= frame["date"].min() + pd.Timedelta(days=ORIGIN + 2)
    frame.loc[frame["sku"].isin(weighed) & later, "quantity"] += 0.25
    early = frame["date"] == frame["date"].min()
    frame.loc[frame["sku"].eq("P04") & early, "quantity"] += 0.25
    held, _, (pretended,) = held_out_of(read(frame))
    assert np.unique(held.series[~held.whole]).tolist() == [4]
    # Of what is not seen of a product nothing is known: it is taken for what most are.
    assert pretended.some.whole.all()
    assert pretended.none.whole.all()


def odd(frame: pd.DataFrame) -> pd.DataFrame:
    """The shop with a first day that is a bulk order, one in the middle, and shelves that looked full while nothing sold: for
    three days at the origin that became twelve, for ten days before it, and for ten that ended after it."""
    day = ((frame["date"] - frame["date"].min()).dt.days).to_numpy()

    def of(sku: str, first: int, last: int) -> np.ndarray:
        return (frame["sku"] == sku).to_numpy() & (day >= first) & (day < last)

    frame.loc[of("P00", ORIGIN - 1, ORIGIN), "quantity"] = 3_000
    frame.loc[of("P01", 50, 51), "quantity"] = 4_000
    frame.loc[
        of("P02", ORIGIN - 3, ORIGIN + 9) | of("P03", 60, 70) | of("P04", ORIGIN - 10, ORIGIN + 2), "quantity"
    ] = 0
    return frame[~of("P00", 0, ORIGIN - 1)].reset_index(drop=True)


def test_at_an_origin_no_more_is_known_of_impossible_days_than_the_days_before_show():
    frame = odd(shop())
    full = read(frame, "in_stock_share")
    then = read(frame[frame["date"] < frame["date"].min() + pd.Timedelta(days=ORIGIN)], "in_stock_share")
    known = full.until(ORIGIN, 0)
    assert np.array_equal(known.sales, then.sales, equal_nan=True)
    assert np.array_equal(known.stocked, then.stocked)
    # What later days told is another thing.
    assert full.sales[0, ORIGIN - 1] < known.sales[0, ORIGIN - 1] == 3_000
    assert full.sales[1, 50] < 4_000
    assert known.sales[1, 50] < 4_000
    out = (full.stocked[:, ORIGIN - 3 : ORIGIN] == 0).any(1), (known.stocked[:, ORIGIN - 3 :] == 0).any(1)
    assert (out[0][2], out[1][2], out[1][4]) == (True, False, True)
    assert (known.stocked[3, 60:70] == 0).any()
    some = full.select(np.array([4, 0, 1])).until(ORIGIN, 0)
    assert np.array_equal(some.sales, known.sales[[4, 0, 1]], equal_nan=True)


def test_what_is_not_looked_for_is_not_found_at_an_origin_either():
    config = CONFIG.model_copy(update={"phantom_stock": False})
    panel = build_panel(odd(shop()), None, 0, Columns(availability="in_stock_share"), config)
    assert (panel.until(ORIGIN, 0).stocked[2:5] == 1).all()
    assert panel.until(ORIGIN, 0).doubted is None


def test_few_series_are_judged_at_more_origins_further_apart():
    config = ForecastConfig()
    assert heldout.origins(730, 1000, 28, config) == ([702, 695, 688, 681], 28)
    found, ahead = heldout.origins(730, 20, 28, config)
    assert ahead == 28
    assert len(found) == 12
    assert set(-np.diff(found)) == {14}
    # Between the two, as many as hold the days that are wanted.
    assert len(heldout.origins(730, 120, 28, config)[0]) == 6
    # Two thirds of a year are left to be learned from; of a season as many as ever are held out.
    assert min(heldout.origins(365, 20, 28, config)[0]) >= 2 * 365 / 3
    assert heldout.origins(90, 20, 14, config) == heldout.origins(90, 1000, 14, config) == ([76, 69, 62, 55], 14)
    assert heldout.origins(730, 20, 28, ForecastConfig(held_out_days=0))[0] == [702, 695, 688, 681]


@pytest.mark.parametrize("series", [1, 20, 1000])
def test_a_number_of_origins_that_was_asked_for_holds_however_many_series_there_are(series):
    assert heldout.origins(730, series, 28, ForecastConfig(origins=1)) == ([702], 28)
    assert heldout.origins(730, series, 28, ForecastConfig(origins=4))[0] == [702, 695, 688, 681]
    # As far as the history goes.
    assert heldout.origins(70, series, 28, ForecastConfig(origins=12))[0] == [47, 40]
