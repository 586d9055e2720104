"""Imports: every row accounted for, nothing doubled by overlap, repetition or a kill, and one sentence when refused."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import PermanentError
from connectors.files.importer import _lock, import_file
from connectors.files.mapping import load_mapping, parse_mapping, ready_mappings
from connectors.files.rejected import neutralise, write_rejected
from connectors.landing import LandedFile
from connectors.privacy import hash_customer
from connectors.records import ENTITIES

KEY = b"a key of thirty-two bytes length"
NOW = dt.datetime(2026, 5, 2, 12, tzinfo=dt.UTC)
HEADER = ["receipt", "item", "when", "qty", "price", "customer", "phone"]


def mapping(**orders):
    return parse_mapping(
        {
            "source": "till",
            "timezone": "Europe/London",
            "defaults": {"location_code": "S1", "currency": "GBP"},
            "personal": ["customer"],
            "orders": {
                "values": {"code": "upper(trim(item))"},
                "quarantine": {"test_sale": "code = 'TEST'"},
                "skip": {"total_line": "code = 'TOTAL'"},
                "records": [
                    {
                        "entity": "order_line",
                        "when": "not (qty < 0)",
                        "fields": {
                            "order_code": "receipt",
                            "line_code": "line_id(item_code, quantity, unit_price)",
                            "item_code": "code",
                            "ordered_at": "to_instant(\"when\", '%d/%m/%Y %H:%M')",
                            "quantity": "qty",
                            "unit_price": "price",
                            "customer_hash": "hash_customer(customer)",
                        },
                    },
                    {
                        "entity": "return_line",
                        "when": "qty < 0",
                        "fields": {
                            "return_code": "receipt",
                            "line_code": "line_id(item_code, quantity, refund_amount)",
                            "item_code": "code",
                            "returned_at": "to_instant(\"when\", '%d/%m/%Y %H:%M')",
                            "quantity": "-qty",
                            "refund_amount": "-qty * price",
                        },
                    },
                ],
                **orders,
            },
        }
    )


def row(receipt="R1", item="A", qty="1", price="2.50", customer="13085", when="02/01/2026 09:30", phone="0171 123"):
    return [receipt, item, when, qty, price, customer, phone]


def save(path, rows, header=HEADER):
    with path.open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])
    return path


def run(landing, path, chosen=None, kind="orders", **options):
    return import_file(landing, kind, path, chosen or mapping(), hash_key=KEY, clock=lambda: NOW, **options)


def landed(landing, entity="order_line"):
    """Newest version of every record of an entity, by record_id."""
    newest = {}
    for file in landing.manifest.files(entity=entity):
        if file["path"]:
            for record in landing.read(LandedFile(**file)).to_pylist():
                newest[record["record_id"]] = record
    return newest


def contents(landing):
    """What all landed records say, apart from when and where they came from."""
    out = set()
    for entity, model in ENTITIES.items():
        for key, record in landed(landing, entity).items():
            out.add((entity, key, *(str(record[name]) for name in model.model_fields)))
    return out


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

STOCK = {
    "source": "erp",
    "defaults": {"unit": "each"},
    "stock": {
        "records": [
            {
                "entity": "stock_level",
                "fields": {"location_code": "shop", "item_code": "item", "counted_at": "counted", "on_hand": "qty"},
            }
        ]
    },
    "catalog": {
        "records": [
            {"entity": "product", "one_per": ["item_code"], "fields": {"item_code": "item", "name": "mode(name)"}}
        ]
    },
}


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


# -- Refusals ----------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_shrank_sharply_is_refused_until_it_is_confirmed(make_landing, tmp_path):
    landing = make_landing()
    header = ["shop", "item", "counted", "qty"]
    full = save(tmp_path / "full.csv", [["S1", f"I{i}", "2026-05-01", "5"] for i in range(100)], header)
    small = save(tmp_path / "small.csv", [["S1", "I1", "2026-05-02", "5"]], header)
    chosen = parse_mapping(STOCK)
    run(landing, full, chosen, "stock")
    with pytest.raises(PermanentError, match="has 1 rows where the last stock of erp had 100"):
        run(landing, small, chosen, "stock")
    assert run(landing, small, chosen, "stock", allow_drop=True).accepted == 1
    assert run(landing, full, chosen, "stock").unchanged == 100


def test_a_column_that_is_not_in_the_file_is_answered_with_those_that_are(make_landing, tmp_path):
    path = save(tmp_path / "f.csv", [["1", "2"]], ["receipt", "sku"])
    with pytest.raises(PermanentError, match=r"no column 'item'; there are: receipt, sku"):
        run(make_landing(), path)


def test_a_mapping_without_the_kind_says_what_it_has(make_landing, tmp_path):
    with pytest.raises(PermanentError, match="says nothing about stock; it has: orders"):
        run(make_landing(), save(tmp_path / "f.csv", [row()]), kind="stock")


def test_nothing_lands_when_the_landing_location_cannot_be_written(make_landing, tmp_path, monkeypatch):
    landing = make_landing()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("connectors.landing._write_parquet", full)
    with pytest.raises(PermanentError, match="No space left on device"):
        run(landing, save(tmp_path / "f.csv", [row()]))
    assert landing.manifest.rows == []
    monkeypatch.undo()
    assert run(landing, tmp_path / "f.csv").accepted == 1


def test_a_file_of_the_drop_folder_only(make_landing, tmp_path):
    (tmp_path / "drop").mkdir()
    save(tmp_path / "drop" / "in.csv", [row()])
    save(tmp_path / "out.csv", [row()])
    assert run(make_landing(), "in.csv", root=tmp_path / "drop").accepted == 1
    with pytest.raises(PermanentError, match="leaves the folder"):
        run(make_landing(), "../out.csv", root=tmp_path / "drop")


def test_a_locked_session_reads_this_one_file_and_nothing_else(tmp_path):
    path, other = save(tmp_path / "f.csv", [row()]), save(tmp_path / "other.csv", [row()])
    with duckdb.connect() as db:
        _lock(db, path)
        assert db.execute(f"SELECT count(*) FROM read_csv('{path}')").fetchone() == (1,)
        for attack in (f"FROM read_csv('{other}')", "FROM read_text('/etc/hostname')", f"COPY (SELECT 1) TO '{other}'",
                       "SET enable_external_access = true", f"ATTACH '{tmp_path / 'x.db'}'"):  # fmt: skip
            with pytest.raises(duckdb.Error):
                db.execute(attack)


# -- Mappings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sauce": "x"}, "unknown key 'sauce'; known there: source"),
        ({"orders": {"recods": []}}, r"records'?: Field required|unknown key"),
        ({"timezone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"defaults": {"colour": "red"}}, "no entity has a field 'colour'"),
        ({"source": "Not OK"}, "source"),
        ({"reading": {"encoding": "klingon"}}, "no encoding 'klingon'"),
        ({"reading": {"sep": ";"}}, "unknown key 'reading.sep'; known there: encoding, delimiter"),
        ({"orders": {"records": [{"entity": "sale", "fields": {"a": "b"}}]}}, "no entity 'sale'"),
        ({"orders": {"records": [{"entity": "order_line", "fields": {"sku": "b"}}]}}, "order_line has no field 'sku'"),
    ],
)
def test_a_mapping_that_says_something_unknown_is_refused_by_name(change, sentence):
    with pytest.raises(PermanentError, match=sentence):
        parse_mapping({"source": "x", **change})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source: x\nsource: y\n", "given twice"),
        ("a: [1, 2\n", "no valid YAML"),
        ("", "is empty"),
        ("- a\n- b\n", "no mapping of keys"),
        ("source: !!python/object/apply:os.system ['true']\n", "no valid YAML"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: " * 3000, "no valid YAML"),
    ],
)
def test_a_mapping_file_that_is_no_mapping(tmp_path, text, sentence):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(PermanentError, match=sentence):
        load_mapping(str(path))


def test_ready_mappings_are_found_by_name_and_others_by_path(tmp_path):
    assert {"freshretailnet", "online_retail_ii"} <= set(ready_mappings())
    assert load_mapping("online_retail_ii").source == load_mapping("online_retail_ii.yaml").source == "online_retail_ii"
    (tmp_path / "m.yaml").write_text("source: mine\n")
    assert load_mapping(str(tmp_path / "m.yaml")).source == "mine"
    with pytest.raises(PermanentError, match="no readable mapping 'nothing'; give a path or one of: freshretailnet, "):
        load_mapping("nothing")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"line_code": "line_id()"}, "needs the fields"),
        ({"line_code": "line_id(colour)"}, "knows no field 'colour'"),
        ({"line_code": "line_id(line_code)"}, "cannot be made of the field it makes"),
        ({"quantity": "sum(qty)"}, "one_per"),
        ({"customer_hash": "customer"}, "personal"),
    ],
)
def test_expressions_that_do_not_fit_their_record(make_landing, tmp_path, fields, sentence):
    chosen = mapping().model_dump(mode="json", exclude_none=True)
    chosen["orders"]["records"][0]["fields"].update(fields)
    with pytest.raises(PermanentError, match=sentence):
        run(make_landing(), save(tmp_path / "f.csv", [row()]), parse_mapping(chosen))


def test_a_required_field_without_a_value_is_found_before_reading(make_landing, tmp_path):
    chosen = mapping().model_dump(mode="json", exclude_none=True)
    del chosen["defaults"]["currency"]
    with pytest.raises(PermanentError, match="gives order_line no currency"):
        run(make_landing(), save(tmp_path / "f.csv", [row()]), parse_mapping(chosen))
    chosen["defaults"]["currency"] = "pounds"
    with pytest.raises(PermanentError, match="default for currency does not fit"):
        run(make_landing(), save(tmp_path / "f.csv", [row()]), parse_mapping(chosen))


# -- The way out -------------------------------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_no_cell_of_an_export_is_a_formula(text):
    out = neutralise(text)
    assert out.lstrip("'") == text.lstrip("'")
    if out[:1] in ("=", "@", "\t", "\r"):
        pytest.fail(out)
    if out[:1] in ("+", "-"):
        float(out)


def test_quarantined_rows_come_out_as_a_safe_csv_to_mend(make_landing, tmp_path):
    landing = make_landing()
    report = run(landing, save(tmp_path / "f.csv", [row(), row(item="=cmd|' /C calc'!A0", qty="-x"), row(qty="")]))
    assert write_rejected(landing, report, tmp_path / "bad.csv") == 2
    with (tmp_path / "bad.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [r["row"] for r in rows] == ["3", "4"]
    assert rows[0]["item"] == "'=cmd|' /C calc'!A0"
    assert rows[0]["qty"] == "'-x"
    assert "customer" not in rows[0]
    with pytest.raises(PermanentError, match="cannot be written"):
        write_rejected(landing, report, tmp_path / "no" / "bad.csv")


# -- Kill --------------------------------------------------------------------------------------------------------------

CHILD = """
import pickle, sys
sys.path[:0] = {paths!r}
import test_files_importer as t
from tests.connectors.manifest import MemoryManifest
from connectors.landing import Landing

class OnDisk(MemoryManifest):
    # One file replaced at once: the transaction of the real store.
    def commit(self, **step):
        import os
        done = super().commit(**step)
        with open({manifest!r} + ".new", "wb") as out:
            pickle.dump((self.rows, self.cursors), out)
        os.replace({manifest!r} + ".new", {manifest!r})
        return done

store = OnDisk()
try:
    store.rows, store.cursors = pickle.load(open({manifest!r}, "rb"))
except FileNotFoundError:
    pass
print("ready", flush=True)
report = t.run(Landing({location!r}, store), {file!r}, chunk_rows=300)
print(report.accepted, report.unchanged, report.quarantined, flush=True)
"""


def test_an_import_killed_at_any_point_is_finished_by_the_next_one_and_nothing_doubles(make_landing, tmp_path):
    rows = [row(receipt=f"R{i // 5}", item=f"I{i % 3}", qty=str(i % 4)) for i in range(3000)]
    path = save(tmp_path / "f.csv", rows)
    here = os.path.dirname(__file__)
    script = CHILD.format(
        paths=[here, os.path.dirname(os.path.dirname(here))], manifest=str(tmp_path / "manifest"),
        location=str(tmp_path / "landing"), file=str(path),
    )  # fmt: skip
    rng = random.Random(7)
    kills = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.6))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
        child.stdout.close()
    assert kills
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    accepted, unchanged, quarantined = map(int, done.stdout.split()[1:])
    assert accepted + unchanged == 2250
    assert quarantined == 750  # a quantity of nothing
    manifest_rows, _ = pickle.loads((tmp_path / "manifest").read_bytes())
    ids = Counter()
    for file in manifest_rows:
        if file["path"]:
            ids.update(pq.read_table(tmp_path / "landing" / file["path"], columns=["record_id"])[0].to_pylist())
    assert len(ids) == 2250
    assert set(ids.values()) == {1}
