"""Landing for tests of connectors."""

from __future__ import annotations

import pytest

from connectors.landing import Landing
from tests.connectors.manifest import MemoryManifest


@pytest.fixture(scope="session")
def make_landing(tmp_path_factory):
    """A callable that opens a fresh, empty landing location on disk."""
    return lambda: Landing(str(tmp_path_factory.mktemp("landing")), MemoryManifest())
