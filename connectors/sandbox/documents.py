"""What others wrote to the generated ERP, and how far its clock went: SQLite, so that a kill loses nothing.

Belongs here: the documents as they were accepted, in order. What they do to the shop's stock is replayed from them.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    idempotency_key TEXT,
    accepted_on TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS document_reference ON document (kind, reference);
CREATE INDEX IF NOT EXISTS document_key ON document (kind, idempotency_key);
CREATE TABLE IF NOT EXISTS clock (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), shop TEXT, began TEXT, as_of TEXT
);
"""


class Document(NamedTuple):
    """`accepted_on` is the virtual date; `body` is JSON as it was checked and accepted."""

    id: int
    kind: str
    reference: str
    accepted_on: dt.date
    body: str


class Clock(NamedTuple):
    """`shop` tells which shop it is, `began` where its history ended before anything could be written to it."""

    shop: str
    began: dt.date
    as_of: dt.date


class Documents:
    """Raises sqlite3.Error when the file cannot be written; nothing is accepted then."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def clock(self) -> Clock | None:
        """None before the first start."""
        rows = self._rows("SELECT shop, began, as_of FROM clock")
        return Clock(rows[0][0], *map(dt.date.fromisoformat, rows[0][1:])) if rows else None

    def set_clock(self, clock: Clock) -> None:
        shop, began, as_of = clock
        self._rows("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?)", shop, began.isoformat(), as_of.isoformat())

    def accept(self, kind: str, reference: str, idempotency_key: str | None, on: dt.date, body: str) -> Document:
        row = self._rows(
            "INSERT INTO document (kind, reference, idempotency_key, accepted_on, body) VALUES (?, ?, ?, ?, ?)"
            " RETURNING id",
            kind, reference, idempotency_key, on.isoformat(), body,
        )  # fmt: skip
        return Document(row[0][0], kind, reference, on, body)

    def by_key(self, kind: str, idempotency_key: str) -> Document | None:
        found = self._find("kind = ? AND idempotency_key = ?", kind, idempotency_key)
        return found[0] if found else None

    def by_reference(self, kind: str, reference: str) -> list[Document]:
        return self._find("kind = ? AND reference = ?", kind, reference)

    def all(self) -> list[Document]:
        return self._find("1 = 1")

    def _find(self, condition: str, *values: str) -> list[Document]:
        rows = self._rows(
            f"SELECT id, kind, reference, accepted_on, body FROM document WHERE {condition} ORDER BY id", *values
        )
        return [Document(i, kind, ref, dt.date.fromisoformat(on), body) for i, kind, ref, on, body in rows]

    def _rows(self, sql: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
