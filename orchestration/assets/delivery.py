"""`delivered/documents`: approved orders and transfers handed to the systems that carry them out."""

import dagster as dg

from ml.wording import how_many
from orchestration.resources import StockflowResource

DOCUMENTS = dg.AssetKey(["delivered", "documents"])


@dg.asset(
    key=DOCUMENTS,
    group_name="delivered",
    deps=[dg.AssetKey(["replenishment", "proposals"])],
    kinds={"rest"},
    pool="delivery",
    description="Approved purchase orders and transfers, each sent once; unknown ones are looked up, never resent blindly.",
)
def delivered_documents(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> dg.MaterializeResult:
    from operations import outbox
    from orchestration.delivery import delivery_targets

    app = stockflow.app
    done = outbox.deliver(app.engine, delivery_targets(app.settings))
    if done.failed:
        context.log.error(
            f"{how_many(done.failed, 'document was', 'documents were')} refused; `stockflow doctor` lists why."
        )
    return dg.MaterializeResult(
        metadata={"sent": done.sent, "pending": done.pending, "unknown": done.unknown, "failed": done.failed}
    )
