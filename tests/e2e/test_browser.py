"""What a person sees in the web UI, in a real Chromium: assets, a job that is launched by clicking, what is switched on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e import chromium
from tests.e2e.running_ui import CHECKOUT, free_port, running

pytestmark = pytest.mark.browser

GROUPS = ("raw", "landing", "staging", "intermediate", "marts", "forecast", "replenishment", "published", "delivered")
SCHEDULES = (
    "daily_planning_schedule", "freshness_schedule", "ingest_schedule", "maintenance_schedule",
    "weekly_training_schedule",
)  # fmt: skip
SENSORS = (
    "approved_orders_sensor", "automation_sensor", "failed_run_sensor", "file_drop_sensor", "recovered_run_sensor",
    "webhook_inbox_sensor",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A home whose one source is a small generated shop, served over HTTP."""
    folder = tmp_path_factory.mktemp("shop")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.sandbox", "--home", str(folder / "sandbox"), "--port", str(port),
         "--items", "20", "--start", "2026-10-01", "--as-of", "2026-11-02", "--token", "t"],
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline().startswith("Sandbox ready")
        home = folder / "home"
        home.mkdir()
        source = f"{{connector: sandbox, url: 'http://127.0.0.1:{port}', token: t}}"
        (home / "config.yaml").write_text(f"timezone: Europe/Berlin\nsources:\n  - {source}\n")
        yield home
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture(scope="module")
def ui(shop):
    require(chromium.program() is not None, "no Chromium is installed")
    with running(shop) as started:
        yield started


@pytest.fixture(scope="module")
def page(ui, tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
        # Looked at by people: the pictures of the last run, where a folder for them is named.
        if folder := os.environ.get("STOCKFLOW_SCREENSHOTS"):
            opened.screenshot(Path(folder) / "last.png")


def test_the_asset_graph_shows_the_loop(page, ui):
    page.open(f"{ui.url}/asset-groups")
    page.wait_for_text("Global asset lineage", *GROUPS, seconds=60)
    page.open(f"{ui.url}/locations/stockflow/asset-groups/replenishment/lineage")
    page.wait_for_text("inputs", "proposals", "stockout_risk", "purchase_plan")
    page.open(f"{ui.url}/assets/replenishment/proposals")
    page.wait_for_text("What to buy and to move, each with its reason, waiting for approval.")


def test_schedules_and_sensors_are_on(page, ui):
    page.open(f"{ui.url}/automation")
    page.wait_for_text(*SCHEDULES, *SENSORS, seconds=60)
    switches = "[...document.querySelectorAll('input[type=checkbox][role=switch], label input[type=checkbox]')]"
    page.wait_for(f"{switches}.filter(e => e.checked).length >= {len(SCHEDULES + SENSORS)}")


def test_a_job_launched_by_clicking_succeeds(page, ui):
    page.open(f"{ui.url}/locations/stockflow/jobs/ingest_job")
    page.wait_for_text("Pulls every source into landing")
    page.click("Materialize all")
    page.wait_for_text("Launched run")
    # Schedules are on: what they launch on a home without history is none of this test's business.
    page.open(f"{ui.url}/runs?q%5B0%5D=job%3Aingest_job")
    page.wait_for_text("ingest_job")
    page.wait_for("/Success|Failure/.test(document.body.innerText)", seconds=120)
    assert "Failure" not in page.text()
    page.open(f"{ui.url}/assets/raw/sandbox_erp/stock_levels")
    page.wait_for_text("accepted", "quarantined", seconds=60)
