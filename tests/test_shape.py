"""The shape of the code: what a linter does not know and a reviewer forgets."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("connectors", "ml", "operations", "orchestration", "benchmarks")
MODULES = sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
LONGEST = 500


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_has_one_job_and_says_which(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= LONGEST, f"{name(path)} has over {LONGEST} lines: give a part of it a module of its own"
    # A migration's docstring is its message; Alembic's environment says nothing of its own.
    assert ast.get_docstring(tree), f"{name(path)} opens with no docstring that says what belongs there"


def test_nothing_is_called_utils():
    names = {"utils", "util", "helpers", "common", "misc"}
    assert [name(path) for path in MODULES if path.stem in names or path.parent.name in names] == []


def test_only_the_command_line_prints():
    printing = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        if not name(path).startswith(("orchestration/cli/", "benchmarks/"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in MODULES}
    assert sorted(name(folder) for folder in folders if not (folder / "__init__.py").exists()) in (
        [],
        # Alembic finds its versions by path and must not import the folder.
        ["operations/migrations/versions"],
    )


def test_tests_mirror_the_folders():
    mirrored = {path.name for path in (CHECKOUT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert {"connectors", "ml", "operations", "orchestration"} <= mirrored
    assert mirrored <= {*PACKAGES, "e2e"}
