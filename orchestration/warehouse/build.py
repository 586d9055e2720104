"""How dbt is to be called so that it restates what changed and nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.settings import DBT_PROJECT
from orchestration.warehouse.fingerprint import models_fingerprint
from orchestration.warehouse.load import BuildState, build_state, newest_load

DBT_BUILD = ("build", "--exclude-resource-type", "unit_test")
"""Models and the tests of their data; unit tests are the test suite's."""


@dataclass(frozen=True)
class Build:
    """`arguments` for dbt; `after` is what `record_build` notes once dbt has succeeded."""

    arguments: list[str]
    after: BuildState


def plan_build(db: duckdb.DuckDBPyConnection, cycle: dt.date, *, timezone: str, reporting_currency: str) -> Build:
    """A build up to `cycle`, or to the day the marts have already reached: they never go back, and a plan for a past
    day reads them as of that day. With other models than those of the last build everything is built from the start.
    What dbt needs to know is left for it in `landing.build_request`."""
    before = build_state(db)
    # Another currency or default time zone changes every amount and day there is, as another model does.
    models = f"{models_fingerprint(DBT_PROJECT)} {reporting_currency} {timezone}"
    after = BuildState(newest_load(db), max(cycle, before.cycle_date or cycle), models)
    anew = before.models != after.models
    db.execute(
        "CREATE OR REPLACE TABLE landing.build_request AS "
        "SELECT ? AS cycle_date, ? AS since_load, ? AS built_to, ? AS reporting_currency, ? AS timezone, ? AS anew",
        [
            after.cycle_date.isoformat(),
            -1 if anew else before.load_id,
            None if anew or before.cycle_date is None else before.cycle_date.isoformat(),
            reporting_currency,
            timezone,
            anew,
        ],
    )
    return Build([*DBT_BUILD, *(["--full-refresh"] if anew else [])], after)


def dbt_environment(warehouse: Path) -> dict[str, str]:
    """What the dbt project reads from its environment."""
    return {"STOCKFLOW_WAREHOUSE": str(warehouse), "DBT_LOG_PATH": str(warehouse.parent / "dbt_logs")}
