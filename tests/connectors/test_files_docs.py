"""The documentation of imports names every function and every ready mapping, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from connectors.files.functions import function_names
from connectors.files.mapping import Reading, parse_mapping, ready_mappings

TEXT = (Path(__file__).parents[2] / "docs" / "importing-files.md").read_text("utf-8")


def test_every_function_setting_and_ready_mapping_is_documented():
    for name in (*function_names(), *Reading.model_fields, *ready_mappings()):
        assert re.search(rf"\b{name}\b", TEXT), name


def test_the_examples_are_valid_mappings():
    examples = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert parse_mapping(yaml.safe_load(example)).source
