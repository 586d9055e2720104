"""Jobs and when they run, in the business time zone."""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from orchestration.assets.delivery import DOCUMENTS
from orchestration.assets.planning import MODEL
from orchestration.automation import deadline
from orchestration.checks import PLANNED
from orchestration.ops import import_job, inbox_job, maintenance_job
from orchestration.settings import Business


def cycle_partitions(first: dt.date, timezone: str) -> dg.DailyPartitionsDefinition:
    """One partition a morning from `first` on: it plans from the days before it, so today's exists from midnight on."""
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone=timezone, end_offset=1)


def jobs_and_schedules(
    business: Business, partitions: dg.PartitionsDefinition
) -> tuple[list, list[dg.ScheduleDefinition]]:
    model = dg.AssetSelection.assets(MODEL)
    planned = dg.AssetSelection.checks(PLANNED)
    daily = dg.AssetSelection.all() - model - dg.AssetSelection.assets(DOCUMENTS) - planned
    raw = dg.AssetSelection.groups("raw")
    ingest_job = dg.define_asset_job(
        "ingest_job", raw, description="Pulls every source into landing; safe at any time."
    )
    daily_planning_job = dg.define_asset_job(
        "daily_planning_job",
        daily,
        partitions_def=partitions,
        description="One whole cycle: pull, marts, forecasts, proposals.",
    )
    weekly_training_job = dg.define_asset_job(
        "weekly_training_job",
        model,
        description="Trains the models on everything that is known; they come into use unless worse than those in use.",
    )
    hour, minute = (int(part) for part in business.plan_at.split(":"))

    @dg.schedule(
        name="daily_planning_schedule",
        job=daily_planning_job,
        cron_schedule=f"{minute} {hour} * * *",
        execution_timezone=business.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Plans the day before people come in; plan_at in config.yaml says when.",
    )
    def daily_planning_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        morning: dt.datetime = context.scheduled_execution_time.astimezone(ZoneInfo(business.timezone))
        day = morning.date().isoformat()
        return dg.RunRequest(run_key=day, partition_key=day)

    ingest_schedule = dg.ScheduleDefinition(
        name="ingest_schedule",
        job=ingest_job,
        cron_schedule="15 * * * *",
        execution_timezone=business.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Pulls every source each hour, so that the morning has little left to pull.",
    )
    push_back_job = dg.define_asset_job(
        "push_back_job",
        dg.AssetSelection.assets(DOCUMENTS),
        description="Sends approved orders and transfers, each once.",
    )
    maintenance_schedule = dg.ScheduleDefinition(
        name="maintenance_schedule",
        job=maintenance_job,
        cron_schedule="40 1 * * *",
        execution_timezone=business.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Keeps house each night.",
    )
    weekly_training_schedule = dg.ScheduleDefinition(
        name="weekly_training_schedule",
        job=weekly_training_job,
        cron_schedule=f"{minute} {max(hour - 3, 0)} * * 1",
        execution_timezone=business.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Trains on Monday mornings, three hours before planning.",
    )
    freshness_job = dg.define_asset_job(
        "freshness_job", planned, description="Looks whether this morning's orders have been proposed in time."
    )
    late_hour, late_minute = deadline(business)
    freshness_schedule = dg.ScheduleDefinition(
        name="freshness_schedule",
        job=freshness_job,
        cron_schedule=f"{late_minute} {late_hour} * * *",
        execution_timezone=business.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Makes an alert when this morning's orders have not been proposed in time.",
    )
    return (
        [
            ingest_job,
            daily_planning_job,
            weekly_training_job,
            push_back_job,
            import_job,
            inbox_job,
            maintenance_job,
            freshness_job,
        ],
        [
            daily_planning_schedule,
            ingest_schedule,
            weekly_training_schedule,
            maintenance_schedule,
            freshness_schedule,
        ],
    )
