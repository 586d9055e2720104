"""Fixtures that several folders share."""

from __future__ import annotations

import os
import pathlib

import pytest


def require(condition: bool, what: str) -> None:
    """Skips for want of `what`; in CI (STOCKFLOW_REQUIRE_ALL=1) a test that cannot run fails instead."""
    if condition:
        return
    if os.environ.get("STOCKFLOW_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}, and STOCKFLOW_REQUIRE_ALL=1 forbids leaving tests out")
    pytest.skip(what)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder with the public data sets named in the README."""
    folder = os.environ.get("STOCKFLOW_TEST_DATA", "")
    require(bool(folder) and pathlib.Path(folder).is_dir(), "STOCKFLOW_TEST_DATA does not name a folder")
    return pathlib.Path(folder)
