"""One is one and several are several."""

from __future__ import annotations

from ml.wording import how_many


def test_what_is_counted_agrees_with_how_many_there_are():
    assert [how_many(n, "day") for n in (0, 1, 2, 1234)] == ["0 days", "1 day", "2 days", "1,234 days"]
    assert how_many(1, "row was left out", "rows were left out") == "1 row was left out"
    assert how_many(2, "batch", "batches") == "2 batches"
