"""Every table of the benchmarks can be started."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import NEED_DATA, TABLES


@pytest.mark.parametrize("name", [name for name, _ in TABLES])
def test_a_table_has_a_module_that_can_be_imported_and_run(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_what_needs_data_is_a_table():
    assert {name for name, _ in TABLES} >= NEED_DATA
