"""Running a job in this process, on the same Dagster instance that the web UI shows."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from orchestration import dagster_home
from orchestration.application import Application
from orchestration.definitions import build_definitions


def execute(app: Application, job_name: str, cycle_date: dt.date | None = None) -> dg.ExecuteInProcessResult:
    """Runs a job to its end; a failed one returns with `success` False and is seen in the web UI like any other.

    A partitioned job plans for `cycle_date`, by default today in the business time zone.
    """
    dagster_home.prepare(app)
    definitions = build_definitions(app.settings)
    job = definitions.resolve_job_def(job_name)
    partition = None
    if job.partitions_def is not None:
        today = dt.datetime.now(ZoneInfo(app.settings.business.timezone)).date()
        partition = (cycle_date or today).isoformat()
    with dg.DagsterInstance.get() as instance:
        return job.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)
