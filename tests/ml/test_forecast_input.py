"""Bad input: a forecast or a clear reason, never a crash, never NaN, never hundreds for a product that sells 0 to 4."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.forecast import BoostedConfig, ForecastConfig, ForecastError, RecurrentConfig, train
from ml.forecast import forecast as run
from ml.forecast.calendar import add_calendar
from ml.forecast.config import QUANTILE_COLUMNS
from ml.forecast.panel import Columns, build_panel

QUICK = ForecastConfig(boosted=BoostedConfig(rounds=10, rows=5_000, depth=3), recurrent=RecurrentConfig(enabled=False))


def rows(quantities, sku="A", location="S", start="2025-01-01"):
    return pd.DataFrame(
        {
            "sku": sku,
            "location": location,
            "date": pd.date_range(start, periods=len(quantities)),
            "quantity": quantities,
        }
    )


def check(result, series: int, horizon: int = 14):
    """Every forecast is a distribution: finite, not negative, not crossing, one row a day for each model."""
    frame = result.forecasts
    values = frame[["mean", *QUANTILE_COLUMNS]].to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values[:, 1:], axis=1) >= 0).all()
    assert (frame.groupby(["model", "sku", "location"]).size() == horizon).all()
    assert len(frame[frame["model"] == "blend"]) == series * horizon
    assert series + len(result.withheld) == len(pd.concat([frame[["sku", "location"]], result.withheld[["sku", "location"]]]).drop_duplicates())  # fmt: skip
    return frame[frame["model"] == "blend"]


def steady(days=90, series=30, seed=0):
    rng = np.random.default_rng(seed)
    return [rows(rng.integers(0, 5, days), sku=f"P{i:02d}") for i in range(series)]


ODD = {
    "zeros": [0] * 90,
    "one": [3],
    "constant": [3] * 90,
    "two": [1, 0],
    "last": [0] * 89 + [2],
    "first": [5] + [0] * 89,
    "negative": [-2] * 60,
    "fractions": [0.25, 1.5] * 40,
    "ramp": list(range(90)),
}


def sensible(name: str, blend: pd.DataFrame) -> None:
    quantities, mean = ODD[name], blend["mean"].mean()
    assert mean <= 2 * max(*quantities, 0) + 0.5
    if name == "constant":
        assert mean == pytest.approx(3, rel=0.15)
    if not any(q > 0 for q in quantities):
        assert mean == 0


@pytest.mark.parametrize("name", ODD)
def test_an_odd_series_alone(name):
    sensible(name, check(run(rows(ODD[name]), horizon=14, config=QUICK), 1))


def test_odd_series_among_others():
    company = steady()
    last = company[0]["date"].max()
    odd = [rows(q, sku=name).assign(date=lambda f: f["date"] + (last - f["date"].max())) for name, q in ODD.items()]
    blend = check(run(pd.concat([*odd, *company]), horizon=14, config=QUICK), len(odd) + len(company))
    for name in ODD:
        sensible(name, blend[blend["sku"] == name])


def test_no_rows_at_all():
    result = run(rows([]), horizon=7, config=QUICK)
    assert result.forecasts.empty
    columns = ["sku", "location", "date", "model", "mean", *QUANTILE_COLUMNS, "similar", "shared", "whole"]
    assert list(result.forecasts.columns) == columns


@pytest.mark.parametrize("spikes", [[40], [40, 70], [-1]])
def test_a_wrong_decimal_point_does_not_set_the_level(spikes):
    series = steady()
    for spike in spikes:
        series[3].loc[series[3].index[spike], "quantity"] = 10**9
    blend = check(run(pd.concat(series), horizon=14, config=QUICK), 30)
    assert blend[["mean", "q99"]].to_numpy().max() < 100
    of_it = blend.loc[blend["sku"] == "P03", list(QUANTILE_COLUMNS)].to_numpy()
    assert (of_it % 1 == 0).all()  # a product sold by the piece is not sold by the gram since


def test_a_spike_in_every_series_does_not_either():
    series = steady()
    for number, frame in enumerate(series):
        frame.loc[frame.index[number * 3], "quantity"] = 10**9
    blend = check(run(pd.concat(series), horizon=14, config=QUICK), 30)
    assert blend[["mean", "q99"]].to_numpy().max() < 100


@pytest.mark.parametrize("quantities", [[1, 0, 2, *[0] * 30, 1e9, *[0] * 20], [2, 1e9], [*[1, 0, 0] * 8, 1e9, 0, 1e9]])
def test_nor_does_one_among_few_days_that_sold(quantities):
    company = steady()
    last = company[0]["date"].max()
    odd = rows(quantities, sku="ODD").assign(date=lambda f: f["date"] + (last - f["date"].max()))
    blend = check(run(pd.concat([odd, *company]), horizon=14, config=QUICK), 31)
    assert blend[["mean", "q99"]].to_numpy().max() < 150


def at_the_end_of(company, quantities, **key):
    """Rows whose last day is that of the `company`."""
    odd = rows(quantities, **key)
    return odd.assign(date=odd["date"] + (company[0]["date"].max() - odd["date"].max()))


@pytest.mark.parametrize("quantities", [[1e9], [0, 0, 1e9], [1e9, *[0] * 29], [1e9, 1e9]])
def test_a_series_of_nothing_but_a_wrong_number_is_withheld_and_teaches_no_other(quantities):
    company = steady()
    result = run(pd.concat([*company, at_the_end_of(company, quantities, sku="ODD")]), horizon=14, config=QUICK)
    assert check(result, 30)["q99"].max() < 100
    assert result.withheld["sku"].tolist() == ["ODD"]
    reason = result.withheld["reason"].iloc[0]
    assert "1,000,000,000 on 2025-0" in reason
    assert "A typing error or another unit? Correct the row" in reason
    pd.testing.assert_frame_equal(result.forecasts, run(pd.concat(company), horizon=14, config=QUICK).forecasts)


def test_what_is_large_is_believed_where_it_is_alone_or_all_is_large_or_the_user_says_so():
    alone = check(run(rows([1e9]), horizon=7, config=QUICK), 1, 7)
    assert 5e8 < alone["mean"].mean() < 2e9
    large = [frame.assign(quantity=frame["quantity"] * 1e8) for frame in steady()]
    new = at_the_end_of(large, [3e8, 2e8], sku="NEW")
    result = run(pd.concat([*large, new]), horizon=7, config=QUICK)
    assert check(result, 31, 7)["mean"].mean() == pytest.approx(2e8, rel=0.2)
    company = steady()
    screws = at_the_end_of(company, [5e4], sku="SCREWS")
    believed = ForecastConfig(**{**QUICK.model_dump(), "spike_factor": 1e6})
    assert len(run(pd.concat([*company, screws]), horizon=7, config=QUICK).withheld) == 1
    assert check(run(pd.concat([*company, screws]), horizon=7, config=believed), 31, 7)["mean"].max() > 1e4


def test_among_few_series_of_one_day_each_the_one_beyond_all_others_is_not_believed():
    result = run(pd.concat([rows([q], sku=f"P{i}") for i, q in enumerate([2, 3, 1e9, 1])]), horizon=7, config=QUICK)
    assert check(result, 3, 7)["mean"].max() < 10
    assert result.withheld["sku"].tolist() == ["P2"]


def test_a_product_of_which_most_numbers_are_wrong_teaches_nobody():
    company = steady()
    odd = [1, *[0, 0, 1e9, 0] * 8, 1]  # as many wrong as right, and more
    few = [1, 0, 1, 1, *[0] * 20, 1e9, 0, 1e9, 0, 1, 0]
    history = [*company, at_the_end_of(company, odd, sku="ODD"), at_the_end_of(company, few, sku="FEW")]
    history.append(company[1].assign(sku="TONNES", quantity=company[1]["quantity"] * 1e-6))
    result = run(pd.concat([*history, at_the_end_of(company, [1e9], sku="LONE")]), horizon=14, config=QUICK)
    assert result.withheld["sku"].tolist() == ["LONE", "ODD"]
    blend = check(result, 32)
    assert blend.loc[blend["sku"] == "FEW", "mean"].max() < 5
    assert blend["q99"].max() < 100
    # One that sells by the thousand every day is no mistake.
    screws = [frame.assign(sku="SCREWS", quantity=frame["quantity"] * 20_000) for frame in company[:1]]
    assert check(run(pd.concat([*company, *screws]), horizon=14, config=QUICK), 31)["mean"].max() > 10_000


def test_a_day_that_was_cut_is_named_with_what_it_was_cut_to():
    series = steady()
    series[3].loc[series[3].index[40], "quantity"] = 10**9
    notes = run(pd.concat(series), horizon=7, config=QUICK).notes
    assert any("1 day of 1 series" in note and "1,000,000,000 of P03 at S on 2025-02-10, to" in note for note in notes)


@pytest.mark.parametrize("known", [2, 7, 14, 27])
def test_a_new_product_that_sells_0_to_4_among_products_that_sell_thousands(known):
    rng = np.random.default_rng(0)
    company = [rows(rng.integers(2_000, 8_000, 90), sku=f"P{i:02d}", location=f"S{i % 3}") for i in range(30)]
    new = rows(rng.integers(0, 5, known), sku="NEW", location="S1")
    new["date"] += company[0]["date"].max() - new["date"].max()
    blend = check(run(pd.concat([new, *company]), horizon=14, config=QUICK), 31)
    assert blend.loc[blend["sku"] == "NEW", ["mean", "q99"]].to_numpy().max() < 20
    assert blend.loc[blend["sku"] != "NEW", "mean"].mean() == pytest.approx(5_000, rel=0.1)


LEVELS = {
    "alike": lambda rng, i: rng.integers(4_900, 5_100, 90),
    "all of their own": lambda rng, i: rng.poisson(10 ** (4 * i / 29), 90),
    "seldom": lambda rng, i: np.where(rng.random(90) < 0.05, rng.integers(3_000, 7_000, 90), 0),
    "few": lambda rng, i: rng.integers(1, 4, 90),
}


@pytest.mark.parametrize("others", LEVELS)
@pytest.mark.parametrize("stated", [True, False], ids=["zeros stated", "only sales"])
@pytest.mark.parametrize("quantities", [[2], [2, 1], [200], [200, 180]])
def test_a_series_of_one_or_two_days_stays_in_the_order_of_what_it_sold(others, stated, quantities):
    rng = np.random.default_rng(1)
    company = [rows(LEVELS[others](rng, i), sku=f"P{i:02d}", location=f"S{i % 3}") for i in range(30)]
    history = pd.concat([*company, at_the_end_of(company, quantities, sku="NEW", location="S1")])
    blend = check(run(history if stated else history[history["quantity"] > 0], horizon=14, config=QUICK), 31)
    new = blend[blend["sku"] == "NEW"]
    # What is corrected on held-out days comes on top of the bound.
    assert new["mean"].mean() <= 10.5 * max(quantities)
    # One day far above all others may be a bulk order.
    if others != "few" or len(quantities) > 1:
        assert new["mean"].mean() >= max(quantities) / 10
    assert new["q99"].max() <= 40 * max(quantities)
    if others == "alike":
        assert new["mean"].mean() == pytest.approx(np.mean(quantities), rel=0.4)


@pytest.mark.parametrize("number", [1e16, 1e38, 1e300])
def test_numbers_that_are_no_measurement_are_not_known(number):
    series = [frame.astype({"quantity": float}) for frame in steady()]
    series[3].loc[series[3].index[40], "quantity"] = number
    history = pd.concat(series).assign(promo=lambda f: np.where(f["sku"] == "P04", number, 1.0))
    days = pd.date_range(history["date"].max() + pd.Timedelta(days=1), periods=14)
    future = history[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days}), how="cross")
    result = run(history, future.assign(promo=number), horizon=14, known_future=["promo"], config=QUICK)
    assert check(result, 30)["q99"].max() < 100
    assert "1 history row without sku, location, date or a usable quantity is left out" in result.notes


def test_a_future_row_without_a_place_is_told_of_and_not_asked_for_a_quantity():
    history = pd.concat(steady(series=3)).assign(promo=0.0)
    days = pd.date_range(history["date"].max() + pd.Timedelta(days=1), periods=7)
    future = history[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days}), how="cross")
    future = future.assign(promo=0.0, location=future["location"].where(future.index != 4))
    notes = run(history, future, horizon=7, known_future=["promo"], config=QUICK).notes
    assert "1 future row without sku, location or date is left out" in notes


def test_days_are_the_local_ones_where_summer_and_winter_have_other_offsets():
    plain = pd.concat(steady(series=3))
    offset = np.where(plain["date"] < "2025-03-30", "+01:00", "+02:00")
    told = plain.assign(date=plain["date"].dt.strftime("%Y-%m-%dT00:00:00") + offset)
    pd.testing.assert_frame_equal(
        run(told, horizon=7, config=QUICK).forecasts, run(plain, horizon=7, config=QUICK).forecasts
    )
    with_days = add_calendar(told, None, 7, ["DE"])
    assert with_days.history["date"].tolist() == plain["date"].tolist()


def test_repeated_rows_count_once_and_parts_of_a_day_are_added():
    series = steady(series=3)
    clean = run(pd.concat(series), horizon=7, config=QUICK)
    twice = run(pd.concat([*series, *series]), horizon=7, config=QUICK)
    pd.testing.assert_frame_equal(clean.forecasts, twice.forecasts)
    assert any("counted once" in note for note in twice.notes)
    halves = [frame.assign(quantity=frame["quantity"] * share) for frame in series for share in (0.25, 0.75)]
    split = run(pd.concat(halves), horizon=7, config=QUICK)
    assert split.forecasts["mean"].mean() == pytest.approx(clean.forecasts["mean"].mean(), rel=0.15)


def test_a_file_without_zeros_lists_sales_and_one_with_zeros_lists_days():
    listed = pd.concat([rows([4, 0, 0, 0] * 30, sku=f"P{i}") for i in range(5)])
    sales_only = run(listed[listed["quantity"] > 0], horizon=8, config=QUICK)
    every_day = run(listed, horizon=8, config=QUICK)
    for result in (sales_only, every_day):
        blend = result.forecasts[result.forecasts["model"] == "blend"]
        assert blend["mean"].mean() == pytest.approx(1, rel=0.25)
    closed = listed[(listed["date"].dt.dayofweek < 5) | (listed["quantity"] == 0)]
    unknown = run(closed, horizon=8, config=ForecastConfig(**{**QUICK.model_dump(), "missing_days": "unknown"}))
    assert unknown.model.missing_days == "unknown"


def test_a_discontinued_series_is_withheld_with_its_reason():
    old = rows([3, 0] * 20, sku="OLD", start="2024-06-01")
    result = run(pd.concat([old, *steady()]), horizon=14, config=QUICK)
    check(result, 30)
    assert result.withheld["sku"].tolist() == ["OLD"]
    assert "no row since 2024-07-10" in result.withheld["reason"].iloc[0]


def test_every_series_of_the_file_is_forecast_or_withheld_whatever_its_rows_lack():
    company = steady()
    config = ForecastConfig(**{**QUICK.model_dump(), "history_days": 56})
    old = rows([3] * 20, sku="OLD", start="2024-01-01")
    unread = pd.concat(
        [
            rows([np.nan] * 5, sku="NO QUANTITY", start="2025-03-01"),
            rows([1], sku="NO DATE").assign(date=pd.NaT),
            rows([1], sku="MISTYPED", start="2052-01-01"),
        ]
    )
    result = run(pd.concat([old, unread, *company]), horizon=7, config=config)
    check(result, 30, 7)
    reasons = result.withheld.set_index("sku")["reason"]
    assert sorted(reasons.index) == ["MISTYPED", "NO DATE", "NO QUANTITY", "OLD"]
    assert reasons["OLD"] == "no row since 2024-01-20: days so old are left out (history_days = 56)"
    assert all("correct them" in reasons[sku] for sku in ("MISTYPED", "NO DATE", "NO QUANTITY"))
    # A series of which some rows can be used is forecast from these.
    part = company[0].assign(quantity=lambda f: f["quantity"].where(f.index > 10))
    check(run(pd.concat([part, *company[1:]]), horizon=7, config=config), 30, 7)


def test_a_shop_whose_every_product_is_new():
    old = [frame.assign(sku="OLD " + frame["sku"]) for frame in steady()]
    new = [rows([1, 0, 3, 2], sku=f"N{i}", start="2025-07-01") for i in range(25)]
    result = run(pd.concat([*old, *new]), horizon=14, config=QUICK)
    assert check(result, 25)["mean"].mean() == pytest.approx(1.5, rel=0.5)
    assert len(result.withheld) == 30
    assert any("too short to hold days out: similar products for series of few days" in note for note in result.notes)


def test_future_days_that_are_missing_and_covariates_that_are_null():
    history = pd.concat(steady()).assign(promo=lambda f: (f["date"].dt.day % 5 == 0) * 1.0, nothing=np.nan)
    days = pd.date_range(history["date"].max() + pd.Timedelta(days=1), periods=14)
    future = history[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days[::2]}), how="cross")
    future = future.assign(promo=0.0, nothing=np.nan)
    future = pd.concat([future, future.iloc[:3], future.assign(sku="UNKNOWN")])
    result = run(
        history, future, horizon=14, known_future=["promo", "nothing"], past_only=[], availability=None, config=QUICK
    )
    check(result, 30)
    first = days[1].date()
    assert any(f"lacks 210 of 420 series-days, such as P00 at S on {first};" in note for note in result.notes)
    assert "the future table says nothing of nothing, which counts as not known" in result.notes
    nothing_known = run(
        history, future.iloc[:0], horizon=14, known_future=["promo"], past_only=["nothing"], config=QUICK
    )
    check(nothing_known, 30)
    of_last_year = run(
        history,
        future.assign(date=future["date"] - pd.Timedelta(days=365)),
        horizon=14,
        known_future=["promo"],
        config=QUICK,
    )
    for told in (nothing_known, of_last_year):
        assert any(
            f"is of a day from {days[0].date()} to {days[-1].date()} and a series" in note for note in told.notes
        )


def test_keys_come_back_as_they_were_and_match_across_types():
    history = pd.concat(steady(series=25)).assign(sku=lambda f: f["sku"].str[1:].astype(int), promo=1.0)
    days = pd.date_range(history["date"].max() + pd.Timedelta(days=1), periods=14)
    future = history[["sku", "location"]].drop_duplicates().merge(pd.DataFrame({"date": days}), how="cross")
    result = run(history, future.assign(sku=future["sku"].astype(str), promo=2.0), horizon=14, known_future=["promo"], config=QUICK)  # fmt: skip
    assert result.forecasts["sku"].dtype == np.int64
    assert not any("lacks" in note for note in result.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="quantity"), "lacks the column quantity"),
        (lambda f: f.assign(quantity=["1", "1,5", "many"]), r"quantity .* has '1,5' in row 3 \(A at S\); correct it"),
        (
            lambda f: f.assign(date=["2025-01-01", "2025-01-02", "3/1/2025"]),
            r"has '3/1/2025' in row 4 \(A at S\), .* not a date",
        ),
    ],
)
def test_unusable_frames_are_refused_in_one_sentence(change, message):
    with pytest.raises(ForecastError, match=message) as error:
        run(change(rows([1, 2, 3])), horizon=7, config=QUICK)
    assert "\n" not in str(error.value)


def test_unusable_parameters_are_refused():
    frame = rows([1, 2, 3]).assign(promo=1)
    with pytest.raises(ForecastError, match="need a future table"):
        run(frame, horizon=7, known_future=["promo"], config=QUICK)
    with pytest.raises(ForecastError, match="horizon must be"):
        run(frame, horizon=0, config=QUICK)
    with pytest.raises(ForecastError, match="named twice"):
        train(frame, horizon=7, known_future=["promo"], past_only=["promo"], config=QUICK)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(
            st.one_of(st.none(), st.integers(-3, 4), st.sampled_from([0.5, 1e9, np.inf, np.nan])),
            min_size=0,
            max_size=60,
        ),
        max_size=5,
    ),
    st.integers(1, 30),
    st.integers(0, 1000),
)
def test_anything_gives_distributions(series, horizon, seed):
    rng = np.random.default_rng(seed)
    frames = []
    for number, quantities in enumerate(series):
        frame = rows([np.nan if q is None else q for q in quantities], sku=f"S{number}")
        frame["share"], frame["promo"] = (
            rng.choice([0, 0.5, 1, np.nan], len(frame)),
            rng.choice([0, 1, np.nan], len(frame)),
        )
        frames.append(frame[[q is not None for q in quantities]])
    history = pd.concat([rows([]).assign(share=0.0, promo=0.0), *frames])
    future = history[["sku", "location", "date", "promo"]].assign(date=lambda f: f["date"] + pd.Timedelta(days=20))
    result = run(
        history, future, horizon=horizon, known_future=["promo"], availability="share", config=QUICK, seed=seed
    )
    values = result.forecasts[["mean", *QUANTILE_COLUMNS]].to_numpy(float)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values[:, 1:], axis=1) >= 0).all()


def test_one_mistyped_year_does_not_end_the_history_for_all():
    frame = pd.DataFrame(
        {"sku": "A", "location": "S", "date": pd.date_range("2025-01-01", periods=150), "quantity": 2.0}
    )
    frame = pd.concat([frame, frame.assign(sku="B")])
    stray = frame.head(1).assign(date=pd.Timestamp("2205-01-01"))
    panel = build_panel(pd.concat([frame, stray]), None, 0, Columns(), ForecastConfig())
    assert str(panel.dates[-1]) == "2025-05-30"
    assert "left out for being dated more than a year after all others: 1 row (2205-01-01)" in panel.notes
    # A shop that opens again after two years has more than a few rows.
    later = frame.assign(date=frame["date"] + pd.Timedelta(days=900))
    assert str(build_panel(pd.concat([frame, later]), None, 0, Columns(), ForecastConfig()).dates[-1]) == "2027-11-16"


def test_a_column_that_says_out_of_stock_while_things_sell_is_not_believed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sku": "A", "location": "S", "date": pd.date_range("2025-01-01", periods=90)})
    frame = pd.concat(
        [frame.assign(sku=sku, quantity=rng.poisson(2.0, 90), share=share) for sku, share in (("A", 0.0), ("B", 1.0))]
    )
    panel = build_panel(frame, None, 0, Columns(availability="share"), ForecastConfig())
    assert (panel.stocked == 1).all()
    assert any("share says that they were out of stock" in note for note in panel.notes)
    # Really out of stock for weeks, with a sale or two that were booked late.
    frame.loc[frame["sku"] == "A", "quantity"] = np.where(np.arange(90) % 30 == 0, 1, 0)
    assert (build_panel(frame, None, 0, Columns(availability="share"), ForecastConfig()).stocked[0] == 0).all()
