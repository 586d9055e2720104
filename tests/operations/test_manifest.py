"""The manifest in PostgreSQL: nothing half-written, no file missed, one pull at a time."""

from __future__ import annotations

import datetime as dt
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import TransientError
from connectors.extract import Collector
from connectors.landing import LandedFile, Landing
from connectors.records import OrderLine
from operations.manifest import PostgresManifest

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def file(batch: str, entity: str = "order", accepted: int = 1) -> dict:
    return {
        "batch_id": batch, "source": "shop", "entity": entity, "path": f"{batch}.parquet" if accepted else None,
        "accepted": accepted, "unchanged": 2, "quarantined": 1, "reasons": {"quantity_not_positive": 1},
    }  # fmt: skip


def commit(manifest, batch, before=None, after=None, files=None, stream="orders"):
    return manifest.commit(
        source="shop", stream=stream, batch_id=batch, files=[file(batch)] if files is None else files,
        cursor_before=before, cursor_after=after, landed_at=NOW,
    )  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "1", "2"]), st.sampled_from([None, "1", "2"]))))
def test_it_behaves_as_a_list_and_a_dictionary_would(engine, steps):
    manifest = PostgresManifest(engine)
    with engine.begin() as db:
        db.exec_driver_sql("DELETE FROM operations.landing_manifest")
        db.exec_driver_sql("DELETE FROM operations.landing_cursor")
    cursors, rows = {}, []
    for number, (stream, before, after) in enumerate(steps):
        accepted = commit(manifest, f"b{number}", before, after, stream=stream)
        assert accepted == (cursors.get(stream) == before)
        if accepted:
            cursors[stream] = after
            rows.append(file(f"b{number}"))
        assert manifest.cursor("shop", stream) == cursors.get(stream)
    found = manifest.files()
    sequences = [row["sequence"] for row in found]
    assert sequences == sorted(set(sequences))
    assert [{k: v for k, v in row.items() if k != "sequence"} for row in found] == rows
    assert [LandedFile(**row).batch_id for row in found] == [row["batch_id"] for row in rows]


def test_rows_and_cursor_are_written_together_or_not_at_all(engine):
    manifest = PostgresManifest(engine)
    with pytest.raises(Exception, match="landing_manifest_counts_not_negative"):
        commit(manifest, "b1", None, "1", [file("b1"), file("b1", "order_line") | {"unchanged": -1}])
    assert manifest.files() == []
    assert manifest.cursor("shop", "orders") is None
    assert commit(manifest, "b2", None, "1", [])
    assert manifest.cursor("shop", "orders") == "1"


@pytest.mark.parametrize("first", [None, "p1"])
def test_of_pulls_at_once_one_wins_and_the_others_write_nothing(engine, first):
    """With and without a cursor row to lock."""
    manifest = PostgresManifest(engine)
    commit(manifest, "before", None, first, [])
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append(commit(manifest, f"{n}", first, f"after {n}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    (winner,) = manifest.files()
    assert manifest.cursor("shop", "orders") == f"after {winner['batch_id']}"


def test_a_reader_that_asks_for_what_is_new_never_misses_a_file(engine):
    """A sequence is taken before its transaction commits; without care a reader skips one that commits late."""
    manifest = PostgresManifest(engine)
    done = threading.Event()
    seen: list[int] = []

    def read():
        finished = False
        while not finished:
            finished = done.is_set()
            seen.extend(row["sequence"] for row in manifest.files(after=seen[-1] if seen else 0))

    def write(writer: int):
        for number in range(25):
            # Different streams, so that only the manifest's own lock orders them.
            batch = f"{writer}-{number}"
            assert commit(
                manifest, batch, stream=batch, files=[file(batch, e) for e in ("order", "order_line", "payment")]
            )

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    time.sleep(0.01)
    done.set()
    reader.join()
    assert seen == [row["sequence"] for row in manifest.files()]
    assert len(seen) == 300


def line(code: int, quantity: int) -> dict:
    return {
        "order_code": f"O{code}", "line_code": "1", "location_code": "S1", "item_code": "A",
        "ordered_at": NOW, "quantity": Decimal(quantity), "unit_price": Decimal("2.50"), "currency": "EUR",
    }  # fmt: skip


def extract(lines, cursor=None):
    collector = Collector()
    for index, (code, quantity) in enumerate(lines):
        collector.add(OrderLine, line(code, quantity), payload={"n": code}, position=f"[{index}]")
    return collector.extract("orders", cursor)


def test_landing_works_through_it(engine, tmp_path):
    manifest = PostgresManifest(engine)
    landing = Landing(str(tmp_path), manifest)
    pages = {None: ([(1, 1), (2, -1)], "p1"), "p1": ([(1, 1), (3, 5)], "p2"), "p2": ([], "p2")}

    def pull(cursor):
        while cursor != "p2":
            lines, cursor = pages[cursor]
            yield extract(lines, cursor)

    landed = list(landing.pull("shop", "orders", pull))
    assert [(one.accepted, one.unchanged, one.quarantined) for one in landed] == [(1, 0, 1), (1, 1, 0)]
    assert manifest.cursor("shop", "orders") == "p2"
    with pytest.raises(TransientError, match="at the same time"):
        landing.land("shop", extract([(9, 1)], "p9"), cursor_before="p1")
    assert [landing.read(LandedFile(**row)).num_rows for row in manifest.files()] == [1, 1]
    assert manifest.files()[0]["reasons"] == landed[0].files[0].reasons != {}
    assert len(landing.sweep(older_than=dt.timedelta(seconds=-1))) == 1
