"""Everything Dagster knows of Stockflow; `build_definitions` takes what differs, so that tests swap only the edges."""

from __future__ import annotations

import dagster as dg

from orchestration.application import configured_sources
from orchestration.assets.delivery import delivered_documents
from orchestration.assets.ingestion import file_specs, ingestion_assets, raw_key
from orchestration.assets.marts import load_asset, mart_assets, publish_asset
from orchestration.assets.planning import planning_assets
from orchestration.assets.telling import digest_asset
from orchestration.checks import quality_checks
from orchestration.mornings import first_morning
from orchestration.resources import StockflowResource
from orchestration.schedules import cycle_partitions, jobs_and_schedules
from orchestration.sensors import all_sensors
from orchestration.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    business = settings.business
    # Only names and streams are read here; the key is for hashing while pulling.
    sources = configured_sources(settings, hash_key=b"")
    raw = ingestion_assets(sources)
    files = file_specs()
    raw_keys = [raw_key(source.name, stream) for source in sources for stream in source.streams]
    raw_keys += [spec.key for spec in files]
    load = load_asset(raw_keys)
    marts = mart_assets(business.timezone, business.reporting_currency)
    mart_keys = [key for key in marts.keys if key.path[-1].startswith(("dim_", "fct_", "rpt_"))]
    published = publish_asset(mart_keys, business)
    partitions = cycle_partitions(first_morning(settings), business.timezone)
    planning = planning_assets(partitions, business.timezone)
    told = [digest_asset(partitions, business.timezone)] if business.slack else []
    jobs, schedules = jobs_and_schedules(business, partitions)
    return dg.Definitions(
        assets=[*files, *raw, load, marts, published, *planning, *told, delivered_documents],
        asset_checks=quality_checks(business),
        sensors=all_sensors(business),
        jobs=jobs,
        schedules=schedules,
        resources={"stockflow": StockflowResource()},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(Settings.from_environment())
