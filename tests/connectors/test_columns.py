"""Checking by column accepts, refuses and converts exactly what the pydantic models do one by one."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.columns import check
from connectors.extract import Collector, Mapped, Rejected
from connectors.records import (
    CategoryIndex,
    Order,
    OrderLine,
    PurchaseOrderLine,
    StockLevel,
    Supplier,
    WeatherDay,
    record_id,
)

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.just(""), st.just("x"), st.just("2026-01-02"),
    st.just("2026-01-02T10:00:00Z"), st.just("2026-01-02T10:00:00+02:00"), st.just("2026-01-02T10:00:00"),
    st.just("EUR"),
    st.just(Decimal("1.5")), st.just("1.50"), st.just("1e3"), st.just("NaN"), st.just("x" * 201), st.just([1]),
    st.just({"a": 1}), st.just(1), st.just(1.0), st.just(True), st.just(dt.date(2026, 1, 2)), st.decimals(),
    st.just(dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
)  # fmt: skip
GOOD = {
    OrderLine: {
        "order_code": "O1", "line_code": "1", "location_code": "S1", "item_code": "A",
        "ordered_at": "2026-01-02T10:00:00Z", "quantity": "2", "unit_price": "1.10", "currency": "EUR",
    },
    StockLevel: {"location_code": "S1", "item_code": "A", "counted_at": "2026-01-02T10:00:00Z", "on_hand": 3},
    PurchaseOrderLine: {
        "purchase_order_code": "P", "line_code": "1", "supplier_code": "V", "location_code": "W", "item_code": "A",
        "ordered_at": "2026-01-02T10:00:00Z", "quantity": 1, "unit_price": 2, "currency": "EUR",
    },
    Supplier: {"supplier_code": "V", "name": "n", "currency": "EUR"},
    WeatherDay: {"location_code": "S1", "date_on": "2026-01-02", "issued_at": "2026-01-02T10:00:00Z"},
    CategoryIndex: {"name": "searches", "date_on": "2026-01-02", "issued_at": "2026-01-02T10:00:00Z", "value": 1.5},
}  # fmt: skip


@st.composite
def spoiled(draw, model):
    row = dict(GOOD[model])
    for name in draw(st.lists(st.sampled_from([*model.model_fields, "unknown"]), max_size=2)):
        if draw(st.booleans()):
            row.pop(name, None)
        else:
            row[name] = draw(ODD)
    return row


def one_by_one(model, row):
    """(record, None), or (None, the reasons of all fields that fail)."""
    try:
        return model.model_validate(row), None
    except ValidationError as error:
        return None, {"_".join(map(str, (*found["loc"], found["type"]))) for found in error.errors()}


@pytest.mark.parametrize("model", GOOD)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_by_column_is_as_strict_as_one_by_one(model, data):
    rows = data.draw(st.lists(spoiled(model), max_size=6))
    checked = check(model, rows)
    passing = []
    for index, row in enumerate(rows):
        record, reasons = one_by_one(model, row)
        if record is not None:
            passing.append((index, record))
        assert (checked.failures[index].reason in reasons) if reasons else (index not in checked.failures)
    if not passing:
        return
    table = checked.table(np.array([index for index, _ in passing]), ["{}"] * len(rows))
    for got, (_, record) in zip(table.to_pylist(), passing, strict=True):
        assert got["record_id"] == record_id(model, record.model_dump())
        for name, value in record.model_dump().items():
            assert got[name] == value
            assert type(got[name]) is type(value) or isinstance(value, dt.datetime)


def order(number: int, *quantities: int):
    head = {
        "order_code": f"O{number}", "location_code": "S1", "ordered_at": "2026-01-02T10:00:00Z", "currency": "EUR",
    }  # fmt: skip
    yield Mapped(Order, {**head, "total_amount": "1"})
    for line, quantity in enumerate(quantities):
        values = {**head, "line_code": str(line), "item_code": "A", "quantity": quantity, "unit_price": "1"}
        yield Mapped(OrderLine, values, {"line": line})


def test_half_a_document_is_not_kept():
    collector = Collector()
    payloads = [(1, 2, 3), (2, 1, 0), (3, 4)]
    collector.map(payloads, lambda p: order(*p), "order", "orders")
    extract = collector.extract("orders", "c")
    assert extract.records["order"]["order_code"].to_pylist() == ["O1", "O3"]
    assert extract.records["order_line"]["record_id"].to_pylist() == ["O1\x1f0", "O1\x1f1", "O3\x1f0"]
    reasons = [(r["entity"], r["reason"], r["position"]) for r in extract.rejected.to_pylist()]
    assert sorted(reasons) == [
        ("order", "document_incomplete", "orders[1]"),
        ("order_line", "document_incomplete", "orders[1]"),
        ("order_line", "quantity_greater_than", "orders[1]"),
    ]
    assert extract.received == {"order": 3, "order_line": 5}
    assert collector.extract("orders").received == {}


def test_a_payload_can_be_refused_by_name_and_personal_fields_are_dropped_from_it():
    def convert(payload):
        if payload["bad"]:
            raise Rejected("too_old", "It is too old.")
        yield from order(1, 1)

    collector = Collector()
    payloads = [
        {"bad": bad, "buyer": {"email": "a@example.org"}, "deep": [{"email": "b@example.org"}]} for bad in (0, 1)
    ]
    collector.map(payloads, convert, "order", "o", frozenset({"buyer", "email"}))
    extract = collector.extract("o")
    [rejected] = extract.rejected.to_pylist()
    assert (rejected["reason"], rejected["payload"]) == ("too_old", '{"bad":1,"deep":[{}]}')
    assert extract.records["order"]["payload"].to_pylist() == ['{"bad":0,"deep":[{}]}']
