"""Whether the marts were built by the models that are installed, and from the tables that are there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import duckdb


def models_fingerprint(project: Path) -> str:
    """Changes with any model, macro or setting of the dbt project, not with tests or documentation."""
    return _digest(project, [project / "dbt_project.yml", *_below(project, "models/**/*.sql", "macros/**/*.sql")])


def checks_fingerprint(project: Path) -> str:
    """Changes with the tests of the data, and with what is declared of the models."""
    return _digest(project, _below(project, "tests/**/*.sql", "models/**/*.yml"))


def tables_fingerprint(db: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> str:
    """Changes with any row of the tables, in whatever order rows come."""
    found = []
    for table in tables:
        rows, content = db.execute(f"SELECT count(*), sum(CAST(hash(t) AS HUGEINT)) FROM {table} AS t").fetchone()
        found.append(f"{rows}:{content or 0}")
    return hashlib.sha256(" ".join(found).encode()).hexdigest()[:16]


def _below(project: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in project.glob(pattern))


def _digest(project: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(project)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
