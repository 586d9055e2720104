"""The generated shop: the same for the same seed, ledgers that balance, stock-outs where demand was high."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.catalogue import KIT, PERISHABLE, STORES, WEB, day_number
from connectors.sandbox.conditions import CHINESE_NEW_YEAR, Skies, is_open, new_year_offset, opening_hours
from connectors.sandbox.demand import Wanted
from connectors.sandbox.facts import MOVEMENTS
from connectors.sandbox.shop import generate
from connectors.sandbox.simulate import Simulation, first_expired, serve
from tests.connectors.small_sandbox import AS_OF, CONFIG


@pytest.fixture(scope="module")
def shop():
    return generate(CONFIG, AS_OF)


@pytest.fixture(scope="module")
def frames(shop):
    return {name: table.to_pandas(date_as_object=False) for name, table in shop.facts.items()}


# -- Determinism -------------------------------------------------------------------------------------------------------


@settings(max_examples=5, deadline=None)
@given(days=st.integers(1, 89))
def test_a_later_end_only_appends_days(shop, days):
    end = CONFIG.start + dt.timedelta(days=days)
    earlier = generate(CONFIG, end)
    for name, table in shop.facts.items():
        assert table.slice(0, earlier.facts[name].num_rows).equals(earlier.facts[name]), name
        following = table["date_on"].to_pylist()[earlier.facts[name].num_rows :]
        assert all(date >= end for date in following), name


def test_a_stopped_shop_goes_on_as_if_it_had_not_stopped(shop):
    half = generate(CONFIG, CONFIG.start + dt.timedelta(days=45))
    simulation = half.simulation()
    simulation.advance(day_number(AS_OF))
    for name, rest in simulation.ledger.take().items():
        assert shop.facts[name].slice(half.facts[name].num_rows).equals(rest), name
    assert all(np.array_equal(a, shop.state[name]) for name, a in simulation.state().items())


def test_another_seed_is_another_shop(shop):
    other = generate(dataclasses.replace(CONFIG, seed=4), CONFIG.start + dt.timedelta(days=5))
    assert other.catalogue.gtin == shop.catalogue.gtin
    assert not other.facts["lines"].equals(shop.facts["lines"].slice(0, other.facts["lines"].num_rows))


def test_the_cache_gives_the_same_shop_and_belongs_to_its_configuration(tmp_path):
    end = CONFIG.start + dt.timedelta(days=10)
    first = generate(CONFIG, end, tmp_path)
    again = generate(CONFIG, end, tmp_path)
    assert all(table.equals(again.facts[name]) for name, table in first.facts.items())
    assert all(np.array_equal(a, again.state[name]) for name, a in first.state.items())
    generate(dataclasses.replace(CONFIG, seed=9), end, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("wrong", [{"stores": 0}, {"stores": 9}, {"items": 3}])
def test_an_impossible_shop_is_refused(wrong):
    with pytest.raises(ValueError, match="A generated shop"):
        dataclasses.replace(CONFIG, **wrong)


# -- Ledger ------------------------------------------------------------------------------------------------------------


def test_opening_plus_movements_is_closing_for_every_location_item_and_day(shop, frames):
    kits = np.flatnonzero(shop.catalogue.kind == KIT)
    signed = [
        frames["movements"][["date_on", "location", "item", "quantity"]],
        frames["receipts"][["date_on", "location", "item", "quantity"]],
        frames["lines"][["date_on", "location", "item", "quantity"]].assign(quantity=-frames["lines"]["quantity"]),
        frames["returns"].loc[frames["returns"]["restocked"], ["date_on", "location", "item", "quantity"]],
    ]
    moved = pd.concat(signed).query("item < @CONFIG.items").groupby(["date_on", "location", "item"])["quantity"].sum()
    balance = moved.unstack("date_on").fillna(0).cumsum(axis=1).stack()
    stated = frames["stock"].groupby(["date_on", "location", "item"])["on_hand"].sum()
    both = pd.concat([balance.rename("ledger").reorder_levels([2, 0, 1]), stated.rename("stated")], axis=1)
    assert (both["stated"].dropna() == both["ledger"].reindex(both["stated"].dropna().index)).all()
    # What is not stated is a kit, or not kept yet: nothing of it may be there.
    assert (both.loc[both["stated"].isna(), "ledger"].fillna(0) == 0).all()
    assert (stated >= 0).all()
    assert not set(both["stated"].dropna().index.get_level_values("item")) & set(kits)
    assert len(stated) > 10_000


def test_transfers_arrive_as_they_left_or_are_still_under_way(shop, frames):
    moves = frames["movements"]
    sums = moves[moves["kind"].isin([1, 2])].groupby("kind")["quantity"].sum()
    under_way = shop.state["transfers"][:, 3].sum()
    assert sums[MOVEMENTS.index("transfer_in")] + sums[MOVEMENTS.index("transfer_out")] == -under_way


def test_order_totals_are_the_sums_of_their_lines_to_the_cent(frames):
    lines = frames["lines"]
    net = (lines["quantity"] * lines["price_cents"] - lines["discount_cents"]).groupby(lines["order_key"]).sum()
    totals = frames["orders"].set_index("order_key")["total_cents"]
    assert net.sort_index().equals(totals.sort_index().rename(None).rename_axis("order_key"))
    assert not lines.duplicated(["order_key", "line"]).any()
    assert frames["orders"]["order_key"].is_unique


def test_nothing_comes_back_that_was_not_sold(frames):
    key = ["order_key", "line", "item"]
    sold = frames["lines"].set_index(key)["quantity"]
    back = frames["returns"].groupby(key)["quantity"].sum()
    assert len(back) > 20
    assert (back <= sold.reindex(back.index)).all()
    assert frames["returns"]["refund_cents"].ge(0).all()


def test_receipts_complete_what_was_ordered_or_it_is_still_expected(shop, frames):
    key = ["order_number", "line"]
    ordered = frames["purchase_orders"].set_index(key)["quantity"]
    received = frames["receipts"].groupby(key)["quantity"].sum()
    arrivals = pd.DataFrame(shop.state["arrivals"][:, [1, 2, 6]], columns=[*key, "quantity"])
    expected = arrivals.groupby(key)["quantity"].sum()
    assert ordered.sub(received, fill_value=0).sub(expected, fill_value=0).eq(0).all()
    assert len(received) > 50


def test_nothing_is_sold_after_its_last_day_and_what_expires_is_written_off(shop, frames):
    stock = frames["stock"].dropna(subset="expires_on")
    assert (stock["expires_on"] > stock["date_on"]).all()
    written_off = frames["movements"].query("kind == 4")
    assert len(written_off)
    assert (written_off["expires_on"] == written_off["date_on"]).all()
    assert set(written_off["item"]) <= set(np.flatnonzero(shop.catalogue.kind == PERISHABLE))


# -- Demand ------------------------------------------------------------------------------------------------------------


def test_stock_outs_lose_sales_and_happen_when_demand_is_high(shop, frames, capsys):
    latent = frames["latent"]
    assert (latent["latent_demand"] == latent["sold"] + latent["lost"]).all()
    assert latent["in_stock_share"].between(0, 1).all()
    out = latent["in_stock_share"] < 1
    assert not latent.loc[~out, "lost"].any()
    assert not latent.loc[latent["in_stock_share"] == 0, "sold"].any()
    rate = out.mean()
    with capsys.disabled():
        print(f"\nstock-out rate of the small shop: {rate:.1%}")
    assert 0.03 < rate < 0.15
    assert latent["lost"].sum() > 0
    # Days that ran out during the day had more demand than the same item and location has on average.
    usual = latent.groupby(["location", "item"])["latent_demand"].transform("mean")
    ran_out = out & (latent["in_stock_share"] > 0)
    assert (latent["latent_demand"] / usual)[ran_out].mean() > 1.3
    assert shop.latent.num_rows == len(latent)
    assert set(shop.latent["location"].to_pylist()) == {"S1", "S2", "S3", "S4", "WEB"}


def test_sold_in_the_latent_truth_is_what_the_order_lines_say(frames):
    key = ["date_on", "location", "item"]
    lines = frames["lines"].query("item < @CONFIG.items").groupby(key)["quantity"].sum()
    sold = frames["latent"].query("sold > 0").set_index(key)["sold"]
    assert lines.sort_index().rename("sold").astype("int64").equals(sold.sort_index().astype("int64"))


def test_closed_stores_sell_nothing_and_the_web_shop_never_closes(frames):
    sold_on = set(zip(frames["orders"]["location"], frames["orders"]["date_on"].dt.date, strict=True))
    for index, place in enumerate((*STORES, WEB)):
        for offset in range((AS_OF - CONFIG.start).days):
            date = CONFIG.start + dt.timedelta(days=offset)
            assert is_open(place, day_number(date)) or (index, date) not in sold_on
    new_year = day_number(dt.date(2025, 1, 29))
    assert not any(is_open(place, new_year) for place in STORES)
    assert is_open(WEB, new_year)
    assert not is_open(STORES[0], day_number(dt.date(2024, 12, 25)))
    assert is_open(STORES[0], day_number(dt.date(2024, 12, 24)))


def test_gifts_sell_more_before_chinese_new_year(shop):
    demand = Simulation(shop.catalogue).demand
    wednesday, before = day_number(dt.date(2025, 2, 19)), day_number(dt.date(2025, 1, 22))
    gifts = np.isin(shop.catalogue.category, [4, 8]) & (shop.catalogue.launch_day < before)
    calm = np.exp(-shop.catalogue.season).mean()
    assert demand.expected(before)[:, gifts].sum() > 1.3 * calm * demand.expected(wednesday)[:, gifts].sum()


def test_promotions_lift_demand_and_are_announced_before(shop):
    simulation = Simulation(shop.catalogue)
    promos = simulation.promotions.between(day_number(CONFIG.start), day_number(AS_OF))
    assert promos
    assert all(p.announced <= p.starts - 14 for p in promos)
    promo = next(p for p in promos if p.location < 0)
    shares = simulation.promotions.discounts(promo.starts)
    assert shares[:, promo.item].min() >= promo.discount
    with_it = simulation.demand.expected(promo.starts)[:, promo.item].sum()
    simulation.promotions.discounts = lambda day: np.zeros_like(shares)
    assert with_it > 1.2 * simulation.demand.expected(promo.starts)[:, promo.item].sum()


def test_weather_forecasts_grow_worse_with_their_horizon():
    skies = Skies(1, (*STORES, WEB))
    days = range(20_000, 20_200)

    def error(ahead: int) -> float:
        return np.mean(
            [np.abs(skies.forecast(d, ahead).temperature - skies.actual(d + ahead).temperature).mean() for d in days]
        )

    assert 0 < error(1) < error(5) < error(10)


def test_chinese_new_year_is_the_second_new_moon_of_winter():
    # The calendar's own rule bounds it; the library for Chinese holidays agrees where it knows the year.
    holidays = pytest.importorskip("holidays")
    for year, (month, day) in CHINESE_NEW_YEAR.items():
        date = dt.date(year, month, day)
        assert dt.date(year, 1, 21) <= date <= dt.date(year, 2, 20)
        assert date in holidays.country_holidays("CN", years=year)
        assert new_year_offset(day_number(date)) == 0


def test_sales_after_midnight_belong_to_the_day_before(frames):
    late = STORES[3]
    opens, closes = opening_hours(late, day_number(dt.date(2024, 11, 8)))
    assert (closes - opens) == 14 * 3600 * 10**6
    orders = frames["orders"].query("location == 3")
    local = orders["ordered_at"].dt.tz_convert(late.timezone)
    after_midnight = local.dt.date.to_numpy() > orders["date_on"].dt.date.to_numpy()
    assert after_midnight.any()
    assert (local[after_midnight].dt.hour < 2).all()
    shifted = local - pd.Timedelta(minutes=late.business_day_start)
    assert (shifted.dt.date.to_numpy() == orders["date_on"].dt.date.to_numpy()).all()


# -- Parts -------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(data=st.data(), stock=st.lists(st.integers(0, 6), min_size=6, max_size=6))
def test_first_come_first_served(data, stock):
    """Against a plain loop over the customers."""
    available = np.array(stock).reshape(2, 3)
    size = data.draw(st.integers(0, 12))
    cells = np.sort(np.array(data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)), np.int64))
    moments = np.array(data.draw(st.lists(st.integers(1, 99), min_size=size, max_size=size)), np.int64)
    moments = moments[np.lexsort((moments, np.zeros(size)))] if size else moments
    quantity = np.array(data.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)), np.int64)
    wanted = Wanted(cells // 3, cells % 3, quantity, moments)
    filled, share = serve(wanted, available, np.array([[0, 100], [0, 100]]))
    left, until = available.ravel().copy(), np.where(available.ravel() > 0, 1.0, 0.0)
    for index, cell in enumerate(cells):
        take = min(left[cell], quantity[index])
        assert filled[index] == take
        if left[cell] > 0 and left[cell] == take:
            until[cell] = moments[index] / 100
        left[cell] -= take
    assert np.allclose(share.ravel(), until)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 60))
def test_what_expires_first_goes_first(batches, units):
    taken = first_expired(np.array([batches]), np.array([units]))[0]
    assert taken.sum() == min(units, sum(batches))
    untouched = np.array(batches) - taken
    last = np.flatnonzero(taken).max(initial=0)
    assert not untouched[:last].any()


@pytest.mark.long
def test_the_default_shop_is_two_years_of_a_shop_of_its_size(capsys):
    shop = generate(
        dataclasses.replace(CONFIG, seed=7, items=300, suppliers=12, web_customers=4000), dt.date(2026, 11, 1)
    )
    lines, latent = shop.facts["lines"].num_rows, shop.facts["latent"].to_pandas()
    rate = (latent["in_stock_share"] < 1).mean()
    with capsys.disabled():
        print(f"\n{lines} order lines, stock-out rate {rate:.1%}")
    assert 250_000 < lines < 400_000
    assert 0.03 < rate < 0.15
