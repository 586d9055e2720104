"""What starts runs by itself: files dropped in, approved orders, webhooks; and what happens when a run fails."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from sqlalchemy import Engine

from connectors.errors import StockflowError
from ml.wording import how_many
from operations import alerts, inbox, outbox
from operations.errors import DatabaseUnavailable
from orchestration import webhooks
from orchestration.application import Application
from orchestration.files import KINDS, waiting_files
from orchestration.settings import Business, Settings

IMPORT_JOB, INBOX_JOB, PUSH_BACK_JOB = "import_job", "inbox_job", "push_back_job"


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
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=_state(due))])


@dg.sensor(
    job_name=INBOX_JOB, minimum_interval_seconds=20, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Processes events that other systems pushed and that the API did not get to: after a crash, or to retry.",
)  # fmt: skip
def webhook_inbox_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    # The API handles an event at once; it is left to itself for the seconds that this takes.
    settled = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=15)
    try:
        with _database() as engine:
            due = inbox.due(engine, webhooks.sources(Settings.from_environment()), settled)
    except DatabaseUnavailable as error:
        return dg.SkipReason(str(error))
    if not due:
        return dg.SkipReason("No event waits to be processed.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=_state(due))])


def _state(due: list[str]) -> str:
    """One run for one state of what is due: what stays due for a later try gets a later run."""
    return hashlib.sha256("|".join(due).encode()).hexdigest()[:24]


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


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Resolves the alert of a job that failed before and has now succeeded.",
)
def recovered_run_sensor(context: dg.RunStatusSensorContext) -> None:
    with _database() as engine, engine.begin() as db:
        alerts.resolve(db, f"run-failed:{context.dagster_run.job_name}")


@dg.sensor(
    minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells new alerts in Slack, all that came within a minute in one message.",
)  # fmt: skip
def slack_alerts_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    from orchestration.telling import Slack, post_alerts

    slack = Settings.from_environment().business.slack
    if slack is None:
        return dg.SkipReason("Slack is not configured.")
    try:
        with _database() as engine:
            told = post_alerts(engine, Slack.of(slack))
    except (DatabaseUnavailable, StockflowError) as error:
        # Never a failed tick: the alerts stay open, and the next tick tells them.
        context.log.warning(str(error))
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"{how_many(told, 'alert')} told." if told else "No new alert.")


def all_sensors(business: Business) -> list[dg.SensorDefinition]:
    always = [
        approved_orders_sensor, file_drop_sensor, webhook_inbox_sensor, failed_run_sensor, recovered_run_sensor,
        automation_sensor(),
    ]  # fmt: skip
    return [*always, slack_alerts_sensor] if business.slack else always


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the assets' automation conditions. Dagster's own ships stopped, and then nothing fires."""
    return dg.AutomationConditionSensorDefinition(
        "automation_sensor", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING
    )
