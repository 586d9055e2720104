"""Every scheduled job on a deployment that has no orders yet, and then on three days of them."""

from __future__ import annotations

import datetime as dt

import pytest

from connectors.extract import Collector
from connectors.records import OrderLine
from operations import alerts
from orchestration.application import Application
from orchestration.execution import execute, failures, notices
from orchestration.planning.cycle import frozen_hash_of
from orchestration.planning.models import champion

SCHEDULED = ("weekly_training_job", "ingest_job", "maintenance_job", "freshness_job")
MORNING = dt.date(2026, 3, 2)


def run(app: Application, job: str) -> list[str]:
    result = execute(app, job, MORNING)
    assert result.success, failures(result)
    return notices(result)


def test_scheduled_jobs_end_quietly_before_the_first_orders(watched):
    assert {job: run(watched, job) for job in SCHEDULED} == {
        "weekly_training_job": ["Nothing to train on yet: pull or import orders, then run daily_planning_job."],
        "ingest_job": [], "maintenance_job": [], "freshness_job": [],
    }  # fmt: skip
    assert alerts.find(watched.engine) == []
    assert champion(watched.settings.models) is None


@pytest.mark.long
def test_a_morning_without_orders_can_be_planned_from_its_first_days_later(watched):
    said = run(watched, "daily_planning_job")
    assert said == ["Nothing to forecast from yet: pull or import orders, then run daily_planning_job."]
    assert frozen_hash_of(watched.engine, MORNING) is None
    # Three days, of which none can be held out, and nothing that could be bought.
    sold = Collector()
    for day in (1, 2, 3):
        at = dt.datetime.combine(MORNING - dt.timedelta(days=day), dt.time(12), dt.UTC)
        values = {"order_code": f"o{day}", "line_code": "1", "item_code": "A", "location_code": "S", "ordered_at": at}
        sold.add(
            OrderLine, {**values, "quantity": 2, "unit_price": 1, "currency": "EUR"}, payload={}, position=str(day)
        )
    watched.landing.land("test", sold.extract("all"), cursor_before=None)
    assert run(watched, "daily_planning_job") == []
    assert frozen_hash_of(watched.engine, MORNING)
    assert champion(watched.settings.models)
    assert run(watched, "freshness_job") == []
    assert [row["alert_key"] for row in alerts.find(watched.engine)] == ["cycle-late"], "today is not planned"
