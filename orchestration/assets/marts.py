"""From landing to published marts: load, dbt, publish. One writer at a time, each step repeatable."""

import datetime as dt
import graphlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from connectors.records import ENTITIES
from ml.wording import how_many
from orchestration.assets.ingestion import file_key
from orchestration.automation import (
    published_condition,
    published_freshness,
    when_files_arrived,
    when_upstream_changed,
)
from orchestration.files import KINDS
from orchestration.resources import StockflowResource
from orchestration.settings import DBT_PROJECT, Business
from orchestration.warehouse.build import PLANNING_TAG

if TYPE_CHECKING:
    from orchestration.application import Application
    from orchestration.publish.run import Published
    from orchestration.warehouse.build import Done

POOL = "warehouse"
MANIFEST = DBT_PROJECT / "target" / "manifest.json"
OPERATIONS_TABLES = {
    "xref": "Which of our keys each source's code means, and from when to when.",
    "source": "Sources in the order in which their master data is believed.",
    "holiday": "Public holidays of the countries that have locations.",
}

TOUCHED = "Codes whose key changed since the last build: the facts under them are restated."

ISSUED = dg.AssetKey(["planning", "issued_forecast"])


class Translator(DagsterDbtTranslator):
    """Groups by layer; dbt sources are the assets that `load_warehouse` makes."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["name"]])

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        is_report = "planning" in dbt_resource_props.get("tags", ())
        return None if is_report else when_upstream_changed()

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return dbt_resource_props["fqn"][1] if len(dbt_resource_props["fqn"]) > 2 else None


def load_asset(raw_keys: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    arrived = when_files_arrived([file_key(kind) for kind in KINDS])
    specs = [
        dg.AssetSpec(
            ["landing", entity],
            deps=raw_keys,
            group_name="landing",
            kinds={"duckdb"},
            automation_condition=arrived,
            description=TOUCHED
            if entity == "touched_code"
            else f"Every landed version of {entity.replace('_', ' ')} in the warehouse, the current one marked.",
        )
        for entity in [*ENTITIES, "touched_code"]
    ] + [
        dg.AssetSpec(
            ["operations", table],
            deps=raw_keys,
            group_name="landing",
            kinds={"postgres"},
            automation_condition=arrived,
            description=OPERATIONS_TABLES[table],
        )
        for table in OPERATIONS_TABLES
    ]
    specs.append(
        dg.AssetSpec(
            ISSUED,
            deps=raw_keys,
            group_name="forecast",
            kinds={"duckdb"},
            automation_condition=arrived,
            description="Forecasts as earlier mornings froze them, to be scored once their days have come.",
        )
    )

    @dg.multi_asset(name="load_warehouse", specs=specs, pool=POOL)
    def load_warehouse(
        context: dg.AssetExecutionContext, stockflow: StockflowResource
    ) -> Iterator[dg.MaterializeResult]:
        from orchestration.planning.cycle import frozen_hashes
        from orchestration.planning.forecasting import read_forecast_config
        from orchestration.warehouse.holidays import holiday_table
        from orchestration.warehouse.identify import identify, source_table, xref_table
        from orchestration.warehouse.issued import add_issued
        from orchestration.warehouse.load import load, prepare, replace_operations

        app = stockflow.app
        with app.warehouse.connect() as db:
            prepare(db)
            loaded = load(db, app.landing, app.manifest.files())
            identified = identify(db, app.engine, app.sources())
            xref = xref_table(app.engine)
            holidays, unknown = holiday_table(db, app.settings.business.holiday_countries)
            replace_operations(
                db,
                {
                    "xref": xref,
                    "source": source_table(app.sources()),
                    "holiday": holidays,
                },
            )
            config = read_forecast_config(app.settings.home / "forecast.yaml").accuracy
            issued = add_issued(db, frozen_hashes(app.engine), str(app.settings.frozen), config)
        for damaged in issued.damaged:
            context.log.warning(f"Forecasts that cannot be scored: {damaged}")
        context.log.info(
            f"Load {loaded.load_id}: {how_many(sum(loaded.rows.values()), 'new version')} from {how_many(loaded.files, 'file')}; "
            f"{how_many(identified.keys, 'code')} known, {identified.unmatched} unmatched"
        )
        for entity in [*ENTITIES, "touched_code"]:
            yield dg.MaterializeResult(
                ["landing", entity], metadata={"rows": loaded.rows.get(entity, 0), "load": loaded.load_id}
            )
        yield dg.MaterializeResult(
            ["operations", "xref"],
            metadata={
                "codes": xref.num_rows,
                "unmatched": identified.unmatched,
                "gtin conflicts": identified.gtin_conflicts,
            },
        )
        yield dg.MaterializeResult(["operations", "source"])
        yield dg.MaterializeResult(
            ["operations", "holiday"],
            metadata={"days": holidays.num_rows, "not known": "; ".join(unknown) or "nothing"},
        )
        yield dg.MaterializeResult(
            ISSUED,
            metadata={"mornings": issued.cycles, "rows": issued.rows, "mornings not readable": len(issued.damaged)},
        )

    return load_warehouse


def mart_assets(timezone: str, reporting_currency: str) -> dg.AssetsDefinition:
    @dbt_assets(
        manifest=MANIFEST, exclude=PLANNING_TAG, dagster_dbt_translator=Translator(), pool=POOL, name="build_marts"
    )
    def build_marts(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> Iterator[Any]:
        from orchestration.warehouse.build import build_marts as build
        from orchestration.warehouse.stock_value import stock_value

        morning = cycle_date(context, timezone)
        done = build(stockflow.app.warehouse, morning, timezone=timezone, reporting_currency=reporting_currency)
        more = {}
        if not done.problems():
            with stockflow.app.warehouse.connect() as db:
                if worth := stock_value(db):
                    more["fct_inventory_value_daily"] = {
                        "stock value": float(worth.amount),
                        "currency": worth.currency,
                        "series of unknown cost": worth.unvalued,
                    }
        yield from told(context, done, more)

    return build_marts


def told(
    context: dg.AssetExecutionContext, done: "Done", more: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """What became of each model and test, as Dagster knows them; raises dg.Failure with the reasons when any failed.

    All of them are built together whichever were selected, for a build that is recorded restates everything that changed;
    those that nobody selected are noted all the same. `more` metadata is by model.
    """
    problems = done.problems()
    status = {node.name: node for node in done.nodes if node.kind == "model"}
    # Dagster wants each after what it is made from.
    for key in graphlib.TopologicalSorter(context.assets_def.asset_deps).static_order():
        if key not in context.assets_def.keys:
            continue
        node = status.get(key.path[-1])
        if node is None and problems:
            continue
        if node is None:
            metadata = {"status": "a view, as defined before"}
        elif not node.is_good:
            continue
        elif done.is_new:
            metadata = {"status": node.status, "seconds": node.seconds}
        else:
            metadata = {"status": "nothing it is made from has changed"}
        metadata |= more.get(key.path[-1], {})
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(key, metadata=metadata)
        else:
            context.log_event(dg.AssetMaterialization(key, metadata=metadata))
    tests = {node.name: node for node in done.nodes if node.kind == "test"}
    for check in context.selected_asset_check_keys:
        node = tests.get(check.name)
        if node is not None and node.status != "skipped":
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=node.status == "pass",
                severity=dg.AssetCheckSeverity.WARN if node.status == "warn" else dg.AssetCheckSeverity.ERROR,
                metadata={"rows that should not be": node.failures, "looked at now": done.is_new},
            )
    if problems:
        raise dg.Failure(problems, allow_retries=False)


def publish_asset(deps: Sequence[dg.AssetKey], business: Business) -> dg.AssetsDefinition:
    @dg.asset(
        key=["published", "marts"],
        deps=deps,
        group_name="published",
        kinds={"postgres", "duckdb", "parquet"},
        pool=POOL,
        automation_condition=published_condition(),
        freshness_policy=published_freshness(business),
        description="The marts as everybody else reads them: PostgreSQL schema marts, a DuckDB copy, Parquet files.",
    )
    def published_marts(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> dg.MaterializeResult:
        done, snapshot_id = publish_now(stockflow.app, cycle_date(context, business.timezone))
        return dg.MaterializeResult(
            metadata={"snapshot": snapshot_id, **{f"{p.target} rows written": p.rows for p in done}}
        )

    return published_marts


def publish_now(app: "Application", cycle: dt.date) -> "tuple[list[Published], str]":
    """Publishes to every target under one new snapshot id; returns what each wrote, and the id."""
    from connectors.extract import utc_now
    from operations import publications
    from orchestration.publish.parts import Snapshot
    from orchestration.publish.run import publish

    snapshot = Snapshot(publications.next_sequence(app.engine), cycle, utc_now())
    with app.warehouse.connect() as db:
        done = publish(db, app.publish_targets(), snapshot)
    for target in done:
        publications.record(
            app.engine,
            target.target,
            snapshot.snapshot_id,
            cycle_date=cycle,
            tables={"rows_written": target.rows, "seconds": round(target.seconds, 2)},
        )
    return done, snapshot.snapshot_id


def cycle_date(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, timezone: str) -> dt.date:
    """The run's partition, or the morning that has come in the business time zone."""
    from zoneinfo import ZoneInfo

    if context.has_partition_key:
        return dt.date.fromisoformat(context.partition_key)
    return dt.datetime.now(ZoneInfo(timezone)).date()
