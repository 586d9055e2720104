"""Running a job in this process, on the same Dagster instance that the web UI shows."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import dagster as dg
import psycopg2
import sqlalchemy as sa

from operations.errors import DatabaseUnavailable
from orchestration import dagster_home
from orchestration.application import Application
from orchestration.assets.planning import NOTHING_YET
from orchestration.definitions import build_definitions
from orchestration.mornings import reach_back

LOCATION = "stockflow"
"""The code location's name in workspace.yaml: a run that is tagged with it shows under its job in the web UI."""

Progress = Callable[[str, str, float | None], None]
"""Called with a step's name, "start", "success" or "failure", and its seconds once it has ended."""


def execute(
    app: Application, job_name: str, cycle_date: dt.date | None = None, progress: Progress | None = None
) -> dg.ExecuteInProcessResult:
    """Runs a job to its end; a failed one returns with `success` False and is seen in the web UI like any other.

    A partitioned job plans for `cycle_date`, by default today in the business time zone.
    """
    dagster_home.prepare(app)
    reach_back(app.settings, cycle_date)
    definitions = build_definitions(app.settings)
    job = definitions.resolve_job_def(job_name)
    partition = None
    if job.partitions_def is not None:
        today = dt.datetime.now(ZoneInfo(app.settings.business.timezone)).date()
        partition = (cycle_date or today).isoformat()
    run_id = str(uuid.uuid4())
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with _told_when_lost(), dg.DagsterInstance.get() as instance:
        if progress is not None:
            instance.add_event_listener(run_id, _listener(progress))
        return job.execute_in_process(
            instance=instance,
            partition_key=partition,
            raise_on_error=False,
            run_id=run_id,
            run_config=quiet,
            tags={".dagster/repository": f"__repository__@{LOCATION}"},
        )


@contextlib.contextmanager
def _told_when_lost() -> Iterator[None]:
    """A server that goes away between two steps is no step's failure, and Dagster tells it as its own."""
    try:
        yield
    except Exception as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, sa.exc.OperationalError | psycopg2.OperationalError):
            reason = reason.__cause__ or reason.__context__
        if reason is None:
            raise
        raise DatabaseUnavailable(
            "PostgreSQL stopped answering while the job ran: see that it runs, then start the job again; it finishes what "
            "this run began."
        ) from error


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong, a sentence for each failed step or check: the innermost reason rather than the wrapping."""
    found = []
    checked = set()
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.event_specific_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR and check.description:
                found.append(f"{check.check_name}: {check.description}")
                checked.add(event.step_key)
        is_told = event.step_key in checked
        if event.event_type == dg.DagsterEventType.STEP_FAILURE and event.event_specific_data.error and not is_told:
            error = event.event_specific_data.error
            while error.cause is not None:
                error = error.cause
            # A reason of ours is a sentence by itself; of anything else the kind of error is told too.
            said = re.sub(r"^[\w.]*\b(Failure|PermanentError|TransientError): ", "", error.message.strip())
            found.append(f"{event.step_key}: {said}")
    return found


def notices(result: dg.ExecuteInProcessResult) -> list[str]:
    """What a job that succeeded had nothing to do for yet, a sentence each."""
    return [
        entry.value
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION
        for name, entry in event.asset_observation_data.asset_observation.metadata.items()
        if name == NOTHING_YET
    ]


def _listener(progress: Progress) -> Callable[[dg.EventLogEntry], None]:
    started: dict[str, float] = {}

    def listen(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        if event.event_type == dg.DagsterEventType.STEP_START:
            started[event.step_key] = entry.timestamp
            progress(event.step_key, "start", None)
        elif event.event_type in (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE):
            outcome = "success" if event.event_type == dg.DagsterEventType.STEP_SUCCESS else "failure"
            progress(event.step_key, outcome, entry.timestamp - started.get(event.step_key, entry.timestamp))

    return listen
