"""How dbt is called so that it restates what changed and nothing else, and not at all where nothing did.

dbt runs in this process: starting another one and parsing the project there took longer than most days' work.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from connectors.errors import PermanentError
from ml.wording import how_many
from orchestration.settings import DBT_PROJECT
from orchestration.warehouse.fingerprint import checks_fingerprint, models_fingerprint, tables_fingerprint
from orchestration.warehouse.issued import is_waiting
from orchestration.warehouse.load import BuildState, build_state, newest_load, record_build
from orchestration.warehouse.store import Warehouse

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PLANNING_TAG = "tag:planning"
DBT_BUILD = ("build", "--exclude-resource-type", "unit_test")
"""Models and the tests of their data; unit tests are the test suite's."""
OPERATIONS = ("operations.xref", "operations.source", "operations.holiday")
PLANNING = ("planning.stockout_risk", "planning.purchase_plan")


@dataclass(frozen=True)
class Node:
    """What became of a model or of a test. `status` is dbt's: success, pass, warn, fail, error or skipped; `failures`
    counts the rows that a test found."""

    name: str
    kind: str
    status: str
    failures: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def is_good(self) -> bool:
        return self.status in ("success", "pass", "warn")


@dataclass(frozen=True)
class Done:
    """`nodes` of this build, or of the last one when nothing has changed since (`is_new` False)."""

    nodes: list[Node]
    is_new: bool

    def problems(self) -> str:
        """A sentence for each node that failed; what was skipped for its sake is not named."""
        told = []
        for node in self.nodes:
            if node.kind == "test" and node.status == "fail":
                told.append(f"The test {node.name} found {how_many(node.failures, 'row')} that should not be there.")
            elif not node.is_good and node.status != "skipped":
                told.append(f"{node.name} could not be built: {node.message.strip()}")
        return "\n".join(told)


@dataclass(frozen=True)
class Build:
    """`arguments` for dbt; `after` is what `record_build` notes once dbt has succeeded. `is_needed`: False where the marts
    are already what they would become; `nodes` then is what the last build said."""

    arguments: list[str]
    after: BuildState
    is_needed: bool = True
    nodes: tuple[Node, ...] = ()


def build_marts(warehouse: Warehouse, cycle: dt.date, *, timezone: str, reporting_currency: str) -> Done:
    """Brings the marts up to the morning of `cycle` and to all that is loaded. The caller looks at `problems`: a failed
    build is not recorded, so that the next one restates the same keys again."""
    with warehouse.connect() as db:
        build = plan_build(db, cycle, timezone=timezone, reporting_currency=reporting_currency)
    if not build.is_needed:
        return Done(list(build.nodes), is_new=False)
    nodes = run_dbt(warehouse, build.arguments)
    if all(node.is_good for node in nodes):
        with warehouse.connect() as db:
            record_build(db, build.after, _told(nodes))
    return Done(nodes, is_new=True)


def build_reports(warehouse: Warehouse) -> Done:
    """The reports over what planning computed; not again where neither that nor the marts have changed."""
    with warehouse.connect() as db:
        state = build_state(db)
        inputs = f"{state} {tables_fingerprint(db, PLANNING)}"
        db.execute("CREATE TABLE IF NOT EXISTS landing.report_build (inputs VARCHAR, nodes VARCHAR)")
        before = db.execute("SELECT nodes FROM landing.report_build WHERE inputs = ?", [inputs]).fetchone()
        if before:
            return Done(_read(before[0]), is_new=False)
        # Not there while they are being built: what a killed build has left is not what was recorded.
        db.execute("DELETE FROM landing.report_build")
    nodes = run_dbt(warehouse, [*DBT_BUILD, "--select", PLANNING_TAG])
    if all(node.is_good for node in nodes):
        with warehouse.connect() as db:
            db.execute("INSERT INTO landing.report_build VALUES (?, ?)", [inputs, _told(nodes)])
    return Done(nodes, is_new=True)


def plan_build(db: duckdb.DuckDBPyConnection, cycle: dt.date, *, timezone: str, reporting_currency: str) -> Build:
    """A build up to `cycle`, or to the day the marts have already reached: they never go back, and a plan for a past
    day reads them as of that day. With other models than those of the last build everything is built from the start.
    What dbt needs to know is left for it in `landing.build_request`."""
    before = build_state(db)
    # Another currency or default time zone changes every amount and day there is, as another model does.
    models = f"{models_fingerprint(DBT_PROJECT)} {reporting_currency} {timezone}"
    inputs = f"{checks_fingerprint(DBT_PROJECT)} {tables_fingerprint(db, OPERATIONS)}"
    after = BuildState(newest_load(db), max(cycle, before.cycle_date or cycle), models, inputs)
    touched = db.execute("SELECT count(*) FROM landing.touched_code").fetchone()[0]
    if after == before and not touched and not is_waiting(db, after.cycle_date):
        said = db.execute("SELECT nodes FROM landing.build").fetchone()[0]
        return Build([], after, is_needed=False, nodes=tuple(_read(said)))
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
    # A view of unchanged definition is what it would be made again. Tests come with the tables they look at; excluding the
    # views instead would take those along that look at a view besides.
    tables = ["--select", "config.materialized:table", "config.materialized:incremental"]
    return Build([*DBT_BUILD, *(["--full-refresh"] if anew else tables), "--exclude", PLANNING_TAG], after)


def run_dbt(warehouse: Warehouse, arguments: Sequence[str]) -> list[Node]:
    """Runs dbt under the writer's lock. Raises PermanentError when it could not even begin."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    with warehouse.writing(), contextlib.chdir(DBT_PROJECT):
        try:
            manifest = parsed(warehouse.path)
            done = dbtRunner(manifest=manifest).invoke([*arguments, *_options(warehouse.path)])
        finally:
            # It would keep the file open as long as this process lives, and every other process out.
            DuckDBConnectionManager.close_all_connections()
    if done.result is None:
        if isinstance(done.exception, Exception):
            raise PermanentError(f"dbt could not build the marts: {str(done.exception).strip()}") from done.exception
        raise done.exception or RuntimeError("dbt ended without a result")  # an interrupt, passed on
    return [
        Node(
            result.node.name,
            str(result.node.resource_type),
            str(result.status),
            int(result.failures or 0),
            round(result.execution_time, 2),
            result.message or "",
        )
        for result in done.result.results
    ]


def parsed(warehouse: Path) -> Manifest:
    """The parsed project, read once in this process per state of it and warehouse."""
    os.environ.update(dbt_environment(warehouse))
    return _parsed(warehouse, models_fingerprint(DBT_PROJECT), checks_fingerprint(DBT_PROJECT))


@functools.lru_cache(maxsize=1)
def _parsed(warehouse: Path, models: str, checks: str) -> Manifest:
    from dbt.cli.main import dbtRunner

    done = dbtRunner().invoke(["parse", *_options(warehouse)])
    if done.result is None:
        raise PermanentError(f"The dbt project does not parse: {str(done.exception).strip()}") from done.exception
    return done.result


def _options(warehouse: Path) -> list[str]:
    return [
        "--quiet", "--log-level-file", "none", "--no-write-json",
        "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT),
        "--target-path", str(warehouse.parent / "dbt_target"),
    ]  # fmt: skip


def dbt_environment(warehouse: Path) -> dict[str, str]:
    """What the dbt project reads from its environment."""
    return {"STOCKFLOW_WAREHOUSE": str(warehouse), "DBT_LOG_PATH": str(warehouse.parent / "dbt_logs")}


def _told(nodes: Sequence[Node]) -> str:
    return json.dumps([asdict(node) for node in nodes])


def _read(nodes: str) -> list[Node]:
    return [Node(**node) for node in json.loads(nodes)]
