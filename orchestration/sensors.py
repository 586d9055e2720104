"""What starts runs by itself: files dropped in, approved orders, webhooks; and what happens when a run fails."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from sqlalchemy import Engine

from operations import alerts, outbox
from operations.errors import DatabaseUnavailable
from orchestration.application import Application
from orchestration.files import KINDS, waiting_files
from orchestration.settings import Settings

PLANNING_JOB, IMPORT_JOB, PUSH_BACK_JOB = "daily_planning_job", "import_job", "push_back_job"


@contextmanager
def _database() -> Iterator[Engine]:
    """The operational database as it runs beside the daemon: a sensor neither starts nor upgrades it."""
    app = Application(Settings.from_environment())
    try:
        yield app.engine
    finally:
        app.engine.dispose()


@dg.sensor(
    job_name=PUSH_BACK_JOB, minimum_interval_seconds=20, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends approved documents as soon as they are approved, and looks up those whose fate is unknown.",
)  # fmt: skip
def approved_orders_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    try:
        with _database() as engine:
            due = outbox.due(engine, dt.datetime.now(dt.UTC))
    except DatabaseUnavailable as error:
        return dg.SkipReason(str(error))
    if not due:
        return dg.SkipReason("Nothing is waiting to be sent.")
    # One run for one state of the outbox: a document that stays due for a later try gets a later run.
    state = hashlib.sha256("|".join(due).encode()).hexdigest()[:24]
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=state)])


@dg.sensor(
    job_name=IMPORT_JOB, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Imports files left in the drop folder: <drop>/<kind>/<mapping>/<file>.",
)  # fmt: skip
def file_drop_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    waiting = waiting_files(Settings.from_environment().drop)
    if not waiting:
        return dg.SkipReason(f"No files wait in {', '.join(KINDS)}.")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{file.relative}:{file.fingerprint}",
                run_config={"ops": {"import_dropped_file": {"config": {"path": file.relative}}}},
            )
            for file in waiting
        ]
    )


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Makes an alert of each failed job, one however often it fails, for the API, Slack and `doctor`.",
)
def failed_run_sensor(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    with _database() as engine, engine.begin() as db:
        alerts.raise_alert(
            db,
            f"run-failed:{run.job_name}",
            f"{run.job_name} failed: {context.failure_event.message}",
            detail={"run_id": run.run_id},
        )


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the assets' automation conditions. Dagster's own ships stopped, and then nothing fires."""
    return dg.AutomationConditionSensorDefinition(
        "automation_sensor", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING
    )
