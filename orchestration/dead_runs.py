"""Runs whose process died: marked failed, and their pool slots given back, before the next run needs them.

Dagster's daemon does so for the runs it launched, once it runs; a killed `stockflow run` would hold its slot for ever, and
the next one wait for it. Each run holds a locked file while its process lives. The operating system unlocks it when the
process ends, however it ends, so no pid is ever trusted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

_UNBURIED: list[FileLock] = []
"""Locks of runs that ended without PostgreSQL, held until this process ends: no other may bury them while it still runs."""


@contextlib.contextmanager
def alive(folder: Path, instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Buries the dead, then counts `run_id` among the living while the block lasts; files lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _bury(folder, instance)
        mine = FileLock(folder / run_id)
        # A run of several processes is alive through the first of them.
        with contextlib.suppress(Timeout):
            mine.acquire(timeout=0)
    try:
        yield
    finally:
        if mine.is_locked:
            try:
                # A step that lost PostgreSQL could not give its slot back.
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            except (
                Exception
            ):  # whatever Dagster's storage raises: nothing can be noted now, so the next run buries this one
                _UNBURIED.append(mine)
            else:
                (folder / run_id).unlink(missing_ok=True)
                mine.release()


def _bury(folder: Path, instance: dg.DagsterInstance) -> None:
    for path in sorted(folder.glob("[!.]*")):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        run = instance.get_run_by_id(path.name)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "The process that ran it ended before the run did.")
        instance.event_log_storage.free_concurrency_slots_for_run(path.name)
        path.unlink(missing_ok=True)
        lock.release()
