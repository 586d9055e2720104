"""A deployment that is killed in the middle of a cycle and lost comes back from its backup."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys

import duckdb
import pytest

from operations import access, approvals, outbox, proposals
from orchestration import backup
from orchestration.application import Application
from orchestration.execution import execute, failures
from orchestration.settings import CHECKOUT, Settings
from tests.e2e.small_home import MORNING, small_home

pytestmark = pytest.mark.long


def marts(app: Application) -> dict[str, list[tuple]]:
    """Everything published, without the snapshot's own name and time."""
    with duckdb.connect(str(app.settings.published / "stockflow.duckdb"), read_only=True) as db:
        names = db.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'").fetchall()
        names = [name for name in names if name[0].startswith(("dim_", "fct_", "rpt_"))]
        return {name: db.execute(f'SELECT * FROM marts."{name}" ORDER BY ALL').fetchall() for (name,) in sorted(names)}


def decided(app: Application) -> list[tuple]:
    """What people approved, and the documents that carry it."""
    rows, _ = proposals.find(app.engine, proposals.Filter(status="approved"), limit=1000)
    documents = {row["document_key"]: row["status"] for row in outbox.find(app.engine)}
    return [(row["proposal_id"], row["approved_quantity"], documents[row["document_key"]]) for row in rows]


def test_no_approval_is_lost_and_landing_gives_the_same_marts():
    with small_home() as home:
        home.run(day=MORNING)
        app = home.app
        who = access.principal(app.engine, "admin")
        waiting, _ = proposals.find(app.engine, proposals.Filter(status="proposed"))
        approvals.approve(app.engine, who, ids=[row["proposal_id"] for row in waiting[:5]], via="cli")
        published, approved = marts(app), decided(app)
        assert len(approved) == 5
        assert len(published["fct_order_line"]) > 100
        saved = home.path.parent / "saved"
        backup.make(app, saved)

        # The next morning's cycle dies while dbt builds.
        command = [sys.executable, "-c", "from orchestration.cli import main; main()", "run", "--cycle-date"]
        process = subprocess.Popen(
            [*command, (MORNING + dt.timedelta(days=1)).isoformat()], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip
        seen = ""
        while "building and testing the marts" not in seen:
            character = process.stdout.read(1)
            assert character, seen
            seen += character
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

        # The machine is lost.
        app.close()
        assert app.postgres.stop()
        shutil.rmtree(home.path)
        settings = Settings.from_environment()
        backup.restore(Settings(home.path, settings.landing, settings.business), saved)
        with Application(Settings.from_environment()) as back:
            assert decided(back) == approved
            result = execute(back, "daily_planning_job", MORNING)
            assert result.success, failures(result)
            assert decided(back) == approved
            found = marts(back)
            assert found.keys() == published.keys()
            for name, rows in published.items():
                assert found[name] == rows, name


def test_a_mart_that_contradicts_itself_is_not_published():
    with small_home() as home:
        home.run(day=MORNING)
        with home.app.warehouse.connect() as db:
            db.execute("UPDATE marts.fct_inventory_daily SET closing = closing + 1 WHERE business_date < '2026-09-01'")
        before = marts(home.app)
        assert before["fct_inventory_daily"]
        # On the same morning nothing would be built, so nothing judged.
        following = MORNING + dt.timedelta(days=1)
        home.pass_days(following)
        result = execute(home.app, "daily_planning_job", following)
        assert not result.success
        steps = {event.step_key for event in result.all_events if event.event_type_value == "STEP_SUCCESS"}
        assert not {"published__marts", "forecast__quantiles", "replenishment_proposals"} & steps
        assert any("opening_plus_movements_is_closing" in reason for reason in failures(result)), failures(result)
        assert marts(home.app) == before
