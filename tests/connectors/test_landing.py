"""Landing: what is received is accounted for, written once, and never half there."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import TransientError
from connectors.extract import Collector
from connectors.landing import Landing
from connectors.records import OrderLine
from tests.connectors.manifest import MemoryManifest


def line(code: int, quantity: int) -> dict:
    return {
        "order_code": f"O{code}", "line_code": "1", "location_code": "S1", "item_code": "A",
        "ordered_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "quantity": Decimal(quantity),
        "unit_price": Decimal("2.50"), "currency": "EUR",
    }  # fmt: skip


def extract(lines, cursor=None):
    collector = Collector()
    for index, (code, quantity) in enumerate(lines):
        collector.add(OrderLine, line(code, quantity), payload={"n": code}, position=f"[{index}]")
    return collector.extract("orders", cursor)


@settings(max_examples=20, deadline=None)
@given(pages=st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), max_size=8), max_size=5))
def test_received_is_accepted_plus_unchanged_plus_quarantined_and_the_newest_version_wins(tmp_path_factory, pages):
    manifest = MemoryManifest()
    landing = Landing(str(tmp_path_factory.mktemp("landing")), manifest)
    newest: dict[str, int] = {}
    for page in pages:
        step = extract(page)
        landed = landing.land("shop", step, cursor_before=None)
        assert landed.accepted + landed.unchanged + landed.quarantined == len(page)
        assert landed.quarantined == sum(quantity <= 0 for _, quantity in page)
        changes = 0
        for code, quantity in page:
            if quantity > 0 and newest.get(f"O{code}") != quantity:
                newest[f"O{code}"], changes = quantity, changes + 1
        assert landed.accepted == changes
        again = landing.land("shop", extract([(int(c[1:]), q) for c, q in newest.items()]), cursor_before=None)
        assert again.accepted == 0


def test_a_slower_pull_keeps_nothing_when_the_cursor_has_moved(tmp_path):
    manifest = MemoryManifest()
    landing = Landing(str(tmp_path), manifest)
    landing.land("shop", extract([(1, 1)], cursor="p1"), cursor_before=None)
    with pytest.raises(TransientError, match="at the same time"):
        landing.land("shop", extract([(2, 1)], cursor="p1b"), cursor_before=None)
    assert [f["accepted"] for f in manifest.files()] == [1]
    assert len(landing.sweep(older_than=dt.timedelta(seconds=-1))) == 1
    assert landing.read(type("F", (), manifest.files()[0])).num_rows == 1


def test_distinct_records_are_compared_with_everything_but_the_batches_of_their_own_pull(tmp_path):
    landing = Landing(str(tmp_path), MemoryManifest())
    before = landing.land("shop", extract([(1, 1), (2, 1)]), cursor_before=None)
    first = replace(extract([(1, 1), (3, 1)]), distinct={"order_line"})
    own = landing.land("shop", first, cursor_before=None)
    assert (own.accepted, own.unchanged) == (1, 1)
    second = replace(extract([(2, 1), (4, 1)]), distinct={"order_line"})
    landed = landing.land("shop", second, cursor_before=None, earlier=[own.batch_id])
    assert (landed.accepted, landed.unchanged) == (1, 1)
    # That nothing comes twice in a pull is its own word, and for its distinct entities only.
    careless = landing.land("shop", extract([(4, 1)]), cursor_before=None, earlier=[own.batch_id, landed.batch_id])
    assert (careless.accepted, careless.unchanged) == (0, 1)
    assert before.accepted == 2
