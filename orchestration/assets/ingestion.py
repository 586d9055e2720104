"""`raw/<source>/<stream>`: one op per source pulls its streams into landing, master data first."""

from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg

from connectors.errors import PermanentError, StockflowError, TransientError
from connectors.source import Source
from orchestration.automation import raw_freshness
from orchestration.files import KINDS
from orchestration.resources import StockflowResource


def raw_key(source: str, stream: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", source, stream])


def file_key(kind: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", "files", kind])


def file_specs() -> list[dg.AssetSpec]:
    """What people drop in or import. Nothing here makes them: an import notes that they were updated."""
    return [
        dg.AssetSpec(
            file_key(kind), group_name="files", kinds={"parquet"}, description=f"Files of {kind} that were imported."
        )
        for kind in KINDS
    ]


def file_imported(kind: str, file: str, lines: Sequence[str]) -> dg.AssetMaterialization:
    """What an import notes, from the drop folder or from the command line: what waits for files goes by it."""
    return dg.AssetMaterialization(file_key(kind), metadata={"file": file, "report": "\n".join(lines)})


def ingestion_assets(sources: Sequence[Source]) -> list[dg.AssetsDefinition]:
    return [_pull_asset(source.name, list(source.streams)) for source in sources]


def _pull_asset(source: str, streams: list[str]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"pull_{source}",
        specs=[
            dg.AssetSpec(
                raw_key(source, stream),
                group_name="raw",
                kinds={"parquet"},
                description=f"Records of the stream {stream} of {source}, landed as they were sent.",
                freshness_policy=raw_freshness(),
            )
            for stream in streams
        ],
        can_subset=True,
        pool=f"pull_{source}",
        # Waits 10, 20, 40 s: long enough for a restart of the other side, short enough for the morning.
        retry_policy=dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    )
    def pull(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> Iterator[dg.MaterializeResult]:
        from operations import identity

        app = stockflow.app
        connector = next((s for s in app.sources() if s.name == source), None)
        if connector is None:
            raise dg.Failure(
                f"The source {source} is no longer in config.yaml: reload the code location.", allow_retries=False
            )
        failed: list[StockflowError] = []
        for stream in streams:
            if raw_key(source, stream) not in context.selected_asset_keys:
                continue
            counts: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            try:
                for landed in app.landing.pull(source, stream, connector.streams[stream]):
                    counts.update(
                        batches=1, accepted=landed.accepted, unchanged=landed.unchanged, quarantined=landed.quarantined
                    )
                    for file in landed.files:
                        reasons.update(file.reasons)
            except StockflowError as error:
                # The other streams go on: what one system cannot give today must not stop the rest.
                context.log.error(f"{source}/{stream}: {error}")
                failed.append(error)
                continue
            yield dg.MaterializeResult(
                raw_key(source, stream),
                metadata={
                    "received": counts["accepted"] + counts["unchanged"] + counts["quarantined"],
                    "accepted": counts["accepted"],
                    "unchanged": counts["unchanged"],
                    "quarantined": counts["quarantined"],
                    "quarantined by reason": dg.MetadataValue.md(_reason_table(reasons)),
                },
            )
        try:
            declared = list(connector.declared_pairs()) if connector.declared_pairs else []
            identity.declare(app.engine, "item", declared, actor=f"system:{source}")
        except StockflowError as error:
            failed.append(error)
        if failed:
            worst = next((e for e in failed if isinstance(e, PermanentError)), failed[0])
            raise dg.Failure(str(worst), allow_retries=all(isinstance(e, TransientError) for e in failed))

    return pull


def _reason_table(reasons: Counter[str]) -> str:
    if not reasons:
        return "none"
    rows = "\n".join(f"| {reason} | {count} |" for reason, count in reasons.most_common())
    return f"| reason | records |\n| --- | ---: |\n{rows}"
