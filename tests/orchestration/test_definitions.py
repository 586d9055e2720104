"""The shape of what Dagster knows: which assets, jobs, checks, schedules and sensors there are, and that loading them
is light."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from orchestration.cli.project import STEPS, prepare_project
from orchestration.definitions import build_definitions
from orchestration.mornings import reach_back
from orchestration.settings import CHECKOUT, Business, SandboxSource, Settings, SlackSettings

SNAPSHOT = Path(__file__).with_name("assets.txt")
HEAVY = ("torch", "neuralforecast", "xgboost", "pandas", "matplotlib", "statsforecast", "holidays", "ray", "sklearn")


def settings(home: Path) -> Settings:
    slack = SlackSettings(token="xoxb", signing_secret="s", channel="C1")
    source = SandboxSource(connector="sandbox", url="http://127.0.0.1:1", token="t")
    return Settings(home, str(home / "landing"), Business(timezone="Europe/Berlin", slack=slack, sources=(source,)))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    prepare_project()
    return build_definitions(settings(tmp_path_factory.mktemp("home"))).get_repository_def()


def test_the_assets_are_those_that_were_reviewed(repository):
    """A change of this list is a change of what people see: look at it, then update `assets.txt` from the message."""
    graph = repository.asset_graph
    found = sorted(
        f"{'/'.join(key.path)}  [{graph.get(key).group_name}]"
        + ("  by cycle_date" if graph.get(key).partitions_def else "")
        for key in graph.get_all_asset_keys()
    )
    found += sorted(
        f"check {'/'.join(key.asset_key.path)}: {key.name}" + ("  blocks" if graph.get(key).blocking else "")
        for key in graph.asset_check_keys
    )
    text = "\n".join(found) + "\n"
    assert text == SNAPSHOT.read_text(), text


def test_mornings_are_counted_from_set_up_from_the_earliest_planned_or_from_where_config_yaml_says(tmp_path):
    """Not from a day long before anything could be planned, of which the web UI would say that it is missing."""
    today = dt.datetime.now(ZoneInfo("Europe/Berlin")).date()

    def first(**more) -> dt.date:
        known = Settings(tmp_path, str(tmp_path / "landing"), Business(timezone="Europe/Berlin", **more))
        return dt.date.fromisoformat(
            build_definitions(known).resolve_job_def("daily_planning_job").partitions_def.get_first_partition_key()
        )

    assert first() == today
    reach_back(settings(tmp_path), today - dt.timedelta(days=3))
    reach_back(settings(tmp_path), today)
    assert first() == today - dt.timedelta(days=3)
    assert first(plan_from=today - dt.timedelta(days=40)) == today - dt.timedelta(days=40)
    assert first(plan_from=today) == today - dt.timedelta(days=3)


def test_jobs_and_what_starts_them(repository):
    assert sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")) == [
        "daily_planning_job", "freshness_job", "import_job", "inbox_job", "ingest_job", "maintenance_job",
        "push_back_job", "weekly_training_job",
    ]  # fmt: skip
    assert {s.name: s.default_status for s in repository.schedule_defs} == dict.fromkeys(
        ["daily_planning_schedule", "freshness_schedule", "ingest_schedule", "maintenance_schedule",
         "weekly_training_schedule"],
        dg.DefaultScheduleStatus.RUNNING,
    )  # fmt: skip
    assert {s.execution_timezone for s in repository.schedule_defs} == {"Europe/Berlin"}
    assert {s.name: s.default_status for s in repository.sensor_defs} == dict.fromkeys(
        ["approved_orders_sensor", "automation_sensor", "failed_run_sensor", "file_drop_sensor", "recovered_run_sensor",
         "slack_alerts_sensor", "webhook_inbox_sensor"],
        dg.DefaultSensorStatus.RUNNING,
    )  # fmt: skip


@pytest.mark.parametrize("job", ["daily_planning_job", "weekly_training_job", "push_back_job"])
def test_every_step_of_a_job_that_people_run_is_told_in_words(repository, job):
    steps = {node.name for node in repository.get_job(job).graph.nodes}
    assert steps - set(STEPS) == {"pull_sandbox"} & steps


def test_without_slack_nothing_tells(tmp_path):
    prepare_project()
    repository = build_definitions(Settings(tmp_path, "x", Business())).get_repository_def()
    assert "slack_alerts_sensor" not in {sensor.name for sensor in repository.sensor_defs}
    assert dg.AssetKey(["told", "approvers"]) not in set(repository.asset_graph.get_all_asset_keys())


def test_how_fresh_things_must_be(repository):
    graph = repository.asset_graph
    pulled = [key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "raw"]
    assert pulled
    for key in [*pulled, dg.AssetKey(["published", "marts"])]:
        assert graph.get(key).freshness_policy is not None, key
    policy = graph.get(dg.AssetKey(["published", "marts"])).freshness_policy
    assert (policy.deadline_cron, policy.timezone) == ("30 7 * * *", "Europe/Berlin")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("build_marts", "published__marts"),
        ("fct_demand_daily_demand_reaches_the_evening_before", "published__marts"),
        ("fct_demand_daily_demand_reaches_the_evening_before", "forecast__quantiles"),
        ("fct_demand_daily_sales_arrived_from_every_location", "forecast__quantiles"),
        ("forecast__quantiles_forecasts_cover_every_day", "replenishment__inputs"),
        ("replenishment__inputs_stock_is_known_for_most_series", "replenishment_proposals"),
        ("replenishment_proposals", "told__approvers"),
    ],
)
def test_the_daily_job_waits_for_what_blocks(repository, before, after):
    job = repository.get_job("daily_planning_job")
    (waiting,) = [node for node in job.graph.dependencies if node.name == after]
    assert before in str(job.graph.dependencies[waiting])


def test_loading_imports_nothing_heavy(tmp_path):
    prepare_project()
    code = (
        "import sys; from orchestration.definitions import defs; repository = defs().get_repository_def();"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "STOCKFLOW_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
