"""What counts as a change of a record, and that the number it is told by never changes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from hashlib import blake2b

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.content import content_fields, content_hashes
from connectors.landing import Landing, landed_schema
from connectors.records import ENTITIES, OrderLine, arrow_schema, field_type
from tests.connectors.manifest import MemoryManifest

LINE = {
    "order_code": "O1", "line_code": "1", "location_code": "S1", "item_code": "Äpfel", "channel": "store",
    "ordered_at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "status": "fulfilled",
    "quantity": Decimal("1.5"), "unit": "each", "unit_price": Decimal("2.50"), "discount_amount": Decimal(0),
    "tax_amount": Decimal("-0.25"), "currency": "EUR", "tax_included": True, "customer_hash": None,
    "source_updated_at": None, "record_id": "O1\x1f1", "payload": "{}",
}  # fmt: skip


def table(rows, entity="order_line"):
    return pa.Table.from_pylist(rows, schema=arrow_schema(entity))


def hashed(*rows, entity="order_line"):
    return [int(h) for h in content_hashes(entity, table(list(rows), entity))]


def by_hand(entity, row):
    """The definition, written down a second time in plain Python."""
    model, total = ENTITIES[entity], 0
    for name in content_fields(model):
        value = row[name]
        if value is None:
            continue
        kind = field_type(model, name)[0]
        if isinstance(value, str):
            word = int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "little")
        elif isinstance(value, Decimal):
            word = int(value.scaleb(kind.scale))
        elif isinstance(value, dt.datetime):
            word = (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        elif isinstance(value, dt.date):
            word = (value - dt.date(1970, 1, 1)).days
        elif isinstance(value, float):
            word = int.from_bytes(pa.array([value or 0.0]).buffers()[1].to_pybytes()[:8], "little")
        else:
            word = int(value)
        x = (word ^ int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        total += x ^ (x >> 31)
    return total % 2**64


def test_the_hash_of_a_known_record_is_the_same_for_ever():
    # These numbers stand in files that were landed: a version that gives others would land every record again.
    assert hashed(LINE) == [1433880780108267160]
    product = dict.fromkeys(ENTITIES["product"].model_fields) | {
        "item_code": "A", "name": "Apple", "base_unit": "each", "is_kit": False, "is_active": True,
        "shelf_life_days": 14, "launched_on": dt.date(1969, 12, 31), "list_price": Decimal("0.000001"),
        "record_id": "A", "payload": None,
    }  # fmt: skip
    assert hashed(product, entity="product") == [9022229009294942835]


VALUES = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "bool": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "date32[day]": st.dates(),
    "timestamp[us, tz=UTC]": st.datetimes(timezones=st.just(dt.UTC)),
}


def records(entity):
    model = ENTITIES[entity]
    columns = {}
    for name in model.model_fields:
        kind, optional = field_type(model, name)
        if pa.types.is_decimal(kind):
            values = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n, s=kind.scale: Decimal(n).scaleb(-s))
        else:
            values = VALUES[str(kind)]
        columns[name] = st.none() | values if optional else values
    return st.fixed_dictionaries({**columns, "record_id": st.just("id"), "payload": st.none()})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), entity=st.sampled_from(sorted(ENTITIES)))
def test_the_hash_is_what_its_definition_says_whatever_lies_around_the_record(data, entity):
    rows = data.draw(st.lists(records(entity), min_size=1, max_size=6))
    expected = [by_hand(entity, row) for row in rows]
    assert hashed(*rows, entity=entity) == expected
    # A slice, chunks and encoded texts are the same content.
    whole = table([rows[-1], *rows, *rows], entity)
    parts = pa.concat_tables([whole.slice(1, len(rows)), whole.slice(1 + len(rows))])
    for index, column in enumerate(parts.schema):
        if pa.types.is_string(column.type):
            parts = parts.set_column(index, column.name, parts.column(index).dictionary_encode())
    assert list(content_hashes(entity, parts)) == expected * 2


def test_every_field_of_the_content_counts_and_no_other():
    changed = {
        "location_code": "S2", "item_code": "B", "channel": "web",
        "ordered_at": LINE["ordered_at"] + dt.timedelta(microseconds=1), "status": "open",
        "quantity": Decimal("1.500001"), "unit": "kg", "unit_price": Decimal("2.51"), "discount_amount": Decimal("0.0001"),
        "tax_amount": Decimal("0.25"), "currency": "GBP", "tax_included": False, "customer_hash": "",
    }  # fmt: skip
    assert set(changed) == set(content_fields(OrderLine))
    versions = hashed(LINE, *(LINE | {name: value} for name, value in changed.items()))
    assert len(set(versions)) == len(versions)
    assert hashed(LINE | {"source_updated_at": LINE["ordered_at"], "payload": '{"a": 1}'}) == hashed(LINE)
    # The same texts in each other's fields are another content.
    assert hashed(LINE | {"unit": "EUR", "currency": "each"}) != hashed(LINE)


def test_a_landed_file_has_the_columns_it_is_said_to_have(tmp_path):
    from connectors.extract import Extract

    landing = Landing(str(tmp_path), MemoryManifest())
    rows = [
        LINE | {"record_id": f"O1\x1f{n}", "line_code": str(n), "customer_hash": "c" if n else None} for n in range(3)
    ]
    landed = landing.land("shop", Extract("orders", {"order_line": table(rows)}), cursor_before=None)
    found = pq.read_table(tmp_path / landed.files[0].path)
    assert found.schema.equals(landed_schema("order_line"))
    assert found.select(arrow_schema("order_line").names).to_pylist() == rows
    assert found.column("source").to_pylist() == ["shop"] * 3
    assert found.column("content_hash").to_pylist() == hashed(*rows)
