"""How dbt is to be called so that it restates what changed and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.settings import DBT_PROJECT
from orchestration.warehouse.fingerprint import models_fingerprint
from orchestration.warehouse.load import BuildState, build_state, newest_load


@dataclass(frozen=True)
class Build:
    """`arguments` for dbt; `after` is what `record_build` notes once dbt has succeeded."""

    arguments: list[str]
    after: BuildState


def plan_build(db: duckdb.DuckDBPyConnection, cycle: dt.date, *, timezone: str, reporting_currency: str) -> Build:
    """A build up to `cycle`, or to the day the marts have already reached: they never go back, and a plan for a past
    day reads them as of that day. Models other than those of the last build are built from the start."""
    before = build_state(db)
    after = BuildState(newest_load(db), max(cycle, before.cycle_date or cycle), models_fingerprint(DBT_PROJECT))
    anew = before.models != after.models
    variables = {
        "cycle_date": after.cycle_date.isoformat(),
        "since_load": -1 if anew else before.load_id,
        "built_to": "" if anew or before.cycle_date is None else before.cycle_date.isoformat(),
        "reporting_currency": reporting_currency,
        "timezone": timezone,
    }
    return Build(["build", "--vars", json.dumps(variables), *(["--full-refresh"] if anew else [])], after)


def dbt_environment(warehouse: Path) -> dict[str, str]:
    """What the dbt project reads from its environment."""
    return {"STOCKFLOW_WAREHOUSE": str(warehouse), "DBT_LOG_PATH": str(warehouse.parent / "dbt_logs")}
