"""The drop folder: <drop>/<kind>/<mapping>/<file>. What was imported moves to `done` beside it, what could not to
`refused` with the reason in a text file of the same name; a file is never deleted."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.errors import PermanentError

if TYPE_CHECKING:
    from orchestration.application import Application

KINDS = ("orders", "stock", "catalog", "suppliers", "promotions", "index")
SUFFIXES = {".csv", ".xlsx", ".parquet"}
SETTLED_SECONDS = 10
"""A file that changed more recently may still be being written."""


@dataclass(frozen=True)
class Waiting:
    """`relative` to the drop folder; `fingerprint` of name, size and time of change."""

    relative: str
    fingerprint: str


def waiting_files(drop: Path) -> list[Waiting]:
    """Files that are complete and wait to be imported, oldest first."""
    now = time.time()
    found = []
    for kind in KINDS:
        for path in (drop / kind).glob("*/*"):
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            seen = path.stat()
            if now - seen.st_mtime >= SETTLED_SECONDS:
                relative = path.relative_to(drop).as_posix()
                mark = hashlib.sha256(f"{relative}:{seen.st_size}:{seen.st_mtime_ns}".encode()).hexdigest()[:16]
                found.append((seen.st_mtime_ns, Waiting(relative, mark)))
    return [waiting for _, waiting in sorted(found, key=lambda pair: pair[0])]


def import_dropped(app: Application, relative: str) -> list[str]:
    """Imports one file of the drop folder and puts it away; returns the report's lines.

    Raises PermanentError, with the file in `refused` and its reason beside it, when it cannot be used.
    """
    from connectors.files.importer import import_file
    from connectors.files.mapping import load_mapping

    drop = app.settings.drop
    path = drop / relative
    parts = Path(relative).parts
    if len(parts) != 3 or parts[0] not in KINDS or ".." in parts:
        raise PermanentError(
            f"{relative} is not of the form <kind>/<mapping>/<file> with a kind of {', '.join(KINDS)}."
        )
    if path.resolve() != drop.resolve() / relative:
        # Left where it is: putting it away would write where the link leads.
        raise PermanentError(f"{relative} is a link or lies behind one: put the file itself into the drop folder.")
    kind, mapping, _ = parts
    try:
        own = app.settings.home / "mappings" / f"{mapping}.yaml"
        chosen = load_mapping(str(own) if own.exists() else mapping)
        report = import_file(app.landing, kind, path, chosen, hash_key=app.hash_key, root=drop)
    except PermanentError as error:
        refused = _put_away(path, drop / kind / mapping / "refused")
        if refused is not None:
            refused.with_name(refused.name + ".txt").write_text(f"{error}\n", encoding="utf-8")
        raise
    _put_away(path, drop / kind / mapping / "done")
    return report.lines()


def note_import(app: Application, kind: str, file: str, lines: Sequence[str]) -> None:
    """Notes in Dagster that a file was imported outside of it, so that what a dropped file sets going starts as well."""
    import dagster as dg

    from orchestration import dagster_home
    from orchestration.assets.ingestion import file_imported

    dagster_home.prepare(app)
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(file_imported(kind, file, lines))


def _put_away(path: Path, folder: Path) -> Path | None:
    if path.is_symlink() or not path.exists():
        return None
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    if target.exists():
        target = folder / f"{path.stem}-{time.time_ns()}{path.suffix}"
    os.replace(path, target)
    return target
