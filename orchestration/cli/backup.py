"""`stockflow backup` and `stockflow restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.backup import Summary

console = Console(soft_wrap=True, highlight=False)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]


def backup(folder: Folder) -> None:
    """Write everything that nothing else can rebuild to a new FOLDER; others may work on meanwhile.

    It holds secrets: keep it where only you can read it.
    """
    from orchestration import backup as library
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        console.print(f"Backup {_told(library.make(app, folder))}.")


def restore(
    folder: Folder,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in STOCKFLOW_HOME and its database")] = False,
) -> None:
    """Put a backup back: into an empty STOCKFLOW_HOME, or with --force over one that is in use no more."""
    from orchestration import backup as library

    done = library.restore(Settings.from_environment(), folder, force=force)
    console.print(f"Restored {_told(done)}. The next cycle rebuilds the warehouse from landing: `stockflow run`.")


def _told(summary: Summary) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(summary.files.items()) if "." not in name)
    return f"{summary.folder}, made at {summary.made_at}: {summary.bytes / 1e6:,.1f} MB (files: {counts})"
