"""`stockflow import` prints what happened, answers what is wrong with one sentence and a non-zero exit."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from connectors.landing import Landing
from orchestration.cli.imports import import_command
from tests.connectors.manifest import MemoryManifest

MAPPING = """
source: erp
stock:
  records:
    - entity: stock_level
      fields: {location_code: shop, item_code: item, counted_at: day, on_hand: qty}
index:
  records:
    - entity: category_index
      fields: {name: "'searches'", category: topic, date_on: week, issued_at: "to_instant(published)", value: interest}
"""


@pytest.fixture
def run(tmp_path):
    opened = SimpleNamespace(landing=Landing(str(tmp_path / "landing"), MemoryManifest()), hash_key=b"key")
    app = typer.Typer()
    noted = []
    app.command("import")(import_command(lambda: contextlib.nullcontext(opened), lambda *note: noted.append(note[1:])))
    (tmp_path / "m.yaml").write_text(MAPPING)

    def call(text, *options, kind="stock", name="f.csv"):
        if text is not None:
            (tmp_path / name).write_text(text)
        given = [kind, str(tmp_path / name), "--mapping", str(tmp_path / "m.yaml"), *map(str, options)]
        return CliRunner().invoke(app, given)

    call.noted = noted
    return call


def test_the_counts_are_printed_one_line_each_and_add_up(run, tmp_path):
    text = "shop,item,day,qty\nS1,A,2026-01-02,5\nS1,=B,2026-01-02,many\n"
    first = run(text, "--rejects", tmp_path / "bad.csv")
    assert first.exit_code == 0, first.output
    assert {"accepted 1", "unchanged 0", "quarantined 1"} <= set(first.output.splitlines())
    assert "1 on_hand_decimal_parsing" in first.output
    assert "'=B" in (tmp_path / "bad.csv").read_text("utf-8-sig")
    assert {"accepted 0", "unchanged 1", "quarantined 1"} <= set(run(text).output.splitlines())
    assert [(kind, "accepted 1" in lines) for kind, _, lines in run.noted] == [("stock", True), ("stock", False)]


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("", "stock", "is empty"),
        (None, "stock", "There is no file"),
        ("shop,sku\n1,2\n", "stock", "there is no column 'item'"),
        ("shop,item\n1,2\n", "orders", "says nothing about orders; it has: stock, index"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_failing_exit(run, text, kind, sentence):
    result = run(text, kind=kind)
    assert result.exit_code == 1
    assert sentence in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert run.noted == []


def test_a_kind_that_does_not_exist_is_refused(run):
    assert run("a\n1\n", kind="weather").exit_code == 2


def test_an_index_comes_with_when_it_was_issued_and_a_number_that_is_none_is_set_aside(run):
    text = "topic,week,published,interest\nTea,2026-01-04,2026-01-05 06:00,71.5\nTea,2026-01-11,2026-01-12 06:00,n/a\n"
    told = run(text, kind="index")
    assert {"accepted 1", "quarantined 1", "landed 1 category_index"} <= set(told.output.splitlines())
    assert "accepted 0" in run(text, kind="index").output
