"""Setting up, running cycles."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from connectors.errors import PermanentError
from orchestration.settings import DBT_PROJECT, Settings

console = Console(soft_wrap=True, highlight=False)


def setup(
    project_only: Annotated[
        bool, typer.Option("--project-only", help="Only what the checkout needs, nothing below STOCKFLOW_HOME.")
    ] = False,
) -> None:
    """Prepare this checkout, and PostgreSQL with its schema."""
    prepare_project()
    if project_only:
        return
    from orchestration.application import Application

    with Application(Settings.from_environment()) as app:
        console.print(f"Ready: {app.settings.home}")


def prepare_project() -> None:
    """Builds dbt's manifest, once per state of the project, so that loading definitions runs nothing."""
    manifest = DBT_PROJECT / "target" / "manifest.json"
    sources = [*DBT_PROJECT.glob("models/**/*"), *DBT_PROJECT.glob("macros/**/*"), *DBT_PROJECT.glob("tests/**/*")]
    newest = max(path.stat().st_mtime for path in [*sources, DBT_PROJECT / "dbt_project.yml"])
    if manifest.exists() and manifest.stat().st_mtime > newest:
        return
    done = subprocess.run(
        [
            Path(sys.executable).parent / "dbt",
            "--quiet",
            "parse",
            "--project-dir",
            DBT_PROJECT,
            "--profiles-dir",
            DBT_PROJECT,
        ],
        env={**os.environ, "DBT_LOG_PATH": str(DBT_PROJECT / "target")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermanentError(f"The dbt project does not parse; correct it and try again:\n{done.stdout[-2000:]}")


def run(
    job: Annotated[str, typer.Argument(help="The job to run, such as daily_planning_job.")] = "daily_planning_job",
    cycle_date: Annotated[str | None, typer.Option(help="The morning to plan for; default today.")] = None,
) -> None:
    """Run one job here and now, as the scheduler would."""
    from orchestration.application import Application
    from orchestration.execution import execute

    with Application(Settings.from_environment()) as app:
        day = _date(cycle_date)
        result = execute(app, job, day)
        if not result.success:
            raise PermanentError(f"{job} failed; `stockflow ui` shows the run {result.run_id}.")
        console.print(f"{job} succeeded, run {result.run_id}.")


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise PermanentError(f"{text!r} is no date; write it as 2026-11-02.") from None
