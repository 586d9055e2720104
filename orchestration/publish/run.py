"""One publication over all targets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb

from orchestration.publish.parts import Checksums, Mart, Snapshot, checksums, marts


class Target(Protocol):
    name: str

    def publish(
        self, db: duckdb.DuckDBPyConnection, marts: Sequence[Mart], wanted: Checksums, snapshot: Snapshot
    ) -> int:
        """Brings the target to `wanted`, atomically; returns the rows written."""
        ...


@dataclass(frozen=True)
class Published:
    target: str
    rows: int
    seconds: float


def publish(db: duckdb.DuckDBPyConnection, targets: Sequence[Target], snapshot: Snapshot) -> list[Published]:
    """Publishes the warehouse's marts to each target under one snapshot id.

    A target that fails raises; those before it hold the new snapshot, those after it the old one, each whole, and the
    next publication brings all of them to its own.
    """
    tables = marts(db)
    wanted: dict[tuple[str, str], str] = {}
    for mart in tables:
        wanted.update(checksums(db, mart))
    done = []
    for target in targets:
        started = time.monotonic()
        rows = target.publish(db, tables, wanted, snapshot)
        done.append(Published(target.name, rows, time.monotonic() - started))
    return done
