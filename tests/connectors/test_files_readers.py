"""Files as people send them: encodings, dialects, workbooks that want to hurt, and files that are no such thing."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import zipfile

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import PermanentError
from connectors.files import workbook
from connectors.files.mapping import Reading
from connectors.files.readers import checked_path, open_source


def read(path, reading=None, wanted=frozenset()):
    """(rows as (file_row, cells...), table) of a file."""
    scratch = path.parent / f"{path.name}-scratch"
    scratch.mkdir(exist_ok=True)
    with duckdb.connect() as db:
        table = open_source(db, checked_path(path), reading or Reading(), frozenset(wanted), scratch)
        return db.execute("SELECT * FROM source ORDER BY file_row").fetchall(), table


def write(tmp_path, content, name="file.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- CSV ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_chinese_exports_are_read_in_every_usual_encoding_and_dialect(tmp_path, encoding, delimiter):
    text = "\r\n".join(
        delimiter.join(row)
        for row in [("商品编码", "名称", "数量"), ("A1", "红富士苹果", "3"), ("A2", "有机牛奶", "12")]
    )
    rows, table = read(write(tmp_path, text.encode(encoding)))
    assert rows == [(2, "A1", "红富士苹果", "3"), (3, "A2", "有机牛奶", "12")]
    assert list(table.columns) == ["商品编码", "名称", "数量"]
    assert encoding in table.note


def test_western_exports_are_not_taken_for_chinese(tmp_path):
    text = "code;name\n1;Crème brûlée\n2;Größe éta\n3;Ñandú café\n"
    rows, table = read(write(tmp_path, text.encode("cp1252")))
    assert [row[2] for row in rows] == ["Crème brûlée", "Größe éta", "Ñandú café"]
    assert "cp1252" in table.note


def test_a_wrongly_named_encoding_is_one_sentence(tmp_path):
    path = write(tmp_path, "code,name\n1,苹果\n".encode("gb18030"))
    with pytest.raises(PermanentError, match="not utf-8 text throughout; export it as UTF-8 or name its encoding"):
        read(path, Reading(encoding="utf-8"))


def test_the_delimiter_is_the_one_that_gives_the_columns_the_mapping_uses(tmp_path):
    path = write(tmp_path, "code;name, in words;price, a, b, c, d\nA;x;1\n")
    rows, _ = read(path, wanted={"code", "name, in words"})
    assert rows == [(2, "A", "x", "1")]


def test_quoted_newlines_quotes_and_blank_lines(tmp_path):
    path = write(tmp_path, 'code,note\n1,"two\nlines, and ""quotes"""\n\n2,""\n3,\n')
    rows, _ = read(path)
    assert rows == [(2, "1", 'two\nlines, and "quotes"'), (3, "2", None), (4, "3", None)]


def test_rows_of_the_wrong_width_are_set_aside_with_their_row_numbers(tmp_path):
    path = write(tmp_path, "code,quantity\n1,5\n2\n3,6,7\n4,8\n")
    rows, table = read(path)
    assert rows == [(2, "1", "5"), (5, "4", "8")]
    assert [(b.row, b.reason) for b in table.broken] == [(3, "wrong_number_of_fields"), (4, "wrong_number_of_fields")]
    assert table.received == 4


def test_lines_above_the_header_are_skipped_by_setting(tmp_path):
    rows, _ = read(write(tmp_path, "Report of May\n\ncode,quantity\nA,1\n"), Reading(skip_rows=2))
    assert rows == [(4, "A", "1")]


def test_formulas_in_cells_are_data(tmp_path):
    rows, _ = read(write(tmp_path, 'code,name\n1,=1+1\n2,"=HYPERLINK(""http://x"")"\n3,@SUM(A1)\n'))
    assert [row[2] for row in rows] == ["=1+1", '=HYPERLINK("http://x")', "@SUM(A1)"]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    last_newline=st.booleans(),
)
def test_whatever_the_dialect_the_cells_come_back(
    tmp_path_factory, rows, delimiter, newline, quoting, encoding, last_newline
):
    if quoting == csv.QUOTE_MINIMAL:
        # Python's writer leaves a lone carriage return unquoted, which is a line end to everybody else.
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    rows = [("k" + a, b, c) for a, b, c in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerows([("one", "two", "three"), *rows])
    text = out.getvalue()
    if not last_newline:
        text = text.removesuffix(newline)
    path = write(tmp_path_factory.mktemp("csv"), text.encode(encoding))
    found, table = read(path, Reading(encoding=encoding), {"one", "two", "three"})
    assert [row[1:] for row in found] == [tuple(cell or None for cell in row) for row in rows]
    assert [row[0] for row in found] == list(range(2, len(rows) + 2))
    assert not table.broken


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=300) | st.text(st.sampled_from('a,;"\n\r\t=1é'), max_size=80).map(str.encode),
    st.sampled_from(["csv", "xlsx", "parquet"]),
)
def test_any_bytes_give_rows_or_one_sentence(tmp_path_factory, content, extension):
    path = write(tmp_path_factory.mktemp("any"), content, f"file.{extension}")
    try:
        rows, table = read(path)
    except PermanentError as error:
        sentence = str(error)
    else:
        sentence = f"file.{extension} was read"
        assert len(rows) + len(table.broken) == table.received > 0
    assert "file." in sentence
    assert "\n" not in sentence


# -- XLSX --------------------------------------------------------------------------------------------------------------


def save_workbook(path, rows, title="Data"):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_comes_as_a_person_sees_it(tmp_path):
    path = save_workbook(
        tmp_path / "file.xlsx",
        [
            ["code", "when", "price", "ok", "text", None],
            [22041, dt.datetime(2010, 1, 2, 3, 4), 0.1 + 0.2, True, "00123"],
            [],
            [85123.0, dt.datetime(2010, 1, 2), 2.5, False, None],
        ],
    )
    rows, table = read(path)
    assert rows == [
        (2, "22041", "2010-01-02 03:04:00", "0.3", "true", "00123"),
        (4, "85123", "2010-01-02", "2.5", "false", None),
    ]
    assert table.note == "sheet 'Data'"


def test_formulas_of_a_workbook_are_never_evaluated(tmp_path):
    path = save_workbook(tmp_path / "file.xlsx", [["code", "n"], ["a", "=1+1"], ["b", 5]])
    rows, _ = read(path)
    assert rows == [
        (2, "a", None),
        (3, "b", "5"),
    ]  # openpyxl stores no result with the formula, as a fresh export would


def test_a_sheet_is_chosen_by_name(tmp_path):
    path = save_workbook(tmp_path / "file.xlsx", [["a"], [1]], "First")
    with pytest.raises(PermanentError, match=r"has no sheet 'Second'; it has: First"):
        read(path, Reading(sheet="Second"))


def rezip(source, target, replace):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, replace(part.filename, old.read(part)))
    return target


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    good = save_workbook(tmp_path / "good.xlsx", [["a"], [1]])
    bomb = tmp_path / "bomb.xlsx"
    rezip(good, bomb, lambda name, data: data)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/media/x.bin", "w") as part:
        for _ in range(60):
            part.write(bytes(1 << 20))
    with pytest.raises(PermanentError, match="ZIP bomb"):
        read(bomb)


def test_a_bomb_of_very_many_parts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MOST_PARTS", 3)
    with pytest.raises(PermanentError, match="ZIP bomb"):
        read(save_workbook(tmp_path / "file.xlsx", [["a"], [1]]))


@pytest.mark.parametrize(
    "prolog",
    [
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        b"<!--" + b"x" * 70_000 + b'--><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    ],
)
@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml"])
def test_external_entities_are_refused(tmp_path, prolog, part):
    good = save_workbook(tmp_path / "good.xlsx", [["a", "b"], ["x", "y"]])

    def poison(name, data):
        if name != part:
            return data
        head, _, rest = data.partition(b"?>") if data.startswith(b"<?xml") else (b'<?xml version="1.0"', b"", data)
        return head + b"?>" + prolog + rest

    with pytest.raises(PermanentError) as refused:
        read(rezip(good, tmp_path / "evil.xlsx", poison))
    assert "root:" not in str(refused.value)


def test_a_workbook_cut_off_is_one_sentence(tmp_path):
    path = save_workbook(tmp_path / "file.xlsx", [["a"], *[[i] for i in range(500)]])
    whole = path.read_bytes()
    for keep in (10, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:keep])
        with pytest.raises(PermanentError, match=r"damaged or cut off|is named"):
            read(path)


# -- Parquet -----------------------------------------------------------------------------------------------------------


def test_parquet_rows_are_numbered_from_one_and_keep_their_types(tmp_path):
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"code": ["a", "b"], "n": [1.5, None], "l": [[1], [2]]}), path)
    rows, table = read(path)
    assert rows == [(1, "a", 1.5, [1]), (2, "b", None, [2])]
    assert table.columns["n"] == "DOUBLE"


def test_a_parquet_file_cut_off_is_one_sentence(tmp_path):
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"code": ["a"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PermanentError, match="damaged or cut off"):
        read(path)


# -- What is no file to import -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf \r\n", "is empty"),
        ("a.csv", b"code,quantity\n", "has a header but no rows"),
        ("a.csv", b"code,code\n1,2\n", "column 'code' more than once"),
        ("a.csv", b"\x00\x01\x02binary", "holds binary data"),
        ("a.csv", b"PK\x03\x04rest", "is named .csv but holds an Excel workbook"),
        ("a.csv", b"PAR1rest", "is named .csv but holds Parquet data"),
        ("a.xlsx", b"code,quantity\n1,2\n", "is named .xlsx but holds text"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old or password-protected"),
        ("a.parquet", b"code,quantity\n1,2\n", "is named .parquet but holds text"),
        ("a.pdf", b"%PDF-1.4", "is no file that can be imported"),
    ],
)
def test_a_file_that_cannot_be_read_is_answered_with_one_sentence(tmp_path, name, content, sentence):
    with pytest.raises(PermanentError, match=sentence) as refused:
        read(write(tmp_path, content, name))
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(PermanentError, match="There is no file"):
        checked_path(tmp_path / "nothing.csv")
    with pytest.raises(PermanentError, match="is not a file"):
        checked_path(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(PermanentError, match="is not a file"):
        checked_path(tmp_path / "pipe.csv")
    with pytest.raises(PermanentError, match="cannot be opened"):
        checked_path("a\x00b.csv")


def test_a_path_may_not_leave_the_drop_folder(tmp_path):
    drop, outside = tmp_path / "drop", tmp_path / "outside"
    (drop / "in").mkdir(parents=True)
    outside.mkdir()
    write(outside, "a\n1\n", "secret.csv")
    inside = write(drop / "in", "a\n1\n", "fine.csv")
    assert checked_path(inside, drop) == inside
    assert checked_path("in/fine.csv", drop) == inside
    for path in (outside / "secret.csv", "../outside/secret.csv", drop / "in" / ".." / ".." / "outside" / "secret.csv"):
        with pytest.raises(PermanentError, match="leaves the folder"):
            checked_path(path, drop)
    (drop / "link.csv").symlink_to(outside / "secret.csv")
    (drop / "folder").symlink_to(outside)
    (drop / "own.csv").symlink_to(inside)
    for path in ("link.csv", "folder/secret.csv", "own.csv"):
        with pytest.raises(PermanentError, match="symbolic link"):
            checked_path(path, drop)
    with pytest.raises(PermanentError, match="There is no file"):
        checked_path("nothing.csv", drop)
