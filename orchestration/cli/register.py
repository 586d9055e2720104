"""Which commands there are."""

from __future__ import annotations

import typer

from orchestration.cli import project


def commands(app: typer.Typer) -> None:
    app.command()(project.setup)
    app.command()(project.run)
