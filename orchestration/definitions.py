"""Everything Dagster knows of Stockflow; `build_definitions` takes what differs, so that tests swap only the edges."""

from __future__ import annotations

import dagster as dg
from dagster_dbt import DbtCliResource

from orchestration.application import configured_sources
from orchestration.assets.ingestion import ingestion_assets, raw_key
from orchestration.assets.marts import assigns_by_source, load_asset, mart_assets, publish_asset
from orchestration.resources import StockflowResource
from orchestration.schedules import jobs_and_schedules
from orchestration.settings import DBT_PROJECT, Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    business = settings.business
    # Only names and streams are read here; the key is for hashing while pulling.
    sources = configured_sources(settings, hash_key=b"")
    raw = ingestion_assets(sources)
    raw_keys = [raw_key(source.name, stream) for source in sources for stream in source.streams]
    load = load_asset(raw_keys, assigns_by_source(sources))
    marts = mart_assets(business.timezone, business.reporting_currency)
    mart_keys = [key for key in marts.keys if key.path[0].startswith(("dim_", "fct_", "rpt_"))]
    published = publish_asset(mart_keys, business.timezone)
    jobs, schedules = jobs_and_schedules(business)
    return dg.Definitions(
        assets=[*raw, load, marts, published],
        jobs=jobs,
        schedules=schedules,
        resources={
            "stockflow": StockflowResource(),
            "dbt": DbtCliResource(project_dir=str(DBT_PROJECT), profiles_dir=str(DBT_PROJECT)),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(Settings.from_environment())
