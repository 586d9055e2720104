"""Setting up, running cycles."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from connectors.errors import PermanentError
from orchestration.settings import DBT_PROJECT, Settings

if TYPE_CHECKING:
    from orchestration.application import Application

# Bound to the terminal now: while a job runs, standard output goes to its log.
console = Console(file=sys.stdout, soft_wrap=True, highlight=False)

STEPS = {
    "pull_sandbox_erp": "pulling the ERP: products, suppliers, stock, purchase orders",
    "pull_sandbox_tills": "pulling the tills",
    "pull_sandbox_webshop": "pulling the web shop",
    "load_warehouse": "loading the warehouse, matching codes to items",
    "build_marts": "building and testing the marts",
    "fct_demand_daily_demand_reaches_the_evening_before": "checking that demand reaches the evening before",
    "fct_demand_daily_sales_arrived_from_every_location": "checking that sales arrived from every location",
    "rpt_stock_count_stock_still_sells": "checking that what the books have in stock sells",
    "published__marts": "publishing the marts",
    "forecast__model": "training the models",
    "forecast__quantiles": "forecasting four weeks (trains first where there is no model yet)",
    "forecast__quantiles_forecasts_cover_every_day": "checking that forecasts cover every day",
    "forecast__quantiles_forecast_quality_holds": "checking how earlier forecasts turned out",
    "replenishment__inputs": "freezing what the morning knows",
    "replenishment__inputs_stock_is_known_for_most_series": "checking that stock is known",
    "replenishment_proposals": "proposing what to buy and move",
    "build_reports": "building the reports",
    "published__reports": "publishing the reports",
    "told__approvers": "telling approvers in Slack",
    "delivered__documents": "sending approved documents",
}


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
        token_file = app.set_up()
        if token_file:
            console.print(f"The first administrator is `admin`; the token is in {token_file}.")
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
    from orchestration import sandbox_process
    from orchestration.application import Application

    prepare_project()
    settings = Settings.from_environment()
    day = _date(cycle_date)
    with Application(settings) as app, sandbox_process.running(settings):
        app.set_up()
        run_job(app, job, day)


def run_job(app: Application, job: str, day: dt.date | None) -> None:
    """Runs a job with a line a step; raises PermanentError with the reasons when it fails."""
    from orchestration.execution import execute, failures, notices

    def told(step: str, outcome: str, seconds: float | None) -> None:
        if outcome == "start":
            console.print(f"  {STEPS.get(step, step)} ...", end="")
        else:
            console.print(f" {seconds:.1f} s" if outcome == "success" else " [red]failed[/]")

    # dbt and training talk much on standard output; what they say is in the run's log.
    with (
        (app.settings.home / "run.log").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        result = execute(app, job, day, told)
    if not result.success:
        reasons = "\n".join(failures(result))
        raise PermanentError(f"{reasons}\n{job} failed; `stockflow ui` shows the run {result.run_id}.")
    for notice in notices(result):
        console.print(notice)


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise PermanentError(f"{text!r} is no date; write it as 2026-11-02.") from None
