"""Forecasts and proposals of one morning, partitioned by `cycle_date`; training, unpartitioned, once a week."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import dbt_assets

from orchestration.assets.marts import MANIFEST, POOL, Translator, cycle_date, publish_now, told
from orchestration.resources import StockflowResource
from orchestration.warehouse.build import PLANNING_TAG

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.application import Application
    from orchestration.planning.history import DemandData
    from orchestration.planning.models import Decision
    from orchestration.planning.quality import Quality

MODEL = dg.AssetKey(["forecast", "model"])
QUANTILES = dg.AssetKey(["forecast", "quantiles"])
INPUTS = dg.AssetKey(["replenishment", "inputs"])
PROPOSALS = dg.AssetKey(["replenishment", "proposals"])
RISK_TABLE = dg.AssetKey(["planning", "stockout_risk"])
PLAN_TABLE = dg.AssetKey(["planning", "purchase_plan"])

NOTHING_YET = "nothing yet"
"""The metadata that says what a new deployment without orders has nothing to do for."""

URGENT_ROWS = 8
"""Proposals listed in the metadata of a morning's plan: the web UI folds a longer table away."""


def planning_assets(partitions: dg.PartitionsDefinition, timezone: str) -> list[dg.AssetsDefinition]:
    @dg.asset(
        key=MODEL,
        deps=["fct_demand_daily"],
        group_name="forecast",
        kinds={"xgboost", "pytorch"},
        description="XGBoost, LSTM and statistical models, blended by what each earned on held-out days.",
        output_required=False,
    )
    def forecast_model(
        context: dg.AssetExecutionContext, stockflow: StockflowResource
    ) -> Iterator[dg.MaterializeResult]:
        app = stockflow.app
        morning = cycle_date(context, timezone)
        data = _demand(app, morning)
        if data is None:
            _nothing_yet(context, "train on")
            return
        model, model_id, decision = _train(context, app, data, morning)
        yield dg.MaterializeResult(metadata={**_quality(model, model_id), **_decided(decision)})

    @dg.asset(
        key=QUANTILES,
        deps=["fct_demand_daily", "fct_forecast_accuracy", "dim_item", "dim_location"],
        partitions_def=partitions,
        group_name="forecast",
        kinds={"parquet"},
        description="Daily demand of every item and stock location for four weeks: mean and quantiles.",
        output_required=False,
    )
    def forecast_quantiles(
        context: dg.AssetExecutionContext, stockflow: StockflowResource
    ) -> Iterator[dg.MaterializeResult]:
        from orchestration.charts import accuracy_chart, demand_chart
        from orchestration.planning.forecasting import forecast_cycle, model_in_use, read_forecast_config

        app = stockflow.app
        morning = cycle_date(context, timezone)
        data = _demand(app, morning)
        if data is None:
            # What is made from forecasts is skipped, so that the morning can still be planned once there is a history.
            _nothing_yet(context, "forecast from")
            return
        quality, decision, scored = _watch(app, morning, data)
        config = read_forecast_config(app.settings.home / "forecast.yaml")
        model, model_id, trained = model_in_use(
            app.engine, data, app.settings.models, morning, config, context.log.info
        )
        decision = trained or decision
        for note in data.notes:
            context.log.warning(note)
        made = forecast_cycle(data, model, model_id)
        folder = app.settings.forecasts / morning.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        made.frame.to_parquet(folder / "quantiles.parquet", index=False)
        made.withheld.to_parquet(folder / "withheld.parquet", index=False)
        (folder / "dependence.json").write_text(json.dumps(made.dependence))
        (folder / "issued_by.json").write_text(json.dumps(made.issued_by))
        series = len(made.frame[["sku", "location"]].drop_duplicates())
        yield dg.MaterializeResult(
            metadata={
                "series": series,
                "new products, judged by similar ones": len(
                    made.frame.loc[made.frame["similar"] > 0, ["sku", "location"]].drop_duplicates()
                ),
                "withheld": len(made.withheld),
                "trained until": model.trained_until,
                **_quality(model, model_id),
                "forecast against actual": dg.MetadataValue.md(demand_chart(data.history, made.frame)),
                "how earlier forecasts turned out": quality.says,
                "error of earlier forecasts": dg.MetadataValue.md(accuracy_chart(scored)),
                "told besides sales": ", ".join((*model.columns.known_future, *model.columns.past_only)),
                "not known": "; ".join(data.notes) or "nothing",
                "mended or not told": "; ".join(made.notes) or "nothing",
                **_decided(decision),
            }
        )

    @dg.asset(
        key=INPUTS,
        deps=[QUANTILES, "fct_inventory_daily", "fct_purchase_order_line", "dim_party", "int_supplier_offers"],
        partitions_def=partitions,
        group_name="replenishment",
        kinds={"parquet"},
        description="Everything the morning decides from, frozen under the hash of its content.",
    )
    def replenishment_inputs(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> dg.MaterializeResult:
        import pandas as pd

        from ml.replenishment.freezing import freeze
        from orchestration.planning.cycle import frozen_hash_of
        from orchestration.planning.decision_inputs import read_inputs, read_parameters

        app = stockflow.app
        morning = cycle_date(context, timezone)
        known = frozen_hash_of(app.engine, morning)
        if known is not None:
            # What arrived since does not change what that morning knew.
            return dg.MaterializeResult(metadata={"frozen": known, "planned before": True})
        folder = app.settings.forecasts / morning.isoformat()
        parameters = read_parameters(app.settings.home / "parameters.yaml", app.settings.business.reporting_currency)
        forecasts = pd.read_parquet(folder / "quantiles.parquet")
        dependence = json.loads((folder / "dependence.json").read_text())
        issued_by = json.loads((folder / "issued_by.json").read_text())
        with app.warehouse.connect() as db:
            inputs = read_inputs(db, app.engine, morning, forecasts, parameters, dependence, issued_by)
        frozen = freeze(inputs, str(app.settings.frozen))
        (folder / "frozen").write_text(frozen)
        return dg.MaterializeResult(
            metadata={"frozen": frozen, "planned before": False, "parameters": parameters.version}
        )

    @dg.multi_asset(
        name="replenishment_proposals",
        specs=[
            dg.AssetSpec(
                PROPOSALS,
                deps=[INPUTS],
                group_name="replenishment",
                kinds={"postgres"},
                description="What to buy and to move, each with its reason, waiting for approval.",
            ),
            dg.AssetSpec(
                RISK_TABLE,
                deps=[INPUTS],
                group_name="replenishment",
                kinds={"duckdb"},
                description="Probability of a stock-out per series and day, without and with the proposals.",
            ),
            dg.AssetSpec(
                PLAN_TABLE,
                deps=[INPUTS],
                group_name="replenishment",
                kinds={"duckdb"},
                description="Purchases expected over the coming four weeks, if each morning decides as this one did.",
            ),
        ],
        partitions_def=partitions,
        pool=POOL,
    )
    def replenishment_proposals(
        context: dg.AssetExecutionContext, stockflow: StockflowResource
    ) -> Iterator[dg.MaterializeResult]:
        from ml.replenishment.freezing import thaw
        from operations import proposals
        from operations.proposals import Filter
        from orchestration.charts import amounts_by_supplier, proposal_table, risk_table
        from orchestration.planning import cycle

        app = stockflow.app
        morning = cycle_date(context, timezone)
        frozen = cycle.frozen_hash_of(app.engine, morning) or _just_frozen(app, morning)
        inputs = thaw(frozen, str(app.settings.frozen))
        plan = cycle.plan(inputs, frozen, morning)
        saved = cycle.save(app.engine, plan, frozen, morning, actor="system:planner")
        _store(app, morning, plan.risk, plan.purchase_plan)
        urgent, _ = proposals.find(app.engine, Filter(cycle_date=morning), limit=URGENT_ROWS)
        yield dg.MaterializeResult(
            PROPOSALS,
            metadata={
                "proposals": len(plan.proposals),
                "most urgent": dg.MetadataValue.md(proposal_table(urgent)),
                "why the first": urgent[0]["reason"] if urgent else "none",
                "purchases by supplier": dg.MetadataValue.md(
                    amounts_by_supplier(
                        plan.proposals, dict(zip(inputs.suppliers["supplier"], inputs.suppliers["name"], strict=True))
                    )
                ),
                "new": saved.new,
                "unchanged": saved.unchanged,
                "superseded": saved.superseded,
                "withheld": len(plan.withheld),
                "withheld by reason": dg.MetadataValue.md(_counts(plan.withheld, "reason_code")),
                # Whole, it would push the columns of the tables above it out of sight; `replenishment/inputs` has it.
                "frozen": frozen[:12],
            },
        )
        yield dg.MaterializeResult(
            RISK_TABLE, metadata={"likeliest stock-outs": dg.MetadataValue.md(risk_table(plan.risk))}
        )
        yield dg.MaterializeResult(PLAN_TABLE, metadata={"rows": len(plan.purchase_plan)})

    @dbt_assets(
        manifest=MANIFEST, select=PLANNING_TAG, dagster_dbt_translator=Translator(), pool=POOL, name="build_reports"
    )
    def build_reports(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> Iterator[Any]:
        from orchestration.warehouse.build import build_reports as build

        yield from told(context, build(stockflow.app.warehouse))

    @dg.asset(
        key=["published", "reports"],
        deps=[dg.AssetKey(["rpt_stockout_risk"]), dg.AssetKey(["published", "marts"])],
        group_name="published",
        kinds={"postgres", "duckdb", "parquet"},
        pool=POOL,
        description="The reports that planning makes, beside the marts.",
    )
    def published_reports(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> dg.MaterializeResult:
        done, snapshot_id = publish_now(stockflow.app, cycle_date(context, timezone))
        return dg.MaterializeResult(
            metadata={"snapshot": snapshot_id, **{f"{p.target} rows written": p.rows for p in done}}
        )

    return [
        forecast_model, forecast_quantiles, replenishment_inputs, replenishment_proposals, build_reports,
        published_reports,
    ]  # fmt: skip


def _demand(app: "Application", morning: dt.date) -> "DemandData | None":
    from orchestration.planning.forecasting import read_forecast_config
    from orchestration.planning.history import read_demand

    features = read_forecast_config(app.settings.home / "forecast.yaml").features
    with app.warehouse.connect() as db:
        return read_demand(db, morning, features)


def _nothing_yet(context: dg.AssetExecutionContext, to_do: str) -> None:
    """Tells that there is no history, in the run's log and beside the asset; that is no failure of a new deployment."""
    says = f"Nothing to {to_do} yet: pull or import orders, then run daily_planning_job."
    context.log.info(says)
    context.log_event(dg.AssetObservation(context.asset_key, metadata={NOTHING_YET: says}))


def _train(context: dg.AssetExecutionContext, app: "Application", data: "DemandData", morning: dt.date) -> tuple:
    from orchestration.planning.forecasting import read_forecast_config, train_and_decide

    config = read_forecast_config(app.settings.home / "forecast.yaml")
    return train_and_decide(app.engine, data, app.settings.models, morning, config, context.log.info)


def _watch(app: "Application", morning: dt.date, data: "DemandData") -> "tuple[Quality, Decision | None, pd.DataFrame]":
    """What the days before say of earlier forecasts, what was decided on it, and the scores by day. A past morning that
    is planned again decides nothing."""
    from operations import proposals
    from orchestration.planning import quality
    from orchestration.planning.forecasting import read_forecast_config

    config = read_forecast_config(app.settings.home / "forecast.yaml")
    with app.warehouse.connect() as db:
        found = quality.assess(db, app.settings.models, morning, config)
        scored = quality.by_day(db, morning)
    newest = proposals.cycles(app.engine, 1)
    if newest and newest[0]["cycle_date"] > morning:
        return found, None, scored
    return found, quality.watch(app.engine, found, app.settings.models, morning, data.history, config), scored


def _just_frozen(app: "Application", morning: dt.date) -> str:
    return (app.settings.forecasts / morning.isoformat() / "frozen").read_text().strip()


def _store(app: "Application", morning: dt.date, risk: "pd.DataFrame", purchases: "pd.DataFrame") -> None:
    """The newest cycle's tables for dbt; an older one planned again does not take their place."""
    import pyarrow as pa

    with app.warehouse.connect() as db:
        db.execute("CREATE SCHEMA IF NOT EXISTS planning")
        for name, frame in (("stockout_risk", risk), ("purchase_plan", purchases)):
            newest = db.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'planning' AND table_name = ?", [name]
            ).fetchone()[0]
            if newest:
                held = db.execute(f"SELECT max(cycle_date) FROM planning.{name}").fetchone()[0]
                if held is not None and held > morning:
                    continue
            planned = pa.Table.from_pandas(frame, preserve_index=False)
            # The texts of an empty plan have no type of their own.
            typed = [field.with_type(pa.string()) if field.type == pa.null() else field for field in planned.schema]
            db.register("planned", planned.cast(pa.schema(typed)))
            db.execute(
                f"CREATE OR REPLACE TABLE planning.{name} AS SELECT ?::DATE AS cycle_date, * FROM planned", [morning]
            )
            db.unregister("planned")


def _quality(model: Any, model_id: str) -> dict[str, Any]:
    if not len(model.scores):
        return {"model": model_id, "held-out quality": "The history is too short to hold days out."}
    pooled = model.scores[model.scores["segment"] == "all"]
    table = "\n".join(
        f"| {row.model} | {row.wape:.3f} | {row.pinball:.3f} | {row.bias_in_stock:+.1%} |"
        for row in pooled.sort_values("wape").itertuples()
    )
    return {
        "model": model_id,
        "held-out quality": dg.MetadataValue.md(
            f"| model | WAPE | pinball | bias |\n| --- | ---: | ---: | ---: |\n{table}"
        ),
    }


def _decided(decision: "Decision | None") -> dict[str, Any]:
    """The decision about the model in use and the figures of both, as they are recorded."""
    if decision is None:
        return {}
    rows = "\n".join(
        f"| {model_id} | {found['pinball']:.4f} | {found['wape']:.3f} | {found['bias']:+.1%} |"
        for model_id, found in decision.figures.items()
    )
    head = "| model | pinball | WAPE | bias |\n| --- | ---: | ---: | ---: |\n"
    return {
        "decision": decision.message,
        "model in use": decision.model_id,
        **({"on the same days": dg.MetadataValue.md(head + rows)} if rows else {}),
    }


def _counts(frame: "pd.DataFrame", column: str) -> str:
    rows = "\n".join(f"| {value} | {count} |" for value, count in frame[column].value_counts().items())
    return f"| {column} | series |\n| --- | ---: |\n{rows}" if rows else "none"
