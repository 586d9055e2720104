"""Imports: every row accounted for, and nothing doubled by overlap or repetition."""

from __future__ import annotations

import datetime as dt
import json
import random
from decimal import Decimal

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.files.mapping import parse_mapping
from connectors.privacy import hash_customer
from tests.connectors.till import HEADER, KEY, STOCK, contents, landed, mapping, row, run, save

# -- Counting ----------------------------------------------------------------------------------------------------------


def test_every_row_is_accepted_unchanged_or_quarantined_and_the_lines_say_so(make_landing, tmp_path):
    landing = make_landing()
    path = save(
        tmp_path / "may.csv",
        [
            row(item=" a "),
            row(item="TEST"),
            row(item="TOTAL"),
            row(qty="-2"),
            row(price="-1"),
            row(qty="many"),
            row(when="31/02/2026 10:00"),
            row(when="05/06/2026 10:00"),
            row(item=""),
            [*row()[:-1]],
            row(qty="3", customer=""),
        ],
    )
    report = run(landing, path)
    assert (report.accepted, report.unchanged, report.quarantined) == (3, 1, 7)
    assert report.received == 11
    assert report.reasons == {
        "test_sale": 1, "unit_price_greater_than_equal": 1, "quantity_decimal_parsing": 1,
        "ordered_at_datetime_parsing": 1,
        "ordered_at_in_the_future": 1, "item_code_missing": 1, "wrong_number_of_fields": 1,
    }  # fmt: skip
    lines = report.lines()
    assert "accepted 3" in lines
    assert "unchanged 1" in lines
    assert "quarantined 7" in lines
    assert "  1 total_line: rule of the mapping: code = 'TOTAL'" in lines
    assert "  1 unit_price_greater_than_equal: unit_price: must be at least 0" in lines
    again = run(landing, path)
    assert (again.accepted, again.unchanged, again.quarantined) == (0, 4, 7)
    assert again.reasons == report.reasons


def test_what_is_landed_is_what_the_mapping_says(make_landing, tmp_path):
    landing = make_landing()
    run(landing, save(tmp_path / "f.csv", [row(item=" a ", when="02/04/2026 09:30"), row(qty="-2", price="0.333")]))
    (line,) = landed(landing).values()
    assert line["item_code"] == "A"
    assert line["line_code"] == "A|1|2.5#1"
    assert line["record_id"] == "R1\x1fA|1|2.5#1"
    assert line["ordered_at"] == dt.datetime(2026, 4, 2, 8, 30, tzinfo=dt.UTC)
    assert line["unit_price"] == Decimal("2.5")
    assert line["currency"] == "GBP"
    assert line["customer_hash"] == hash_customer("13085", KEY)
    (back,) = landed(landing, "return_line").values()
    assert (back["quantity"], back["refund_amount"]) == (Decimal(2), Decimal("0.6660"))


def test_personal_data_is_nowhere_in_what_is_kept(make_landing, tmp_path):
    landing = make_landing()
    run(landing, save(tmp_path / "f.csv", [row(), row(qty="many")]))
    stored = [p for p in (tmp_path.parent).rglob("*.parquet") if str(p).startswith(landing.location)]
    assert len(stored) == 2
    for path in stored:
        everything = json.dumps(pq.read_table(path).to_pylist(), default=str)
        assert "13085" not in everything
        assert "0171" not in everything  # nobody mapped the telephone number, so nobody kept it
        assert "R1" in everything


# -- Repetition and overlap --------------------------------------------------------------------------------------------


def test_repeated_lines_are_kept_as_lines_of_their_own_or_dropped(make_landing, tmp_path):
    path = save(tmp_path / "f.csv", [row(), row(), row(item="a"), row(item="B")])
    keep = run(make_landing(), path)
    assert (keep.accepted, keep.unchanged, keep.repeated) == (4, 0, 2)
    landing = make_landing()
    drop = run(landing, path, mapping(repeated_lines="drop"))
    assert (drop.accepted, drop.unchanged, drop.quarantined) == (2, 2, 0)
    assert any("2 repeated_line" in line for line in drop.lines())
    assert {r["line_code"] for r in landed(landing).values()} == {"A|1|2.5#1", "B|1|2.5#1"}


def test_the_same_lines_in_another_format_and_order_are_unchanged(make_landing, tmp_path):
    landing = make_landing()
    rows = [row(receipt=f"R{i % 3}", item=f"I{i % 4}", qty=str(1 + i % 2)) for i in range(24)]
    assert run(landing, save(tmp_path / "f.csv", rows)).accepted == 24
    random.Random(1).shuffle(rows)
    book = openpyxl.Workbook()
    book.active.append(HEADER)
    for r in rows:
        book.active.append([*r[:3], int(r[3]), float(r[4]), int(r[5]), r[6]])
    book.save(tmp_path / "f.xlsx")
    report = run(landing, tmp_path / "f.xlsx")
    assert (report.accepted, report.unchanged) == (0, 24)
    columns = list(zip(*rows, strict=True))
    typed = [pa.array(c) for c in columns]
    typed[3], typed[4] = pa.array([int(x) for x in columns[3]], pa.int16()), pa.array([float(x) for x in columns[4]])
    typed[5] = pa.array([float(x) for x in columns[5]])  # as pandas leaves an id column with gaps
    pq.write_table(pa.table(typed, names=HEADER), tmp_path / "f.parquet")
    report = run(landing, tmp_path / "f.parquet")
    assert (report.accepted, report.unchanged) == (0, 24)


LINES = st.lists(
    st.tuples(
        st.integers(0, 4), st.sampled_from("AB"), st.sampled_from(["1", "2", "-1"]), st.sampled_from(["2.5", "3"])
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=LINES, cut=st.tuples(st.integers(0, 5), st.integers(0, 5)), seed=st.integers(0, 99), chunk=st.integers(1, 40)
)
def test_overlapping_exports_of_whole_documents_land_what_the_whole_file_lands(
    make_landing, tmp_path_factory, lines, cut, seed, chunk
):
    folder = tmp_path_factory.mktemp("overlap")
    low, high = sorted(cut)
    rows = [row(receipt=f"R{r}", item=i, qty=q, price=p) for r, i, q, p in lines]
    first = [r for r, line in zip(rows, lines, strict=True) if line[0] <= high]
    second = [r for r, line in zip(rows, lines, strict=True) if line[0] >= low]
    random.Random(seed).shuffle(first)
    random.Random(seed + 1).shuffle(second)
    whole, parts = make_landing(), make_landing()
    report = run(whole, save(folder / "whole.csv", rows), chunk_rows=chunk)
    assert (report.accepted, report.received) == (len(rows), len(rows))
    for name, half in (("first.csv", first), ("second.csv", second)):
        if half:
            run(parts, save(folder / name, half), chunk_rows=chunk)
    assert contents(parts) == contents(whole)
    for landing in (whole, parts):
        again = run(landing, folder / "whole.csv")
        assert (again.accepted, again.unchanged) == (0, len(rows))
        # A part of what is there is always there, wherever it is cut.
        some = random.Random(seed).sample(rows, len(rows) // 2) or rows
        partial = run(landing, save(folder / "part.csv", some))
        assert (partial.accepted, partial.unchanged) == (0, len(some))


# -- Keys, groups, several records of a row ----------------------------------------------------------------------------


def test_one_key_with_two_values_is_set_aside_whole_because_nobody_can_know(make_landing, tmp_path):
    landing = make_landing()
    rows = [["S1", "A", "2026-05-01", "5"], ["S1", "A", "2026-05-01", "7"], ["S1", "B", "2026-05-01", "1"],
            ["S1", "B", "2026-05-01", "1"]]  # fmt: skip
    path = save(tmp_path / "f.csv", rows, ["shop", "item", "counted", "qty"])
    for chunk in (100, 1):
        landing = make_landing()
        report = run(landing, path, parse_mapping(STOCK), "stock", chunk_rows=chunk)
        assert (report.accepted, report.unchanged, report.quarantined) == (1, 1, 2)
        assert report.reasons == {"key_repeated": 2}


@pytest.mark.parametrize("chunk", [100, 2])
def test_rows_gathered_into_one_record_share_its_fate(make_landing, tmp_path, chunk):
    landing = make_landing()
    rows = [["A", "Mug"], ["A", "Mug"], ["A", "mug?"], ["B", "Tea"], ["C", "x" * 2001], ["C", "x" * 2001]]
    path = save(tmp_path / "f.csv", rows, ["item", "name"])
    report = run(landing, path, parse_mapping(STOCK), "catalog", chunk_rows=chunk)
    assert (report.accepted, report.unchanged, report.quarantined) == (4, 0, 2)
    assert report.reasons == {"name_string_too_long": 2}
    assert {r["item_code"]: r["name"] for r in landed(landing, "product").values()} == {"A": "Mug", "B": "Tea"}
    again = run(landing, path, parse_mapping(STOCK), "catalog", chunk_rows=chunk)
    assert (again.accepted, again.unchanged, again.quarantined) == (0, 4, 2)


def test_a_row_that_makes_several_records_counts_once_and_lands_whole_or_not_at_all(make_landing, tmp_path):
    both = {
        "source": "shop",
        "defaults": {"currency": "EUR", "unit_price": 0},
        "orders": {
            "records": [
                {"entity": "order_line", "when": "qty > 0", "fields": {
                    "order_code": "concat(shop, '|', day)", "line_code": "item", "location_code": "shop",
                    "item_code": "item", "ordered_at": "day", "quantity": "qty"}},
                {"entity": "availability", "fields": {
                    "location_code": "shop", "item_code": "item", "date_on": "day", "in_stock_share": "share"}},
                {"entity": "location", "one_per": ["location_code"], "fields": {
                    "location_code": "shop", "name": "concat('Shop ', shop)"}},
            ]
        },
    }  # fmt: skip
    rows = [
        ["S1", "A", "2026-05-01", "2", "1"],
        ["S1", "B", "2026-05-01", "0", "0.5"],
        ["S2", "A", "2026-05-01", "3", "1.5"],
    ]
    landing = make_landing()
    report = run(landing, save(tmp_path / "f.csv", rows, ["shop", "item", "day", "qty", "share"]), parse_mapping(both))
    assert (report.accepted, report.unchanged, report.quarantined) == (2, 0, 1)
    assert report.reasons == {"in_stock_share_less_than_equal": 1}
    assert {r["location_code"] for r in landed(landing).values()} == {"S1"}
    assert len(landed(landing, "availability")) == 2
    assert report.records == {"order_line": 1, "availability": 2, "location": 2}


@pytest.mark.parametrize("chunk", [100, 1])
@pytest.mark.parametrize("fields", [{"reference": "line_id(item_code, quantity)"}, {"reference": "day"}])
def test_a_record_that_two_chunks_make_lands_once(make_landing, tmp_path, fields, chunk):
    """Neither a line id outside the key nor keys that two record mappings make tell the records of a file apart."""
    line = {"purchase_order_code": "po", "line_code": "item", "supplier_code": "'S'", "location_code": "'W'",
            "item_code": "item", "ordered_at": "day", "quantity": "qty", "unit_price": "1", **fields}  # fmt: skip
    halves = [{"entity": "purchase_order_line", "when": f"chunk {sign} 1", "fields": line} for sign in ("=", ">")]
    both = {"source": "erp", "defaults": {"currency": "EUR"}, "orders": {"records": halves}}
    rows = [["P1", "A", "2026-05-01", "5", "1"], ["P1", "B", "2026-05-01", "5", "1"],
            ["P1", "A", "2026-05-01", "5", "2"]]  # fmt: skip
    landing = make_landing()
    path = save(tmp_path / "f.csv", rows, ["po", "item", "day", "qty", "chunk"])
    report = run(landing, path, parse_mapping(both), chunk_rows=chunk)
    assert (report.accepted, report.unchanged, report.quarantined) == (2, 1, 0)


def test_files_that_the_import_has_not_landed_itself_are_compared_with(make_landing, tmp_path):
    """An import that a kill cut short is finished by the next, chunk by chunk, whatever that one lands itself."""
    landing = make_landing()
    rows = [row(receipt=f"R{n}") for n in range(6)]
    run(landing, save(tmp_path / "half.csv", rows[2:4]))
    report = run(landing, save(tmp_path / "whole.csv", rows), chunk_rows=1)
    assert (report.accepted, report.unchanged) == (4, 2)
    again = run(landing, tmp_path / "whole.csv", chunk_rows=2)
    assert (again.accepted, again.unchanged) == (0, 6)
