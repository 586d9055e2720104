"""A calibration table accepts what is right, for counts and for censored days too, and finds what is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gamma, poisson

from benchmarks.calibration import POOLED, calibration, counts, deviations
from benchmarks.datasets import DataSet
from benchmarks.rolling import Origin
from ml.forecast import LEVELS, QUANTILE_COLUMNS, Dependence

LEVEL = np.array(LEVELS)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_right_quantiles_of_counts_are_accepted_although_most_days_are_zero(rng):
    mean = rng.gamma(1.0, 0.4, 40_000)
    actual, quantiles = rng.poisson(mean), poisson.ppf(LEVEL, mean[:, None])
    assert (actual == 0).mean() > 0.6
    assert np.abs(deviations(counts(actual, quantiles))).max() < 0.005


def test_the_sign_tells_whether_quantiles_are_too_high_or_too_low(rng):
    actual, quantiles = rng.gamma(2.0, 1.0, 40_000), np.tile(gamma.ppf(LEVEL, 2.0), (40_000, 1))
    assert np.abs(deviations(counts(actual, quantiles))).max() < 0.01
    high, low = deviations(counts(actual, 1.3 * quantiles)), deviations(counts(actual, 0.7 * quantiles))
    assert high.max() > 0.1
    assert high.min() >= -0.001
    assert low.min() < -0.1
    assert low.max() <= 0.001


def test_days_that_ran_out_are_lower_bounds_and_leaving_them_out_misleads(rng):
    demand, quantiles = rng.gamma(2.0, 1.0, 60_000), np.tile(gamma.ppf(LEVEL, 2.0), (60_000, 1))
    stock = rng.gamma(3.0, 1.0, 60_000)
    out = demand > stock
    sales = np.minimum(demand, stock)
    assert out.mean() > 0.25
    assert np.abs(deviations(counts(sales, quantiles, out))).max() < POOLED
    assert deviations(counts(sales[~out], quantiles[~out])).max() > 0.1
    assert deviations(counts(sales, quantiles)).max() > 0.1


def _origin(end: str, rng: np.random.Generator, common: float, told: Dependence, series: int = 1_200) -> Origin:
    """Standard-normal-like sums: 14 days of Gamma demand that share `common` of their variance, forecast rightly per day."""
    from scipy.stats import norm

    dates = pd.date_range(pd.Timestamp(end) + pd.Timedelta(days=1), periods=14)
    z = np.sqrt(common) * rng.standard_normal((series, 1)) + np.sqrt(1 - common) * rng.standard_normal((series, 14))
    keys = pd.DataFrame({"sku": [f"{n}" for n in range(series)], "location": "L"})
    rows = keys.loc[keys.index.repeat(14)].reset_index(drop=True).assign(date=np.tile(dates, series))
    future = rows.assign(quantity=gamma.ppf(norm.cdf(z), 4.0).ravel())
    said = dict(zip(QUANTILE_COLUMNS, gamma.ppf(LEVEL, 4.0), strict=True))
    return Origin(
        pd.Timestamp(end), {"blend": rows.assign(model="blend", mean=4.0, **said)}, future,
        keys.assign(**{"class": "smooth"}), {"blend": told}, pd.DataFrame(),
    )  # fmt: skip


def _data(origins: list[Origin]) -> DataSet:
    frame = pd.concat([origin.future for origin in origins])
    return DataSet(
        "made", frame, (14,), 14, lambda told, future: {},
        lambda model, told, future: future.merge(told).assign(y=lambda f: f["quantity"], ran_out=False), {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("foresight", "least", "most"), [(0.0, -0.015, 0.015), (0.3, -0.06, -0.03), (0.6, -0.1, -0.06)]
)
def test_right_quantiles_are_found_too_low_where_shelves_are_filled_for_what_will_be_wanted(
    rng, foresight, least, most
):
    """A day that ran out had the stock of a day that sells much: as a lower bound alone it tells less than it says."""
    days = 60_000
    demand = 100 * rng.gamma(5, 1 / 5, days)
    stock = 105 * (demand / 100) ** foresight * rng.lognormal(0, 0.35, days)
    right = np.tile(100 * gamma.ppf(np.asarray(LEVELS), 5, scale=1 / 5), (days, 1))
    found = deviations(counts(np.minimum(demand, stock), right, demand >= stock))
    assert least < found[np.abs(found).argmax()] < most


def test_sums_are_right_with_the_dependence_there_is_and_too_narrow_without(rng):
    ends = ("2025-01-01", "2025-01-15", "2025-01-29", "2025-02-12")
    origins = [_origin(end, rng, 0.4, Dependence(0.4, 0.0)) for end in ends]
    table = calibration(_data(origins), origins).set_index("part")
    assert list(table.index) == ["all days", "smooth", "week 1", "week 2", *(f"sums of {n} days" for n in (3, 7, 14))]
    assert set(table["held"]) == {"yes"}
    origins = [_origin(end, rng, 0.4, Dependence(0.0, 0.0)) for end in ends]
    table = calibration(_data(origins), origins).set_index("part")
    assert table.loc["all days", "held"] == "yes"
    assert table.loc["sums of 14 days", "held"] == "NO"


def test_intervals_come_from_whole_origins(rng):
    """Days of one origin move together: four origins of many days are four observations."""
    origins = [_origin(end, rng, 0.0, Dependence()) for end in ("2025-01-01", "2025-01-15", "2025-01-29")]
    for origin, factor in zip(origins, (0.7, 1.0, 1.3), strict=True):
        origin.future["quantity"] *= factor
    row = calibration(_data(origins), origins).set_index("part").loc["all days"]
    low, high = map(float, row["95 % interval"].split(" to "))
    assert high - low > 0.1
