"""Inputs: one canonical form, stored by content, verified on reading; parameters validated."""

from __future__ import annotations

import dataclasses
import pathlib
from decimal import Decimal

import fsspec
import pandas as pd
import pytest

from ml.replenishment import (
    TABLES,
    FrozenInputsDamaged,
    InvalidInputs,
    InvalidParameters,
    Parameters,
    freeze,
    read_parameters,
    thaw,
)
from ml.replenishment.inputs import QUANTILE_COLUMNS, FrozenInputs, canonical
from tests.ml.replenishment_shop import MONDAY, coming, decide, forecast, offer, product, shop, stock, supplier


def rich():
    inputs = shop(
        position=[
            stock(on_hand="12.5", stock_value=75, expires_on=MONDAY, counted_at=pd.Timestamp("2026-03-01T22:00Z"))
        ],
        open_orders=[coming(quantity=4)],
        units=[{"item": "A", "unit": "case", "numerator": 12}],
        calendar=[{"location": "S1", "date": MONDAY, "is_open": False}],
        lead_times=[{"supplier": "Nordmilk", "lead_time_days": 2, "receipts": 3}],
        sourcing=[{"location": "S1", "source": "supplier"}],
        overrides=[{"item": "A", "location": "S1", "kind": "demand_factor", "value": 1.2}],
        parameters={"classes": {"vital": {"service_target": None, "holding_rate": 0.3}}},
    )
    return dataclasses.replace(inputs, dependence={"common": 0.25, "persistence": 0.4})


def test_what_is_thawed_is_what_was_frozen(tmp_path):
    inputs = rich()
    again = thaw(freeze(inputs, str(tmp_path)), str(tmp_path))
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(inputs, name))
    assert again.dependence == inputs.dependence
    assert again.parameters.version == inputs.parameters.version
    assert again.parameters.policy_for("vital").service_target is None
    assert again.position["on_hand"].iat[0] == Decimal("12.5")


def test_the_same_content_has_the_same_hash_whatever_the_order_of_rows_and_columns(tmp_path):
    inputs = shop(
        forecasts=pd.concat([forecast("A", mean=5), forecast("B", mean=7)]), position=[stock("A"), stock("B")]
    )
    mixed = FrozenInputs(
        **{
            name: getattr(inputs, name).sample(frac=1, random_state=3)[list(reversed(list(columns)))]
            for name, columns in TABLES.items()
        },
        parameters=inputs.parameters,
    )
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert freeze(inputs, folders[0]) == freeze(mixed, folders[1])
    files = [sorted((p.name, p.read_bytes()) for p in pathlib.Path(f).rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1]
    assert freeze(shop(position=[stock(on_hand=1)]), folders[0]) != freeze(
        shop(position=[stock(on_hand=2)]), folders[0]
    )


def test_freezing_twice_writes_nothing_new_and_leaves_no_temporary_file(tmp_path):
    first = freeze(rich(), str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert freeze(rich(), str(tmp_path)) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_altered_or_missing_files_are_refused_and_freezing_again_mends_them(tmp_path):
    name = freeze(rich(), str(tmp_path))
    table = sorted((tmp_path / "tables").iterdir())[0]
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    with pytest.raises(FrozenInputsDamaged, match="altered"):
        thaw(name, str(tmp_path))
    assert freeze(rich(), str(tmp_path)) == name
    assert thaw(name, str(tmp_path)).parameters == rich().parameters
    table.unlink()
    with pytest.raises(FrozenInputsDamaged, match="gone"):
        thaw(name, str(tmp_path))


def test_an_object_store_serves_as_well():
    folder = "memory://frozen-inputs-test"
    name = freeze(rich(), folder)
    assert decide(thaw(name, folder)).withheld.empty
    fsspec.filesystem("memory").rm("/frozen-inputs-test", recursive=True)


def test_a_wrong_table_is_refused_in_one_sentence():
    with pytest.raises(InvalidInputs, match="offers lacks the column 'unit_price'"):
        shop(offers=[{"supplier": "N", "item": "A", "currency": "EUR", "unit": "each"}])
    with pytest.raises(InvalidInputs, match="unknown column 'colour'"):
        shop(items=[product(colour="red")])
    with pytest.raises(InvalidInputs, match="'on_hand' of table position is empty in 1 of 1 rows"):
        shop(position=[stock(on_hand=None)])
    with pytest.raises(InvalidInputs, match="cannot be read as"):
        shop(suppliers=[supplier(lead="soon")])
    with pytest.raises(InvalidInputs, match="no time zone"):
        shop(position=[stock(counted_at=pd.Timestamp("2026-03-01"))])


def test_a_table_of_arrow_is_read_as_one_of_pandas_and_may_lack_what_came_later():
    inputs = shop(forecasts=forecast("A", mean=5))
    older = inputs.table("forecasts").drop_columns(["similar", "shared", "whole"])
    assert canonical("forecasts", older).equals(inputs.table("forecasts"))
    with pytest.raises(InvalidInputs, match="lacks the column 'sku'"):
        canonical("forecasts", older.drop_columns(["sku"]))


def test_quantile_columns_are_those_of_a_forecast():
    expected = ["q01", "q025", "q05", *(f"q{p}" for p in range(10, 100, 5)), "q975", "q99"]
    assert list(QUANTILE_COLUMNS) == expected


def test_parameters_come_from_yaml_and_name_what_is_wrong():
    read = read_parameters("paths: 100\npolicy: {holding_rate: 0.3}\nclasses: {vital: {service_target: 0.99}}")
    assert (read.paths, read.policy_for("vital").service_target, read.policy_for("other").service_target) == (
        100,
        0.99,
        None,
    )
    assert read.policy_for("vital").holding_rate == 0.3
    assert read_parameters("") == Parameters()
    assert read.version != Parameters().version
    with pytest.raises(InvalidParameters, match=r"policy.holding_rate"):
        read_parameters("policy: {holding_rate: -1}")
    with pytest.raises(InvalidParameters, match=r"policy.holdingrate"):
        read_parameters("policy: {holdingrate: 1}")
    with pytest.raises(InvalidParameters, match="not readable YAML"):
        read_parameters("a: [")
    with pytest.raises(InvalidParameters, match="the file"):
        read_parameters("just text")


def test_an_offer_in_floats_and_one_in_decimals_are_the_same_offer(tmp_path):
    one, two = (shop(offers=[offer(price=price)]) for price in (5.1, Decimal("5.100")))
    assert freeze(one, str(tmp_path)) == freeze(two, str(tmp_path))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"suppliers": [supplier(order_weekdays="1,8")]}, "order_weekdays '1,8' of supplier Nordmilk"),
        ({"suppliers": [supplier(cut_off="9:00")]}, "cut_off '9:00' of supplier Nordmilk"),
        ({"sourcing": [{"location": "S1", "order_weekdays": "Mon"}]}, "order_weekdays 'Mon' of location S1"),
        ({"overrides": [{"item": "A", "location": "S1", "kind": "exlude"}]}, "kind 'exlude' of A at S1"),
        (
            {"overrides": [{"item": "A", "location": "S1", "kind": "service_target", "value": 95}]},
            "value 95.0 of A at S1",
        ),
        ({"overrides": [{"item": "A", "location": "S1", "kind": "demand_factor"}]}, "value nan of A at S1"),
    ],
)
def test_a_value_that_means_nothing_is_refused_and_named(tables, says):
    with pytest.raises(InvalidInputs, match=says):
        shop(**tables)
