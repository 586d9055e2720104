"""Dagster's own home: its configuration below STOCKFLOW_HOME, its storage in PostgreSQL."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import psycopg2
import sqlalchemy as sa
import yaml

from orchestration.application import Application

STORAGE_VARIABLE = "STOCKFLOW_DAGSTER_URL"


def prepare(app: Application) -> Path:
    """Writes dagster.yaml and sets the variables that this process and those it starts need; returns DAGSTER_HOME.

    The storage URL holds a password, so it travels in the environment and not in the file.
    """
    home = app.settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_configuration(home), sort_keys=False)
    path = home / "dagster.yaml"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ[STORAGE_VARIABLE] = app.dagster_url()
    os.environ["STOCKFLOW_HOME"] = str(app.settings.home)
    return home


def hold_connections(instance: dg.DagsterInstance) -> None:
    """Lets a run keep its connections to Dagster's storage. By default each event is written through a new one, several
    hundred a run, which took longer than loading, building and publishing a day's changes."""
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
    if not sa.event.contains(sa.pool.Pool, "checkout", _still_answers):
        sa.event.listen(sa.pool.Pool, "checkout", _still_answers)


def _still_answers(connection: object, record: object, proxy: object) -> None:
    """A held connection may have died with its server; SQLAlchemy then opens another. Only Dagster uses psycopg2 here."""
    if isinstance(connection, psycopg2.extensions.connection):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            raise sa.exc.DisconnectionError from None


def _configuration(home: Path) -> dict[str, object]:
    return {
        "storage": {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}},
        "local_artifact_storage": {
            "module": "dagster.core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(home)},
        },
        "compute_logs": {
            "module": "dagster.core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(home / "logs")},
        },
        # One run at a time writes the warehouse; the pools say so, the file lock makes sure.
        "concurrency": {"pools": {"default_limit": 1, "granularity": "op"}, "runs": {"max_concurrent_runs": 4}},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,
            "max_runtime_seconds": 6 * 3600,
            # A cancelled run would otherwise hold its slots for ever.
            "free_slots_after_run_end_seconds": 60,
        },
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "freshness": {"enabled": True},
        "retention": {
            "schedule": {"purge_after_days": 90},
            "sensor": {"purge_after_days": {"skipped": 3, "success": 30, "failure": 90, "started": -1}},
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }
