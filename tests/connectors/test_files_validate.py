"""The limits compiled to SQL are the limits of the records: both accept and reject the same."""

from __future__ import annotations

import datetime as dt
import typing
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.errors import PermanentError
from connectors.files.mapping import parse_mapping
from connectors.files.plan import compile_kind
from connectors.records import ENTITIES, arrow_schema, field_type, record_id

NOW = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def mapping_of(entity, **changes):
    fields = {name: name for name in ENTITIES[entity].model_fields}
    return parse_mapping(
        {"source": "test", "orders": {"records": [{"entity": entity, "fields": fields, **changes}]}, "timezone": "UTC"}
    )


def by_sql(entity, rows: pa.Table, latest=NOW):
    """(reason or None, values) of each row, as the importer's own query gives them."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("given", rows)
        shown = ", ".join(f'"{name}" AS "s:{name}"' for name in rows.column_names)
        db.execute(f"CREATE TEMP TABLE source AS SELECT row_number() OVER () AS file_row, {shown} FROM given")
        types = dict(
            db.execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'source'").fetchall()
        )
        columns = {name: types[f"s:{name}"] for name in rows.column_names}
        plan = compile_kind(mapping_of(entity), "orders", columns, latest)
        db.execute("CREATE TEMP TABLE set_aside (file_row BIGINT)")
        for name, query in plan.lookups.items():
            db.execute(f"CREATE TEMP TABLE {name} AS {query}")
        results = []
        for base in (plan.base, plan.streamed_base):
            db.execute(f"CREATE OR REPLACE TEMP TABLE base AS SELECT *, {plan.payload} AS payload FROM ({base})")
            results.append(db.sql(f"SELECT * FROM ({plan.records[0].query}) ORDER BY file_row").to_arrow_table())
    found, streamed = results
    assert found == streamed
    checks = plan.records[0].checks
    accepted = found.select(arrow_schema(entity).names)
    return [
        (None if row["reason"] is None else checks[row["reason"]].reason, values)
        for row, values in zip(found.to_pylist(), accepted.to_pylist(), strict=True)
    ]


def by_pydantic(entity, row):
    model = ENTITIES[entity]
    present = {k: v for k, v in row.items() if v is not None and not (isinstance(v, str) and not v.strip(" "))}
    try:
        return model.model_validate(present).model_dump()
    except ValidationError:
        return None


# -- What a cell may hold ----------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "A", "abc", "每天", "1,2", "GBP", "gbp", "GB", "12345678", "1234567", "٣٣٣٣٣٣٣٣", "é" * 20]
    ),
    st.sampled_from([1, 19, 20, 21, 199, 200, 201, 1999, 2000, 2001]).map(lambda n: "x" * n),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), max_size=8),
)
DECIMALS = st.one_of(
    st.decimals(min_value=-(10**13), max_value=10**13, places=4).map(str),
    st.decimals(min_value=-10, max_value=10, places=8).map(lambda d: f"{d:f}"),
    st.sampled_from(
        ["0", "-0", "1.000000000", "999999999999.999999", "1000000000000", "99999999999999.9999", "100000000000000",
         "0.0000001", "0.00001", "abc", "1,5", "1.5.2", "NaN", "Infinity", "-inf", "", "--1", "5 kg", "1e3", "1e-3"]
    ),
)  # fmt: skip
INTS = st.integers(-5, 2000).map(str) | st.sampled_from(["1.5", "abc", "1439", "1440", "0", "-1", "", "1.0"])
FLOATS = st.floats(-2, 2).map(repr) | st.sampled_from(["0", "1", "1.0000001", "-0.1", "nan", "inf", "x", "", "0.5"])
DATES = st.dates(dt.date(1900, 1, 1), dt.date(2090, 1, 1)).map(str) | st.sampled_from(
    ["2020-02-30", "2020-13-01", "01.02.2020", "2020/01/02", "yesterday", "2020-1-2", "", "0000-00-00"]
)
INSTANTS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2090, 1, 1)).flatmap(
    lambda d: st.sampled_from(["Z", "+08:00", "-05:30", "+00:00"]).map(lambda zone: d.isoformat() + zone)
) | st.sampled_from(["2020-02-30T00:00:00Z", "2020-01-01T25:00:00Z", "noon", "",
                         "2020-01-01T10:00:00+0200"])  # fmt: skip
FLAGS = st.sampled_from(["true", "false", "1", "0", "yes", "No", "T", "F", "on", "off", "maybe", "2", ""])


def cells(model, name):
    annotation = model.model_fields[name].annotation
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from([*typing.get_args(annotation), "other", ""])
    kind, _ = field_type(model, name)
    if pa.types.is_decimal(kind):
        return DECIMALS
    chosen = {
        pa.string(): TEXTS, pa.int64(): INTS, pa.float64(): FLOATS, pa.bool_(): FLAGS, pa.date32(): DATES,
        pa.timestamp("us", tz="UTC"): INSTANTS,
    }[kind]  # fmt: skip
    if name == "order_weekdays":
        return st.sampled_from(["1", "1,5", "1,2,3,4,5,6,7", "", "8", "1,", "0", "1 2"])
    if "currency" in name:
        return st.sampled_from(["EUR", "GBP", "eur", "EURO", "", "E1R"])
    return chosen


GOOD = {
    pa.string(): "A1", pa.int64(): "3", pa.float64(): "0.5", pa.bool_(): "true", pa.date32(): "2020-01-02",
    pa.timestamp("us", tz="UTC"): "2020-01-02T03:04:05Z",
}  # fmt: skip


def good_row(model):
    row = {}
    for name, info in model.model_fields.items():
        kind, _ = field_type(model, name)
        row[name] = "2.5" if pa.types.is_decimal(kind) else GOOD[kind]
        if typing.get_origin(info.annotation) is typing.Literal:
            row[name] = typing.get_args(info.annotation)[0]
        if "currency" in name:
            row[name] = "EUR"
        if name == "country":
            row[name] = "GB"
        if name == "gtin":
            row[name] = "12345678"
        if name == "order_weekdays":
            row[name] = "1,3"
    return row


@st.composite
def near_rows(draw, model):
    """Good rows with one or two cells replaced: most checks are met one at a time."""
    rows = []
    for _ in range(draw(st.integers(1, 25))):
        row = good_row(model)
        for name in draw(st.lists(st.sampled_from(sorted(model.model_fields)), max_size=2, unique=True)):
            row[name] = draw(cells(model, name))
        rows.append(row)
    return rows


@pytest.mark.parametrize("entity", sorted(ENTITIES))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_sql_and_pydantic_agree_on_every_field_of_every_entity(entity, data):
    model = ENTITIES[entity]
    rows = data.draw(near_rows(model))
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in model.model_fields})
    for row, (reason, values) in zip(rows, by_sql(entity, table), strict=True):
        expected = by_pydantic(entity, row)
        assert (reason is None) == (expected is not None), (row, reason, expected)
        if expected is not None:
            got = {name: values[name] for name in model.model_fields}
            assert got == expected
            assert values["record_id"] == record_id(model, expected)


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(
        st.floats(-1e6, 1e6, allow_nan=False) | st.decimals(-9999, 9999, places=3).map(float) | st.sampled_from(
            [float("nan"), float("inf"), 2.1, 0.1 + 0.2, 1e12, 0.000001, 1234567.891]),
        min_size=1, max_size=20))  # fmt: skip
def test_numbers_of_a_parquet_file_fit_or_do_not_as_pydantic_says(prices):
    row = good_row(ENTITIES["order_line"])
    columns = {name: pa.array([cell] * len(prices), pa.string()) for name, cell in row.items()}
    columns["unit_price"] = pa.array(prices, pa.float64())
    for price, (reason, values) in zip(prices, by_sql("order_line", pa.table(columns)), strict=True):
        expected = by_pydantic("order_line", {**row, "unit_price": price})
        assert (reason is None) == (expected is not None), (price, reason)
        if expected:
            assert values["unit_price"] == expected["unit_price"]


def one(entity, latest=NOW, **cells):
    row = {**good_row(ENTITIES[entity]), **cells}
    table = pa.table({name: pa.array([cell]) for name, cell in row.items()})
    return by_sql(entity, table, latest)[0]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"unit_price": "-1"}, "unit_price_greater_than_equal"),
        ({"quantity": "0"}, "quantity_greater_than"),
        ({"quantity": "many"}, "quantity_decimal_parsing"),
        ({"quantity": "1.0000001"}, "quantity_decimal_parsing"),
        ({"item_code": None}, "item_code_missing"),
        ({"item_code": "  "}, "item_code_missing"),
        ({"item_code": "x" * 201}, "item_code_string_too_long"),
        ({"currency": "pounds"}, "currency_string_pattern_mismatch"),
        ({"status": "lost"}, "status_literal_error"),
        ({"ordered_at": "31/12/2010"}, "ordered_at_datetime_parsing"),
        ({"tax_included": "maybe"}, "tax_included_bool_parsing"),
    ],
)
def test_the_reason_names_the_field_and_the_rule(cells, reason):
    assert one("order_line", **cells)[0] == reason


def test_facts_may_not_lie_in_the_future_but_plans_may():
    latest = dt.datetime(2026, 5, 2, 12, tzinfo=dt.UTC)
    assert one("order_line", latest, ordered_at="2026-05-02T12:00:00Z")[0] is None
    assert one("order_line", latest, ordered_at="2026-05-02T12:00:01Z")[0] == "ordered_at_in_the_future"
    assert one("availability", latest, date_on="2026-05-03")[0] == "date_on_in_the_future"
    assert one("promotion", latest, starts_on="2027-01-01", ends_on="2027-01-05", discount="0.2")[0] is None


def test_naive_times_are_in_the_mapping_s_zone_and_dates_become_midnight():
    assert one("order_line", ordered_at="2020-01-02 03:04")[1]["ordered_at"] == dt.datetime(
        2020, 1, 2, 3, 4, tzinfo=dt.UTC
    )
    assert one("order_line", ordered_at=dt.date(2020, 1, 2))[1]["ordered_at"] == dt.datetime(2020, 1, 2, tzinfo=dt.UTC)


def test_a_whole_number_code_from_a_spreadsheet_has_no_decimals():
    assert one("order_line", item_code=22041.0)[1]["item_code"] == "22041"
    assert one("order_line", item_code=22041)[1]["item_code"] == "22041"
    assert one("order_line", quantity=3)[1]["quantity"] == Decimal(3)


def test_a_kind_that_can_never_fit_is_refused_before_any_row_is_read():
    with pytest.raises(PermanentError, match="a number"):
        one("order_line", quantity=dt.date(2020, 1, 1))
    with pytest.raises(PermanentError, match="list or structure"):
        one("order_line", item_code=[1, 2])
