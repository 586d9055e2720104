"""Opening the warehouse: one writer at a time, by a lock that dies with its process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from connectors.errors import PermanentError, TransientError


class Warehouse:
    """The DuckDB file at `path`. DuckDB admits one read-write process or many readers, so writers take a file lock
    first (held by the operating system: a killed process frees it) and everybody else reads what was published."""

    def __init__(self, path: Path):
        self.path = path
        self._lock_path = path.with_suffix(".lock")

    @contextlib.contextmanager
    def writing(self, wait_seconds: float = 600) -> Iterator[None]:
        """Holds the writer's lock, without a connection: dbt opens the file itself."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_path)
        try:
            lock.acquire(timeout=wait_seconds)
        except Timeout:
            raise TransientError(
                f"Another process has been writing the warehouse {self.path} for over {wait_seconds:.0f} s. "
                "Wait for that run to end (see Runs in the web UI), then start this one again."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def connect(self, wait_seconds: float = 600) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in UTC, under the writer's lock: even a read-only open fails while another process writes."""
        with self.writing(wait_seconds):
            connection = self._open(wait_seconds)
            try:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("SET preserve_insertion_order = false")
                yield connection
            finally:
                connection.close()

    def _open(self, wait_seconds: float) -> duckdb.DuckDBPyConnection:
        """Waits for a program that does not know of the lock, such as somebody's DuckDB shell."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.Error as error:
                if "lock" in str(error) and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                raise PermanentError(
                    f"The warehouse {self.path} cannot be opened ({str(error).splitlines()[0]}). "
                    "Close other programs that have it open; BI tools should read the published copy instead."
                ) from error


@contextlib.contextmanager
def transaction(db: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of the block's statements, or none."""
    db.execute("BEGIN")
    try:
        yield
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # an aborted transaction is already rolled back
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
