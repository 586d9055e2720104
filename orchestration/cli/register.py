"""Which commands there are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import typer
from sqlalchemy import Engine

from orchestration.cli import approvals, asking, backup, bi, demo, forecast, imports, models, project, service
from orchestration.files import note_import
from orchestration.settings import Settings


def commands(app: typer.Typer) -> None:
    app.command()(project.setup)
    app.command()(demo.demo)
    app.command()(project.run)
    app.command()(service.ui)
    app.command()(service.api)
    app.command("import")(imports.import_command(_application, note_import))
    app.command()(forecast.forecast)
    app.command()(asking.explain)
    app.command()(asking.doctor)
    app.command()(backup.backup)
    app.command()(backup.restore)
    app.command()(bi.bi)
    models.register(app, _application, _token)
    approvals.register(app, _engine, _token)


@contextlib.contextmanager
def _application() -> Iterator:
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        yield app


@contextlib.contextmanager
def _engine() -> Iterator[Engine]:
    with _application() as app:
        yield app.engine


def _token() -> str | None:
    """The first administrator's token on this machine, where this user may read it."""
    path = Settings.from_environment().token_file
    return path.read_text().strip() if os.access(path, os.R_OK) else None
