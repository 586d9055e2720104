"""What cannot be imported is answered with one sentence, and nothing lands."""

from __future__ import annotations

import duckdb
import pytest

from connectors.errors import PermanentError
from connectors.files.importer import _lock
from connectors.files.mapping import load_mapping, parse_mapping, ready_mappings
from tests.connectors.till import STOCK, mapping, row, run, save

# -- Refusals ----------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_shrank_sharply_is_refused_until_it_is_confirmed(make_landing, tmp_path):
    landing = make_landing()
    header = ["shop", "item", "counted", "qty"]
    full = save(tmp_path / "full.csv", [["S1", f"I{i}", "2026-05-01", "5"] for i in range(100)], header)
    small = save(tmp_path / "small.csv", [["S1", "I1", "2026-05-02", "5"]], header)
    chosen = parse_mapping(STOCK)
    run(landing, full, chosen, "stock")
    with pytest.raises(PermanentError, match="has 1 of the 100 rows that the last stock of erp had"):
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
