"""New products: what similar ones teach about their level, launch curve and uncertainty, on shops whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.forecast import (
    BoostedConfig,
    ForecastConfig,
    ForecastError,
    RecurrentConfig,
    explain,
    load,
    predict,
    sample_paths,
    sentence,
)
from ml.forecast import forecast as run
from ml.forecast.config import QUANTILE_COLUMNS
from ml.forecast.distribution import Spread
from ml.forecast.effects import shrunk
from ml.forecast.launch import SETTLED, study
from ml.forecast.newcomers import read_newcomers
from ml.forecast.panel import Columns, build_panel
from ml.forecast.responses import learn

SIMPLE = ForecastConfig(boosted=BoostedConfig(enabled=False), recurrent=RecurrentConfig(enabled=False))
STATIC = ("category", "format")
ROLES = {"static": STATIC, "availability": "in_stock_share"}
WEEKDAY = np.array([0.7, 0.8, 0.9, 1, 1.2, 1.5, 0.9])
KEY = ["sku", "location"]


def chain(
    products: int = 60, stores: int = 12, days: int = 112, launches: int = 0, categories: int = 4, seed: int = 1
) -> pd.DataFrame:
    """Levels that are products of category, product, store and chance; the last `launches` products begin at day 40 and
    sell double on the first day, coming down to their level over four weeks. One day in five runs out by noon."""
    rng = np.random.default_rng(seed)
    sku, store = (part.ravel() for part in np.meshgrid(np.arange(products), np.arange(stores), indexing="ij"))
    of_category, of_product, of_store = (
        rng.normal(0, 0.6, categories),
        rng.normal(0, 0.5, products),
        rng.normal(0, 0.3, stores),
    )
    level = 6 * np.exp(of_category[sku % categories] + of_product[sku] + of_store[store] + rng.normal(0, 0.2, len(sku)))
    age = np.arange(days) - np.where(sku >= products - launches, 40, -1_000)[:, None]
    curve = np.where((age >= 0) & (age < SETTLED), 2 - age / SETTLED, 1.0)
    rate = level[:, None] * WEEKDAY[np.arange(days) % 7] * curve * rng.gamma(10, 0.1, (len(sku), days))
    share = np.where(rng.random(rate.shape) < 0.2, 0.5, 1.0)
    index = pd.DataFrame(
        {"sku": [f"P{i:02d}" for i in sku], "location": [f"S{i:02d}" for i in store], "level": level,
         "category": [f"C{i % categories}" for i in sku], "format": np.where(store % 2, "big", "small")}
    )  # fmt: skip
    dates = pd.DataFrame({"date": pd.date_range("2025-01-06", periods=days)})
    frame = index.merge(dates, how="cross").assign(
        quantity=rng.poisson(rate * share).ravel(), in_stock_share=share.ravel()
    )
    return frame[(age >= 0).ravel()].reset_index(drop=True)


def split(frame: pd.DataFrame, new: pd.DataFrame, known: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History of which the `new` series have only the last `known` days, and the fortnight after it."""
    end = frame["date"].max() - pd.Timedelta(days=14)
    marked = frame.merge(new[KEY].assign(new=True), how="left")
    history = (marked["date"] <= end) & (marked["new"].isna() | (marked["date"] > end - pd.Timedelta(days=known)))
    return marked[history].drop(columns=["new", "level"]), marked[(marked["date"] > end) & marked["new"].notna()]


def test_what_is_thinly_supported_is_drawn_to_nothing_and_what_is_known_stays():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(0, 0.5, 2_000), np.where(np.arange(2_000) % 2, 0.01, 1.0)
    seen = truth + rng.normal(0, np.sqrt(noise))
    drawn = shrunk(seen, noise)
    assert np.corrcoef(drawn[1::2], truth[1::2])[0, 1] > 0.95
    assert np.mean((drawn - truth) ** 2) < 0.6 * np.mean((seen - truth) ** 2)
    assert np.abs(shrunk(rng.normal(0, 1, 2_000), np.ones(2_000))).mean() < 0.2  # noise alone
    assert (shrunk(seen, np.full(2_000, np.inf)) == 0).all()


def test_the_level_of_a_product_without_a_day_is_found_from_similar_ones_and_narrows_with_days():
    frame = chain()
    truth = frame.drop_duplicates(KEY)
    panel = build_panel(frame, None, 0, Columns(static=STATIC, availability="in_stock_share"), SIMPLE)
    similar, rows = study(panel), np.arange(len(truth))
    error, doubt = {}, {}
    for days in (0, 3, 7, 14):
        mean, squared = similar.forecast(rows, 7, np.full(len(rows), days))
        error[days] = np.log(mean.mean(1) / truth["level"].to_numpy())
        doubt[days] = np.sqrt(np.log1p(squared[:, 0]))
    assert np.std(error[0]) == pytest.approx(0.24, abs=0.06)  # the chance of 0.2 that nobody knows, and little more
    assert np.std(error[14]) < 0.8 * np.std(error[3]) < 0.8 * np.std(error[0])
    for days in error:
        assert np.mean(error[days]) == pytest.approx(0, abs=0.06)
        assert (np.abs(error[days]) < 1.2816 * doubt[days]).mean() == pytest.approx(0.8, abs=0.08), days
    alone, squared = similar.forecast(rows, 7, np.zeros(len(rows), int), np.ones(len(rows), bool))
    off = np.log(alone.mean(1) / truth["level"].to_numpy())
    assert 0.45 < np.std(off) < 0.75  # the product's own 0.5 is not known either
    assert np.sqrt(np.log1p(squared[:, 0])).mean() == pytest.approx(np.std(off), rel=0.3)


def test_launches_are_recognised_and_teach_their_curve_by_category_too():
    frame = chain(launches=30)
    panel = build_panel(frame, None, 0, Columns(static=STATIC, availability="in_stock_share"), SIMPLE)
    curve = study(panel).curve
    assert curve.launches == 30 * 12
    expected = 2 - np.arange(SETTLED) / SETTLED
    assert curve.mean == pytest.approx(expected, abs=0.2)
    known = curve.at(np.tile(np.arange(SETTLED), (4, 1)), np.array([[0, 1, 2, 3], [0, 1, 0, 1]]))
    assert known == pytest.approx(np.tile(expected, (4, 1)), abs=0.3)
    none = study(build_panel(chain(), None, 0, Columns(static=STATIC), SIMPLE)).curve
    assert none.launches == 0
    assert (none.mean == 1).all()


@pytest.fixture(scope="module")
def launched():
    """Forty series without a day of history, of 30 products of which ten are sold nowhere else."""
    frame = chain()
    keys = frame[[*KEY, "category", "format"]].drop_duplicates()
    everywhere = keys[keys["sku"].isin([f"P{i:02d}" for i in range(50, 60)])]
    new = pd.concat([everywhere, keys[keys["sku"] < "P50"].sample(120, random_state=1)])
    history, truth = split(frame, new)
    return history, new, truth, run(history, None, horizon=14, newcomers=new, config=SIMPLE, **ROLES)


def test_intervals_of_new_products_hold_what_they_say_for_days_and_for_sums(launched):
    _, new, truth, result = launched
    rows = result.forecasts[result.forecasts["similar"] > 0]
    assert len(rows) == 14 * len(new)
    assert (rows["model"] == "blend").all()
    joined = rows.merge(truth, on=[*KEY, "date"])
    full = joined[joined["in_stock_share"] == 1]
    inside = (full["quantity"] >= full["q10"]) & (full["quantity"] <= full["q90"])
    assert inside.mean() == pytest.approx(0.82, abs=0.08)
    assert (joined["mean"] * joined["in_stock_share"]).sum() / joined["quantity"].sum() == pytest.approx(1, abs=0.12)
    paths = sample_paths(result.forecasts, 400, seed=1, dependence=result.dependence)
    wanted = rows.drop_duplicates(KEY).merge(joined.groupby(KEY, as_index=False)["level"].first())
    place = {pair: number for number, pair in enumerate(paths.keys.itertuples(index=False, name=None))}
    which = [place[pair] for pair in wanted[KEY].itertuples(index=False, name=None)]
    low, high = np.quantile(paths.total()[which], [0.1, 0.9], axis=1)
    expected = 14 * wanted["level"].to_numpy()
    assert ((expected >= low) & (expected <= high)).mean() == pytest.approx(0.8, abs=0.12)


def test_the_forecast_says_who_is_new_and_by_how_many_it_was_judged(launched):
    _, new, _, result = launched
    assert len(result.newcomers) == len(new)
    nowhere = result.newcomers["sku"] >= "P50"
    assert (result.newcomers.loc[~nowhere, "alike"] == "sku").all()
    assert (result.newcomers.loc[nowhere, "alike"] == "category").all()
    assert (result.newcomers["similar"] > 0).all()
    assert any("120 of them by others than the same product elsewhere" in note for note in result.notes)
    width = result.forecasts[result.forecasts["similar"] > 0].assign(w=lambda f: (f["q90"] - f["q10"]) / f["mean"])
    width = width.groupby(width["sku"] >= "P50")["w"].mean()
    assert width[True] > 1.15 * width[False]


def test_a_new_product_is_explained_by_similar_ones(launched):
    history, new, _, result = launched
    one = new.iloc[0]
    parts = explain(
        result.model, history, None, 14, series=[(one["sku"], one["location"]), ("P00", "S00")], newcomers=new
    )
    mean = result.forecasts[result.forecasts["model"] == "blend"].set_index([*KEY, "date"])["mean"]
    for key, day in parts.groupby([*KEY, "date"]):
        assert day["contribution"].sum() == pytest.approx(mean[key], rel=1e-4)
    assert set(explain(result.model, history, None, 14, series=[("P00", "S00")], newcomers=new)["sku"]) == {"P00"}
    first = parts[(parts["sku"] == one["sku"]) & (parts["date"] == parts["date"].min())]
    told = sentence(first)
    assert "the level of similar products" in told
    similar = result.newcomers.set_index(KEY)["similar"][one["sku"], one["location"]]
    assert f"a new product: judged by {similar} similar ones" in told


def test_a_saved_model_forecasts_the_same_new_products(launched, tmp_path):
    history, new, _, result = launched
    result.model.save(tmp_path / "model")
    again, _, _ = predict(load(tmp_path / "model"), history, newcomers=new)
    pd.testing.assert_frame_equal(again, result.forecasts)


def test_newcomers_without_keys_and_first_days_with_a_time_zone():
    panel = build_panel(chain(4, 2).assign(sku=lambda f: f["sku"].str[1:].astype(int)), None, 0, Columns(), SIMPLE)
    new, notes = read_newcomers(pd.DataFrame({"sku": [np.nan], "location": [np.nan]}), panel)
    assert not len(new.keys)
    assert "1 newcomer without sku or location is left out" in notes[0]
    table = pd.DataFrame({"sku": [9], "location": ["S00"], "first_day": pd.Timestamp("2025-05-02", tz="Asia/Tokyo")})
    assert read_newcomers(table, panel)[0].first_day.astype(str).tolist() == ["2025-05-02"]


def test_a_product_is_not_sold_before_its_first_day_and_takes_what_its_table_leaves_out_from_its_likes():
    frame = chain(products=12, stores=6)
    new = pd.DataFrame({"sku": ["P00", "BRAND NEW"], "location": ["S99", "S00"], "first_day": ["2025-05-02", None]})
    history, _ = split(frame, new)
    result = run(history, None, horizon=14, newcomers=new, config=SIMPLE, **ROLES)
    rows = result.forecasts[result.forecasts["similar"] > 0]
    early = (rows["sku"] == "P00") & (rows["date"] < "2025-05-02")
    assert (rows.loc[early, ["mean", *QUANTILE_COLUMNS]] == 0).all().all()
    assert early.any()
    assert (rows.loc[~early, "mean"] > 0).all()
    panel = build_panel(history, None, 0, Columns(static=STATIC), SIMPLE)
    read, _ = read_newcomers(new, panel)
    codes = dict(zip(read.keys["sku"], read.static.T.tolist(), strict=True))
    assert codes["P00"] == [0, -1]  # its category is known from other stores; the format of its store is not
    assert codes["BRAND NEW"] == [-1, panel.categories["format"].index("small")]


def test_static_values_of_newcomers_are_read_as_those_of_the_history_and_never_guessed_over():
    frame = chain(products=6, stores=3).assign(format=lambda f: (f["location"] == "S00").astype(int))
    panel = build_panel(frame, None, 0, Columns(static=("category", "format")), SIMPLE)
    # A column with a gap comes out of a file as 1.0; a category that nothing has is not that of the shop or product.
    new = pd.DataFrame(
        {"sku": ["N1", "N2", "P00"], "location": ["S09", "S09", "S09"], "format": [1.0, None, None],
         "category": ["C1", "C1", "typo"]}
    )  # fmt: skip
    read, notes = read_newcomers(new, panel)
    assert panel.categories["format"] == ["0", "1"]
    assert read.static.T.tolist() == [[1, 1], [1, -1], [-1, -1]]
    assert notes == ["1 newcomer has a category that nothing in the history has; it counts as not known"]


@pytest.mark.parametrize("static", [(), ("category",)])
def test_one_category_one_store_or_one_series_is_enough_for_a_forecast(static):
    frame = chain(products=8, stores=1, categories=1)
    new = pd.DataFrame({"sku": ["NEW"], "location": ["S00"], "category": ["C0"]})
    for history in (split(frame, new)[0], split(frame[frame["sku"] == "P00"], new)[0]):
        result = run(history, None, horizon=7, newcomers=new, static=static, config=SIMPLE)
        rows = result.forecasts[result.forecasts["sku"] == "NEW"]
        assert len(rows) == 7
        assert np.isfinite(rows.select_dtypes("number")).all().all()
        assert rows["mean"].mean() == pytest.approx(history["quantity"].mean(), rel=0.6)
        assert (rows["q99"] > 1.5 * rows["mean"]).all()


def test_without_anything_similar_a_new_product_is_withheld_with_the_reason():
    frame = chain(products=2, stores=1, days=60).assign(quantity=0, in_stock_share=0.0)
    new = pd.DataFrame({"sku": ["NEW"], "location": ["S00"]})
    result = run(frame, None, horizon=7, newcomers=new, config=SIMPLE, availability="in_stock_share")
    assert "NEW" not in set(result.forecasts["sku"])
    assert "could be judged by" in result.withheld.set_index("sku").at["NEW", "reason"]


def test_without_any_history_newcomers_are_told_about_and_not_forecast():
    empty = pd.DataFrame({"sku": [], "location": [], "date": pd.to_datetime([]), "quantity": []})
    result = run(empty, None, horizon=7, newcomers=pd.DataFrame({"sku": ["NEW"], "location": ["S"]}), config=SIMPLE)
    assert result.forecasts.empty
    assert result.withheld["sku"].tolist() == ["NEW"]
    assert "could be judged by" in result.withheld["reason"].iloc[0]


def test_series_of_a_few_days_lean_on_similar_ones_and_beat_their_own_average():
    frame = chain()
    new = frame[KEY].drop_duplicates().sample(150, random_state=2)
    history, truth = split(frame, new, known=2)
    result = run(history, None, horizon=14, config=SIMPLE, **ROLES)
    short = result.weights[result.weights["segment"] == "short"].groupby("model")["weight"].mean()
    assert short["launch"] > 0.5
    told = predict(result.model, history, models=["blend", "moving_average"])[0].merge(truth, on=[*KEY, "date"])
    error = (told["mean"] * told["in_stock_share"] - told["quantity"]).abs().groupby(told["model"]).sum()
    assert error["blend"] < 0.85 * error["moving_average"]


def test_quantiles_of_a_learned_model_lie_around_its_mean_for_series_of_a_few_days_too():
    frame = chain(products=30, stores=4)
    new = frame[KEY].drop_duplicates().sample(20, random_state=2)
    history, _ = split(frame, new, known=10)
    trees = ForecastConfig(boosted=BoostedConfig(rounds=30), recurrent=RecurrentConfig(enabled=False))
    model = run(history, None, horizon=14, config=trees, **ROLES).model
    told = predict(model, history, models=["xgboost"])[0].merge(new)
    assert len(told) == 20 * 14
    assert (told["q10"] <= told["mean"]).all()
    assert (told["mean"] <= told["q90"]).all()


def test_nothing_held_out_leaves_short_series_to_similar_ones():
    frame = chain(products=20, stores=4, days=9)
    result = run(frame.drop(columns="level"), None, horizon=7, config=SIMPLE, **ROLES)
    assert set(result.weights.loc[result.weights["segment"] == "short", "model"]) == {"launch"}
    assert np.isfinite(result.forecasts.select_dtypes("number")).all().all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"sku": ["A"]}), "lack the column location"),
        (pd.DataFrame({"sku": ["A"], "location": ["S00"], "first_day": ["soon"]}), "not a date"),
    ],
)
def test_a_newcomers_table_that_cannot_be_used_is_refused(table, message):
    with pytest.raises(ForecastError, match=message):
        run(chain(products=3, stores=2, days=60), None, horizon=7, newcomers=table, config=SIMPLE)


def test_rows_of_the_newcomers_table_that_are_no_newcomers_are_told():
    frame = chain(products=4, stores=2, days=70)
    table = pd.DataFrame({"sku": ["P00", "NEW", "NEW", None], "location": ["S00", "S01", "S01", "S01"]})
    result = run(frame, None, horizon=7, newcomers=table, config=SIMPLE)
    assert list(result.newcomers["sku"]) == ["NEW"]
    assert any("1 newcomer has a history and is forecast from it" in note for note in result.notes)
    assert any("1 newcomer without sku or location is left out" in note for note in result.notes)
    assert read_newcomers(table[:0], build_panel(frame, None, 0, Columns(), SIMPLE))[1] == [
        "the newcomers table has no rows"
    ]


def test_rows_of_the_newcomers_table_that_say_a_product_again_are_told():
    frame = chain(products=4, stores=2, days=70)
    table = pd.DataFrame({"sku": ["N1", "N1", "N2", "N1"], "location": ["S00", "S00", "S01", "S01"]})
    table["first_day"] = ["2025-03-20", "2025-06-01", None, None]
    read, notes = read_newcomers(table, build_panel(frame, None, 0, Columns(), SIMPLE))
    assert len(read.keys) == 3
    assert str(read.first_day[0]) == "2025-03-20"
    assert notes == [
        "1 row of the newcomers table names a product and location that a row before names, whose word counts: N1 at S00"
    ]


def test_a_product_that_comes_back_is_a_newcomer_and_nothing_else():
    frame = chain(products=6, stores=2).drop(columns="level")
    gone = (frame["sku"] == "P00") & (frame["date"] > frame["date"].min() + pd.Timedelta(days=30))
    table = pd.DataFrame({"sku": ["P00"], "location": ["S00"]})
    result = run(frame[~gone], None, horizon=7, newcomers=table, config=SIMPLE, **ROLES)
    assert result.withheld[KEY].to_numpy().tolist() == [["P00", "S01"]]
    assert result.newcomers[KEY].to_numpy().tolist() == [["P00", "S00"]]
    blend = result.forecasts[result.forecasts["model"] == "blend"]
    assert (blend.groupby(KEY).size() == 7).all()
    assert len(blend) == 7 * 11
    assert any(
        "1 newcomer with rows in the history that nothing is forecast from" in note
        and "P00 at S00 (P00: no row since" in note
        for note in result.notes
    )
    parts = explain(result.model, frame[~gone], None, 7, series=[("P00", "S00")], newcomers=table)
    assert set(parts["sku"]) == {"P00"}


@pytest.fixture(scope="module")
def with_days():
    """A chain in which a third of the stores are closed every 13th day, a discount doubles what sells, and one temperature
    says nothing; the last fortnight as the future table."""
    frame = chain(days=126)
    rng, day = np.random.default_rng(3), (frame["date"] - frame["date"].min()).dt.days
    closed = (day % 13 == 4) & (frame["location"].str[1:].astype(int) % 3 == 0)
    discount = np.where((frame["sku"].str[1:].astype(int) * 7 + day) % 11 == 0, 0.3, 0.0)
    sold = frame["quantity"] * np.where(closed, 0, 1) * np.where(discount > 0, 2, 1)
    frame = frame.assign(
        is_open=(~closed).astype(int), discount=discount, temperature=rng.normal(10, 5, len(frame)), quantity=rng.poisson(sold)
    )  # fmt: skip
    new = frame[[*KEY, "category", "format"]].drop_duplicates().sample(120, random_state=1)
    history, truth = split(frame, new)
    known = ["is_open", "discount", "temperature"]
    return history, frame.loc[frame["date"] > history["date"].max(), [*KEY, "date", *known]], new, truth, known


@pytest.mark.parametrize("listed", [True, False])
def test_what_is_known_of_the_days_ahead_holds_for_new_products_too(with_days, listed):
    history, future, new, truth, known = with_days
    if not listed:  # The future table has rows of the series of the history alone.
        future = future.merge(new[KEY].assign(new=True), how="left").query("new != True").drop(columns="new")
    result = run(history, future, horizon=14, newcomers=new, known_future=known, config=SIMPLE, **ROLES)
    blend = result.forecasts[result.forecasts["model"] == "blend"]
    days = blend.merge(truth, on=[*KEY, "date"])
    closed = days["is_open"] == 0
    assert closed.sum() > 40
    assert (days.loc[closed, ["mean", *QUANTILE_COLUMNS]] == 0).all().all()
    reduced = days[~closed & (days["discount"] > 0)]
    bias = (reduced["mean"] * reduced["in_stock_share"]).sum() / reduced["quantity"].sum()
    assert bias == (pytest.approx(1, abs=0.15) if listed else pytest.approx(0.55, abs=0.15))
    one = days[days["is_open"].eq(1) & (days["discount"] > 0)].iloc[0]
    parts = explain(result.model, history, future, 14, series=[(one["sku"], one["location"])], newcomers=new)
    mean = parts.groupby("date")["contribution"].sum().to_numpy()
    mine = blend[(blend["sku"] == one["sku"]) & (blend["location"] == one["location"])]
    assert mean == pytest.approx(mine["mean"].to_numpy(), rel=1e-4, abs=1e-6)
    by_driver = parts[parts["date"] == one["date"]].set_index("driver")["contribution"]
    assert (by_driver["discount"] > 0.3 * by_driver.sum()) == listed
    assert by_driver["weather"] == 0  # a temperature has too many values for a factor each


def test_a_series_of_three_days_is_closed_when_its_place_is(with_days):
    history, future, _, _, known = with_days
    keys = history[KEY].drop_duplicates().sample(80, random_state=2)
    marked = history.merge(keys.assign(short=True), how="left")
    recent = marked["date"] > history["date"].max() - pd.Timedelta(days=3)
    history = marked[marked["short"].isna() | recent].drop(columns="short")
    result = run(history, future, horizon=14, known_future=known, config=SIMPLE, **ROLES)
    days = result.forecasts[result.forecasts["similar"] > 0].merge(future, on=[*KEY, "date"])
    closed = days["is_open"] == 0
    assert closed.sum() > 20
    assert days.loc[closed, "mean"].mean() < 0.15 * days.loc[~closed, "mean"].mean()


def test_what_was_seen_on_one_day_alone_is_drawn_to_nothing_as_far_as_days_differ():
    rng = np.random.default_rng(0)
    level, days = np.full(200, 5.0), 112
    common = rng.gamma(25, 1 / 25, days)
    special = np.zeros((1, 200, days))
    special[0, :, 50] = 1
    sold = rng.poisson(level[:, None] * common * np.where(special[0] > 0, 1.2, 1)).astype(float)
    full, even = np.ones_like(sold), np.ones(days)
    seldom = learn(special, sold, full, level, even, even, Spread(1.0, 10.0), 1.0)
    assert 1 <= seldom.factors[0][1] < 1.15
    special[0, :, ::5] = 1
    sold = rng.poisson(level[:, None] * common * np.where(special[0] > 0, 1.8, 1)).astype(float)
    often = learn(special, sold, full, level, even, even, Spread(1.0, 10.0), 1.0)
    assert often.factors[0][1] / often.factors[0][0] == pytest.approx(1.8, rel=0.15)
    assert (often.at(np.full((1, 2, 3), np.nan)) == 1).all()
    assert (often.at(np.full((1, 2, 3), 7.0)) == 1).all()


def test_a_discount_on_its_few_days_does_not_set_the_level_of_a_product_and_a_holiday_of_all_is_not_counted_twice(
    with_days,
):
    history, _, _, _, known = with_days
    panel = build_panel(history, None, 0, Columns(known_future=tuple(known), static=STATIC), SIMPLE)
    responses = study(panel).responses
    discounted = panel.known[:, :, :7].copy()
    factors = responses.apart(discounted, np.ones(discounted.shape[1:]))
    with_discount = discounted[1] > 0
    assert factors[with_discount].mean() > 1.6 * factors[~with_discount & (discounted[0] == 1)].mean()
    assert factors.mean(0) == pytest.approx(np.ones(7))
    discounted[1] = 0.3
    discounted[0] = 1
    assert responses.apart(discounted, np.ones(discounted.shape[1:])) == pytest.approx(1)
