"""Demand recovery against a simulated shop whose shelves run empty because demand was high."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks import recovery
from ml.demand import evidence, exposed, recover_demand, share_by_hours

HOURS = 16


def shop(shape: float, cover: float, seed: int = 3, series: int = 500, days: int = 120):
    """Demand, sales and in-stock share [series, days] of customers arriving by the hour until the shelf is empty."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(1.5, 3, series) + 0.3
    weekday = np.array([0.8, 0.85, 0.9, 1, 1.1, 1.3, 1.15])[np.arange(days) % 7]
    rate = mean[:, None] * weekday * rng.gamma(shape, 1 / shape, (series, days))
    stock = np.ceil(mean[:, None] * cover * rng.uniform(0.6, 2.0, (series, days)))
    # Customers are spread over the day; the stock-out is the instant the last unit goes.
    count = rng.poisson(rate)
    share = np.ones_like(rate)
    out = count >= stock
    share[out] = rng.beta(stock[out], count[out] - stock[out] + 1)  # order statistic of uniform arrivals
    return count.astype(float), np.minimum(count, stock), share


@pytest.mark.parametrize(("shape", "cover"), [(2.0, 1.0), (4.0, 1.1), (8.0, 1.3)])
def test_recovered_demand_is_right_overall_and_for_short_and_long_stock_outs(shape, cover):
    demand, sales, share = shop(shape, cover)
    recovered = recover_demand(sales, share)
    assert sales.sum() / demand.sum() < 0.95  # there is something to recover
    assert recovered.expected.sum() / demand.sum() == pytest.approx(1, abs=0.03)
    for low, high in [(0.25, 0.5), (0.5, 0.75), (0.75, 0.999)]:
        band = (share >= low) & (share < high)
        assert recovered.expected[band].sum() / demand[band].sum() == pytest.approx(1, abs=0.07), (low, high)


# The shop's customers come after noon, so that half of its day out is not half of what it sells, and a ledger without times
# calls every day that ran out half a day: what only hours can tell.
LEDGER_ALONE = "the generated shop, days that ran out by the ledger alone"
UNTOLD = {
    "the generated shop, shares of the time open": "50% to 75% of the day out",
    LEDGER_ALONE: "25% to 50% of the day out",
}


@pytest.mark.parametrize("generator", recovery.GENERATORS)
def test_recovered_demand_is_right_overall_and_within_bands_of_stock_out_length(generator):
    """On generators that this module was not made for."""
    table = recovery.recovery(recovery.GENERATORS[generator]()).set_index("part")
    assert float(table.loc["days that ran out", "sold / wanted"]) < 0.7  # there is something to recover
    judged = table[table["limit"] != ""]
    judged = judged.drop(index=UNTOLD.get(generator, []))
    assert len(judged) >= (2 if generator == LEDGER_ALONE else 5)
    assert dict(judged["held"]) == dict.fromkeys(judged.index, "yes")


def lines(quantity, seed: int = 6, series: int = 400, days: int = 150):
    """Demand, sales, in-stock share and the unfilled rest [series, days] of customers who come at uniform moments and ask
    for `quantity(rng, n)` each until the shelf is empty."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(1.0, 1.5, series) + 0.05
    count = rng.poisson(mean[:, None] * rng.gamma(4.0, 1 / 4.0, (series, days)))
    cell = np.repeat(np.arange(count.size), count.ravel())
    wanted = quantity(rng, len(cell))
    moment = rng.random(len(cell))
    order = np.lexsort((moment, cell))
    cell, wanted, moment = cell[order], wanted[order], moment[order]
    start = np.searchsorted(cell, cell)
    before = np.concatenate([[0], np.cumsum(wanted)])
    so_far = before[1:] - before[start]
    demand = np.bincount(cell, wanted, count.size)
    stock = np.ceil(quantity(rng, 1000).mean() * (np.repeat(mean, days) * rng.uniform(0.3, 3.0, count.size) + 1))
    share, rest = np.ones(count.size), np.zeros(count.size)
    emptying = (so_far >= stock[cell]) & (so_far - wanted < stock[cell])
    share[cell[emptying]] = moment[emptying]
    rest[cell[emptying]] = (so_far - stock[cell])[emptying]
    return tuple(table.reshape(count.shape) for table in (demand, np.minimum(demand, stock), share, rest))


@pytest.mark.parametrize("size", [1.6, 3.0])
def test_what_the_line_that_emptied_the_shelf_still_asked_for_is_recovered(size):
    demand, sales, share, rest = lines(lambda rng, n: rng.geometric(1 / size, n).astype(float))
    ran_dry = (share < 0.999) & (sales > 0)
    recovered = recover_demand(sales, share)
    assert recovered.unit == pytest.approx(2 * size - 1, rel=0.2)  # E[Q^2] / E[Q] of geometric sizes
    assert (recovered.asked - sales)[ran_dry].mean() == pytest.approx(rest[ran_dry].mean(), rel=0.2)
    assert np.array_equal(recovered.asked[~ran_dry], sales[~ran_dry].astype(np.float32))
    soon_over = ran_dry & (share > 0.9)
    assert sales[soon_over].sum() / demand[soon_over].sum() < 0.9  # nearly all that is lost there is the rest
    assert recovered.expected[soon_over].sum() / demand[soon_over].sum() == pytest.approx(1, abs=0.03)
    assert recovered.expected[ran_dry].sum() / demand[ran_dry].sum() == pytest.approx(1, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1.0, 6.0, 0.25]), st.integers(0, 10_000))
def test_customers_who_all_ask_for_the_same_leave_nothing_unfilled_where_stock_is_a_multiple_of_it(pack, seed):
    _, sales, share, rest = lines(lambda rng, n: np.ones(n), seed, 200, 100)
    assert not rest.any()
    recovered = recover_demand(sales * pack, share)
    assert ((recovered.asked - sales * pack)[(share < 0.999) & (sales > 0)] <= 0.08 * pack).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_rest_is_in_the_unit_of_sales_and_never_negative(seed):
    _, sales, share, _ = lines(lambda rng, n: rng.geometric(0.4, n).astype(float), seed, 60, 80)
    one, ten = recover_demand(sales, share), recover_demand(sales * 10, share)
    assert (one.asked >= sales).all()
    assert (one.expected >= one.asked - 1e-4).all()
    assert ten.asked / 10 == pytest.approx(one.asked, rel=1e-3)
    assert ten.expected / 10 == pytest.approx(one.expected, rel=1e-3, abs=1e-3)


def test_a_random_completion_has_the_mean_and_about_the_spread_of_the_demand_it_stands_for():
    demand, sales, share = shop(4.0, 1.1)
    recovered = recover_demand(sales, share)
    drawn = recovered.draw(sales, seed=1)
    censored = share < 0.999
    assert drawn[censored].mean() == pytest.approx(demand[censored].mean(), rel=0.05)
    assert drawn[censored].std() == pytest.approx(demand[censored].std(), rel=0.15)
    assert (drawn >= sales - 1e-4).all()
    assert np.array_equal(drawn, recovered.draw(sales, seed=1))


def test_days_without_stock_get_the_usual_demand_and_not_zero():
    rng = np.random.default_rng(0)
    sales = rng.poisson(5.0, (50, 60)).astype(float)
    share = np.ones_like(sales)
    sales[:, 30:37], share[:, 30:37] = 0, 0
    recovered = recover_demand(sales, share)
    assert recovered.expected[:, 30:37].mean() == pytest.approx(5, rel=0.1)


def test_rates_learnt_from_what_was_on_the_shelf_are_unbiased_although_busy_days_run_out():
    """The weights of `evidence` make sales over the exposed part of the day tell the mean rate; plain ratios do not."""
    rng = np.random.default_rng(8)
    days, mean, shape = 200_000, 6.0, 3.0
    count = rng.poisson(mean * rng.gamma(shape, 1 / shape, days))
    stock = rng.integers(2, 14, days)
    share = np.ones(days)
    out = count >= stock
    share[out] = rng.beta(stock[out], count[out] - stock[out] + 1)
    sold = np.minimum(count, stock).astype(float)
    part = exposed(sold[None], share[None])[0]
    weight = evidence(part, np.full(days, mean), (1.0, shape))
    assert np.average(sold / part, weights=weight) == pytest.approx(mean, rel=0.02)
    assert sold.sum() / part.sum() < 0.97 * mean  # days weighed by their length alone lean on the calm ones
    assert sold[~out].mean() < 0.85 * mean


def test_hours_count_what_they_usually_sell():
    rng = np.random.default_rng(4)
    series, days = 60, 80
    profile = np.array([1, 4, 6, 4, 2, 1]) / 18
    level = np.repeat(rng.gamma(4, 6, series), days)
    sold = rng.poisson(level[:, None] * profile).astype(float)
    out = np.zeros(sold.shape, bool)
    early = rng.random(len(sold)) < 0.4
    out[early, 4:] = True  # the last two of six hours, which sell a sixth
    sold[out] = 0
    share = share_by_hours(sold, out, np.repeat(np.arange(series), days))
    assert share[~early] == pytest.approx(1)
    assert share[early].mean() == pytest.approx(15 / 18, abs=0.01)


def odd(series: int, days: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sales [series, days] and in-stock shares that may be missing or contradict them."""
    rng = np.random.default_rng(seed)
    sales = rng.poisson(1.0, (series, days)).astype(float)
    sales[rng.random(sales.shape) < 0.2] = np.nan
    return sales, rng.choice([0.0, 0.3, 1.0, np.nan], sales.shape)


SIZES = (st.integers(0, 6), st.integers(0, 30), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
@given(*SIZES, st.booleans())
@example(2, 5, 2534, False)
@example(6, 7, 5476, False)
def test_recovery_never_goes_below_sales_nor_out_of_bounds(series, days, seed, consistent):
    sales, share = odd(series, days, seed)
    if consistent:
        share[(share == 0) & (sales > 0)] = 0.3
    recovered = recover_demand(sales, share)
    seen = np.isfinite(sales)
    assert np.array_equal(np.isfinite(recovered.expected), seen)
    assert (recovered.expected[seen] >= sales[seen] * (1 - 1e-5)).all()
    sold = seen & (np.nan_to_num(sales) > 0)
    # The rate is at most the largest that any day alone would show, which is a sale on a day that is said to have had no
    # stock (counted as a twentieth of a day), times how far a weekday can stand out where all fall on one of seven.
    least = max(np.nan_to_num(share, nan=1.0)[sold].min(), 0.05) if sold.any() else 1.0
    if seen.any():
        assert recovered.expected[seen].max() <= max(sales[seen].max(), 1e-6) * (1 + 7 / least)


@settings(max_examples=60, deadline=None)
@given(*SIZES, st.integers(-20, 20))
@example(4, 2, 8706, 20)
@example(4, 2, 8706, -20)
def test_recovery_does_not_depend_on_the_unit_that_quantities_are_counted_in(series, days, seed, doublings):
    sales, share = odd(series, days, seed)
    unit = 2.0**doublings  # so that nothing is rounded otherwise
    in_pieces, in_units = (recover_demand(sales * factor, share) for factor in (1.0, unit))
    if not np.nansum(sales):
        return  # of nothing there is no unit
    assert in_units.expected / unit == pytest.approx(in_pieces.expected, rel=1e-4, abs=1e-7, nan_ok=True)
    assert in_units.asked / unit == pytest.approx(in_pieces.asked, rel=1e-4, abs=1e-7, nan_ok=True)
    assert in_units.spread / unit == pytest.approx(in_pieces.spread, rel=1e-4, abs=1e-7)
    drawn = in_pieces.draw(np.float32(sales), 0)
    assert in_units.draw(np.float32(sales * unit), 0) / unit == pytest.approx(drawn, rel=1e-3, abs=1e-6, nan_ok=True)


def test_the_hour_in_which_a_slow_product_ran_dry_counts_half():
    """Such an hour has always a sale in it, most others none."""
    rng = np.random.default_rng(5)
    series, days, hours = 100, 400, 12
    count = rng.poisson(0.3, series * days)
    day, moment = np.repeat(np.arange(len(count)), count), rng.random(count.sum())
    single = rng.random(len(count)) < 0.3  # one piece on the shelf, otherwise enough
    first = np.full(len(count), np.inf)
    np.minimum.at(first, day, moment)
    served = ~single[day] | (moment == first[day])
    sold = np.zeros((len(count), hours))
    np.add.at(sold, (day[served], (moment[served] * hours).astype(int)), 1)
    over = np.where(single, first, np.inf)
    out = np.arange(1, hours + 1) / hours > over[:, None]
    share = share_by_hours(sold, out, np.repeat(np.arange(series), days))
    ran_out = over < 1
    assert share[~ran_out] == pytest.approx(1)
    assert share[ran_out].mean() == pytest.approx(over[ran_out].mean(), abs=0.02)
