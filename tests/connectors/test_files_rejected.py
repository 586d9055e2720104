"""Quarantined rows come out again, to be mended and never to be run."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import PermanentError
from connectors.files.rejected import neutralise, write_rejected
from tests.connectors.till import row, run, save


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
