"""Numbers with a decimal comma, which the file itself has to tell."""

from __future__ import annotations

import csv
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.files.decimals import WITH_COMMA, tells_decimal_comma
from connectors.files.mapping import Reading
from connectors.files.rejected import write_rejected
from tests.connectors.till import HEADER, landed, mapping, row, run


def exported(tmp_path, quantities, prices, delimiter=";"):
    """A file of a till as a spreadsheet writes it."""
    path = tmp_path / "export.csv"
    rows = [row(f"R{i}", qty=qty, price=price) for i, (qty, price) in enumerate(zip(quantities, prices, strict=True))]
    with path.open("w", newline="") as opened:
        csv.writer(opened, delimiter=delimiter).writerows([HEADER, *rows])
    return path


def read_back(landing):
    return [(line["quantity"], line["unit_price"]) for _, line in sorted(landed(landing).items())]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_are_known_where_they_cannot_be_anything_else(make_landing, tmp_path, delimiter):
    landing = make_landing()
    # What 1,250 is, and 1.234,5, the other numbers of the file say.
    path = exported(tmp_path, ["1,250", " 3 ", "-2,5", "many"], ["12,50", "1.234,5", "0,99", "1"], delimiter)
    report = run(landing, path)
    assert (report.accepted, report.quarantined) == (3, 1)
    assert report.note.endswith("separated, decimal commas")
    assert read_back(landing) == [(Decimal("1.25"), Decimal("12.5")), (Decimal(3), Decimal("1234.5"))]
    (back,) = landed(landing, "return_line").values()
    assert (back["quantity"], back["refund_amount"]) == (Decimal("2.5"), Decimal("2.475"))
    # The setting of the mapping says nothing else.
    told = mapping().model_copy(update={"reading": Reading(decimal_comma=True)})
    assert run(landing, path, told).unchanged == 3


@pytest.mark.parametrize(
    ("quantities", "prices", "delimiter"),
    [
        (["1", "1"], ["1,250", "2,000"], ";"),  # thousands, or three decimals
        (["1", "1"], ["12,50", "12.50"], ";"),  # both marks
        (["1.500", "1"], ["12,50", "3"], ";"),  # a thousand and a half, or one and a half
        (["1", "1"], ["12,50", "1,234.50"], ";"),
        (["1", "1"], ["12,50", "1,234,567"], ";"),
        (["1", "1"], ["12,50", "3"], ","),  # only quotes keep it together
    ],
)
def test_numbers_that_could_be_two_are_refused_by_row(make_landing, tmp_path, quantities, prices, delimiter):
    landing = make_landing()
    report = run(landing, exported(tmp_path, quantities, prices, delimiter))
    assert "decimal commas" not in report.note
    doubted = [i for i, price in enumerate(prices) if "," in price]
    assert report.reasons == {"unit_price_decimal_parsing": len(doubted)}
    write_rejected(landing, report, tmp_path / "bad.csv")
    with (tmp_path / "bad.csv").open(encoding="utf-8-sig", newline="") as opened:
        told = [(line["row"], line["price"]) for line in csv.DictReader(opened)]
    assert told == [(str(i + 2), prices[i]) for i in doubted]


def test_what_a_mapping_does_about_commas_itself_stays_as_it_is(make_landing, tmp_path):
    landing = make_landing()
    path = exported(tmp_path, ["1", "2"], ["12,50", "3,25"])
    chosen = mapping(values={"code": "item", "price_told": "replace(price, ',', '.')"})
    records = [
        r.model_copy(update={"fields": {**r.fields, "unit_price": "price_told"}}) for r in chosen.orders.records[:1]
    ]
    chosen = chosen.model_copy(update={"orders": chosen.orders.model_copy(update={"records": tuple(records)})})
    report = run(landing, path, chosen)
    assert "decimal commas" not in report.note
    assert [price for _, price in read_back(landing)] == [Decimal("12.5"), Decimal("3.25")]


def test_a_mapping_may_say_that_there_are_no_decimal_commas(make_landing, tmp_path):
    told = mapping().model_copy(update={"reading": Reading(decimal_comma=False)})
    report = run(make_landing(), exported(tmp_path, ["1", "1"], ["12,50", "3"]), told)
    assert report.reasons == {"unit_price_decimal_parsing": 1}


def test_points_that_are_not_between_thousands_are_no_number_with_decimal_commas(make_landing, tmp_path):
    landing = make_landing()
    told = mapping().model_copy(update={"reading": Reading(decimal_comma=True)})
    report = run(landing, exported(tmp_path, ["1", "1", "1"], ["12.50", "1.250", "1.250,5"]), told)
    assert report.reasons == {"unit_price_decimal_parsing": 1}
    assert [price for _, price in read_back(landing)] == [Decimal(1250), Decimal("1250.5")]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.decimals(-99999999, 99999999, places=3, allow_nan=False), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_what_is_taken_for_a_decimal_comma_is_the_number_that_was_written(numbers, grouped, comma):
    """Either the file's own reading, or none: whatever marks a spreadsheet wrote all of its numbers with."""
    marks = str.maketrans(",.", ".,") if comma else {}
    texts = [f"{n:,}" if grouped else f"{n}" for n in numbers]
    texts = [(text.rstrip("0").rstrip(".") if "." in text else text).translate(marks) for text in texts]
    if tells_decimal_comma(lambda pattern: any(re.fullmatch(pattern, text) for text in texts)):
        assert comma
        for number, text in zip(numbers, texts, strict=True):
            assert re.fullmatch(WITH_COMMA, text)
            assert Decimal(text.replace(".", "").replace(",", ".")) == number
