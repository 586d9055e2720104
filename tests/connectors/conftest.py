"""Landing for tests of connectors, and the folder of real data sets."""

from __future__ import annotations

import os
import pathlib

import pytest

from connectors.landing import Landing


class MemoryManifest:
    """A manifest store with the same promises as the PostgreSQL one, for tests of landing alone."""

    def __init__(self):
        self.rows, self.cursors = [], {}

    def commit(self, *, source, stream, batch_id, files, cursor_before, cursor_after, landed_at):
        if self.cursors.get((source, stream)) != cursor_before:
            return False
        self.rows += [{**f, "sequence": len(self.rows) + i + 1} for i, f in enumerate(files)]
        self.cursors[source, stream] = cursor_after
        return True

    def cursor(self, source, stream):
        return self.cursors.get((source, stream))

    def files(self, *, source=None, entity=None, after=0):
        return [
            r
            for r in self.rows
            if (source in (None, r["source"])) and entity in (None, r["entity"]) and r["sequence"] > after
        ]


@pytest.fixture(scope="session")
def make_landing(tmp_path_factory):
    """A callable that opens a fresh, empty landing location on disk."""
    return lambda: Landing(str(tmp_path_factory.mktemp("landing")), MemoryManifest())


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    folder = os.environ.get("STOCKFLOW_TEST_DATA")
    if not folder:
        if os.environ.get("STOCKFLOW_REQUIRE_ALL") == "1":
            pytest.fail("STOCKFLOW_TEST_DATA is not set, and STOCKFLOW_REQUIRE_ALL=1 forbids skipping.")
        pytest.skip("STOCKFLOW_TEST_DATA is not set")
    return pathlib.Path(folder)
